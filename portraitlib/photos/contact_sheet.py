"""All photos of a person on one sheet, and what was thought of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

from portraitlib.sheet import EDGE_PX, GAP_PX, WIDTH_PX, Picture, wrapped
from portraitlib.show import show_grid

if TYPE_CHECKING:
    from portraitlib.photos.read import Photo, PhotoSet

# Of the square, by the photo's status.
COLOURS = {"used": "#3f8f55", "used with a warning": "#c98a12", "left out": "#c0392b"}
MOST_LINES = 4  # of reasons above a photo; the report has them whole
LARGEST_CELL_PX = 260


def show_photos(photos: PhotoSet, columns: int = 4, *, width_px: int = WIDTH_PX) -> Picture:
    """Draw every photo that could be read, whole, with its crop as a square and its verdict.

    Green squares are used, amber ones with a warning, red photos are left out; thin lines are the
    faces found, numbered from the left where there are several. `width_px` is the widest that the
    figure may be. Raises UsageError for fewer than 1 column.
    """
    everything = sorted([*photos.photos, *photos.left_out], key=lambda photo: photo.name)
    abreast = max(1, min(columns, len(everything)))
    side = int(min(LARGEST_CELL_PX, (width_px - 2 * EDGE_PX) / abreast - GAP_PX))
    return show_grid(
        [_marked(photo, side) for photo in everything],
        columns,
        [f"{_short(photo.name, side)}\n{_verdict(photo, side)}" for photo in everything],
        title=wrapped(photos.summary, abreast * (side + GAP_PX)),
        width_px=width_px,
    )


def greyed(image: Image.Image) -> Image.Image:
    """A picture that was not taken, without its colours."""
    return ImageEnhance.Brightness(ImageEnhance.Color(image).enhance(0.2)).enhance(0.7)


def _verdict(photo: Photo, side: int) -> str:
    """What was thought of a photo, as lines that fit above it."""
    width, height = photo.original_size
    crop = f", crop {photo.crop.side_px}" if photo.crop else ""
    texts = [*photo.refusals, *photo.warnings] or [f"{width}x{height} px{crop}"]
    lines = wrapped("; ".join(texts), side).split("\n")
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], lines[MOST_LINES - 1][:-2] + " …"]
    return "\n".join(lines)


def _short(name: str, side: int) -> str:
    letters = max(8, side // 8)
    return name if len(name) <= letters else f"{name[: letters - 8]}…{name[-7:]}"


def _marked(photo: Photo, side: int) -> Image.Image:
    """The whole photo within a square of `side`, the crop and the faces drawn in."""
    factor = side / max(photo.original_size)
    size = tuple(max(1, round(length * factor)) for length in photo.original_size)
    picture = photo.preview.resize((size[0], size[1]), Image.Resampling.LANCZOS)
    if photo.refusals:
        picture = greyed(picture)
    pen = ImageDraw.Draw(picture)
    for number, face in enumerate(photo.faces, 1):
        box = [value * factor for value in face.box]
        pen.rectangle(box, outline="white", width=1)
        if len(photo.faces) > 1:
            font, at = ImageFont.load_default(18), (box[0] + 4, box[1])
            pen.text(at, str(number), "white", font, stroke_width=2, stroke_fill="black")
    # A photo that was left out for want of a face has no square worth showing: a frame instead.
    square = photo.crop if photo.crop and (photo.faces or not photo.refusals) else None
    left, top, right, bottom = square.box if square else (0, 0, *photo.original_size)
    corner = (min(right * factor, size[0]) - 1, min(bottom * factor, size[1]) - 1)
    area = (left * factor, top * factor, *corner)
    pen.rectangle(area, outline=COLOURS[photo.status], width=3)
    return ImageOps.pad(picture, (side, side), color="white", centering=(0.5, 0))
