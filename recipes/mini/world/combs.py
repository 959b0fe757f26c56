"""Combs: which way hair lies at each place about a head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .strands import unit

if TYPE_CHECKING:
    from .people import Head


@dataclass(frozen=True)
class Form:
    """Where combs find their way on a head."""

    scale: float  # of the head against the bank's mean
    crown: np.ndarray  # (3,) where the whorl is
    parting: float  # metres from the middle, to the person's left
    tie: np.ndarray  # (3,) where tied hair is held
    behind: float  # 0..1: how much of long hair lies behind the shoulders


def head_scale(head: Head) -> float:
    """The size of a head against the bank's mean."""
    return float(head.landmarks["head_top"][1] - head.landmarks["chin"][1]) / 0.238


Comb = Callable[[np.ndarray, Form], np.ndarray]


def smooth(t: np.ndarray) -> np.ndarray:
    """A soft step from 0 to 1."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def side(points: np.ndarray, form: Form) -> np.ndarray:
    """How much a point is at the side or the back and not on top, (s, 1) 0..1."""
    return smooth((0.150 * form.scale - points[:, 1:2]) / (0.035 * form.scale))


def whorl(points: np.ndarray, form: Form) -> np.ndarray:
    """Short hair as it grows, about the crown."""
    away = points - form.crown
    around = np.cross(away, (0, 1, 0.6))
    return unit(unit(away) + 0.45 * unit(around)) + (0, -0.35, 0.15)


def parted(points: np.ndarray, form: Form) -> np.ndarray:
    """To both sides of a parting."""
    left = np.tanh((points[:, :1] - form.parting) / 0.004)
    top = unit(left * (1, 0.15, -0.35) + (0, 0, -0.12))
    down = np.array([0, -1, -0.35])
    return top + side(points, form) * (down - top)


def back(points: np.ndarray, form: Form) -> np.ndarray:
    """Brushed back."""
    top = unit(np.array([0, 0.12, -1]) + points * (1.5, 0, 0))
    down = np.array([0, -0.75, -0.8])
    return top + side(points, form) * (down - top)


def forward(points: np.ndarray, form: Form) -> np.ndarray:
    """Into the forehead, a little to one side."""
    sweep = 0.5 if form.parting > 0 else -0.5
    top = unit(np.array([sweep, -0.15, 1]) + points * (1.0, 0, 0))
    down = np.array([0, -1, 0.25])
    behind = smooth((form.crown[2] + 0.01 - points[:, 2:]) / 0.03)
    way = top + side(points, form) * (down - top)
    return way + behind * (np.array([0, -1, -0.3]) - way)


def out(points: np.ndarray, form: Form) -> np.ndarray:
    """Away from the head on all sides."""
    middle = np.array([0, 0.085, -0.02]) * form.scale
    return unit(points - middle) + (0, -0.1, 0)


def hanging(points: np.ndarray, form: Form) -> np.ndarray:
    """Long and parted: off the face to the sides, then down over the shoulders."""
    s = form.scale
    x, y, z = points[:, :1], points[:, 1:2], points[:, 2:]
    left = np.tanh((x - form.parting * smooth((y - 0.11 * s) / 0.03)) / 0.005)
    top = unit(left * (1, 0.05, -0.1) + (0, 0, -0.42))
    down = np.array([0, -1, 0]) + left * (0.10, 0, 0)
    way = top + side(points, form) * (down - top)
    # Before the face there is no hair: it goes about the cheeks.
    face = smooth((0.085 * s - np.abs(x)) / 0.03) * smooth((z + 0.005 * s) / 0.03)
    face = face * smooth((0.15 * s - y) / 0.03)
    way = way + face * (left * (1.3, 0, 0) + (0, -0.2, -0.9))
    # On the shoulders it falls to the front or to the back.
    low = smooth((-0.03 - y) / 0.06) * smooth((np.abs(x) - 0.03) / 0.03)
    return way + low * np.array([0, 0, 0.5 - 1.1 * form.behind])


def tied(points: np.ndarray, form: Form) -> np.ndarray:
    """Drawn to one place at the back of the head."""
    return unit(form.tie - points)


def upward(points: np.ndarray, form: Form) -> np.ndarray:
    """On end."""
    z = points[:, 2:] / form.scale
    return np.concatenate([0 * z, np.ones_like(z), 1.2 * (z + 0.03)], 1)


COMBS: dict[str, Comb] = {
    "whorl": whorl, "parted": parted, "back": back, "forward": forward, "out": out,
    "hanging": hanging, "tied": tied, "upward": upward,
}  # fmt: skip
