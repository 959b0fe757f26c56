"""Faces in photographs by dlib: a detector and an encoder that come with their packages."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from portraitlib.photos.faces.face import INSTALL_HINT, Face, aside, shrunk
from portraitlib.settings import UsageError

# The pattern that the detector slides is 80 px wide: faces below that are missed, so a picture in
# which nothing was found is looked at again at a larger size.
SIDES_PX = (512, 1280)
SMALL_FACE = 0.35  # of the largest face's width: below that it is a poster or a passer-by
# A score below this, or this share of the clearest face's, is folds of cloth or foliage: true faces
# had .28 to 2.7, false ones up to .16. A single faint one is kept.
FAINT_SCORE, FAINT_SHARE = 0.2, 0.25


@cache
def _dlib() -> Any:
    try:
        import dlib
        import face_recognition_models
    except ImportError as problem:
        raise UsageError(
            f"faces in photographs: {problem.name} is not installed; try {INSTALL_HINT}"
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


def photographed_strangers(pictures: Sequence[Image.Image] = ()) -> np.ndarray:
    """(24, 128): `embed_photographed` of 24 portraits of people who do not exist, one a person.

    They are the same for everybody. The pictures were made with Stable Diffusion 3 by the project
    faker-js/assets-person-portrait and are CC0-1.0; so are these numbers. Each holds one face for
    `find_in_photograph`.
    """
    return _kept_strangers()


@cache
def _kept_strangers() -> np.ndarray:
    points = np.load(Path(__file__).parent / "strangers_dlib.npy", allow_pickle=False)
    points.flags.writeable = False  # one array for all who ask
    return points
