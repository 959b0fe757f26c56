"""Measures what edges do: how well they are kept, what the words still do, who it is then.

    python -m recipes.first_mini.control_figures

draws held-out people, takes the canny edges of one shot of each, draws those in six styles and
writes the figures into the model card; a few minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from portraitlib.mini.asked import ask
from portraitlib.mini.judge import Reading, load_judge, read
from portraitlib.mini.strangers import DESCRIPTION
from portraitlib.mini.words import PHRASES, STYLES

from .architecture import SIZE_PX
from .drawings import HELD_OUT
from .figures import generate, interval
from .looks import Look, random_look
from .people import random_person, random_shot
from .world import draw

PEOPLE = 32
FIRST_SEED = HELD_OUT + 9_100_000  # of the people, and of the noise that they are drawn from
PHOTOS = 6  # other shots of each, photorealistic, that likeness is measured with
DRAWN_STYLES = STYLES[1:]
SCALES = (0.0, 0.7, 1.0)
TOLERANCES_PX = (1, 2)
MOODS = ("none", "colorful", "dramatic")  # one a person in turn; the photo has none
FREE = ("skin", "hair", "style", "mood")  # what no line says
DRAWN = "drawn"  # the world's own drawing of the same, beside the scales
ROUNDED = 4


@dataclass(frozen=True)
class Sitter:
    """Somebody of the world who is drawn after the edges of one shot.

    edges: of that shot, as the model gets them.  photos: other shots, (PHOTOS, size, size, 3).
    prompts: for each of the `DRAWN_STYLES`, what no line says; the rest is left to the edges.
    drawn: the world's own drawing of each, (styles, size, size, 3) uint8.
    """

    edges: Image.Image
    photos: np.ndarray
    prompts: list[str]
    drawn: np.ndarray


def sitter(number: int) -> Sitter:
    """The person of this number; the same number is the same person."""
    from portraitlib.generate.conditions import canny

    rng = np.random.default_rng((FIRST_SEED, number))
    plain = {"style": STYLES[0], "mood": "none", "punk": "no", "mona_lisa": "no"}
    person, look, shot = random_person(rng), random_look(rng, **plain), random_shot(rng)
    who = {group: getattr(look, group) for group in DESCRIPTION}

    def shown(look: Look, shot: Any) -> np.ndarray:
        return draw(person, look, shot, size_px=SIZE_PX).image

    photos = [shown(random_look(rng, **plain, **who), random_shot(rng)) for _ in range(PHOTOS)]
    wanted = [replace(look, style=style, mood=MOODS[number % len(MOODS)]) for style in DRAWN_STYLES]
    return Sitter(
        edges=canny(Image.fromarray(shown(look, shot))).image,
        photos=np.stack(photos),
        prompts=[ask_for(each) for each in wanted],
        drawn=np.stack([shown(each, shot) for each in wanted]),
    )


def ask_for(look: Look) -> str:
    """Who it is and what no line says: "portrait of a man, indian, black hair, pixel art"."""
    groups = [group for group in FREE if group != "hair" or look.texture != "bald"]
    phrases = [PHRASES[group][getattr(look, group)][:1] for group in groups]
    return ", ".join([f"portrait of a {look.who}", *(word for row in phrases for word in row)])


def draw_after(model: Any, people: list[Sitter], scale: float) -> np.ndarray:
    """Every person in every style, (people, styles, size, size, 3) uint8.

    The noise of a picture is the same at every scale; scale 0 is what words alone draw.
    """
    prompts = [prompt for person in people for prompt in person.prompts]
    edges = [person.edges for person in people for _ in person.prompts]
    pictures = generate(model, prompts, FIRST_SEED, edges=edges if scale else None, scale=scale)
    return pictures.reshape(len(people), len(DRAWN_STYLES), *pictures.shape[1:])


# What is measured of a picture -------------------------------------------------------------------


def edges_kept(people: list[Sitter], pictures: np.ndarray, tolerance_px: float) -> np.ndarray:
    """F1 of the edges in pictures against those that were asked for, (people, styles)."""
    from portraitlib.measuring.appearance import edge_agreement, find_edges

    rows = []
    for person, row in zip(people, pictures, strict=True):
        wanted = np.asarray(person.edges.convert("L")) > 0
        found = [find_edges(Image.fromarray(picture)) for picture in row]
        rows.append([edge_agreement(each, wanted, tolerance_px)["edge_f1"] for each in found])
    return np.array(rows, float)


def likeness_of(people: list[Sitter], arms: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Likeness to the person's photos, (people, styles) for each arm; NaN where no face is found.

    1 is another photo of the person, 0 a stranger of the same description.
    """
    from portraitlib.measuring.likeness import face_points, make_yardstick
    from portraitlib.photos.faces.find import DRAWN as DRAWN_FACES
    from portraitlib.photos.faces.find import encoder_for

    encoder = encoder_for(DRAWN_FACES)
    assert encoder is not None
    found: dict[str, list[list[float]]] = {arm: [] for arm in arms}
    for index, person in enumerate(people):
        photos = [Image.fromarray(photo) for photo in person.photos]
        points = [point for point in face_points(photos, encoder) if point is not None]
        yardstick = make_yardstick(np.array(points), encoder, photos)
        for arm, pictures in arms.items():
            images = [Image.fromarray(picture) for picture in pictures[index]]
            measured = [
                yardstick.measure(point)["likeness"] for point in face_points(images, encoder)
            ]
            found[arm].append([np.nan if value is None else value for value in measured])
    return {arm: np.array(rows, float) for arm, rows in found.items()}


def words_seen(people: list[Sitter], reading: Reading) -> dict[str, np.ndarray]:
    """How much of what was asked the judge sees: for all of `FREE`, and each of its groups, the
    numbers right and asked, (2, people, styles)."""
    asked = ask([prompt for person in people for prompt in person.prompts], reading)
    shape = len(people), len(DRAWN_STYLES)

    def count(rows: np.ndarray) -> np.ndarray:
        pictures = asked.picture[rows], asked.picture[rows & asked.right]
        asked_right = [np.bincount(each, minlength=shape[0] * shape[1]) for each in pictures]
        return np.stack(asked_right[::-1]).reshape(2, *shape).astype(float)

    groups = {group: count(asked.group == group) for group in FREE}
    return {"all": np.sum(list(groups.values()), axis=0), **groups}


# What is said of many ----------------------------------------------------------------------------


def ratio(right: np.ndarray, asked: np.ndarray) -> dict[str, Any]:
    """sum(right) / sum(asked) of (people, styles), with its 95 % interval over people."""
    right, asked = right.sum(1), asked.sum(1)
    if not asked.any():
        return {"mean": None, "interval": None, "count": 0}
    low, high = interval(right, asked)
    return {
        "mean": round(float(right.sum() / asked.sum()), ROUNDED),
        "interval": [round(low, ROUNDED), round(high, ROUNDED)],
        "count": int(asked.sum()),
    }


def mean(values: np.ndarray) -> dict[str, Any]:
    """The mean of what is a number in (people, styles), with its 95 % interval over people."""
    return ratio(np.nan_to_num(values), np.isfinite(values).astype(float))


def by_style(row: Callable[..., dict[str, Any]], *arrays: np.ndarray) -> dict[str, dict[str, Any]]:
    """`row` of some (people, styles): over `all` styles, and for each."""
    each = {
        style: row(*(array[:, i : i + 1] for array in arrays))
        for i, style in enumerate(DRAWN_STYLES)
    }
    return {"all": row(*arrays), **each}


def measure_control(model: Any, count: int = PEOPLE) -> dict[str, Any]:
    """Draw `count` held-out people in six styles at every scale, and measure the pictures.

    Captions, seeds and intervals are fixed: the same model gives the same figures.
    """
    people = [sitter(number) for number in range(count)]
    arms = {DRAWN: np.stack([person.drawn for person in people])}
    for scale in SCALES:
        print(f"scale {scale:g}", flush=True)
        arms[f"{scale:g}"] = draw_after(model, people, scale)
    f1 = {
        arm: {f"{px} px": edges_kept(people, pictures, px) for px in TOLERANCES_PX}
        for arm, pictures in arms.items()
    }
    judge, _ = load_judge()
    flat = {arm: pictures.reshape(-1, *pictures.shape[2:]) for arm, pictures in arms.items()}
    seen = {arm: words_seen(people, read(judge, pictures)) for arm, pictures in flat.items()}
    likeness = likeness_of(people, arms)
    free = f1["0"]
    return {
        "people": count,
        "edges": {arm: {px: by_style(mean, v) for px, v in row.items()} for arm, row in f1.items()},
        # (F1 - chance) / (1 - chance): 0 is what words alone have in common with any portrait.
        "above_chance": {
            arm: {px: by_style(ratio, v - free[px], 1 - free[px]) for px, v in row.items()}
            for arm, row in f1.items()
            if arm != "0"
        },
        "words": {
            arm: {name: by_style(ratio, *v) for name, v in row.items()} for arm, row in seen.items()
        },
        "likeness": {arm: by_style(mean, values) for arm, values in likeness.items()},
        "likeness_gained": {
            arm: by_style(mean, values - likeness["0"])
            for arm, values in likeness.items()
            if arm != "0"
        },
    }


def main(arguments: list[str] | None = None) -> None:
    from portraitlib.models.load import load_model

    from .card import PICTURES, write_card

    parser = argparse.ArgumentParser(prog="python -m recipes.first_mini.control_figures")
    parser.description = (__doc__ or "").split("\n")[0]
    parser.add_argument("--people", type=int, default=PEOPLE, help="how many to measure on")
    parser.add_argument("--out", type=Path, help="write the figures here, and no card")
    options = parser.parse_args(arguments)
    figures = measure_control(load_model("mini", "cpu"), options.people)
    target = options.out or PICTURES / "control.json"
    target.write_text(json.dumps(figures, indent=1) + "\n")
    if not options.out:
        write_card()


if __name__ == "__main__":
    main()
