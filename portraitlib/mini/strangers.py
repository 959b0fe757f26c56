"""Other people of the embedded world whom the same words describe: what likeness starts from."""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np

from portraitlib.mini.judge import read, shipped_judge
from portraitlib.mini.words import GROUPS, PHRASES
from portraitlib.places import PACKAGE

STRANGERS = 64
# What a description of somebody says; the rest changes from shot to shot.
DESCRIPTION = ("who", "age", "skin", "texture", "length", "hair", "beard", "glasses", "jawline")
FILE = PACKAGE / "mini" / "strangers.npz"  # drawn, judged and embedded by recipes/first_mini


def describe(images: np.ndarray) -> tuple[str, ...]:
    """What most of some pictures show of each group of `DESCRIPTION`.

    images: (n, height, width, 3) uint8.
    """
    looks = read(shipped_judge()[0], images).looks
    columns = [looks[:, GROUPS.index(group)] for group in DESCRIPTION]
    modes = [int(np.bincount(column).argmax()) for column in columns]
    return tuple(list(PHRASES[g])[mode] for g, mode in zip(DESCRIPTION, modes, strict=True))


@lru_cache(maxsize=8)
def strangers(description: tuple[str, ...]) -> np.ndarray:
    """Points of the `STRANGERS` people whom a description fits best, (64, 64) float32.

    description: as `describe` gives it; empty for people of any description.
    The shots are photorealistic; place, clothes, expression, pose and light differ.
    """
    descriptions, points = _everybody()
    asked = [list(PHRASES[g]).index(v) for g, v in zip(DESCRIPTION, description, strict=False)]
    fitting = (descriptions[:, : len(asked)] == asked).sum(1)
    chosen = points[np.argsort(-fitting, kind="stable")[:STRANGERS]]
    chosen.flags.writeable = False  # one array for all who ask
    return chosen


@cache
def _everybody() -> tuple[np.ndarray, np.ndarray]:
    """Descriptions (people, 9) uint8, an index into each group of `PHRASES`, and points
    (people, 64) float32: first anybody, then those of the subject's description, then more."""
    with np.load(FILE) as kept:
        return kept["descriptions"], kept["points"]
