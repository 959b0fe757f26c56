"""Faces in photographs by OpenCV's own two networks, fetched from the hub when asked for by name.

YuNet finds (Wu et al. 2023, https://doi.org/10.1007/s11633-023-1423-y), SFace tells apart (Zhong et
al. 2021, https://arxiv.org/abs/2205.12010). Each is one ONNX file, taken only with the content that
is pinned here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from portraitlib.models.files import fetch_file
from portraitlib.photos.faces.face import Face, aside

# The people of `find.photographed_strangers`: none of them exists, CC0-1.0.
STRANGERS = Path(__file__).parent / "strangers.jpg"
STRANGER_PX = 128  # side of a face on that sheet, read from left to right and top to bottom
LEAST_SCORE = 0.7
LONGEST_PX = 1024  # YuNet looks for faces of 10 to 300 px
MARKS = ("left eye", "right eye", "nose", "left mouth", "right mouth")  # as the picture shows them


@dataclass(frozen=True)
class HubFile:
    """One file of a hub repository and the SHA-256 of its content."""

    source: str
    name: str
    sha256: str


YUNET = HubFile(
    "opencv/face_detection_yunet",
    "face_detection_yunet_2023mar.onnx",
    "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
)
SFACE = HubFile(
    "opencv/face_recognition_sface",
    "face_recognition_sface_2021dec.onnx",
    "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
)


@cache
def _network(file: HubFile) -> Any:
    import cv2

    path = str(fetch_file(file.source, file.name, file.sha256))
    if file is YUNET:
        return cv2.FaceDetectorYN.create(path, "", (320, 320), score_threshold=LEAST_SCORE)
    return cv2.FaceRecognizerSF.create(path, "")


def find_by_yunet(image: Image.Image) -> list[Face]:
    """Faces by OpenCV's YuNet, upright to half turned away."""
    factor = max(1.0, max(image.size) / LONGEST_PX)
    size = (max(1, round(image.width / factor)), max(1, round(image.height / factor)))
    network = _network(YUNET)
    network.setInputSize(size)
    _, rows = network.detect(_bgr(image.resize(size)))
    faces = []
    # A row is left, top, width and height, x and y of each of the `MARKS`, and a score.
    for row in () if rows is None else rows:
        left, top, width, height, *places = (row[:14] * factor).tolist()
        marks = dict(zip(MARKS, zip(places[0::2], places[1::2], strict=True), strict=True))
        box = (left, top, left + width, top + height)
        head = (left - 0.2 * width, top - 0.35 * height, left + 1.2 * width, top + 1.1 * height)
        yaw = aside(marks, ["nose"], ["left eye", "right eye"])
        faces.append(Face(box, head, marks, yaw))
    return sorted(faces, key=lambda face: face.box[0])


def embed_by_sface(pairs: Sequence[tuple[Image.Image, Face]]) -> np.ndarray:
    """(pairs, 128) of length 1 by OpenCV's SFace, for faces by `find_by_yunet`."""
    points = []
    for image, face in pairs:
        left, top, right, bottom = face.box
        marks = [value for name in MARKS for value in face.landmarks[name]]
        row = np.array([[left, top, right - left, bottom - top, *marks, 1.0]], np.float32)
        network = _network(SFACE)
        points.append(network.feature(network.alignCrop(_bgr(image), row))[0])
    rows = np.array(points, np.float32).reshape(-1, 128)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


@cache
def sface_strangers() -> np.ndarray:
    """(24, 128): the people of `find.photographed_strangers`, the same for everybody."""
    with Image.open(STRANGERS) as opened:
        sheet = opened.convert("RGB")
    side = STRANGER_PX
    tiles = [
        sheet.crop((left, top, left + side, top + side))
        for top in range(0, sheet.height, side)
        for left in range(0, sheet.width, side)
    ]
    seen = [(tile, find_by_yunet(tile)) for tile in tiles]
    largest = [(tile, max(found, key=lambda face: face.width)) for tile, found in seen if found]
    points = embed_by_sface(largest)
    points.flags.writeable = False  # one array for all who ask
    return points


def _bgr(image: Image.Image) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(image)[..., ::-1])
