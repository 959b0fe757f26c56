"""Draws the strangers that likeness starts from: people of the world, and what describes them."""

from __future__ import annotations

import numpy as np

from portraitlib.mini.judge import read, shipped_judge
from portraitlib.mini.likeness import embed, shipped_likeness
from portraitlib.mini.strangers import DESCRIPTION, STRANGERS
from portraitlib.mini.words import PHRASES

from .drawings import HELD_OUT
from .likeness import DRAWN_PX
from .looks import Look, random_look
from .people import random_person, random_shot
from .world import draw

SEED = HELD_OUT + 8_000_000


def draw_strangers(
    description: tuple[str, ...] = (), count: int = STRANGERS, seed: int = SEED
) -> tuple[np.ndarray, np.ndarray]:
    """People of one description, one shot each: descriptions (count, 9) uint8, an index into each
    group of `PHRASES`, and points (count, 64) float32.

    description: a value of each of the `DESCRIPTION`; empty for people of any description.
    The shots are photorealistic; place, clothes, expression, pose and light differ.
    """
    judge, _ = shipped_judge()
    said = dict(zip(DESCRIPTION, description, strict=True)) if description else {}
    rng = np.random.default_rng(seed)
    images, looks = [], []
    for _ in range(count):
        person, look = random_person(rng), _shot(said, rng)
        images.append(draw(person, look, random_shot(rng), size_px=DRAWN_PX).image)
        looks.append([list(PHRASES[g]).index(getattr(look, g)) for g in DESCRIPTION])
    pixels = np.stack(images)
    points = embed(shipped_likeness(), pixels, read(judge, pixels).landmarks)
    return np.array(looks, np.uint8), points


def _shot(said: dict[str, str], rng: np.random.Generator) -> Look:
    return random_look(rng, style="photorealistic", mood="none", punk="no", mona_lisa="no", **said)
