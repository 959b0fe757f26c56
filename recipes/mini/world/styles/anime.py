"""Anime: two clean tones, thin coloured lines, hair in clumps with a ring of light, great eyes."""

from __future__ import annotations

import cv2
import numpy as np

from ..buffers import BEARD, BROWS, CLOTHES, EYES, FACE, GLASSES, HAIR, LIPS, NECK, Buffers
from ..places import Place
from ..words import Look
from . import lines
from .eyes import Eye, disc, face_scale, find_eyes, laid_over, window
from .grading import graded, side_light
from .mouth import Mouth, bent, find_mouth
from .simplify import clean_shapes
from .surface import (
    blemishes,
    blur,
    blur_within,
    brow_hairs,
    halved,
    noise,
    of_parts,
    saturated,
    shading,
    smoothstep,
    to_srgb,
)

SKIN_PARTS = (FACE, NECK, LIPS, EYES, BROWS, GLASSES)
DARK = np.array([0.20, 0.10, 0.13], np.float32)  # of lines on skin


def apply(buffers: Buffers, place: Place, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Flat colours, crisp shadows, blush, hair, thin lines; eyes, brows and mouth by hand."""
    buffers = clean_shapes(buffers, 3.0)
    flat = flat_colors(buffers)
    shadow = shadows(buffers, look.mood)
    tint = np.array([0.80, 0.64, 0.74], np.float32)
    picture = flat * (1 - shadow[..., None]) + flat * tint * shadow[..., None]
    picture = hair(picture, flat, buffers, rng)
    if look.texture == "curly":
        rings = lines.curls(of_parts(buffers, HAIR), 0.10 * face_scale(buffers), rng)
        picture = laid_over(picture, flat * np.array([0.42, 0.36, 0.46]), rings * 0.75)
    picture = lined(picture, flat, buffers, look)
    picture = face(picture, buffers, look)
    alpha = smoothstep(buffers.alpha, 0.35, 0.65)
    picture = laid_over(scenery(place, look.mood), picture, alpha)
    picture = laid_over(picture, DARK, blur(of_parts(buffers, GLASSES), 0.8) * 0.9)
    return halved(graded(picture, look.mood), sharpen=0.2)


def flat_colors(buffers: Buffers) -> np.ndarray:
    """One clear colour for skin, one for hair; clothes keep their prints."""
    flat = cv2.bilateralFilter(buffers.albedo, 9, 0.12, 6)
    for parts in ((FACE, NECK), (HAIR,), (BEARD,)):
        mask = of_parts(buffers, *parts) > 0
        if mask.any():
            mean = np.median(buffers.albedo[mask], 0)
            smooth = blur_within(buffers.albedo, mask.astype(np.float32), 30)
            flat = np.where(mask[..., None], 0.7 * mean + 0.3 * smooth, flat)
    skin = of_parts(buffers, *SKIN_PARTS) > 0
    tone = np.median(flat[of_parts(buffers, FACE, NECK) > 0], 0) if skin.any() else np.ones(3)
    # Skin is luminous in this style; hands of many tones stay apart.
    clear = np.clip(saturated(tone**0.8, 1.2) * 1.04 + 0.10 * tone.max(), 0, 1)
    flat = np.where(skin[..., None], clear, saturated(flat, 1.5) * 1.06 + 0.03)
    strands = of_parts(buffers, HAIR, BEARD)[..., None] > 0
    cool = np.array([0.11, 0.11, 0.15], np.float32)  # black hair stays paint, with lines upon it
    flat = np.where(strands, cool + flat * (1 - cool), flat)
    return np.clip(flat, 0, 1).astype(np.float32)


def shadows(buffers: Buffers, mood: str) -> np.ndarray:
    """One crisp shadow: of the form, of the hair on the forehead, of the chin on the neck."""
    light = buffers.light / (np.linalg.norm(buffers.light) + 1e-6)
    form = blur(buffers.normal, 6.0) @ light.astype(np.float32)
    cast = blur(shading(buffers), 4.0)
    if mood == "dramatic":
        cast = cast * side_light(buffers)
    dark = smoothstep(0.52 - cast, -0.02, 0.02)
    dark = np.maximum(dark, smoothstep(0.02 - form, -0.02, 0.02))
    scale = face_scale(buffers)
    skin = of_parts(buffers, FACE, NECK)
    drop = round(0.16 * scale)
    for part, onto, reach in ((HAIR, skin, drop), (FACE, of_parts(buffers, NECK), 3 * drop)):
        mask = of_parts(buffers, part)
        moved = np.roll(mask, (reach, round(-0.4 * reach * light[0])), (0, 1))
        moved[:reach] = 0
        dark = np.maximum(dark, moved * onto)
    return smoothstep(blur(dark, 1.6), 0.4, 0.6)


def streaks(buffers: Buffers, rng: np.random.Generator, cell_px: float) -> np.ndarray:
    """Noise drawn out along the hair, (height, width), standard deviation about 1: clumps."""
    shape = buffers.parts.shape
    field = noise(rng, shape, cell_px)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    for reach in (6.0, 12.0, 24.0):
        step = buffers.flow * reach
        ahead = cv2.remap(field, x + step[..., 0], y + step[..., 1], cv2.INTER_LINEAR)
        back = cv2.remap(field, x - step[..., 0], y - step[..., 1], cv2.INTER_LINEAR)
        field = (field + ahead + back) / 3
    return field / (field.std() + 1e-6)


def hair(
    picture: np.ndarray, flat: np.ndarray, buffers: Buffers, rng: np.random.Generator
) -> np.ndarray:
    """Dark clumps at the tips and a jagged ring of light about the crown."""
    mask = of_parts(buffers, HAIR)
    if mask.sum() < 300:
        return picture
    clumps = blur(streaks(buffers, rng, 13.0), 2.0)
    light = blur_within(shading(buffers), mask, 11.0)
    up = blur(buffers.normal, 5.0)[..., 1]
    dark = smoothstep(clumps * 0.16 - (light - 0.62) - 0.10 * up, 0.06, 0.09) * mask
    ring = smoothstep(0.10 - np.abs(up - 0.50 + 0.10 * clumps), 0.0, 0.02) * mask
    locks = cv2.Canny((np.clip(clumps * 0.2 + 0.5, 0, 1) * 255).astype(np.uint8), 60, 130) > 0
    locks = lines.ink(lines.without_specks(locks & (blur(mask, 2) > 0.98), 34), 0.5)
    shade = flat * np.array([0.66, 0.58, 0.72], np.float32)
    gleam = np.clip(flat * 1.35 + np.array([0.16, 0.16, 0.20], np.float32), 0, 1)
    picture = laid_over(laid_over(picture, shade, dark), gleam, ring * (1 - dark))
    return laid_over(picture, shade * 0.55, locks * 0.7)


def lined(picture: np.ndarray, flat: np.ndarray, buffers: Buffers, look: Look) -> np.ndarray:
    """Thin lines in darker shades of what they bound."""
    skin = blur(of_parts(buffers, FACE), 2.0)
    edges = lines.ink(lines.outline(buffers) | lines.borders(buffers), 1.15)
    strands = lines.details(buffers, 30, 70) & (of_parts(buffers, CLOTHES) > 0)
    folds = lines.without_specks(lines.creases(buffers) | strands, 20)
    dark = np.maximum(edges, lines.ink(folds, 0.6) * 0.75 * (1 - skin))
    if look.age == "old":
        marked = of_parts(buffers, FACE)
        dark = np.maximum(dark, lines.features(buffers) * marked * 0.6)
    ink = blur(flat, 3.0) * 0.34 + DARK * 0.3
    return laid_over(picture, ink, np.clip(dark, 0, 1) * 0.95)


def face(picture: np.ndarray, buffers: Buffers, look: Look) -> np.ndarray:
    """Blush, nose, mouth, brows and eyes, drawn by hand at the landmarks."""
    scale, shape = face_scale(buffers), buffers.parts.shape
    skin = of_parts(buffers, FACE)
    eyes = find_eyes(buffers)
    for eye in eyes:
        cheek = blur(disc(shape, eye.x, eye.y + 0.52 * scale, 0.20 * scale, 0.55), 0.08 * scale)
        rosy = picture * np.array([1.06, 0.74, 0.74], np.float32)
        picture = laid_over(picture, rosy, cheek * skin * 0.8 * picture.max(-1) ** 2)
    spots = blur(blemishes(buffers), 0.8)
    picture = laid_over(picture, picture * np.array([1.0, 0.50, 0.48]), spots)
    picture = laid_over(picture, picture * 0.4 + DARK * 0.4, lines.wear(buffers, look) * 0.75)
    x, y = buffers.landmarks["nose"]
    side = -1.0 if buffers.light[0] >= 0 else 1.0
    nose = np.array([[x + side * 0.02 * scale, y - 0.05 * scale], [x + side * 0.05 * scale, y]])
    nose = np.concatenate([nose, [[x + side * 0.005 * scale, y + 0.045 * scale]]])
    layer = stroke(shape, nose, 1.6)
    picture = laid_over(picture, DARK, layer * 0.7)
    picture = mouth(picture, bent(find_mouth(buffers), look.expression, scale), scale)
    picture = brows(picture, buffers, eyes, scale)
    for eye in eyes:
        row = int(np.clip(eye.y, 0, shape[0] - 1))
        if buffers.alpha[row, int(np.clip(eye.x, 0, shape[1] - 1))] > 0.5:
            box = window(eye, shape, 1.6)
            outer = -1.0 if eye is eyes[0] else 1.0
            picture[box] = great_eye(picture[box], eye, box, scale, outer)
    return picture


def stroke(shape: tuple[int, int], points: np.ndarray, width_px: float) -> np.ndarray:
    """A line of even width through points (count, 2), (height, width) 0..1."""
    layer = np.zeros(shape, np.uint8)
    fixed = [np.round(points * 16).astype(np.int32)]
    cv2.polylines(layer, fixed, False, 255, max(1, round(width_px)), cv2.LINE_AA, 4)
    return layer.astype(np.float32) / 255


def mouth(picture: np.ndarray, found: Mouth, scale: float) -> np.ndarray:
    """A thin line, or an open smile with a white row of teeth; a breath of lip colour below."""
    shape, line = picture.shape[:2], found.line
    middle = line[4]
    if found.teeth > 0:
        u = np.linspace(1, -1, 9)
        below = line[::-1] + np.stack([0 * u, 2.1 * found.teeth * (1 - u**2) + 2], 1)
        polygon = np.round(np.concatenate([line, below]) * 16).astype(np.int32)
        layer = np.zeros(shape, np.uint8)
        cv2.fillPoly(layer, [polygon], 255, cv2.LINE_AA, 4)
        inside = layer.astype(np.float32) / 255
        picture = laid_over(picture, np.array([0.62, 0.22, 0.24]), inside)
        upper = np.roll(inside, -round(0.8 * found.teeth), 0) * inside
        picture = laid_over(picture, np.array([0.98, 0.97, 0.95]), upper)
        picture = laid_over(picture, DARK, stroke(shape, below, 2.0) * 0.8)
    lip = blur(disc(shape, middle[0], middle[1] + 0.11 * scale, 0.12 * scale, 0.3), 2.5)
    picture = laid_over(picture, found.color * np.array([1.0, 0.72, 0.74]), lip * 0.45)
    return laid_over(picture, DARK, stroke(shape, line[1:-1], 2.4) * 0.9)


def brows(picture: np.ndarray, buffers: Buffers, eyes: list[Eye], scale: float) -> np.ndarray:
    """Each brow as one tapered stroke along the real one."""
    mask = brow_hairs(buffers) > 0.5
    rows, columns = np.nonzero(mask)
    color = np.median(buffers.albedo[mask], 0) * 0.55 if mask.sum() > 20 else DARK
    for eye, other in zip(eyes, eyes[::-1], strict=True):
        near = np.abs(columns - eye.x) < np.minimum(0.5 * scale, np.abs(columns - other.x))
        if near.sum() > 25 and np.ptp(columns[near]) > 0.2 * scale:
            low, high = np.percentile(columns[near], [3, 97])
            fit = np.polyfit(columns[near], rows[near], 2)
            x = np.linspace(low, high, 12)
            points = np.stack([x, np.polyval(fit, x)], 1)
        else:
            x = np.linspace(-1, 1, 12)
            arch = eye.y - 0.42 * scale + 0.06 * scale * x**2
            points = np.stack([eye.x + 0.26 * scale * x, arch], 1)
        width = 0.045 * scale * np.sin(np.linspace(0.5, 2.9, len(points)))
        edge = np.stack([0 * width, width], 1)
        polygon = np.concatenate([points - edge * 0.5, (points + edge * 0.5)[::-1]])
        layer = np.zeros(mask.shape, np.uint8)
        cv2.fillPoly(layer, [np.round(polygon * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        picture = laid_over(picture, color, layer.astype(np.float32) / 255 * 0.9)
    return picture


def great_eye(
    patch: np.ndarray, eye: Eye, box: tuple[slice, slice], scale: float, outer: float
) -> np.ndarray:
    """One large eye: white with the lid's shadow, deep iris with glints, winged upper lashes.

    outer: -1 where the outer corner is on the left, 1 on the right.
    """
    half_x = 0.33 * scale * float(np.clip(eye.width / (0.46 * scale), 0.7, 1.08))
    half_y = 0.285 * scale * float(np.clip(eye.height / (0.15 * scale), 0.8, 1.15))
    row, column = np.mgrid[box].astype(np.float32)
    dx, dy = column - eye.x, row - eye.y
    turn_x, turn_y = np.cos(eye.tilt), np.sin(eye.tilt)
    u = (dx * turn_x + dy * turn_y) / half_x * outer  # 1 at the outer corner
    v = (dy * turn_x - dx * turn_y) / half_y
    soft = 1.3 / half_y
    reach = np.clip(1 - np.abs(u) ** 2.4, 0, 1)
    top, bottom = -(reach**0.62) - 0.10 * u, 0.86 * reach**0.75 - 0.08 * u
    within = smoothstep(v - top, -soft, soft) * smoothstep(bottom - v, -soft, soft)
    within *= smoothstep(1 - np.abs(u), 0, 2.6 / half_x)
    patch = laid_over(patch, np.array([0.985, 0.98, 0.99]), within)
    patch = laid_over(
        patch, np.array([0.70, 0.68, 0.80]), within * smoothstep(top + 0.42 - v, -soft, soft) * 0.8
    )
    gaze = np.clip((eye.iris_x - eye.x) / half_x, -0.28, 0.28) * outer - 0.10  # a little inwards
    patch = _iris(patch, (u - gaze) / 0.60, (v + 0.06) / 1.02, within, eye.color, outer, soft)
    return laid_over(patch, DARK * 0.45, _lashes(u, v, top, bottom, soft))


def _iris(
    patch: np.ndarray,
    across: np.ndarray,
    down: np.ndarray,
    within: np.ndarray,
    color: np.ndarray,
    outer: float,
    soft: float,
) -> np.ndarray:
    """The iris, dark above and light below, with pupil, rim, glow and two glints.

    across, down: (height, width) from its middle, 1 at its edge.  soft: a pixel in those units.
    """
    far, rim = np.hypot(across, down), soft * 1.6
    iris = within * smoothstep(1 - far, -rim, rim)
    hue = color / max(float(color.max()), 0.15)
    hue = np.maximum(hue, hue[0] * np.array([1.0, 0.62, 0.36]))  # brown, not red
    deep, light = hue * 0.22, np.clip(hue * 0.85 + 0.15, 0, 1)
    blend = smoothstep(down, -0.55, 0.75)[..., None]
    patch = laid_over(patch, deep * (1 - blend) + light * blend, iris)
    patch = laid_over(patch, deep * 0.6, iris * smoothstep(far - 0.84, -rim, rim))
    pupil = smoothstep(0.40 - np.hypot(across, down * 0.9), -rim, rim)
    patch = laid_over(patch, deep * 0.35, iris * pupil)
    glow = smoothstep(0.34 - np.hypot(across * 0.8, (down - 0.62) * 1.3), -0.1, 0.2)
    patch = laid_over(patch, np.clip(light * 1.15 + 0.12, 0, 1), iris * glow * 0.8)
    glint = smoothstep(0.30 - np.hypot(across + 0.34 * outer, down + 0.42), -rim, rim)
    spark = smoothstep(0.15 - np.hypot(across - 0.36 * outer, down - 0.40), -rim, rim)
    return laid_over(patch, np.ones(3), np.maximum(glint, spark * 0.9) * iris)


def _lashes(
    u: np.ndarray, v: np.ndarray, top: np.ndarray, bottom: np.ndarray, soft: float
) -> np.ndarray:
    """Upper lashes with a wing, the outer half of the lower ones, the lid's crease: 0..1.

    u, v: (height, width) along and across the eye, 1 at the corners.  top, bottom: its lids' v.
    """
    thick = 0.20 + 0.20 * smoothstep(u, -0.6, 1.0)
    lash = smoothstep(v - top + thick, -soft, soft) * smoothstep(top + 0.10 - v, -soft, soft)
    lash *= smoothstep(1.12 - np.abs(u), 0, 0.12)
    wing = smoothstep(0.16 - np.abs(v + 0.30 + 0.9 * (u - 1)), -soft, soft)
    wing *= smoothstep(u, 0.80, 0.92) * smoothstep(1.28 - u, 0, 0.25)
    under = smoothstep(0.06 - np.abs(v - bottom), -soft, soft) * smoothstep(u, -0.1, 0.5)
    under *= smoothstep(1 - np.abs(u), 0, 0.1)
    crease = smoothstep(0.045 - np.abs(v - top + 0.62), -soft, soft)
    crease *= smoothstep(0.72 - np.abs(u), 0, 0.3)
    return np.clip(np.maximum.reduce([lash, wing, under * 0.6, crease * 0.5]), 0, 1)


def scenery(place: Place, mood: str) -> np.ndarray:
    """The drawn place, a little soft and airy, so that the person stands before it."""
    picture = blur(to_srgb(place.image).astype(np.float32), 1.6)
    picture = saturated(picture, 1.12) * 0.93 + 0.07
    height = picture.shape[0]
    glow = np.linspace(0.10, 0.0, height, dtype=np.float32)[:, None, None]
    picture = picture + glow * (1 - picture)
    return picture * (np.array([0.42, 0.42, 0.60]) if mood == "dramatic" else 1.0)
