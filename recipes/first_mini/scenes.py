"""What is behind the person: six places, painted softly so that the face stays the subject."""

from __future__ import annotations

import cv2
import numpy as np

from .canvas import Canvas, Colour, ellipse, fill, smooth
from .looks import Look
from .people import Shot
from .styles import Style


def paint_background(canvas: Canvas, look: Look, shot: Shot, style: Style) -> None:
    """Paint the place that the look names over the whole canvas."""
    if look.mona_lisa == "yes":
        _sepia_landscape(canvas, shot)
    elif look.punk == "yes" and look.place == "plain":
        _gradient(canvas, (0.25, 0.22, 0.30), (0.42, 0.20, 0.38))
    else:
        PLACES[look.place](canvas, shot)
    blur = style.background_blur_px * canvas.size / 128
    if blur:
        # A box blur three times over is nearly a Gaussian and much quicker.
        canvas.pixels = cv2.GaussianBlur(canvas.pixels, (0, 0), blur)
    canvas.edges[:] = 0
    canvas.matte[:] = 0


def _gradient(canvas: Canvas, top: Colour, bottom: Colour) -> None:
    t = np.linspace(0, 1, canvas.size, dtype=np.float32)[:, None, None]
    canvas.pixels[:] = (1 - t) * np.array(top, np.float32) + t * np.array(bottom, np.float32)


def _shape(canvas: Canvas, outline: np.ndarray, colour: Colour, alpha: float = 1.0) -> None:
    # Places are painted in picture units about the middle, whatever the shot's zoom.
    fill(canvas, outline, colour, frame="body", alpha=alpha, line=False, edge=False, person=False)


def _box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32)


_BACKDROPS = (
    ((0.80, 0.84, 0.88), (0.62, 0.68, 0.74)),
    ((0.88, 0.84, 0.78), (0.72, 0.66, 0.58)),
    ((0.62, 0.70, 0.80), (0.44, 0.52, 0.64)),
    ((0.72, 0.78, 0.72), (0.52, 0.60, 0.54)),
)


def _plain(canvas: Canvas, shot: Shot) -> None:
    # The four backdrops run into each other, so that nearby shots have nearby colours.
    at = (shot.scene + 1) / 2 * (len(_BACKDROPS) - 1)
    i = min(int(at), len(_BACKDROPS) - 2)
    top, bottom = (
        tuple(float(v) for v in (1 - at + i) * np.array(a) + (at - i) * np.array(b))
        for a, b in zip(_BACKDROPS[i], _BACKDROPS[i + 1], strict=True)
    )
    _gradient(canvas, top, bottom)  # type: ignore[arg-type]


def _forest(canvas: Canvas, shot: Shot) -> None:
    _gradient(canvas, (0.46, 0.62, 0.38), (0.20, 0.34, 0.18))
    for i, x in enumerate((-0.52, -0.34, 0.30, 0.47, 0.62)):
        x += 0.06 * shot.scene
        half = (0.045, 0.03, 0.028, 0.05, 0.03)[i]
        _shape(canvas, _box(x - half, -0.6, x + half, 0.6), (0.28, 0.19, 0.12))
    for i, (x, y) in enumerate(((-0.5, -0.46), (-0.2, -0.52), (0.12, -0.5), (0.44, -0.46))):
        green = ((0.24, 0.46, 0.18), (0.32, 0.54, 0.22))[i % 2]
        _shape(canvas, ellipse(x + 0.06 * shot.scene, y, 0.2, 0.12), green)


def _jungle(canvas: Canvas, shot: Shot) -> None:
    _gradient(canvas, (0.05, 0.30, 0.16), (0.02, 0.20, 0.10))
    leaves = (
        (-0.44, -0.30, 0.7), (-0.40, 0.02, 0.2), (-0.46, 0.30, -0.4), (0.44, -0.32, 2.4),
        (0.42, 0.0, 2.9), (0.46, 0.28, 3.5), (-0.15, -0.47, 1.2), (0.17, -0.47, 1.9),
    )  # fmt: skip
    for i, (x, y, turn) in enumerate(leaves):
        green = ((0.16, 0.62, 0.20), (0.42, 0.74, 0.14))[i % 2]
        turn += 0.2 * shot.scene
        _shape(canvas, ellipse(x, y, 0.21, 0.075, turn), green)
        _shape(canvas, ellipse(x, y, 0.19, 0.012, turn), (0.75, 0.88, 0.45))


def _bubblegum(canvas: Canvas, shot: Shot) -> None:
    _gradient(canvas, (1.0, 0.62, 0.82), (0.98, 0.45, 0.70))
    bubbles = (
        (-0.38, -0.34, 0.12), (0.36, -0.38, 0.09), (-0.43, 0.05, 0.08), (0.43, -0.06, 0.12),
        (-0.36, 0.30, 0.10), (0.40, 0.24, 0.07),
    )  # fmt: skip
    for x, y, r in bubbles:
        x, y = x + 0.05 * shot.scene, y - 0.03 * shot.scene
        _shape(canvas, ellipse(x, y, r, r), (1.0, 0.78, 0.90))
        _shape(canvas, ellipse(x - 0.3 * r, y - 0.35 * r, 0.35 * r, 0.28 * r), (1.0, 0.95, 0.98))


def _beach(canvas: Canvas, shot: Shot) -> None:
    _gradient(canvas, (0.45, 0.75, 0.96), (0.85, 0.94, 0.98))
    _shape(canvas, ellipse(0.33 + 0.08 * shot.scene, -0.36, 0.075, 0.075), (1.0, 0.96, 0.72))
    horizon = 0.05 + 0.04 * shot.scene
    _shape(canvas, _box(-0.8, horizon, 0.8, 0.7), (0.12, 0.52, 0.72))
    sand = np.array([[-0.8, 0.24], [0.0, 0.19], [0.8, 0.26], [0.8, 0.7], [-0.8, 0.7]], np.float32)
    _shape(canvas, sand, (0.93, 0.82, 0.58))


def _city(canvas: Canvas, shot: Shot) -> None:
    _gradient(canvas, (0.36, 0.38, 0.60), (0.95, 0.66, 0.46))
    towers = (
        (-0.60, -0.30, 0.13), (-0.44, -0.12, 0.12), (-0.30, -0.36, 0.10), (0.20, -0.34, 0.11),
        (0.33, -0.16, 0.11), (0.46, -0.40, 0.14),
    )  # fmt: skip
    for i, (x, top, width) in enumerate(towers):
        x += 0.05 * shot.scene
        dark = 0.16 + 0.05 * (i % 3)
        _shape(canvas, _box(x, top, x + width, 0.6), (dark, dark + 0.02, dark + 0.10))
        for row in range(4):
            y = top + 0.06 + 0.13 * row
            _shape(canvas, _box(x + 0.03, y, x + width - 0.03, y + 0.045), (0.98, 0.84, 0.45))


def _sepia_landscape(canvas: Canvas, shot: Shot) -> None:
    _gradient(canvas, (0.66, 0.68, 0.48), (0.52, 0.40, 0.22))
    left = np.array([[-0.8, -0.05], [-0.4, -0.22], [-0.2, 0.0], [-0.1, 0.7], [-0.8, 0.7]])
    right = np.array([[0.8, -0.12], [0.45, -0.28], [0.2, -0.05], [0.1, 0.7], [0.8, 0.7]])
    _shape(canvas, smooth(left), (0.40, 0.40, 0.26))
    _shape(canvas, smooth(right), (0.44, 0.38, 0.22))
    path = np.array(
        [
            [-0.5, 0.6],
            [-0.28, 0.3],
            [-0.42, 0.14],
            [-0.3, 0.0],
            [-0.26, 0.02],
            [-0.3, 0.15],
            [-0.16, 0.3],
            [-0.3, 0.6],
        ]
    )
    _shape(canvas, smooth(path), (0.70, 0.60, 0.36))
    _shape(canvas, ellipse(0.38, 0.06, 0.16, 0.03), (0.55, 0.62, 0.52))


PLACES = {
    "plain": _plain,
    "forest": _forest,
    "jungle": _jungle,
    "bubblegum": _bubblegum,
    "beach": _beach,
    "city": _city,
}
