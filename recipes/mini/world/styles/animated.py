"""Animated: a feature film's look. Smooth skin with light beneath it, rim light, glossy eyes."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from ..buffers import BEARD, BROWS, CLOTHES, EYES, FACE, GLASSES, HAIR, LIPS, NECK, Buffers
from ..places import Place, disc_blur
from ..words import Look
from . import lines
from .anime import streaks
from .eyes import Eye, disc, find_eyes, laid_over, wide_eyed, window
from .grading import graded, side_light
from .photo import bloomed, film, metered
from .simplify import combed
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
    to_linear,
)


def apply(buffers: Buffers, place: Place, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Clean paint, soft light, sheen, rim; a place softly out of focus; bloom and rich colour."""
    buffers = soft_hair(wide_eyed(buffers))
    paint = clean_paint(buffers, rng)
    paint = laid_over(paint, paint * 0.68, blur(lines.wear(buffers, look), 1.5))
    light = soft_light(buffers, look.mood)
    person = to_linear(paint) * light + sheen(buffers, rng)
    person = person + rim_light(buffers, place, look.mood)
    person = person * metered(person, buffers) ** 0.7
    picture = with_eyes(person.astype(np.float32), buffers)
    alpha = smoothstep(blur(buffers.alpha, 0.7), 0.05, 0.95)
    behind = stage(place, look.mood)
    whole = bloomed(laid_over(behind, picture, alpha), 0.10)
    toned = saturated(film(whole * 1.12, 1.0), 1.05)
    return halved(graded(toned, look.mood), sharpen=0.3)


def soft_hair(buffers: Buffers) -> Buffers:
    """The buffers with locks instead of single hairs; the outline stays as fine as it is."""
    hair = of_parts(buffers, HAIR, BEARD)
    if hair.sum() < 50:
        return buffers
    inside = hair[..., None] > 0
    normal = np.where(inside, blur_within(buffers.normal, hair, 6), buffers.normal)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-6
    flow = np.where(inside, combed(buffers.flow, hair, 4), buffers.flow)
    return replace(buffers, normal=normal.astype(np.float32), flow=flow)


def clean_paint(buffers: Buffers, rng: np.random.Generator) -> np.ndarray:
    """The textures as a film's painters would make them: no pores, clear colours, sRGB 0..1."""
    albedo = buffers.albedo
    paint = cv2.bilateralFilter(albedo, 9, 0.10, 5)
    skin = of_parts(buffers, FACE, NECK, BROWS)
    if skin.any():
        smooth = 0.55 * blur_within(albedo, skin, 5) + 0.45 * blur_within(albedo, skin, 26)
        # Brows' roots, lids and what else is dark in the skin stays, softened.
        kept = np.minimum(albedo, smooth + 0.02)
        paint = np.where(skin[..., None] > 0, 0.72 * smooth + 0.28 * blur(kept, 1.2), paint)
    hair = of_parts(buffers, HAIR, BEARD)
    if hair.any():
        strands = 1 + 0.10 * streaks(buffers, rng, 5.0) + 0.06 * streaks(buffers, rng, 2.5)
        smooth = blur_within(albedo, hair, 9) * strands[..., None] + 0.03
        paint = np.where(hair[..., None] > 0, smooth, paint)
    paint = np.clip(saturated(paint, 1.12), 0, 1) ** (1 - 0.12 * skin[..., None])
    blush = of_parts(buffers, FACE) * 0.0
    for x, y in (buffers.landmarks["left_eye"], buffers.landmarks["right_eye"]):
        mouth = (buffers.landmarks["mouth_left"][1] + buffers.landmarks["mouth_right"][1]) / 2
        drop = max(mouth - y, 8.0)
        blush = blush + blur(disc(skin.shape, x, y + 0.55 * drop, 0.26 * drop), 0.14 * drop)
    x, y = buffers.landmarks["nose"]
    blush = blush + 0.8 * blur(disc(skin.shape, x, y, 0.14 * drop), 0.1 * drop)
    rosy = paint * np.array([1.05, 0.86, 0.85], np.float32)
    paint = laid_over(paint, rosy, np.clip(blush, 0, 1) * of_parts(buffers, FACE) * 0.65)
    paint = laid_over(paint, buffers.albedo, blur(blemishes(buffers), 1.0))
    lips = of_parts(buffers, LIPS)
    pink = paint * np.array([1.12, 0.84, 0.86], np.float32)
    return np.clip(laid_over(paint, pink, lips * 0.7), 0, 1)


def soft_light(buffers: Buffers, mood: str) -> np.ndarray:
    """Light on the person (height, width, 3), wrapped round the form, warm where it fades."""
    light = shading(buffers)
    skin, rest = of_parts(buffers, FACE, NECK, LIPS, EYES, BROWS), of_parts(buffers, HAIR, CLOTHES)
    light = np.where(skin > 0, blur_within(light, skin, 3.5), blur(light, 1.5))
    light = np.where(rest > 0, blur_within(light, rest, 2.0), light)
    if mood == "dramatic":
        light = light * side_light(buffers)
    toward = blur(buffers.normal, 4) @ (buffers.light / np.linalg.norm(buffers.light)).astype(
        np.float32
    )
    wrapped = 0.30 + 0.70 * smoothstep(toward, -0.6, 0.9)
    light = np.clip(0.62 * light + 0.38 * wrapped * light.clip(0.35, 1.2) ** 0.5, 0.05, 1.35)
    fade = np.exp(-(((light - 0.42) / 0.20) ** 2)) * blur(skin, 3)
    warm = np.stack([0.14 * fade, 0.02 * fade, 0.0 * fade], -1)
    cool = (1 - smoothstep(light, 0.1, 0.6))[..., None] * np.array([-0.02, 0.0, 0.05])
    return light[..., None] * np.array([1.03, 1.0, 0.96]) + warm + cool


def sheen(buffers: Buffers, rng: np.random.Generator) -> np.ndarray:
    """Gloss: broad on skin, a band along the hair, little on cloth, (height, width, 3)."""
    light = (buffers.light / np.linalg.norm(buffers.light)).astype(np.float32)
    half = light + np.array([0, 0, 1], np.float32)
    half /= np.linalg.norm(half)
    facing = np.clip(blur(buffers.normal, 2.5) @ half, 0, 1)
    skin, hair = of_parts(buffers, FACE, NECK, LIPS), of_parts(buffers, HAIR, BEARD)
    gloss = 0.10 * facing**14 * skin + 0.25 * facing**60 * of_parts(buffers, LIPS)
    band = np.zeros_like(facing)
    if hair.sum() > 300:
        up = blur(buffers.normal, 6)[..., 1] + 0.07 * streaks(buffers, rng, 5.0)
        band = np.exp(-(((up - 0.48) / 0.16) ** 2)) * hair * (0.35 + 0.65 * facing)
    tint = 0.16 * to_linear(blur(buffers.albedo, 4)) + 0.05
    return gloss[..., None] * np.array([1.0, 0.96, 0.9]) + band[..., None] * tint


def rim_light(buffers: Buffers, place: Place, mood: str) -> np.ndarray:
    """A bright edge on the side away from the key, in the colour of the place."""
    side = -1.0 if buffers.light[0] >= 0 else 1.0
    normal = blur(buffers.normal, 1.5)
    edge = np.clip(1 - normal[..., 2], 0, 1) ** 2.2
    edge = edge * smoothstep(side * normal[..., 0] + 0.35 * normal[..., 1], 0.1, 0.8)
    color = place.image.mean((0, 1))
    color = color / max(float(color.max()), 0.05)
    color = 0.5 * color + 0.5 * np.array([0.75, 0.88, 1.0])
    strength = 1.5 if mood == "dramatic" else 0.8
    share = 0.35 - 0.25 * of_parts(buffers, HAIR, BEARD)[..., None]  # black hair stays black
    paint = share + 0.65 * to_linear(buffers.albedo)
    return edge[..., None] * color * paint * strength * buffers.alpha[..., None]


def with_eyes(picture: np.ndarray, buffers: Buffers) -> np.ndarray:
    """The picture (linear light) with clear, wet eyes, lashes and combed brows."""
    for eye in find_eyes(buffers):
        if eye.seen:
            box = window(eye, buffers.parts.shape)
            opening = blur((buffers.parts[box] == EYES).astype(np.float32), 1.0)
            picture[box] = glossy_eye(picture[box], opening, eye, box)
    brow = blur(brow_hairs(buffers), 1.2)
    dark = to_linear(blur(buffers.albedo, 2)) * 0.45
    picture = laid_over(picture, dark, brow * 0.6)
    frames = blur(of_parts(buffers, GLASSES), 0.7)
    return picture * (1 - 0.35 * frames[..., None])


def glossy_eye(
    patch: np.ndarray, opening: np.ndarray, eye: Eye, box: tuple[slice, slice]
) -> np.ndarray:
    """White with the lid's shade, a deep iris lit from below, a ring, two glints, lashes."""
    shape = opening.shape
    white = np.clip((opening - 0.3) * 2.5, 0, 1)
    x, y = eye.iris_x - box[1].start, eye.iris_y - box[0].start
    radius = min(1.22 * eye.iris_radius, 0.62 * max(eye.height, 0.5 * eye.width))
    radius = max(radius, eye.iris_radius)
    row, column = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    far = np.hypot(column - x, row - y) / radius
    down = (row - y) / radius
    lid = np.clip(np.roll(white, -3, 0) - white, 0, 1)
    shade = blur(np.roll(lid, 5, 0), 2.5)
    patch = laid_over(patch, np.array([0.80, 0.80, 0.82]) * 0.95, white)
    hue = np.maximum(eye.color, eye.color[0] * np.array([1.0, 0.62, 0.36]))
    hue = to_linear(np.clip(hue / max(float(hue.max()), 0.2) * 0.72, 0, 1))
    soft = 1.2 / radius
    iris = white * smoothstep(1 - far, -soft, soft)
    glow = (0.22 + 0.95 * smoothstep(down, -0.5, 0.9))[..., None] * hue
    patch = patch * (1 - iris[..., None]) + glow * iris[..., None]
    patch = laid_over(patch, hue * 0.10, iris * smoothstep(far, 0.74, 0.98))
    patch = laid_over(patch, np.full(3, 0.004), iris * smoothstep(0.48 - far, -soft, soft))
    patch = laid_over(patch, np.full(3, 0.02), np.clip(shade * 1.3, 0, 0.55) * white)
    big = disc(shape, x - 0.36 * radius, y - 0.40 * radius, 0.27 * radius)
    small = disc(shape, x + 0.36 * radius, y + 0.38 * radius, 0.13 * radius)
    patch = laid_over(patch, np.full(3, 1.3), np.maximum(big, 0.7 * small) * white)
    thick = np.clip(lid + 0.7 * np.clip(np.roll(white, -5, 0) - white, 0, 1), 0, 1)
    return laid_over(patch, np.array([0.02, 0.012, 0.01]), thick * 0.9)


def stage(place: Place, mood: str) -> np.ndarray:
    """The drawn place as a set: out of focus, glowing, linear light."""
    small = cv2.resize(place.image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    bright = np.clip((small.max(-1, keepdims=True) - 0.7) / 0.3, 0, 1)
    small = disc_blur((small * (1 + 0.8 * bright**2)).astype(np.float32), 2.6)
    image = cv2.resize(small, place.image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(image, 0, None) * (0.25 if mood == "dramatic" else 0.95)
