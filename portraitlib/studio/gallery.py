"""The pictures that the studio made: on the disk, as a wall of small ones, and one looked at."""

from __future__ import annotations

import base64
import html
import io
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import jinja2
from PIL import Image

from portraitlib.measuring.result import Measurement
from portraitlib.measuring.sweep import SweepTable
from portraitlib.portrait import Portrait, parameters_text, write_whole
from portraitlib.settings import UsageError, shown
from portraitlib.studio.fields import label_of, plain_number, set_tooltip
from portraitlib.studio.look import text_of

THUMBNAIL_PX = 160
KEPT = 60  # pictures of earlier days that a new studio shows
LARGEST_LINK = 25_000_000  # bytes of a file that goes to the browser with the page
CELL_PX = 192  # of a sweep
EMPTY = "What you make is kept here. Press a picture to see its recipe."
# What stands under a picture of a sweep: column of `measure` -> label and form.
SCORES = {
    "likeness": ("likeness", "{:.2f}"),
    "prompt_seen": ("words", "{:.0%}"),
    "edge_f1": ("edges", "{:.2f}"),
}
FILE = re.compile(r"(\d{5})-seed-\d+\.png")


def encoded(picture: Image.Image, side_px: int = 0) -> bytes:
    """A picture as a JPEG, its longer side at most `side_px` (0 for its own)."""
    small = picture.convert("RGB")
    if side_px and max(small.size) > side_px:
        small.thumbnail((side_px, side_px))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=90)
    return buffer.getvalue()


def data_link(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def download_link(content: bytes, name: str, kind: str, words: str) -> str:
    """A link that saves a file which travels with the page."""
    return (
        f'<a class="pl-get" download="{html.escape(name)}" href="{data_link(content, kind)}">'
        f"{html.escape(words)}</a>"
    )


# --- small pictures that can be pressed ----------------------------------------------------------


def make_thumb(content: bytes, words: str, press: Callable[[], None]) -> Any:
    """A small picture with an invisible button over it, for pointer and keyboard."""
    picture = widgets.Image(value=content, format="jpeg")
    button = widgets.Button(description=words)
    set_tooltip(button, words)
    button.on_click(lambda _: press())
    return widgets.Box([picture, button]).add_class("pl-thumb")


# --- the history ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One picture of the history: its file, its recipe, and a small copy."""

    path: Path
    recipe: dict[str, Any] = field(repr=False)
    thumbnail: bytes = field(repr=False)

    @property
    def words(self) -> str:
        """It in a few words."""
        prompt = str(self.recipe.get("prompt", ""))
        return f"seed {self.recipe.get('seed', '?')}: {shown(prompt)}"


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

    def _remember(self, path: Path, portrait: Portrait) -> Entry:
        small = encoded(portrait.image, THUMBNAIL_PX)
        self.entries.append(Entry(path, portrait.recipe, small))
        return self.entries[-1]


# --- what is said of a picture -------------------------------------------------------------------


def recipe_html(recipe: dict[str, Any]) -> str:
    """A recipe as one line that opens to a table; safe with any prompt."""
    lines = parameters_text(recipe).strip().splitlines()
    rows = {name.replace("_", " "): _in_words(value) for name, value in recipe.items()}
    summary = lines[-1] if len(lines) > 1 else "the recipe"
    return _page("recipe.html").render(summary=summary, rows=rows)


def _in_words(value: Any) -> str:
    """An entry of a recipe as text; "" for what holds nothing."""
    if isinstance(value, dict):
        words = {name: _in_words(inside) for name, inside in value.items()}
        return ", ".join(f"{name} {text}" for name, text in words.items() if text)
    if isinstance(value, list):
        return "; ".join(map(_in_words, value))
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def sheet_html(table: SweepTable, scores: Measurement | None) -> str:
    """A sweep as a table: the setting varied last runs across, the one before it down."""
    *down, across = table.varied
    measured = iter(scores.rows if scores else ())
    cells = []
    for row in table.rows:
        pictures = [
            (
                data_link(encoded(portrait.image, CELL_PX), "image/jpeg"),
                portrait.recipe.get("seed", ""),
                _scores(next(measured, {})),
            )
            for portrait in row.portraits
        ]
        cells.append({"error": row.error, "pictures": pictures})
    heads = [_label(across, value) for value in table.values(across)]
    sides = [_label(down[0], value) for value in table.values(down[0])] if down else [""]
    width = len(heads)  # the setting varied last changes fastest
    rows = [(side, cells[i * width : (i + 1) * width]) for i, side in enumerate(sides)]
    return _page("sheet.html").render(heads=heads, rows=rows, down=bool(down))


def _label(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value or f"(no {label_of(name)})"
    return f"{label_of(name)} {plain_number(value)}"


def _scores(row: Mapping[str, Any]) -> list[str]:
    """What was measured of a picture, in words."""
    return [
        f"{label} {'no face' if row[name] is None else form.format(row[name])}"
        for name, (label, form) in SCORES.items()
        if name in row
    ]


@cache
def _page(name: str) -> jinja2.Template:
    """A template beside this module; what is put into it is escaped."""
    return jinja2.Template(text_of(name), autoescape=True, trim_blocks=True, lstrip_blocks=True)


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
        self.wall = widgets.Box().add_class("pl-thumbs")
        self.empty = widgets.HTML(EMPTY).add_class("pl-empty")
        head = widgets.HBox([self.count, widgets.HBox([self.link, self.zip])])
        parts = [head.add_class("pl-gallery-head"), self.empty, self.wall]
        self.box = widgets.VBox(parts).add_class("pl-gallery")
        self.zip.on_click(lambda _: self._pack())
        for entry in history.entries:
            self._hang(entry)
        self._count()

    def add(self, portraits: Sequence[Portrait]) -> list[Entry]:
        """Keep pictures and hang them first."""
        entries = [self.history.add(portrait) for portrait in portraits]
        for entry in entries:
            self._hang(entry)
        self._count()
        return entries

    def lacking(self, portraits: Sequence[Portrait]) -> list[Portrait]:
        """Those that do not hang here."""
        there = [entry.recipe for entry in self.history.entries]
        return [portrait for portrait in portraits if portrait.recipe not in there]

    def mark(self, chosen: Entry) -> None:
        """Show which picture is the one looked at."""
        for path, thumb in self.thumbs.items():
            mark = thumb.add_class if path == chosen.path else thumb.remove_class
            mark("pl-chosen")

    def _hang(self, entry: Entry) -> None:
        thumb = make_thumb(entry.thumbnail, entry.words, lambda: self.choose(entry))
        self.thumbs[entry.path] = thumb
        self.wall.children = (thumb, *self.wall.children)

    def _count(self) -> None:
        count = len(self.thumbs)
        self.empty.layout.display = "none" if count else None
        self.zip.disabled = not count
        words = f"{count} picture{'s' * (count != 1)}"
        self.count.value = f"<b>Gallery</b> <span class='pl-soft'>{words}</span>"
        self.link.value = ""

    def _pack(self) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as packed:  # PNGs are small already
            for entry in self.history.entries:
                packed.write(entry.path, entry.path.name)
        content = buffer.getvalue()
        path = self.history.folder.parent / "portraits.zip"
        write_whole(path, content)
        size = f"{len(content) / 1e6:.1f} MB"
        if len(content) <= LARGEST_LINK:
            kind = "application/zip"
            self.link.value = download_link(content, path.name, kind, f"{path.name}, {size}")
        else:
            self.link.value = f"<span class='pl-soft'>{html.escape(str(path))}, {size}</span>"
