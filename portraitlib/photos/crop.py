"""Cuts a square about the head out of a photo: hair and chin inside, the face at a good size."""

from __future__ import annotations

import math
from dataclasses import dataclass

from PIL import Image

from portraitlib.photos.faces.find import Face

HEAD_SHARE = 0.68  # of the square's height; some shoulders and surroundings stay
ABOVE_HEAD = 0.11  # of the square's height, free above the hair
LARGEST_FACTOR = 1.5  # crops are never enlarged more than this: there is nothing to see in between
LEAST_HEAD_SHARE = 0.33  # where a wider square has to make up for a small head
CUT_SHARE = 0.12  # of the head may lie outside the photo before it counts as cut


@dataclass(frozen=True)
class Crop:
    """A square of the upright photo, in its pixels from the top left."""

    left: int
    top: int
    side_px: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom."""
        return self.left, self.top, self.left + self.side_px, self.top + self.side_px

    def cut(self, image: Image.Image, size_px: int) -> Image.Image:
        """The square as a picture of `size_px`."""
        size = (size_px, size_px)
        return image.resize(size, Image.Resampling.LANCZOS, box=self.box)


def crop_head(
    size: tuple[int, int], face: Face | None, size_px: int
) -> tuple[Crop | None, list[str]]:
    """The square for a photo of `size` (width, height), and what is wrong with it.

    Without a face it is the largest square in the middle. None where the head is so small that a
    square without too much enlarging would be mostly surroundings; then the texts say so.
    """
    shorter = min(size)
    least = math.ceil(size_px / LARGEST_FACTOR)
    if shorter < least:
        return None, [
            f"too small: {size[0]}x{size[1]} px, a crop of {size_px} px needs {least} px or more "
            f"(enlarged at most {LARGEST_FACTOR} times)"
        ]
    if face is None:
        return Crop((size[0] - shorter) // 2, (size[1] - shorter) // 2, shorter), []
    left, top, right, bottom = face.head
    wanted = max(bottom - top, right - left) / HEAD_SHARE
    side = min(max(round(wanted), least), shorter)
    share = (bottom - top) / side
    if share < LEAST_HEAD_SHARE:
        return None, [
            f"the head is too small: {bottom - top:.0f} px high, a crop of {size_px} px needs "
            f"{LEAST_HEAD_SHARE * least:.0f} px or more; try a nearer shot"
        ]
    # A square wider than the head needs has it at the same height, and more of all else.
    x = (left + right) / 2 - side / 2
    y = top - ABOVE_HEAD * side - max(0.0, HEAD_SHARE - share) * side / 3
    crop = Crop(_within(x, size[0] - side), _within(y, size[1] - side), side)
    return crop, _faults(size, face, crop, wanted)


def square_picture(
    image: Image.Image, face: Face | None, size_px: int
) -> tuple[Image.Image, list[str]]:
    """The square about the head as a picture of `size_px`, and what to know of it.

    Where `crop_head` would refuse, this enlarges. Without a face it is the largest square in the
    middle.
    """
    # The last of these gives a square of any picture.
    attempts = ((face, size_px), (face, 1), (None, 1))
    crops = (crop_head(image.size, about, least_px)[0] for about, least_px in attempts)
    crop = next(filter(None, crops))
    notes = []
    if face is None and image.width != image.height:
        notes.append("no face found, so the largest square in the middle was taken")
    if size_px > LARGEST_FACTOR * crop.side_px:
        notes.append(
            f"a square of {crop.side_px} px was enlarged to {size_px} px and will look soft; try a "
            "larger picture"
        )
    return crop.cut(image, size_px), notes


def _within(value: float, most: int) -> int:
    return int(min(max(round(value), 0), most))


def _faults(size: tuple[int, int], face: Face, crop: Crop, wanted: float) -> list[str]:
    left, top, right, bottom = face.head
    tall, wide = bottom - top, right - left
    faults = []
    outside = max(-top / tall, -left / wide, (bottom - size[1]) / tall, (right - size[0]) / wide)
    if outside > CUT_SHARE:
        faults.append("the photo's edge cuts the head")
    elif tall > crop.side_px * (1 + CUT_SHARE):
        faults.append("the head is larger than a square of the photo")
    if crop.side_px > 1.4 * wanted:
        faults.append(
            f"the head is small: it fills {tall / crop.side_px:.0%} of the crop's height, "
            f"good is {HEAD_SHARE:.0%}"
        )
    return faults
