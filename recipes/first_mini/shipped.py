"""Writes the files of the world that the library reads when it is used.

    python -m recipes.first_mini.shipped

draws the subject's shots and portraits, the strangers that likeness starts from, and the drawings
that prompt fidelity is compared with; some minutes on one core. The same pixels every time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from portraitlib.mini import asked, strangers
from portraitlib.mini.judge import SIZE_PX, read, shipped_judge
from portraitlib.mini.words import STYLES
from portraitlib.photos.subject import HOME, portrait_name

from .drawings import HELD_OUT, draw_many
from .strangers import SEED, draw_strangers
from .subject import FACE, draw_portrait, draw_shots

CARICATURES = (
    *((style, {"ear_size": 5.0}) for style in ("photorealistic", "comic book", "pencil sketch")),
    ("photorealistic", {"hair_volume": 3.0}),
)
MORE_STRANGERS = 1920
DRAWN = 4096
DRAWN_SEED = HELD_OUT + 9_500_000


def write_subject_files() -> None:
    """The subject's 18 shots, a portrait in each style, and the caricatures."""
    HOME.mkdir(exist_ok=True)
    for held_out in (False, True):
        for name, image in draw_shots(held_out):
            image.save(HOME / name, optimize=True)
    plain: list[tuple[str, dict[str, Any]]] = [(style, {}) for style in STYLES]
    for style, changed in (*plain, *CARICATURES):
        name = portrait_name(style, changed)
        draw_portrait(style, **changed).save(HOME / f"{name}.png", optimize=True)


def write_strangers() -> None:
    """Anybody, then people of the subject's description, then more of anybody."""
    subject = {"age": "adult", "length": "short", **FACE}
    people = [
        draw_strangers(),
        draw_strangers(tuple(subject[group] for group in strangers.DESCRIPTION)),
        draw_strangers(count=MORE_STRANGERS, seed=SEED + 1),
    ]
    descriptions, points = (np.concatenate(column) for column in zip(*people, strict=True))
    np.savez_compressed(strangers.FILE, descriptions=descriptions, points=points)


def write_drawn() -> None:
    """What portraits of all the world's looks were drawn with, and what the judge sees in them."""
    drawings = draw_many(DRAWN_SEED, DRAWN, SIZE_PX, {})
    seen = read(shipped_judge()[0], drawings.images).looks
    np.savez_compressed(asked.FILE, looks=drawings.looks, seen=seen)


if __name__ == "__main__":
    write_subject_files()
    write_strangers()
    write_drawn()
