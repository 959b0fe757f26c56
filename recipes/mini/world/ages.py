"""Ages as geometry: the faces of children, and what years and dimples do to a face."""

from __future__ import annotations

import numpy as np

from .words import Look

CHILDREN = ("boy", "girl")
BODY_SCALE = {"boy": 0.71, "girl": 0.69, "man": 1.0, "woman": 0.97}  # against the head


def _smooth(t: np.ndarray) -> np.ndarray:
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def _bump(points: np.ndarray, center, radius) -> np.ndarray:
    return np.exp(-(((points - np.asarray(center)) / radius) ** 2).sum(1))


def aged(points: np.ndarray, at: dict[str, np.ndarray], look: Look) -> np.ndarray:
    """How far age and dimples move each point of a head (n, 3), metres."""
    moved = np.zeros_like(points)
    if look.who in CHILDREN:
        moved += _child(points, at)
    elif look.age == "old":
        moved += _old(points, at)
    elif look.age == "young":
        moved += _young(points, at, soft=0.6 if look.who == "man" else 1.0)
    else:
        moved += _adult(points, at, heavy=1.0 if look.who == "man" else 0.6)
    if look.dimples == "yes":
        for side, sign in (("left", 1), ("right", -1)):
            spot = at[f"mouth_{side}"] + (0.015 * sign, 0.003, -0.010)
            moved -= _bump(points, spot, (0.006, 0.009, 0.012))[:, None] * (
                0.0016 * sign, 0.0, 0.0022,
            )  # fmt: skip
    return moved


def _child(points: np.ndarray, at: dict[str, np.ndarray]) -> np.ndarray:
    """About ten years old: low large eyes, a short face, a small nose, a thin neck."""
    x, y, z = points.T
    d = np.zeros_like(points)
    eyes = (at["eye_left"] + at["eye_right"]) / 2
    chin, nose, mouth, top = at["chin"], at["nose"], at["mouth"], at["head_top"][1]
    front = _smooth((z + 0.03) / 0.07)
    # The face below the eyes is a fifth shorter, and it all sits lower on the head.
    below = np.clip(eyes[1] - y, 0, eyes[1] - chin[1] + 0.02)
    fade = _smooth((y - chin[1] + 0.075) / 0.05)
    d[:, 1] += 0.20 * below * front * fade
    sink = _smooth((top - 0.02 - y) / 0.06) * front * fade
    d[:, 1] -= 0.009 * sink
    # A round skull and forehead, a narrow jaw that does not stand out.
    forehead = _bump(points, (0, eyes[1] + 0.065, eyes[2] - 0.01), (0.06, 0.035, 0.05))
    d[:, 2] += 0.006 * forehead
    jaw = _smooth((mouth[1] + 0.01 - y) / 0.04) * _smooth((z + 0.04) / 0.06) * fade
    d[:, 0] -= 0.15 * x * jaw
    d[:, 2] -= 0.007 * _bump(points, chin, (0.03, 0.022, 0.04))
    for side, sign in (("left", 1), ("right", -1)):
        cheek = at[f"cheek_{side}"] + (-0.004 * sign, -0.004, 0.004)
        d += _bump(points, cheek, (0.022, 0.022, 0.03))[:, None] * (0.0015 * sign, 0, 0.0055)
        eye = at[f"eye_{side}"]
        about = _bump(points, eye + (0, 0, 0.008), (0.024, 0.019, 0.03))[:, None]
        d += about * 0.17 * (points - eye) * (1, 1.1, 0.5)
        brow = _bump(points, at[f"brow_{side}"], (0.03, 0.012, 0.02))
        d[:, 2] -= 0.003 * brow  # no ridge
        corner = _bump(points, at[f"mouth_{side}"], (0.014, 0.012, 0.02))
        d[:, 0] -= 0.0035 * sign * corner
    about = _bump(points, nose, (0.019, 0.019, 0.026))
    d[:, 0] -= 0.20 * about * x
    d[:, 1] += 0.0035 * about
    d[:, 2] -= 0.0065 * about
    bridge = _bump(points, (at["bridge"] + nose) / 2, (0.011, 0.018, 0.02))
    d[:, 2] -= 0.0045 * bridge
    lips = _bump(points, mouth, (0.018, 0.010, 0.02))
    d[:, 1] += 0.12 * lips * (y - mouth[1])
    # A neck as thin as the body asks.
    neck = _smooth((-0.045 - y) / 0.05) * _smooth((0.06 - z) / 0.03)
    d[:, 0] -= 0.22 * neck * x
    d[:, 2] -= 0.20 * neck * (z + 0.03)
    return d


def _young(points: np.ndarray, at: dict[str, np.ndarray], soft: float) -> np.ndarray:
    """About twenty: full cheeks and lips, larger eyes, no ridge, a soft jaw (`soft`, 0..1)."""
    x, y, z = points.T
    d = np.zeros_like(points)
    mouth, nose, chin = at["mouth"], at["nose"], at["chin"]
    for side, sign in (("left", 1), ("right", -1)):
        cheek = at[f"cheek_{side}"] + (-0.002 * sign, -0.006, 0.002)
        d += _bump(points, cheek, (0.022, 0.022, 0.03))[:, None] * (0.0016 * sign, 0, 0.0040)
        eye = at[f"eye_{side}"]
        about = _bump(points, eye + (0, 0, 0.008), (0.024, 0.019, 0.03))[:, None]
        d += about * 0.085 * (points - eye) * (1, 1.25, 0.5)
        brow = _bump(points, at[f"brow_{side}"], (0.03, 0.012, 0.02))
        d += brow[:, None] * (0, 0.0012, -0.0022)
    jaw = _smooth((mouth[1] + 0.005 - y) / 0.04) * _smooth((z + 0.03) / 0.06)
    jaw = jaw * _smooth((y - chin[1] + 0.05) / 0.04)
    d[:, 0] -= 0.075 * soft * x * jaw
    d[:, 1] += 0.004 * soft * _bump(points, chin, (0.035, 0.025, 0.04))
    lips = _bump(points, mouth, (0.024, 0.010, 0.02))
    d[:, 1] += (0.10 + 0.10 * soft) * lips * (y - mouth[1])
    d[:, 2] += 0.0014 * lips
    about = _bump(points, nose, (0.019, 0.019, 0.026))
    d[:, 0] -= 0.08 * about * x
    d[:, 1] += 0.0010 * about
    return d


def _adult(points: np.ndarray, at: dict[str, np.ndarray], heavy: float) -> np.ndarray:
    """About forty: leaner cheeks, folds and bags begin, ridge and jaw stand out (`heavy`, 0..1)."""
    x, y, z = points.T
    d = np.zeros_like(points)
    mouth, chin = at["mouth"], at["chin"]
    for side, sign in (("left", 1), ("right", -1)):
        cheek, corner, eye = at[f"cheek_{side}"], at[f"mouth_{side}"], at[f"eye_{side}"]
        hollow = _bump(points, cheek + (0.008 * sign, -0.012, -0.006), (0.016, 0.018, 0.03))
        d -= hollow[:, None] * (0.0022 * sign, 0, 0.0020)
        fold = _bump(points, corner + (0.010 * sign, 0.012, -0.004), (0.011, 0.013, 0.02))
        d += fold[:, None] * (0.0010 * sign, -0.0012, 0.0016)
        jowl = _bump(points, corner + (0.014 * sign, -0.030, -0.022), (0.016, 0.014, 0.022))
        d += jowl[:, None] * (0.0022 * sign, -0.0018, 0.0010)
        bag = _bump(points, eye + (0.002 * sign, -0.016, 0.010), (0.013, 0.0055, 0.02))
        d += bag[:, None] * (0, -0.0004, 0.0014)
        lid = _bump(points, eye + (0.012 * sign, 0.010, 0.006), (0.011, 0.006, 0.02))
        d[:, 1] -= 0.0010 * lid
        brow = _bump(points, at[f"brow_{side}"], (0.03, 0.011, 0.02))
        d += brow[:, None] * (0, -0.0010, 0.0022 * heavy)
    jaw = _smooth((mouth[1] - 0.005 - y) / 0.03) * _smooth((z + 0.03) / 0.06)
    jaw = jaw * _smooth((y - chin[1] + 0.05) / 0.04)
    d[:, 0] += 0.045 * heavy * x * jaw
    lips = _bump(points, mouth, (0.024, 0.009, 0.02))
    d[:, 1] -= 0.14 * lips * (y - mouth[1])
    d[:, 2] -= 0.0010 * lips
    return d


def _old(points: np.ndarray, at: dict[str, np.ndarray]) -> np.ndarray:
    """About seventy: cheeks sink and hang, lids and brows droop, lips thin, nose and ears grow."""
    y = points[:, 1]
    d = np.zeros_like(points)
    nose, mouth, chin = at["nose"], at["mouth"], at["chin"]
    for side, sign in (("left", 1), ("right", -1)):
        cheek, corner, eye = at[f"cheek_{side}"], at[f"mouth_{side}"], at[f"eye_{side}"]
        hollow = _bump(points, cheek + (0.008 * sign, -0.010, -0.006), (0.016, 0.018, 0.03))
        d -= hollow[:, None] * (0.0035 * sign, 0, 0.0030)
        jowl = _bump(points, corner + (0.014 * sign, -0.030, -0.022), (0.016, 0.014, 0.022))
        d += jowl[:, None] * (0.0048 * sign, -0.0050, 0.0022)
        fold = _bump(points, corner + (0.010 * sign, 0.012, -0.004), (0.011, 0.013, 0.02))
        d += fold[:, None] * (0.0012 * sign, -0.0020, 0.0020)
        d[:, 1] -= 0.0022 * _bump(points, corner, (0.012, 0.008, 0.02))
        bag = _bump(points, eye + (0.002 * sign, -0.016, 0.010), (0.013, 0.0055, 0.02))
        d += bag[:, None] * (0, -0.0008, 0.0020)
        lid = _bump(points, eye + (0.012 * sign, 0.010, 0.006), (0.011, 0.006, 0.02))
        d[:, 1] -= 0.0022 * lid
        brow = _bump(points, at[f"brow_{side}"] + (0.008 * sign, 0, 0), (0.022, 0.009, 0.02))
        d[:, 1] -= 0.0028 * brow
        ear = at[f"ear_{side}"]
        d += 0.12 * _bump(points, ear, (0.024, 0.05, 0.04))[:, None] * (points - ear) * (1, 1.2, 1)
    about = _bump(points, nose, (0.017, 0.017, 0.025))[:, None]
    d += about * (0, -0.0030, 0.0012)
    lips = _bump(points, mouth, (0.024, 0.009, 0.02))
    d[:, 1] -= 0.30 * lips * (y - mouth[1])
    d[:, 2] -= 0.0022 * lips
    under = _bump(points, chin + (0, -0.022, -0.030), (0.022, 0.014, 0.02))
    d += under[:, None] * (0, -0.0045, 0.0015)
    return d
