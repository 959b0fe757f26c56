"""People and shots of the embedded world: the numbers that tell one portrait from another."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np

from portraitlib.mini.judge import PERSON_NUMBERS


@dataclass(frozen=True)
class Person:
    """What makes a face this face: numbers from -1 to 1, 0 is the middle of the world.

    They act within what the words say: `hair_tone` makes brown hair a lighter or darker brown.
    """

    face_width: float = 0.0
    face_length: float = 0.0
    jaw: float = 0.0  # -1 tapered, 1 square
    chin: float = 0.0  # -1 short, 1 long
    skin_tone: float = 0.0  # -1 darker, 1 lighter
    skin_warmth: float = 0.0
    eye_spacing: float = 0.0
    eye_size: float = 0.0
    eye_slant: float = 0.0
    eye_color: float = 0.0  # -1 dark brown, 0 green, 1 blue
    brow_thickness: float = 0.0
    brow_height: float = 0.0
    brow_arch: float = 0.0
    nose_length: float = 0.0
    nose_width: float = 0.0
    mouth_width: float = 0.0
    lip_fullness: float = 0.0
    ear_size: float = 0.0
    hair_tone: float = 0.0
    hairline: float = 0.0  # -1 low, 1 high
    hair_volume: float = 0.0
    parting: float = 0.0  # -1 on the left, 1 on the right

    def numbers(self) -> np.ndarray:
        """The numbers as an array, (22,), -1 to 1."""
        return np.array(astuple(self), dtype=np.float32)


@dataclass(frozen=True)
class Shot:
    """How the person was caught: numbers from -1 to 1, 0 is straight, centred and evenly lit."""

    yaw: float = 0.0  # the head turned to the left or right of the picture
    tilt: float = 0.0
    zoom: float = 0.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    light: float = 0.0  # where the light comes from: -1 left, 1 right
    warmth: float = 0.0
    clothing_color: float = 0.0
    scene: float = 0.0  # moves and tints what is behind the person


def random_person(rng: np.random.Generator) -> Person:
    """Draw a person: each number uniform in -1..1."""
    return Person(*(float(x) for x in rng.uniform(-1, 1, len(PERSON_NUMBERS))))


def random_shot(rng: np.random.Generator) -> Shot:
    """Draw a shot: mostly near the middle, so that the face is large and centred."""
    middle = rng.uniform(-1, 1, 5) * rng.uniform(0, 1, 5) ** 0.5
    rest = rng.uniform(-1, 1, 4)
    return Shot(*(float(x) for x in (*middle, *rest)))
