"""How much of a person the world's own drawings keep in each style, for its own encoder of faces.

    python -m recipes.first_mini.style_ceilings portraitlib/mini/ceilings.toml

writes a row a style: where drawings of a person in it lie, on the way from other people drawn in it
(0) to the person's photos (1). A style may take a person's hair or colours: what is lost by it is
no fault of a model, and likeness is 1 there.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from PIL import Image

from portraitlib.measuring.intervals import distances
from portraitlib.measuring.likeness import face_points
from portraitlib.mini.words import PHRASES
from portraitlib.photos.faces.find import ENCODERS

from .likeness import CHANGES, settled
from .looks import Look, random_look
from .people import Person, random_person, random_shot
from .world import draw

PEOPLE, SHOTS, DRAWINGS, SIZE_PX = 30, 8, 2, 96
FIRST_SEED = 9100  # people whom nothing else is tried on


def changes() -> dict[str, dict[str, str]]:
    """Row -> what is said of a picture: every style, with each mood and as a punk."""
    rows = {}
    for style in PHRASES["style"]:
        rows[style] = {"style": style, "mood": "none", "punk": "no"}
        rows[f"{style}, punk"] = {"style": style, "mood": "none", "punk": "yes"}
        for mood in ("colorful", "dramatic", "impressionist"):
            rows[f"{style}, {mood}"] = {"style": style, "mood": mood, "punk": "no"}
    return rows


def pictures(person: Person, look: Look, rng: np.random.Generator, count: int) -> list[Image.Image]:
    """A person in other clothes and places, drawn as the look says."""
    made = []
    for _ in range(count):
        other = asdict(random_look(rng, who=look.who, punk="no", mona_lisa="no"))
        words = settled(replace(look, **{group: other[group] for group in CHANGES}))
        words = replace(words, style=look.style, mood=look.mood, punk=look.punk)
        made.append(Image.fromarray(draw(person, words, random_shot(rng), size_px=SIZE_PX).image))
    return made


Points = list[np.ndarray]


def read_person(who: str, number: int) -> tuple[np.ndarray, dict[str, Points]]:
    """The points of a person's photos, (photos, numbers), and of drawings by row."""
    encoder = ENCODERS["mini"]
    rng = np.random.default_rng((FIRST_SEED, number))
    plain = random_look(rng, who=who, punk="no", mona_lisa="no", style="photorealistic")
    plain, person = replace(plain, mood="none"), random_person(rng)

    def points(look: Look, count: int) -> Points:
        found = face_points(pictures(person, look, rng, count), encoder)
        return [point for point in found if point is not None]

    photos = np.array(points(plain, SHOTS))
    return photos, {row: points(replace(plain, **s), DRAWINGS) for row, s in changes().items()}


def shares(people: list[tuple[np.ndarray, dict[str, Points]]], row: str) -> list[float]:
    """Of each drawing in a style: how far it is from others drawn so to the person's photos."""
    values = []
    for number, (photos, drawn) in enumerate(people):

        def away(points: Points, photos: np.ndarray = photos) -> np.ndarray:
            return np.median(distances(np.array(points), photos), axis=1)

        apart = distances(photos, photos)
        ceiling = np.median([np.median(np.delete(line, i)) for i, line in enumerate(apart)])
        others = [p for n, (_, theirs) in enumerate(people) if n != number for p in theirs[row]]
        floor = np.median(away(others))
        if drawn[row]:
            values += list((floor - away(drawn[row])) / (floor - ceiling))
    return values


def measure(people: int) -> dict[str, float]:
    """Row -> median of the `shares` of men and women, 1 at most."""
    groups = [[read_person(who, n) for n in range(people)] for who in ("man", "woman")]
    return {
        row: min(1.0, float(np.median([v for group in groups for v in shares(group, row)])))
        for row in changes()
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m recipes.first_mini.style_ceilings")
    parser.add_argument("output", type=Path)
    parser.add_argument("--people", type=int, default=PEOPLE)
    options = parser.parse_args(arguments)
    lines = [
        "# Where the world's own drawings of a person lie in each style, on the way from strangers",
        "# drawn in it (0) to the person's photos (1). By recipes/first_mini/style_ceilings.py.",
    ]
    lines += [f'"{row}" = {value:.3f}' for row, value in measure(options.people).items()]
    options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
