"""The pictures that the studio made: on the disk, as a wall of small ones, and one looked at."""

from __future__ import annotations

import base64
import html
import io
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from PIL import Image

from portraitlib.portrait import Portrait, parameters_text, write_whole
from portraitlib.settings import UsageError
from portraitlib.studio.fields import set_tooltip

THUMBNAIL_PX = 160
KEPT = 60  # pictures of earlier days that a new studio shows
LARGEST_LINK = 25_000_000  # bytes of a file that goes to the browser with the page
FILE = re.compile(r"(\d{5})-seed-\d+\.png")


def encoded(picture: Image.Image, side_px: int = 0, kind: str = "JPEG") -> bytes:
    """A picture as a file, its longer side at most `side_px` (0 for its own)."""
    small = picture.convert("RGB")
    if side_px and max(small.size) > side_px:
        small.thumbnail((side_px, side_px))
    buffer = io.BytesIO()
    small.save(buffer, format=kind, **({"quality": 90} if kind == "JPEG" else {}))
    return buffer.getvalue()


def data_link(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def download_link(content: bytes, name: str, kind: str, told: str) -> str:
    """A link that saves a file which travels with the page."""
    return (
        f'<a class="pl-get" download="{html.escape(name)}" href="{data_link(content, kind)}">'
        f"{html.escape(told)}</a>"
    )


# --- small pictures that can be pressed ----------------------------------------------------------


def make_thumb(content: bytes, told: str, press: Callable[[], None]) -> Any:
    """A small picture with an invisible button over it, for pointer and keyboard."""
    picture = widgets.Image(value=content, format="jpeg")
    button = widgets.Button(description=told)
    set_tooltip(button, told)
    button.on_click(lambda _: press())
    box = widgets.Box([picture, button])
    box.add_class("pl-thumb")
    return box


def make_thumbs(thumbs: Sequence[Any] = ()) -> Any:
    box = widgets.Box(list(thumbs))
    box.add_class("pl-thumbs")
    return box


# --- the history ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One picture of the history: its file, its recipe, and a small copy."""

    path: Path
    recipe: dict[str, Any] = field(repr=False)
    thumbnail: bytes = field(repr=False)

    @property
    def portrait(self) -> Portrait:
        """The picture itself, read from its file."""
        return Portrait.open(self.path)

    @property
    def told(self) -> str:
        """It in a few words."""
        words = str(self.recipe.get("prompt", ""))
        short = words if len(words) <= 60 else words[:57] + "..."
        return f"seed {self.recipe.get('seed', '?')}: {short}"


class History:
    """Pictures in a folder, in the order in which they were made; a new studio finds them again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: list[Entry] = []
        files = sorted(path for path in folder.glob("*.png") if FILE.fullmatch(path.name))
        self.number = int(files[-1].name[:5]) if files else 0
        for path in files[-KEPT:]:
            try:
                portrait = Portrait.open(path)
            except UsageError:  # another's file, or a broken one
                continue
            self._remember(path, portrait)

    def add(self, portrait: Portrait) -> Entry:
        """Save a picture, recipe included; raises UsageError if the folder refuses."""
        self.number += 1
        name = f"{self.number:05d}-seed-{portrait.recipe.get('seed', 0)}.png"
        return self._remember(portrait.save(self.folder / name), portrait)

    def zip_bytes(self) -> bytes:
        """All pictures of the history in one file; PNGs are packed already."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as packed:
            for entry in self.entries:
                packed.write(entry.path, entry.path.name)
        return buffer.getvalue()

    def _remember(self, path: Path, portrait: Portrait) -> Entry:
        small = encoded(portrait.image, THUMBNAIL_PX)
        self.entries.append(Entry(path, portrait.recipe, small))
        return self.entries[-1]


# --- what is said of a picture -------------------------------------------------------------------


def recipe_html(recipe: dict[str, Any]) -> str:
    """A recipe as one line that opens to a table; safe with any prompt."""
    text = parameters_text(recipe).strip().splitlines()
    settings = text[-1] if len(text) > 1 else ""
    rows = "".join(
        f"<tr><td>{html.escape(name.replace('_', ' '))}</td><td>{html.escape(_value(value))}</td>"
        for name, value in recipe.items()
        if _value(value)
    )
    return (
        f"<details><summary>{html.escape(settings or 'the recipe')}</summary>"
        f"<table>{rows}</table></details>"
    )


def _value(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_value(each)}" for name, each in value.items() if _value(each))
    if isinstance(value, list):
        return "; ".join(map(_value, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


class Gallery:
    """The wall of pictures, newest first, and the buttons of all.

    choose: called with an entry that was pressed.
    """

    def __init__(self, history: History, choose: Callable[[Entry], None]) -> None:
        self.history, self.choose = history, choose
        self.thumbs: dict[Path, Any] = {}
        self.count = widgets.HTML()
        self.zip = widgets.Button(description="All as zip", icon="file-archive-o")
        self.link = widgets.HTML()
        self.wall = make_thumbs()
        self.empty = widgets.HTML("What you make is kept here. Press a picture to see its recipe.")
        self.empty.add_class("pl-empty")
        head = widgets.HBox([self.count, widgets.HBox([self.link, self.zip])])
        head.add_class("pl-gallery-head")
        self.box = widgets.VBox([head, self.empty, self.wall])
        self.box.add_class("pl-gallery")
        self.zip.on_click(lambda _: self._pack())
        for entry in history.entries:
            self._hang(entry)
        self._tell()

    def add(self, portraits: Sequence[Portrait]) -> list[Entry]:
        """Keep pictures and hang them first."""
        entries = [self.history.add(portrait) for portrait in portraits]
        for entry in entries:
            self._hang(entry)
        self._tell()
        return entries

    def mark(self, chosen: Entry | None) -> None:
        """Show which picture is the one looked at."""
        for path, thumb in self.thumbs.items():
            if chosen is not None and path == chosen.path:
                thumb.add_class("pl-chosen")
            else:
                thumb.remove_class("pl-chosen")

    def _hang(self, entry: Entry) -> None:
        thumb = make_thumb(entry.thumbnail, entry.told, lambda: self.choose(entry))
        self.thumbs[entry.path] = thumb
        self.wall.children = (thumb, *self.wall.children)

    def _tell(self) -> None:
        count = len(self.thumbs)
        self.empty.layout.display = "none" if count else None
        self.zip.disabled = not count
        told = f"{count} picture" if count == 1 else f"{count} pictures"
        self.count.value = f"<b>Gallery</b> <span class='pl-soft'>{told}</span>"
        self.link.value = ""

    def _pack(self) -> None:
        content = self.history.zip_bytes()
        path = self.history.folder.parent / "portraits.zip"
        write_whole(path, content)
        size = f"{len(content) / 1e6:.1f} MB"
        if len(content) <= LARGEST_LINK:
            kind = "application/zip"
            self.link.value = download_link(content, path.name, kind, f"{path.name}, {size}")
        else:
            self.link.value = f"<span class='pl-soft'>{html.escape(str(path))}, {size}</span>"
