"""Beards and brows, grown as strands that move with the skin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from . import hair
from .combs import smooth
from .heads import TEXTURE_PX, uv_grid
from .strands import bundle, curl, gather, in_locks, lay, skin_form, stray, take_roots
from .surface import PART, Strands, Surface

if TYPE_CHECKING:
    from .people import Head, Person
    from .words import Look

MIDDLE = 0.325  # u of the face's middle
LIPS_V, LIPS_U, LIPS_HALF = 0.357, 0.064, 0.022


def zone(person: Person, rng: np.random.Generator, margin: float = 0.0) -> np.ndarray:
    """Where a beard grows, (h, w) 0..1 in the texture of the head."""
    grid = uv_grid()
    a, v = np.abs(grid[..., 0] - MIDDLE), grid[..., 1]
    soft = 0.018
    # From the sideburns down the cheek to the corner of the mouth, and below the jaw.
    low_cheek = rng.uniform(-0.008, 0.012)
    cheek = np.interp(a, (0.0, 0.055, 0.10, 0.145, 0.172, 0.19), (0.36, 0.338, 0.352, 0.342, 0.29, 0.27))
    jaw = 0.487 - 0.115 * (a / 0.2) ** 2
    beard = smooth((v - cheek - low_cheek * (a > 0.06)) / soft) * smooth((jaw - v) / soft)
    beard *= smooth((0.196 - a) / 0.006)
    top = 0.308 + 0.12 * np.clip(a - 0.02, 0, None)
    moustache = smooth((v - top) / 0.008) * smooth((0.078 - a) / 0.012) * (v < 0.36)
    around = ((a / (LIPS_U + 0.004)) ** 2 + ((v - LIPS_V) / (LIPS_HALF + 0.001)) ** 2) ** 0.5
    mouth = smooth((around - 1.0) / 0.12)
    # Below the lower lip it is thin beside the middle.
    gap = np.exp(-(((a - 0.030) / 0.014) ** 2) - ((v - 0.388) / 0.009) ** 2)
    return np.maximum(beard * (1 - 0.4 * gap), moustache) * mouth


def grow(person: Person, look: Look, head: Head, body: Surface) -> tuple[Strands, ...]:
    """Beard and brows of a person; their shadows go into the body's texture."""
    skin = skin_form(body)
    return (*_brows(person, look, head, body, skin), *_beard(person, look, head, body, skin))


def _down(points: np.ndarray) -> np.ndarray:
    """The way a beard hangs: down, and out from the middle."""
    return np.array([0, -1, 0.12]) + points * (5.0, 0, 0)


def _moustache(points: np.ndarray) -> np.ndarray:
    return np.array([0, -0.75, 0.1]) + np.tanh(points[:, :1] / 0.006) * (1, 0, 0)


def _beard(person: Person, look: Look, head: Head, body: Surface, skin) -> tuple[Strands, ...]:
    if look.beard == "none":
        return ()
    rng = np.random.default_rng((person.seed, 7))
    full = look.beard == "full"
    density = zone(person, rng)
    rough = hair._noise(density.shape, 2.2, rng)
    density = smooth((density + (0.10 if full else 0.06) * rough - 0.25) / 0.5)
    tone = hair.color(person, look) * (0.95, 0.93, 0.92)
    hair.stain(body, density, tone, 0.62 if full else 0.55, PART["beard"])
    roots = take_roots(head.points, density, 9000 if full else 6500, rng)
    a, v = np.abs(roots.uv[:, 0] - MIDDLE), roots.uv[:, 1]
    upper = (v < 0.352) & (a < 0.085)
    if full:
        most = rng.uniform(0.022, 0.034)
        length = most * (0.45 + 0.75 * smooth((v - 0.37) / 0.09) * smooth((0.15 - a) / 0.09))
        steps, rise, height = 9, 0.62, 0.012
    else:
        length = np.full(len(roots), rng.uniform(0.0030, 0.0048))
        steps, rise, height = 3, 0.4, 0.0024
    length = np.where(upper, np.minimum(length, 0.013), length) * rng.uniform(0.7, 1.15, len(roots))

    def comb(points: np.ndarray) -> np.ndarray:
        return np.where(upper[:, None], _moustache(points), _down(points))

    lines = lay(
        roots, skin, length, steps, comb, rise=np.where(upper, 0.3, rise),
        height=height * np.where(upper, 0.35, 1) * rng.uniform(0.2, 1, len(roots)), weight=0.04,
    )  # fmt: skip
    locks, centers = in_locks(roots, 420 if full else 1500, rng)
    t = np.linspace(0, 1, steps + 1)
    if full:
        lines = gather(lines, locks, centers, 0.45 * t)
        radius = 0.0018 * np.where(upper, 0.4, 1)[:, None] * smooth(t / 0.4)
        lines = curl(lines, locks, radius, rng.uniform(0.014, 0.028, len(centers))[locks], rng)
    lines = stray(lines, 0.0016 if full else 0.0005, rng)
    colors = hair.tints(tone, look, lines, locks, rng)
    return (
        bundle(
            lines, colors, PART["beard"], dark=0.8 if full else 0.5,
            follows=roots.follows, shares=roots.shares, shine=0.6,
        ),
    )  # fmt: skip


def _brows(person: Person, look: Look, head: Head, body: Surface, skin) -> tuple[Strands, ...]:
    rng = np.random.default_rng((person.seed, 8))
    h, w = uv_grid().shape[:2]
    paint = body.material.color[:h, :w]
    density, bare = _painted_brows(paint, person)
    tone = hair.color(person, look)
    skin_tone = np.median(bare[density > 0.5], 0) if (density > 0.5).any() else tone
    if look.hair != "black":
        tone = tone * (0.78, 0.74, 0.70)
    # The painted brow gives way to skin with a shade of the hair's colour.
    cover = smooth(cv2.GaussianBlur(density, (0, 0), 2.0) / 0.35)[..., None]
    paint[:] = (paint * (1 - cover) + bare * cover).astype(np.uint8)
    hair.stain(body, density, tone, 0.42, PART["brows"])
    roots = take_roots(head.points, density, int(420 * (1 + 0.3 * person.brow_thickness)), rng)
    outward = np.sign(roots.uv[:, :1] - MIDDLE)
    a = np.abs(roots.uv[:, 0] - MIDDLE)
    inner = smooth((0.055 - a) / 0.02)[:, None]
    way = np.concatenate([outward, 0.25 + 1.3 * inner, -0.3 + 0 * inner], 1)
    way[:, 1] -= 0.6 * smooth((a - 0.075) / 0.02)
    length = rng.uniform(0.0035, 0.0068, len(roots)) * (1 + 0.15 * person.brow_thickness)
    lines = lay(
        roots, skin, length, 3, lambda p: way,
        rise=0.12, height=0.0007 * rng.uniform(0.3, 1, len(roots)), weight=0.0,
    )  # fmt: skip
    locks, _ = in_locks(roots, 200, rng)
    # Hairs of brows are fine: some of the skin is seen through them.
    colors = hair.tints(0.72 * tone + 0.28 * skin_tone, look, lines, locks, rng)
    strands = bundle(
        lines, colors, PART["brows"], dark=0.3,
        follows=roots.follows, shares=roots.shares, shine=0.35, shadow_every=1500,
    )  # fmt: skip
    return (strands,)


def _painted_brows(paint: np.ndarray, person: Person) -> tuple[np.ndarray, np.ndarray]:
    """Where a texture (h, w, 3) has painted brows, (h, w) 0..1, and what the skin is without."""
    grid = uv_grid()
    a, v = np.abs(grid[..., 0] - MIDDLE), grid[..., 1]
    window = smooth((a - 0.018) / 0.006) * smooth((0.125 - a) / 0.008)
    window *= smooth((v - 0.150) / 0.006) * smooth((0.206 - 0.25 * np.clip(a - 0.085, 0, 1) - v) / 0.005)
    grey = cv2.GaussianBlur(paint.astype(np.float32).mean(-1), (0, 0), 1.2)
    inside = (window > 0.05).astype(np.uint8)
    level = np.percentile(grey[inside > 0], 80)
    dark = np.clip((0.86 - grey / level) / 0.25, 0, 1) * window
    both = (dark + dark[:, np.clip(int(2 * MIDDLE * TEXTURE_PX) - np.arange(dark.shape[1]), 0, None)]) / 2
    soft = cv2.GaussianBlur(both.astype(np.float32), (0, 0), 2.2 + 0.8 * person.brow_thickness)
    usual = _usual_brows(a, v)
    density = smooth((0.65 * soft + 0.45 * usual - 0.36 + 0.08 * person.brow_thickness) / 0.4)
    mask = (cv2.dilate(np.maximum(dark, density).astype(np.float32), np.ones((7, 7))) > 0.12)
    x0, x1 = int(0.18 * TEXTURE_PX), int(0.47 * TEXTURE_PX)
    y0, y1 = int(0.13 * TEXTURE_PX), int(0.22 * TEXTURE_PX)
    bare = paint.copy()
    piece = np.ascontiguousarray(paint[y0:y1, x0:x1])
    filled = cv2.inpaint(piece, mask[y0:y1, x0:x1].astype(np.uint8), 5, cv2.INPAINT_TELEA)
    bare[y0:y1, x0:x1] = filled
    return density.astype(np.float32), bare.astype(np.float32)


def _usual_brows(a: np.ndarray, v: np.ndarray) -> np.ndarray:
    """An arch for those whose painted brows are faint, 0..1."""
    arch = np.interp(a, (0.025, 0.05, 0.085, 0.115), (0.184, 0.178, 0.173, 0.183))
    half = np.interp(a, (0.02, 0.03, 0.06, 0.09, 0.118), (0.0, 0.0060, 0.0062, 0.0045, 0.0))
    return np.clip(1.3 - np.abs(v - arch) / (half + 1e-4), 0, 1) * (half > 0)
