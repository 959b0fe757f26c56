"""Sets of drawn portraits on disk: drawn once, in parallel, and kept in shards."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from portraitlib.mini.words import GROUPS, PHRASES

from .looks import Look, random_look
from .people import random_person, random_shot
from .world import LANDMARKS, draw

SHARD = 1000
HELD_OUT = 10_000_000  # seeds from here on are never trained on


@dataclass(frozen=True)
class Drawings:
    """Drawn portraits: images (n, size, size, 3) uint8; looks (n, groups) uint8, an index into
    each group of `PHRASES`; people (n, 22) float32; landmarks (n, 6, 2) float32 in 0..1."""

    images: np.ndarray
    looks: np.ndarray
    people: np.ndarray
    landmarks: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def look(self, index: int) -> Look:
        return look_of(self.looks[index])


def look_of(codes: np.ndarray) -> Look:
    """A row of `Drawings.looks` as a `Look`."""
    return Look(**{g: list(PHRASES[g])[c] for g, c in zip(GROUPS, codes, strict=True)})


def codes_of(look: Look) -> np.ndarray:
    """A `Look` as a row of `Drawings.looks`, (groups,) uint8."""
    codes = [list(PHRASES[g]).index(v) for g, v in zip(GROUPS, astuple(look), strict=True)]
    return np.array(codes, np.uint8)


def draw_many(first_seed: int, count: int, size_px: int, fixed: dict[str, str]) -> Drawings:
    """Draw the portraits with seeds `first_seed` and on."""
    import cv2

    cv2.setNumThreads(1)  # one process a core does better than one process on all
    rows = []
    for seed in range(first_seed, first_seed + count):
        rng = np.random.default_rng(seed)
        look = random_look(rng, **fixed)
        drawing = draw(random_person(rng), look, random_shot(rng), size_px=size_px)
        places = [drawing.landmarks[name] for name in LANDMARKS]
        rows.append((drawing.image, codes_of(look), drawing.person.numbers(), places))
    images, looks, people, landmarks = zip(*rows, strict=True)
    return Drawings(
        np.stack(images), np.stack(looks), np.stack(people), np.array(landmarks, np.float32)
    )


def _draw_shard(path: Path, first_seed: int, size_px: int) -> Path:
    drawn = draw_many(first_seed, SHARD, size_px, {})
    half = path.with_suffix(".part.npz")
    np.savez(half, **vars(drawn))
    half.rename(path)
    return path


def make_drawings(
    folder: Path, count: int, size_px: int, on_shard: Callable[[int, int], None] | None = None
) -> None:
    """Draw what is missing of the first `count` training portraits into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    note = folder / "size_px.json"
    if note.exists() and json.loads(note.read_text()) != size_px:
        raise ValueError(
            f"{folder}: holds drawings of another size than {size_px} px; name another folder"
        )
    note.write_text(json.dumps(size_px))
    wanted = {folder / f"{i:05d}.npz": i * SHARD for i in range(-(-count // SHARD))}
    missing = {path: seed for path, seed in wanted.items() if not path.exists()}
    done = len(wanted) - len(missing)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(_draw_shard, missing, missing.values(), [size_px] * len(missing)):
            done += 1
            if on_shard:
                on_shard(done, len(wanted))


def read_drawings(folder: Path, count: int | None = None) -> Drawings:
    """Read the shards of a folder, the first `count` portraits or all."""
    paths = sorted(folder.glob("[0-9]*.npz"))
    if count is not None:
        paths = paths[: -(-count // SHARD)]
    if not paths:
        raise FileNotFoundError(f"{folder}: no drawings here; run the recipe's draw stage first")
    shards = [np.load(path) for path in paths]
    return Drawings(
        *(np.concatenate([s[k] for s in shards]) for k in Drawings.__dataclass_fields__)
    )
