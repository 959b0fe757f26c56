"""The studio: tabs of settings on one side, the picture that they make on the other."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from IPython import get_ipython
from IPython.display import Javascript, display

from portraitlib.models.load import Model
from portraitlib.photos.photo_set import PhotoSet
from portraitlib.photos.subject import subject_source
from portraitlib.places import project_folder
from portraitlib.portrait import Portrait, check_writable
from portraitlib.settings import DreamBooth, UsageError
from portraitlib.studio.draw import Made, make
from portraitlib.studio.dropped import read_dropped, settings_of_recipe
from portraitlib.studio.fields import Form, make_setting
from portraitlib.studio.gallery import Entry, Gallery, History, sheet_html
from portraitlib.studio.is_it_me import CardPanel
from portraitlib.studio.look import reader_present, style, text_of, without_reader
from portraitlib.studio.panels import (
    AdapterPanel,
    PersonPanel,
    PhotoPanel,
    SweepPanel,
    TrainPanel,
    add_seed_buttons,
    make_head,
)
from portraitlib.studio.portrait_panel import NO_FOLDER, PortraitPanel
from portraitlib.studio.recipes import (
    METHODS,
    RECORDS,
    TABS,
    Screen,
    papermill_command,
    parameters_of_screen,
    shown_parameters,
)
from portraitlib.studio.stage import Forming, Stage
from portraitlib.studio.uploads import FilePlace, Files, keep_photos, titled

NOTEBOOK = "09_studio.ipynb"
MOST_SEED = 2**32 - 257  # leaves room for the largest batch
WITHOUT_PHOTOS = {"photos_in_prompt": False}  # what a picture says that says nothing of them


def open_studio(
    model: Model,
    photos: PhotoSet | None = None,
    screen: Screen | None = None,
    *,
    folder: str | os.PathLike[str] = "runs/studio",
    photos_dir: str = "",
    made: list[Portrait] | None = None,
) -> Any:
    """Return the studio: portraits to choose from, and each way of drawing and teaching by itself.

    photos: of one person, to start from and to learn from; None for none yet, they can be uploaded.
    screen: the settings to start with, by `screen_of_parameters`; None for the first tab.
    folder: keeps every picture made, what was uploaded and what was learnt; a studio that is opened
        on it again shows them.
    photos_dir: where the photos lie, for the command that makes the same.
    made: every portrait drawn is appended to it, if that is a list.

    Drawing runs beside the kernel's own thread, so that it can be cancelled. As with `explore`, a
    notebook that runs without a reader gets a line of text instead.
    Raises UsageError for what is no model, and a folder that cannot be written to.

    >>> open_studio(load_model("mini"), subject_photos())
    """
    if not isinstance(model, Model):
        raise UsageError(f"model: got {model!r}, expected a loaded model; try load_model('mini')")
    if not reader_present():
        return without_reader("the studio appears")
    place = Path(folder).expanduser()
    check_writable(place)
    studio = Studio(model, photos, screen, place, photos_dir, made)
    if get_ipython() is not None:
        display(Javascript(text_of("copy.js")))
    return studio.box


class Studio:
    """All widgets of the studio and what they do; `box` is what a notebook shows."""

    def __init__(
        self,
        model: Model,
        photos: PhotoSet | None,
        screen: Screen | None,
        folder: Path,
        photos_dir: str = "",
        made: list[Portrait] | None = None,
    ) -> None:
        self.model, self.photos, self.folder = model, photos, folder
        self.photos_dir, self.made = photos_dir, made
        notebook = project_folder() / "notebooks" / NOTEBOOK
        self.notebook = str(notebook) if notebook.is_file() else NOTEBOOK
        self.stage, self._quiet = Stage(), True
        start = screen or Screen()
        self._make_settings(start)
        self.gallery = Gallery(History(folder / "history"), self.look_at)
        self.is_it_me = CardPanel(
            model, folder, self.gallery.history, self.stage, lambda: self.photos
        )
        self.box = self._lay_out()
        self.take(parameters_of_screen(start))
        for file, scale in start.adapters:
            self.adapters.add(file, scale)
        if screen is None:
            self.turn_to("portrait")
        self._quiet = False
        self.changed()
        if self.gallery.history.entries:
            self.look_at(self.gallery.history.entries[-1])

    # --- what is on screen -----------------------------------------------------------------------

    def _make_settings(self, screen: Screen) -> None:
        self.prompt = make_setting("prompt", screen.prompt)
        self.prompt.control.observe(self._moved, "value")
        self.sampling = Form(screen.sampling, vars(self.model.preset))
        self.from_photo, self.lines = Form(screen.from_photo), Form(screen.lines)
        self.control = Form(screen.control)
        own = self.model.preset.ip_adapter
        self.person = Form(screen.person, {"person_scale": own and own.scale})
        for form in self._forms().values():
            form.observe(self._moved)
        self.photo = PhotoPanel(self.model, self.folder, self._moved, self.stage.wrong)
        self.whose = PersonPanel(self.person, self._take_photos, self.stage.wrong)
        self.adapters = AdapterPanel(self.folder, self._moved, self.stage.wrong)
        training, count = screen.training or DreamBooth(), screen.num_class_images
        self.train = TrainPanel(
            self.model, training, count, self._take_photos, self.changed, self.stage.wrong
        )
        self.portrait = PortraitPanel(
            self.model, self.folder, self.stage, self._take_photos, self.changed, self._hang
        )
        self._show_photos()
        self.sweep = SweepPanel(self.changed)
        self.dice, self.lock = add_seed_buttons(self.sampling["seed"], self._roll)
        self.stage.action.on_click(lambda _: self.generate())
        self.stage.to_photo.on_click(lambda _: self._send("photo"))
        self.stage.to_edges.on_click(lambda _: self._send("edges"))
        self.stage.to_sliders.on_click(lambda _: self._send_to_sliders())

    def _forms(self) -> dict[str, Form]:
        """The forms of a screen's records, by their names."""
        return {name: getattr(self, name) for name in RECORDS}

    def _lay_out(self) -> Any:
        self.tabs = self._lay_out_tabs()
        words = "or drop a PNG made here, or by AUTOMATIC1111: the sliders take its settings"
        self.drop = FilePlace(
            words, self._take_png, self.stage.wrong, "Settings of a PNG", accept="image/png"
        )
        self.command = widgets.Textarea(rows=6, layout={"width": "100%"})
        copy = widgets.Button(description="Copy", icon="copy").add_class("pl-copy")
        command = titled([self.command, copy], "The same as a command").add_class("pl-command")
        self.sheet = widgets.HTML().add_class("pl-sheet")
        made = [self.gallery.box, self.is_it_me.box, self.drop]
        right = widgets.VBox([*self.stage.boxes, self.sheet, *made]).add_class("pl-right")
        main = widgets.Box([self.tabs, right, command]).add_class("pl-main")
        head = make_head(self.model, self._explain)
        return widgets.VBox([widgets.HTML(style()), head, main]).add_class("pl-studio")

    def _lay_out_tabs(self) -> Any:
        prompt, photo = self.prompt.box, self.photo
        adapters = titled([self.adapters.box], "Adapters")
        shared = [*self.sampling.boxes, self.whose.box, adapters]
        edges = [*self.lines.boxes, *self.control.boxes]
        pages = {
            "portrait": [self.portrait.box],
            "words": [prompt, *shared],
            "photo": [photo.source(photo.place), prompt, *self.from_photo.boxes, *shared],
            "edges": [photo.source(photo.place, photo.edges_place), prompt, *edges, *shared],
            "face": [self.train.box, titled([prompt], "Then draw, as the words tab says")],
            "sweep": [self.sweep.box],
        }
        tabs = widgets.Tab([widgets.VBox(pages[name]) for name in TABS]).add_class("pl-tabs")
        for index, tab in enumerate(TABS.values()):
            tabs.set_title(index, tab.title)
        tabs.selected_index = 0
        tabs.observe(lambda _: self._turned(), "selected_index")
        return tabs

    def _explain(self, whole: bool) -> None:
        (self.box.add_class if whole else self.box.remove_class)("pl-explain")

    def _show_photos(self) -> None:
        """Show the person's photos wherever they are used."""
        self.photo.fill(self.photos, all_named=self._nameless())
        self.train.fill(self.photos)
        self.portrait.fill(self.photos)
        self.whose.fill(self.photos)

    def _nameless(self) -> bool:
        """Are the photos others than those that a command without `photos_dir` takes?"""
        if self.photos is None or self.photos_dir:
            return False
        return self.photos.source != subject_source()

    # --- the settings ----------------------------------------------------------------------------

    @property
    def tab(self) -> str:
        """The tab on top, a name in `TABS`."""
        return list(TABS)[self.tabs.selected_index or 0]

    def turn_to(self, tab: str) -> None:
        """Bring a tab to the top."""
        self.tabs.selected_index = list(TABS).index(tab)

    def screen(self) -> Screen:
        """What is on screen; raises UsageError in one line for what cannot be."""
        tab = self.tab
        more: dict[str, Any] = {"adapters": self.adapters.entries}
        if tab == "face":
            more = {
                "training": self.train.form.record(),
                "num_class_images": self.train.count.read(),
            }
        if tab == "sweep":
            more["vary"] = self.sweep.vary()
        return Screen(
            method={"face": "words", "sweep": self.sweep.method.value}.get(tab, tab),
            prompt=self.prompt.read(),
            photo_file=self.photo.file,
            **{name: form.record() for name, form in self._forms().items()},
            **more,
        )

    def take(self, settings: Mapping[str, Any]) -> None:
        """Put flat parameters into the widgets; what is not among them stays."""
        with self._quietly():  # a start beyond the old end is no mistake while both change
            if "prompt" in settings:
                self.prompt.write(settings["prompt"])
            for form in self._forms().values():
                form.write(settings)
            if settings.get("photo_file"):
                self.photo.use(settings["photo_file"])
            if settings.get("vary"):
                self.sweep.write(settings["method"], settings["vary"])
                self.turn_to("sweep")
            elif settings.get("training"):
                self.turn_to("face")
            elif settings.get("method") in METHODS:
                self.turn_to(settings["method"])
        self.changed()

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """Nothing follows from what changes meanwhile."""
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    def changed(self) -> Screen | None:
        """Bring what follows from the settings up to date; the screen, or None if it cannot be."""
        if self._quiet:
            return None
        try:
            if self.tab == "portrait":
                self.command.value = self.portrait.command(self.photos_dir, self._nameless())
                return None
            screen = self.screen()
        except UsageError as problem:
            self.command.value = f"# {problem}"
            return None
        self._follow(screen)
        return screen

    def _follow(self, screen: Screen) -> None:
        """Show the edges of a screen and the command that draws it."""
        whole = screen.training is not None or screen.person.photos_in_prompt
        if whole and self._nameless():
            self.command.value = NO_FOLDER
            return
        if "edges" in (self.tab, screen.method):
            used = self.photo.show_edges(screen.lines, screen.sampling.size_px)
            for name in set(used) & set(self.lines.settings):
                self.lines[name].control.placeholder = f"{used[name]:g}, chosen by the picture"
        model = {"model_name": self.model.name, "photos_dir": self.photos_dir}
        parameters = {name: value for name, value in model.items() if value}
        parameters |= shown_parameters(screen)
        self.command.value = papermill_command(parameters, self.notebook, "mine.ipynb")

    def _moved(self, _: Any = None) -> None:
        """A setting was changed by hand: with `live` on, draw."""
        screen = self.changed()
        if screen is not None and self.stage.live.value and self.tab in METHODS:
            self.draw(screen)

    def _turned(self) -> None:
        self.stage.action.description = TABS[self.tab].action
        self.changed()

    def _roll(self) -> None:
        """Another seed, which live drawing hears of once."""
        self.sampling.write({"seed": secrets.randbelow(MOST_SEED)})

    def _take_png(self, files: Files) -> None:
        name, content = files[0]
        settings, notes = read_dropped(content)
        preset = self.model.preset
        if not preset.knows_sizes and settings.get("size_px", preset.size_px) != preset.size_px:
            notes += (f"{preset.name} draws {preset.size_px} px, not {settings.pop('size_px')}",)
        self.take(WITHOUT_PHOTOS | settings)
        self.stage.say("; ".join([f"The settings are those of {name}", *notes]))

    def _take_photos(self, files: Files) -> None:
        """Photos of the person, in place of those before."""

        def read() -> None:
            folder, self.photos = keep_photos(files, self.folder, self.model.preset.size_px)
            self.photos_dir = str(folder.absolute())
            self._show_photos()
            self._moved()
            self.stage.say(str(self.photos.summary))

        self.stage.run(read, "Reading the photos")

    # --- drawing ---------------------------------------------------------------------------------

    def generate(self) -> None:
        """Draw what is on screen, with another seed if it is not locked."""
        if self.tab == "portrait":
            self.portrait.start()
            return
        if not self.lock.value:
            with self._quietly():
                self._roll()
        try:
            screen = self.screen()
        except UsageError as problem:
            self.stage.wrong(str(problem))
            return
        self._follow(screen)
        self.draw(screen)

    def draw(self, screen: Screen) -> None:
        """Draw a screen, in a thread of its own."""
        self.stage.run(lambda: self._draw(screen), "Starting")

    def _draw(self, screen: Screen) -> None:
        forming = Forming(self.stage.picture)
        made = make(self.model, screen, self.photos, self.stage.callbacks(forming))
        seconds = time.perf_counter() - forming.started_s
        self._show(made)
        first = f"; first preview after {forming.first_s:.1f} s" if forming.first_s else ""
        count = len(made.portraits)
        self.stage.say(f"{count} picture{'s' * (count > 1)} in {seconds:.1f} s{first}")

    def _hang(self, portraits: list[Portrait]) -> None:
        """Show and keep those that the gallery does not have yet."""
        if new := self.gallery.lacking(portraits):
            self._show(Made(new))

    def _show(self, made: Made) -> None:
        if self.made is not None:
            self.made.extend(made.portraits)
        entries = self.gallery.add(made.portraits)
        self.look_at(entries[0])
        self.sheet.value = sheet_html(made.table, made.scores) if made.table else ""
        if made.adapter is not None:
            name = f"{made.adapter.name}-{made.adapter.hash[:8]}.safetensors"
            sample = replace(made.adapter, sample=made.portraits[0].image)
            self.adapters.add(str(sample.save(self.folder / "faces" / name)))

    # --- looking ---------------------------------------------------------------------------------

    def look_at(self, entry: Entry) -> None:
        """Show a picture of the gallery large, with its recipe and what can be done with it."""
        self.gallery.mark(entry)
        try:
            self.stage.show(entry)
        except (UsageError, OSError) as problem:
            self.stage.wrong(str(problem))

    def _send(self, method: str) -> None:
        """Start from the chosen picture, or from its edges."""
        if self.stage.chosen is not None:
            self.turn_to(method)
            self.photo.use(str(self.stage.chosen.path.absolute()))

    def _send_to_sliders(self) -> None:
        if self.stage.chosen is not None:
            self.take(WITHOUT_PHOTOS | settings_of_recipe(self.stage.chosen.recipe))
