"""What nobody here trained says of pictures: two finders of faces, and counting pixels.

dlib comes with its packages. YuNet is one file of OpenCV's model zoo or of its authors' repository
(`ShiqiYu/libfacedetection.train`, onnx/yunet_s_640_640.onnx), taken only with the content that
`portraitlib.photos.faces.by_opencv` pins.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np

ASKED_PX = 512  # small pictures are enlarged: dlib slides a pattern of 80 px
LEAST_SCORE = 0.7  # of YuNet's


def found_by_dlib(images: np.ndarray) -> np.ndarray:
    """In which pictures (n, side, side, 3) uint8 dlib's detector finds a face, (n,) bool."""
    import dlib

    finder = dlib.get_frontal_face_detector()
    return np.array([len(finder(_enlarged(image), 0)) > 0 for image in images])


def found_by_yunet(images: np.ndarray, file: Path) -> np.ndarray:
    """In which pictures (n, side, side, 3) uint8 OpenCV's YuNet finds a face, (n,) bool."""
    network = _yunet(file)
    network.setInputSize((ASKED_PX, ASKED_PX))
    found = []
    for image in images:
        _, faces = network.detect(np.ascontiguousarray(_enlarged(image)[..., ::-1]))
        found.append(faces is not None and len(faces) > 0)
    return np.array(found)


def _yunet(file: Path) -> Any:
    from portraitlib.photos.faces.by_opencv import YUNET

    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if digest != YUNET.sha256:
        raise ValueError(f"{file}: got content {digest[:12]}, expected {YUNET.sha256[:12]}: YuNet")
    return cv2.FaceDetectorYN.create(
        str(file), "", (ASKED_PX, ASKED_PX), score_threshold=LEAST_SCORE
    )


def _enlarged(image: np.ndarray) -> np.ndarray:
    if image.shape[0] >= ASKED_PX:
        return np.ascontiguousarray(image)
    return cv2.resize(image, (ASKED_PX, ASKED_PX), interpolation=cv2.INTER_CUBIC)


# --- The grid of pixel art -----------------------------------------------------------------------

# Drawn pixel art has 1.00, blurred by .7 px .43, by .9 px .28; no other style has above .05.
LEAST_ON_GRID = 0.4


def on_grid(image: np.ndarray) -> tuple[float, int]:
    """How far the edges of a picture lie on one grid, 1 for all and 0 as by chance; and its cell.

    image: (side, side, 3) uint8. An edge is the difference of two neighbours, and weighs as much
    as they differ. The cells are squares of 2 px and more; the offset is free, each way.
    """
    steps = [np.abs(np.diff(image.astype(np.float32), axis=axis)).sum(2) for axis in (1, 0)]
    # The edge before column x, all rows together; and the same of rows.
    edges = [steps[0].sum(0), steps[1].sum(1)]
    scores = {}
    for cell in range(2, image.shape[0] // 16 + 1):
        shares = []
        for strength in edges:
            phases = (np.arange(len(strength)) + 1) % cell
            of_phase = np.bincount(phases, strength, minlength=cell)
            shares.append(of_phase.max() / max(float(of_phase.sum()), 1e-6))
        scores[cell] = (min(shares) - 1 / cell) / (1 - 1 / cell)
    best = max(scores.values())
    # All edges of a grid of four are on one of two as well: the largest cell is meant.
    cell = max(cell for cell, score in scores.items() if score >= 0.95 * best)
    return float(best), cell


def grids(images: np.ndarray) -> dict[str, Any]:
    """Of pictures that are to be pixel art: how many have their edges on one grid, and how far."""
    scores = np.array([on_grid(image)[0] for image in images])
    share = float((scores >= LEAST_ON_GRID).mean())
    return {"share": share, "count": len(images), "median": float(np.median(scores))}
