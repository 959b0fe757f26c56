"""Panoramas of real places (CC0), kept small: crops of them, and the light that they give.

`python -m recipes.mini.world.surroundings` fetches them once: Blender's studio lights out of the
wheel `bpy` and pmndrs' out of npm's `@pmndrs/assets`, by way of the packages `OpenEXR` and numpy.
They lie in `cache/` of the folder $PORTRAITLIB_HEADS, beside the heads, and are never committed.
"""

from __future__ import annotations

import argparse
import base64
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import cv2
import numpy as np

WHEEL, PACK = "bpy==4.5.3", "@pmndrs/assets@1.7.0"
WHEEL_FOLDER = "bpy/4.5/datafiles/studiolights/world/"
# Which of the wheel's and the pack's panoramas show or light which place.
FROM_WHEEL = ("city", "courtyard", "forest", "interior", "sunrise", "sunset")
FROM_PACK = ("city", "esplanade", "forest", "park", "sky", "sunset", "venice")
SUN = 12.0  # times the mean radiance: what is brighter counts as the key light


def folder() -> Path:
    """Where heads and panoramas lie: $PORTRAITLIB_HEADS or a folder in the user's cache."""
    return Path(os.environ.get("PORTRAITLIB_HEADS", "~/.cache/portraitlib-heads")).expanduser()


@cache
def panoramas() -> dict[str, np.ndarray]:
    """All panoramas by name, (height, 2 height, 3) float32, linear light, mean radiance 1.

    Raises FileNotFoundError where they were never fetched.
    """
    path = folder() / "cache" / "panoramas.npz"
    if not path.exists():
        raise FileNotFoundError(
            f"no {path}; fetch it once with `python -m recipes.mini.world.surroundings`"
        )
    with np.load(path) as stored:
        return {name: stored[name].astype(np.float32) for name in stored.files}


def crop(
    panorama: np.ndarray, yaw: float, pitch: float, width_degrees: float, size_px: int
) -> np.ndarray:
    """The view from the panorama's middle, (size_px, size_px, 3) linear light.

    yaw, pitch: degrees to the right and up.  width_degrees: the field of view across.
    """
    half = np.tan(np.radians(width_degrees) / 2)
    x, y = np.meshgrid(*[(np.arange(size_px) + 0.5) / size_px * 2 * half - half] * 2)
    up, turn = np.radians(pitch), np.radians(yaw)
    y, z = -y * np.cos(up) + np.sin(up), y * np.sin(up) + np.cos(up)
    longitude = np.arctan2(x, z) + turn
    latitude = np.arctan2(y, np.hypot(x, z))
    height, width = panorama.shape[:2]
    columns = ((longitude / (2 * np.pi) + 0.5) % 1 * width - 0.5).astype(np.float32)
    rows = ((0.5 - latitude / np.pi) * height - 0.5).astype(np.float32)
    wrapped = cv2.copyMakeBorder(panorama, 0, 0, 2, 2, cv2.BORDER_WRAP)
    return cv2.remap(
        wrapped, columns + 2, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    ).clip(0)


def directions(height: int, yaw: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Of a panorama's pixels: directions in the space of a camera that looks to `yaw` (degrees).

    Returns (height, 2 height, 3) x right, y up, z to the viewer, and (height, 1) solid angles.
    """
    latitude = (0.5 - (np.arange(height) + 0.5) / height) * np.pi
    longitude = ((np.arange(2 * height) + 0.5) / (2 * height) - 0.5) * 2 * np.pi - np.radians(yaw)
    level = np.cos(latitude)[:, None]
    up = np.repeat(np.sin(latitude)[:, None], 2 * height, axis=1)
    towards = np.stack([level * np.sin(longitude), up, -level * np.cos(longitude)], axis=-1)
    return towards.astype(np.float32), level * (np.pi / height) ** 2


def harmonics(towards: np.ndarray) -> np.ndarray:
    """The nine real spherical harmonics of unit directions, (..., 3) -> (..., 9)."""
    x, y, z = np.moveaxis(towards, -1, 0)
    return np.stack(
        [
            np.full_like(x, 0.282095),
            *(0.488603 * y, 0.488603 * z, 0.488603 * x),
            *(1.092548 * x * y, 1.092548 * y * z, 0.315392 * (3 * z * z - 1), 1.092548 * x * z),
            0.546274 * (x * x - y * y),
        ],
        axis=-1,
    )


def light_of(panorama: np.ndarray, yaw: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a panorama sheds on a person before a camera that looks to `yaw` (degrees).

    Returns irradiance (9, 3), which `harmonics(normal) @ irradiance` turns into the light that a
    white surface sends back, without the sun; direction (3,) to the sun or to the brighter side;
    and the sun's colour (3,), which counts times the cosine. (Ramamoorthi and Hanrahan 2001)
    """
    small = cv2.resize(panorama, (64, 32), interpolation=cv2.INTER_AREA)
    towards, angle = directions(32, yaw)
    bound = SUN * float((small * angle[..., None]).sum() / (12 * np.pi))
    sky = np.minimum(small, bound)
    sun = ((small - sky) * angle[..., None]).sum((0, 1)) / np.pi
    falloff = np.repeat([1.0, 2 / 3, 1 / 4], [1, 3, 5])  # of a matt surface, by degree, over pi
    irradiance = np.einsum("hwc,hwk->kc", sky * angle[..., None], harmonics(towards))
    weight = (small.mean(-1) * angle) * np.where(towards[..., 1] > -0.1, 1, 0)
    direction = (towards * (weight**2)[..., None]).sum((0, 1))
    direction /= np.linalg.norm(direction) + 1e-9
    return (irradiance * falloff[:, None]).astype(np.float32), direction, sun.astype(np.float32)


def _read_exr(data: bytes, height: int) -> np.ndarray:
    import OpenEXR  # type: ignore[import-not-found]  # only needed for fetching

    with tempfile.NamedTemporaryFile(suffix=".exr") as file:
        file.write(data)
        file.flush()
        channels = OpenEXR.File(file.name).channels()
    names = list(channels)
    pixels = channels[names[0]].pixels if len(names) == 1 else None
    if pixels is None:
        pixels = np.stack([channels[name].pixels for name in "RGB"], axis=-1)
    pixels = pixels[..., :3].astype(np.float32)
    return cv2.resize(pixels, (2 * height, height), interpolation=cv2.INTER_AREA)


def _keep(pixels: np.ndarray) -> np.ndarray:
    """Mean radiance 1, no negative value, in half precision."""
    _, angle = directions(pixels.shape[0])
    mean = float((pixels.mean(-1) * angle).sum() / (4 * np.pi))
    return np.clip(pixels / mean, 0, 60_000).astype(np.float16)


def fetch() -> Path:
    """Load both packages, keep the panoramas wanted in one file of about 20 MB; return its path."""
    kept: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as there:
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", there, WHEEL]
        subprocess.run(pip, check=True)
        with zipfile.ZipFile(next(Path(there).glob("bpy*.whl"))) as wheel:
            for name in FROM_WHEEL:
                kept[name] = _keep(_read_exr(wheel.read(f"{WHEEL_FOLDER}{name}.exr"), 512))
        subprocess.run(["npm", "pack", "--silent", PACK], cwd=there, check=True)
        with tarfile.open(next(Path(there).glob("*.tgz"))) as pack:
            for name in FROM_PACK:
                file = pack.extractfile(f"package/hdri/{name}.exr.js")
                assert file is not None
                text = file.read().decode().split("base64,")[1].split("'")[0]
                kept[f"pmndrs_{name}"] = _keep(_read_exr(base64.b64decode(text), 256))
    path = folder() / "cache" / "panoramas.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, allow_pickle=False, **kept)
    return path


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    print(fetch())
