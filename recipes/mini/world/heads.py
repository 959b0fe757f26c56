"""The bank of heads: 42 people who do not exist, brought to one topology, one frame, one texture.

The heads are the VALID avatars (Do and others 2022, MIT) as GLB files; PORTRAITLIB_HEADS names the
folder that holds their `avatars/`. What is read is kept in a `cache/` beside them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy.spatial import cKDTree

from .glb import Mesh, Scene, read_glb

TEXTURE_PX = 1024
HEAD_U, HEAD_V = 0.66, 0.58  # the part of the texture that holds face, scalp, neck, ears and eyes
REFERENCE = "White_M_1"
BODY, WIG = "H_DDS_HighRes", "h_wig"
SMALL = ("h_L_eye", "h_R_eye", "h_L_gland", "h_R_gland", "h_TeethUp", "h_TeethDown")
OUTFITS = ("Default", "Casual", "Busi", "Medi", "Milit", "Util")
# Where features lie in the texture of every head, (u, v).
FACE_UV, FACE_RADIUS = (0.325, 0.305), 0.165


@dataclass(frozen=True)
class Bank:
    """All heads in one frame: metres, the head's joint at 0, y up, looking along z."""

    names: tuple[str, ...]  # (p,)
    uv: np.ndarray  # (n, 2) float32 of the head's points
    triangles: np.ndarray  # (m, 3) int32 of the head's points
    head: np.ndarray  # (n,) float32: how much each point moves with the head
    neck: np.ndarray  # (n,) float32: how much with the neck
    island: np.ndarray  # (h, w) float32 0..1: which texels the head uses
    shapes: np.ndarray  # (p, n, 3) float32
    small: dict[str, np.ndarray]  # name of a small mesh -> (p, k, 3) float32
    small_uv: dict[str, np.ndarray]  # its (k, 2) float32
    small_triangles: dict[str, np.ndarray]  # its (j, 3) int32
    expressions: dict[str, np.ndarray]  # name -> (n, 3) float32 offsets, mean over people
    jaw: dict[str, np.ndarray]  # name -> (m, 3) float32 offsets of the lower teeth
    skins: np.ndarray  # (p, h, w, 3) uint8: textures of the heads, without clothes
    reliefs: np.ndarray  # (p, h, w, 3) uint8: normal maps of the heads
    hair: np.ndarray  # (h, w) float32 0..1: how many of those with painted hair have it there
    bald: np.ndarray  # (p,) bool: whose scalp is skin

    def index(self, name: str) -> int:
        """The row of a person by name, such as White_M_1."""
        return self.names.index(name)


def heads_folder() -> Path:
    """The folder of the heads, from PORTRAITLIB_HEADS."""
    folder = Path(os.environ.get("PORTRAITLIB_HEADS", ""))
    if not (folder / "avatars").is_dir():
        raise SystemExit(
            f"PORTRAITLIB_HEADS: got {str(folder)!r}, expected a checkout of valid-avatars-glb: "
            "see recipes/mini/README.md"
        )
    return folder


@lru_cache(maxsize=1)
def files() -> dict[str, dict[str, Path]]:
    """Each person's files by outfit."""
    people: dict[str, dict[str, Path]] = {}
    for path in sorted((heads_folder() / "avatars").glob("*/*.glb")):
        person, _, outfit = path.stem.rpartition("_")
        people.setdefault(person, {})[outfit] = path
    return people


@lru_cache(maxsize=6)
def scene(person: str, outfit: str) -> Scene:
    """A person's file in an outfit."""
    return read_glb(files()[person][outfit])


@lru_cache(maxsize=1)
def bank() -> Bank:
    """The bank, read from the cache or made in about two minutes."""
    cache = heads_folder() / "cache" / "bank.npz"
    if not cache.is_file():
        cache.parent.mkdir(exist_ok=True)
        beside = cache.with_suffix(".part.npz")
        np.savez(beside, **_flat(_make_bank()))
        beside.rename(cache)
    with np.load(cache) as stored:
        return _from_flat({name: stored[name] for name in stored.files})


def head_points(mesh: Mesh, joint: np.ndarray) -> np.ndarray:
    """Which points belong to the head and the neck, (n,) bool."""
    return mesh.positions[:, 1] > joint[1] - 0.16


def match(uv: np.ndarray, to: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each point the nearest of `to` by texture coordinates: its index and the distance."""
    distance, index = cKDTree(to).query(uv)
    return index, distance


def align(points: np.ndarray, to: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """The similarity (scale, rotation (3, 3), shift (3,)) that takes points (n, 3) nearest `to`.

    Umeyama 1991, "Least-squares estimation of transformation parameters between two point
    patterns": apply as `scale * points @ rotation.T + shift`.
    """
    a, b = points.mean(0), to.mean(0)
    u, d, vt = np.linalg.svd((to - b).T @ (points - a) / len(points))
    sign = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ sign @ vt
    scale = float((d * np.diag(sign)).sum() / ((points - a) ** 2).sum(1).mean())
    return scale, rotation, b - scale * rotation @ a


def head_crop(picture: Image.Image) -> np.ndarray:
    """The head's part of a texture, (h, w, 3) uint8."""
    small = picture.resize((TEXTURE_PX, TEXTURE_PX), Image.Resampling.BOX)
    return np.asarray(small)[: int(HEAD_V * TEXTURE_PX), : int(HEAD_U * TEXTURE_PX)]


def uv_grid() -> np.ndarray:
    """Texture coordinates of the head's part of a texture, (h, w, 2) float32."""
    h, w = int(HEAD_V * TEXTURE_PX), int(HEAD_U * TEXTURE_PX)
    v, u = np.mgrid[0:h, 0:w].astype(np.float32)
    return np.stack([u + 0.5, v + 0.5], -1) / TEXTURE_PX


def _first_outfit(person: str) -> str:
    return next(outfit for outfit in OUTFITS if outfit in files()[person])


def _make_bank() -> Bank:
    reference = scene(REFERENCE, "Default")
    body, joint = reference.meshes[BODY], reference.joints["Head"]
    chosen = head_points(body, joint)
    uv = body.uv[chosen]
    remap = np.cumsum(chosen) - 1
    triangles = remap[body.triangles[chosen[body.triangles].all(1)]].astype(np.int32)
    target = body.positions[chosen] - joint
    # Heads are laid on each other by face and ears, not by necks.
    rigid = (np.linalg.norm(uv - FACE_UV, axis=1) < 0.2) & (target[:, 1] > -0.06)
    shapes, small, offsets, jaws, skins, reliefs, bald = [], [], [], [], [], [], []
    names = sorted(files())
    for name in names:
        own = scene(name, _first_outfit(name))
        mesh = own.meshes[BODY]
        index, _ = match(uv, mesh.uv)
        points = mesh.positions[index] - own.joints["Head"]
        scale, rotation, shift = align(points[rigid], target[rigid])
        shapes.append(scale * points @ rotation.T + shift)
        # Files may list the same points in another order.
        order = {s: match(reference.meshes[s].uv, own.meshes[s].uv)[0] for s in SMALL}
        small.append(
            [
                scale * (own.meshes[s].positions[i] - own.joints["Head"]) @ rotation.T + shift
                for s, i in order.items()
            ]
        )
        offsets.append({k: scale * v[index] @ rotation.T for k, v in mesh.targets.items()})
        jaws.append(
            {k: scale * v @ rotation.T for k, v in own.meshes["h_TeethDown"].targets.items()}
        )
        wardrobe = [scene(name, outfit) for outfit in files()[name]]
        skins.append(np.median([head_crop(s.colors[0]) for s in wardrobe], axis=0).astype(np.uint8))
        reliefs.append(head_crop(own.normal_maps[0]))
        bald.append(WIG in own.meshes)
    hair, painted = _hair(np.stack(skins), np.array(bald))
    return Bank(
        names=tuple(names),
        uv=uv,
        triangles=triangles,
        head=head_weight(body.weights)[chosen],
        neck=body.weights["Neck"][chosen],
        island=_island(uv, triangles),
        shapes=np.stack(shapes).astype(np.float32),
        small={
            s: np.stack([row[i] for row in small]).astype(np.float32) for i, s in enumerate(SMALL)
        },
        small_uv={s: reference.meshes[s].uv for s in SMALL},
        small_triangles={s: reference.meshes[s].triangles for s in SMALL},
        expressions=_mean(offsets),
        jaw=_mean(jaws),
        skins=np.stack(skins),
        reliefs=np.stack(reliefs),
        hair=hair,
        bald=~painted,
    )


def head_weight(weights: dict[str, np.ndarray]) -> np.ndarray:
    """How much each point of a mesh moves with the head, (n,)."""
    return sum(w for n, w in weights.items() if n in ("Head", "HeadEnd", "LeftEye", "RightEye"))


def _island(uv: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    h, w = uv_grid().shape[:2]
    mask = np.zeros((h, w), np.uint8)
    corners = np.rint(uv[triangles] * TEXTURE_PX * 16).astype(np.int32)
    for corner in corners:
        cv2.fillConvexPoly(mask, corner, 255, shift=4)
    return cv2.dilate(mask, np.ones((5, 5))).astype(np.float32) / 255


def _mean(rows: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {k: np.mean([row[k] for row in rows if k in row], 0, np.float32) for k in rows[0]}


def _hair(skins: np.ndarray, wigs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where painted hair is, (h, w) 0..1, and who has it, (p,) bool: whose scalp is no skin."""
    grid = uv_grid()
    cheek = np.linalg.norm(grid - (0.24, 0.32), axis=-1) < 0.03
    scalp = np.linalg.norm(grid - (0.325, 0.08), axis=-1) < 0.04
    masks, painted = [], []
    for skin, wig in zip(skins, wigs, strict=True):
        tone = np.median(skin[cheek], 0)
        far = np.abs(skin.astype(float) - tone).mean(-1) > 0.30 * tone.mean()
        painted.append(bool(far[scalp].mean() > 0.5) and not wig)
        if painted[-1]:
            masks.append(far)
    return np.mean(masks, 0).astype(np.float32), np.array(painted)


PLAIN = ("uv", "triangles", "head", "neck", "island", "shapes", "skins", "reliefs", "hair", "bald")

TABLES = ("small", "small_uv", "small_triangles", "expressions", "jaw")


def _flat(of: Bank) -> dict[str, np.ndarray]:
    flat = {"names": np.array(of.names)}
    for field in PLAIN:
        flat[field] = getattr(of, field)
    for field in TABLES:
        flat |= {f"{field}/{name}": value for name, value in getattr(of, field).items()}
    return flat


def _from_flat(flat: dict[str, np.ndarray]) -> Bank:
    def under(field: str) -> dict[str, np.ndarray]:
        start = f"{field}/"
        return {k.removeprefix(start): v for k, v in flat.items() if k.startswith(start)}

    plain = {f: flat[f] for f in PLAIN}
    tables = {f: under(f) for f in TABLES}
    return Bank(names=tuple(map(str, flat["names"])), **plain, **tables)
