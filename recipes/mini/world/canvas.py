"""A small canvas for flat shapes with smooth edges, and colours to fill them with."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np

Color = tuple[float, float, float]  # red, green, blue, 0..255, sRGB
_FINE = 4  # bits of a pixel's fraction in OpenCV's drawing


class Canvas:
    """A picture of (size_px, size_px, 3) uint8 sRGB; shapes are given in parts of its side."""

    def __init__(self, size_px: int) -> None:
        self.pixels = np.zeros((size_px, size_px, 3), np.uint8)
        self.size_px = size_px

    def _fixed(self, points: np.ndarray) -> np.ndarray:
        return np.round(np.asarray(points) * self.size_px * 2**_FINE).astype(np.int32)

    def fill(self, points: np.ndarray, color: Color) -> None:
        """A polygon, (count, 2)."""
        cv2.fillPoly(self.pixels, [self._fixed(points)], color, cv2.LINE_AA, _FINE)

    def line(self, points: np.ndarray, color: Color, width: float) -> None:
        """An open stroke through points, (count, 2); width in parts of the side."""
        thickness = max(1, round(width * self.size_px))
        cv2.polylines(
            self.pixels, [self._fixed(points)], False, color, thickness, cv2.LINE_AA, _FINE
        )

    def disc(self, x: float, y: float, radius: float, color: Color, squash: float = 1.0) -> None:
        """A circle, or an ellipse `squash` times as high as wide."""
        center = self._fixed(np.array([x, y]))
        axes = self._fixed(np.array([radius, radius * squash]))
        cv2.ellipse(
            self.pixels, center.tolist(), axes.tolist(), 0, 0, 360, color, -1, cv2.LINE_AA, _FINE
        )

    def sky(self, top: Color, bottom: Color, start: float = 0.0, end: float = 1.0) -> None:
        """A gradient over rows from start to end."""
        rows = slice(round(start * self.size_px), round(end * self.size_px))
        count = rows.stop - rows.start
        mix = np.linspace(0, 1, count)[:, None, None]
        self.pixels[rows] = (np.array(top) * (1 - mix) + np.array(bottom) * mix).astype(np.uint8)


def hsv(hue: float, saturation: float, value: float) -> Color:
    """A colour of hue 0..360 and saturation, value 0..1."""
    red, green, blue = colorsys.hsv_to_rgb(
        hue % 360 / 360, min(max(saturation, 0), 1), min(max(value, 0), 1)
    )
    return 255 * red, 255 * green, 255 * blue


def mixed(one: Color, other: Color, share: float) -> Color:
    """`share` of the way from one colour to the other."""
    red, green, blue = (a + (b - a) * share for a, b in zip(one, other, strict=True))
    return red, green, blue
