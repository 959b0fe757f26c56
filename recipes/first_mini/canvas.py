"""Painting with smooth outlines: the brushes that the embedded world is drawn with."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

OVERSAMPLING = 2  # pictures are painted at twice their size and averaged down
_SUBPIXEL_BITS = 4

Colour = tuple[float, float, float]  # red, green, blue, each 0..1


@dataclass(frozen=True)
class Ink:
    """How a style puts paint down.

    `shading` is "soft" (smooth), "cel" (two tones) or "bold" (two tones, far apart);
    `line_px` is the width of outlines in pixels of a 128 px picture (0 = none); `line_own` is how
    much of the part's own colour a line keeps (0 black, 1 its own).
    """

    shading: str = "soft"
    line_px: float = 0.0
    line_own: float = 0.0


@dataclass
class Canvas:
    """What is painted so far: colours, the exact edges and the matte of the person."""

    size: int  # pixels on a side, oversampled
    ink: Ink
    head: np.ndarray  # (2, 3) affine from picture units about the face's middle to pixels
    body: np.ndarray  # (2, 3) the same without the head's tilt
    pixels: np.ndarray = field(init=False)  # (size, size, 3) float32, 0..1
    edges: np.ndarray = field(init=False)  # (size, size) uint8, 255 on a visible outline
    matte: np.ndarray = field(init=False)  # (size, size) uint8, 255 on the person

    def __post_init__(self) -> None:
        self.pixels = np.ones((self.size, self.size, 3), np.float32)
        self.edges = np.zeros((self.size, self.size), np.uint8)
        self.matte = np.zeros((self.size, self.size), np.uint8)

    def to_pixels(self, points: np.ndarray, frame: str) -> np.ndarray:
        matrix = self.head if frame == "head" else self.body
        return np.asarray(points, np.float32) @ matrix[:, :2].T + matrix[:, 2]

    def grid(self, frame: str = "head") -> tuple[np.ndarray, np.ndarray]:
        """Picture units at every pixel: x and y, each (size, size)."""
        matrix = cv2.invertAffineTransform(self.head if frame == "head" else self.body)
        xs = np.arange(self.size, dtype=np.float32)
        x, y = xs[None, :], xs[:, None]
        return (
            matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2],
            matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2],
        )


def smooth(points: np.ndarray, closed: bool = True, rounds: int = 3) -> np.ndarray:
    """Round an outline by cutting its corners (Chaikin 1974): (n, 2) to (n * 2**rounds, 2)."""
    p = np.asarray(points, np.float32)
    for _ in range(rounds):
        q = np.roll(p, -1, axis=0) if closed else p[1:]
        r = p if closed else p[:-1]
        cut = np.stack([0.75 * r + 0.25 * q, 0.25 * r + 0.75 * q], 1).reshape(-1, 2)
        p = cut if closed else np.concatenate([p[:1], cut, p[-1:]])
    return p


def ellipse(x: float, y: float, rx: float, ry: float, turn: float = 0.0, n: int = 28) -> np.ndarray:
    """An ellipse's outline, (n, 2); `turn` in radians."""
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    c, s = np.cos(turn), np.sin(turn)
    u, v = rx * np.cos(t), ry * np.sin(t)
    return np.stack([x + c * u - s * v, y + s * u + c * v], 1).astype(np.float32)


def _fixed_point(points: np.ndarray) -> np.ndarray:
    return np.round(points * (1 << _SUBPIXEL_BITS)).astype(np.int32)


def _window(points: np.ndarray, size: int, margin: int) -> tuple[slice, slice] | None:
    low = np.floor(points.min(0)).astype(int) - margin
    high = np.ceil(points.max(0)).astype(int) + margin + 1
    low, high = np.clip(low, 0, size), np.clip(high, 0, size)
    if (high <= low).any():
        return None
    return slice(low[1], high[1]), slice(low[0], high[0])


def _blend(
    canvas: Canvas,
    window: tuple[slice, slice],
    mask: np.ndarray,
    colour: Colour | np.ndarray,
    shade: np.ndarray | None,
    alpha: float,
) -> None:
    weight = (mask.astype(np.float32) * (alpha / 255))[..., None]
    paint_colour = np.asarray(colour, np.float32)
    if paint_colour.ndim == 3:
        paint_colour = paint_colour[window]
    if shade is not None:
        paint_colour = paint_colour * shade[window][..., None]
    region = canvas.pixels[window]
    region += weight * (paint_colour - region)


def fill(
    canvas: Canvas,
    outline: np.ndarray,
    colour: Colour | np.ndarray,
    *,
    frame: str = "head",
    shade: np.ndarray | None = None,
    alpha: float = 1.0,
    soft: float = 0.0,
    line: bool = True,
    edge: bool = True,
    person: bool = True,
) -> None:
    """Fill a closed outline, (n, 2) in picture units.

    `soft` blurs the border (pixels of a 128 px picture); `line` draws the style's outline;
    `edge` enters the outline into the exact edges and hides what lies beneath it.
    """
    points = canvas.to_pixels(outline, frame)
    scale = canvas.size / 128
    margin = int(3 * soft * scale) + 3
    window = _window(points, canvas.size, margin)
    if window is None:
        return
    offset = np.array([window[1].start, window[0].start], np.float32)
    height, width = window[0].stop - window[0].start, window[1].stop - window[1].start
    mask = np.zeros((height, width), np.uint8)
    fixed = _fixed_point(points - offset)
    cv2.fillPoly(mask, [fixed], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
    hard = mask
    if soft:
        mask = cv2.GaussianBlur(mask, (0, 0), soft * scale)
    _blend(canvas, window, mask, colour, shade, alpha)
    if person:
        np.maximum(canvas.matte[window], hard, out=canvas.matte[window])
    if edge:
        edges = np.ascontiguousarray(canvas.edges[window])
        edges[hard > 127] = 0
        cv2.polylines(edges, [fixed], True, 255, 1, cv2.LINE_8, _SUBPIXEL_BITS)
        canvas.edges[window] = edges
    if line and canvas.ink.line_px:
        mean = np.asarray(colour, np.float32).reshape(-1, 3).mean(0)
        red, green, blue = (float(c) * 0.42 * canvas.ink.line_own for c in mean)
        tone = (red, green, blue)
        closed = np.concatenate([outline, outline[:1]])
        stroke(canvas, closed, canvas.ink.line_px, tone, frame=frame, edge=False)


def stroke(
    canvas: Canvas,
    points: np.ndarray,
    width_px: float,
    colour: Colour | np.ndarray,
    *,
    frame: str = "head",
    alpha: float = 1.0,
    soft: float = 0.0,
    shade: np.ndarray | None = None,
    edge: bool = True,
) -> None:
    """Draw an open line, (n, 2) in picture units, `width_px` wide on a 128 px picture."""
    at = canvas.to_pixels(points, frame)
    scale = canvas.size / 128
    margin = int(3 * soft * scale + width_px * scale) + 3
    window = _window(at, canvas.size, margin)
    if window is None:
        return
    offset = np.array([window[1].start, window[0].start], np.float32)
    shape = (window[0].stop - window[0].start, window[1].stop - window[1].start)
    mask = np.zeros(shape, np.uint8)
    wanted = width_px * scale
    thickness = max(1, round(wanted))
    fixed = _fixed_point(at - offset)
    cv2.polylines(mask, [fixed], False, 255, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
    if soft:
        mask = cv2.GaussianBlur(mask, (0, 0), soft * scale)
    _blend(canvas, window, mask, colour, shade, alpha * min(1.0, wanted / thickness))
    if edge:
        edges = np.ascontiguousarray(canvas.edges[window])
        cv2.polylines(edges, [fixed], False, 255, 1, cv2.LINE_8, _SUBPIXEL_BITS)
        canvas.edges[window] = edges
