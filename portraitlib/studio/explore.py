"""Sliders for a notebook: change a setting, press the button, look. Only notebooks import this.

`explore` has the settings of one function; `open_studio` is the whole series as an app, which
`app` puts together. Works with ipywidgets 7.7 and 8.
"""

from __future__ import annotations

import html
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

from portraitlib.generate.calls import bind_call, get_setting, setting_names, with_settings
from portraitlib.photos.files import NotAPhoto, read_content
from portraitlib.photos.pictures import open_picture
from portraitlib.portrait import Portrait, check_writable
from portraitlib.settings import UsageError
from portraitlib.show import show_strip
from portraitlib.studio.fields import SHOWN, Setting, make_setting, shown
from portraitlib.studio.look import reader_present, style, text_of, without_reader
from portraitlib.studio.uploads import FilePlace, put_picture

if TYPE_CHECKING:
    from portraitlib.models.load import Model
    from portraitlib.photos.photo_set import PhotoSet
    from portraitlib.studio.recipes import Screen

THUMBNAIL_PX = 96
# What has a control, in the order of the screen, where the function knows it.
EXPLORED = [name for name, how in SHOWN.items() if how.explored]


def explore(
    function: Callable[..., list[Portrait]],
    model: Any,
    *inputs: Any,
    made: list[Portrait] | None = None,
    **settings: Any,
) -> Any:
    """Return sliders for the settings of `function(model, *inputs, **settings)`, and a button.

    The controls start at the values given, or at the defaults of the model's preset; a function
    with an `image` also gets a button to upload another. Once the button is pressed the pictures
    appear below it, and are appended to `made` if that is a list. A notebook that runs without a
    reader (papermill, nbconvert) gets a line of text instead: put a figure beside it.

    Raises `UsageError` if the function cannot be called with what was given.

    >>> explore(text_to_image, model, "a smiling man", Sampling(seed=3))
    """
    arguments = bind_call(function, (model, *inputs), settings)
    if not reader_present():
        return without_reader("its sliders appear")
    known = setting_names(arguments)
    controls = {name: _control(arguments, model, name) for name in EXPLORED if name in known}
    button = widgets.Button(description="Make portraits", button_style="primary", icon="magic")
    progress = widgets.IntProgress(value=0, max=1, layout=widgets.Layout(width="300px"))
    said = widgets.HTML("")
    upload, uploaded = _upload_row(arguments, said)
    picture = widgets.Image(layout=widgets.Layout(display="none"))

    def make(_: Any) -> None:
        button.disabled, said.value = True, ""
        try:
            chosen = {name: control.read() for name, control in controls.items()} | uploaded
            portraits = _call(function, with_settings(arguments, chosen), progress)
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
    rows = [*upload, *(control.box for control in controls.values())]
    rows += [widgets.HBox([button, progress]), said, picture]
    box = widgets.VBox([widgets.HTML(style()), *rows])
    for name in ("pl-studio", "pl-explore"):
        box.add_class(name)
    return box


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
        return without_reader("the studio appears")
    place = Path(folder).expanduser()
    check_writable(place)
    studio = Studio(model, photos, screen or Screen(), place, photos_dir, made)
    from IPython import get_ipython

    if get_ipython() is not None:
        from IPython.display import Javascript, display

        display(Javascript(text_of("copy.js")))
    return studio.box


def _upload_row(arguments: dict[str, Any], said: Any) -> tuple[list[Any], dict[str, Any]]:
    """The button and thumbnail for a function with an `image`, and what was uploaded with it.

    The dict stays empty until then. What cannot be read leaves it, and is told in `said`.
    """
    uploaded: dict[str, Any] = {}
    if "image" not in arguments:
        return [], uploaded
    thumbnail = widgets.Image(format="jpeg", layout=widgets.Layout(display="none"))

    def take(files: list[tuple[str, bytes]]) -> None:
        said.value = ""
        try:
            uploaded["image"], _ = read_content(files[0][1])
        except NotAPhoto as reason:
            said.value = f"<b>{html.escape(f'upload: {reason}')}</b>"
        else:
            put_picture(thumbnail, uploaded["image"], THUMBNAIL_PX)

    if arguments["image"] is not None:
        put_picture(thumbnail, open_picture(arguments["image"]), THUMBNAIL_PX)
    place = FilePlace("or drop it here", take, "Another picture")
    return [widgets.HBox([place, thumbnail])], uploaded


def _call(
    function: Callable[..., list[Portrait]], arguments: dict[str, Any], progress: Any
) -> list[Portrait]:
    """What the function makes; the bar shows its steps, if it tells of them."""

    def on_step(step: int, total: int) -> None:
        progress.max, progress.value = total, step

    watch = {"on_step": on_step} if "on_step" in arguments else {}
    return function(**{**arguments, **watch})


def _control(arguments: dict[str, Any], model: Any, name: str) -> Setting:
    """The widget of a setting, at the value held, else at the default of the model's preset."""
    value = get_setting(arguments, name)
    value = getattr(model.preset, name, None) if value is None else value
    return make_setting(name, value, shown(name).empty if value is None else None)


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
