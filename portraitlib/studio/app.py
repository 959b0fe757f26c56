"""The studio: tabs of settings on one side, the picture that they make on the other."""

from __future__ import annotations

import html
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from portraitlib.models.load import Model
from portraitlib.photos.photo_set import PhotoSet
from portraitlib.photos.read import read_photos
from portraitlib.photos.subject import subject_photos
from portraitlib.places import project_folder
from portraitlib.portrait import Portrait, write_whole
from portraitlib.settings import DreamBooth, UsageError
from portraitlib.studio.draw import Made, make
from portraitlib.studio.fields import Form, help_of, make_setting, set_tooltip
from portraitlib.studio.gallery import Entry, Gallery, History
from portraitlib.studio.look import APP, STYLE, served_by_voila
from portraitlib.studio.panels import TITLES, AdapterPanel, PhotoPanel, SweepPanel, TrainPanel
from portraitlib.studio.recipes import (
    METHODS,
    Screen,
    papermill_command,
    parameters_of_screen,
    read_dropped,
    settings_of_recipe,
    shown_parameters,
)
from portraitlib.studio.sheet import sheet_html
from portraitlib.studio.stage import Looks, Stage
from portraitlib.studio.uploads import FilePlace, titled

ACTIONS = {"words": "Generate", "photo": "Generate", "edges": "Generate"}
ACTIONS |= {"face": "Train, then draw", "sweep": "Draw the sweep"}
TABS = {**TITLES, "face": "Train a face", "sweep": "Sweep"}
NOTEBOOK = "09_studio.ipynb"
MOST_SEED = 2**32 - 257  # leaves room for the largest batch


class Studio:
    """All widgets of the studio and what they do; `box` is what a notebook shows.

    made: everything that was drawn is appended to it, if that is a list.
    """

    def __init__(
        self,
        model: Model,
        photos: PhotoSet | None,
        screen: Screen,
        folder: Path,
        photos_dir: str = "",
        made: list[Portrait] | None = None,
    ) -> None:
        self.model, self.photos, self.folder = model, photos, folder
        self.photos_dir, self.made = photos_dir, made
        self.stage, self._quiet = Stage(), True
        self._make_settings(screen)
        self.gallery = Gallery(History(folder / "history"), self.look_at)
        self.box = self._lay_out()
        self.take(parameters_of_screen(screen))
        for file, scale in screen.adapters:
            self.adapters.add(file, scale)
        self._quiet = False
        self.changed()
        if self.gallery.history.entries:
            self.look_at(self.gallery.history.entries[-1])

    # --- what is on screen -----------------------------------------------------------------------

    def _make_settings(self, screen: Screen) -> None:
        told = {name: text for name, (_, text) in help_of(Screen).items()}
        self.prompt = make_setting("prompt", screen.prompt, told["prompt"])
        self.prompt.control.observe(self._moved, "value")
        self.sampling = Form(screen.sampling, vars(self.model.preset))
        self.from_photo, self.lines = Form(screen.from_photo), Form(screen.lines)
        self.control = Form(screen.control)
        for form in (self.sampling, self.from_photo, self.lines, self.control):
            form.observe(self._moved)
        self.photo = PhotoPanel(self.model, self.photos, self.folder, self._moved, self.stage.wrong)
        if self._nameless():
            self.photo.name_all()
        self.adapters = AdapterPanel(self.folder, self._moved, self.stage.wrong)
        training = screen.training or DreamBooth()
        count = screen.num_class_images
        self.train = TrainPanel(self.model, training, count, self._take_photos, self.changed)
        self.train.fill(self.photos)
        self.sweep = SweepPanel(self.changed)
        self._add_seed_buttons()
        self.stage.action.on_click(lambda _: self.generate())
        self.stage.to_photo.on_click(lambda _: self._send("photo"))
        self.stage.to_edges.on_click(lambda _: self._send("edges"))
        self.stage.to_sliders.on_click(lambda _: self._send_to_sliders())

    def _add_seed_buttons(self) -> None:
        self.dice = widgets.Button(description="Dice", icon="random")
        self.lock = widgets.ToggleButton(value=True, description="Lock", icon="lock")
        set_tooltip(self.dice, "another seed")
        set_tooltip(self.lock, "keep the seed; unlocked, each drawing has another")
        self.dice.on_click(lambda _: self._roll())
        row = self.sampling["seed"].box.children[0]
        row.children = (*row.children, self.dice, self.lock)

    def _lay_out(self) -> Any:
        prompt = self.prompt.box
        shared = [*self.sampling.boxes, titled([self.adapters.box], "Adapters")]
        photo, edges = self.photo.place, self.photo.edges_place
        pages = {
            "words": [prompt, *shared],
            "photo": [self.photo.source(photo), prompt, *self.from_photo.boxes, *shared],
            "edges": [
                self.photo.source(photo, edges), prompt, *self.lines.boxes, *self.control.boxes,
                *shared,
            ],
            "face": [self.train.box, titled([prompt], "Then draw, as the words tab says")],
            "sweep": [self.sweep.box],
        }  # fmt: skip
        self.tabs = widgets.Tab([widgets.VBox(parts) for parts in pages.values()])
        for index, title in enumerate(TABS.values()):
            self.tabs.set_title(index, title)
        self.tabs.selected_index = 0
        self.tabs.add_class("pl-tabs")
        self.tabs.observe(lambda _: self._turned(), "selected_index")
        told = "or drop a PNG made here, or by AUTOMATIC1111: the sliders take its settings"
        self.drop = FilePlace(told, self._take_png, "Settings of a PNG", accept="image/png")
        self.command = widgets.Textarea(rows=6)
        self.command.layout.width = "100%"
        copy = widgets.Button(description="Copy", icon="copy")
        copy.add_class("pl-copy")
        self.sheet = widgets.HTML()
        self.sheet.add_class("pl-sheet")
        command = titled([self.command, copy], "The same by papermill")
        command.add_class("pl-command")
        right = widgets.VBox([*self.stage.boxes, self.sheet, self.gallery.box, self.drop])
        right.add_class("pl-right")
        main = widgets.Box([self.tabs, right, command])
        main.add_class("pl-main")
        style = widgets.HTML(STYLE + (APP if served_by_voila() else ""))
        box = widgets.VBox([style, self._head(), main])
        box.add_class("pl-studio")
        return box

    def _head(self) -> Any:
        self.explain = widgets.ToggleButton(value=False, description="Explain", icon="question")
        set_tooltip(self.explain, "the whole help of every setting")
        title = f"<b>Studio</b> <span class='pl-soft'>{html.escape(str(self.model))}</span>"
        head = widgets.HBox([widgets.HTML(title), self.explain])
        head.add_class("pl-head")

        def explain(change: Any) -> None:
            (self.box.add_class if change["new"] else self.box.remove_class)("pl-explain")

        self.explain.observe(explain, "value")
        return head

    def _nameless(self) -> bool:
        """Are the photos others than those that a command without `photos_dir` takes?"""
        drawn = self.photos is not None and self.photos.source == subject_photos().source
        return self.photos is not None and not self.photos_dir and not drawn

    # --- the settings ----------------------------------------------------------------------------

    @property
    def tab(self) -> str:
        """The tab on top: "words", "photo", "edges", "face" or "sweep"."""
        return list(TABS)[self.tabs.selected_index or 0]

    def screen(self) -> Screen:
        """What is on screen; raises UsageError in one line for what cannot be."""
        tab = self.tab
        more: dict[str, Any] = {}
        if tab == "face":
            more = {"training": self.train.training(), "num_class_images": self.train.count.read()}
        if tab == "sweep":
            more = {"vary": self.sweep.vary()}
        method = {"face": "words", "sweep": self.sweep.method.value}.get(tab, tab)
        return Screen(
            method=method,
            prompt=self.prompt.read(),
            sampling=self.sampling.record(),
            photo_file=self.photo.file,
            from_photo=self.from_photo.record(),
            lines=self.lines.record(),
            control=self.control.record(),
            adapters=() if tab == "face" else self.adapters.entries,
            **more,
        )

    def take(self, settings: Mapping[str, Any]) -> None:
        """Put flat parameters into the widgets; what is not among them stays."""
        quiet, self._quiet = self._quiet, True
        try:
            if "prompt" in settings:
                self.prompt.write(settings["prompt"])
            # A start beyond the old end is no mistake while both change.
            for form in (self.sampling, self.from_photo, self.lines, self.control):
                form.write(settings)
            if settings.get("photo_file"):
                self.photo.use(settings["photo_file"])
            if settings.get("vary"):
                self.sweep.write(settings["method"], settings["vary"])
                self.tabs.selected_index = list(TABS).index("sweep")
            elif settings.get("training"):
                self.tabs.selected_index = list(TABS).index("face")
            elif settings.get("method") in METHODS:
                self.tabs.selected_index = list(METHODS).index(settings["method"])
        finally:
            self._quiet = quiet
        self.changed()

    def changed(self) -> None:
        """Bring what follows from the settings up to date: the command, and the edges."""
        if self._quiet:
            return
        try:
            screen = self.screen()
        except UsageError as problem:
            self.command.value = f"# {problem}"
            return
        if screen.training is not None and self._nameless():
            self.command.value = "# these photos have no folder: open_studio(photos_dir=...)"
            return
        if "edges" in (self.tab, screen.method):
            sampling = screen.sampling
            used = self.photo.show_edges(screen.lines, sampling.size_px)
            for name, value in used.items():
                if name in self.lines.settings:
                    told = f"{value:g}, chosen by the picture"
                    self.lines[name].control.placeholder = told
        parameters = {"model_name": self.model.name, "photos_dir": self.photos_dir}
        parameters = {name: value for name, value in parameters.items() if value}
        notebook = project_folder() / "notebooks" / NOTEBOOK
        where = str(notebook) if notebook.is_file() else NOTEBOOK
        self.command.value = papermill_command(
            parameters | shown_parameters(screen), where, "mine.ipynb"
        )

    def _moved(self, _: Any = None) -> None:
        """A setting was changed by hand: with `live` on, draw."""
        self.changed()
        if not self._quiet and self.stage.live.value and self.tab in METHODS:
            self.generate(roll=False)

    def _turned(self) -> None:
        self.stage.action.description = ACTIONS[self.tab]
        self.changed()

    def _roll(self) -> None:
        """Another seed, which live drawing hears of once."""
        self.sampling.write({"seed": secrets.randbelow(MOST_SEED)})

    def _take_png(self, files: list[tuple[str, bytes]]) -> None:
        name, content = files[0]
        try:
            dropped = read_dropped(content)
        except UsageError as problem:
            self.stage.wrong(f"{name}: {problem}")
            return
        settings, notes = dict(dropped.settings), list(dropped.notes)
        own_px = self.model.preset.size_px
        if not self.model.preset.knows_sizes and settings.get("size_px", own_px) != own_px:
            notes.append(f"{self.model.name} draws {own_px} px, not {settings.pop('size_px')}")
        self.take(settings)
        self.stage.say("; ".join([f"The settings are those of {name}", *notes]))

    def _take_photos(self, files: list[tuple[str, bytes]]) -> None:
        """Photos of a face: written to a folder of their own, then read like any."""
        folder = self.folder / f"photos-{time.strftime('%Y%m%d-%H%M%S')}"

        def read() -> None:
            for name, content in files:
                write_whole(folder / Path(name).name, content)
            self.photos = read_photos(folder, size_px=self.model.preset.size_px)
            self.photos_dir = str(folder.absolute())
            self.train.fill(self.photos)
            self.photo.fill_thumbs(self.photos)
            self.photo.use("")
            self.stage.say(str(self.photos.summary))

        self.stage.run(read, "Reading the photos")

    # --- drawing ---------------------------------------------------------------------------------

    def generate(self, roll: bool = True) -> None:
        """Draw what is on screen, in a thread of its own."""
        if roll and not self.lock.value:
            quiet, self._quiet = self._quiet, True
            self._roll()
            self._quiet = quiet
            self.changed()
        try:
            screen = self.screen()
        except UsageError as problem:
            self.stage.wrong(str(problem))
            return
        self.stage.run(lambda: self._draw(screen), "Starting")

    def _draw(self, screen: Screen) -> None:
        looks = Looks(self.stage.picture)
        made = make(self.model, screen, self.photos, self.stage.callbacks(looks))
        seconds = time.perf_counter() - looks.started_s
        self._show(made)
        first = f"; first preview after {looks.first_s:.1f} s" if looks.first_s else ""
        count = len(made.portraits)
        self.stage.say(f"{count} picture{'s' * (count > 1)} in {seconds:.1f} s{first}")

    def _show(self, made: Made) -> None:
        if self.made is not None:
            self.made.extend(made.portraits)
        entries = self.gallery.add(made.portraits)
        self.look_at(entries[0])
        self.sheet.value = sheet_html(made) if made.table else ""
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
            self.tabs.selected_index = list(TABS).index(method)
            self.photo.use(str(self.stage.chosen.path.absolute()))

    def _send_to_sliders(self) -> None:
        if self.stage.chosen is not None:
            try:
                self.take(settings_of_recipe(self.stage.chosen.recipe))
            except (KeyError, TypeError):
                self.stage.wrong("this picture's recipe is not whole")
