"""The shot as a draughtsman reduces it: clean shapes instead of single hairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..buffers import BACKGROUND, BEARD, CLOTHES, FACE, HAIR, NECK, Buffers
from .surface import blur, blur_within, of_parts

COARSE = (BACKGROUND, FACE, NECK, HAIR, BEARD, CLOTHES)


def clean_shapes(buffers: Buffers, radius_px: float) -> Buffers:
    """The buffers with hair, skin and clothes bounded by smooth lines and hair of smooth form.

    radius_px: details of outlines that are smaller go.
    """
    # Features lie within the face: for the outlines they are face, then they are put back.
    fine = ~np.isin(buffers.parts, COARSE)
    filled = np.where(fine, FACE, buffers.parts)
    shares = np.stack([blur((filled == part).astype(np.float32), radius_px) for part in COARSE])
    parts = np.array(COARSE, np.uint8)[shares.argmax(0)]
    alpha = np.clip((0.5 - shares[0]) * radius_px + 0.5, 0, 1)
    parts = np.where(fine & (parts != BACKGROUND), buffers.parts, parts)
    new_hair = np.isin(parts, (HAIR, BEARD))
    old_hair = of_parts(buffers, HAIR, BEARD)
    if old_hair.sum() < 50:
        return replace(buffers, parts=parts, alpha=alpha)

    def spread(image: np.ndarray, sigma_px: float) -> np.ndarray:
        smooth = blur_within(image, old_hair, sigma_px)
        return np.where(new_hair[..., None], smooth, image).astype(np.float32)

    bare = buffers.color / np.maximum(buffers.alpha, 0.05)[..., None]
    normal = spread(buffers.normal, 1.3 * radius_px)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-6
    return replace(
        buffers,
        parts=parts,
        alpha=alpha,
        color=spread(bare, 0.7 * radius_px) * alpha[..., None],
        albedo=spread(buffers.albedo, 0.7 * radius_px),
        normal=normal,
        flow=np.where(
            new_hair[..., None], combed(buffers.flow, old_hair, 2.2 * radius_px), buffers.flow
        ),
    )


def combed(flow: np.ndarray, mask: np.ndarray, radius_px: float) -> np.ndarray:
    """Directions of single hairs as those of locks, (height, width, 2) unit, of either sign."""
    x, y = flow[..., 0], flow[..., 1]
    double = blur_within(np.stack([x * x - y * y, 2 * x * y], -1), mask, radius_px)
    angle = 0.5 * np.arctan2(double[..., 1], double[..., 0])
    return np.stack([np.cos(angle), np.sin(angle)], -1).astype(np.float32)
