"""The series in one table: methods by styles, what a kept portrait costs, and the frontier.

Works on the rows that `score` makes, from one notebook or from all of them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from portraitlib.cost import cost_of, money
from portraitlib.measuring.result import Measurement
from portraitlib.places import output_folder
from portraitlib.portrait import write_json
from portraitlib.settings import UsageError, check_record
from portraitlib.sheet import COLOURS, FAINT, INK, LABEL_POINTS, Picture, axes_at, quieten

IS_HIM = 0.5  # likeness: half of the way from strangers to his own photos
FRONTIER_PX = (1060, 520)
MARKERS = "os^Dvp*XPd"
SCORES, FORM = "scores.json", 1
OLD_SCORES = "report.json"  # what version 0.1 called it, and a batch calls something else

Row = dict[str, Any]


class ScoresFile(TypedDict):
    """What `scores.json` says: the rows of one notebook's run."""

    form: int
    notebook: str
    model: str
    rows: list[Row]


def score(measurement: Measurement, method: str, style: str = "", **about: Any) -> list[Row]:
    """The figures of one set of portraits as rows: one a figure, all with the same columns.

    method: how they were made, such as "zero-shot".  style: what they should look like.
    about: anything else that tells this set from others, such as `adapter_scale=0.8`; plain values.
    """
    rows = []
    for name, figure in measurement.figures.items():
        low, high = figure.interval or (None, None)
        rows.append(
            {"method": method, "style": style, "figure": name, "mean": figure.mean}
            | {"low": low, "high": high, "median": figure.median}
            | {"count": figure.count, "seeds": figure.seeds, "missing": figure.missing}
            | {"floor": figure.scale.floor, "ceiling": figure.scale.ceiling, "by": figure.by}
            | {"about": about}
        )
    return rows


def write_scores(
    folder: str | os.PathLike[str], notebook: str, model: object, rows: Iterable[Row]
) -> Path:
    """Write the rows of a notebook's run to `scores.json` in its folder, whole or not at all."""
    target = output_folder(folder) / SCORES
    content = {"form": FORM, "notebook": notebook, "model": str(model), "rows": list(rows)}
    write_json(target, content)
    return target


def read_scores(folder: str | os.PathLike[str]) -> list[Row]:
    """All rows of every `scores.json` in a folder and those below it, each with its notebook.

    Raises UsageError for one that cannot be read, or that a later portraitlib wrote.
    """
    home = output_folder(folder)
    rows = []
    for path in sorted([*home.rglob(SCORES), *home.rglob(OLD_SCORES)]):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if path.name == OLD_SCORES and "notebooks" in content:
                continue  # the report of a batch
        except (OSError, ValueError, TypeError) as problem:
            raise UsageError(f"{path}: cannot be read ({problem}); delete it") from None
        form = content.get("form") if isinstance(content, dict) else None
        if form != FORM:
            raise UsageError(f"{path}: got form {form!r}, expected {FORM}")
        file = check_record(str(path), content, ScoresFile)
        rows += [{"notebook": file["notebook"], "model": file["model"]} | r for r in file["rows"]]
    return rows


# --- figures in words -----------------------------------------------------------------------------


def find_row(
    rows: Iterable[Row], figure: str, method: str, style: str = "", **about: Any
) -> Row | None:
    """The last row of a figure with this method, style and all of `about`; None if there is none.

    style "" is any.  The last one counts, so that a figure measured anew replaces the older one.
    """
    fitting = [
        row
        for row in rows
        if (row["figure"], row["method"]) == (figure, method)
        and style in ("", row["style"])
        and about.items() <= row["about"].items()
    ]
    return fitting[-1] if fitting else None


def in_words(row: Row | None) -> str:
    """A figure with its interval, such as "0.87 (0.80 to 0.93)"; a dash for no such row."""
    if row is None:
        return "–"
    if row["mean"] is None:  # of likeness and the like: in no portrait was a face found
        return "no face"
    if row["low"] is None:
        return f"{row['mean']:.2f}"
    return f"{row['mean']:.2f} ({row['low']:.2f} to {row['high']:.2f})"


def score_table(rows: Sequence[Row], figure: str) -> str:
    """A figure of all methods and styles as a table in Markdown, methods down, styles across.

    Raises UsageError if no row has the figure.
    """
    here = [row for row in rows if row["figure"] == figure]
    if not here:
        known = ", ".join(sorted({row["figure"] for row in rows})) or "none at all"
        raise UsageError(f"figure: got {figure!r}, expected one of those measured: {known}")
    styles = list(dict.fromkeys(row["style"] for row in here))
    lines = [["method", *styles]]
    for method in dict.fromkeys(row["method"] for row in here):
        lines.append(
            [method, *(in_words(find_row(here, figure, method, style)) for style in styles)]
        )
    return markdown_table(lines)


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """Rows of cells as Markdown, the first one as the head."""
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    rule = ["---"] * len(lines[0])
    return "\n".join("| " + " | ".join(line) + " |" for line in [escaped[0], rule, *escaped[1:]])


# --- what a kept portrait costs ------------------------------------------------------------------


@dataclass(frozen=True)
class Kept:
    """How many portraits of a method are worth keeping, and what one of those costs.

    share: of all portraits, those in which a face was found, likeness is at least `IS_HIM` and
        all of the words' share asked for is seen.  seconds: of one kept portrait, its part of the
        training included; None if none was kept.  dollars: at the device's rate; None likewise.
    """

    share: float
    seconds: float | None
    dollars: float | None

    def __str__(self) -> str:
        if self.seconds is None:
            return "none kept"
        return f"{self.share:.0%} kept, {self.seconds:.1f} s each, {money(self.dollars)}"


def kept_portraits(
    measurements: Iterable[Measurement],
    *,
    seconds_each: float,
    device: str,
    training_s: float = 0.0,
    pictures: int = 100,
    least_seen: float = 0.75,
) -> Kept:
    """Tell how many portraits of a method are worth keeping, and what one of them costs.

    measurements: with likeness and prompt fidelity.  seconds_each: of one portrait, kept or not.
    training_s: of what was trained before the first one, spread over so many `pictures`.
    least_seen: the share of the words that must be seen, 0 to 1.
    """
    rows = [row for measurement in measurements for row in measurement.rows]
    good = [
        row
        for row in rows
        if (row.get("likeness") or 0) >= IS_HIM and (row.get("prompt_seen") or 0) >= least_seen
    ]
    if not good:
        return Kept(0.0, None, None)
    share = len(good) / len(rows)
    seconds = (seconds_each + training_s / pictures) / share
    return Kept(share, seconds, cost_of(seconds, device).dollars)


# --- the frontier --------------------------------------------------------------------------------


def show_frontier(
    rows: Sequence[Row], across: str = "prompt_seen", up: str = "likeness", title: str | None = None
) -> Picture:
    """Draw each method and style as a point of two figures, and the line that none surpasses.

    A point on the line has more of one figure than any that has as much of the other.
    Raises UsageError if no method and style have both figures.
    """
    points = _points(rows, across, up)
    if not points:
        raise UsageError(f"rows: got none with both {across!r} and {up!r}, expected some to show")
    figure = Picture(*FRONTIER_PX)
    axes = axes_at(figure, 70, 40, FRONTIER_PX[0] - 370, FRONTIER_PX[1] - 100)
    methods = list(dict.fromkeys(method for method, _ in points))
    for number, method in enumerate(methods):
        here = [point for (name, _), point in points.items() if name == method]
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        x, y = zip(*here, strict=True)
        axes.scatter(x, y, s=42, c=colour, marker=marker, label=method)
    best = _unsurpassed(points)
    line = sorted(points[key] for key in best)
    axes.step(*zip(*line, strict=True), where="pre", color=FAINT, linewidth=1, zorder=0)
    for key in best:
        axes.annotate(key[1], points[key], (5, 5), textcoords="offset points", fontsize=8)
    axes.axhline(IS_HIM if up == "likeness" else 0, color=FAINT, linewidth=0.8, linestyle=":")
    axes.set_xlabel(across.replace("_", " "), fontsize=LABEL_POINTS, color=INK)
    axes.set_ylabel(up.replace("_", " "), fontsize=LABEL_POINTS, color=INK)
    quieten(axes)
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False, fontsize=LABEL_POINTS)
    if title:
        axes.set_title(title, loc="left", fontsize=LABEL_POINTS + 1, color=INK)
    return figure


def show_groups(figures: Mapping[str, Mapping[str, Sequence[float]]]) -> Picture:
    """Draw figures of groups: figure -> group -> values, a panel a figure, a dot a value.

    The line is each group's mean. Panels start at zero where no value is below it.
    Raises UsageError if there is nothing to draw.
    """
    if not figures or not all(any(map(len, groups.values())) for groups in figures.values()):
        raise UsageError("figures: got a figure without any value, expected some to show")
    width, height = FRONTIER_PX[0], 60 + 34 * max(map(len, figures.values()))
    across, left = (width - 170) / len(figures), 150
    figure = Picture(width, height)
    for column, (name, groups) in enumerate(figures.items()):
        axes = axes_at(figure, left + column * across, 26, across - 24, height - 60)
        for number, values in enumerate(groups.values()):
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(values, [-number] * len(values), "o", color=colour, alpha=0.6)
            mean = sum(values) / len(values)
            axes.plot([mean, mean], [-number - 0.3, -number + 0.3], color=colour, linewidth=2)
        axes.set_yticks([-number for number in range(len(groups))])
        axes.set_yticklabels(groups if column == 0 else [""] * len(groups))
        axes.set_ylim(0.5 - len(groups), 0.5)
        low, high = axes.get_xlim()
        axes.set_xlim(min(0, low), high + 0.04 * (high - min(0, low)))
        axes.locator_params(axis="x", nbins=4)
        axes.set_title(name.replace("_", " "), loc="left", fontsize=LABEL_POINTS, color=INK)
        quieten(axes)
    return figure


def _points(rows: Sequence[Row], across: str, up: str) -> Mapping[tuple[str, str], tuple]:
    """(method, style) -> the two figures, of those that have both."""
    means: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        if row["figure"] in (across, up) and row["mean"] is not None:
            means.setdefault((row["method"], row["style"]), {})[row["figure"]] = row["mean"]
    return {key: (two[across], two[up]) for key, two in means.items() if {across, up} <= set(two)}


def _unsurpassed(points: Mapping[tuple[str, str], tuple]) -> list[tuple[str, str]]:
    """The points that no other one has as much of both and more of one."""
    return [
        key
        for key, (x, y) in points.items()
        if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in points.values())
    ]
