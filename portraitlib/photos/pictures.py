"""Any picture as the square that a model starts from.

It becomes plain by the rules of `files` (upright, sRGB, 8 bits, on white) and is then cut to
a square about the head, at the model's size. What is ready already stays as it is.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

from PIL import Image

from portraitlib.photos.crop import square_picture
from portraitlib.photos.faces.find import Face, find_faces
from portraitlib.photos.files import LARGEST_BYTES, NotAPhoto, plain_picture, read_photo
from portraitlib.photos.photo_set import Photo
from portraitlib.places import once
from portraitlib.portrait import Portrait
from portraitlib.settings import UsageError

Picture = Image.Image | str | os.PathLike[str] | Photo | Portrait

READY_KEPT = 16  # pictures made ready that a model keeps; 3 MB each at 1024 px


def ready_picture(image: Picture, size_px: int) -> tuple[Image.Image, list[str]]:
    """A picture as (size_px, size_px) RGB without metadata, and what a reader should know of it.

    image: a PIL picture of any size and mode, the path of one, a `Photo` of a PhotoSet (its crop),
        or a Portrait.
    It is cut to a square about the largest face, or in the middle where no face is found; a square
    Photo or Portrait is only resized, and what has the size already stays as it is.

    Raises UsageError for anything else, and for a picture that cannot be read.
    """
    picture = open_picture(image)
    if picture.size == (size_px, size_px):
        return picture, []
    if isinstance(image, Photo | Portrait) and picture.width == picture.height:
        return square_picture(picture, None, size_px)
    face, notes = _largest_face(picture)
    square, more = square_picture(picture, face, size_px)
    return square, notes + more


def ready_picture_once(
    kept: OrderedDict[Any, Any], image: Picture, size_px: int
) -> tuple[Image.Image, list[str]]:
    """As `ready_picture`, from `kept` where a picture of this content was made ready before."""
    content = content_hash(image)
    if content is None:
        return ready_picture(image, size_px)
    return once(kept, (content, size_px), READY_KEPT, lambda: ready_picture(image, size_px))


def content_hash(image: Any) -> str | None:
    """All that `ready_picture` sees of a picture, a file's bytes of a path; None if unreadable."""
    whole = not isinstance(image, Photo | Portrait)
    try:
        if isinstance(image, str | os.PathLike):
            return hashlib.sha256(_checked_path(image).read_bytes()).hexdigest()
        image = image if whole else image.image
        exif, profile = image.getexif().tobytes(), image.info.get("icc_profile") or b""
        about = (whole, image.mode, image.size, image.info.get("transparency"), image.getpalette())
        parts = (repr(about).encode(), exif, profile, image.tobytes())
    except (NotAPhoto, AttributeError, OSError, SyntaxError, ValueError):
        return None
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def open_picture(image: Picture) -> Image.Image:
    """The whole picture, upright RGB without metadata; raises UsageError in one line."""
    name = "image"
    try:
        if isinstance(image, Photo):
            if image.image is None:
                raise NotAPhoto(f"the photo {image.name} was left out and has no crop")
            image = image.image
        elif isinstance(image, Portrait):
            image = image.image
        if isinstance(image, Image.Image):
            return plain_picture(image)[0]
        if isinstance(image, str | os.PathLike):
            name = f"image {os.fspath(image)}"
            return read_photo(_checked_path(image))[0]
    except NotAPhoto as problem:
        raise UsageError(f"{name}: {problem}") from None
    raise UsageError(
        f"image: got {type(image).__name__}, expected a PIL picture, the path of one, a Photo or a "
        "Portrait; try PIL.Image.open(path)"
    )


def _checked_path(path: str | os.PathLike[str]) -> Path:
    """The path of a file that may be opened: reading a pipe would wait for ever."""
    file = Path(path).expanduser()
    try:
        if not file.exists():
            raise NotAPhoto("no such file")
        if not file.is_file():
            raise NotAPhoto("not a file; try the path of one picture")
        if file.stat().st_size > LARGEST_BYTES:
            raise NotAPhoto(f"expected at most {LARGEST_BYTES / 1e6:.0f} MB; try a smaller copy")
    except (OSError, ValueError) as problem:  # no right to look, or no possible name
        if isinstance(problem, NotAPhoto):
            raise
        raise NotAPhoto(f"cannot be read ({problem})") from None
    return file


def _largest_face(picture: Image.Image) -> tuple[Face | None, list[str]]:
    try:
        faces, _ = find_faces(picture)
    except UsageError as problem:  # what looks at photographs is not installed
        return None, [str(problem)]
    notes = [f"{len(faces)} faces, of which the largest was taken"] if len(faces) > 1 else []
    return max(faces, key=lambda face: face.width, default=None), notes


def picture_hash(picture: Image.Image) -> str:
    """The content of an RGB picture, its size and pixels, as "sha256:...": no path, no name."""
    size = f"{picture.width}x{picture.height}:".encode()
    return "sha256:" + hashlib.sha256(size + picture.tobytes()).hexdigest()
