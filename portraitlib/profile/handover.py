"""What is handed over: the portraits that are kept, in the sizes that sites want, and a page."""

from __future__ import annotations

import io
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from portraitlib.cost import Cost, cost_of, duration, money
from portraitlib.photos.photo_set import PhotoSet
from portraitlib.places import page_template
from portraitlib.portrait import MADE_BY_AI, XMP_KEY, Portrait, write_whole
from portraitlib.profile.findings import LEAST_LIKENESS
from portraitlib.profile.search import Drawn, Search, mostly_wrong
from portraitlib.sheet import (
    COLOURS,
    FAINT,
    LINE_PX,
    Picture,
    Sheet,
    axes_at,
    quieten,
    write,
)

PANEL_PX = (250, 170)  # of the path of a style
PORTRAITS, EXPORTS = "portraits", "exports"
JPEG_QUALITY = 92


@dataclass(frozen=True)
class Export:
    """What a site wants of a profile picture.

    size_px: side of the square that is written.  form: "JPEG" or "PNG".
    most_bytes: the largest file that it takes.  asks: for what, in words.
    """

    site: str
    size_px: int
    form: str
    most_bytes: int
    asks: str

    @property
    def ending(self) -> str:
        return {"JPEG": ".jpg", "PNG": ".png"}[self.form]


FACE = "face.safetensors"  # what was learnt of the person
# As help pages and those that collect them said in November 2026.
EXPORT_SIZES = (
    Export("GitHub", 500, "PNG", 1_000_000, "about 500 px, below 1 MB"),
    Export("LinkedIn", 800, "JPEG", 8_000_000, "400 px and more, 8 MB at most"),
    Export("Slack", 512, "JPEG", 1_000_000, "512 to 1024 px, 1 MB at most"),
    Export("X", 400, "JPEG", 2_000_000, "400 px, 2 MB at most"),
)


@dataclass(frozen=True)
class ProfilePictures:
    """What `make_portraits` hands over.

    folder: holds all of it; `page` shows it.  searches: one a style.  keep: how many were wanted.
    learning: what teaching the face cost; None where nothing was taught.
    stopped: why it ended before its time, in words.
    """

    folder: Path
    model: str
    photos: PhotoSet = field(repr=False)
    searches: tuple[Search, ...]
    keep: int
    size_px: int
    learning: Cost | None
    device: str
    stopped: str = ""

    @property
    def notes(self) -> list[str]:
        """What to know of it, one sentence each."""
        missing = [f"{s.style.name}: {self.lacks(s)}" for s in self.searches if self.lacks(s)]
        return [*self.photos.warnings, *missing, *([self.stopped] if self.stopped else [])]

    def lacks(self, search: Search) -> str:
        """Why a style has fewer portraits than were wanted, in words; "" if it has enough."""
        if len(search.good) >= self.keep:
            return ""
        words = f"{len(search.good)} of {self.keep} after {len(search.drawn)} drawn"
        return f"{words} ({mostly_wrong(search)})" if search.drawn else words

    @property
    def page(self) -> Path:
        """The page that shows the portraits."""
        return self.folder / "index.html"

    @property
    def kept(self) -> dict[str, list[Drawn]]:
        """Style -> the portraits that are worth keeping, those drawn first."""
        return {search.style.name: search.good[: self.keep] for search in self.searches}

    @property
    def cost(self) -> Cost:
        """What all of it cost, earlier runs included."""
        drawing = cost_of(sum(search.spent_s for search in self.searches), self.device)
        return drawing if self.learning is None else self.learning + drawing

    def paths(self, style: str) -> list[Path]:
        """The files of a style's portraits, as they are handed over."""
        search = next(search for search in self.searches if search.style.name == style)
        names = [_name(search, drawn) for drawn in self.kept[style]]
        return [self.folder / PORTRAITS / f"{name}.png" for name in names]

    def portraits(self, style: str) -> list[Portrait]:
        """The portraits of a style that are worth keeping, read from their files."""
        return [Portrait.open(path) for path in self.paths(style)]

    def __str__(self) -> str:
        kept = sum(map(len, self.kept.values()))
        drawn = sum(len(search.drawn) for search in self.searches)
        return f"{kept} of {drawn} portraits kept, {self.cost}, in {self.folder}"


def hand_over(done: ProfilePictures) -> None:
    """Write the portraits, their exports, README.txt and the page; what is kept no more goes."""
    names = {}
    for search in done.searches:
        for drawn in done.kept[search.style.name]:
            name = _name(search, drawn)
            names[drawn.file] = name
            source = done.folder / drawn.file
            target = done.folder / PORTRAITS / f"{name}.png"
            if not target.is_file() or target.read_bytes() != source.read_bytes():
                export(Portrait.open(source).image, done, name)
                write_whole(target, source.read_bytes())  # last: it says that the others are there
    drawn_here = {_name(search, drawn) for search in done.searches for drawn in search.drawn}
    for name in drawn_here - set(names.values()):
        (done.folder / PORTRAITS / f"{name}.png").unlink(missing_ok=True)
        shutil.rmtree(done.folder / EXPORTS / name, ignore_errors=True)
    enlarged = [row.site for row in EXPORT_SIZES if row.size_px > done.size_px]
    taught = (done.folder / FACE).is_file()
    readme = page_template("profile", "readme.txt").render(
        done=done, names=list(names.values()), taught=taught, enlarged=enlarged
    )
    write_whole(done.folder / "README.txt", readme.encode())
    page = page_template("profile", "page.html").render(_for_page(done, names))
    write_whole(done.page, page.encode("utf-8", errors="replace"))


def _name(search: Search, drawn: Drawn) -> str:
    """What a portrait is called where it is handed over."""
    return f"{search.style.folder}-{drawn.seed}"


def export(image: Image.Image, done: ProfilePictures, name: str) -> None:
    """Write a portrait in the sizes of `EXPORT_SIZES`, each marked as made by a trained model."""
    for row in EXPORT_SIZES:
        path = done.folder / EXPORTS / name / f"{name}-{row.site.lower()}{row.ending}"
        write_whole(path, exported(image, row))


def exported(image: Image.Image, row: Export) -> bytes:
    """The bytes of a picture as a site wants it, by Pillow's Lanczos; no metadata but the mark."""
    size = (row.size_px, row.size_px)
    square = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    square.info = {}
    mark = MADE_BY_AI.read_text(encoding="utf-8")
    file = io.BytesIO()
    if row.form == "JPEG":
        square.save(file, "JPEG", quality=JPEG_QUALITY, xmp=mark.encode())
    else:
        from PIL.PngImagePlugin import PngInfo

        texts = PngInfo()
        texts.add_itxt(XMP_KEY, mark)
        square.save(file, "PNG", pnginfo=texts, optimize=True)
    if file.tell() > row.most_bytes and row.form == "PNG":  # a noisy picture: fewer colours
        file = io.BytesIO()
        square.quantize(256).save(file, "PNG", pnginfo=texts, optimize=True)
    return file.getvalue()


def in_circle(image: Image.Image, size_px: int, room_px: int = 0) -> Image.Image:
    """A portrait as sites show it: round, size_px wide, in the middle of room_px of white."""
    size = (size_px, size_px)
    disc = Image.new("L", (4 * size_px, 4 * size_px))
    ImageDraw.Draw(disc).ellipse((0, 0, *disc.size), fill=255)
    square = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    room_px = max(size_px, room_px)
    room = Image.new("RGB", (room_px, room_px), "white")
    room.paste(square, ((room_px - size_px) // 2,) * 2, disc.resize(size))
    return room


def show_paths(done: ProfilePictures, columns: int = 4) -> Picture:
    """The search of each style: likeness up, the share with the style whole across.

    A point is a batch, as large as it was, with its number; the line is the least likeness of what
    is kept.
    """
    rows = -(-len(done.searches) // columns)
    sheet = Sheet(PANEL_PX, min(columns, len(done.searches)), rows, head=LINE_PX)
    figure = sheet.figure(None)
    for index, search in enumerate(done.searches):
        left, above = sheet.corner(index % columns, index // columns)
        write(figure, search.style.name, left + 30, above - LINE_PX, align="left", weight="bold")
        axes = axes_at(figure, left + 30, above + 4, PANEL_PX[0] - 44, PANEL_PX[1] - 34)
        points = path_points(search)
        across, up = [p["style"] for p in points], [p["likeness"] for p in points]
        axes.plot(across, up, color=FAINT, linewidth=1)
        axes.scatter(across, up, [24 * p["count"] for p in points], COLOURS[0], alpha=0.8)
        for number, point in enumerate(zip(across, up, strict=True), 1):
            axes.annotate(str(number), point, (4, 4), textcoords="offset points", fontsize=8)
        axes.axhline(LEAST_LIKENESS, color=COLOURS[1], linewidth=0.8, linestyle=":")
        axes.set_xlim(-0.1, 1.15)
        axes.set_ylim(-0.2, 1.4)
        quieten(axes)
    return figure


# --- the page ------------------------------------------------------------------------------------


def _for_page(done: ProfilePictures, names: dict[str, str]) -> dict[str, Any]:
    """What the page's template is given."""
    kept = sum(map(len, done.kept.values()))
    learning = f"{duration(done.learning.seconds)} to learn the face" if done.learning else ""
    parts = [done.model, done.photos.summary, learning, str(done.cost)]
    return {
        "title": f"{kept} portraits to choose from",
        "facts": [part for part in parts if part],
        "notes": done.notes,
        "styles": [_style(done, search, names) for search in done.searches],
        "exports": [(row, row.size_px > done.size_px) for row in EXPORT_SIZES],
        "size_px": done.size_px,
        "exports_folder": EXPORTS,
    }


def _style(done: ProfilePictures, search: Search, names: dict[str, str]) -> dict[str, Any]:
    kept = done.kept[search.style.name]
    each_s = search.spent_s / max(1, len(kept))
    return {
        "name": search.style.name,
        "prompt": search.prompt,
        "line": f"{len(kept)} kept of {len(search.drawn)} drawn",
        "ends": search.ends,
        "lacks": done.lacks(search),
        "keepers": [_keeper(done, drawn, names[drawn.file], each_s) for drawn in kept],
        "path": path_points(search),
    }


def _keeper(done: ProfilePictures, drawn: Drawn, name: str, seconds: float) -> dict[str, Any]:
    link = f"{PORTRAITS}/{name}.png"
    dollars = cost_of(seconds, done.device).dollars
    words = [likeness_words(drawn), duration(seconds), money(dollars)]
    words += ["mended"] if drawn.mended else []
    return {"name": name, "link": link, "words": " · ".join(words), "seed": drawn.seed}


def likeness_words(drawn: Drawn) -> str:
    """Likeness and its interval, such as "likeness 0.84 (0.79 to 0.90)"."""
    finding = drawn.finding
    if finding.likeness is None:
        return "likeness not known"
    words = f"likeness {finding.likeness:.2f}"
    if finding.low is None or finding.high is None:
        return words
    return f"{words} ({finding.low:.2f} to {finding.high:.2f})"


def path_points(search: Search) -> list[dict[str, Any]]:
    """A point a batch: mean likeness of its faces, the share with the style whole, its setting."""
    points = []
    for batch in search.batches:
        alike = [d.finding.likeness for d in batch.drawn if d.finding.likeness is not None]
        styled = [not drawn.finding.lacking for drawn in batch.drawn]
        points.append(
            {
                "likeness": sum(alike) / len(alike) if alike else 0.0,
                "style": sum(styled) / len(styled),
                "setting": str(batch.setting),
                "count": len(batch.drawn),
            }
        )
    return points
