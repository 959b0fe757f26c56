"""Sliders for a notebook: change a setting, press the button, look. Only notebooks import this.

`explore` has the settings of one function; `open_studio` is the whole series as an app, which
`app` puts together. Works with ipywidgets 7.7 and 8.
"""

from __future__ import annotations

import html
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
from PIL import Image

from portraitlib.generate.calls import bind_call, get_setting, setting_names, with_settings
from portraitlib.photos.faces.find import shrunk
from portraitlib.photos.files import NotAPhoto, read_content
from portraitlib.photos.pictures import open_picture
from portraitlib.portrait import Portrait, check_writable
from portraitlib.settings import UsageError
from portraitlib.show import show_strip
from portraitlib.studio.fields import REACH
from portraitlib.studio.look import SCRIPT, reader_present
from portraitlib.studio.uploads import FilePlace

if TYPE_CHECKING:
    from portraitlib.models.load import Model
    from portraitlib.photos.photo_set import PhotoSet
    from portraitlib.studio.recipes import Screen

LABEL = {"description_width": "110px"}
WIDE = "640px"
THUMBNAIL_PX = 96


@dataclass(frozen=True)
class Slider:
    """How far a slider reaches. A held value beyond its end moves the end."""

    label: str
    low: float
    high: float
    step: float

    def widget(self, value: float) -> Any:
        whole = isinstance(self.step, int)
        kind = widgets.IntSlider if whole else widgets.FloatSlider
        number = int(value) if whole else float(value)
        reach = {"min": min(self.low, number), "max": max(self.high, number), "step": self.step}
        return kind(
            value=number,
            description=self.label,
            continuous_update=False,
            style=LABEL,
            layout=widgets.Layout(width=WIDE),
            **reach,
        )


@dataclass(frozen=True)
class TextBox:
    """A text of some lines."""

    label: str
    lines: int

    def widget(self, value: str) -> Any:
        kind = widgets.Textarea if self.lines > 1 else widgets.Text
        layout = widgets.Layout(width=WIDE)
        box = kind(value=value, description=self.label, style=LABEL, layout=layout)
        if self.lines > 1:
            box.rows = self.lines
        return box


# What has a control, in the order of the screen: every name here that the function knows.
CONTROLS: dict[str, Slider | TextBox] = {
    "prompt": TextBox("prompt", 3),
    "negative_prompt": TextBox("negative prompt", 1),
    "num_inference_steps": Slider("steps", *REACH["num_inference_steps"]),
    "guidance_scale": Slider("guidance", *REACH["guidance_scale"]),
    "strength": Slider("strength", 0.05, 1.0, 0.05),
    "scale": Slider("control scale", 0.0, 1.5, 0.05),
    "start": Slider("control start", 0.0, 0.95, 0.05),
    "end": Slider("control end", 0.05, 1.0, 0.05),
    "low_threshold": Slider("low threshold", *REACH["low_threshold"]),
    "high_threshold": Slider("high threshold", *REACH["high_threshold"]),
    "seed": Slider("seed", 0, 99, 1),
    "num_images": Slider("pictures", *REACH["num_images"]),
}


def explore(
    function: Callable[..., list[Portrait]],
    model: Any,
    *inputs: Any,
    made: list[Portrait] | None = None,
    **settings: Any,
) -> Any:
    """Return sliders for the settings of `function(model, *inputs, **settings)`, and a button.

    The controls start at the values given, or at the defaults of the model's preset; a function
    with an `image` also gets a button to upload another. Nothing is generated until the button is
    pressed; then the pictures appear below it, and are appended to `made` if that is a list. A
    notebook that runs without a reader (papermill, nbconvert) gets a line of text instead, so that
    no widget state is stored in it: put a figure beside it.

    Raises `UsageError` if the function cannot be called with what was given.

    >>> explore(text_to_image, model, "a smiling man", Sampling(seed=3))
    """
    arguments = bind_call(function, (model, *inputs), settings)
    if not reader_present():
        from IPython.display import Markdown

        return Markdown("*Run this cell in a live notebook: its sliders appear here.*")
    known = setting_names(arguments)
    controls = {
        name: control.widget(_start(arguments, model, name))
        for name, control in CONTROLS.items()
        if name in known
    }
    button = widgets.Button(description="Make portraits", button_style="primary", icon="magic")
    progress = widgets.IntProgress(value=0, max=1, layout=widgets.Layout(width="300px"))
    said = widgets.HTML("")
    upload, uploaded = _upload_row(arguments, said)
    picture = widgets.Image(layout=widgets.Layout(display="none"))

    def make(_: Any) -> None:
        button.disabled, said.value = True, ""
        chosen = {name: control.value for name, control in controls.items()} | uploaded
        try:
            portraits = _call(function, arguments, chosen, progress)
        except Exception as problem:  # the reader sees one line and may try again
            said.value = f"<b>{html.escape(str(problem) or type(problem).__name__)}</b>"
        else:
            picture.value, picture.format = show_strip(portraits).encoded()
            picture.layout.display = None
            said.value = _summary(portraits)
            if made is not None:
                made.extend(portraits)
        finally:
            button.disabled, progress.value = False, 0

    button.on_click(make)
    row = widgets.HBox([button, progress])
    return widgets.VBox([*upload, *controls.values(), row, said, picture])


def open_studio(
    model: Model,
    photos: PhotoSet | None = None,
    screen: Screen | None = None,
    *,
    folder: str | os.PathLike[str] = "runs/studio",
    photos_dir: str = "",
    made: list[Portrait] | None = None,
) -> Any:
    """Return the studio: portraits from words, from a photo, along edges, a face taught, sweeps.

    photos: of one person, to start from and to learn from; None for none yet, they can be uploaded.
    screen: the settings to start with, as `screen_of_parameters` makes them; None for defaults.
    folder: keeps every picture made, what was uploaded and what was learnt; a studio that is opened
        on it again shows them.
    photos_dir: where the photos lie, for the command that makes the same by papermill.
    made: every portrait drawn is appended to it, if that is a list.

    Drawing runs beside the kernel's own thread, so that it can be cancelled. As with `explore`, a
    notebook that runs without a reader gets a line of text instead.
    Raises UsageError for what is no model, and a folder that cannot be written to.

    >>> open_studio(load_model("mini"), subject_photos())
    """
    from portraitlib.models.load import Model
    from portraitlib.studio.app import Studio
    from portraitlib.studio.recipes import Screen

    if not isinstance(model, Model):
        raise UsageError(f"model: got {model!r}, expected a loaded model; try load_model('mini')")
    if not reader_present():
        from IPython.display import Markdown

        return Markdown("*Run this cell in a live notebook: the studio appears here.*")
    place = Path(folder).expanduser()
    check_writable(place)
    studio = Studio(model, photos, screen or Screen(), place, photos_dir, made)
    from IPython import get_ipython

    if get_ipython() is not None:
        from IPython.display import Javascript, display

        display(Javascript(SCRIPT))
    return studio.box


def _upload_row(arguments: dict[str, Any], said: Any) -> tuple[list[Any], dict[str, Any]]:
    """The button and thumbnail for a function with an `image`, and what was uploaded with it.

    The dict stays empty until then. What cannot be read leaves it, and is told in `said`.
    """
    uploaded: dict[str, Any] = {}
    if "image" not in arguments:
        return [], uploaded
    thumbnail = widgets.Image(format="png", layout=widgets.Layout(display="none"))

    def show(picture: Image.Image) -> None:
        buffer = io.BytesIO()
        shrunk(picture, THUMBNAIL_PX).save(buffer, format="PNG")
        thumbnail.value, thumbnail.layout.display = buffer.getvalue(), None

    def take(files: list[tuple[str, bytes]]) -> None:
        said.value = ""
        try:
            uploaded["image"], _ = read_content(files[0][1])
        except NotAPhoto as reason:
            said.value = f"<b>{html.escape(f'upload: {reason}')}</b>"
        else:
            show(uploaded["image"])

    if arguments["image"] is not None:
        show(open_picture(arguments["image"]))
    place = FilePlace("or drop it here", take, "Another picture")
    return [widgets.HBox([place, thumbnail])], uploaded


def _start(arguments: dict[str, Any], model: Any, name: str) -> Any:
    """Where a control starts: at the value held, else at the default of the model's preset."""
    value = get_setting(arguments, name)
    return getattr(model.preset, name) if value is None else value


def _call(
    function: Callable[..., list[Portrait]],
    arguments: dict[str, Any],
    chosen: dict[str, Any],
    progress: Any,
) -> list[Portrait]:
    def on_step(step: int, total: int) -> None:
        progress.max, progress.value = total, step

    changed = with_settings(arguments, chosen)
    if "on_step" in changed:
        changed["on_step"] = on_step
    return function(**changed)


def _summary(portraits: list[Portrait]) -> str:
    """The recipe of what was made, in one line."""
    recipe = portraits[0].recipe
    if "seed" not in recipe:  # a picture that no model drew, such as edges
        return ""
    seeds = ", ".join(str(portrait.recipe.get("seed")) for portrait in portraits)
    seconds = sum(portrait.recipe.get("seconds") or 0.0 for portrait in portraits)
    strength = f"strength {recipe['strength']:g}; " if "strength" in recipe else ""
    scale = recipe.get("controlnet_conditioning_scale")
    control = "" if scale is None else f"control {scale}; "
    return (
        f"seed {seeds}; {recipe.get('num_inference_steps')} steps; "
        f"guidance {recipe.get('guidance_scale')}; {strength}{control}{seconds:.1f} s"
    )
