"""What several styles ask of the buffers: light, flat colours, blurs that stay within parts."""

from __future__ import annotations

import cv2
import numpy as np

from ..buffers import BEARD, BROWS, EYES, FACE, GLASSES, HAIR, LIPS, NECK, Buffers

SIZE_PX = 256  # of a finished picture
SKIN = (FACE, NECK)
HEAD = (FACE, NECK, HAIR, BROWS, EYES, LIPS, BEARD, GLASSES)
LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)


def to_srgb(light: np.ndarray) -> np.ndarray:
    """Linear light as sRGB 0..1, same shape."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def to_linear(value: np.ndarray) -> np.ndarray:
    """sRGB 0..1 as linear light, same shape; below 0 is 0."""
    value = np.maximum(value, 0)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def halved(picture: np.ndarray, sharpen: float = 0.0) -> np.ndarray:
    """A finished sRGB picture 0..1 at half its size, uint8, its detail raised by `sharpen`."""
    half = (picture.shape[1] // 2, picture.shape[0] // 2)
    small = cv2.resize(picture.astype(np.float32), half, interpolation=cv2.INTER_AREA)
    if sharpen:
        small = small + sharpen * (small - cv2.GaussianBlur(small, (0, 0), 1.0))
    return (np.clip(small, 0, 1) * 255 + 0.5).astype(np.uint8)


def blur(image: np.ndarray, sigma_px: float) -> np.ndarray:
    """A Gaussian blur of float32; wide ones are made on a quarter of the size."""
    image = image.astype(np.float32, copy=False)
    if sigma_px < 7:
        return cv2.GaussianBlur(image, (0, 0), sigma_px)
    height, width = image.shape[:2]
    small = cv2.resize(image, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma_px / 4)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def of_parts(buffers: Buffers, *parts: int) -> np.ndarray:
    """Where the picture shows one of the parts, (height, width) float32 0 or 1."""
    return np.isin(buffers.parts, parts).astype(np.float32)


def blur_within(image: np.ndarray, mask: np.ndarray, sigma_px: float) -> np.ndarray:
    """A blur that takes nothing from outside the mask (height, width); outside it is smooth too."""
    soft = mask[..., None] if image.ndim == 3 else mask
    weight = blur(mask, sigma_px)
    weight = weight[..., None] if image.ndim == 3 else weight
    return blur(image * soft, sigma_px) / np.maximum(weight, 1e-4)


def shading(buffers: Buffers) -> np.ndarray:
    """How much light each pixel of the person gets, (height, width), about 1 where it is lit."""
    albedo = to_linear(buffers.albedo) @ LUMA
    seen = buffers.color @ LUMA
    alpha = np.maximum(buffers.alpha, 1e-3)
    light = seen / alpha / np.maximum(albedo, 0.03)
    light = np.where(buffers.alpha > 0.05, np.clip(light, 0, 3), 1).astype(np.float32)
    lit = np.percentile(light[buffers.alpha > 0.5], 85) if (buffers.alpha > 0.5).any() else 1.0
    return light / max(float(lit), 1e-3)


def brow_hairs(buffers: Buffers) -> np.ndarray:
    """Where hairs of the brows are, (height, width) 0..1: their part, as far as it is dark."""
    brows = of_parts(buffers, BROWS)
    if brows.sum() < 20:
        return brows
    tone = blur(buffers.albedo @ LUMA, 1.0)
    skin = (
        float(np.median(tone[of_parts(buffers, FACE) > 0])) if (buffers.parts == FACE).any() else 1
    )
    return brows * smoothstep(skin - tone, 0.16 * skin, 0.36 * skin)


def blemishes(buffers: Buffers) -> np.ndarray:
    """Pimples: small spots of the face that are redder than what is about them, 0..1."""
    face = of_parts(buffers, FACE)
    if not face.any():
        return face
    inner = cv2.erode(face, np.ones((7, 7), np.uint8))
    inner *= 1 - cv2.dilate(of_parts(buffers, LIPS, BEARD), np.ones((25, 25), np.uint8))
    red = blur(buffers.albedo[..., 0] - buffers.albedo[..., 1], 1.0)
    bright = float(np.median(buffers.albedo[face > 0]))  # on dark skin all differences are small
    excess = (red - blur_within(red, face, 18)) / (0.35 + 0.9 * bright)
    return inner * smoothstep(excess, 0.06, 0.12)


def noise(rng: np.random.Generator, shape: tuple[int, int], cell_px: float) -> np.ndarray:
    """Smooth noise with cells of a size, (height, width) float32, standard deviation about 1."""
    coarse = [max(2, int(np.ceil(side / cell_px)) + 1) for side in shape]
    field = rng.normal(0, 1, coarse).astype(np.float32)
    return cv2.resize(field, shape[::-1], interpolation=cv2.INTER_CUBIC)


def smoothstep(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below low, 1 above high, smooth between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def saturated(picture: np.ndarray, factor: float | np.ndarray) -> np.ndarray:
    """Colours moved away from grey (factor above 1) or towards it, not clipped."""
    grey = (picture.astype(np.float32) @ LUMA)[..., None]
    return grey + (picture - grey) * np.asarray(factor, np.float32)
