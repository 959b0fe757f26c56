"""The parts of the studio's tabs: the photo and its edges, adapters, a training, a sweep."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from portraitlib.models.adapters import Adapter
from portraitlib.models.load import Model
from portraitlib.photos.files import read_content
from portraitlib.photos.photo_set import Photo, PhotoSet
from portraitlib.photos.pictures import picture_hash, ready_picture_once
from portraitlib.portrait import Portrait, write_whole
from portraitlib.settings import RANGES, DreamBooth, Range, UsageError, check_number
from portraitlib.studio.draw import edges_of
from portraitlib.studio.fields import (
    Form,
    Setting,
    label_of,
    labelled,
    make_setting,
    set_tooltip,
)
from portraitlib.studio.gallery import encoded, make_thumb
from portraitlib.studio.recipes import METHODS, TABS, Lines, number_in, variable
from portraitlib.studio.uploads import FilePlace, Files, put_picture, shown_place, titled
from portraitlib.training.class_images import COUNT

SHOWN_PX, THUMBNAIL_PX = 320, 104
NOTHING = "nothing"
BETWEEN = " | "  # texts of a sweep: they have commas of their own
Say = Callable[[str], None]


def add_seed_buttons(seed: Setting, roll: Callable[[], None]) -> tuple[Any, Any]:
    """A button for another seed and one that keeps it, put beside the seed's number."""
    dice = widgets.Button(description="Dice", icon="random")
    lock = widgets.ToggleButton(value=True, description="Lock", icon="lock")
    set_tooltip(dice, "another seed")
    set_tooltip(lock, "keep the seed; unlocked, each drawing has another")
    dice.on_click(lambda _: roll())
    row = seed.box.children[0]
    row.children = (*row.children, dice, lock)
    return dice, lock


def thumbs_of(photos: Iterable[Photo], press: Callable[[Photo], None]) -> tuple[Any, ...]:
    """Small copies of the photos that have a picture; `press` gets the one that is pressed."""
    return tuple(
        make_thumb(encoded(photo.image, THUMBNAIL_PX), photo.name, partial(press, photo))
        for photo in photos
        if photo.image is not None
    )


def make_head(model: Model, explain: Callable[[bool], None]) -> Any:
    """The studio's title, and a switch that `explain` hears of: the whole help of every setting."""
    title = f"<b>Studio</b> <span class='pl-soft'>{html.escape(str(model))}</span>"
    switch = widgets.ToggleButton(value=False, description="Explain", icon="question")
    set_tooltip(switch, "the whole help of every setting")
    switch.observe(lambda change: explain(change["new"]), "value")
    return widgets.HBox([widgets.HTML(title), switch]).add_class("pl-head")


class PhotoPanel:
    """The picture that is started from, and its edges.

    file: where it lies; "" for the first photo of the set.  changed: called when it is another.
    """

    def __init__(self, model: Model, folder: Path, changed: Callable[[], Any], say: Say) -> None:
        self.model, self.folder, self.changed, self.say = model, folder, changed, say
        self.place, self.picture = shown_place()
        self.edges_place, self.edges = shown_place()
        self.thumbs = widgets.Box().add_class("pl-thumbs")
        self.thumbs_box = widgets.VBox([self.thumbs]).add_class("pl-photos")
        words = "or drop a photo here; it is turned upright and cut about the head"
        self.drop = FilePlace(words, self._upload, say, "Another photo")

    def source(self, *places: Any) -> Any:
        """The picture, with its edges beneath it if asked for, beside the photos to choose from."""
        pair = widgets.Box(places).add_class("pl-pair")
        choice = widgets.VBox([self.drop, self.thumbs_box])
        return widgets.Box([pair, choice]).add_class("pl-source")

    def fill(self, photos: PhotoSet | None, all_named: bool = False) -> None:
        """Show the photos of a set, to choose one from, and start from the first.

        all_named: name that by a file too: a command without a folder would take another.
        """
        self.photos, self.all_named = photos, all_named
        self.thumbs.children = thumbs_of(photos or (), self._press)
        first = self._first()
        self.file = self._keep(first.image) if all_named and first is not None else ""
        self.show()

    def use(self, file: str) -> None:
        """Start from the picture in a file; "" is the first photo."""
        self.file = file
        self.show()
        self.changed()

    def show(self) -> None:
        """Show the picture as the model will see it."""
        source, ready = self.given(), None
        try:
            if source is not None:
                kept, size_px = self.model.ready_pictures, self.model.preset.size_px
                ready, _ = ready_picture_once(kept, source, size_px)
        except UsageError as problem:
            self.say(str(problem))
        put_picture(self.picture, ready, SHOWN_PX)

    def given(self) -> Any:
        """The picture, as a screen has it; None if there is none."""
        return self.file or self._first()

    def _first(self) -> Any:
        return next((photo for photo in self.photos or () if photo.image is not None), None)

    def show_edges(self, lines: Lines, size_px: int | None) -> dict[str, Any]:
        """Show the edges; returns the thresholds in use."""
        source, edges = self.given(), None
        try:
            if source is not None:
                edges = edges_of(self.model, source, lines, size_px)
        except UsageError as problem:
            self.say(str(problem))
        put_picture(self.edges, edges.image if edges else None, SHOWN_PX)
        return edges.settings if edges else {}

    def _press(self, photo: Photo) -> None:
        named = self.all_named or photo is not self._first()
        self.use(self._keep(photo.image) if named else "")

    def _keep(self, picture: Any) -> str:
        """A picture as a file of the studio's, named by its content, which a command can name."""
        path = self.folder / "pictures" / f"{picture_hash(picture)[7:23]}.png"
        if not path.is_file():
            Portrait(picture).save(path)
        return str(path.absolute())

    def _upload(self, files: Files) -> None:
        picture, _ = read_content(files[0][1])
        self.use(self._keep(picture))


class PersonPanel:
    """The photos in the prompt: whether they speak, how hard they hold, and which they are.

    upload: called with the names and contents of photos that were chosen.
    """

    def __init__(self, form: Form, upload: Callable[[Files], None], say: Say) -> None:
        words = "or drop one or more of one person here; the other tabs have them too"
        self.drop = FilePlace(words, upload, say, "My photos", multiple=True)
        self.thumbs = widgets.Box().add_class("pl-thumbs")
        wall = widgets.VBox([self.thumbs]).add_class("pl-photos")
        self.box = titled([*form.boxes, self.drop, wall], "Photos in the prompt")

    def fill(self, photos: PhotoSet | None) -> None:
        """Show the photos."""
        self.thumbs.children = thumbs_of(photos or (), lambda _: None)


class AdapterPanel:
    """The adapters in use, a slider each."""

    def __init__(self, folder: Path, changed: Callable[[], None], say: Say) -> None:
        self.folder, self.changed, self.say = folder, changed, say
        self.rows: dict[str, tuple[Any, Any]] = {}  # file -> setting, box
        self.list = widgets.VBox([])
        words = "or drop a .safetensors file here: a face taught before, or a LoRA of others"
        self.drop = FilePlace(words, self._upload, say, "Add an adapter", accept=".safetensors")
        more = {"placeholder": "faces/jrdnpl.safetensors", "continuous_update": False}
        self.path = labelled(widgets.Text, "or its path", **more)
        self.path.observe(self._typed, "value")
        self.box = widgets.VBox([self.list, self.drop, self.path])

    @property
    def entries(self) -> tuple[tuple[str, float], ...]:
        """(file, scale) of each."""
        return tuple((file, setting.read()) for file, (setting, _) in self.rows.items())

    def add(self, file: str, scale: float = 1.0) -> None:
        """Put an adapter among those in use; raises UsageError for a file that is none."""
        path = str(Path(file).expanduser().absolute())
        adapter = Adapter.open(path)
        if path in self.rows:
            self.rows[path][0].write(scale)
            return
        setting = make_setting("adapter_scale", scale)
        setting.control.description = adapter.name[:24]
        set_tooltip(setting.control, path)
        setting.control.observe(lambda _: self.changed(), "value")
        remove = widgets.Button(description="Remove")
        remove.on_click(lambda _: self._remove(path))
        row = widgets.Box([setting.box, remove]).add_class("pl-adapter")
        self.rows[path] = setting, row
        self._list()

    def _list(self) -> None:
        self.list.children = tuple(row for _, row in self.rows.values())
        self.changed()

    def _remove(self, path: str) -> None:
        self.rows.pop(path, None)
        self._list()

    def _typed(self, change: Any) -> None:
        if change["new"].strip():
            try:
                self.add(change["new"].strip())
                self.path.value = ""
            except UsageError as problem:
                self.say(str(problem))

    def _upload(self, files: Files) -> None:
        name, content = files[0]
        path = self.folder / "adapters" / Path(name).name
        write_whole(path, content)
        self.add(str(path))


class TrainPanel:
    """The photos of a face and how it is taught.

    upload: called with the names and contents of photos that were chosen.
    """

    def __init__(
        self, model: Model, training: DreamBooth, count: int,
        upload: Callable[[Files], None], changed: Callable[[], Any], say: Say,
    ) -> None:  # fmt: skip
        words = "or drop ten or more photos of one person here; they stay on this machine"
        self.drop = FilePlace(words, upload, say, "Photos", multiple=True)
        self.report = widgets.HTML()
        self.thumbs = widgets.Box().add_class("pl-thumbs")
        wall = widgets.VBox([self.thumbs]).add_class("pl-photos")
        self.form = Form(training, model.preset.training, filled=False)
        allowed = Range(0, COUNT.high, "0: none", COUNT.example)
        self.count = make_setting("num_class_images", count, allowed=allowed)
        self.form.observe(lambda _: changed())
        self.count.control.observe(lambda _: changed(), "value")
        (_, first), *others = self.form.by_group().items()
        sections = widgets.Accordion([widgets.VBox(boxes) for _, boxes in others])
        for index, (title, _) in enumerate(others):
            sections.set_title(index, title)
        sections.selected_index = None
        self.box = widgets.VBox([self.drop, self.report, wall, *first, self.count.box, sections])

    def fill(self, photos: PhotoSet | None) -> None:
        """Show the photos that are learnt from."""
        if photos is None:
            self.report.value = "<span class='pl-soft'>No photos yet.</span>"
            return
        self.thumbs.children = thumbs_of(photos, lambda _: None)
        head, *lines = (html.escape(line) for line in photos.report.splitlines())
        self.report.value = (
            f"<details class='pl-soft pl-report'><summary>{head}</summary>"
            f"<pre>{chr(10).join(lines)}</pre></details>"
        )


class SweepPanel:
    """What is varied, across and down."""

    def __init__(self, changed: Callable[[], Any]) -> None:
        options = [(TABS[method].title, method) for method in METHODS]
        text = partial(labelled, widgets.Text, "its values", continuous_update=False)
        self.method = labelled(widgets.Dropdown, "draw from", options=options, value="words")
        self.across = labelled(widgets.Dropdown, "across", options=[NOTHING])
        self.across_values = text(value="2, 8, 25")
        self.down = labelled(widgets.Dropdown, "down", options=[NOTHING])
        self.down_values = text(value="1, 2, 6")
        note = widgets.HTML(f"<span class='pl-soft'>{SWEEP_NOTE}</span>")
        self._options()
        self.across.value, self.down.value = "num_inference_steps", "guidance_scale"
        self.method.observe(lambda _: self._options(), "value")
        parts = [self.method, self.across, self.across_values, self.down, self.down_values]
        for part in parts:
            part.observe(lambda _: changed(), "value")
        self.box = widgets.VBox([*parts, note]).add_class("pl-varied")

    def _options(self) -> None:
        names = variable(self.method.value)
        options = [(NOTHING, NOTHING), *((label_of(name), name) for name in names)]
        for box in (self.across, self.down):
            value = box.value
            box.options = options
            box.value = value if value in names else NOTHING

    def vary(self) -> dict[str, list[Any]]:
        """Setting -> values, down first: it changes slowest. Raises UsageError in one line."""
        rows = {self.down.value: self.down_values.value}
        if self.across.value in rows and self.across.value != NOTHING:
            name = label_of(self.across.value)
            raise UsageError(f"sweep: {name} is across and down; choose another")
        rows[self.across.value] = self.across_values.value
        vary = {name: read_values(name, text) for name, text in rows.items() if name != NOTHING}
        if not vary:
            raise UsageError("sweep: nothing is varied; choose a setting across")
        return vary

    def write(self, method: str, vary: dict[str, list[Any]]) -> None:
        """Show another sweep."""
        self.method.value = method
        names = [NOTHING] * (2 - len(vary)) + list(vary)
        boxes = ((self.down, self.down_values), (self.across, self.across_values))
        for name, (box, values) in zip(names, boxes, strict=True):
            box.value = name
            if name != NOTHING:
                mark = ", " if name in RANGES else BETWEEN
                values.value = mark.join(map(str, vary[name]))


SWEEP_NOTE = (
    "Numbers are separated by commas, prompts by |. All else is held as it stands in the tab of "
    "the method, the seed too, so that neighbours differ in one thing only."
)


def read_values(name: str, text: str) -> list[Any]:
    """ "2, 8" as [2, 8]; "a man | a woman" as two prompts. Raises UsageError in one line."""
    numbers = name in RANGES
    parts: list[Any] = [part.strip() for part in text.split("," if numbers else BETWEEN.strip())]
    values = [part for part in parts if part] if numbers else parts
    if numbers:
        values = [check_number("sweep", name, number_in(part), RANGES[name]) for part in values]
    if not any(part != "" for part in values):
        raise UsageError(f"sweep: {label_of(name)} has no values; try 2, 8, 25")
    return values
