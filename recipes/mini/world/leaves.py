"""Leaves of flat shapes: plain ones, palm fronds and monsteras."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas, Color, mixed


def placed(shape: np.ndarray, x: float, y: float, angle: float, scale: float) -> np.ndarray:
    """A shape along +x turned by `angle` (radians, clockwise on the picture) and put to x, y."""
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return shape * scale @ turn + (x, y)


def leaf_shape(width: float, bend: float = 0.0, count: int = 14) -> np.ndarray:
    """A pointed leaf of length 1 from the origin along +x."""
    t = np.linspace(0, 1, count)
    half = width * np.sin(np.pi * t**0.8) ** 0.9
    middle = bend * t**2
    upper, lower = np.stack([t, middle - half], 1), np.stack([t, middle + half], 1)
    return np.concatenate([upper, lower[::-1]])


def leaf(
    canvas: Canvas,
    place: tuple[float, float, float, float],
    color: Color,
    width: float = 0.22,
    bend: float = 0.1,
) -> None:
    """A leaf with a darker half and a pale midrib; place: x, y, angle, length."""
    shape = leaf_shape(width, bend)
    canvas.fill(placed(shape, *place), color)
    t = np.linspace(0, 1, 14)
    rib = np.stack([t, bend * t**2], 1)
    canvas.fill(placed(np.concatenate([rib, shape[14:]]), *place), mixed(color, (0, 20, 20), 0.28))
    canvas.line(placed(rib, *place), mixed(color, (230, 255, 190), 0.35), place[3] * 0.018)


def frond(canvas: Canvas, place: tuple[float, float, float, float], color: Color) -> None:
    """A palm frond: an arching spine with narrow leaflets on both sides; x, y, angle, length."""
    x, y, angle, length = place
    droop = 0.9 if np.cos(angle) >= 0 else -0.9
    t = np.linspace(0.08, 1, 20)
    headings = angle + droop * t**1.5 * 0.9
    steps = np.stack([np.cos(headings), np.sin(headings)], 1) * length / 20
    spine = np.cumsum(steps, 0) + (x, y)
    for side in (-1, 1):
        for i in range(1, 20):
            size = length * 0.42 * np.sin(np.pi * (0.12 + 0.85 * t[i])) ** 0.7
            tip = headings[i] + side * (1.05 - 0.55 * t[i])
            tone = mixed(color, (0, 25, 25), 0.30 if side * droop > 0 else 0.0)
            shape = placed(leaf_shape(0.055, 0.12 * side, 7), spine[i, 0], spine[i, 1], tip, size)
            canvas.fill(shape, tone)
    canvas.line(spine, mixed(color, (220, 230, 150), 0.4), length * 0.016)


def monstera(canvas: Canvas, place: tuple[float, float, float, float], color: Color) -> None:
    """A large heart-shaped leaf cut to fingers; place: x, y of the stalk, angle, length."""
    theta = np.linspace(-np.pi, np.pi, 160)
    radius = 0.5 * (1 + 0.25 * np.cos(theta)) * (1 - 0.35 * (np.abs(theta) > 2.6))
    cuts = 0.5 + 0.5 * np.cos(np.abs(theta) * 7.0 + 0.6)
    radius *= 1 - 0.55 * np.clip(cuts - 0.72, 0, 1) / 0.28 * (np.abs(theta) > 0.35)
    outline = np.stack([0.5 + radius * np.cos(theta), 0.95 * radius * np.sin(theta)], 1)
    canvas.fill(placed(outline, *place), color)
    dark = outline[theta >= 0]
    canvas.fill(placed(dark, *place), mixed(color, (0, 20, 25), 0.25))
    pale = mixed(color, (220, 255, 180), 0.4)
    canvas.line(placed(np.array([[0.0, 0], [1.05, 0]]), *place), pale, place[3] * 0.02)
    for side in (-1, 1):
        for start in (0.25, 0.45, 0.65):
            vein = np.array([[start, 0], [start + 0.22, side * 0.33]])
            canvas.line(placed(vein, *place), mixed(color, pale, 0.6), place[3] * 0.01)
