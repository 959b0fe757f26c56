"""Beards and brows, grown as strands that move with the skin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from . import combs, hair
from .combs import smooth
from .heads import TEXTURE_PX, uv_grid
from .strands import Grid, bundle, curl, gather, in_locks, lay, stray, take_roots
from .surface import PART, Strands, Surface

if TYPE_CHECKING:
    from .people import Head, Person
    from .words import Look

MIDDLE = 0.325  # u of the face's middle
LIPS_V, LIPS_U, LIPS_HALF = 0.357, 0.064, 0.022


# How far down a cheek a beard begins, v by distance from the face's middle in u.
CHEEK_U = (0.0, 0.055, 0.10, 0.145, 0.172, 0.19)
CHEEK_V = {
    "full": (0.36, 0.338, 0.352, 0.342, 0.29, 0.27),
    "trimmed": (0.375, 0.352, 0.378, 0.372, 0.315, 0.28),
}


def zone(look: Look, rng: np.random.Generator) -> np.ndarray:
    """Where a beard grows, (h, w) 0..1 in the texture of the head."""
    full = look.beard == "full"
    grid = uv_grid()
    a, v = np.abs(grid[..., 0] - MIDDLE), grid[..., 1]
    soft = 0.018 if full else 0.026
    # From the sideburns down the cheek to the corner of the mouth, and below the jaw.
    low_cheek = rng.uniform(-0.008, 0.012)
    cheek = np.interp(a, CHEEK_U, CHEEK_V[look.beard])
    jaw = 0.487 - 0.115 * (a / 0.2) ** 2
    beard = smooth((v - cheek - low_cheek * (a > 0.06)) / soft) * smooth((jaw - v) / soft)
    beard *= smooth((0.196 - a) / 0.006)
    top = (0.308 if full else 0.316) + 0.14 * np.clip(a - 0.02, 0, None)
    moustache = smooth((v - top) / (0.008 if full else 0.014))
    moustache *= smooth((0.082 - a) / (0.010 if full else 0.016)) * (v < 0.36)
    # Beside the mouth they meet.
    meet = (
        np.exp(-(((a - 0.082) / 0.012) ** 2))
        * smooth((v - (0.325 if full else 0.338)) / 0.012)
        * (v < 0.40)
    )
    around = ((a / (LIPS_U + 0.004)) ** 2 + ((v - LIPS_V) / (LIPS_HALF + 0.001)) ** 2) ** 0.5
    mouth = smooth((around - 0.93) / 0.09)
    # Below the lower lip it is thin beside the middle.
    gap = np.exp(-(((a - 0.030) / 0.014) ** 2) - ((v - 0.388) / 0.009) ** 2)
    return (
        np.maximum(beard * (1 - 0.4 * gap), np.maximum(moustache, (0.9 if full else 0.75) * meet))
        * mouth
    )


def grow(person: Person, look: Look, head: Head, body: Surface, skin: Grid) -> tuple[Strands, ...]:
    """Beard and brows of a person; their shadows go into the body's texture."""
    return (*_brows(person, look, head, body, skin), *_beard(person, look, head, body, skin))


def _down(points: np.ndarray) -> np.ndarray:
    """The way a beard hangs: down, and out from the middle."""
    return np.array([0, -1, 0.12]) + points * (5.0, 0, 0)


def _moustache(points: np.ndarray) -> np.ndarray:
    return np.array([0, -0.75, 0.1]) + np.tanh(points[:, :1] / 0.006) * (1, 0, 0)


def _beard(
    person: Person, look: Look, head: Head, body: Surface, skin: Grid
) -> tuple[Strands, ...]:
    if look.beard == "none":
        return ()
    rng = np.random.default_rng((person.seed, 7))
    full = look.beard == "full"
    size = combs.head_scale(head)
    density = zone(look, rng)
    rough = hair._noise(density.shape, 2.2, rng)
    density = smooth((density + (0.10 if full else 0.06) * rough - 0.25) / 0.5)
    tone = hair.color(person, look) * (0.95, 0.93, 0.92)
    hair.stain(body, density, tone, 0.7 if full else 0.5, PART["beard"])
    roots = take_roots(head.points, density, 9000 if full else 6500, rng)
    a, v = np.abs(roots.uv[:, 0] - MIDDLE), roots.uv[:, 1]
    upper = (v < 0.352) & (a < 0.085)
    if full:
        most = rng.uniform(0.019, 0.029) * size
        length = most * (0.45 + 0.75 * smooth((v - 0.37) / 0.09) * smooth((0.15 - a) / 0.09))
        steps, rise, height = 9, 0.62, 0.010 * size
    else:
        length = np.full(len(roots), size * rng.uniform(0.0020, 0.0034))
        steps, rise, height = 3, 0.4, 0.002 * size
    length = np.where(upper, np.minimum(length, 0.011 * size), length) * rng.uniform(
        0.7, 1.15, len(roots)
    )

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
        radius = 0.0015 * size * np.where(upper, 0.4, 1)[:, None] * smooth(t / 0.4)
        lines = curl(
            lines, locks, radius, size * rng.uniform(0.011, 0.021, len(centers))[locks], rng
        )
    lines = stray(lines, 0.0016 if full else 0.0005, rng)
    colors = hair.tints(tone, look, lines, locks, rng)
    return (
        bundle(
            lines, colors, PART["beard"], dark=0.8 if full else 0.5,
            follows=roots.follows, shares=roots.shares, shine=0.6,
        ),
    )  # fmt: skip


def _brows(
    person: Person, look: Look, head: Head, body: Surface, skin: Grid
) -> tuple[Strands, ...]:
    rng = np.random.default_rng((person.seed, 8))
    size = combs.head_scale(head)
    h, w = uv_grid().shape[:2]
    paint = body.material.color[:h, :w]
    density, bare = _painted_brows(paint, person, look)
    tone = hair.color(person, look)
    skin_tone = np.median(bare[density > 0.5], 0) if (density > 0.5).any() else tone
    if look.hair != "black":
        tone = tone * (0.78, 0.74, 0.70)
    # The painted brow gives way to skin with a shade of the hair's colour.
    paint[:] = bare.astype(np.uint8)
    hair.stain(body, density, tone, 0.42, PART["brows"])
    roots = take_roots(head.points, density, int(420 * (1 + 0.3 * person.brow_thickness)), rng)
    outward = np.sign(roots.uv[:, :1] - MIDDLE)
    a = np.abs(roots.uv[:, 0] - MIDDLE)
    inner = smooth((0.055 - a) / 0.02)[:, None]
    way = np.concatenate([outward, 0.25 + 1.3 * inner, -0.3 + 0 * inner], 1)
    way[:, 1] -= 0.6 * smooth((a - 0.075) / 0.02)
    length = size * rng.uniform(0.0030, 0.0056, len(roots)) * (1 + 0.15 * person.brow_thickness)
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


ARCH_A = (0.025, 0.05, 0.085, 0.115)  # from the face's middle, in u
ARCH_V = (0.184, 0.178, 0.173, 0.183)  # where brows are as a rule


def _painted_brows(paint: np.ndarray, person: Person, look: Look) -> tuple[np.ndarray, np.ndarray]:
    """Brows along those that a texture (h, w, 3) has: (h, w) 0..1, and the skin without them."""
    x0, x1, y0, y1 = (int(t * TEXTURE_PX) for t in (0.18, 0.47, 0.13, 0.22))
    about = (slice(y0, y1), slice(x0, x1))
    grid = uv_grid()[about]
    a, v = np.abs(grid[..., 0] - MIDDLE), grid[..., 1]
    piece = np.ascontiguousarray(paint[about])
    grey = cv2.GaussianBlur(piece.astype(np.float32).mean(-1), (0, 0), 1.2)
    contrast = np.clip(1 - grey / cv2.GaussianBlur(grey, (0, 0), 16), 0, 0.5)
    contrast = (contrast + contrast[:, ::-1]) / 2
    arch = np.polyval(np.polyfit(ARCH_A, ARCH_V, 3), np.clip(a, 0.02, 0.12))
    seen = contrast * np.exp(-(((v - arch) / 0.010) ** 2)) * (a > 0.03) * (a < 0.11)
    # A smooth line through what is dark, held to the usual one where little is.
    columns = np.linspace(0.03, 0.11, 17)
    near = np.abs(a[..., None] - columns) < 0.003
    weight = (seen[..., None] * near).sum((0, 1))
    off = ((seen * (v - arch))[..., None] * near).sum((0, 1)) / (weight + 2.0)
    shift = np.polyval(np.polyfit(columns - 0.07, off, 2, w=weight + 1.0), a - 0.07)
    middle = arch + np.clip(shift, -0.012, 0.012)
    half = np.interp(a, (0.021, 0.030, 0.055, 0.085, 0.118), (0, 0.0058, 0.0064, 0.0046, 0))
    fine = 0.78 if look.who in ("woman", "girl") else 1.0
    half = half * fine * (1 + 0.28 * person.brow_thickness) + 1e-5
    density = smooth(1.35 - np.abs(v - middle) / half) * (half > 1e-4)
    near_line = np.abs(v - middle) < 0.018
    gone = (contrast > 0.035) & near_line & (a > 0.018) & (a < 0.125) | (density > 0.05)
    gone = cv2.dilate(gone.astype(np.uint8), np.ones((5, 5)))
    filled = cv2.inpaint(piece, gone, 5, cv2.INPAINT_TELEA).astype(np.float32)
    soft = cv2.GaussianBlur(gone.astype(np.float32), (0, 0), 2)[..., None]
    bare = paint.astype(np.float32)
    bare[about] = filled * (1 - soft) + cv2.GaussianBlur(filled, (0, 0), 4) * soft
    every = np.zeros(paint.shape[:2], np.float32)
    every[about] = density
    return every, bare
