"""Photorealistic: the render as a camera and its film see it."""

from __future__ import annotations

import cv2
import numpy as np

from ..buffers import FACE, Buffers
from ..places import Place
from ..words import Look
from .grading import graded, lit
from .surface import LUMA, blur, noise


def apply(buffers: Buffers, place: Place, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Light wrap, exposure, white balance, bloom, soft focus, film's curve, vignette, grain."""
    mood = look.mood
    color, image = lit(buffers, place, mood)
    alpha = buffers.alpha[..., None]
    # Light from behind creeps round the rim, which seats the person in the place.
    behind = blur(image.astype(np.float32), 12)
    rim = (blur(buffers.alpha, 5)[..., None] < 0.999) * (1 - blur(buffers.alpha, 5)[..., None])
    light = color + image * (1 - alpha) + 0.35 * rim * alpha * behind
    light = light * 2 ** rng.normal(0, 0.16) * white_balance(rng) * metered(color, buffers)
    light = bloomed(light, rng.uniform(0.03, 0.10) + 0.12 * (mood == "impressionist"))
    soft = rng.uniform(0.0, 1.0) ** 2 * 1.1 + 1.2 * (mood == "impressionist")
    if soft > 0.3:
        light = blur(light.astype(np.float32), soft)
    height, width = buffers.alpha.shape
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    light = light * (1 - rng.uniform(0, 0.22) * (x**2 + y**2) / 2)[..., None]
    picture = graded(film(light, rng.uniform(0.85, 1.15)), mood)
    half = (picture.shape[1] // 2, picture.shape[0] // 2)
    small = cv2.resize(picture.astype(np.float32), half, interpolation=cv2.INTER_AREA)
    small = small + 0.35 * (small - blur(small, 1.0))
    return grained(small, rng)


def metered(color: np.ndarray, buffers: Buffers) -> float:
    """A half-hearted exposure for the lit part of a face: brighter for a dark one, and back.

    color: (height, width, 3) linear light of the person.
    """
    face = (buffers.parts == FACE) & (buffers.alpha > 0.9)
    if not face.any():
        return 1.0
    seen = float(np.percentile((color @ LUMA)[face], 70))
    return float(np.clip((0.34 / max(seen, 0.01)) ** 0.38, 0.8, 2.0))


def white_balance(rng: np.random.Generator) -> np.ndarray:
    """A small error of the camera's white, (3,)."""
    warm, tint = rng.normal(0, 0.03), rng.normal(0, 0.012)
    return np.array([1 + warm, 1 + tint, 1 - warm])


def bloomed(light: np.ndarray, amount: float) -> np.ndarray:
    """Linear light with the halo that bright places leave in a lens."""
    bright = np.maximum(light - 0.7, 0).clip(0, 4).astype(np.float32)
    small = cv2.resize(bright + 0.25 * light.astype(np.float32), None, fx=0.25, fy=0.25)
    halo = blur(small, 3) * 0.6 + blur(small, 10) * 0.4
    halo = cv2.resize(halo, light.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return light * (1 - 0.3 * amount) + amount * halo


def film(light: np.ndarray, contrast: float = 1.0) -> np.ndarray:
    """A filmic curve: linear light to sRGB 0..1 with a toe, and shoulders that never clip.

    Hable's form as fitted by Narkowicz 2016, "ACES filmic tone mapping curve".
    """
    x = np.maximum(light, 0) * 0.78
    x = 0.18 * (x / 0.18 + 1e-6) ** contrast
    toned = x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)
    return np.clip(toned, 0, 1) ** (1 / 2.2)


def grained(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Grain that is strongest in the middle tones, as uint8."""
    shape = picture.shape[:2]
    strength = rng.choice([0.003, 0.006, 0.012], p=[0.5, 0.35, 0.15])
    grain = 0.7 * rng.normal(0, 1, shape) + 0.6 * noise(rng, shape, 1.6)
    tone = np.clip(picture @ LUMA, 0, 1)
    speckle = (grain * strength * (0.35 + 2.6 * tone * (1 - tone)))[..., None]
    tinted = speckle + rng.normal(0, strength * 0.35, picture.shape)
    return (np.clip(picture + tinted, 0, 1) * 255 + 0.5).astype(np.uint8)
