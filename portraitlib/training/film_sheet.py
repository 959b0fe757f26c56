"""The film of a training on one sheet, and its curves."""

from __future__ import annotations

import math

import numpy as np

from portraitlib.measuring.sweep import SweepRow, SweepTable
from portraitlib.settings import UsageError
from portraitlib.sheet import Picture
from portraitlib.show import Curve, show_curves, show_table
from portraitlib.training.film import Film, Frame

COLUMNS = 9  # steps side by side


def show_film(film: Film, *, columns: int = COLUMNS, title: str | None = None) -> Picture:
    """Draw the film: a column a step, a row a seed, those of the class prompt below.

    columns: the most steps shown; of more, the first, the last and some between them. Each says its
    likeness and drift. Raises UsageError for fewer than 2 columns, or if nothing was drawn.
    """
    if isinstance(columns, bool) or not isinstance(columns, int) or columns < 2:
        raise UsageError(f"columns: got {columns!r}, expected 2 or more")
    frames = [frame for frame in film if frame.portraits]
    if not frames:
        raise UsageError(f"{film.folder}: no pictures in this film; try film_strip(prompt)")
    chosen = sorted({round(index) for index in np.linspace(0, len(frames) - 1, columns)})
    rows = []
    for frame in (frames[index] for index in chosen):
        for portrait in (*frame.portraits, *frame.of_class[: len(frame.portraits)]):
            recipe = portrait.recipe
            row = f"{recipe.get('prompt', '')}, seed {recipe.get('seed')}"
            rows.append(SweepRow({"row": row, "step": _head(frame)}, [portrait]))
    table = SweepTable(tuple(rows), ("row", "step"))
    return show_table(table, rows="row", columns="step", title=title)


def _head(frame: Frame) -> str:
    names = [name for name in ("likeness", "drift") if name in frame.figures]
    return ", ".join(
        [f"step {frame.step}", *(f"{name} {frame.figures[name]:.2f}" for name in names)]
    )


def show_training(film: Film, *, title: str | None = None) -> Picture:
    """Draw the loss, and likeness and drift where they were measured, along the steps."""
    curves = []
    if film.curve:
        done, losses = zip(*film.curve, strict=True)
        curves.append(Curve(done, [losses], "loss, smoothed", "step"))
    steps = [frame.step for frame in film]
    for label, by_step in (
        ("likeness", [frame.likeness for frame in film]),
        ("likeness of the class", [frame.class_likeness for frame in film]),
    ):
        seeds = sorted({seed for known in by_step for seed in known})
        if seeds:
            values = [[known.get(seed, math.nan) for known in by_step] for seed in seeds]
            curves.append(Curve(steps, values, label, "step"))
    if any("drift" in frame.figures for frame in film):
        row = [frame.figures.get("drift", math.nan) for frame in film]
        curves.append(Curve(steps, [row], "drift of the class", "step"))
    return show_curves(curves, columns=2 if len(curves) == 4 else 3, title=title)
