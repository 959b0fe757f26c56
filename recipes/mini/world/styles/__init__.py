"""Seven styles: each turns the buffers of one shot and a place into a finished picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..buffers import Buffers
from ..places import Place
from ..words import Look
from . import animated, anime, comic, oil, pencil, photo, pixel

Style = Callable[[Buffers, Place, Look, np.random.Generator], np.ndarray]

STYLES: dict[str, Style] = {
    "photorealistic": photo.apply,
    "pencil sketch": pencil.apply,
    "comic book": comic.apply,
    "anime": anime.apply,
    "pixel art": pixel.apply,
    "oil painting": oil.apply,
    "animated": animated.apply,
}
# These want `place(..., drawn=True)`.
DRAWN = ("pencil sketch", "comic book", "anime", "pixel art", "animated")


def apply(
    style: str, buffers: Buffers, place: Place, look: Look, rng: np.random.Generator
) -> np.ndarray:
    """The finished picture, (256, 256, 3) uint8 sRGB.

    Of the look the styles read its mood.  The place is to be drawn for the styles of DRAWN.
    Raises KeyError for another style.
    """
    return STYLES[style](buffers, place, look, rng)
