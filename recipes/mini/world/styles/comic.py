"""Comic book: ink of varying width, flat colours in three tones, halftone dots in the shadows."""

from __future__ import annotations

import cv2
import numpy as np

from ..buffers import BEARD, BROWS, CLOTHES, EYES, FACE, GLASSES, HAIR, LIPS, NECK, Buffers
from ..places import Place
from ..words import Look
from . import lines
from .eyes import face_scale, inked_eyes, laid_over
from .grading import graded, side_light
from .mouth import teeth_seen
from .simplify import clean_shapes
from .surface import (
    blemishes,
    blur,
    blur_within,
    brow_hairs,
    halved,
    of_parts,
    saturated,
    shading,
    smoothstep,
    to_srgb,
)

DOT_PX = 9.0  # from dot to dot, at twice the finished size
INK = np.array([0.06, 0.04, 0.09], np.float32)


def apply(buffers: Buffers, place: Place, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Flat colours and tones, dots, a drawn place with its own lines, ink over all."""
    mood = look.mood
    buffers = clean_shapes(buffers, 2.6)
    flat = flat_colors(buffers)
    light = calm_light(buffers)
    if mood == "dramatic":
        light = light * side_light(buffers)
    strands = of_parts(buffers, HAIR, BEARD)
    picture = toned(flat, light, 1 - strands)
    spots = blur(blemishes(buffers), 0.8)
    picture = laid_over(picture, flat * np.array([1.0, 0.42, 0.38]), spots)
    teeth = smoothstep(blur(teeth_seen(buffers), 0.8), 0.3, 0.7)
    picture = laid_over(picture, np.array([0.96, 0.95, 0.92]), teeth)
    picture = combed(picture, flat, light, of_parts(buffers, HAIR))
    behind = scenery(place, rng, mood)
    alpha = smoothstep(buffers.alpha, 0.35, 0.65)[..., None]
    picture = picture * alpha + behind * (1 - alpha)
    picture = laid_over(picture, INK, inked(buffers, light, rng))
    if look.texture == "curly":
        rings = lines.curls(of_parts(buffers, HAIR), 0.10 * face_scale(buffers), rng)
        picture = laid_over(picture, INK, rings * 0.8)
    picture = laid_over(picture, INK, lines.wear(buffers, look) * 0.55)
    picture = inked_eyes(picture, buffers, INK)
    picture = laid_over(picture, INK, blur(of_parts(buffers, GLASSES), 0.7) * 0.9)
    return halved(graded(picture, mood), sharpen=0.25)


def flat_colors(buffers: Buffers) -> np.ndarray:
    """The person in few colours: one skin, one hair, clothes with their prints, eyes and lips."""
    albedo = buffers.albedo
    flat = cv2.bilateralFilter(albedo, 9, 0.15, 6)
    for parts, sigma in (((FACE, NECK, BROWS), 28.0), ((HAIR,), 14.0), ((LIPS,), 5.0)):
        mask = of_parts(buffers, *parts)
        if mask.any():
            smooth = blur_within(albedo, mask, sigma)
            flat = np.where(mask[..., None] > 0, smooth, flat)
    skin = of_parts(buffers, FACE, NECK, BROWS)[..., None]
    flat = np.where(skin > 0, saturated(flat, 1.25) * 1.12 + 0.03, saturated(flat, 1.45) * 1.08)
    lips = of_parts(buffers, LIPS)[..., None]
    flat = np.where(lips > 0, flat * np.array([1.12, 0.82, 0.84], np.float32), flat)
    return np.clip(flat, 0, 1).astype(np.float32)


def calm_light(buffers: Buffers) -> np.ndarray:
    """The light on the person without the texture's restlessness, (height, width)."""
    light = shading(buffers)
    skin, hair = of_parts(buffers, FACE, NECK, BROWS, EYES, LIPS, BEARD), of_parts(buffers, HAIR)
    calm = blur(light, 2.5)
    for mask, sigma in ((skin, 4.0), (hair, 4.0)):
        calm = np.where(mask > 0, blur_within(light, mask, sigma), calm)
    return calm


def dots(shape: tuple[int, int], pitch_px: float, angle_degrees: float = 45.0) -> np.ndarray:
    """A printer's screen, (height, width) 0..1: where it is below a share, that share is dotted."""
    turn = np.radians(angle_degrees)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    u = (x * np.cos(turn) + y * np.sin(turn)) * (2 * np.pi / pitch_px)
    v = (y * np.cos(turn) - x * np.sin(turn)) * (2 * np.pi / pitch_px)
    return 0.5 + 0.25 * (np.cos(u) + np.cos(v))


def toned(flat: np.ndarray, light: np.ndarray, dotted_parts: np.ndarray) -> np.ndarray:
    """Three tones with shifted hues: light, half tone made of dots, flat shadow."""
    shade = flat * np.array([0.66, 0.50, 0.60], np.float32)  # shadows go to violet
    deep = flat * np.array([0.40, 0.28, 0.44], np.float32)
    high = np.clip(flat * 1.12 + 0.05, 0, 1)
    screen = dots(light.shape, DOT_PX)
    half = smoothstep(0.80 - light, 0.0, 0.26)  # how much of the half tone is covered by dots
    dotted = smoothstep(half * 1.05 - screen, -0.05, 0.05)
    dotted = np.where(light < 0.55, 1.0, dotted * 0.85 * dotted_parts)
    tone = flat * (1 - dotted[..., None]) + shade * dotted[..., None]
    below = smoothstep(0.34 - light, -0.01, 0.02)[..., None]
    tone = tone * (1 - below) + deep * below
    above = smoothstep(light, 1.10, 1.14)[..., None]
    return tone * (1 - above) + high * above


def combed(
    picture: np.ndarray, flat: np.ndarray, light: np.ndarray, hair: np.ndarray
) -> np.ndarray:
    """The picture with sheen on the hair, in one flat, cool shape."""
    if hair.sum() < 200:
        return picture
    low, high = np.percentile(light[hair > 0], [84, 87])
    sheen = hair * smoothstep(light, low, max(high, low + 0.02))
    tint = np.clip(flat * 1.45 + np.array([0.09, 0.12, 0.20]), 0, 1)
    return laid_over(picture, tint, sheen)


def scenery(place: Place, rng: np.random.Generator, mood: str) -> np.ndarray:
    """The place as it is printed: few tones, dots that fade, thin lines."""
    picture = to_srgb(place.image).astype(np.float32)
    height, width = picture.shape[:2]
    if place.kind == "plain":
        return burst(picture, rng) if mood != "dramatic" else picture * 0.25
    picture = np.clip(saturated(picture, 1.3) * 1.04, 0, 1).astype(np.float32)
    edges = cv2.Canny((blur(picture, 1.2) * 255).astype(np.uint8), 60, 140) > 0
    edges = lines.without_specks(edges, 24)
    dark = lines.ink(edges, 0.9)[..., None] * 0.85
    ramp = np.linspace(0.55, -0.1, height, dtype=np.float32)[:, None]
    screen = smoothstep(ramp - dots((height, width), DOT_PX), -0.06, 0.06)[..., None]
    picture = (picture * (1 - 0.14 * screen)).astype(np.float32)
    if mood == "dramatic":
        picture = picture * np.array([0.34, 0.34, 0.5], np.float32)
    return picture * (1 - dark) + INK * dark


def burst(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A wall of one colour with rays or with dots that grow towards the edge."""
    height, width = picture.shape[:2]
    color = np.clip(saturated(picture.mean((0, 1)), 1.8), 0.12, 1)
    color = np.clip(color / max(color.max(), 0.1) * rng.uniform(0.75, 1.0), 0, 1)
    other = np.clip(color * 0.72 + 0.28 * np.roll(color, 1) * 0.6, 0, 1)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x, y = x / width - 0.5, y / height - 0.55
    if rng.random() < 0.45:
        rays = np.sin(np.arctan2(y, x) * rng.integers(9, 15) + rng.uniform(0, 6))
        share = smoothstep(rays, -0.03, 0.03)
    else:
        grow = smoothstep(np.hypot(x, y), 0.15, 0.75) * 0.95
        share = smoothstep(grow - dots((height, width), DOT_PX * 1.6), -0.05, 0.05)
    return color + (other - color) * share[..., None]


def inked(buffers: Buffers, light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """All black of the drawing, (height, width) 0..1: contours, creases, features, strands."""
    face = blur(of_parts(buffers, FACE), 2)
    contour = lines.ink(lines.outline(buffers), lines.pressure(buffers, rng, 1.6, 3.4))
    inner = lines.ink(lines.borders(buffers), lines.pressure(buffers, rng, 0.9, 2.2))
    folds = lines.without_specks(lines.creases(buffers), 14)
    fold = lines.ink(folds, lines.pressure(buffers, rng, 0.35, 1.5))
    prints = lines.without_specks(lines.details(buffers) & (of_parts(buffers, CLOTHES) > 0), 20)
    cloth = lines.ink(prints, 0.7)
    dark = np.maximum.reduce([contour, inner, fold * (1 - 0.4 * face), cloth * 0.9])
    dark = np.maximum(dark, lines.features(buffers))
    solid = brow_hairs(buffers) * 0.9
    hair = of_parts(buffers, HAIR, BEARD)
    black = 0.0 * hair
    if hair.sum() > 200:  # spotted blacks, where the hair is darkest
        black = hair * smoothstep(np.percentile(light[hair > 0], 16) - light, -0.02, 0.04)
    return np.clip(np.maximum.reduce([dark, blur(solid, 0.7), black * 0.9]), 0, 1)
