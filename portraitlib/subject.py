"""The default subject of the series: a person of the embedded model's world, drawn from a seed.

So the series runs without anybody's photos. The shots go the way that photographs go, from the face
that is found in them to the audit.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from portraitlib.mini.people import Person, Shot, random_person
from portraitlib.mini.words import Look
from portraitlib.mini.world import draw
from portraitlib.photo_set import IDENTIFIER, PhotoSet
from portraitlib.photos import CAPTION, gather, prepare_photo
from portraitlib.settings import RANGES, UsageError, check_number

SEED = 20_260_131  # of the world's held-out people: nothing was trained on them
SHOTS, HELD_OUT_SHOTS = 12, 6
DRAWN_PX = 192  # twice the embedded model's pictures: crops are only ever made smaller
FACE = {"who": "man", "age": "young", "skin": "indian", "texture": "curly", "hair": "black"} | {
    "beard": "trimmed", "glasses": "yes", "jawline": "yes"
}  # fmt: skip
PLACES = ("plain", "forest", "city", "beach", "jungle", "bubblegum")
CLOTHES = ("t-shirt", "sweatshirt", "suit")
EXPRESSIONS = ("smiling", "neutral", "serious", "smiling")


def subject_photos(
    held_out: bool = False, *, size_px: int = 96, identifier: str = IDENTIFIER, seed: int = SEED
) -> PhotoSet:
    """Photos of the drawn subject: 12 varied shots to train on, or 6 others to measure with.

    size_px: side of the crops, up to 192.  seed: another seed is another person.
    The same arguments give the same pixels. Raises UsageError for a value out of range.
    """
    size_px = int(check_number("subject_photos", "size_px", size_px, RANGES["size_px"]))
    caption = CAPTION.replace("{identifier}", identifier)
    photos = [
        replace(prepare_photo(name, image, size_px), caption=caption)
        for name, image in draw_shots(held_out, seed)
    ]
    which = "held out" if held_out else "drawn"
    source = f"{identifier} ({which}, seed {seed})"
    return gather(photos, source=source, identifier=identifier, size_px=size_px)


def write_subject(
    folder: str | os.PathLike[str], held_out: bool = False, *, seed: int = SEED
) -> Path:
    """Write the subject's shots as PNG files, a folder for `read_photos`; return the folder."""
    home = Path(folder).expanduser()
    home.mkdir(parents=True, exist_ok=True)
    for name, image in draw_shots(held_out, seed):
        image.save(home / name)
    return home


def subject_portrait(
    style: str = "photorealistic", *, size_px: int = 96, seed: int = SEED, **changed: float
) -> Image.Image:
    """A portrait of the subject as the world draws it, (size_px, size_px), with features changed.

    style: one of `mini.words.STYLES`.  changed: numbers of `mini.people.Person`, such as
        ear_size=5: -1 to 1 are people of the world, what is beyond is a caricature.
    Raises UsageError for a style or a feature that is not known.
    """
    size_px = int(check_number("subject_portrait", "size_px", size_px, RANGES["size_px"]))
    words = {"place": "city", "clothing": "suit", "expression": "smiling"}
    try:
        look = Look(style=style, **words, **FACE)
        person = replace(subject_person(seed), **changed)
    except (TypeError, ValueError) as problem:
        raise UsageError(f"subject_portrait: {problem}") from None
    shot = Shot(yaw=-0.14, tilt=0.05, light=-0.2, clothing_color=0.3, scene=0.4)
    drawn = Image.fromarray(draw(person, look, shot, size_px=2 * size_px).image)
    return drawn.resize((size_px, size_px), Image.Resampling.LANCZOS)


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
