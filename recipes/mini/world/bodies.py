"""Bodies that heads sit on: read once, their arms at their sides, cut below the chest."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import sparse

from .glb import Mesh, Scene
from .heads import BODY, align, bank, head_points, head_weight, heads_folder, match, scene
from .surface import welds

REFERENCE_BODY = "White_M_1"
FOOT = -0.56  # metres below the head's joint where a body ends
ARM_DEG, SHOULDER_DEG = 54.0, 20.0  # how far arms, and with them the shoulders, come down


@dataclass(frozen=True)
class Worn:
    """Head and chest of someone in an outfit, the head's joint at 0, arms down, metres."""

    positions: np.ndarray  # (n, 3) float32
    rest: np.ndarray  # (n, 3) float32, arms stretched out: the same place in all of a cut
    uv: np.ndarray  # (n, 2) float32
    triangles: np.ndarray  # (m, 3) int32
    welds: np.ndarray  # (n,) int
    head: np.ndarray  # (n,) float32: how much each point moves with the head
    neck: np.ndarray  # (n,) float32: with the neck
    neck_joint: np.ndarray  # (3,)
    scale: float  # the head's size against the bank's
    near: np.ndarray  # (k,) points that the bank's head has too
    bank_index: np.ndarray  # (k,) the bank's point of each


@lru_cache(maxsize=128)
def worn(wearer: str, outfit: str) -> Worn:
    """The body of a wearer in an outfit, read from the cache or made in a second."""
    cache = heads_folder() / "cache" / f"worn_{wearer}_{outfit}.npz"
    if not cache.is_file():
        cache.parent.mkdir(exist_ok=True)
        beside = cache.with_suffix(f".{os.getpid()}.npz")  # several processes may make it at once
        np.savez(beside, **vars(_make(wearer, outfit)))
        beside.rename(cache)
    with np.load(cache) as stored:
        parts = {name: stored[name] for name in stored.files}
    return Worn(**parts | {"scale": float(parts["scale"])})


def _make(wearer: str, outfit: str) -> Worn:
    own = scene(wearer, outfit)
    mesh, joint = own.meshes[BODY], own.joints["Head"]
    index, distance = match(mesh.uv, bank().uv)
    near = np.flatnonzero(head_points(mesh, joint) & (distance < 2e-3))
    positions = arms_down(own) - joint
    reference = bank().shapes[bank().index(REFERENCE_BODY)]
    # By what is head alone: the bank's points include hands, which have come down with the arms.
    rigid = near[head_weight(mesh.weights)[near] > 0.95]
    scale, _, _ = align(positions[rigid], reference[index[rigid]])
    kept = positions[:, 1] > FOOT
    triangles = mesh.triangles[kept[mesh.triangles].all(1)]
    used = np.unique(triangles)
    remap = np.full(len(positions), -1)
    remap[used] = np.arange(len(used))
    near = near[remap[near] >= 0]
    return Worn(
        positions=positions[used].astype(np.float32),
        rest=(mesh.positions[used] - joint).astype(np.float32),
        uv=mesh.uv[used],
        triangles=remap[triangles].astype(np.int32),
        welds=welds(mesh.positions[used]),
        head=head_weight(mesh.weights)[used],
        neck=mesh.weights["Neck"][used],
        neck_joint=own.joints["Neck"] - joint,
        scale=float(scale),
        near=remap[near],
        bank_index=index[near],
    )


def neighbours(triangles: np.ndarray, weld: np.ndarray) -> sparse.csr_matrix:
    """A matrix that takes values of points, seams closed, to the means about each, (n, n)."""
    n = len(weld)
    _, first = np.unique(weld, return_index=True)
    one = first[weld]  # of each point the first at its place
    a, b, c = one[triangles].T
    rows, columns = np.r_[a, b, c, b, c, a], np.r_[b, c, a, a, b, c]
    joined = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), (n, n))
    joined.data[:] = 1
    total = np.asarray(joined.sum(1)).ravel()
    mean = sparse.diags(1 / np.maximum(total, 1).astype(np.float32)) @ joined
    return mean.tocsr()[one]


def arms_down(own: Scene) -> np.ndarray:
    """Points of a body with its arms at its sides, (n, 3) metres."""
    mesh = own.meshes[BODY]
    mean = neighbours(mesh.triangles, welds(mesh.positions))
    positions = mesh.positions.astype(np.float64)
    for side, sign in (("Left", -1), ("Right", 1)):
        arm = _smoothed(mesh, mean, side, ("Arm", "Hand", "Finger"))
        shoulder = _smoothed(mesh, mean, side, ("Shoulder", "Arm", "Hand", "Finger"))
        # The line from the neck to the arm slopes as a whole.
        x, y, _ = (mesh.positions - own.joints["Neck"]).T
        slope = np.clip((-sign * x - 0.04) / 0.15, 0, 1) * np.clip((y + 0.30) / 0.15, 0, 1)
        shoulder = np.maximum(shoulder, slope)
        # Angles are shared out, not places: a bend keeps its volume.
        for bone, degrees in (("Arm", ARM_DEG * arm), ("Shoulder", SHOULDER_DEG * shoulder)):
            positions = _turned(positions, own.joints[side + bone], sign * degrees)
    return positions


def _smoothed(mesh: Mesh, mean: sparse.csr_matrix, side: str, bones: tuple) -> np.ndarray:
    """How much each point moves with some bones of a side, softened, (n,)."""
    weight = sum(
        w for n, w in mesh.weights.items() if n.startswith(side) and any(b in n for b in bones)
    )
    for _ in range(14):
        weight = 0.35 * weight + 0.65 * (mean @ weight)
    return weight


def _turned(points: np.ndarray, pivot: np.ndarray, degrees: np.ndarray) -> np.ndarray:
    """Points (n, 3) turned about z at a pivot, each by its own angle (n,)."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    x, y, z = (points - pivot).T
    return np.stack([c * x - s * y, s * x + c * y, z], 1) + pivot
