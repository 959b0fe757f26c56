"""Skin: one texture of face, scalp, neck and limbs, mixed from donors and brought to a tone."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from . import clothes, features, marks
from .clothes import Garment, smooth, srgb
from .cuts import head_places
from .heads import FACE_RADIUS, FACE_UV, TEXTURE_PX, bank, uv_grid
from .surface import PART, SKIN, Material

if TYPE_CHECKING:
    from .people import Person
    from .words import Look

# sRGB of cheeks between which skin_tone moves, by what words say.
TONES = {
    "light": ((214, 164, 138), (240, 203, 180)),
    "tan": ((184, 132, 102), (214, 166, 134)),
    "indian": ((138, 90, 62), (176, 122, 90)),
    "dark": ((70, 44, 34), (118, 78, 58)),
}
# Heads without painted hair, whose scalp and neck others take.
SCALPS = {
    "light": ("White_F_1", "White_F_3"),
    "tan": ("Hispanic_F_3", "Asian_F_2", "Asian_F_3"),
    "indian": ("Hispanic_F_3", "X_NHPI_F_3"),
    "dark": ("Black_F_2", "Black_M_2"),
}
CHEEK_UV = (0.24, 0.32)


def linear(srgb: np.ndarray) -> np.ndarray:
    """Light of sRGB 0..255, 0..1 float32."""
    c = srgb / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4).astype(np.float32)


@lru_cache(maxsize=64)
def relative_skin(row: int) -> np.ndarray:
    """A head's texture divided by the colour of its cheeks, (h, w, 3) float32, linear light."""
    skin = linear(bank().skins[row].astype(np.float32))
    grid = uv_grid()
    cheek = np.linalg.norm(grid - CHEEK_UV, axis=-1) < 0.03
    cheek |= np.linalg.norm(grid - (0.65 - CHEEK_UV[0], CHEEK_UV[1]), axis=-1) < 0.03
    return skin / np.median(skin[cheek], 0)


@lru_cache(maxsize=64)
def _pores(row: int) -> np.ndarray:
    """The fine detail of a head's texture about 1, (h, w, 3)."""
    own = relative_skin(row)
    return np.clip(own / np.maximum(cv2.GaussianBlur(own, (0, 0), 3), 0.02), 0.5, 1.6)


@lru_cache(maxsize=8)
def _neck(name: str) -> np.ndarray:
    """What the colour of a head's neck is of its cheeks, (3,) linear."""
    place = head_places()
    low = (place[..., 1] < -0.06) & (place[..., 1] > -0.085) & (np.abs(place[..., 0]) < 0.07)
    found = np.median(relative_skin(bank().index(name))[low], 0)
    mean = np.clip(found.mean(), 0.74, 1)
    return mean * np.clip(found / found.mean(), (0.96, 0.93, 0.86), (1.1, 1.03, 1.03))


def tone(person: Person, look: Look) -> np.ndarray:
    """The colour of a person's cheeks, (3,) sRGB 0..255."""
    low, high = (np.array(c, np.float32) for c in TONES[look.skin])
    middle = low + (high - low) * (person.skin_tone + 1) / 2
    return middle * (1 + person.skin_warmth * np.array([0.025, 0, -0.045], np.float32))


def paint(
    person: Person,
    look: Look,
    rows: np.ndarray,
    weights: np.ndarray,
    garment: Garment,
) -> Material:
    """The skin and the clothes of a person: one texture, its relief and its labels.

    rows, weights: the heads that the face is mixed from, `people.donors`.
    """
    scalp = str(np.random.default_rng((person.seed, 3)).choice(SCALPS[look.skin]))
    relative, face = _mixed(scalp, rows, weights)
    height, keep = marks.marked(relative, person, look)
    base = linear(tone(person, look))
    color, cloth, relief = clothes.paint(garment, base, _neck(scalp))
    h, w = face.shape[:2]
    # The foot of the neck has the body's even skin, so that both meet unseen.
    high = smooth((head_places()[..., 1] + 0.080) / 0.03)
    high[:, : int(0.09 * TEXTURE_PX)] = 1  # ears hang as low
    own = (bank().island * (1 - cloth[:h, :w]) * high)[..., None]
    color[:h, :w] += own * (srgb(base * relative) - color[:h, :w])
    # The tip of one ear lies below the head's part of the texture.
    tip, lobe = color[h : h + 46, :92], relative[h - 46 : h, 10:80].reshape(-1, 3)
    light = linear(tip)
    tip[:] = srgb(base * np.median(lobe, 0) * np.clip(light / np.median(light, (0, 1)), 0.7, 1.2))
    features.paint_eyes(color, person, look)
    features.paint_teeth(color, person)
    relief[:h, :w] += own * (_relief(rows, weights, face, height, keep) - relief[:h, :w])
    return Material(
        SKIN,
        np.clip(color, 0, 255).astype(np.uint8),
        np.clip(relief, 0, 255).astype(np.uint8),
        _labels(cloth),
        roughness=0.54,
        specular=0.6,
    )


def _mixed(scalp: str, rows: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A head's texture against its cheeks, (h, w, 3) linear; where it is the face, (h, w, 1)."""
    grid = uv_grid()
    face = smooth((FACE_RADIUS - np.linalg.norm(grid - FACE_UV, axis=-1)) / 0.035)
    mixed = sum(wt * relative_skin(r) for r, wt in zip(rows, weights, strict=True))
    # Mixing blurs: pores and brows come from the head that counts most.
    mixed = cv2.GaussianBlur(mixed, (0, 0), 3) * _pores(rows[0])
    # Hair that hangs into a forehead gives way to skin.
    fringe = smooth((0.62 - mixed.mean(-1)) / 0.2) * smooth((0.165 - grid[..., 1]) / 0.02)
    face = (face * (1 - fringe))[..., None]
    relative = relative_skin(bank().index(scalp)) * (1 - face) + mixed * face
    # Collars have left their colours on necks.
    low = smooth((-0.045 - head_places()[..., 1]) / 0.02) * (grid[..., 0] > 0.09)
    even = relative.mean(-1, keepdims=True) / _neck(scalp).mean()
    even = _neck(scalp) * np.clip(even, 0.82, 1.08)
    return relative + low[..., None] * (even - relative), face


def _relief(
    rows: np.ndarray,
    weights: np.ndarray,
    face: np.ndarray,
    height: np.ndarray,
    keep: np.ndarray,
) -> np.ndarray:
    """The normal map of a head, (h, w, 3) float32 0..255: the donors' own and the marks'."""
    heads = bank()
    own = sum(wt * heads.reliefs[r].astype(np.float32) for r, wt in zip(rows, weights, strict=True))
    flat = heads.reliefs[heads.index(SCALPS["tan"][0])].astype(np.float32)
    own = flat * (1 - face) + own * face
    own[..., :2] = 128 + keep[..., None] * (own[..., :2] - 128)
    slope_y, slope_x = np.gradient(height)
    own[..., 0] -= 127 * np.clip(slope_x, -1.2, 1.2)
    own[..., 1] += 127 * np.clip(slope_y, -1.2, 1.2)
    return own


@lru_cache(maxsize=1)
def _head_labels() -> np.ndarray:
    """Which part each texel of a head is, (h, w) uint8 of PARTS."""
    grid = uv_grid()
    u, v = grid[..., 0], grid[..., 1]
    head = np.full(u.shape, PART["face"], np.uint8)
    jaw = 0.475 - 0.12 * (np.abs(u - 0.325) / 0.2) ** 2
    head[v > jaw] = PART["neck"]
    head[(u < 0.085) & (v > 0.3)] = PART["neck"]
    head[((u - 0.325) / 0.066) ** 2 + ((v - 0.355) / 0.024) ** 2 < 1] = PART["mouth"]
    near = np.abs(np.abs(u - 0.325) - 0.067) < 0.045
    head[(bank().hair > 0.3) & (v > 0.155) & (v < 0.202) & near] = PART["brows"]
    return head


def _labels(cloth: np.ndarray) -> np.ndarray:
    """Which part each texel is, (1024, 1024) uint8 of PARTS."""
    labels = np.full((TEXTURE_PX, TEXTURE_PX), PART["neck"], np.uint8)
    head = _head_labels()
    h, w = head.shape
    labels[:h, :w] = head
    labels[cloth > 0.5] = PART["clothes"]
    return labels
