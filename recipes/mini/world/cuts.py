"""Cuts of clothes: the textures that donors wear, and where in space each of their texels lies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image

from .heads import BODY, TEXTURE_PX, files, heads_folder, scene, uv_grid


@dataclass(frozen=True)
class Cut:
    """A garment's texture and its place on the body, the same for all that wear it."""

    color: np.ndarray  # (1024, 1024, 3) uint8
    relief: np.ndarray  # (1024, 1024, 3) uint8 normal map
    cloth: np.ndarray  # (1024, 1024) float32 0..1: where all donors look alike, so it is no skin
    texel: np.ndarray  # (k,) int32: flat indices of the body's texels, head left out
    rest: np.ndarray  # (k, 3) float32: where they lie, arms stretched out, the head's joint at 0
    shade: np.ndarray  # (k,) float32 about 1: folds as light and dark
    noise: np.ndarray  # (3, k) float32 -1..1: coarse (5 cm), middle (1.5 cm), fine (texels)


# cut -> outfit, whose textures it is made of; () is everybody. The first of them has the folds.
DONORS = {
    ("shirt", "M"): ("Casual", ("X_NHPI_M_1", "Asian_M_2")),
    ("shirt", "F"): ("Casual", ("AIAN_F_2", "Black_F_2", "Asian_F_3")),
    ("dress", "F"): ("Casual", ("White_F_3",)),
    ("suit", "M"): ("Busi", ()),
    ("suit", "F"): ("Busi", ("White_F_3", "White_F_1", "Black_F_1", "Black_F_3", "MENA_F_2",
                             "Hispanic_F_1", "Asian_F_2")),
    ("coat", "M"): ("Medi", ("White_M_2", "Black_M_2", "Asian_M_2", "Hispanic_M_3", "MENA_M_3",
                             "AIAN_M_2", "X_NHPI_M_1")),
    ("coat", "F"): ("Medi", ("White_F_2", "Black_F_2", "Asian_F_2", "Hispanic_F_3", "MENA_F_1",
                             "X_NHPI_F_3")),
    ("uniform", "M"): ("Milit", ()),
    ("uniform", "F"): ("Milit", ("White_F_1", "White_F_2", "Black_F_1", "Black_F_2", "Black_F_3",
                                 "MENA_F_2", "Asian_F_2")),
}  # fmt: skip
# Whose bodies wear a cut where those are others than its donors.
WEARERS = {
    ("shirt", "M"): ("AIAN_M_1", "Asian_M_2", "Black_M_2", "Hispanic_M_2", "MENA_M_3",
                     "White_M_2", "X_NHPI_M_1"),
    ("shirt", "F"): ("AIAN_F_2", "Asian_F_2", "Asian_F_3", "Black_F_2", "Hispanic_F_3",
                     "MENA_F_2", "White_F_1", "X_NHPI_F_3"),
    ("dress", "F"): ("White_F_3", "Black_F_3", "Hispanic_F_2"),
}  # fmt: skip


def everybody(sex: str, outfit: str) -> tuple[str, ...]:
    """All of a sex that have an outfit."""
    return tuple(n for n, o in files().items() if outfit in o and n.rsplit("_", 2)[1] == sex)


def wearers(kind: str, sex: str) -> tuple[str, tuple[str, ...]]:
    """The outfit that a cut is, and the people whose bodies wear it."""
    outfit, donors = DONORS[kind, sex]
    return outfit, WEARERS.get((kind, sex)) or donors or everybody(sex, outfit)


@lru_cache(maxsize=16)
def cut(kind: str, sex: str) -> Cut:
    """A cut by kind and sex (F or M), read from the cache or made in some seconds."""
    cache = heads_folder() / "cache" / f"cut_{kind}_{sex}.npz"
    if not cache.is_file():
        cache.parent.mkdir(exist_ok=True)
        beside = cache.with_suffix(".part.npz")
        np.savez(beside, **_make(kind, sex))
        beside.rename(cache)
    with np.load(cache) as stored:
        parts = {name: stored[name] for name in stored.files}
    parts["cloth"] = parts["cloth"].astype(np.float32) / 255
    return Cut(**parts)


def _make(kind: str, sex: str) -> dict[str, np.ndarray]:
    outfit, donors = DONORS[kind, sex]
    donors = donors or everybody(sex, outfit)
    size = (TEXTURE_PX, TEXTURE_PX)
    own = scene(donors[0], outfit)
    colors = np.stack(
        [
            np.asarray(scene(n, outfit).colors[0].resize(size, Image.Resampling.BOX))
            for n in donors[:12]
        ]
    )
    color = np.median(colors, axis=0).astype(np.uint8)
    cloth = _alike(colors)
    mesh, joint = own.meshes[BODY], own.joints["Head"]
    positions = mesh.positions - joint
    upper = (positions[:, 1] > -0.75) & (np.abs(positions[:, 0]) < 0.62)
    place, inside = texel_positions(
        mesh.uv, mesh.triangles[upper[mesh.triangles].all(1)], positions
    )
    texel = np.flatnonzero(inside & (place[..., 1] < -0.045)).astype(np.int32)
    rest = place.reshape(-1, 3)[texel]
    value = cv2.GaussianBlur(color.astype(np.float32).mean(-1), (0, 0), 1.2)
    wide = cv2.GaussianBlur(value, (0, 0), 40)
    shade = np.clip(value / np.maximum(wide, 4), 0.6, 1.3).reshape(-1)[texel]
    fine = np.random.default_rng(1).uniform(-1, 1, len(texel))
    noises = np.stack([noise(rest, 0.05, 1), noise(rest, 0.015, 2), fine])
    return {
        "color": color,
        "relief": np.asarray(own.normal_maps[0].resize(size, Image.Resampling.BOX)),
        "cloth": (255 * cloth).astype(np.uint8),
        "texel": texel,
        "rest": rest.astype(np.float32),
        "shade": shade.astype(np.float32),
        "noise": noises.astype(np.float32),
    }


def _alike(colors: np.ndarray) -> np.ndarray:
    """Where textures (p, h, w, 3) are all the same, (h, w) 0..1: people differ, cloth does not."""
    if len(colors) < 3:
        return np.ones(colors.shape[1:3], np.float32)
    soft = np.stack([cv2.GaussianBlur(c, (0, 0), 1.5).astype(np.int16) for c in colors])
    spread = (soft.max(0) - soft.min(0)).max(-1)
    same = (spread < 42).astype(np.uint8)
    same = cv2.morphologyEx(same, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    same = cv2.morphologyEx(same, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    return cv2.GaussianBlur(same.astype(np.float32), (0, 0), 1.2)


def texel_positions(
    uv: np.ndarray, triangles: np.ndarray, positions: np.ndarray, size_px: int = TEXTURE_PX
) -> tuple[np.ndarray, np.ndarray]:
    """Where each texel lies in space, (size, size, 3) float32, and which are of the mesh, bool.

    Texels up to 6 px beside an island take the place of the nearest in it.
    """
    corners = (uv * size_px - 0.5)[triangles]  # (m, 3, 2)
    low = np.floor(corners.min(1)).astype(int)
    span = np.ceil(corners.max(1)).astype(int) - low + 1
    count = span.prod(1)
    which = np.repeat(np.arange(len(triangles)), count)
    step = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
    x, y = low[which, 0] + step % span[which, 0], low[which, 1] + step // span[which, 0]
    (ax, ay), (bx, by), (cx, cy) = (corners[which, i].T for i in range(3))
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    area = np.where(np.abs(area) < 1e-9, 1e-9, area)
    b = ((x - ax) * (cy - ay) - (cx - ax) * (y - ay)) / area
    c = ((bx - ax) * (y - ay) - (x - ax) * (by - ay)) / area
    good = (b > -0.02) & (c > -0.02) & (b + c < 1.02)
    good &= np.abs(area) > 0.02
    good &= (x >= 0) & (y >= 0) & (x < size_px) & (y < size_px)
    x, y, b, c, t = x[good], y[good], b[good, None], c[good, None], triangles[which[good]]
    place = np.zeros((size_px, size_px, 3), np.float32)
    place[y, x] = (1 - b - c) * positions[t[:, 0]] + b * positions[t[:, 1]] + c * positions[t[:, 2]]
    inside = np.zeros((size_px, size_px), bool)
    inside[y, x] = True
    far, nearest = cv2.distanceTransformWithLabels(
        (~inside).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    # Labels count the texels inside in the order of the array.
    order = np.zeros(int(nearest.max()) + 1, int)
    order[nearest[inside]] = np.flatnonzero(inside)
    near = (far > 0) & (far < 6)
    place[near] = place.reshape(-1, 3)[order[nearest[near]]]
    return place, inside | near


def noise(points: np.ndarray, scale: float, seed: int) -> np.ndarray:
    """Smooth noise in space at points (n, 3), (n,) -1..1; scale in metres."""
    table = np.random.default_rng(seed).uniform(-1, 1, (64, 64, 64)).astype(np.float32)
    p = points / scale + 32
    cell = np.floor(p).astype(int)
    f = (p - cell).astype(np.float32)
    f = f * f * (3 - 2 * f)
    total = np.zeros(len(points), np.float32)
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod([f[:, i] if corner[i] else 1 - f[:, i] for i in range(3)], axis=0)
        i, j, k = ((cell + corner) % 64).T
        total += weight * table[i, j, k]
    return total


@lru_cache(maxsize=1)
def head_places() -> np.ndarray:
    """Where texels of a head lie, (h, w, 3) metres, on the bank's mean head."""
    from .heads import bank

    place, _ = texel_positions(bank().uv, bank().triangles, bank().shapes.mean(0))
    h, w = uv_grid().shape[:2]
    return place[:h, :w]
