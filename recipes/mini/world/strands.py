"""Strands of hair: where they grow, how they lie on a head, how they make locks and curls."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree

from .heads import TEXTURE_PX, bank
from .surface import Strands, Surface, normals, welds

CELL = 0.0115  # metres, of the grids
LOW, HIGH = np.array([-0.24, -0.36, -0.22]), np.array([0.24, 0.30, 0.24])


@dataclass(frozen=True)
class Grid:
    """Values in space, looked up between the nodes of a grid."""

    values: np.ndarray  # (c, x, y, z) float32
    low: np.ndarray  # (3,) metres, of the first node
    cell: float

    def at(self, points: np.ndarray, first: int | None = None) -> np.ndarray:
        """Values at points (..., 3): (..., c), or the first ones alone."""
        place = ((points.reshape(-1, 3) - self.low) / self.cell).T.astype(np.float32)
        values = self.values[:first]
        found = [ndimage.map_coordinates(v, place, order=1, mode="nearest") for v in values]
        return np.stack(found, -1).reshape(*points.shape[:-1], len(found))


@dataclass(frozen=True)
class Roots:
    """Where strands grow."""

    points: np.ndarray  # (s, 3) metres
    normals: np.ndarray  # (s, 3)
    uv: np.ndarray  # (s, 2)
    follows: np.ndarray  # (s, 3) points of the bank
    shares: np.ndarray  # (s, 3) of each of them

    def __getitem__(self, chosen: np.ndarray) -> Roots:
        return Roots(*(getattr(self, f)[chosen] for f in self.__dataclass_fields__))

    def __len__(self) -> int:
        return len(self.points)


def skin_form(body: Surface) -> Grid:
    """How far points are out of a body, metres, and which way is out: a grid of 4 values."""
    out = normals(body.positions, body.triangles, welds(body.positions))
    axes = [np.arange(a, b, CELL) for a, b in zip(LOW, HIGH, strict=True)]
    nodes = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    _, near = cKDTree(body.positions).query(nodes.reshape(-1, 3), eps=0.3)
    away = nodes.reshape(-1, 3) - body.positions[near]
    distance = (away * out[near]).sum(1)
    values = np.concatenate([distance[:, None], out[near]], 1).T.astype(np.float32)
    values = values.reshape(4, *nodes.shape[:3])
    return Grid(ndimage.gaussian_filter(values, (0, 0.6, 0.6, 0.6)), LOW, CELL)


def take_roots(
    points: np.ndarray, density: np.ndarray, count: int, rng: np.random.Generator
) -> Roots:
    """Draw roots on a head of the bank's topology, points (n, 3).

    density: (h, w) 0..1 in the texture of the head.
    """
    heads = bank()
    triangles = heads.triangles
    middle = heads.uv[triangles].mean(1)
    corner = points[triangles]
    cross = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    area = np.linalg.norm(cross, axis=1)
    chosen = area * np.maximum(_look_up(density, middle), 0.02)
    # The bank's points include hands, which lie where hair is in no texture.
    elsewhere = (heads.head + heads.neck)[triangles].min(1) < 0.5
    chosen[elsewhere | (_look_up(_near(density), middle) == 0)] = 0
    chosen /= chosen.sum()
    # Drawn in even steps of the sum, so that they are spread more evenly than by chance.
    steps = (np.arange(4 * count) + rng.random(4 * count)) / (4 * count)
    index = np.minimum(np.searchsorted(np.cumsum(chosen), steps), len(triangles) - 1)
    shares = rng.dirichlet((1, 1, 1), len(index)).astype(np.float32)
    uv = (heads.uv[triangles[index]] * shares[..., None]).sum(1)
    wanted = _look_up(density, uv) / np.maximum(_look_up(density, middle[index]), 0.02)
    kept = np.flatnonzero(rng.random(len(index)) * max(1.0, np.percentile(wanted, 95)) < wanted)
    kept = np.sort(rng.permutation(kept)[:count])
    index, shares, uv = index[kept], shares[kept], uv[kept]
    out = normals(points, triangles, _bank_welds())
    follows = triangles[index]
    at = (points[follows] * shares[..., None]).sum(1)
    up = (out[follows] * shares[..., None]).sum(1)
    up /= np.linalg.norm(up, axis=1, keepdims=True)
    return Roots(at.astype(np.float32), up.astype(np.float32), uv, follows, shares)


def _bank_welds() -> np.ndarray:
    return welds(bank().shapes[0])


def _near(density: np.ndarray) -> np.ndarray:
    return cv2.dilate(density.astype(np.float32), np.ones((25, 25)))


def _look_up(picture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Values of a picture (h, w) in the head's texture at uv (n, 2), 0 outside."""
    place = (uv[:, ::-1] * TEXTURE_PX - 0.5).T
    return ndimage.map_coordinates(picture, place, order=1, mode="constant")


def unit(v: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) made of length 1."""
    return v / (np.linalg.norm(v, axis=-1, keepdims=True) + 1e-9)


def lay(
    roots: Roots,
    form: Grid,
    length: np.ndarray,
    steps: int,
    comb,
    *,
    rise: np.ndarray | float = 0.5,
    height: np.ndarray | float = 0.004,
    obey: np.ndarray | float = 0.35,
    weight: np.ndarray | float = 0.1,
    hug: float = 0.0,
) -> np.ndarray:
    """Let strands grow: (s, steps + 1, 3) metres.

    length: (s,) metres.  comb: a function of points (s, 3) to the way they are combed, (s, 3).
    rise: how steeply they leave the skin, 0..1.  height: metres over the skin, that they keep.
    obey: how soon they take the comb's way, per step.  weight: how soon they fall, per step.
    hug: how close they keep to the head where it is below them, 0..1.
    """
    column = [np.reshape(v, (-1, 1)) for v in (rise, height, obey, weight)]
    rise, height, obey, weight = column
    at, step = roots.points.astype(np.float32), (length / steps)[:, None].astype(np.float32)
    way = unit(roots.normals * rise + unit(comb(at)) * (1 - rise))
    line = [at]
    for i in range(steps):
        last, at = at, at + way * step * (0.6 + 0.8 * i / max(steps - 1, 1))
        near = form.at(at)
        distance, out = near[:, :1], unit(near[:, 1:])
        # Over the skin a strand reaches its height within its first third.
        wanted = height * min(1.0, (i + 1) / (steps / 3))
        lack = np.clip(wanted - distance, 0, None)
        at = at + out * np.minimum(lack, 0.04)
        if hug:
            over = np.clip(out[:, 1:2] + 0.35, 0, 1) * (at[:, 1:2] > 0.03)
            at = at - hug * over * out * np.clip(distance - wanted, 0, 0.03)
            way = unit(at - last)
        into = (way * out).sum(1, keepdims=True)
        touching = (lack > 0) & (into < 0)
        way = way - np.where(touching, into, 0) * out
        fall = np.array([0, -1, 0], np.float32)
        way = unit(way * (1 - obey) + unit(comb(at)) * obey + fall * weight)
        line.append(at)
    return np.stack(line, 1).astype(np.float32)


def cut(line: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Shorten strands (s, k, 3) to a share of their length, (s,) 0..1, with as many points."""
    k = line.shape[1]
    place = share[:, None] * np.arange(k)
    low = np.clip(place.astype(int), 0, k - 2)
    part = (place - low)[..., None].astype(np.float32)
    rows = np.arange(len(line))[:, None]
    return line[rows, low] * (1 - part) + line[rows, low + 1] * part


def finer(line: np.ndarray, k: int) -> np.ndarray:
    """Strands (s, _, 3) with k points on a smooth course through theirs."""
    old = line.shape[1]
    shares = CubicSpline(np.arange(old), np.eye(old))(np.linspace(0, old - 1, k))
    return np.einsum("kj,sjc->skc", shares.astype(np.float32), line)


def gather(
    line: np.ndarray, locks: np.ndarray, centers: np.ndarray, amount: np.ndarray
) -> np.ndarray:
    """Draw strands (s, k, 3) to the strand in the middle of their lock, by `amount` (k,) 0..1."""
    middle = line[centers[locks]]
    ahead = np.linalg.norm(middle[:, -1] - line[:, -1], axis=1)
    around = np.linalg.norm(middle[:, 0] - line[:, 0], axis=1)
    # A strand that is combed another way, beyond the parting, is of another lock.
    own = np.clip(2 - ahead / (4 * around + 0.03), 0, 1)[:, None, None]
    return line + own * amount[None, :, None] * (middle - line)


def in_locks(roots: Roots, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Which lock each strand is of, (s,), and which strand is in the middle of each, (count,)."""
    centers = rng.choice(len(roots), min(count, len(roots)), replace=False)
    _, locks = cKDTree(roots.points[centers]).query(roots.points)
    return locks, centers


def curl(
    line: np.ndarray,
    locks: np.ndarray,
    radius: np.ndarray,
    pitch: np.ndarray,
    rng: np.random.Generator,
    loose: float = 0.4,
) -> np.ndarray:
    """Wind strands (s, k, 3) about their course.

    radius: (s, k) metres.  pitch: (s,) metres a turn.  loose: radians between strands of a lock.
    """
    count = int(locks.max()) + 1
    along = unit(np.gradient(line, axis=1))
    aside = unit(rng.normal(size=(count, 3)))[locks][:, None]
    first = unit(aside - along * (along * aside).sum(-1, keepdims=True))
    second = np.cross(along, first)
    steps = np.linalg.norm(np.diff(line, axis=1), axis=-1)
    run = np.concatenate([np.zeros((len(line), 1)), np.cumsum(steps, 1)], 1)
    start = rng.uniform(0, 2 * np.pi, count)[locks] + rng.normal(0, loose, len(line))
    hand = np.where(rng.random(count) < 0.5, -1.0, 1.0)[locks]
    angle = start[:, None] + hand[:, None] * 2 * np.pi * run / pitch[:, None]
    c, s = (f(angle)[..., None] for f in (np.cos, np.sin))
    # Wound about the root's own place, so that it stays in the skin.
    wound = radius[..., None] * (c * first + s * second)
    return (line + wound).astype(np.float32)


def stray(
    line: np.ndarray, size: float, rng: np.random.Generator, share: float = 0.04
) -> np.ndarray:
    """Let strands (s, k, 3) wander, the more the farther from the root; a share of them far."""
    count, k, _ = line.shape
    t = np.linspace(0, 1, k)[None, :, None]
    wild = np.where(rng.random(count) < share, 3.5, 1.0)[:, None, None]
    phase = rng.uniform(0, 2 * np.pi, (count, 1, 3))
    wave = np.sin(phase + t * rng.uniform(2, 7, (count, 1, 3))) - np.sin(phase)
    return (line + size * wild * t * wave).astype(np.float32)


def bundle(
    line: np.ndarray, color: np.ndarray, label: int, *, dark: float = 1.0, **more
) -> Strands:
    """Strands from their lines (s, k, 3) and colours (s, k, 3) or (s, 1, 3) float sRGB 0..255.

    dark: how dark it gets inside the mass.  more: fields of Strands.
    """
    count, k, _ = line.shape
    mass = _mass(line, 0.006)
    density = mass.at(line)
    out = unit(density[..., 1:] + 1e-6)
    # What stands between a point and the open: the mass a little farther out.
    above = sum(mass.at(line + out * d, 1)[..., 0] for d in (0.006, 0.014)) / 2
    usual = np.percentile(density[..., 0], 80) + 1e-9
    open_ = np.exp(-1.5 * dark * above / usual)
    ones = np.ones((count, k), np.float32)
    return Strands(
        points=line,
        normals=out.astype(np.float32),
        color=np.clip(np.broadcast_to(color, line.shape), 0, 255).astype(np.uint8),
        open=open_.astype(np.float32),
        label=label,
        **{"head": ones, "neck": 0 * ones} | more,
    )


def _mass(line: np.ndarray, cell: float) -> Grid:
    """How much hair there is, and the way out of it: a grid of 4 values."""
    points = line.reshape(-1, 3)
    low, high = points.min(0) - 4 * cell, points.max(0) + 4 * cell
    shape = np.ceil((high - low) / cell).astype(int) + 1
    # Each point stands for the piece of strand to the next.
    piece = np.linalg.norm(np.diff(line, axis=1, append=line[:, -1:]), axis=-1).reshape(-1)
    place = np.rint((points - low) / cell).astype(int)
    flat = np.ravel_multi_index(place.T, shape)
    mass = np.bincount(flat, piece, int(np.prod(shape))).reshape(shape)
    near = ndimage.gaussian_filter(mass, 1.0)
    wide = ndimage.gaussian_filter(mass, 1.8)
    slope = np.gradient(wide)
    return Grid(np.stack([near, *(-s for s in slope)]).astype(np.float32), low, cell)
