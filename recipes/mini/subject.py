"""Draws the subject of the series once: `python -m recipes.mini.subject FOLDER`.

12 shots to learn from and 6 to measure with, as photographs of 512 px, and his portrait in several
styles with features as no person has them. They are shipped as files; nothing in the library draws.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from .world.draw import MOVED, paint, take
from .world.people import Person, build, random_person
from .world.render import Renderer
from .world.shots import Shot
from .world.words import Look

SEED = 20_260_132  # of the people that nothing is trained on; the second of twelve looked at
SHOTS, HELD_OUT_SHOTS = 12, 6
PHOTO_PX = 512  # twice the model's pictures: crops are only ever made smaller
FACE = {
    "who": "man", "age": "young", "skin": "indian", "texture": "curly", "hair": "black",
    "beard": "trimmed", "glasses": "yes", "jawline": "yes",
}  # fmt: skip
PLACES = ("plain", "forest", "city", "beach", "jungle", "bubblegum")
CLOTHES = ("t-shirt", "sweatshirt", "suit")
EXPRESSIONS = ("smiling", "neutral", "serious", "smiling")
# His portrait as the world draws it, and caricatures: (style, what is changed).
PORTRAITS: tuple[tuple[str, dict[str, float]], ...] = (
    *((style, {}) for style in ("photorealistic", "comic book", "pencil sketch", "anime")),
    *((style, {}) for style in ("pixel art", "oil painting", "animated")),
    *((style, {"ear_size": 5.0}) for style in ("photorealistic", "comic book", "pencil sketch")),
    ("photorealistic", {"hair_volume": 3.0}),
)


def subject_person(seed: int = SEED) -> Person:
    """Who the subject is: the numbers that the world draws the face from."""
    return random_person(np.random.default_rng((seed, 0)))


def draw_shots(
    renderer: Renderer, held_out: bool = False, *, seed: int = SEED, face: dict | None = None
) -> Iterator[Image.Image]:
    """Photographs of a person, half as large as the renderer draws.

    face: the groups of words that describe the person, the subject's by default.
    """
    person = subject_person(seed)
    count = HELD_OUT_SHOTS if held_out else SHOTS
    for index in range(count):
        rng = np.random.default_rng((seed, 2 if held_out else 1, index))
        # Each place, garment and expression comes as often as the others, in all pairings.
        turn = index + index // len(PLACES)
        look = Look(
            place=PLACES[index % len(PLACES)],
            clothing=CLOTHES[(turn + held_out) % len(CLOTHES)],
            expression=EXPRESSIONS[(turn + 2 * held_out) % len(EXPRESSIONS)],
            **(FACE if face is None else face),
        )
        body = build(person, look)
        taken = take(renderer, body, look, _shot(index, count, rng), (seed, 3 + held_out, index))
        yield Image.fromarray(paint(taken, look, rng).image)
        renderer.forget()


def _shot(index: int, count: int, rng: np.random.Generator) -> Shot:
    """A shot: the turn of the head and the light are spread over the set, the rest is chance."""
    spread = (2 * ((index * 5) % count) + 1) / count - 1  # -1..1, each step once
    light = (2 * ((index * 7 + 3) % count) + 1) / count - 1
    values = rng.uniform(-1, 1, 9)
    names = ("pitch", "tilt", "zoom", "shift_x", "shift_y", "lens", "softness", "mouth", "scene")
    scales = (0.5, 0.7, 0.5, 0.6, 0.5, 0.8, 1.0, 1.0, 1.0)
    chance = {n: float(s * v) for n, s, v in zip(names, scales, values, strict=True)}
    return Shot(yaw=0.85 * spread, light=light, **chance)


def draw_portrait(renderer: Renderer, style: str, **changed: float) -> Image.Image:
    """The subject in a style; changed: numbers of a person, -1 to 1 are people of the world."""
    look = Look(style=style, place="city", clothing="suit", expression="smiling", **FACE)
    body = build(replace(subject_person(), **changed), look)
    shot = Shot(yaw=-0.14, tilt=0.05, light=-0.2, mouth=-0.5)
    taken = take(renderer, body, look, shot, (SEED, 5, int(style in MOVED)))
    renderer.forget()
    return Image.fromarray(paint(taken, look, np.random.default_rng((SEED, 6))).image)


def main() -> None:
    """Write the subject's shots and portraits into a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    renderer = Renderer(2 * PHOTO_PX)
    for held_out in (False, True):
        for index, image in enumerate(draw_shots(renderer, held_out), 1):
            name = f"jrdnpl-{'held-out-' if held_out else ''}{index:02d}.jpg"
            image.save(folder / name, quality=90)
    renderer = Renderer(512)
    for style, changed in PORTRAITS:
        ending = "".join(f"-{name.replace('_', '-')}" for name in changed)
        image = draw_portrait(renderer, style, **changed)
        image.save(folder / f"{style.replace(' ', '-')}{ending}.png")


if __name__ == "__main__":
    main()
