"""Grids, strips, labelled tables and curves: pictures side by side, and numbers with their spread.

Every function returns a `Picture`, a matplotlib figure that shows itself in a notebook and saves
with `figure.savefig("grid.png")`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from PIL import Image

from portraitlib.portrait import Portrait
from portraitlib.settings import UsageError
from portraitlib.sheet import (
    COLOURS,
    EDGE_PX,
    FAINT,
    GAP_PX,
    INK,
    LABEL_POINTS,
    WIDTH_PX,
    Picture,
    Sheet,
    axes_at,
    cell_size,
    label_width,
    place,
    quieten,
    text_height,
    title_height,
    wrapped,
    write,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from portraitlib.measuring.sweep import SweepTable

Shown: TypeAlias = Portrait | Image.Image

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
    images = [_image(item) for item in portraits]
    if not images:
        raise UsageError("portraits: got none, expected at least one picture to show")
    if columns < 1:
        raise UsageError(f"columns: got {columns}, expected 1 or more")
    if titles is not None and len(titles) != len(images):
        raise UsageError(f"titles: got {len(titles)}, expected {len(images)}, one a picture")
    columns = min(columns, len(images))
    cell = cell_size(images, (width_px - 2 * EDGE_PX) / columns - GAP_PX)
    texts = [wrapped(str(text), cell[0]) for text in titles or []]
    sheet = Sheet(
        cell=cell,
        columns=columns,
        rows=-(-len(images) // columns),
        top=title_height(title),
        head=max((text_height(text) for text in texts), default=0),
    )
    figure = sheet.figure(title)
    for index, image in enumerate(images):
        left, above = sheet.corner(index % columns, index // columns)
        place(figure, image, left, above, cell)
        if texts:
            write(figure, texts[index], left + cell[0] / 2, above - text_height(texts[index]))
    return figure


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
    images = [_image(item) for row in rows.values() for item in row if item is not None]
    if not images or len(heads) > columns:
        got = f"{len(heads)} heads for {columns} columns" if images else "none"
        raise UsageError(f"rows: got {got}, expected some pictures, and at most a head for each")
    left_px = label_width(list(rows))
    cell = cell_size(images, (width_px - left_px - 2 * EDGE_PX) / columns - GAP_PX)
    texts = [wrapped(str(text), cell[0]) for text in heads]
    head_px = max(map(text_height, texts), default=0)
    sheet = Sheet(cell, columns, len(rows), left_px, title_height(title) + head_px)
    figure = sheet.figure(title)
    _write_edges(figure, sheet, texts, [wrapped(name, left_px - 2 * GAP_PX) for name in rows])
    for number, row in enumerate(rows.values()):
        for column in range(columns):
            item = row[column] if column < len(row) else None
            shown = "" if item is None else _image(item)
            place(figure, shown, *sheet.corner(column, number), cell)
    return figure


def _write_edges(
    figure: Picture, sheet: Sheet, heads: Sequence[str], labels: Sequence[str]
) -> None:
    """Write a text above each column's first cell, and one left of each row's."""
    width, height = sheet.cell
    for column, text in enumerate(heads):
        left, above = sheet.corner(column, 0)
        write(figure, text, left + width / 2, above - text_height(text))
    for row, text in enumerate(labels):
        left, above = sheet.corner(0, row)
        middle = above + (height - text_height(text)) / 2
        write(figure, text, left - GAP_PX, middle, align="right")


# --- a table of pictures -------------------------------------------------------------------------


def show_table(
    table: SweepTable,
    rows: str | None = None,
    columns: str | None = None,
    pages: str | None = None,
    *,
    title: str | None = None,
    width_px: int = WIDTH_PX,
) -> Picture:
    """Draw a sweep as one reads a table: one setting down, one across, their values on the edges.

    `rows`, `columns` and `pages` name settings that were varied, or `"seed"`, since every portrait
    has its own. Left out, the setting varied last runs across, and down runs the one varied before
    it or else the seed; a third makes pages, tables one below another under its value. What none of
    them names stands side by side in the cell. A cell that failed shows its error.
    Raises `UsageError` for a name that the table does not have.
    """
    plan = _arrange(table, rows, columns, pages)
    labels = [_label(plan.rows, value) for value in plan.row_values] if plan.rows else []
    left_px = label_width(labels)
    labels = [wrapped(label, left_px - GAP_PX) for label in labels]
    together = max(len(cell) for cell in plan.cells.values())
    room = (width_px - left_px - 2 * EDGE_PX) / (len(plan.column_values) * together) - GAP_PX
    items = [item for cell in plan.cells.values() for item in cell]
    one = cell_size([item for item in items if isinstance(item, Image.Image)], room)
    cell = (together * (one[0] + 2) - 2, max([one[1], *map(text_height, labels)]))
    heads = [wrapped(_label(plan.columns, value), cell[0]) for value in plan.column_values]
    head_px = max(map(text_height, heads))
    across_px = left_px + len(heads) * (cell[0] + GAP_PX)
    over = [_label(plan.pages, value) for value in plan.page_values] if plan.pages else []
    over = [wrapped(text, across_px) for text in over]
    over_px = max((text_height(text) + GAP_PX for text in over), default=0)
    sheets = _stacked(
        Sheet(cell, len(heads), len(plan.row_values), left_px, title_height(title)),
        over_px + head_px,
        len(plan.page_values),
    )
    figure = sheets[-1].figure(title)
    for page, sheet in enumerate(sheets):
        above = sheet.corner(0, 0)[1] - head_px
        if over:
            write(figure, over[page], EDGE_PX, above - over_px, align="left", weight="bold")
        _write_edges(figure, sheet, heads, labels)
    for (page, row, column), shown in plan.cells.items():
        left, above = sheets[page].corner(column, row)
        for index, item in enumerate(shown):
            place(figure, item, left + index * (one[0] + 2), above, (one[0], cell[1]))
    return figure


def _stacked(first: Sheet, head_px: int, count: int) -> list[Sheet]:
    """Sheets one below another, each with `head_px` of room above it."""
    page_px = first.corner(0, first.rows)[1] - first.corner(0, 0)[1] + head_px
    return [replace(first, top=first.top + page * page_px + head_px) for page in range(count)]


@dataclass(frozen=True)
class _Plan:
    """Which value stands at which edge of a table, and what lies in cell (page, row, column)."""

    rows: str
    columns: str
    pages: str
    row_values: list[object]
    column_values: list[object]
    page_values: list[object]
    cells: dict[tuple[int, int, int], list[Image.Image | str]]


def _arrange(table: SweepTable, rows: str | None, columns: str | None, pages: str | None) -> _Plan:
    """Choose the edges, and put every picture, or the error in its stead, into its cell."""
    known = [*table.varied] + ["seed"] * ("seed" not in table.varied)
    for name in (rows, columns, pages):
        if name is not None and name not in known:
            raise UsageError(f"show_table: got {name!r}, expected one of {', '.join(known)}")
    free = [name for name in table.varied if name not in (rows, columns, pages)]
    if columns is None:
        columns = free.pop() if free else "seed"
    if rows is None and free:
        rows = free.pop()
    elif rows is None and columns != "seed" and any(len(row.portraits) > 1 for row in table.rows):
        rows = "seed"
    if pages is None and free:
        pages = free.pop()
    entries = _entries(table)
    names = (pages, rows, columns)
    values = [_distinct(settings.get(name) for settings, _ in entries) for name in names]
    cells: dict[tuple[int, int, int], list[Image.Image | str]] = {}
    for settings, item in entries:
        page, row, column = (
            among.index(settings.get(name)) for name, among in zip(names, values, strict=True)
        )
        cells.setdefault((page, row, column), []).append(item)
    return _Plan(rows or "", columns, pages or "", values[1], values[2], values[0], cells)


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
    found: list[object] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found


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


def show_curve(
    x: Sequence[Any],
    values_by_seed: ArrayLike | Mapping[str, ArrayLike],
    label: str,
    *,
    x_label: str = "",
    title: str | None = None,
    interval: float = 0.8,
) -> Picture:
    """Draw the median over seeds along `x`, and a band that holds `interval` of the seeds.

    The arguments are those of `Curve`; `interval` is 0 to 1, 0.8 for the middle 80 % of the seeds.
    The number of seeds is written into the picture. With one seed there is a line and no band.
    Raises `UsageError` where the shape of the values does not fit x.
    """
    return show_curves([Curve(x, values_by_seed, label, x_label)], title=title, interval=interval)


def show_curves(
    curves: Sequence[Curve],
    columns: int = 3,
    *,
    title: str | None = None,
    interval: float = 0.8,
) -> Picture:
    """Draw several curves as panels of one figure, `columns` a row; else as `show_curve`."""
    if not curves:
        raise UsageError("curves: got none, expected at least one Curve to show")
    if not 0 < interval <= 1:
        raise UsageError(f"interval: got {interval}, expected more than 0 and up to 1; try 0.8")
    columns = min(columns, len(curves))
    sheet = Sheet(PANEL_PX, columns, -(-len(curves) // columns), top=title_height(title))
    figure = sheet.figure(title)
    for index, curve in enumerate(curves):
        left, above = sheet.corner(index % columns, index // columns)
        # Room for the numbers and the label of each axis, left and below.
        box = (left + 58, above + 22, PANEL_PX[0] - 70, PANEL_PX[1] - 72)
        _draw_curve(axes_at(figure, *box), curve, interval)
    return figure


def _draw_curve(axes: Axes, curve: Curve, interval: float) -> None:
    named = curve.values_by_seed
    lines = dict(named) if isinstance(named, Mapping) else {"": named}
    low, high = 50 - 50 * interval, 50 + 50 * interval
    seeds = 0
    for colour, (name, given) in zip(COLOURS * len(lines), lines.items(), strict=False):
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
    _dress(axes, curve)
    axes.set_title(
        f"median of {seeds} seeds, band: {interval:.0%} of them" if seeds > 1 else "1 seed",
        fontsize=LABEL_POINTS - 1.5,
        color=FAINT,
        loc="left",
        pad=5,
    )
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize=LABEL_POINTS - 1, labelcolor=INK)


def _dress(axes: Axes, curve: Curve) -> None:
    axes.set_xlabel(curve.x_label, fontsize=LABEL_POINTS, color=INK)
    axes.set_ylabel(curve.label, fontsize=LABEL_POINTS, color=INK)
    if len(curve.x) <= 8:
        axes.set_xticks(curve.x)
    quieten(axes)


def _image(item: Shown) -> Image.Image:
    image = item.image if isinstance(item, Portrait) else item
    if not isinstance(image, Image.Image):
        raise UsageError(
            f"portraits: got {type(image).__name__}, expected a Portrait or a PIL image; "
            "pass the list that text_to_image returned"
        )
    return image.convert("RGB")
