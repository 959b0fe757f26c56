"""What is handed over: the portraits that are kept, in the sizes that sites want, and a page."""

from __future__ import annotations

import io
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from portraitlib.cost import Cost, cost_of, duration, money
from portraitlib.photos.photo_set import PhotoSet
from portraitlib.places import page_template
from portraitlib.portrait import MADE_BY_AI, XMP_KEY, Portrait, write_whole
from portraitlib.profile.search import Drawn, Search, mostly_wrong

PORTRAITS, EXPORTS = "portraits", "exports"
JPEG_QUALITY = 92


@dataclass(frozen=True)
class Export:
    """What a site wants of a profile picture.

    size_px: side of the square that is written.  form: "JPEG" or "PNG".
    most_bytes: the largest file that it takes.  source: where it says so, and when that was read.
    """

    site: str
    size_px: int
    form: str
    most_bytes: int
    source: str

    @property
    def ending(self) -> str:
        return {"JPEG": ".jpg", "PNG": ".png"}[self.form]


EXPORT_SIZES = (
    Export("GitHub", 500, "PNG", 1_000_000, "docs.github.com, personal profile, 2026-11"),
    Export("LinkedIn", 800, "JPEG", 8_000_000, "linkedin.com/help, 400 px and more, 2026-11"),
    Export("Slack", 1024, "JPEG", 8_000_000, "slack.com/help, 512 to 1024 px, 2026-11"),
    Export("X", 400, "JPEG", 2_000_000, "help.x.com, 400 px, 2026-11"),
    Export("Discord", 512, "PNG", 8_000_000, "support.discord.com, 128 px and more, 2026-11"),
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

    def portraits(self, style: str) -> list[Portrait]:
        """The portraits of a style that are worth keeping, read from their files."""
        return [Portrait.open(self.folder / drawn.file) for drawn in self.kept[style]]

    def __str__(self) -> str:
        kept = sum(map(len, self.kept.values()))
        drawn = sum(len(search.drawn) for search in self.searches)
        return f"{kept} portraits kept of {drawn} drawn, {self.cost}, in {self.folder}"


def hand_over(done: ProfilePictures) -> None:
    """Write the portraits, their exports, README.txt and the page; what is kept no more goes."""
    names = {}
    for search in done.searches:
        for drawn in done.kept[search.style.name]:
            name = f"{search.style.folder}-{drawn.seed}"
            names[drawn.file] = name
            source = done.folder / drawn.file
            target = done.folder / PORTRAITS / f"{name}.png"
            if not target.is_file() or target.read_bytes() != source.read_bytes():
                write_whole(target, source.read_bytes())
                export(Portrait.open(source).image, done, name)
    for folder in (PORTRAITS, EXPORTS):
        for path in (done.folder / folder).glob("*"):
            kept = path.stem in names.values() or path.name in names.values()
            if not kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_whole(done.folder / "README.txt", _readme(done, names).encode())
    page = page_template("profile", "page.html").render(_for_page(done, names))
    write_whole(done.page, page.encode("utf-8", errors="replace"))


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


def _readme(done: ProfilePictures, names: dict[str, str]) -> str:
    """How to make each of them again, as plain text."""
    lines = [
        f"{len(names)} portraits, drawn by {done.model}, a trained model: each file says so,",
        "and those in portraits/ carry the whole recipe.",
        "",
        "One that pleases, drawn once more with another seed:",
        "",
    ]
    for name in names.values():
        lines.append(f"  portraitlib portrait --again {PORTRAITS}/{name}.png --seed 1000")
    lines += ["", "The very same pixels, in Python:", "", "  import portraitlib as pl"]
    lines += ['  pl.rerun(pl.Portrait.open("portraits/NAME.png"), model)', ""]
    upscaled = [row.site for row in EXPORT_SIZES if row.size_px > done.size_px]
    lines += [f"exports/ has each in the sizes that sites want. The model draws {done.size_px} px:"]
    lines += [
        f"those for {', '.join(upscaled)} are enlarged by Lanczos, which adds no detail."
        if upscaled
        else "none is enlarged."
    ]
    return "\n".join(lines) + "\n"
