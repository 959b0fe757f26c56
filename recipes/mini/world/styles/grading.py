"""The moods, as light and as grading: colorful, dramatic, impressionist."""

from __future__ import annotations

import numpy as np

from ..buffers import BEARD, BROWS, HAIR, Buffers
from ..places import Place
from .surface import blur, saturated, smoothstep, to_linear


def side_light(buffers: Buffers) -> np.ndarray:
    """A hard light from the key's side with deep shadow on the other, a factor (height, width)."""
    side = 1.0 if buffers.light[0] >= 0 else -1.0
    direction = np.array([side * 0.86, 0.30, 0.41], np.float32)
    facing = buffers.normal @ direction
    return 0.10 + 1.35 * smoothstep(blur(facing, 2.0), -0.15, 0.85)


def lit(buffers: Buffers, place: Place, mood: str) -> tuple[np.ndarray, np.ndarray]:
    """The person's light and the place's image as the mood lights them, both linear light.

    dramatic: one hard light from the side, darkness behind.  colorful: coloured lights from both
    sides.  Else: unchanged.
    """
    color, image = buffers.color, place.image
    if mood == "dramatic":
        height, width = image.shape[:2]
        x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
        side = 1.0 if buffers.light[0] >= 0 else -1.0
        pool = np.exp(-((x + side * 0.5) ** 2 + (y - 0.1) ** 2) / 0.8)
        return color * side_light(buffers)[..., None], image * (0.05 + 0.28 * pool[..., None])
    if mood == "colorful":
        edge = smoothstep(np.abs(buffers.normal[..., 0]), 0.35, 0.95) * buffers.alpha
        hair = np.isin(buffers.parts, (HAIR, BEARD, BROWS))
        edge = edge * np.where(hair, 0.25, 1.0)  # hair is to keep its colour
        left = (buffers.normal[..., 0] < 0)[..., None]
        gels = np.where(left, [0.05, 0.55, 0.85], [0.95, 0.12, 0.5])
        paint = to_linear(buffers.albedo).astype(np.float32)
        return color + gels * edge[..., None] * (0.05 + 0.9 * paint + 0.3 * color), image
    return color, image


def graded(picture: np.ndarray, mood: str) -> np.ndarray:
    """An sRGB picture 0..1 in the mood's colours."""
    if mood == "colorful":
        # Greyish colours gain most, so that skin keeps its modelling.
        pure = np.ptp(np.clip(picture, 0, 1), axis=-1)[..., None]
        picture = saturated(picture, 1.62 - 0.55 * np.clip(pure / 0.6, 0, 1))
        return np.clip((picture - 0.5) * 1.08 + 0.53, 0, 1)
    if mood == "dramatic":
        picture = saturated(np.clip(picture, 0, 1), 0.8)
        curved = picture + 0.35 * picture * (1 - picture) * (2 * picture - 1) * 2
        return np.clip(curved * np.array([1.0, 0.98, 0.95]), 0, 1)
    if mood == "impressionist":
        return np.clip(saturated(picture, 1.25) * 0.92 + 0.08, 0, 1)
    return np.clip(picture, 0, 1)
