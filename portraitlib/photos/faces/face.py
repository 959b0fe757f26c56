"""A face in a picture, and what finds faces and tells them apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Face:
    """A face in a picture; lengths are the picture's pixels from its top left.

    box: left, top, right, bottom, from the brows to the chin and from ear to ear.
    head: the same of the whole head, hair and chin included; may reach beyond the picture.
    landmarks: "left eye", "right eye" (of the picture, not of the person) and "nose", (x, y) each.
    yaw: how far the head is turned, about -1 (to the picture's left) to 1; 0 is straight on.
    """

    box: tuple[float, float, float, float]
    head: tuple[float, float, float, float]
    landmarks: dict[str, tuple[float, float]]
    yaw: float = 0.0

    @property
    def width(self) -> float:
        """Width of the face, pixels."""
        return self.box[2] - self.box[0]

    def scaled(self, factor: float) -> Face:
        """The same face in the picture enlarged `factor` times."""

        def times(values: tuple[float, ...]) -> Any:
            return tuple(float(value * factor) for value in values)

        marks = {name: times(place) for name, place in self.landmarks.items()}
        return Face(times(self.box), times(self.head), marks, self.yaw)


Place = tuple[float, float, float]  # (x, y) and a radius, shares of the picture's side


@dataclass(frozen=True)
class Finder:
    """Finds faces. `find` takes an RGB picture and returns faces from left to right.

    name, made_for, licence, source: what it is. largest_px: it looks only at square pictures up to
    this side; None for any picture. by_name_only: it is not asked unless it is named.
    out_of_place: what it marks as wrong in a face that it does not take, (x, y) and a radius each,
    shares of the picture's side; nothing where a finder says nothing of features.
    """

    name: str
    made_for: str
    licence: str
    source: str
    find: Callable[[Image.Image], list[Face]]
    largest_px: int | None = None
    by_name_only: bool = False
    out_of_place: Callable[[Image.Image], list[Place]] = field(default=lambda _: [])

    def looks_at(self, image: Image.Image) -> bool:
        """Is this a picture of the kind that it was made for, as far as its shape tells?"""
        square = abs(image.width - image.height) <= 0.02 * max(image.size)
        return self.largest_px is None or (square and max(image.size) <= self.largest_px)


@dataclass(frozen=True)
class Encoder:
    """Turns faces into points: near ones are one person, far ones two.

    near, far: Euclidean distances. Below `near` two pictures show the same person with good
    confidence, above `far` two people. Distances of different encoders are never compared.
    embed: (RGB picture, one face in it) pairs to (pairs, numbers) float32.
    strangers: pictures of a person to points of other people, (strangers, numbers) float32: what a
    face that is not the person's looks like. Where there are enough to choose from, they are people
    whom the same words describe; for no pictures they are anybody.
    finder: whose faces it was made for, a name in `FINDERS`.
    """

    name: str
    made_for: str
    licence: str
    source: str
    near: float
    far: float
    embed: Callable[[Sequence[tuple[Image.Image, Face]]], np.ndarray]
    strangers: Callable[[Sequence[Image.Image]], np.ndarray]
    finder: str


def shrunk(image: Image.Image, side_px: int) -> Image.Image:
    """The picture with its longer side brought down to `side_px`; a smaller one as it is."""
    factor = side_px / max(image.size)
    if factor >= 1:
        return image
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def aside(
    marks: dict[str, tuple[float, float]], front: Sequence[str], back: Sequence[str]
) -> float:
    """How far landmarks in front lie aside of those behind, along the line through the eyes.

    In units of half the distance of the eyes: what is in front moves more when the head turns.
    """
    near, far = (np.mean([marks[name] for name in names], axis=0) for names in (front, back))
    across = np.subtract(marks["right eye"], marks["left eye"])
    return float((near - far) @ across / max(float(across @ across), 1e-6) * 2)
