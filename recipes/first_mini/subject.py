"""Draws the subject of the series: a person of the world in varied shots, from a seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from PIL import Image

from portraitlib.photos.photo_set import IDENTIFIER, PhotoSet
from portraitlib.photos.read import CAPTION, gather, prepare_photo
from portraitlib.photos.subject import SEED

from .looks import Look
from .people import Person, Shot, random_person
from .world import draw

SHOTS, HELD_OUT_SHOTS = 12, 6
DRAWN_PX = 192  # twice the embedded model's pictures: crops are only ever made smaller
FACE = {"who": "man", "age": "young", "skin": "indian", "texture": "curly", "hair": "black"} | {
    "beard": "trimmed", "glasses": "yes", "jawline": "yes"
}  # fmt: skip
PLACES = ("plain", "forest", "city", "beach", "jungle", "bubblegum")
CLOTHES = ("t-shirt", "sweatshirt", "suit")
EXPRESSIONS = ("smiling", "neutral", "serious", "smiling")


def photos_of(seed: int, held_out: bool = False, *, size_px: int = 96) -> PhotoSet:
    """Photos of a person of the world, as `subject_photos` gives those of the subject."""
    caption = CAPTION.replace("{identifier}", IDENTIFIER)
    photos = [
        replace(prepare_photo(name, image, size_px), caption=caption)
        for name, image in draw_shots(held_out, seed)
    ]
    source = f"{IDENTIFIER} ({'held out' if held_out else 'drawn'}, seed {seed})"
    return gather(photos, source=source, identifier=IDENTIFIER, size_px=size_px)


def draw_portrait(style: str, *, seed: int = SEED, **changed: float) -> Image.Image:
    """The subject as the world draws it, (192, 192); changed: numbers of `people.Person`, where
    -1 to 1 are people of the world and what is beyond is a caricature."""
    words = {"place": "city", "clothing": "suit", "expression": "smiling"}
    look = Look(style=style, **words, **FACE)
    person = replace(subject_person(seed), **changed)
    shot = Shot(yaw=-0.14, tilt=0.05, light=-0.2, clothing_color=0.3, scene=0.4)
    return Image.fromarray(draw(person, look, shot, size_px=DRAWN_PX).image)


def subject_person(seed: int = SEED) -> Person:
    """Who the subject is: the numbers that the world draws the face from."""
    return random_person(np.random.default_rng((seed, 0)))


def draw_shots(held_out: bool = False, seed: int = SEED) -> Iterator[tuple[str, Image.Image]]:
    """File names and pictures of (192, 192), photorealistic."""
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
            **FACE,
        )
        name = f"jrdnpl-{'held-out-' if held_out else ''}{index + 1:02d}.png"
        yield (
            name,
            Image.fromarray(draw(person, look, _shot(index, count, rng), size_px=DRAWN_PX).image),
        )


def _shot(index: int, count: int, rng: np.random.Generator) -> Shot:
    """A shot: the turn of the head and the light are spread over the set, the rest is chance."""
    spread = (2 * ((index * 5) % count) + 1) / count - 1  # -1..1, each step once
    light = (2 * ((index * 7 + 3) % count) + 1) / count - 1
    tilt, zoom, shift_x, shift_y, warmth, colour, scene = rng.uniform(-1, 1, 7)
    return Shot(
        yaw=0.85 * spread,
        tilt=0.7 * tilt,
        zoom=0.8 * zoom,
        shift_x=0.7 * shift_x,
        shift_y=0.7 * shift_y,
        light=light,
        warmth=warmth,
        clothing_color=colour,
        scene=scene,
    )
