"""A sheet of equal cells in exact pixels: the paper on which `show` lays pictures and labels.

Lengths are pixels, counted from the sheet's top left. Nothing here touches pyplot's global state.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DPI = 100  # a figure of w x h inches has exactly 100 w x 100 h pixels, so that pictures stay sharp
WIDTH_PX = 1060  # about the width of a notebook's column
LARGEST_CELL_PX = 512  # a lone picture does not fill the whole column
LARGEST_FACTOR = 2  # nor is a small one blown up to it
GAP_PX = 6
EDGE_PX = 8
LABEL_POINTS = 9.0
LINE_PX = 16  # height of a line of label text
DESCENT_PX = 4  # of which this much lies below the letters' baseline
LETTER_PX = 7.0  # mean width of a letter of label text
ROW_LABEL_PX = (48, 190)  # narrowest and widest column of row labels
JPEG_QUALITY = 80
COLOURS = ["#2f6f9f", "#d1495b", "#5b8c5a", "#b07d2b", "#7a5c99", "#3a9d9d", "#c26b9b", "#555555"]
INK, FAINT, PAPER, EMPTY = "#2b2b2b", "#777777", "#ffffff", "#f1efec"


class Picture(Figure):
    """A matplotlib figure that shows itself in a notebook in few bytes.

    Portraits are stored as JPEG, which takes a fifth of a PNG's bytes, and curves as PNG, which
    keeps their lines sharp: a notebook with all its outputs stays light. `savefig` is unchanged.
    """

    def __init__(self, width_px: float, height_px: float) -> None:
        super().__init__(figsize=(width_px / DPI, height_px / DPI), dpi=DPI, facecolor=PAPER)
        FigureCanvasAgg(self)

    def encoded(self) -> tuple[bytes, Literal["png", "jpeg"]]:
        """Return the figure as the bytes of a JPEG if it holds pictures, else of a PNG."""
        canvas = FigureCanvasAgg(self)
        canvas.draw()
        pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        file = io.BytesIO()
        if any(axes.images for axes in self.axes):
            pixels.save(file, "JPEG", quality=JPEG_QUALITY, optimize=True, progressive=True)
            return file.getvalue(), "jpeg"
        pixels.quantize(256, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
        return file.getvalue(), "png"

    def _ipython_display_(self) -> None:
        from IPython.display import display

        data, kind = self.encoded()
        width, height = self.get_size_inches() * DPI
        summary = f"<figure, {width:.0f} x {height:.0f} px>"
        display({f"image/{kind}": data, "text/plain": summary}, raw=True)


@dataclass(frozen=True)
class Sheet:
    """Equal cells, in pixels from the top left: labels left of them, titles above each."""

    cell: tuple[int, int]
    columns: int
    rows: int
    left: int = 0
    top: int = 0
    head: int = 0  # room above every cell, for its own title

    def corner(self, column: int, row: int) -> tuple[int, int]:
        """The top left pixel of a cell's picture."""
        width, height = self.cell[0] + GAP_PX, self.cell[1] + GAP_PX + self.head
        return EDGE_PX + self.left + column * width, EDGE_PX + self.top + self.head + row * height

    def figure(self, title: str | None) -> Picture:
        right, below = self.corner(self.columns, self.rows)
        figure = Picture(right - GAP_PX + EDGE_PX, below - self.head - GAP_PX + EDGE_PX)
        if title:
            write(figure, title, EDGE_PX, EDGE_PX, align="left", weight="bold")
        return figure


def cell_size(images: Sequence[Image.Image], room: float) -> tuple[int, int]:
    """The width and height of a cell: once or twice the largest picture, or less to fit."""
    if not images:
        return int(room), int(room)
    width, height = max(i.width for i in images), max(i.height for i in images)
    room = max(8, min(room, LARGEST_CELL_PX))
    scale = min(room // width, LARGEST_FACTOR) if room >= width else room / width
    return max(1, int(width * scale)), max(1, int(height * scale))


def place(
    figure: Picture, item: Image.Image | str, left: float, above: float, cell: tuple[int, int]
) -> None:
    """Draw a picture into a cell, its own proportions kept; or a text on an empty cell."""
    axes = axes_at(figure, left, above, *cell)
    axes.set_axis_off()
    if isinstance(item, str):
        axes.add_patch(Rectangle((0, 0), 1, 1, color=EMPTY, transform=axes.transAxes))
        lines = wrapped(item, cell[0] - 2 * GAP_PX).split("\n")[: max(1, cell[1] // LINE_PX - 1)]
        write(figure, "\n".join(lines), left + cell[0] / 2, above + GAP_PX, color=FAINT)
        return
    scale = min(cell[0] / item.width, cell[1] / item.height)
    size = (max(1, int(item.width * scale)), max(1, int(item.height * scale)))
    sharp = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS
    pixels = np.asarray(item.resize(size, sharp))
    aside, over = (cell[0] - size[0]) // 2, (cell[1] - size[1]) // 2
    extent = (aside, aside + size[0], over + size[1], over)
    axes.imshow(pixels, interpolation="nearest", extent=extent, aspect="auto")
    axes.set_xlim(0, cell[0])
    axes.set_ylim(cell[1], 0)


def axes_at(figure: Picture, left: float, above: float, width: float, height: float) -> Axes:
    whole_width, whole_height = figure.get_size_inches() * DPI
    below = whole_height - above - height
    return figure.add_axes(
        (left / whole_width, below / whole_height, width / whole_width, height / whole_height)
    )


def quieten(axes: Axes) -> None:
    """Leave axes a faint grid and small numbers, and no frame."""
    axes.tick_params(labelsize=LABEL_POINTS - 1, colors=FAINT, length=0)
    axes.grid(color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)


def write(
    figure: Picture,
    text: str,
    x: float,
    above: float,
    align: Literal["left", "center", "right"] = "center",
    weight: str = "normal",
    color: str = INK,
) -> None:
    """Write a text whose first line begins at `above`; texts side by side share their baselines."""
    width, height = figure.get_size_inches() * DPI
    last_line = above + text_height(text) - DESCENT_PX
    style: dict[str, Any] = {"fontsize": LABEL_POINTS, "fontweight": weight, "color": color}
    style |= {"ha": align, "va": "baseline", "linespacing": 1.25}
    figure.text(x / width, 1 - last_line / height, text, **style)


def wrapped(text: str, width_px: float) -> str:
    letters = max(4, int(width_px / LETTER_PX))
    longest = max(map(len, text.split()), default=0)
    if letters < longest <= 1.2 * letters:
        letters = longest  # a word a little too long reads better whole than in two
    return "\n".join("\n".join(textwrap.wrap(line, letters)) or line for line in text.split("\n"))


def text_height(text: str) -> int:
    return LINE_PX * (text.count("\n") + 1)


def title_height(title: str | None) -> int:
    return text_height(title) + GAP_PX if title else 0


def label_width(labels: Sequence[str]) -> int:
    """Wide enough for the longest label on one line, within reason."""
    if not labels:
        return 0
    narrowest, widest = ROW_LABEL_PX
    longest = int(max(len(label) for label in labels) * LETTER_PX) + 2 * GAP_PX
    return min(max(longest, narrowest), widest)
