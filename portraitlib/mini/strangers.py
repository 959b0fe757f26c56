"""Other people of the embedded world whom the same words describe: what likeness starts from."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from .drawings import GROUPS, HELD_OUT
from .judge import read, shipped_judge
from .likeness import DRAWN_PX, embed, shipped_likeness
from .people import random_person, random_shot
from .words import PHRASES, Look, random_look
from .world import draw

STRANGERS = 64
# What a description of somebody says; the rest changes from shot to shot.
DESCRIPTION = ("who", "age", "skin", "texture", "length", "hair", "beard", "glasses", "jawline")
SEED = HELD_OUT + 8_000_000


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
    """Points of `STRANGERS` people of one description, one shot each, (64, 64) float32.

    description: as `describe` gives it; empty for people of any description.
    The shots are photorealistic; place, clothes, expression, pose and light differ.
    """
    judge, _ = shipped_judge()
    said = dict(zip(DESCRIPTION, description, strict=True)) if description else {}
    rng = np.random.default_rng(SEED)
    images = np.stack(
        [
            draw(random_person(rng), _shot(said, rng), random_shot(rng), size_px=DRAWN_PX).image
            for _ in range(STRANGERS)
        ]
    )
    points = embed(shipped_likeness(), images, read(judge, images).landmarks)
    points.flags.writeable = False  # one array for all who ask
    return points


def _shot(said: dict[str, str], rng: np.random.Generator) -> Look:
    return random_look(rng, style="photorealistic", mood="none", punk="no", mona_lisa="no", **said)
