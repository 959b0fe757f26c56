"""Where the mouth is and how it is shaped, for styles that draw it by hand."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..buffers import LIPS, Buffers
from .eyes import face_scale
from .surface import LUMA, blur


@dataclass(frozen=True)
class Mouth:
    """A mouth in the picture, in pixels."""

    line: np.ndarray  # (9, 2) from the picture's left corner to its right one, between the lips
    teeth: float  # how high the row of teeth is that shows, 0 where the mouth is closed
    color: np.ndarray  # (3,) sRGB 0..1 of the lips


def teeth_seen(buffers: Buffers) -> np.ndarray:
    """Where teeth show between the lips, (height, width) 0..1."""
    lips = buffers.parts == LIPS
    if lips.sum() < 20:
        return np.zeros(lips.shape, np.float32)
    albedo = blur(buffers.albedo, 0.8)
    tone = albedo @ LUMA
    pale = albedo[..., 0] - albedo[..., 1] < 0.13  # lips are redder
    bright = tone > max(0.42, 1.25 * float(np.percentile(tone[lips], 25)))
    return (lips & pale & bright).astype(np.float32)


def find_mouth(buffers: Buffers) -> Mouth:
    """The line between the lips, the teeth and the lips' colour."""
    corners = np.array([buffers.landmarks["mouth_left"], buffers.landmarks["mouth_right"]], float)
    corners = corners[np.argsort(corners[:, 0])]
    scale = face_scale(buffers)
    height, width = buffers.parts.shape
    y, x = np.mgrid[:height, :width]
    middle = corners.mean(0)
    lips = (buffers.parts == LIPS) & (np.hypot(x - middle[0], y - middle[1]) < 0.6 * scale)
    columns = np.linspace(corners[0, 0], corners[1, 0], 9)
    straight = np.linspace(corners[0, 1], corners[1, 1], 9)
    if lips.sum() < 20 or corners[1, 0] - corners[0, 0] < 6:
        return Mouth(np.stack([columns, straight], 1), 0.0, np.array([0.7, 0.4, 0.38]))
    albedo = buffers.albedo[lips]
    rows, across = y[lips], x[lips]
    tone = blur(buffers.albedo @ LUMA, 1.0)[lips]
    bright = teeth_seen(buffers)[lips] > 0.5
    teeth = float(bright.sum()) / max(float(corners[1, 0] - corners[0, 0]), 1.0)
    weight = np.clip(np.percentile(tone, 40) - tone, 0, None) + 1e-3
    inner = np.abs(across - middle[0]) < 0.38 * (corners[1, 0] - corners[0, 0])
    center = float((rows * weight)[inner].sum() / max(weight[inner].sum(), 1e-6))
    if teeth > 0.03 * scale:  # the line runs above the teeth
        center = float(np.percentile(rows[bright], 20))
    u = np.linspace(-1, 1, 9)
    sag = center - straight[4]
    line = np.stack([columns, straight + sag * (1 - u**2)], 1)
    color = np.median(albedo[~bright], 0) if (~bright).any() else np.array([0.7, 0.4, 0.38])
    return Mouth(line, teeth if teeth > 0.03 * scale else 0.0, color)


def bent(mouth: Mouth, expression: str, scale: float) -> Mouth:
    """The mouth with its curve carried further, as drawings do: a smile up, a serious one down.

    scale: about the distance between the eyes, in pixels.
    """
    if mouth.teeth > 0 or expression not in ("smiling", "serious"):
        return mouth
    u = np.linspace(-1, 1, len(mouth.line))
    lift = (0.09 if expression == "smiling" else -0.05) * scale
    return replace(mouth, line=mouth.line + np.stack([0 * u, lift * (0.5 - u**2)], 1))
