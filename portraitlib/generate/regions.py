"""A region of a picture: chosen by a click, drawn anew, and put back in with all else untouched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from portraitlib.photos.pictures import Picture, open_picture
from portraitlib.settings import Range, UsageError, check_number, shown

RADIUS = Range(0.01, 1.0, "of the shorter side", example=0.15, whole=False)
GROW = Range(0.0, 0.5, "of the shorter side", example=0.03, whole=False)
LOOKED_AT_PX = 192  # the side of what GrabCut looks at, whatever the picture's size
ROUNDS = 5


def select_region(
    image: Picture,
    point: Sequence[Any],
    *,
    radius: float = RADIUS.example,
    grow: float = GROW.example,
) -> Image.Image:
    """The thing at a point of a picture as a mask of its size: L, 255 on the thing, else 0.

    point: (x, y), pixels from the upper left corner, or a list of such: then a thing at each.
    radius: how far a thing reaches from its point at most.  grow: how far the mask reaches beyond
        the thing, so that nothing of its border stays. Both are shares of the shorter side.

    What belongs to the thing is decided by GrabCut (Rother et al. 2004,
    https://doi.org/10.1145/1015706.1015720) from colours near the point and farther away.
    Raises UsageError for a point outside the picture.
    """
    picture = open_picture(image)
    shorter_px = min(picture.size)
    radius_px = check_number("select_region", "radius", radius, RADIUS) * shorter_px
    grow_px = round(check_number("select_region", "grow", grow, GROW) * shorter_px)
    pixels = np.asarray(picture)
    mask = np.zeros(pixels.shape[:2], np.uint8)
    for x, y in _read_points(point, picture.size):
        mask |= _grown(_thing_at(pixels, x, y, radius_px), grow_px)
    return Image.fromarray(mask * 255)


def _read_points(point: Any, size: tuple[int, int]) -> list[tuple[float, float]]:
    """One point or several as a list; raises UsageError for what is none of the picture's."""
    try:
        points = np.atleast_2d(np.asarray(point, dtype=float))
    except (TypeError, ValueError):
        points = np.zeros((0, 0))
    width, height = size
    inside = points.size and points.ndim == 2 and points.shape[1] == 2
    if not inside or not ((points >= 0) & (points < size)).all():
        raise UsageError(
            f"point: got {shown(point)}, expected (x, y) from (0, 0) to ({width - 1}, "
            f"{height - 1}), or a list of such points"
        )
    return [(float(x), float(y)) for x, y in points]


def _thing_at(pixels: np.ndarray, x: float, y: float, radius_px: float) -> np.ndarray:
    """What GrabCut takes for one thing with the point, (height, width) of 0 and 1."""
    import cv2

    reach = 1.6 * radius_px
    height, width = pixels.shape[:2]
    left, top = max(0, int(x - reach)), max(0, int(y - reach))
    right, bottom = min(width, int(x + reach) + 2), min(height, int(y + reach) + 2)
    factor = LOOKED_AT_PX / max(right - left, bottom - top)
    part = cv2.resize(
        np.ascontiguousarray(pixels[top:bottom, left:right]), None,
        fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA,
    )  # fmt: skip
    rows, columns = np.indices(part.shape[:2])
    at = ((x - left + 0.5) * factor, (y - top + 0.5) * factor)
    away = np.hypot(columns + 0.5 - at[0], rows + 0.5 - at[1]) / (radius_px * factor)
    guess = np.full(part.shape[:2], cv2.GC_BGD, np.uint8)
    guess[away < 1] = cv2.GC_PR_BGD
    guess[away < 0.5] = cv2.GC_PR_FGD
    guess[away <= max(0.12, float(away.min()))] = cv2.GC_FGD
    if (guess == cv2.GC_BGD).any():  # else all of the picture is near the point
        cv2.setRNGSeed(0)  # its mixtures start at random
        cv2.grabCut(part, guess, None, None, None, ROUNDS, cv2.GC_INIT_WITH_MASK)
    thing = np.isin(guess, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    _, labels = cv2.connectedComponents(thing)
    thing = (labels == labels[np.unravel_index(away.argmin(), away.shape)]).astype(np.uint8)
    outlines, _ = cv2.findContours(thing, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(thing, outlines, -1, 1, cv2.FILLED)  # without holes
    mask = np.zeros(pixels.shape[:2], np.uint8)
    mask[top:bottom, left:right] = cv2.resize(
        thing, (right - left, bottom - top), interpolation=cv2.INTER_AREA
    )
    mask[int(y), int(x)] = 1
    return mask


def _grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    import cv2

    away = cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return (away <= pixels).astype(np.uint8)


# --- masks ---------------------------------------------------------------------------------------


def read_mask(mask: Any, size: tuple[int, int], name: str = "mask") -> np.ndarray:
    """A mask, or edges, as (height, width) bool, True where it is not black.

    mask: a PIL image, or an array of (height, width).  size: width and height that it must have.
    name: what a message calls it.
    Raises UsageError for another size, and for a mask that selects nothing.
    """
    try:
        values = np.asarray(mask.convert("L") if isinstance(mask, Image.Image) else mask)
        chosen = np.asarray(values > 0)
    except (TypeError, ValueError):
        raise UsageError(
            f"{name}: got {type(mask).__name__}, expected an image or an array (height, width)"
        ) from None
    if chosen.shape != (size[1], size[0]):
        raise UsageError(
            f"{name}: got shape {chosen.shape}, expected {(size[1], size[0])}, the height and "
            "width of the picture"
        )
    if not chosen.any():
        raise UsageError(f"{name}: got nothing but black, expected some pixels that are not 0")
    return chosen


def square_about(region: np.ndarray) -> tuple[int, int, int, int]:
    """The largest square of a picture that is centred on the region as far as its borders let it.

    region: (height, width) bool. Returns left, top, right and bottom in pixels.
    Raises UsageError if the region does not fit.
    """
    side = min(region.shape)
    corner = []
    for axis, length in ((0, region.shape[1]), (1, region.shape[0])):
        at = np.nonzero(region.any(axis))[0]
        first, last = int(at[0]), int(at[-1])
        if last - first >= side:
            raise UsageError(
                f"mask: got a region {last - first + 1} px long, expected one that a square of "
                f"{side} px holds; mend it in parts"
            )
        corner.append(min(max((first + last + 1 - side) // 2, 0), length - side))
    left, top = corner
    return left, top, left + side, top + side


def paste_region(
    picture: Image.Image, drawn: Image.Image, region: np.ndarray, feather_px: float
) -> Image.Image:
    """A picture with a region taken from another of its size, fading in within the region.

    region: (height, width) bool.  feather_px: how far inside its border it is all the other's.
    Outside the region every pixel stays as it is.
    """
    import cv2

    # A border of the picture is no border of the region: a frame of the same goes around.
    framed = cv2.copyMakeBorder(region.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    inside_px = cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    share = np.clip(inside_px / (feather_px + 1), 0, 1)[..., None]
    before, after = (np.asarray(image, dtype=np.float32) for image in (picture, drawn))
    mixed = (before + share * (after - before)).round().astype(np.uint8)
    return Image.fromarray(np.where(region[..., None], mixed, np.asarray(picture)))
