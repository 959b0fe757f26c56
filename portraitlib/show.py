"""Grids, strips, labelled tables and curves: pictures side by side, and numbers with their spread.

Every function returns a `Picture`, a matplotlib figure that shows itself in a notebook and saves
with `figure.savefig("grid.png")`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image

from portraitlib import sheet as paper
from portraitlib.portrait import Portrait
from portraitlib.settings import UsageError
from portraitlib.sheet import EDGE_PX, FAINT, GAP_PX, INK, LABEL_POINTS, WIDTH_PX, Picture, Sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from portraitlib.measuring.sweep import SweepTable

Shown: TypeAlias = Portrait | Image.Image
Cell: TypeAlias = Sequence[Image.Image | str]  # what stands side by side in it; a text on grey

PANEL_PX = (350, 290)  # one panel of curves
SHORT_NAMES = {"num_inference_steps": "steps", "guidance_scale": "guidance"}

# --- pictures side by side -----------------------------------------------------------------------


def show_grid(
    portraits: Sequence[Shown],
    columns: int = 4,
    titles: Sequence[object] | None = None,
    *,
    title: str | None = None,
    width_px: int = WIDTH_PX,
) -> Picture:
    """Draw pictures in reading order, `columns` a row.

    Small pictures are drawn pixel by pixel, or twice as large where they fit, so that they stay
    sharp; large ones are shrunk to fit. `titles` has one text a picture, written above it.
    `width_px` is the widest that the figure may be. Raises `UsageError` for no pictures, for
    fewer than 1 column, and for another number of titles than of pictures.
    """
    cells = [[_image(item)] for item in portraits]
    if not cells:
        raise UsageError("portraits: got none, expected at least one picture to show")
    if columns < 1:
        raise UsageError(f"columns: got {columns}, expected 1 or more")
    if titles is not None and len(titles) != len(cells):
        raise UsageError(f"titles: got {len(titles)}, expected {len(cells)}, one a picture")
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    return _lay_out(rows, titles=list(map(str, titles or ())), title=title, width_px=width_px)


def show_strip(
    portraits: Sequence[Shown],
    titles: Sequence[object] | None = None,
    *,
    title: str | None = None,
    width_px: int = WIDTH_PX,
) -> Picture:
    """Draw pictures in one row; everything else is as in `show_grid`."""
    return show_grid(portraits, max(1, len(portraits)), titles, title=title, width_px=width_px)


def show_rows(
    rows: Mapping[str, Sequence[Shown | None]],
    heads: Sequence[object] = (),
    *,
    title: str | None = None,
    width_px: int = WIDTH_PX,
) -> Picture:
    """Draw rows of pictures, each under its name: name -> pictures; None leaves a cell empty.

    `heads` has one text a column, written above the first row. Everything else is as in
    `show_grid`. Raises `UsageError` for no pictures, and for more heads than columns.
    """
    columns = max(map(len, rows.values()), default=0)
    filled = any(item is not None for row in rows.values() for item in row)
    if not filled or len(heads) > columns:
        got = f"{len(heads)} heads for {columns} columns" if filled else "none"
        raise UsageError(f"rows: got {got}, expected some pictures, and at most a head for each")
    cells = [
        [["" if item is None else _image(item)] for item in row] + [[""]] * (columns - len(row))
        for row in rows.values()
    ]
    return _lay_out(cells, list(rows), list(map(str, heads)), title=title, width_px=width_px)


def _lay_out(
    rows: Sequence[Sequence[Cell]],
    labels: Sequence[str] = (),
    heads: Sequence[str] = (),
    titles: Sequence[str] = (),
    *,
    title: str | None,
    width_px: int,
) -> Picture:
    """Draw rows of cells: labels left of them, heads above the first, titles above each cell."""
    columns = max(map(len, rows))
    cells = [cell for row in rows for cell in row]
    together = max(map(len, cells))
    left_px = paper.label_width(labels)
    room = (width_px - left_px - 2 * EDGE_PX) / (columns * together) - GAP_PX
    images = [item for cell in cells for item in cell if isinstance(item, Image.Image)]
    width, height = paper.cell_size(images, room)
    whole_width = together * (width + 2) - 2
    labels = [paper.wrapped(label, left_px - 2 * GAP_PX) for label in labels]
    heads = [paper.wrapped(head, whole_width) for head in heads]
    titles = [paper.wrapped(text, whole_width) for text in titles]
    sheet = Sheet(
        cell=(whole_width, max([height, *map(paper.text_height, labels)])),
        columns=columns,
        rows=len(rows),
        left=left_px,
        top=paper.title_height(title) + max(map(paper.text_height, heads), default=0),
        head=max(map(paper.text_height, titles), default=0),
    )
    figure = sheet.figure(title)
    _write_edges(figure, sheet, labels, heads)
    for index, cell in enumerate(cells):  # all rows but the last have as many
        left, above = sheet.corner(index % columns, index // columns)
        for number, item in enumerate(cell):
            beside = left + number * (width + 2)
            paper.place(figure, item, beside, above, (width, sheet.cell[1]))
        if titles:
            text = titles[index]
            paper.write(figure, text, left + whole_width / 2, above - paper.text_height(text))
    return figure


def _write_edges(
    figure: Picture, sheet: Sheet, labels: Sequence[str], heads: Sequence[str]
) -> None:
    """Write a text left of each row, and one above each column's first cell."""
    width, height = sheet.cell
    for column, text in enumerate(heads):
        left, above = sheet.corner(column, 0)
        paper.write(figure, text, left + width / 2, above - paper.text_height(text))
    for row, text in enumerate(labels):
        left, above = sheet.corner(0, row)
        middle = above + (height - paper.text_height(text)) / 2
        paper.write(figure, text, left - GAP_PX, middle, align="right")


# --- a table of pictures -------------------------------------------------------------------------


def show_table(
    table: SweepTable,
    rows: str | None = None,
    columns: str | None = None,
    *,
    title: str | None = None,
    width_px: int = WIDTH_PX,
) -> Picture:
    """Draw a sweep as one reads a table: one setting down, one across, their values on the edges.

    `rows` and `columns` name settings that were varied, or `"seed"`, since every portrait has its
    own. Left out, the setting varied last runs across, and down runs the one varied before it or
    else the seed. What neither names stands side by side in the cell, or apart by
    `table.select`. A cell that failed shows its error.
    Raises `UsageError` for a name that the table does not have.
    """
    down, across = _edges(table, rows, columns)
    entries = _entries(table)
    down_values = _distinct(settings.get(down) for settings, _ in entries)
    across_values = _distinct(settings.get(across) for settings, _ in entries)
    cells: list[list[list[Image.Image | str]]] = [[[] for _ in across_values] for _ in down_values]
    for settings, item in entries:
        row = down_values.index(settings.get(down))
        cells[row][across_values.index(settings.get(across))].append(item)
    labels = [_label(down, value) for value in down_values] if down else []
    heads = [_label(across, value) for value in across_values]
    return _lay_out(cells, labels, heads, title=title, width_px=width_px)


def _edges(table: SweepTable, rows: str | None, columns: str | None) -> tuple[str, str]:
    """The settings that run down, "" for none, and across."""
    known = [*table.varied] + ["seed"] * ("seed" not in table.varied)
    for name in (rows, columns):
        if name is not None and name not in known:
            raise UsageError(f"show_table: got {name!r}, expected one of {', '.join(known)}")
    free = [name for name in table.varied if name not in (rows, columns)]
    if columns is None:
        columns = free.pop() if free else "seed"
    if rows is None and free:
        rows = free.pop()
    elif rows is None and columns != "seed" and any(len(row.portraits) > 1 for row in table.rows):
        rows = "seed"
    return rows or "", columns


def _entries(table: SweepTable) -> list[tuple[dict[Any, Any], Image.Image | str]]:
    """Every picture with its settings and seed; the error of a failed row at every seed."""
    seeds: list[object] = [None]
    if "seed" not in table.varied:
        seeds = _distinct(_seed(p, i) for row in table.rows for i, p in enumerate(row.portraits))
    entries: list[tuple[dict[Any, Any], Image.Image | str]] = []
    for row in table.rows:
        for index, portrait in enumerate(row.portraits):
            entries.append(({"seed": _seed(portrait, index), **row.settings}, _image(portrait)))
        for seed in seeds if row.error else []:
            entries.append(({"seed": seed, **row.settings}, str(row.error)))
    return entries


def _seed(portrait: Shown, index: int) -> object:
    return portrait.recipe.get("seed", index) if isinstance(portrait, Portrait) else index


def _distinct(values: Iterable[object]) -> list[object]:
    """The different values in the order in which they first come; they need not be hashable."""
    different: list[object] = []
    for value in values:
        if value not in different:
            different.append(value)
    return different


def _label(name: str, value: object) -> str:
    """What an edge says: a text alone speaks for itself, a number needs its name."""
    if isinstance(value, str):
        return value or f"(no {name.replace('_', ' ')})"
    short = SHORT_NAMES.get(name, name.replace("_", " "))
    return f"{short} {value:g}" if isinstance(value, float) else f"{short} {value}"


# --- curves --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """One panel of `show_curves`.

    x: (points,) numbers or texts along the x axis.
    values_by_seed: (seeds, points), one row a seed, NaN where a value is missing; or several such
        arrays by name, drawn in one panel with a legend.
    label: what the values are, with their unit; it stands on the y axis.
    x_label: what x is, with its unit.
    """

    x: Sequence[Any]
    values_by_seed: ArrayLike | Mapping[str, ArrayLike]
    label: str
    x_label: str = ""


def show_curves(
    curves: Sequence[Curve],
    columns: int = 3,
    *,
    title: str | None = None,
    interval: float = 0.8,
) -> Picture:
    """Draw for each curve the median over seeds along x, and a band that holds most of the seeds.

    The curves are panels of one figure, `columns` a row. `interval` is 0 to 1: 0.8 has the band
    hold the middle 80 % of the seeds. The number of seeds is written into each panel; with one
    there is a line and no band. Raises `UsageError` where the shape of values does not fit x.
    """
    if not curves:
        raise UsageError("curves: got none, expected at least one Curve to show")
    if not 0 < interval <= 1:
        raise UsageError(f"interval: got {interval}, expected more than 0 and up to 1; try 0.8")
    columns = min(columns, len(curves))
    sheet = Sheet(PANEL_PX, columns, -(-len(curves) // columns), top=paper.title_height(title))
    figure = sheet.figure(title)
    for index, curve in enumerate(curves):
        left, above = sheet.corner(index % columns, index // columns)
        # Room for the numbers and the label of each axis, left and below.
        box = (left + 58, above + 22, PANEL_PX[0] - 70, PANEL_PX[1] - 72)
        _draw_curve(paper.axes_at(figure, *box), curve, interval)
    return figure


def _draw_curve(axes: Axes, curve: Curve, interval: float) -> None:
    named = curve.values_by_seed
    lines = dict(named) if isinstance(named, Mapping) else {"": named}
    low, high = 50 - 50 * interval, 50 + 50 * interval
    seeds = 0
    for colour, (name, given) in zip(paper.COLOURS * len(lines), lines.items(), strict=False):
        values = np.asarray(given, dtype=float)  # (seeds, points)
        if values.ndim != 2 or values.shape[1] != len(curve.x) or not values.size:
            raise UsageError(
                f"values_by_seed of {curve.label!r}: got shape {values.shape}, expected (seeds, "
                f"{len(curve.x)}), one row a seed and one value for each x"
            )
        seeds = len(values)
        with warnings.catch_warnings(action="ignore"):  # of a point that no seed has
            middle = np.nanmedian(values, axis=0)
            band = np.nanpercentile(values, [low, high], axis=0)
        axes.plot(
            curve.x, middle, color=colour, marker="o", markersize=3.5, linewidth=1.6, label=name
        )
        if seeds > 1:
            axes.fill_between(curve.x, *band, color=colour, alpha=0.18, linewidth=0)
    if axes.dataLim.ymin >= 0:  # a cut axis makes a small difference look large
        axes.set_ylim(0, 1.08 * axes.dataLim.ymax or 1)
    axes.set_xlabel(curve.x_label, fontsize=LABEL_POINTS, color=INK)
    axes.set_ylabel(curve.label, fontsize=LABEL_POINTS, color=INK)
    if len(curve.x) <= 8:
        axes.set_xticks(curve.x)
    paper.quieten(axes)
    axes.set_title(
        f"median of {seeds} seeds, band: {interval:.0%} of them" if seeds > 1 else "1 seed",
        fontsize=LABEL_POINTS - 1.5,
        color=FAINT,
        loc="left",
        pad=5,
    )
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=LABEL_POINTS - 1, labelcolor=INK)


def _image(item: Shown) -> Image.Image:
    image = item.image if isinstance(item, Portrait) else item
    if not isinstance(image, Image.Image):
        raise UsageError(
            f"portraits: got {type(image).__name__}, expected a Portrait or a PIL image; "
            "pass the list that text_to_image returned"
        )
    return image.convert("RGB")
