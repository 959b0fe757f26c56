"""The studio's first tab: from photos of a person to the portraits to choose from."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from portraitlib.cost import Budget, BudgetSpent
from portraitlib.models.load import Model
from portraitlib.photos.photo_set import PhotoSet
from portraitlib.places import digest
from portraitlib.portrait import Portrait
from portraitlib.profile.handover import ProfilePictures
from portraitlib.profile.make import identity_of, make_portraits
from portraitlib.profile.styles import STYLES
from portraitlib.settings import UsageError
from portraitlib.studio.fields import Form
from portraitlib.studio.panels import BETWEEN, thumbs_of
from portraitlib.studio.recipes import Wanted, portrait_command
from portraitlib.studio.stage import Stage
from portraitlib.studio.uploads import FilePlace, Files, titled

NO_FOLDER = "# these photos have no folder: open_studio(photos_dir=...)"


class PortraitPanel:
    """The photos, the styles and what else `make_portraits` is told, and its run on the stage.

    folder: of the studio; each set of photos has a folder of its own in it.
    upload: called with the names and contents of photos that were chosen.
    hang: called with the portraits that are worth keeping, as they come.
    """

    def __init__(
        self, model: Model, folder: Path, stage: Stage, upload: Callable[[Files], None],
        changed: Callable[[], Any], hang: Callable[[list[Portrait]], None],
    ) -> None:  # fmt: skip
        self.model, self.folder, self.stage, self.hang = model, folder, stage, hang
        words = "or drop ten or more photos of one person here; they stay on this machine"
        self.drop = FilePlace(words, upload, stage.wrong, "My photos", multiple=True)
        self.report = widgets.HTML()
        self.thumbs = widgets.Box().add_class("pl-thumbs")
        self.form = Form(Wanted())
        self.styles = {
            name: widgets.Checkbox(value=True, description=name, indent=False) for name in STYLES
        }
        for box in self.styles.values():
            box.observe(lambda _: changed(), "value")
        self.form.observe(lambda _: changed())
        self.box = self._lay_out()

    def _lay_out(self) -> Any:
        wall = widgets.VBox([self.thumbs]).add_class("pl-photos")
        styles = widgets.Box([*self.styles.values()]).add_class("pl-styles")
        who, own, *others = self.form.boxes
        chosen = titled([styles, own], "Styles")
        parts = [self.drop, self.report, wall, who, chosen, titled(others, "How many, how long")]
        return widgets.VBox(parts)

    def fill(self, photos: PhotoSet | None) -> None:
        """Show the photos, and what is to be said of them."""
        self.photos = photos
        self.thumbs.children = thumbs_of(photos or (), lambda _: None)
        lines = [photos.summary, *photos.warnings] if photos else ["No photos yet."]
        words = "<br>".join(map(html.escape, lines))
        self.report.value = f"<span class='pl-soft'>{words}</span>"

    def chosen(self) -> list[str] | None:
        """The styles, None for those of the post; raises UsageError if there are none."""
        own = self.form["own_styles"].read() or ""
        names = [name for name, box in self.styles.items() if box.value]
        names += [part.strip() for part in own.split(BETWEEN.strip()) if part.strip()]
        if not names:
            raise UsageError("styles: none is chosen; choose one, or write words of your own")
        return None if names == list(STYLES) else names

    def home(self, photos: PhotoSet, wanted: Wanted) -> Path:
        """Where the portraits go: what would be another run has another folder."""
        identity = identity_of(self.model, photos, wanted.who, wanted.quick)
        return (self.folder / f"portrait-{digest(identity)[:8]}").absolute()

    def command(self, photos_dir: str, nameless: bool) -> str:
        """The shell line that does the same; raises UsageError for what cannot be done."""
        photos, wanted = self._photos(), self.form.record()
        if nameless:
            return NO_FOLDER
        home = str(self.home(photos, wanted))
        return portrait_command(self.model.name, photos_dir, self.chosen(), wanted, home)

    def _photos(self) -> PhotoSet:
        if not self.photos:
            raise UsageError("photos: there are none yet; add ten or so of one person")
        return self.photos

    def start(self) -> None:
        """Make the portraits, in a thread of its own."""
        self.stage.run(self._make, "Looking at the photos")

    def _make(self) -> None:
        photos, wanted, styles = self._photos(), self.form.record(), self.chosen()
        hung: set[Path] = set()

        def hang(paths: Iterable[Path]) -> None:
            if new := [path for path in paths if path not in hung]:
                hung.update(new)
                self.hang([Portrait.open(path) for path in new])

        def on_step(now: Any) -> None:
            hang(getattr(now, "kept", ()))  # a training keeps none
            self.stage.tell(now)

        try:
            done = make_portraits(
                self.model, photos, styles, folder=self.home(photos, wanted), keep=wanted.keep,
                who=wanted.who, quick=wanted.quick, on_step=on_step,
                budget=Budget(seconds=wanted.minutes and 60 * wanted.minutes),
            )  # fmt: skip
        except BudgetSpent as spent:  # while the face was learnt
            self.stage.say(f"{spent}; with more minutes the same again goes on")
            return
        hang(done.folder / drawn.file for kept in done.kept.values() for drawn in kept)
        self.stage.say(f"{done}: open {done.page.name} there{_lacking(done)}")


def _lacking(done: ProfilePictures) -> str:
    """What the end has to say beside the portraits, in words."""
    if done.stopped:
        return f"; {done.stopped}"
    fewer = [search.style.name for search in done.searches if done.lacks(search)]
    return f"; it says why there are fewer of {' and '.join(fewer)}" if fewer else ""
