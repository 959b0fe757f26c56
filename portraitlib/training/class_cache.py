"""Drawn class images on the disk: PNG files in a folder under their content address.

`class_images.json` lists them with the hash of each, and is written after every batch: a file that
it does not list, or that has changed since, does not count. Files are named by seed and content,
and both they and the list are written beside and renamed, so that two processes that draw the same
set at once do not spoil each other: the one that lists a seed first is followed by the other.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from portraitlib.places import digest
from portraitlib.portrait import Portrait, check_writable, write_json, write_whole
from portraitlib.settings import UsageError
from portraitlib.training.class_audit import Look

LIST = "class_images.json"
# What decides how long a step takes.
PACED_BY = ("model", "revision", "dtype", "size_px")


@dataclass(frozen=True)
class Row:
    """One drawn picture: its file, the file's hash, what it took, what it shows."""

    seed: int
    file: str
    sha256: str
    seconds: float
    device: str
    versions: dict[str, Any]
    look: Look


@dataclass
class ClassCache:
    """The pictures of one prompt and settings; `about` is all that decides them but the seeds.

    rows: seed -> picture, those whose file is whole.  damaged: seeds whose file is not.
    faults: what was wrong with what lay there, one sentence each.
    """

    home: Path
    about: dict[str, Any]
    rows: dict[int, Row] = field(default_factory=dict)
    damaged: set[int] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.refresh()
        if self.damaged:
            seeds = ", ".join(map(str, sorted(self.damaged)))
            self.faults.append(f"damaged or missing pictures are drawn anew: seeds {seeds}")

    @property
    def folder(self) -> Path:
        """Where the pictures lie."""
        return self.home / digest(self.about)

    @property
    def looks(self) -> dict[int, Look]:
        """What each picture shows, by seed."""
        return {seed: row.look for seed, row in self.rows.items()}

    def refresh(self) -> None:
        """Take in what the list has by now; rows of another process go before one's own."""
        try:
            listed = list(_read_rows(self.folder / LIST, self.about))
        except (ValueError, KeyError, TypeError):
            listed = []
            fault = "the list of the pictures was damaged: all are drawn anew"
            self.faults += [fault] if fault not in self.faults else []
        for row in listed:
            if row == self.rows.get(row.seed):
                continue
            if self._content(row) is not None:
                self.rows[row.seed] = row
            elif row.seed not in self.rows:
                self.damaged.add(row.seed)

    def _content(self, row: Row) -> bytes | None:
        """The bytes of a file that is as it was written; None for any other."""
        try:
            content = (self.folder / Path(row.file).name).read_bytes()
        except OSError:
            return None
        return content if hashlib.sha256(content).hexdigest() == row.sha256 else None

    def load(self, seed: int) -> Image.Image:
        """A picture of `rows`, RGB; raises UsageError if its file has vanished meanwhile."""
        content = self._content(self.rows[seed])
        if content is None:
            raise UsageError(
                f"{self.folder / self.rows[seed].file}: it was changed or deleted while class "
                "images were made; run it again"
            )
        with Image.open(io.BytesIO(content)) as opened:
            return opened.convert("RGB")

    def keep(
        self, portraits: Sequence[Portrait], looks: Sequence[Look], versions: Mapping[str, Any]
    ) -> None:
        """Write pictures, each whole or not at all, and then the list that makes them count."""
        for portrait, look in zip(portraits, looks, strict=True):
            content, recipe = portrait.png_bytes(), portrait.recipe
            sha256, seed = hashlib.sha256(content).hexdigest(), recipe["seed"]
            file = f"{seed:06d}-{sha256[:8]}.png"
            write_whole(self.folder / file, content)
            made = recipe["seconds"], recipe["device"], dict(versions)
            self.rows[seed] = Row(seed, file, sha256, *made, look)
        self.refresh()
        rows = [asdict(self.rows[seed]) for seed in sorted(self.rows)]
        write_json(self.folder / LIST, {"about": self.about, "images": rows})

    def check_room(self, count: int, size_px: int) -> None:
        """Can so many pictures be written? Raises UsageError before they are drawn."""
        check_writable(self.folder)
        place = next(place for place in (self.folder, *self.folder.parents) if place.exists())
        needed, free = count * 3 * size_px**2, shutil.disk_usage(place).free
        if free < needed:
            raise UsageError(
                f"{self.home}: {count} class images of {size_px} px need up to "
                f"{needed / 1e6:.0f} MB, got {free / 1e6:.0f} MB of free disk; "
                "try cache=FOLDER on a disk with room"
            )

    def seconds_per_step(self, device: str) -> float | None:
        """How long one picture's denoising step took when such pictures were drawn last.

        Any prompt of the same model and size on the same device will do. None if there is none.
        """
        lists = {path: path.stat().st_mtime for path in self.home.glob(f"*/{LIST}")}
        for path in sorted(lists, key=lambda path: lists[path], reverse=True):
            try:
                about = json.loads(path.read_text(encoding="utf-8"))["about"]
                if any(about[name] != self.about[name] for name in PACED_BY):
                    continue
                rows = [row for row in _read_rows(path, about) if row.device == device]
                passes = about["num_inference_steps"] * (2 if about["guidance_scale"] > 1 else 1)
            except (OSError, ValueError, KeyError, TypeError):
                continue  # another's damaged list; it is said where that set is asked for
            if rows:
                own = 2 if self.about["guidance_scale"] > 1 else 1
                return own * sum(row.seconds for row in rows) / len(rows) / passes
        return None


def _read_rows(path: Path, about: Mapping[str, Any]) -> Iterable[Row]:
    """The rows of a list, none if there is no file; raises ValueError and others if damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except OSError as problem:
        raise UsageError(f"{path}: cannot be read ({problem.strerror or problem})") from None
    if found["about"] != about:
        raise ValueError("of another set")
    for row in found["images"]:
        look = Look(**row["look"])
        if len(bytes.fromhex(look.hash)) != 32:
            raise ValueError("no hash")
        yield Row(**{**row, "look": look})
