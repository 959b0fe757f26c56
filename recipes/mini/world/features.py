"""Features of a face moved on purpose: fields of displacement about landmarks; eyes painted."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .ages import aged
from .cuts import texel_positions
from .heads import TEXTURE_PX, bank

if TYPE_CHECKING:
    from .people import Person
    from .words import Look

# Where landmarks lie in the texture of every head, (u, v).
SPOTS = {
    "nose": (0.325, 0.285), "bridge": (0.325, 0.215), "chin": (0.325, 0.448),
    "mouth": (0.325, 0.355), "mouth_right": (0.262, 0.357), "mouth_left": (0.388, 0.357),
    "cheek_right": (0.235, 0.33), "cheek_left": (0.415, 0.33),
    "jaw_right": (0.19, 0.40), "jaw_left": (0.46, 0.40),
    "brow_right": (0.258, 0.18), "brow_left": (0.392, 0.18),
    "head_top": (0.325, 0.012),
}  # fmt: skip


@lru_cache(maxsize=1)
def spots() -> dict[str, int]:
    """The bank's point nearest each landmark, and the outermost of the ears."""
    uv = bank().uv
    found = {n: int(np.linalg.norm(uv - at, axis=1).argmin()) for n, at in SPOTS.items()}
    mean = bank().shapes.mean(0)
    level = np.abs(mean[:, 1] - 0.05) < 0.04
    found["ear_left"] = int(np.where(level, mean[:, 0], -1).argmax())
    found["ear_right"] = int(np.where(level, -mean[:, 0], -1).argmax())
    found["head_top"] = int(mean[:, 1].argmax())
    return found


def landmarks(points: np.ndarray, eyes: np.ndarray) -> dict[str, np.ndarray]:
    """Landmarks of a head, points (n, 3) and eyes (2, 3): name -> (3,)."""
    named = {name: points[i] for name, i in spots().items()}
    return named | {"eye_left": eyes[0], "eye_right": eyes[1]}


def move(
    points: np.ndarray, small: dict[str, np.ndarray], person: Person, look: Look
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Move the features of a head by a person's numbers: its points and its small meshes."""
    eyes = np.stack([small["h_L_eye"].mean(0), small["h_R_eye"].mean(0)])
    at = landmarks(points, eyes)
    names = list(small)
    sizes = np.cumsum([len(points), *(len(small[n]) for n in names)])
    every = np.concatenate([points, *(small[n] for n in names)])
    moved = every + displacement(every, at, person, look)
    parts = np.split(moved, sizes[:-1])
    return parts[0], dict(zip(names, parts[1:], strict=True))


def _near(points: np.ndarray, center: np.ndarray, radius) -> np.ndarray:
    """A bump of 1 at the centre, (n, 1); radius in metres, of each axis or one."""
    return np.exp(-(((points - center) / radius) ** 2).sum(1))[:, None]


# How far a style moves a face: eyes grow, noses shrink, the jaw tapers.
STYLED = {"animated": 0.34, "anime": 0.24}


def displacement(
    points: np.ndarray, at: dict[str, np.ndarray], person: Person, look: Look
) -> np.ndarray:
    """How far each point moves, (n, 3) metres."""
    p = person
    x, y, z = points.T
    d = np.zeros_like(points)
    chin, nose, mouth = at["chin"], at["nose"], at["mouth"]
    # Width and length of the whole head, about its middle.
    head = np.clip((y - chin[1] + 0.03) / 0.05, 0, 1)[:, None]
    d[:, 0:1] += 0.045 * p.face_width * x[:, None] * head
    d[:, 1:2] += 0.035 * p.face_length * (y[:, None] - 0.03) * head
    # The lower face.
    lower = np.clip((mouth[1] + 0.02 - y) / 0.05, 0, 1) * np.clip((y - chin[1] + 0.05) / 0.03, 0, 1)
    front = np.clip((z - 0.0) / 0.05, 0, 1)
    strong = 0.0 if look.jawline == "no" else 0.6 if look.who in ("boy", "girl") else 1.0
    styled = STYLED.get(look.style, 0.0)
    square = (0.07 * (p.jaw + strong) - 0.22 * styled) * x
    d[:, 0] += square * lower * front
    bump = _near(points, chin, (0.022, 0.020, 0.03))
    d += bump * np.array([0, -0.0045 * p.chin, 0.0015 * p.chin + 0.003 * strong])
    for side in ("left", "right"):
        sign = 1 if side == "left" else -1
        cheek = _near(points, at[f"cheek_{side}"], (0.024, 0.026, 0.03))
        full = p.cheeks - 0.5 * strong
        d += cheek * np.array([0.0035 * sign * full, 0, 0.0028 * full])
        corner = _near(points, at[f"jaw_{side}"], (0.02, 0.022, 0.03))
        d += corner * np.array([0.0045 * sign * strong, -0.002 * strong, 0.002 * strong])
        eye = at[f"eye_{side}"]
        about = _near(points, eye + (0, 0, 0.008), (0.021, 0.016, 0.03))
        grow = 0.10 * p.eye_size + 1.1 * styled
        d += about * grow * (points - eye) * (1, 1, 0.6)
        d += about * np.array([0.0022 * sign * p.eye_spacing, 0, 0])
        d[:, 1] += about[:, 0] * 0.10 * p.eye_slant * sign * (x - eye[0])
        brow = _near(points, at[f"brow_{side}"], (0.026, 0.008, 0.02))
        d[:, 1] += 0.0030 * p.brow_height * brow[:, 0]
        corner = _near(points, at[f"mouth_{side}"], (0.012, 0.010, 0.02))
        d[:, 0] += 0.0036 * sign * p.mouth_width * corner[:, 0]
        ear = _near(points, at[f"ear_{side}"], (0.022, 0.045, 0.04))
        away = points - (at[f"ear_{side}"] - (0.012 * sign, 0, 0))
        d += 0.20 * p.ear_size * ear * away * (1.2, 1, 1)
    # The nose.
    about = _near(points, nose, (0.016, 0.016, 0.024))
    d[:, 0] += about[:, 0] * (0.22 * p.nose_width - 0.5 * styled) * (x - nose[0])
    d[:, 2] -= about[:, 0] * 0.012 * styled
    d += about * np.array([0, -0.0032 * p.nose_length, 0.0018 * p.nose_length])
    d[:, 2] += (
        0.0022
        * p.nose_bridge
        * _near(points, (at["bridge"] + nose) / 2, (0.009, 0.011, 0.02))[:, 0]
    )
    lips = _near(points, mouth, (0.024, 0.010, 0.02))
    d[:, 1] += 0.28 * p.lip_fullness * lips[:, 0] * (y - mouth[1])
    d[:, 2] += 0.0012 * p.lip_fullness * lips[:, 0]
    return d + aged(points, at, look)


# sRGB from dark brown over green to blue.
IRIS = ((40, 23, 14), (84, 52, 25), (88, 90, 50), (84, 104, 104), (64, 104, 150))
EYE_UV = ((0.1425, 0.0575), (0.5095, 0.0575))


def paint_eyes(color: np.ndarray, person: Person, look: Look) -> None:
    """Give the irises of a body's texture (1024, 1024, 3) float32 their colour, in place."""
    position = (person.eye_color + 1) / 2
    if look.skin in ("indian", "dark"):
        position *= 0.22
    steps = np.linspace(0, 1, len(IRIS))
    iris = np.array([np.interp(position, steps, [c[k] for c in IRIS]) for k in range(3)])
    for u, v in EYE_UV:
        x, y, r = int(u * TEXTURE_PX), int(v * TEXTURE_PX), int(0.056 * TEXTURE_PX)
        patch = color[y - r : y + r, x - r : x + r]
        yy, xx = np.mgrid[-r:r, -r:r] / TEXTURE_PX
        away = np.hypot(xx, yy)
        value = patch.mean(-1, keepdims=True)
        ring = np.clip((0.0215 - away) / 0.003, 0, 1) * np.clip((away - 0.0075) / 0.002, 0, 1)
        texture = np.clip(value / 80, 0.45, 1.5)
        texture *= 1 - 0.45 * np.clip((away - 0.017) / 0.004, 0, 1)[..., None]  # the dark rim
        white = np.clip((away - 0.021) / 0.004, 0, 1)[..., None]
        white = white * np.clip((0.054 - away) / 0.002, 0, 1)[..., None]  # beyond lies the scalp
        calm = patch * 0.35 + 0.65 * np.array([226, 222, 218]) * np.clip(value / 190, 0.6, 1.05)
        patch[:] = patch * (1 - white) + calm * white
        patch[:] = patch * (1 - ring[..., None]) + iris * texture * ring[..., None]
        # The upper lid throws its shadow on the eye.
        inside = np.clip((0.054 - away) / 0.002, 0, 1)
        patch *= 1 - (0.5 * inside * np.clip((-0.004 - yy) / 0.016, 0, 1))[..., None]
        cv2.GaussianBlur(patch, (0, 0), 0.6, patch)


@lru_cache(maxsize=1)
def _teeth() -> np.ndarray:
    """Which texels are of teeth and gums, flat indices."""
    heads, mask = bank(), np.zeros((TEXTURE_PX, TEXTURE_PX), bool)
    for name in ("h_TeethUp", "h_TeethDown"):
        mask |= texel_positions(
            heads.small_uv[name], heads.small_triangles[name], heads.small[name][0]
        )[1]
    return np.flatnonzero(mask)


def paint_teeth(color: np.ndarray, person: Person) -> None:
    """Make the teeth of a body's texture (1024, 1024, 3) float32 a natural white, in place."""
    teeth = color.reshape(-1, 3)[_teeth()]
    enamel = np.clip((teeth[:, 1] - 130) / 40, 0, 1) * np.clip(
        (70 - teeth[:, 0] + teeth[:, 2]) / 25, 0, 1
    )
    shade = np.array([1.0, 0.95, 0.865]) * (1 + 0.03 * np.sin(person.seed))
    white = np.clip(teeth.mean(1, keepdims=True) * 1.16, 0, 246) * shade
    color.reshape(-1, 3)[_teeth()] = teeth + enamel[:, None] * (white - teeth)
