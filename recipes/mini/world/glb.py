"""Reads binary glTF files as the heads come in: meshopt-compressed, quantized, WebP textures."""

from __future__ import annotations

import io
import json
import struct
from dataclasses import dataclass
from pathlib import Path

import meshoptimizer
import numpy as np
from PIL import Image

COMPONENTS = {5120: "i1", 5121: "u1", 5122: "i2", 5123: "u2", 5125: "u4", 5126: "f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
FILTERS = {
    "OCTAHEDRAL": meshoptimizer.decode_filter_oct,
    "EXPONENTIAL": meshoptimizer.decode_filter_exp,
    "QUATERNION": meshoptimizer.decode_filter_quat,
}


@dataclass(frozen=True)
class Mesh:
    """One mesh of a file in its rest pose, in metres, y up, looking along z."""

    name: str
    positions: np.ndarray  # (n, 3) float32
    uv: np.ndarray  # (n, 2) float32, v down
    triangles: np.ndarray  # (m, 3) int32
    weights: dict[str, np.ndarray]  # joint -> (n,) float32, of the joints that move this mesh
    targets: dict[str, np.ndarray]  # expression -> (n, 3) float32 offsets in metres
    material: int


@dataclass(frozen=True)
class Scene:
    """What a file holds: meshes, where its joints are, its pictures by name."""

    meshes: dict[str, Mesh]
    joints: dict[str, np.ndarray]  # name -> (3,) metres
    colors: list[Image.Image | None]  # of each material
    normal_maps: list[Image.Image | None]


def read_glb(path: Path) -> Scene:
    """Read a GLB file with one skeleton whose rest pose is its bind pose."""
    data = path.read_bytes()
    if data[:4] != b"glTF":
        raise ValueError(f"{path}: got {data[:4]!r}, expected a binary glTF file")
    length = struct.unpack("<I", data[12:16])[0]
    file = _File(json.loads(data[20 : 20 + length]), data[20 + length + 8 :])
    nodes = file.json["nodes"]
    parents = {child: i for i, node in enumerate(nodes) for child in node.get("children", [])}
    worlds: dict[int, np.ndarray] = {}

    def world(i: int) -> np.ndarray:
        if i not in worlds:
            above = world(parents[i]) if i in parents else np.eye(4)
            worlds[i] = above @ _matrix(nodes[i])
        return worlds[i]

    meshes = [_mesh(file, node, world) for node in nodes if "mesh" in node]
    return Scene(
        meshes={mesh.name: mesh for mesh in meshes},
        joints={n["name"]: world(i)[:3, 3] for i, n in enumerate(nodes) if "mesh" not in n},
        colors=[
            file.picture(m["pbrMetallicRoughness"].get("baseColorTexture")) for m in file.materials
        ],
        normal_maps=[file.picture(m.get("normalTexture")) for m in file.materials],
    )


def _mesh(file: _File, node: dict, world) -> Mesh:
    mesh = file.json["meshes"][node["mesh"]]
    (primitive,) = mesh["primitives"]
    attributes = primitive["attributes"]
    skin = file.json["skins"][node["skin"]]
    inverse_binds = file.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
    joints = file.array(attributes["JOINTS_0"]).astype(int)
    weights = file.array(attributes["WEIGHTS_0"]).astype(np.float32)
    weights /= weights.sum(1, keepdims=True)
    used = np.unique(joints[weights > 0])
    # The rest pose is the bind pose, so every joint takes quantized points to the same metres.
    to_metres = world(skin["joints"][used[0]]) @ inverse_binds[used[0]]
    linear = to_metres[:3, :3].astype(np.float32).T
    names = [file.json["nodes"][j]["name"] for j in skin["joints"]]
    expressions = mesh.get("extras", {}).get("targetNames", [])
    targets = [file.array(t["POSITION"])[:, :3] @ linear for t in primitive.get("targets", [])]
    positions = file.array(attributes["POSITION"])[:, :3] @ linear
    bare = np.zeros((len(positions), 2), np.float32)  # what is hidden may have no texture
    return Mesh(
        name=node["name"],
        positions=positions + to_metres[:3, 3].astype(np.float32),
        uv=file.array(attributes["TEXCOORD_0"]).astype(np.float32)
        if "TEXCOORD_0" in attributes
        else bare,
        triangles=file.array(primitive["indices"]).reshape(-1, 3).astype(np.int32),
        weights={names[j]: ((joints == j) * weights).sum(1).astype(np.float32) for j in used},
        targets={
            name.removeprefix("h_expressions.").removesuffix("_h"): offsets
            for name, offsets in zip(expressions, targets, strict=False)
        },
        material=primitive["material"],
    )


def _matrix(node: dict) -> np.ndarray:
    """A node's own transform, (4, 4)."""
    matrix = np.eye(4)
    x, y, z, w = node.get("rotation", (0, 0, 0, 1))
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, :3] *= np.array(node.get("scale", (1, 1, 1)))
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix


class _File:
    """The JSON and the bytes of a GLB file, its views decoded once."""

    def __init__(self, json: dict, data: bytes) -> None:
        self.json, self.data, self.materials = json, data, json["materials"]
        self.views: dict[int, np.ndarray] = {}

    def view(self, index: int) -> np.ndarray:
        """The bytes of a buffer view, (n,) uint8."""
        if index not in self.views:
            view = self.json["bufferViews"][index]
            packed = view.get("extensions", {}).get("EXT_meshopt_compression")
            start = (packed or view).get("byteOffset", 0)
            raw = np.frombuffer(self.data, np.uint8)[start:][: (packed or view)["byteLength"]]
            self.views[index] = _unpack(raw, packed) if packed else raw
        return self.views[index]

    def array(self, index: int) -> np.ndarray:
        """The values of an accessor, (count, width); normalized ones as floats."""
        accessor = self.json["accessors"][index]
        dtype, width = np.dtype(COMPONENTS[accessor["componentType"]]), WIDTHS[accessor["type"]]
        count = accessor["count"]
        values = np.zeros((count, width), dtype)
        if "bufferView" in accessor:
            values = self._strided(accessor, dtype, width, count)
        if sparse := accessor.get("sparse"):
            kind = np.dtype(COMPONENTS[sparse["indices"]["componentType"]])
            where = self._strided(sparse["indices"], kind, 1, sparse["count"])[:, 0]
            values[where] = self._strided(sparse["values"], dtype, width, sparse["count"])
        if accessor.get("normalized"):
            return values.astype(np.float32) / np.iinfo(dtype).max
        return values

    def _strided(self, place: dict, dtype: np.dtype, width: int, count: int) -> np.ndarray:
        size = dtype.itemsize * width
        stride = self.json["bufferViews"][place["bufferView"]].get("byteStride") or size
        data = self.view(place["bufferView"])[place.get("byteOffset", 0) :]
        where = np.arange(count)[:, None] * stride + np.arange(size)
        return data[where].view(dtype).reshape(count, width).copy()

    def picture(self, texture: dict | None) -> Image.Image | None:
        if texture is None:
            return None
        source = self.json["textures"][texture["index"]]["extensions"]["EXT_texture_webp"]["source"]
        view = self.json["images"][source]["bufferView"]
        return Image.open(io.BytesIO(self.view(view).tobytes())).convert("RGB")


def _unpack(raw: np.ndarray, packed: dict) -> np.ndarray:
    count, stride = packed["count"], packed["byteStride"]
    if packed["mode"] == "TRIANGLES":
        unpacked = meshoptimizer.decode_index_buffer(count, stride, raw)
    elif packed["mode"] == "INDICES":
        unpacked = meshoptimizer.decode_index_sequence(count, stride, raw)
    else:
        unpacked = np.ascontiguousarray(meshoptimizer.decode_vertex_buffer(count, stride, raw))
        if (name := packed.get("filter", "NONE")) != "NONE":
            unpacked = FILTERS[name](unpacked, count, stride)
    return np.ascontiguousarray(unpacked).reshape(-1).view(np.uint8)
