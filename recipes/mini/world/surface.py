"""What a person is made of when drawn: surfaces with a material, some of them grown with hair."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

# Labels of the parts map, as `Buffers.parts` has them.
PARTS = (
    *("background", "face", "neck", "hair", "brows", "eyes", "mouth", "beard", "glasses"),
    "clothes",
)
PART = {name: label for label, name in enumerate(PARTS)}

SKIN, EYE, CLOTH, HAIR, HARD, GLASS = range(6)  # how light meets a material, see render.py


@dataclass(frozen=True)
class Material:
    """How a surface looks: textures laid by uv, v down."""

    kind: int  # SKIN .. GLASS
    color: np.ndarray  # (h, w, 3) uint8 sRGB
    relief: np.ndarray | None = None  # (h, w, 3) uint8 normal map in tangent space
    labels: np.ndarray | int = 0  # (h, w) uint8 of PARTS, or one label for all
    roughness: float = 0.5  # 0 mirror .. 1 chalk
    specular: float = 0.5  # strength of the highlight, 0..1
    opacity: float = 1.0  # of GLASS


@dataclass(frozen=True)
class Strands:
    """Hair on a surface, drawn as layers over it (Lengyel 2001, "Real-time fur over surfaces")."""

    length: np.ndarray  # (n,) float32 metres, 0 where none grows
    comb: np.ndarray  # (n, 3) float32 direction in which it lies, any length
    layers: int = 20
    lie: float = 0.6  # 0 stands up .. 1 lies flat along the comb
    width: float = 0.0013  # metres, of a strand
    curl: float = 0.0  # 0 straight strands .. 1 ringlets in space
    clump: float = 0.012  # metres, of a curl or a lock
    density: float = 0.6  # share of the surface that strands cover at the root, 0..1
    droop: float = 0.0  # metres that tips sink per metre of length
    seed: float = 0.0  # moves the pattern
    tip: float = 1.25  # brightness of tips against roots


@dataclass(frozen=True)
class Surface:
    """Triangles of one material in the rest pose, metres, the head's joint at 0."""

    name: str
    positions: np.ndarray  # (n, 3) float32
    uv: np.ndarray  # (n, 2) float32
    triangles: np.ndarray  # (m, 3) int32
    head: np.ndarray  # (n,) float32 0..1: how much it moves with the head
    neck: np.ndarray  # (n,) float32 0..1: how much with the neck
    material: Material
    strands: Strands | None = None
    welds: np.ndarray | None = field(default=None, repr=False)  # (n,) int: points that are one


def welds(positions: np.ndarray) -> np.ndarray:
    """Which points are one point split at a seam: (n,) int, the same number for the same place."""
    _, index = np.unique(np.round(positions * 2e4).astype(np.int64), axis=0, return_inverse=True)
    return index.reshape(-1)


def normals(positions: np.ndarray, triangles: np.ndarray, weld: np.ndarray) -> np.ndarray:
    """Unit normals of points, (n, 3) float32: the mean of the faces about each, seams closed."""
    a, b, c = (positions[triangles[:, i]] for i in range(3))
    faces = np.cross(b - a, c - a)
    rows = weld[triangles].reshape(-1)
    summing = sparse.csr_matrix(
        (np.ones(len(rows), np.float32), (rows, np.repeat(np.arange(len(triangles)), 3))),
        shape=(int(weld.max()) + 1, len(triangles)),
    )
    summed = (summing @ faces)[weld]
    return (summed / (np.linalg.norm(summed, axis=1, keepdims=True) + 1e-12)).astype(np.float32)
