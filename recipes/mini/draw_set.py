"""Draws a set of portraits: `python -m recipes.mini.draw_set FOLDER --shards 100 --jobs 2`.

A shard is 32 people of 8 pictures each, and depends on its number alone. Shards that are there
are kept, so it can be stopped and started at will, and made longer.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from .sets import HELD_OUT
from .world.draw import MOVED, Portrait, paint, take
from .world.people import Person, build, random_person
from .world.render import Renderer
from .world.shots import random_shot
from .world.words import WEIGHTS, Look, random_look

PEOPLE = 32  # of a shard, unless told otherwise
# The pictures of a person: renders, and the styles that each of them is given.
STILL = ("photorealistic", "pencil sketch", "comic book", "pixel art", "oil painting")
SHARES = np.array([0.30, 0.16, 0.17, 0.17, 0.20])
RENDERS = 3  # of two styles each, then one render for each style that moves the face
# What stays the same in all pictures of a person; the rest is the day's.
LASTING = (
    *("who", "age", "skin", "texture", "length", "hair", "beard", "glasses", "dimples"),
    *("jawline", "pimple", "clothing", "punk", "mona_lisa"),
)


def draw_person(renderer: Renderer, seed: int) -> Iterator[tuple[Portrait, Look, Person]]:
    """The eight pictures of the person of a seed; all follows from the seed."""
    rng = np.random.default_rng((seed, 0))
    person, base = random_person(rng), random_look(rng, style="photorealistic", mood="none")
    lasting = {group: getattr(base, group) for group in LASTING}
    plan = [tuple(rng.choice(STILL, 2, replace=False, p=SHARES)) for _ in range(RENDERS)]
    plan += [(style,) for style in MOVED]
    if base.mona_lisa == "yes":
        plan = [("oil painting",)] * 8
    still = build(person, base)
    for number, given in enumerate(plan):
        day = random_look(rng, **lasting)
        shot = random_shot(rng)
        look = replace(base, place=day.place, expression=day.expression, style=str(given[0]))
        body = build(person, look) if look.style in MOVED else still
        taken = take(renderer, body, look, shot, (seed, number))
        for style in given:
            styled = replace(look, style=str(style), mood=_mood(str(style), rng))
            picture = np.random.default_rng((seed, number, STYLE_SEEDS[str(style)]))
            yield paint(taken, styled, picture), styled, person
    renderer.forget()


STYLE_SEEDS = {style: i for i, style in enumerate((*STILL, *MOVED))}


def _mood(style: str, rng: np.random.Generator) -> str:
    mood = str(rng.choice(["none", "colorful", "dramatic", "impressionist"], p=WEIGHTS["mood"]))
    if style == "oil painting":  # where moods differ most, they come more often
        return str(rng.choice([mood, "dramatic", "impressionist"], p=[0.4, 0.3, 0.3]))
    return "none" if mood == "impressionist" or style == "pencil sketch" else mood


def draw_shard(folder: Path, number: int, seeds: range, renderer: Renderer) -> None:
    """Draw a shard of a set and put it in its place when it is whole."""
    images, parts, depth, landmarks, meta = [], [], [], [], []
    for seed in seeds:
        for portrait, look, person in draw_person(renderer, seed):
            images.append(portrait.image)
            parts.append(portrait.parts)
            depth.append(portrait.depth)
            landmarks.append(portrait.landmarks)
            numbers = [round(float(x), 4) for x in person.numbers()]
            line = {"seed": seed, "person": seed, "style": look.style, "look": asdict(look)}
            meta.append(json.dumps(line | {"numbers": numbers}))
    beside = folder / f".{number:05d}"
    beside.mkdir(parents=True, exist_ok=True)
    arrays = {"images": images, "parts": parts, "depth": depth, "landmarks": landmarks}
    for name, rows in arrays.items():
        np.save(beside / f"{name}.npy", np.stack(rows))
    (beside / "meta.jsonl").write_text("\n".join(meta) + "\n")
    beside.rename(folder / f"{number:05d}")


_RENDERER: Renderer | None = None  # one a process


def _draw_shard(folder: Path, number: int, first: int, people: int) -> int:
    global _RENDERER
    _RENDERER = _RENDERER or Renderer()
    seeds = range(first + number * people, first + (number + 1) * people)
    draw_shard(folder, number, seeds, _RENDERER)
    return number


def main() -> None:
    """Draw the shards of a set that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shards", type=int, default=100, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first number that is wanted")
    parser.add_argument("--people", type=int, default=PEOPLE, help="of a shard, 8 pictures each")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--held-out", action="store_true", help="people that nothing is trained on")
    given = parser.parse_args()
    missing = [
        n
        for n in range(given.first, given.first + given.shards)
        if not (given.folder / f"{n:05d}").is_dir()
    ]
    first = HELD_OUT if given.held_out else 0
    started = time.monotonic()
    with ProcessPoolExecutor(given.jobs) as pool:
        waiting = [pool.submit(_draw_shard, given.folder, n, first, given.people) for n in missing]
        for done, future in enumerate(as_completed(waiting), 1):
            rate = done * given.people * 8 / (time.monotonic() - started) * 3600
            print(
                f"shard {future.result():05d}: {done} of {len(missing)}, {rate:,.0f} an hour",
                flush=True,
            )


if __name__ == "__main__":
    main()
