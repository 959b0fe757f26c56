"""Tells the people of the embedded world apart, in every style: an encoder of drawn faces.

A face becomes a point on a sphere: two shots of one person lie near each other, those of two
people far apart. Learnt by telling each shot of a batch which others show the same person
(Khosla et al. 2020, https://arxiv.org/abs/2004.11362), among people whom the same words describe.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from portraitlib.mini.judge import PERSON_NUMBERS, Residual, convolution
from portraitlib.places import PACKAGE

WEIGHTS = PACKAGE / "mini" / "weights_likeness"
FACE_PX = 64  # of the aligned face that the encoder sees
NUMBERS = 64  # of the point that a face becomes
WIDTHS = (32, 64, 128)  # at 32, 16 and 8 cells a side
# Where the landmarks of an average face lie in the aligned one, in 0..1, as in `judge.LANDMARKS`.
CANONICAL = ((0.353, 0.489), (0.647, 0.489), (0.5, 0.642), (0.5, 0.761), (0.5, 0.107), (0.5, 0.917))


def align(images: torch.Tensor, landmarks: torch.Tensor) -> torch.Tensor:
    """Turn, shift and scale faces so that their landmarks lie where an average face has them.

    images: (n, 3, height, width); landmarks: (n, 6, 2) in 0..1. Returns (n, 3, 64, 64). The map is
    the similarity of least squares (Umeyama 1991), so that proportions stay as they are.
    """
    wanted = torch.tensor(CANONICAL)
    middle, at = wanted.mean(0), landmarks.mean(1)
    away, there = wanted - middle, landmarks - at[:, None]  # from the aligned face to the picture
    size = away.square().sum()
    a = (there * away).sum((1, 2)) / size
    b = (there[..., 1] * away[:, 0] - there[..., 0] * away[:, 1]).sum(1) / size
    turn = torch.stack([torch.stack([a, -b], 1), torch.stack([b, a], 1)], 1)  # (n, 2, 2)
    shift = at - (turn @ middle[:, None])[..., 0]
    # grid_sample counts from -1 to 1, both ways: 0..1 is u = (x + 1) / 2.
    half = torch.full((2,), 0.5)
    offset = 2 * (shift + (turn @ half[:, None])[..., 0]) - 1
    matrix = torch.cat([turn, offset[..., None]], 2)
    grid = F.affine_grid(matrix, [len(images), 3, FACE_PX, FACE_PX], align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


class LikenessEncoder(nn.Module):
    """(batch, 3, 64, 64) aligned faces in -1..1 to (batch, 64) of length 1.

    `features` are what the point is made of; in training the person's numbers are read off them
    as well, which says what to look at long before the people could.
    """

    def __init__(self) -> None:
        super().__init__()
        a, b, c = WIDTHS
        self.body = nn.Sequential(
            convolution(12, a), convolution(a, b, 2), Residual(b), convolution(b, c, 2), Residual(c)
        )
        self.places = nn.Conv2d(c, 24, 1)
        self.trunk = nn.Sequential(
            nn.Linear(24 * 64 + c, 256), nn.LayerNorm(256), nn.SiLU(), nn.Dropout(0.1)
        )
        self.point = nn.Linear(256, NUMBERS)
        self.numbers = nn.Linear(256, len(PERSON_NUMBERS))

    def features(self, faces: torch.Tensor) -> torch.Tensor:
        body = self.body(F.pixel_unshuffle(faces, 2))
        return self.trunk(torch.cat([self.places(body).flatten(1), body.mean((2, 3))], 1))

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.point(self.features(faces)), dim=1)


def to_tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def ready(encoder: LikenessEncoder) -> LikenessEncoder:
    return encoder.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@torch.no_grad()
def embed(
    encoder: LikenessEncoder, images: np.ndarray, landmarks: np.ndarray, batch: int = 64
) -> np.ndarray:
    """Faces to points, (n, 64) float32 of length 1.

    images: (n, height, width, 3) uint8; landmarks: (n, 6, 2) in 0..1 of the picture.
    """
    rows = [torch.zeros(0, NUMBERS)]
    return torch.cat([*rows, *map(encoder, _aligned(images, landmarks, batch))]).numpy()


@torch.no_grad()
def face_features(images: np.ndarray, landmarks: np.ndarray, batch: int = 64) -> torch.Tensor:
    """What the shipped encoder makes a point of, (n, 256): more than who it is. As for `embed`."""
    return torch.cat([*map(shipped_likeness().features, _aligned(images, landmarks, batch))])


def _aligned(images: np.ndarray, landmarks: np.ndarray, batch: int) -> Iterator[torch.Tensor]:
    for start in range(0, len(images), batch):
        places = torch.from_numpy(np.asarray(landmarks[start : start + batch], np.float32))
        faces = align(to_tensor(np.array(images[start : start + batch])), places)
        yield faces.contiguous(memory_format=torch.channels_last)


def load_likeness(folder: Path = WEIGHTS) -> tuple[LikenessEncoder, dict[str, Any]]:
    """The trained encoder, ready to embed, and its notes (thresholds, exam, curve)."""
    from safetensors.torch import load_file

    if not (folder / "likeness.safetensors").exists():
        raise FileNotFoundError(f"{folder}: no encoder here; install the package again")
    encoder = LikenessEncoder()
    tensors = load_file(folder / "likeness.safetensors")
    plain = {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
    encoder.load_state_dict(plain, strict=False)
    notes = json.loads((folder / "likeness.json").read_text())
    return ready(encoder), notes


@cache
def shipped_likeness() -> LikenessEncoder:
    """The encoder of the package's own weights, loaded once."""
    return load_likeness()[0]
