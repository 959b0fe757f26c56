"""Portraits to choose from, for people that nothing was tried on: how many pictures do they take?

    python -m recipes.first_mini.portrait_figures runs/portrait_figures

makes the portraits of each person by `pl.make_portraits`, and beside them, with the same adapter,
judges and seeds, draws at settings that stay as they are, until each style has as many or is given
up. Prints a table; the folder has a page for each person, and goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import portraitlib as pl
from portraitlib.profile.handover import FACE
from portraitlib.profile.make import split_photos
from portraitlib.profile.search import (
    Search,
    Task,
    begin_search,
    draw_batch,
    is_missing,
    make_style_judge,
)
from portraitlib.profile.styles import STYLES, Setting

from .person_figures import photos_of

FIRST_SEED, PHOTOS = 6200, 10
FIXED = (1.0, 0.8)  # scales of the adapter


def draw_fixed(task: Task, face: pl.Adapter, scale: float) -> list[Search]:
    """The searches of all styles at one setting, nothing mended."""
    searches = []
    for search in (begin_search(task, style) for style in task.styles):
        judge, search = make_style_judge(task, face, search)
        while is_missing(task, search):
            search = draw_batch(task, face, search, judge, Setting(scale), mending=False)
        searches.append(search)
    return searches


def counts(searches: Sequence[Search], keep: int) -> dict[str, list[int]]:
    """Style -> kept, drawn."""
    return {s.style.name: [min(keep, len(s.good)), s.drawings] for s in searches}


def measure(number: int, home: Path, keep: int) -> dict[str, Any]:
    """The figures of one person; what was measured before is read."""
    path = home / f"person-{number}.json"
    if path.is_file():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    model = pl.load_model("mini", device="cpu")
    who, photos = photos_of(number, FIRST_SEED, PHOTOS)
    folder = home / f"person-{number}"
    done = pl.make_portraits(model, photos, folder=folder, who=who, keep=keep)
    photos = done.photos
    rows = {
        "who": who,
        "seconds": done.cost.seconds,
        "learning_s": done.learning.seconds if done.learning else 0,
        "search": counts(done.searches, keep),
    }
    face = pl.Adapter.open(folder / FACE)
    for scale in FIXED:
        task = Task(
            model, photos, **split_photos(photos, False), styles=list(STYLES.values()),
            home=home / f"person-{number}-fixed-{scale:g}", keep=keep, quick=False, who=who,
            seed=0, budget=pl.Budget(), on_step=lambda _: None,
        )  # fmt: skip
        rows[f"fixed {scale:g}"] = counts(draw_fixed(task, face, scale), keep)
    path.write_text(json.dumps(rows))
    return rows


def table(people: list[dict[str, Any]], keep: int) -> str:
    """Ways down, what they give across, in Markdown."""
    lines = [
        "| way | styles with enough | kept | drawn | drawn for one kept |",
        "|---|---|---|---|---|",
    ]
    for way in ("search", *(f"fixed {scale:g}" for scale in FIXED)):
        both = np.array([list(person[way].values()) for person in people])  # people, styles, 2
        kept, drawn = both.sum((0, 1))
        enough = int((both[..., 0] >= keep).sum())
        lines.append(
            f"| {way} | {enough} of {both.shape[0] * both.shape[1]} | {kept} | {drawn} | "
            f"{drawn / max(1, kept):.2f} |"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m recipes.first_mini.portrait_figures")
    parser.add_argument("output", type=Path)
    parser.add_argument("--people", type=int, nargs="+", default=list(range(8)))
    parser.add_argument("--keep", type=int, default=3)
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    people = []
    for number in options.people:
        people.append(measure(number, options.output, options.keep))
        print(json.dumps({"person": number} | people[-1]), flush=True)
    print(table(people, options.keep))


if __name__ == "__main__":
    main()
