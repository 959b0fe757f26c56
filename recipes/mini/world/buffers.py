"""One shot of a person as the renderer hands it to the styles: colour, shape, parts, all exact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# What each value of `Buffers.parts` means.
BACKGROUND, FACE, NECK, HAIR, BROWS, EYES, LIPS, BEARD, GLASSES, CLOTHES = range(10)

LANDMARKS = (
    "left_eye",
    "right_eye",
    "nose",
    "mouth_left",
    "mouth_right",
    "chin",
    "left_ear",
    "right_ear",
    "head_top",
)


@dataclass(frozen=True)
class Buffers:
    """What is known of each pixel of one shot; height = width = 512 as a rule.

    Left and right are the picture's, not the person's.
    """

    color: np.ndarray  # (height, width, 3) float32, linear light, premultiplied by alpha
    albedo: np.ndarray  # (height, width, 3) float32, texture colour without light, sRGB, 0..1
    alpha: np.ndarray  # (height, width) float32, coverage by the person, 0..1
    normal: np.ndarray  # (height, width, 3) float32, camera space: x right, y up, z to the viewer
    depth: np.ndarray  # (height, width) float32, metres from the camera, inf where nothing is
    parts: np.ndarray  # (height, width) uint8, BACKGROUND..CLOTHES
    flow: np.ndarray  # (height, width, 2) float32, unit direction (x right, y down) of hair or form
    landmarks: dict[str, tuple[float, float]]  # (x, y) in pixels, by the names of LANDMARKS
    light: np.ndarray  # (3,) float32, unit direction to the key light, camera space
