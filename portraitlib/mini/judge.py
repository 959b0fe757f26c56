"""Says what a portrait shows: a small network that has learnt on drawn portraits only.

It reads three things: which value of each group of `words.PHRASES` a picture shows, the numbers of
the person in it, and where the features of the face are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from portraitlib.mini.words import GROUPS, PHRASES
from portraitlib.places import PACKAGE

WEIGHTS = PACKAGE / "mini" / "weights_judge"
SIZE_PX = 96  # pictures of another size are brought to this one
MAP_CELLS = 24  # of the maps that landmarks are found on
WIDTHS = (24, 48, 96, 128)  # at 48, 24, 12 and 6 cells a side
LANDMARKS = ("left eye", "right eye", "nose", "mouth", "hair", "chin")
# What tells the people of the world apart, each from -1 to 1: the fields of `people.Person`.
PERSON_NUMBERS = (
    "face_width",
    "face_length",
    "jaw",
    "chin",
    "skin_tone",
    "skin_warmth",
    "eye_spacing",
    "eye_size",
    "eye_slant",
    "eye_color",
    "brow_thickness",
    "brow_height",
    "brow_arch",
    "nose_length",
    "nose_width",
    "mouth_width",
    "lip_fullness",
    "ear_size",
    "hair_tone",
    "hairline",
    "hair_volume",
    "parting",
)


# --- The network ---------------------------------------------------------------------------------


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Of 3 by 3 cells, normed and bent; `stride` 2 halves the sides."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.SiLU(inplace=True),
    )


class Residual(nn.Module):
    """Two convolutions beside a straight way through."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = convolution(width, width), convolution(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(self.first(x))


class Judge(nn.Module):
    """(batch, 3, 96, 96) in -1..1 to logits of every value of every group (batch, values),
    person numbers (batch, 22) and maps of the landmarks (batch, 6, 24, 24), logits."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = WIDTHS
        self.stem = convolution(12, a)  # sees 2x2 pixels as one cell of twelve numbers
        self.fine = convolution(a, b, 2)
        self.middle = nn.Sequential(convolution(b, c, 2), Residual(c))
        self.coarse = nn.Sequential(convolution(c, d, 2), Residual(d))
        self.marks = nn.Conv2d(c, 32, 1)  # small things, wherever they are
        self.places = nn.Conv2d(d, 32, 1)  # everything, where it is
        self.trunk = nn.Sequential(
            nn.Linear(32 * 36 + 32 + d, 256), nn.LayerNorm(256), nn.SiLU(), nn.Dropout(0.1)
        )
        self.values = nn.Linear(256, sum(len(v) for v in PHRASES.values()))
        self.numbers = nn.Linear(256, len(PERSON_NUMBERS))
        self.up = nn.ModuleList([nn.Conv2d(d, 32, 1), nn.Conv2d(c, 32, 1), nn.Conv2d(b, 32, 1)])
        last = nn.Conv2d(32, len(LANDMARKS), 1)
        nn.init.constant_(last.get_parameter("bias"), -4.0)  # almost every cell is empty
        self.maps = nn.Sequential(convolution(32, 32), last)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        fine = self.fine(self.stem(F.pixel_unshuffle(images, 2)))
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        seen = torch.cat(
            [self.places(coarse).flatten(1), self.marks(middle).amax((2, 3)), coarse.mean((2, 3))],
            1,
        )
        trunk = self.trunk(seen)
        up = F.interpolate(self.up[0](coarse), scale_factor=2) + self.up[1](middle)
        up = F.interpolate(up, scale_factor=2) + self.up[2](fine)
        return self.values(trunk), self.numbers(trunk), self.maps(F.silu(up))


# --- Reading pictures ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """What the judge sees in n pictures.

    looks: (n, groups) uint8, rows as in `Drawings.looks`; people: (n, 22), -1 to 1;
    landmarks: (n, 6, 2) in 0..1 of the picture; confidence: (n, 6), 0 to 1.
    """

    looks: np.ndarray
    people: np.ndarray
    landmarks: np.ndarray
    confidence: np.ndarray

    def shows(self, index: int) -> dict[str, str]:
        """Which value of each group picture `index` shows."""
        return {
            group: list(PHRASES[group])[code]
            for group, code in zip(GROUPS, self.looks[index], strict=True)
        }


def to_judge(images: np.ndarray) -> torch.Tensor:
    """(n, height, width, 3) uint8 of any size to (n, 3, 96, 96) float32 in -1..1."""
    pictures = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
    if pictures.shape[-1] != SIZE_PX or pictures.shape[-2] != SIZE_PX:
        pictures = F.interpolate(pictures, (SIZE_PX, SIZE_PX), mode="bilinear", antialias=True)
    return pictures.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def read(judge: Judge, images: np.ndarray, batch: int = 64) -> Reading:
    """Read pictures, (n, height, width, 3) uint8."""
    sizes = [len(PHRASES[group]) for group in GROUPS]
    rows: list[tuple[np.ndarray, ...]] = []
    for start in range(0, len(images), batch):
        values, numbers, maps = judge(to_judge(images[start : start + batch]))
        looks = torch.stack([logits.argmax(1) for logits in values.split(sizes, 1)], 1)
        places, confidence = _peaks(maps.sigmoid())
        rows.append(tuple(t.numpy() for t in (looks.byte(), numbers, places, confidence)))
    return Reading(*(np.concatenate(column) for column in zip(*rows, strict=True)))


def _peaks(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where each map is highest, to a fraction of a cell, and how high: (n, 6, 2) and (n, 6)."""
    count, kinds, cells, _ = maps.shape
    confidence, at = maps.flatten(2).max(2)
    centre = (torch.arange(cells) + 0.5) / cells
    x, y = centre[at % cells], centre[at // cells]
    # The mean of the cells about the peak: the rest of the map has no say.
    near_x = (centre - x[..., None]).abs() * cells < 2.5
    near_y = (centre - y[..., None]).abs() * cells < 2.5
    spot = maps * near_x[..., None, :] * near_y[..., :, None]
    total = spot.sum((2, 3)).clamp(min=1e-6)
    places = torch.stack([(spot.sum(2) * centre).sum(2), (spot.sum(3) * centre).sum(2)], 2)
    return places / total[..., None], confidence


# --- Coherence -----------------------------------------------------------------------------------

NEEDED = ("left eye", "right eye", "nose", "mouth", "hair")

MEASURES = (
    "eye distance", "eye tilt", "face across", "face down", "nose across", "nose down",
    "mouth across", "mouth down", "hair across", "hair up",
)  # fmt: skip  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """What a portrait has to meet to count as coherent, set on drawn portraits (`exam.py`).

    confidence: the least, by feature; ranges: lowest and highest, by each of `MEASURES`.
    """

    confidence: dict[str, float]
    ranges: dict[str, tuple[float, float]]


def measure_faces(landmarks: np.ndarray) -> np.ndarray:
    """How the features lie, (n, 10), the `MEASURES` of each face.

    Eye distance and the place of the face in the picture's size, tilt in radians, the rest in
    distances of the eyes about the point between them, turned with the head.
    """
    left, right = landmarks[:, 0], landmarks[:, 1]
    between, across = (left + right) / 2, right - left
    distance = np.maximum(np.hypot(across[:, 0], across[:, 1]), 1e-3)
    along = across / distance[:, None]
    down = np.stack([-along[:, 1], along[:, 0]], 1)
    columns = [distance, np.arctan2(across[:, 1], across[:, 0]), between[:, 0], between[:, 1]]
    for index in (2, 3, 4):
        away = (landmarks[:, index] - between) / distance[:, None]
        columns += [(away * along).sum(1), (away * down).sum(1)]
    columns[-1] = -columns[-1]  # hair is above
    return np.stack(columns, 1)


def faults(reading: Reading, limits: Limits) -> list[list[str]]:
    """What is missing or out of place in each picture's face; empty lists where nothing is."""
    measures = measure_faces(reading.landmarks)
    found = []
    for confidence, face in zip(reading.confidence, measures, strict=True):
        missing = [
            f"no {name}"
            for name in NEEDED
            if confidence[LANDMARKS.index(name)] < limits.confidence[name]
        ]
        misplaced = [
            name
            for name, value in zip(MEASURES, face, strict=True)
            if not limits.ranges[name][0] <= value <= limits.ranges[name][1]
        ]
        found.append(missing + misplaced)
    return found


def coherent(reading: Reading, limits: Limits) -> np.ndarray:
    """Which pictures have two eyes, nose, mouth and hair where they belong, (n,) bool."""
    return np.array([not found for found in faults(reading, limits)])


# --- Weights -------------------------------------------------------------------------------------


def load_judge(folder: Path = WEIGHTS) -> tuple[Judge, dict[str, Any]]:
    """The trained judge, ready to read, and its notes (the exam's results, the limits, ...)."""
    from safetensors.torch import load_file

    if not (folder / "judge.safetensors").exists():
        raise FileNotFoundError(f"{folder}: no judge here; install the package again")
    judge = Judge()
    tensors = load_file(folder / "judge.safetensors")
    judge.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
    )
    judge = judge.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return judge, json.loads((folder / "judge.json").read_text())


@cache
def shipped_judge() -> tuple[Judge, dict[str, Any]]:
    """`load_judge` of the package's own weights, loaded once."""
    return load_judge()


def limits_of(notes: dict[str, Any]) -> Limits:
    """The limits that a judge's notes hold."""
    ranges = {name: (low, high) for name, (low, high) in notes["limits"]["ranges"].items()}
    return Limits(notes["limits"]["confidence"], ranges)
