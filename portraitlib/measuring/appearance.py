"""What pixels tell by themselves: colour, sharpness, a grid, edges, how unlike pictures are.

Pictures are RGB PIL images; OpenCV is loaded when a picture is first measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

SHARPNESS_PX = 256
LAB_PX = 32
GRID_STEP = 24  # grey values
SQUARES = (16, 128)  # of pixel art along the longer side, and 2 px wide at least
# Canny thresholds in medians of the gradient where there is one. Of 1, 2, 3, 4 and 6 this high one
# found the outlines of drawn portraits best over all styles (F1 .69 at 128 px).
CANNY_HIGH, CANNY_LOW = 3.0, 1.5
LEAST_GRADIENT = 8.0  # of Sobel's: a step of two grey values; below it is flat
TOLERANCE = 0.01  # of the longer side, and at least a pixel


def look_of(image: Image.Image) -> dict[str, float]:
    """The figures of a picture that need nothing else, by their names."""
    return {
        "colourfulness": colourfulness(image),
        "sharpness": sharpness(image),
        "pixel_grid": pixel_grid(image),
    }


def colourfulness(image: Image.Image) -> float:
    """How colourful a picture is: 0 is grey, 15 slightly, 45 quite, 109 extremely colourful.

    Hasler and Süsstrunk, Measuring colourfulness in natural images (2003), metric M3.
    """
    red, green, blue = np.moveaxis(np.asarray(image.convert("RGB"), dtype=float), 2, 0)
    across, along = red - green, (red + green) / 2 - blue
    deviation = np.hypot(across.std(), along.std())
    return float(deviation + 0.3 * np.hypot(across.mean(), along.mean()))


def sharpness(image: Image.Image) -> float:
    """Variance of the Laplacian of the grey picture at 256 px of its longer side; 0 is blank.

    A picture of another size is brought to that one, so it compares pictures as they look beside
    each other. Noise counts as sharp.
    """
    import cv2

    factor = SHARPNESS_PX / max(image.size)
    size = (max(3, round(image.width * factor)), max(3, round(image.height * factor)))
    grey = np.asarray(image.convert("L").resize(size, Image.Resampling.BICUBIC), dtype=np.float32)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


def pixel_grid(image: Image.Image) -> float:
    """The share of the edges that lie on one grid of squares: 0 by chance, 1 all, as in pixel art.

    Edges are steps of `GRID_STEP` grey values and more at their steepest. Those of period s turn
    a wheel once every s pixels to one place, others anywhere: the share is the mean resultant
    length (Mardia and Jupp, Directional Statistics, 2.3), a Fourier transform over the columns and
    the rows; its largest over all sizes of squares and any offset, less the median, which is what
    chance gives. Photographs have up to .1. A small picture enlarged four times or more has a grid.
    """
    grey = np.asarray(image.convert("L"), dtype=np.int16)
    longest = max(grey.shape)
    share, edges = np.zeros(4 * longest + 1), 0
    for along in (grey, grey.T):
        step = np.abs(np.diff(along, axis=1))
        middle = step[:, 1:-1]
        steepest = (middle >= step[:, :-2]) & (middle > step[:, 2:]) & (middle >= GRID_STEP)
        counts = steepest.sum(0)
        share += np.abs(np.fft.rfft(counts, 8 * longest))
        edges += int(counts.sum())
    across = np.arange(len(share)) / 8  # squares of a period along the longer side
    asked = share[(across >= SQUARES[0]) & (across <= min(SQUARES[1], longest / 2))]
    if not edges or not asked.size:
        return 0.0
    most, chance = asked.max() / edges, np.median(asked) / edges
    return float((most - chance) / (1 - chance)) if chance < 0.99 else 0.0


# --- edges ---------------------------------------------------------------------------------------


def find_edges(image: Image.Image) -> np.ndarray:
    """The canny edges of a picture, (height, width) bool, thresholds from its own contrast."""
    import cv2

    grey = np.asarray(image.convert("L"))
    gradient = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    slopes = gradient[gradient > LEAST_GRADIENT]
    if not slopes.size:
        return np.zeros(grey.shape, bool)
    median = float(np.median(slopes))
    return cv2.Canny(grey, CANNY_LOW * median, CANNY_HIGH * median, L2gradient=True) > 0


def edge_agreement(drawn: np.ndarray, wanted: np.ndarray, tolerance_px: float) -> dict[str, Any]:
    """Precision, recall and F1 of edges against wanted ones, each within `tolerance_px`.

    drawn, wanted: (height, width) bool. Precision is the share of the drawn edge pixels that have
    a wanted one near, recall the share of the wanted ones that have a drawn one near. Without a
    drawn edge precision is None and F1 is 0.
    """
    if not drawn.any() or not wanted.any():
        return {"edge_precision": None, "edge_recall": 0.0, "edge_f1": 0.0}
    precision = float((_distance_px(wanted)[drawn] <= tolerance_px).mean())
    recall = float((_distance_px(drawn)[wanted] <= tolerance_px).mean())
    both = precision + recall
    f1 = 2 * precision * recall / both if both else 0.0
    return {"edge_precision": precision, "edge_recall": recall, "edge_f1": f1}


def _distance_px(edges: np.ndarray) -> np.ndarray:
    """How far each pixel is from the nearest edge pixel, (height, width)."""
    import cv2

    return cv2.distanceTransform((~edges).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


# --- pictures as points --------------------------------------------------------------------------


def lab_points(images: Sequence[Image.Image]) -> np.ndarray:
    """Pictures as points, (images, 3072): their CIE Lab colours at 32 x 32 px.

    The distance of two points is the root mean square of the colour differences of their pixels,
    0 for the same picture and 100 for black and white.
    """
    import cv2

    size = (LAB_PX, LAB_PX)
    rows = [
        np.asarray(image.convert("RGB").resize(size, Image.Resampling.BOX), dtype=np.float32) / 255
        for image in images
    ]
    points = [cv2.cvtColor(row, cv2.COLOR_RGB2LAB).ravel() / LAB_PX for row in rows]
    return np.stack(points) if points else np.zeros((0, 3 * LAB_PX**2), np.float32)
