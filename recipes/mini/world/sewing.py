"""What is sewn to a garment or hangs on it: collars, hoods, drawstrings, a stethoscope."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from . import clothes
from .bodies import neighbours, worn
from .cuts import DONORS, everybody
from .surface import CLOTH, HARD, PART, Material, Surface, normals

AROUND = 96  # points of a neckline


@dataclass(frozen=True)
class Edge:
    """A line about the neck, on the body: from the front over the person's left to the front."""

    points: np.ndarray  # (96, 3)
    out: np.ndarray  # (96, 3) unit, away from the body
    up: np.ndarray  # (96, 3) unit, along the body towards the head
    head: np.ndarray  # (96,) how much it moves with the head
    neck: np.ndarray  # (96,)

    @property
    def back(self) -> np.ndarray:
        """0 in front, 1 behind, (96,)."""
        return (1 - np.cos(np.arange(AROUND) * 2 * np.pi / AROUND)) / 2


@lru_cache(maxsize=128)
def common_rest(wearer: str, outfit: str, kind: str, sex: str) -> np.ndarray:
    """Where a body's points lie on the body that the texture of its cut is made on, (n, 3)."""
    donors = DONORS[kind, sex][1] or everybody(sex, outfit)
    first, own = worn(donors[0], outfit), worn(wearer, outfit)
    distance, index = cKDTree(first.uv).query(own.uv)
    return np.where((distance < 2e-3)[:, None], first.rest[index], own.rest)


@lru_cache(maxsize=128)
def _means(wearer: str, outfit: str):
    own = worn(wearer, outfit)
    return neighbours(own.triangles, own.welds)


def thicken(positions: np.ndarray, wearer: tuple[str, str], garment: clothes.Garment) -> np.ndarray:
    """Points of a body (n, 3) where the garment is as thick as fleece; elsewhere as they were."""
    if not garment.fleece:
        return positions
    own, mean = worn(*wearer), _means(*wearer)
    outside = clothes.bare(common_rest(*wearer, garment.kind, garment.sex), garment)
    share = clothes.smooth((-outside - 0.004) / 0.02)[:, None]
    soft = positions
    for _ in range(8):
        soft = soft + share * (0.7 * (mean @ soft - soft))
    out = normals(soft.astype(np.float32), own.triangles, own.welds)
    return soft + 0.007 * share * out


def edge(
    positions: np.ndarray, wearer: tuple[str, str], garment: clothes.Garment, neck: str
) -> Edge:
    """The line on a body, points (n, 3), where a neckline of `clothes.NECKS` runs."""
    own = worn(*wearer)
    rest = common_rest(*wearer, garment.kind, garment.sex)
    height = clothes.neckline(rest, neck)
    height[np.abs(rest[:, 0]) > 0.15] = 1
    pairs = own.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    pairs = pairs[(height[pairs[:, 0]] < 0) != (height[pairs[:, 1]] < 0)]
    pairs = pairs[np.abs(height[pairs]).max(1) < 0.05]
    a, b = height[pairs].T
    t = (a / (a - b))[:, None]
    out = normals(positions.astype(np.float32), own.triangles, own.welds)
    values = np.concatenate([positions, out, own.head[:, None], own.neck[:, None]], 1)
    crossed = values[pairs[:, 0]] * (1 - t) + values[pairs[:, 1]] * t
    middle = crossed[:, 2].mean()
    angle = np.arctan2(crossed[:, 0], crossed[:, 2] - middle) % (2 * np.pi)
    order = np.argsort(angle)
    where = np.arange(AROUND) * 2 * np.pi / AROUND
    line = [np.interp(where, angle[order], c[order], period=2 * np.pi) for c in crossed.T]
    line = gaussian_filter1d(np.stack(line, 1), 1.6, axis=0, mode="wrap")
    along = np.roll(line[:, :3], -1, 0) - np.roll(line[:, :3], 1, 0)
    up = _unit(np.cross(line[:, 3:6], along))
    up *= np.sign((up * (0, 1, 0)).sum(1, keepdims=True) + 1e-9)
    return Edge(line[:, :3], _unit(line[:, 3:6]), up, line[:, 6], line[:, 7])


def _unit(v: np.ndarray) -> np.ndarray:
    return v / (np.linalg.norm(v, axis=1, keepdims=True) + 1e-12)


def sewn(
    positions: np.ndarray, wearer: tuple[str, str], garment: clothes.Garment, seed: int
) -> list[Surface]:
    """The surfaces that belong to a garment beside the body, points (n, 3), that wears it."""
    rng = np.random.default_rng((seed, 8))
    made = []
    if garment.ring in ("band", "rib"):
        made.append(_collar(edge(positions, wearer, garment, garment.neck), garment))
    if garment.ring == "hood":
        line = edge(positions, wearer, garment, "hood")
        made.append(_hood(line, garment, rng))
        if rng.random() < 0.85:
            made += _drawstrings(positions, line, garment, rng)
    if garment.stethoscope and rng.random() < 0.9:
        made.append(_stethoscope(positions, edge(positions, wearer, garment, "scarf"), rng))
    return made


def _collar(line: Edge, garment: clothes.Garment) -> Surface:
    """A ribbed band along a neckline, thin on a shirt, thick on fleece."""
    wide, thick = (0.0065, 0.0022) if garment.ring == "band" else (0.0125, 0.0048)
    turn = np.linspace(-0.55, 1.1, 9) * np.pi
    out, up = thick * np.cos(turn) - 0.0006, wide * np.sin(turn)
    rings = line.points[:, None] + out[:, None] * line.out[:, None] + up[:, None] * line.up[:, None]
    trim = garment.colors[1] if garment.pattern in ("ringer", "raglan") else garment.colors[0]
    return _swept("collar", rings, line, _ribbed(trim), repeat=100)


def _surface(name: str, rings: np.ndarray, uv: np.ndarray, weights, material: Material) -> Surface:
    """A surface through rings (m, k, 3), each joined with the next; weights: two of (m,)."""
    m, k, _ = rings.shape
    i, j = np.meshgrid(np.arange(m - 1), np.arange(k - 1), indexing="ij")
    a = (i * k + j).reshape(-1)
    sides = np.stack([a, a + 1, a + k], 1), np.stack([a + 1, a + k + 1, a + k], 1)
    return Surface(
        name,
        rings.reshape(-1, 3).astype(np.float32),
        uv.reshape(-1, 2).astype(np.float32),
        np.concatenate(sides).astype(np.int32),
        *(np.repeat(w, k).astype(np.float32) for w in weights),
        material,
    )


def _swept(name: str, rings: np.ndarray, line: Edge, color: np.ndarray, repeat: int) -> Surface:
    """Cloth through rings (m, k, 3) of points that follow a line once around.

    color: a texture that is repeated so often around.
    """
    m, k, _ = rings.shape
    rings, head, neck = (np.concatenate([v, v[:1]]) for v in (rings, line.head, line.neck))
    uv = np.meshgrid(np.linspace(0, repeat, m + 1), np.linspace(0, 1, k), indexing="ij")
    material = Material(CLOTH, color, labels=PART["clothes"], roughness=0.9, specular=0.2)
    return _surface(name, rings, np.stack(uv, -1), (head, neck), material)


def _ribbed(color) -> np.ndarray:
    """A texture of one rib, (8, 16, 3) uint8."""
    wave = 0.88 + 0.12 * np.cos(np.linspace(0, 2 * np.pi, 16, endpoint=False))
    return np.clip(np.array(color) * np.tile(wave[None, :, None], (8, 1, 1)), 0, 255).astype(
        np.uint8
    )


def _hood(line: Edge, garment: clothes.Garment, rng: np.random.Generator) -> Surface:
    """A hood that lies on the shoulders: a thick roll behind, thin where it meets in front."""
    back = line.back[:, None]
    size = rng.uniform(0.85, 1.2)
    radial = _unit(line.points * (1, 0, 1) - (0, 0, line.points[:, 2].mean()))
    out = _unit(radial * back + line.out * (1 - back))
    up = _unit(np.array([[0, 1.0, 0]]) * back + line.up * (1 - back))
    wide, high = size * (0.006 + 0.022 * back**0.7), size * (0.011 + 0.026 * back**0.8)
    center = line.points + out * (0.001 + 0.012 * size * back) + up * high * (0.15 + 0.6 * back)
    angle = np.linspace(0, 2 * np.pi, 21)
    phase = np.arange(AROUND)[:, None] * 2 * np.pi / AROUND
    folds = sum(
        a * np.sin(n * phase + k * angle + rng.uniform(0, 6.3))
        for a, n, k in ((0.09, 3, 1), (0.06, 5, -2), (0.04, 9, 2))
    )
    # A crease runs around where the cloth turns inwards.
    crease = 1 - 0.22 * np.exp(-(((angle - 1.9) / 0.35) ** 2))
    radius = (1 + folds * back) * crease
    rings = center[:, None] + (wide * radius * np.cos(angle))[..., None] * out[:, None]
    rings = rings + (high * radius * np.sin(angle))[..., None] * up[:, None]
    grain = 1 + 0.05 * np.random.default_rng(3).uniform(-1, 1, (128, 128, 1))
    color = np.clip(np.array(garment.colors[0]) * grain, 0, 255).astype(np.uint8)
    # The inner side lies in the shade of the neck.
    return _swept("hood", rings, line, color, repeat=6)


def _in_front(positions: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """How far the front of a body reaches at places xy (n, 2), (n,) metres."""
    front = positions[(positions[:, 2] > -0.06) & (np.abs(positions[:, 0]) < 0.16)]
    distance, index = cKDTree(front[:, :2]).query(xy, 6)
    weight = 1 / (distance + 2e-3) ** 2
    return (weight * front[index, 2]).sum(1) / weight.sum(1)


def _tube(
    name: str, path: np.ndarray, radius: np.ndarray | float, like: Edge, material: Material
) -> Surface:
    """A tube along a path (n, 3) that moves as the line nearest; radius in metres."""
    along = _unit(np.gradient(path, axis=0))
    aside = np.where(np.abs(along[:, 2:]) < 0.9, (0.0, 0.0, 1.0), (0.0, 1.0, 0.0))
    side = _unit(np.cross(along, aside))
    turn = np.linspace(0, 2 * np.pi, 9)
    ring = np.cos(turn)[:, None] * side[:, None]
    ring = ring + np.sin(turn)[:, None] * np.cross(side, along)[:, None]
    rings = path[:, None] + np.broadcast_to(radius, len(path))[:, None, None] * ring
    nearest = cKDTree(like.points).query(path)[1]
    weights = (like.head[nearest], like.neck[nearest])
    return _surface(name, rings, np.zeros((*rings.shape[:2], 2)), weights, material)


def _drawstrings(
    positions: np.ndarray, line: Edge, garment: clothes.Garment, rng: np.random.Generator
) -> list[Surface]:
    """Two cords that hang from the front of a hood."""
    main = np.array(garment.colors[0])
    pale = rng.random() < 0.6 or main.mean() < 70
    color = np.clip(main * 0.25 + 180 if pale else main * 0.35, 0, 255).astype(np.uint8)
    picture = np.tile(color, (2, 2, 1))
    cord = Material(CLOTH, picture, labels=PART["clothes"], roughness=0.8, specular=0.3)
    made = []
    for side in (1, -1):
        start = line.points[
            np.argmin(np.abs(line.points[:, 0] - 0.024 * side) + 9 * (line.back > 0.3))
        ]
        t = np.linspace(0, 1, 24)
        x = start[0] + side * (0.004 * t + 0.003 * np.sin(5 * t + rng.uniform(0, 6)))
        y = start[1] + 0.006 - (rng.uniform(0.11, 0.15)) * t
        z = _in_front(positions, np.stack([x, y], 1)) + 0.006
        z = gaussian_filter1d(z, 2) + 0.008 * np.exp(-t / 0.08)
        radius = np.where(t > 0.9, 0.0032, 0.0024)
        made.append(_tube("drawstring", np.stack([x, y, z], 1), radius, line, cord))
    return made


def _stethoscope(positions: np.ndarray, line: Edge, rng: np.random.Generator) -> Surface:
    """A stethoscope's tube about the neck, both ends hanging down in front."""
    ahead = int(AROUND * 0.13)
    around = line.points[ahead : AROUND - ahead] + 0.008 * line.out[ahead : AROUND - ahead]
    ends = []
    for start in (around[0], around[-1]):
        t = np.linspace(0.05, 1, 20)
        x = start[0] * (1 - 0.18 * t)
        y = start[1] - 0.22 * t
        z = _in_front(positions, np.stack([x, y], 1)) + 0.007
        ends.append(np.stack([x, y, z], 1))
    path = np.concatenate([ends[0][::-1], around, ends[1]])
    path = gaussian_filter1d(path, 1.5, axis=0, mode="nearest")
    color = ((28, 28, 32), (30, 44, 96), (110, 26, 44))[rng.integers(3)]
    picture = np.full((2, 2, 3), color, np.uint8)
    rubber = Material(HARD, picture, labels=PART["clothes"], roughness=0.35, specular=0.7)
    return _tube("stethoscope", path, 0.0046, line, rubber)
