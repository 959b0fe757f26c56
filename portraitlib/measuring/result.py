"""What `measure` gives: a row a portrait, the figures of the set, and both by setting."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from portraitlib.measuring import intervals
from portraitlib.settings import UsageError

# Figures of one portrait, and what their numbers mean.
ROW_FIGURES = {
    "likeness": "1 as the person's photos among themselves, 0 as strangers, not cut off beyond",
    "distance": "median distance of the face to those of the photos; less is more alike",
    "strangers_less_alike": "share of strangers whose face is further from the photos",
    "copying": "1 is a photo learnt from itself, -1 one held out; floor: what strangers have",
    "prompt_seen": "share of what the prompt names that is seen",
    "prompt_cosine": "mean cosine of the picture and the prompt's phrases",
    "edge_f1": "agreement with the edges asked for, 1 is all; floor: with those upside down",
    "edge_precision": "share of the portrait's edges that were asked for",
    "edge_recall": "share of the edges asked for that are there",
    "colourfulness": "0 is grey, 45 quite colourful (Hasler and Süsstrunk 2003)",
    "sharpness": "variance of the Laplacian at 256 px",
    "pixel_grid": "share of the edges that lie on one grid of squares: pixel art",
    "ear_size": "how large the ears look, to be held against the photos'; -1 small, 1 large",
    "hair_volume": "how bushy the hair looks, to be held against the photos'; -1 flat, 1 bushy",
}
# The columns that say what measured a figure.
MEASURED_BY = {
    **dict.fromkeys(("likeness", "distance", "strangers_less_alike", "copying"), "likeness_by"),
    **dict.fromkeys(("prompt_seen", "prompt_cosine"), "fidelity_by"),
    **dict.fromkeys(("ear_size", "hair_volume"), "features_by"),
}


@dataclass(frozen=True)
class Scale:
    """What a figure is by chance or for strangers, and at its best; None where it is not known.

    floor_of: which strangers, where there are several kinds.
    """

    floor: float | None = None
    ceiling: float | None = None
    floor_of: str = ""


@dataclass(frozen=True)
class Figure:
    """One figure of a set of portraits.

    mean, median: over the portraits that have it; None if none has. A figure of the set as a
        whole has no median.
    interval: 95 % bootstrap interval of the mean, seeds drawn anew; None with fewer than two
        seeds, and without width where all values are the same.
    count, seeds: portraits and different seeds behind it; a picture without one counts as its
        own.  missing: portraits without the figure.
    by: what measured it, where that could be one of several.
    """

    name: str
    mean: float | None
    median: float | None
    interval: intervals.Interval | None
    count: int
    seeds: int
    missing: int
    scale: Scale
    by: str = ""


@dataclass(frozen=True)
class Points:
    """Portraits as points for the figures of the set; all arrays are (rows, numbers).

    points: one a portrait, NaN where it has none.  unit: diversity is told in this distance.
    reference: the points of the reference set, without NaN; the figure is then the distance to it.
    reference_units: their seeds.
    """

    by: str
    points: np.ndarray
    unit: float = 1.0
    reference: np.ndarray | None = None
    reference_units: tuple[Hashable, ...] = ()


@dataclass(frozen=True, repr=False)
class Measurement:
    """The measured portraits.

    rows: one plain dict a portrait, in the order given: `portrait` (its number), `seed`, the
        varied settings of a sweep, the columns measured; None where something could not be.
    scales: figure -> `Scale`, the floor and ceiling to read it against.
    varied: the settings of a sweep and their values.
    notes: what to know of the figures, one sentence each.
    set_points: figure of the set alone -> what it is of: "diversity", the mean distance between two
        portraits, and "drift", the energy distance to a reference set over its spread, whose floor
        is that of 95 % of its halves.
    """

    rows: tuple[dict[str, Any], ...]
    scales: dict[str, Scale] = field(default_factory=dict)
    varied: dict[str, list[Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    set_points: dict[str, Points] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def units(self) -> list[Hashable]:
        """What stands for itself when portraits are drawn anew: the seed, or else the portrait."""
        return [
            ("row", row["portrait"]) if row["seed"] is None else row["seed"] for row in self.rows
        ]

    @cached_property
    def figures(self) -> dict[str, Figure]:
        """The figures of the set by name: those of the portraits, then diversity and drift."""
        figures = {
            name: self._averaged(name) for name in ROW_FIGURES if any(name in r for r in self.rows)
        }
        return figures | {name: self._of_the_set(name) for name in self.set_points}

    def __getitem__(self, name: str) -> Figure:
        """A figure of the set by its name; raises UsageError for one that was not measured."""
        if name not in self.figures:
            raise UsageError(f"figure: got {name!r}, expected one of {', '.join(self.figures)}")
        return self.figures[name]

    def _averaged(self, name: str) -> Figure:
        at = [index for index, row in enumerate(self.rows) if row.get(name) is not None]
        values = np.array([self.rows[index][name] for index in at], dtype=float)
        by = next((row[column] for row in self.rows if (column := MEASURED_BY.get(name))), "")
        mean, median = (float(values.mean()), float(np.median(values))) if at else (None, None)
        interval = intervals.mean_interval(values, [self.units[index] for index in at])
        return self._figure(name, mean, median, interval, at, by)

    def _of_the_set(self, name: str) -> Figure:
        points = self.set_points[name]
        at = np.flatnonzero(np.isfinite(points.points).all(axis=1)).tolist()
        held, units = points.points[at], [self.units[index] for index in at]
        if points.reference is None:
            value, interval = intervals.spread(held / points.unit, units)
        else:
            value, interval = intervals.drift(held, points.reference, units, points.reference_units)
        known = bool(np.isfinite(value))
        mean = value if known else None
        return self._figure(name, mean, None, interval if known else None, at, points.by)

    def _figure(
        self,
        name: str,
        mean: float | None,
        median: float | None,
        interval: intervals.Interval | None,
        at: list[int],
        by: str,
    ) -> Figure:
        """A figure of the portraits `at` these places."""
        seeds, missing = len({self.units[index] for index in at}), len(self.rows) - len(at)
        scale = self.scales.get(name, Scale())
        return Figure(name, mean, median, interval, len(at), seeds, missing, scale, by)

    # --- by setting ------------------------------------------------------------------------------

    def by(self, name: str) -> dict[Any, Measurement]:
        """The portraits of each value of a varied setting, measured as a set: value -> Measurement.

        name: a varied setting, or "seed". A value of which every portrait failed is left out.
        Raises UsageError for another name.
        """
        parts = {value: self._part(name, value) for value in self._values(name)}
        return {value: part for value, part in parts.items() if len(part)}

    def curve(self, name: str, over: str) -> tuple[list[Any], np.ndarray]:
        """A figure along a varied setting: seeds, and their values as `show_curves` takes them.

        Returns the seeds and an array (seeds, values of the setting), NaN where a portrait failed
        or does not have the figure, as where no face was found. A figure of the set has one row,
        whose seed is "all". x is `measurement.varied[over]`.
        Raises UsageError for an unknown name, portraits without seeds, and if other settings vary.
        """
        values = self._values(over)
        others = [n for n, v in self.varied.items() if n not in (over, "seed") and len(v) > 1]
        if others:
            raise UsageError(
                f"curve over {over}: {', '.join(others)} varies too; select one value of it in the "
                "sweep and measure that"
            )
        if self[name].name in self.set_points:
            means = [self._part(over, value)[name].mean for value in values]
            return ["all"], np.array([[np.nan if mean is None else mean for mean in means]])
        seeds = sorted({row["seed"] for row in self.rows if row["seed"] is not None})
        if not seeds:
            raise UsageError("curve: the portraits have no seeds, expected those of a sweep")
        table = np.full((len(seeds), len(values)), np.nan)
        for row in self.rows:
            if row["seed"] is not None and row.get(name) is not None:
                table[seeds.index(row["seed"]), values.index(row[over])] = row[name]
        return seeds, table

    def _values(self, name: str) -> list[Any]:
        known = {"seed": list(dict.fromkeys(row["seed"] for row in self.rows)), **self.varied}
        if name not in known:
            raise UsageError(f"setting: got {name!r}, expected one of {', '.join(known)}")
        if not all(isinstance(value, Hashable) for value in known[name]):
            raise UsageError(f"setting: {name} takes pictures or lists, expected numbers or texts")
        return known[name]

    def _part(self, name: str, value: Any) -> Measurement:
        at = [index for index, row in enumerate(self.rows) if row[name] == value]

        return replace(
            self,
            rows=tuple(self.rows[index] for index in at),
            varied={**self.varied, name: [value]} if name in self.varied else self.varied,
            set_points={
                figure: replace(points, points=points.points[at])
                for figure, points in self.set_points.items()
            },
        )

    # --- as text ---------------------------------------------------------------------------------

    @property
    def summary(self) -> str:
        """Every figure in one line: mean, interval, median, how many, floor and ceiling."""
        table = self._table()
        widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
        title = _counted(len(self.rows), "portrait")
        if seeds := len({row["seed"] for row in self.rows} - {None}):
            title += ", " + _counted(seeds, "seed")
        lines = [title]
        for line in table:
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            lines.append(("  " + "  ".join(cells)).rstrip())
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    def _table(self) -> list[tuple[str, ...]]:
        lines: list[tuple[str, ...]] = [
            ("figure", "mean", "95 % interval", "median", "n", "floor", "ceiling", "")
        ]
        for figure in self.figures.values():
            low_high = figure.interval and f"{figure.interval[0]:.3g} to {figure.interval[1]:.3g}"
            values = (figure.scale.floor, figure.scale.ceiling)
            about = [figure.by] if figure.by else []
            about += [f"{figure.missing} without"] if figure.missing else []
            lines.append(
                (
                    figure.name,
                    _number(figure.mean),
                    low_high or "-",
                    _number(figure.median),
                    str(figure.count),
                    *map(_number, values),
                    "; ".join(about),
                )
            )
        return lines

    def __repr__(self) -> str:
        return self.summary


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
