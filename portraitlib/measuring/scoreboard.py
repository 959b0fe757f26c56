"""The series in one table: methods by styles, what a kept portrait costs, and the frontier.

Works on the rows that `scores.score` makes, from one notebook or from all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from portraitlib.cost import cost_of, money
from portraitlib.measuring.result import Measurement
from portraitlib.settings import UsageError
from portraitlib.sheet import COLOURS, FAINT, INK, LABEL_POINTS, Picture, axes_at, quieten

IS_HIM = 0.5  # likeness: half of the way from strangers to his own photos
FRONTIER_PX = (1060, 520)
MARKERS = "os^Dvp*X"

Row = dict[str, Any]


def find_row(
    rows: Iterable[Row], figure: str, method: str, style: str = "", **about: Any
) -> Row | None:
    """The last row of a figure with this method, style and all of `about`; None if there is none.

    style "" is any.  The last one counts, so that a figure measured anew replaces the older one.
    """
    wanted = about.items()
    found = None
    for row in rows:
        if (row["figure"], row["method"]) != (figure, method) or style not in ("", row["style"]):
            continue
        if wanted <= row["about"].items():
            found = row
    return found


def told(row: Row | None) -> str:
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
        lines.append([method, *(told(find_row(here, figure, method, each)) for each in styles)])
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
    rows = [row for each in measurements for row in each.rows]
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
        own = [point for (each, _), point in points.items() if each == method]
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        x, y = zip(*own, strict=True)
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
    found: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        if row["figure"] in (across, up) and row["mean"] is not None:
            found.setdefault((row["method"], row["style"]), {})[row["figure"]] = row["mean"]
    return {
        key: (own[across], own[up]) for key, own in found.items() if across in own and up in own
    }


def _unsurpassed(points: Mapping[tuple[str, str], tuple]) -> list[tuple[str, str]]:
    """The points that no other one has as much of both and more of one."""
    return [
        key
        for key, (x, y) in points.items()
        if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in points.values())
    ]
