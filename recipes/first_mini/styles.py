"""The seven styles: how each puts paint down, and what is done to the painted picture last."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from .canvas import Ink
from .looks import Look
from .people import Shot


@dataclass(frozen=True)
class Style:
    """How a style draws: its ink, how large it makes features, and how it treats the rest."""

    ink: Ink
    eye: float = 1.0  # size of the eyes
    eye_tall: float = 1.0  # their height beside their width
    iris: float = 1.0  # size of the iris beside the usual
    nose: float = 1.0
    mouth: float = 1.0
    small: float = 1.0  # size of pimples, dimples, frames: coarse styles draw them larger
    taper: float = 0.0  # how much the jaw is narrowed
    keeps: float = 1.0  # how much of the person's shape is kept
    background_blur_px: float = 0.0
    saturation: float = 1.0


STYLE_TABLE: dict[str, Style] = {
    "photorealistic": Style(Ink("soft"), background_blur_px=3.0, saturation=1.0),
    "pencil sketch": Style(Ink("soft", 1.1, 0.0), background_blur_px=1.5, small=1.3),
    "comic book": Style(Ink("bold", 1.7, 0.0), background_blur_px=0.6, saturation=1.45, small=1.15),
    "anime": Style(
        Ink("cel", 0.9, 0.55), eye=1.36, eye_tall=1.9, nose=0.35, mouth=0.72, taper=1.0,
        keeps=0.3, background_blur_px=1.5, saturation=1.2,
    ),
    "pixel art": Style(
        Ink("cel"), background_blur_px=1.0, saturation=1.3, small=1.7, eye=1.25, eye_tall=1.35,
    ),
    "oil painting": Style(Ink("soft"), background_blur_px=1.5, saturation=1.12, small=1.15),
    "animated": Style(
        Ink("cel", 1.0, 1.0), eye=1.15, eye_tall=1.7, iris=0.62, nose=1.3, mouth=1.15, taper=-0.4,
        keeps=0.9, background_blur_px=0.8, saturation=1.5,
    ),
}  # fmt: skip


def finish(
    image: np.ndarray, matte: np.ndarray, look: Look, shot: Shot, style: Style
) -> np.ndarray:
    """Give the painted picture, (size, size, 3) in 0..1, its mood and its surface."""
    saturation = style.saturation * {"colorful": 1.55, "dramatic": 0.9}.get(look.mood, 1.0)
    if look.mona_lisa == "yes":
        saturation = 0.62
    grey = image @ np.array([0.3, 0.59, 0.11], np.float32)
    image = grey[..., None] + (image - grey[..., None]) * saturation
    image = image * (1 + 0.05 * shot.warmth * np.array([1, 0, -1], np.float32))
    if look.mood == "colorful":
        image = 1 - (1 - np.clip(image, 0, 1)) ** 1.18
    if look.mood == "dramatic":
        image = _dramatic(image, shot)
    image = np.clip(image, 0, 1)
    if look.style == "pencil sketch":
        return _pencil(image, matte)
    if look.style == "pixel art":
        return _pixels(image, matte)
    if look.style == "oil painting":
        return _oil(image, matte, broad=look.mood == "impressionist", sepia=look.mona_lisa == "yes")
    if look.style == "comic book":
        return _comic(image, matte)
    return image


@lru_cache(maxsize=8)
def _unit_grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    u = (np.arange(size, dtype=np.float32) + 0.5) / size
    return np.meshgrid(u, u)


def _dramatic(image: np.ndarray, shot: Shot) -> np.ndarray:
    """Dark at the rim and on the side away from the light, strong contrast."""
    x, y = _unit_grid(len(image))
    side = 1 if shot.light >= 0 else -1
    lit = np.exp(-(((x - 0.5 - 0.16 * side) / 0.30) ** 2 + ((y - 0.42) / 0.42) ** 2))
    image = np.clip(image, 0, 1) ** 1.15
    return image * (0.34 + 0.95 * lit)[..., None]


def _pencil(image: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """Graphite on paper: tones are compressed towards the paper, the background nearly vanishes."""
    grey = image @ np.array([0.3, 0.59, 0.11], np.float32)
    person = matte.astype(np.float32) / 255
    tone = 1 - (1 - grey) * (0.22 + 0.60 * person)
    x, y = _unit_grid(len(image))
    tone = 0.06 + 0.94 * np.clip(tone * 1.08, 0, 1)
    paper = np.stack([np.full_like(x, 0.985), np.full_like(x, 0.975), np.full_like(x, 0.95)], -1)
    return paper * tone[..., None]


def _pixels(image: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """Blocks of a 32nd of the picture, few tones a channel."""
    size = len(image)
    small = cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA)
    # Averaging greys small features: pushing blocks away from their surroundings mends that.
    person = cv2.resize(matte, (32, 32), interpolation=cv2.INTER_AREA)[..., None] / 255.0
    person = np.where(person > 0.95, 0.55, 0).astype(np.float32)
    small = np.clip(small + person * (small - cv2.GaussianBlur(small, (0, 0), 1.2)), 0, 1)
    small = np.round(small * 15) / 15
    return cv2.resize(small, (size, size), interpolation=cv2.INTER_NEAREST)


def _comic(image: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """Printed dots on what is behind the person, the larger the darker it is."""
    size = len(image)
    x, y = _unit_grid(size)
    pitch = size / 16
    dots = np.cos(2 * np.pi * x * size / pitch) * np.cos(2 * np.pi * y * size / pitch)
    behind = 1 - matte.astype(np.float32) / 255
    return np.clip(image + (0.07 * behind * dots)[..., None], 0, 1)


@lru_cache(maxsize=8)
def _strokes(size: int, step: float, jitter: int) -> np.ndarray:
    """Where the brush touches: rows of x, y, angle, length, in pixels of a 128 px picture.

    The same for every picture, as if all were painted on one canvas: what differs is colour.
    """
    rng = np.random.default_rng(jitter)
    line = np.arange(step / 2, 128, step)
    x, y = np.meshgrid(line, line)
    n = x.size
    x = x.ravel() + rng.uniform(-0.35, 0.35, n) * step
    y = y.ravel() + rng.uniform(-0.35, 0.35, n) * step
    angle = 0.9 + 0.8 * np.sin(x / 23) * np.cos(y / 19) + rng.uniform(-0.25, 0.25, n)
    rows = np.stack([x, y, angle, rng.uniform(-1, 1, n)], 1)
    return rows[rng.permutation(n)]


def _paint_strokes(
    image: np.ndarray, step: float, length: float, width: float, lift: float
) -> np.ndarray:
    """Cover a picture with brush strokes of its own colours, each a little lighter or darker."""
    size = len(image)
    scale = size / 128
    source = cv2.GaussianBlur(image, (0, 0), 0.35 * step * scale)
    out = np.ascontiguousarray(source)
    for x, y, angle, tone in _strokes(size, step, 1):
        px, py = int(np.clip(x * scale, 0, size - 1)), int(np.clip(y * scale, 0, size - 1))
        colour = source[py, px] * (1 + lift * tone)
        half = np.array([np.cos(angle), np.sin(angle)]) * length * scale / 2
        a, b = (np.array([x, y]) * scale - half) * 16, (np.array([x, y]) * scale + half) * 16
        cv2.line(
            out, tuple(int(v) for v in a), tuple(int(v) for v in b),
            tuple(float(c) for c in colour), max(1, round(width * scale)), cv2.LINE_8, 4,
        )  # fmt: skip
    return cv2.GaussianBlur(out, (0, 0), 0.5 * scale)


def _oil(image: np.ndarray, matte: np.ndarray, *, broad: bool, sepia: bool) -> np.ndarray:
    """Brush strokes: broad and bright for an impressionist, finer over the drawing otherwise."""
    reach = max(3, 2 * round(len(image) / 64) + 1)
    person = cv2.GaussianBlur(cv2.dilate(matte, np.ones((reach, reach), np.uint8)), (0, 0), 1.5)
    person = person.astype(np.float32)[..., None] / 255
    if broad:
        bright = np.clip(0.10 + 1.05 * image, 0, 1)
        behind = _paint_strokes(bright, 4.5, 7.5, 3.4, 0.2)
        # Small dabs on the person: a face of broad ones is nobody's.
        before = 0.45 * _paint_strokes(bright, 2.6, 4.2, 1.9, 0.2) + 0.55 * bright
        return np.clip(behind * (1 - person) + before * person, 0, 1)
    base = np.clip(image, 0, 1)
    dabs = _paint_strokes(base, 5.0, 10.0, 3.4, 0.10)
    # Broad strokes behind the person; on the person they only tint, so that the face is kept.
    fine = cv2.bilateralFilter(base.astype(np.float32), 5, 0.12, 2.0)
    out = dabs * (1 - 0.78 * person) + fine * 0.78 * person
    warm = np.array([1.04, 0.93, 0.66] if sepia else [1.05, 0.98, 0.84], np.float32)
    out = out * warm
    return np.clip(out + 0.30 * (out - 0.42), 0, 1)
