"""Looks at photos as a teacher would: is each sharp, bright, new and of the same person, and are
they varied enough together?

Limits were set on portraits blurred and darkened step by step: a sharpness of 8 is a blur of about
1.5 % of the face's width, 40 one of 0.6 %, which shows in a portrait of 1024 px.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from PIL import Image

from portraitlib.photos.faces.find import Encoder, Face


@dataclass(frozen=True)
class Limit:
    """A figure of a photo: below `refused` it is left out, below `warned` it gets a warning."""

    name: str
    refused: float
    warned: float
    what: str
    cure: str


LIMITS = {
    limit.name: limit
    for limit in (
        Limit("sharpness", 8, 40, "blurred", "try a sharper shot, or one nearer"),
        Limit("brightness", 18, 40, "too dark", "try one with light on the face"),
    )
}
FACE_PX = 160  # at which sharpness is measured: a face's pixels differ from photo to photo
HASH_SIDE = 16
# Of 256 bits. A photo saved anew differs in up to 5 as a whole, and in up to 80 as a crop where the
# face was found a step of the detector aside; crops of another pose differ in 40 and more.
DUPLICATE_BITS = {"crop": 26, "whole": 12}
FEW, ENOUGH = 5, 10
TURN_SPREAD = 0.12  # of `Face.yaw` over the set; below it nobody has turned the head
BACKGROUND_SPREAD = 9.0  # of Lab colours about the head, median over pairs of photos


# --- one photo -----------------------------------------------------------------------------------


def measure_quality(image: Image.Image, face: Face) -> dict[str, float]:
    """Figures of the face alone, by the names of `LIMITS`.

    sharpness: variance of the Laplacian at 160 px, as if the mean grey were 128.
    brightness: mean grey, 0 to 255.
    """
    import cv2

    left, top, right, bottom = (int(round(value)) for value in face.box)
    left, top = min(max(left, 0), image.width - 1), min(max(top, 0), image.height - 1)
    area = (
        left,
        top,
        max(left + 1, min(right, image.width)),
        max(top + 1, min(bottom, image.height)),
    )
    size = (FACE_PX, FACE_PX)
    cut = image.resize(size, Image.Resampling.BICUBIC, box=area)
    grey = cv2.cvtColor(np.asarray(cut), cv2.COLOR_RGB2GRAY).astype(np.float32)
    brightness = float(grey.mean())
    lightened = grey * (128 / max(brightness, 1.0))
    sharpness = float(cv2.Laplacian(lightened, cv2.CV_32F).var())
    return {"sharpness": sharpness, "brightness": brightness}


def judge_quality(figures: dict[str, float]) -> tuple[list[str], list[str]]:
    """Reasons to leave a photo out, and reasons to warn of it, from its figures."""
    refusals, warned = [], []
    for limit in LIMITS.values():
        value = figures[limit.name]
        text = (
            f"{limit.what} ({limit.name} {value:.0f}, good from {limit.warned:.0f}): {limit.cure}"
        )
        if value < limit.refused:
            refusals.append(text)
        elif value < limit.warned:
            warned.append(text)
    return refusals, warned


# --- the same photo again ------------------------------------------------------------------------


def look_hash(image: Image.Image) -> np.ndarray:
    """(16, 16) bool: where a small grey copy gets brighter from left to right."""
    small = image.convert("L").resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX)
    values = np.asarray(small, dtype=np.int16)
    return values[:, 1:] > values[:, :-1]


def find_duplicates(
    hashes: Sequence[Mapping[str, np.ndarray]], ranks: Sequence[tuple[int, float]]
) -> dict[int, int]:
    """Which photos repeat which: index -> index of the one to keep, that of the highest rank.

    hashes: of each photo `look_hash` by the names of `DUPLICATE_BITS`; one alike is enough. A
    mirrored copy counts as a repetition too.
    """
    order = sorted(range(len(hashes)), key=lambda index: ranks[index], reverse=True)
    kept: list[int] = []
    repeats = {}
    for index in order:
        same = next((k for k in kept if alike(hashes[index], hashes[k])), None)
        if same is None:
            kept.append(index)
        else:
            repeats[index] = same
    return repeats


def alike(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    """Are two pictures about the same, mirrored or not? Hashes as for `find_duplicates`."""
    return any(
        min((one[name] != other[name]).sum(), (one[name] != ~other[name][:, ::-1]).sum()) <= bits
        for name, bits in DUPLICATE_BITS.items()
    )


# --- somebody else -------------------------------------------------------------------------------


def find_strangers(
    points: np.ndarray, encoder: Encoder
) -> tuple[dict[int, float], dict[int, float]]:
    """Who is not the person that most photos show: (strangers, doubtful), index -> distance.

    points: (photos, numbers) of `encoder`. The person is whoever has the most photos within
    `encoder.far`; the distance of a photo is the median of those to the person's other photos.
    With fewer than 3 photos nobody can say who is the stranger: both are empty.
    """
    if len(points) < 3:
        return {}, {}
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    close = apart < encoder.far
    centre = max(range(len(points)), key=lambda i: (close[i].sum(), -apart[i].mean()))
    person = np.flatnonzero(close[centre])
    if len(person) < 2 or 2 * len(person) <= len(points):  # no majority: see `is_crowd`
        return {}, {}
    strangers, doubtful = {}, {}
    for index in range(len(points)):
        others = person[person != index]
        distance = float(np.median(apart[index, others]))
        if distance >= encoder.far:
            strangers[index] = distance
        elif distance >= encoder.near:
            doubtful[index] = distance
    return strangers, doubtful


def is_crowd(points: np.ndarray, encoder: Encoder) -> bool:
    """Do these photos show several people, none of them in more than half of the photos?"""
    if len(points) < 2:
        return False
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    return 2 * int((apart < encoder.far).sum(1).max()) <= len(points)


# --- all together --------------------------------------------------------------------------------


def judge_set(crops: Sequence[Image.Image], faces: Sequence[Face | None]) -> list[str]:
    """What is wrong with the photos as a set, one sentence each; empty if nothing is."""
    count = len(crops)
    faults = []
    if count < FEW:
        faults.append(
            f"{count} {'photo is' if count == 1 else 'photos are'} few: {ENOUGH} to 20 varied ones "
            "teach a face better"
        )
    turns = [face.yaw for face in faces if face]
    if len(turns) >= 3 and max(turns) - min(turns) < TURN_SPREAD:
        faults.append(
            "all from one side: the head is turned the same way in each; add photos turned to the "
            "left and to the right"
        )
    if count >= 3 and _background_spread(crops) < BACKGROUND_SPREAD:
        faults.append(
            "one background in all: the model may learn it with the face; add other places"
        )
    return faults


def _background_spread(crops: Sequence[Image.Image]) -> float:
    """How different the surroundings of the head are: median over pairs, in Lab units."""
    import cv2

    rows = []
    for crop in crops:
        small = np.asarray(crop.resize((8, 8), Image.Resampling.BOX), dtype=np.float32) / 255
        lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
        rows.append(np.concatenate([lab[:5, :1], lab[:5, -1:], lab[:1, 1:-1].swapaxes(0, 1)]))
    pairs = [np.linalg.norm(a - b, axis=-1).mean() for a, b in combinations(rows, 2)]
    return float(np.median(pairs))
