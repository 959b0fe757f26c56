"""Glasses: rims, bridge, temples and lenses, on a nose, before eyes and behind ears."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .heads import bank
from .strands import unit
from .surface import GLASS, HARD, PART, Material, Surface, welds

if TYPE_CHECKING:
    from .people import Head, Person
    from .words import Look


@dataclass(frozen=True)
class Frame:
    """A form of glasses; lengths in metres, for eyes 63 mm apart."""

    half_width: float  # of a lens
    half_height: float
    square: float  # 2 an ellipse, more: a rounded rectangle
    droop: float  # how much lower the outer half hangs, as aviators do
    thick: float  # of the rim, seen from before
    deep: float  # of the rim, from front to back


FRAMES = (
    Frame(0.0240, 0.0230, 2.0, 0.0, 0.0019, 0.0020),  # round, wire
    Frame(0.0246, 0.0232, 2.3, 0.0, 0.0036, 0.0036),  # round, plastic
    Frame(0.0276, 0.0182, 4.5, 0.0, 0.0020, 0.0020),  # rectangular, wire
    Frame(0.0276, 0.0200, 4.0, 0.0, 0.0042, 0.0040),  # rectangular, plastic
    Frame(0.0284, 0.0230, 2.7, 0.28, 0.0018, 0.0018),  # aviator
    Frame(0.0272, 0.0212, 3.2, -0.10, 0.0038, 0.0036),  # like a cat's eyes, plastic
)
# sRGB, roughness and strength of the highlight.
PLASTIC = (
    ((18, 17, 18), 0.22, 0.9), ((20, 18, 18), 0.25, 0.9), ((58, 34, 20), 0.25, 0.9),
    ((28, 34, 62), 0.25, 0.9), ((96, 20, 26), 0.25, 0.9), ((92, 88, 84), 0.3, 0.8),
)  # fmt: skip
METAL = (
    ((190, 158, 98), 0.25, 3.0), ((168, 170, 174), 0.22, 3.0), ((44, 44, 48), 0.3, 2.0),
    ((34, 34, 36), 0.3, 2.0), ((196, 150, 132), 0.25, 3.0),
)  # fmt: skip
ROUND = 44  # points about a lens


def wear(person: Person, look: Look, head: Head) -> list[Surface]:
    """The surfaces of a person's glasses, none where there are none."""
    if look.glasses == "no":
        return []
    rng = np.random.default_rng((person.seed, 9))
    frame = FRAMES[int(rng.integers(len(FRAMES)))]
    choices = PLASTIC if frame.thick > 0.002 else METAL
    color, roughness, specular = choices[int(rng.integers(len(choices)))]
    pieces, lenses = _pieces(frame, head, rng.uniform(-0.002, 0.001))
    paint = np.full((1, 1, 3), color, np.uint8)
    rim = Material(HARD, paint, labels=PART["glasses"], roughness=roughness, specular=specular)
    tint = np.array([[[70, 78, 84]]], np.uint8)
    glass = Material(GLASS, tint, labels=PART["glasses"], opacity=float(rng.choice((0.05, 0.10))))
    return [
        _surface("glasses", *_joined(pieces), rim),
        _surface("lenses", *_joined(lenses), glass),
    ]


def studs(person: Person, look: Look, head: Head) -> list[Surface]:
    """Metal balls in the ears of punks."""
    if look.punk == "no":
        return []
    rng = np.random.default_rng((person.seed, 10))
    color, roughness, specular = METAL[int(rng.integers(3))]
    paint = np.full((1, 1, 3), color, np.uint8)
    metal = Material(HARD, paint, labels=PART["face"], roughness=roughness, specular=specular)
    balls = []
    for sign, name in ((1, "ear_left"), (-1, "ear_right")):
        ear, points = head.landmarks[name], head.points
        near = points[bank().head > 0.9]  # the bank's points include hands
        near = near[(sign * near[:, 0] > abs(ear[0]) - 0.020) & (near[:, 1] < ear[1])]
        near = near[np.abs(near[:, 2] - ear[2] - 0.008) < 0.02]
        lobe = near[near[:, 1].argmin()] + (0, 0.006, 0)
        for i in range(int(rng.integers(1, 4))):
            at = lobe + (sign * 0.001 * (1 + i), 0.0085 * i, -0.004 * i)
            close = np.abs(points - at)[:, 1:].max(1) < 0.004
            close &= np.abs(points[:, 0] - at[0]) < 0.02
            if close.any():
                at[0] = sign * (sign * points[close, 0]).max()
            turn = np.linspace(-1, 1, 9)[:, None] * (0, 0, 1)
            course = at + 0.0028 * turn
            balls.append(_tube(course, 0.0, 0.0, bulge=0.0028))
    return [_surface("studs", *_joined(balls), metal)]


def _surface(name: str, points: np.ndarray, triangles: np.ndarray, material: Material) -> Surface:
    ones = np.ones(len(points), np.float32)
    points = points.astype(np.float32)
    uv = np.zeros((len(points), 2), np.float32)
    return Surface(
        name, points, uv, triangles.astype(np.int32), ones, 0 * ones, material, welds(points)
    )


def _joined(pieces: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    starts = np.cumsum([0, *(len(p) for p, _ in pieces)])
    triangles = [t + s for (_, t), s in zip(pieces, starts, strict=False)]
    return np.concatenate([p for p, _ in pieces]), np.concatenate(triangles)


def _outline(frame: Frame, sign: int) -> np.ndarray:
    """The edge of a lens about its middle, (ROUND, 2): x towards the person's left, y up."""
    angle = np.linspace(0, 2 * np.pi, ROUND, endpoint=False)
    c, s = np.cos(angle), np.sin(angle)
    radius = (np.abs(c) ** frame.square + np.abs(s) ** frame.square) ** (-1 / frame.square)
    x, y = frame.half_width * radius * c, frame.half_height * radius * s
    # The nose takes a corner of every lens; aviators hang lower outside.
    lower = np.clip(-y / frame.half_height, 0, 1)
    x += 0.0022 * lower * np.clip(-x / frame.half_width, 0, 1)
    y -= frame.droop * frame.half_height * lower * np.clip(x / frame.half_width + 0.4, 0, 1)
    return np.stack([sign * x, y], 1)


def _pieces(frame: Frame, head: Head, lower: float) -> tuple[list, list]:
    """Rims, bridge and temples as tubes; lenses as fans."""
    marks, points = head.landmarks, head.points
    eyes = {+1: marks["eye_left"], -1: marks["eye_right"]}
    scale = (eyes[1][0] - eyes[-1][0]) / 0.063
    size = 0.95 * float(np.clip(scale, 0.94, 1.3))
    level = (eyes[1][1] + eyes[-1][1]) / 2 - 0.002 + lower
    # Before the lashes, the bridge of the nose and the cheeks.
    near = np.abs(points[:, 0]) < 0.060 * size
    near &= np.abs(points[:, 1] - level) < 0.018
    eyes_z = max(eyes[1][2], eyes[-1][2])
    cheek = np.abs(np.abs(points[:, 0]) - 0.033) < 0.02
    nose = np.abs(points[:, 0]) < 0.006
    beside = near & cheek & (points[:, 2] > 0.03)
    front = max(
        eyes_z + 0.0205,
        points[beside, 2].max() + 0.0025,
        points[near & nose & (np.abs(points[:, 1] - level - 0.004) < 0.004), 2].max() - 0.001,
    )
    bend, tilt = 1.6, 0.10  # the front is curved about the face, and leans towards the cheeks

    def placed(flat: np.ndarray) -> np.ndarray:
        x, y = flat[:, 0], flat[:, 1]
        return np.stack([x, level + y, front - bend * x**2 + tilt * y], 1)

    pieces, lenses = [], []
    gap = max(eyes[1][0] - eyes[-1][0], 2 * (frame.half_width * size + 0.0085)) / 2
    for sign in (1, -1):
        outline = _outline(frame, sign) * size + (sign * gap, 0)
        ring = placed(outline)
        pieces.append(_tube(ring, frame.thick * size, frame.deep, closed=True))
        lenses.append(_fan(ring))
        outer = outline[np.argmax(sign * outline[:, 0])]
        hinge = placed(np.array([[outer[0], outline[:, 1].max() * 0.55]]))[0]
        pieces.append(
            _tube(_temple(hinge, head, sign), frame.thick * 0.8, 0.8 * frame.deep + 0.001)
        )
    inner = gap - frame.half_width * size * 0.93
    x = np.linspace(-inner, inner, 9)
    high = 0.35 * frame.half_height * size
    arch = placed(np.stack([x, high + 0.0022 * (1 - (x / inner) ** 2)], 1))
    pieces.append(_tube(arch, frame.thick * 0.95, frame.deep))
    if frame.droop > 0.1:
        arch = placed(np.stack([1.5 * x, frame.half_height * size * 0.93 + 0 * x], 1))
        pieces.append(_tube(arch, frame.thick * 0.8, frame.deep))
    return pieces, lenses


def _temple(hinge: np.ndarray, head: Head, sign: int) -> np.ndarray:
    """The course of a temple, (k, 3): outside the head, over the ear and down behind it."""
    ear = head.landmarks["ear_left" if sign > 0 else "ear_right"]
    points = head.points
    root = points[(sign * points[:, 0] > 0.05) & (np.abs(points[:, 2] - ear[2] - 0.012) < 0.008)]
    top = ear[1] + 0.012
    level = root[np.abs(root[:, 1] - top - 0.012) < 0.006]
    width = sign * (np.abs(level[:, 0]).min() if len(level) else abs(ear[0]) - 0.012)
    over = np.array([width + sign * 0.003, top, ear[2] + 0.012])
    corner = hinge + (sign * 0.0035, 0, -0.004)
    straight = [corner + (over - corner) * t for t in np.linspace(0, 1, 7)]
    behind = [over + (0, -0.006, -0.016), over + (-sign * 0.003, -0.024, -0.028)]
    course = np.array([hinge, *straight, *behind])
    # Not through the temples of the head.
    for i in range(1, len(course) - 3):
        close = np.abs(points - course[i])[:, 1:].max(1) < 0.007
        close &= sign * points[:, 0] > 0
        if close.any():
            out = (sign * points[close, 0]).max() + 0.0015
            course[i, 0] = sign * max(sign * course[i, 0], min(out, abs(width) + 0.004))
    return course


def _tube(
    course: np.ndarray,
    thick: float,
    deep: float,
    closed: bool = False,
    sides: int = 8,
    bulge: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """A tube along a course (k, 3): points and triangles. thick across, deep front to back."""
    k = len(course)
    along = (
        np.roll(course, -1, 0) - np.roll(course, 1, 0) if closed else np.gradient(course, axis=0)
    )
    along = unit(along)
    # Across is in the plane of the face where it can be.
    reference = np.where(np.abs(along[:, 2:]) < 0.8, (0.0, 0.0, 1.0), (1.0, 0.0, 0.0))
    depth = unit(reference - along * (along * reference).sum(1, keepdims=True))
    across = np.cross(along, depth)
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False) + np.pi / sides
    c, s = (np.sign(f) * np.abs(f) ** 0.7 for f in (np.cos(angle), np.sin(angle)))
    ring = (
        thick / 2 * c[None, :, None] * across[:, None]
        + deep / 2 * s[None, :, None] * depth[:, None]
    )
    if bulge:
        size = bulge * np.sqrt(np.clip(1 - np.linspace(-1, 1, k) ** 2, 0.003, 1))
        spin = np.cos(angle)[:, None] * (1, 0, 0) + np.sin(angle)[:, None] * (0, 1, 0)
        ring = size[:, None, None] * spin[None]
    points = (course[:, None] + ring).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(k if closed else k - 1), np.arange(sides), indexing="ij")
    a, b = i * sides + j, i * sides + (j + 1) % sides
    e, d = (i + 1) % k * sides + j, (i + 1) % k * sides + (j + 1) % sides
    triangles = np.concatenate(
        [np.stack([a, b, d], -1).reshape(-1, 3), np.stack([a, d, e], -1).reshape(-1, 3)]
    )
    return points, triangles


def _fan(ring: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A lens within its rim, bulging a little: points and triangles."""
    middle = ring.mean(0)
    half = middle + 0.55 * (ring - middle) + (0, 0, 0.0008)
    points = np.concatenate([ring, half, [middle + (0, 0, 0.0012)]])
    i = np.arange(len(ring))
    j, n = (i + 1) % len(ring), len(ring)
    outer = [np.stack([i, j, n + j], 1), np.stack([i, n + j, n + i], 1)]
    return points, np.concatenate([*outer, np.stack([n + i, n + j, np.full(n, 2 * n)], 1)])
