"""What a person is made of when drawn: surfaces with a material, and strands of hair."""

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

SKIN, EYE, CLOTH, HARD, GLASS = range(5)  # how light meets a material, see render.py


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
    """Hair: s lines of k points each in the rest pose, metres, the head's joint at 0."""

    points: np.ndarray  # (s, k, 3) float32
    normals: np.ndarray  # (s, k, 3) float32: out of the mass of hair
    color: np.ndarray  # (s, k, 3) uint8 sRGB
    open: np.ndarray  # (s, k) float32 0..1: how much light from all about gets there
    label: int  # of PARTS
    head: np.ndarray  # (s, k) float32 0..1: how much it moves with the head
    neck: np.ndarray  # (s, k) float32 0..1: how much with the neck
    follows: np.ndarray | None = None  # (s, 3) int: points of the bank that the skin below has
    shares: np.ndarray | None = None  # (s, 3) float32: of each of them
    width: float = 0.0008  # metres
    shadow_every: int = 8  # of so many strands one throws a shadow, so many times as wide
    shine: float = 1.0  # strength of the highlights


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
