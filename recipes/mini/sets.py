"""Drawn sets on disk: shards of up to 256 pictures, which appear while a training reads them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

HELD_OUT = 10_000_000  # people and seeds from here on are never trained on
PARTS = (
    "background", "face", "neck and ears", "hair", "brows",
    "eyes", "mouth", "beard", "glasses", "clothes",
)  # fmt: skip


@dataclass(frozen=True)
class Shard:
    """One folder of a set; its arrays stay on disk until they are read.

    images: (n, 256, 256, 3) uint8, sRGB.  parts: (n, 128, 128) uint8, an index into `PARTS`.
    depth: (n, 128, 128) uint8.  landmarks: (n, points, 2) float32 in 0..1 of the picture.
    meta: a dict a picture, with seed, person, look, numbers and style.
    """

    folder: Path

    def __len__(self) -> int:
        return len(self.meta)

    def _array(self, name: str) -> np.ndarray:
        return np.load(self.folder / f"{name}.npy", mmap_mode="r")

    @cached_property
    def images(self) -> np.ndarray:
        return self._array("images")

    @cached_property
    def parts(self) -> np.ndarray:
        return self._array("parts")

    @cached_property
    def depth(self) -> np.ndarray:
        return self._array("depth")

    @cached_property
    def landmarks(self) -> np.ndarray:
        return self._array("landmarks")

    @cached_property
    def meta(self) -> list[dict[str, Any]]:
        lines = (self.folder / "meta.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


def read_shards(folder: Path, known: tuple[Shard, ...] = ()) -> tuple[Shard, ...]:
    """The whole shards of a set in order; those that are `known` already are not read anew.

    Raises FileNotFoundError where there is none yet.
    """
    by_name = {shard.folder.name: shard for shard in known}
    places = sorted(p for p in folder.glob("[0-9]*") if p.is_dir() and p.name.isdigit())
    if not places:
        raise FileNotFoundError(f"{folder}: no shards here; draw a set first: recipes.mini.world")
    return tuple(by_name.get(p.name) or Shard(p) for p in places)


def pictures_of(shards: tuple[Shard, ...], style: str, count: int) -> np.ndarray:
    """The first `count` pictures of a style, (n, 256, 256, 3) uint8; fewer if there are fewer."""
    rows: list[np.ndarray] = []
    for shard in shards:
        mine = [i for i, meta in enumerate(shard.meta) if meta["style"] == style]
        rows += [shard.images[i] for i in mine[: count - len(rows)]]
        if len(rows) == count:
            break
    return np.stack(rows) if rows else np.zeros((0, 256, 256, 3), np.uint8)
