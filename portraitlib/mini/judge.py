"""Says what a portrait shows: a small network that learns on drawn portraits only.

It reads three things: which value of each group of `words.PHRASES` a picture shows, the numbers of
the person in it, and where the features of the face are. The figures of the embedded model
(`figures.py`) are this judge's readings of pictures that the model made.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .drawings import GROUPS, Drawings, make_drawings, read_drawings
from .people import PERSON_NUMBERS
from .spoil import break_pictures, soften
from .training import Average, Muon, load_state, train_small
from .visible import visible_codes
from .words import PHRASES
from .world import LANDMARKS

WEIGHTS = Path(__file__).parent / "weights_judge"
SIZE_PX = 96  # pictures of another size are brought to this one
WIDTHS = (24, 48, 96, 128)  # at 48, 24, 12 and 6 cells a side
MAP_CELLS = 24  # of the maps that landmarks are found on

STEPS = 4000
BATCH = 44  # drawn portraits a step
BROKEN = 16  # further ones a step, broken: they teach what is no face
RATE = 2e-3


# The network ---------------------------------------------------------------------------------


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.SiLU(inplace=True),
    )


class Residual(nn.Module):
    """Two convolutions beside a straight way through."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _conv(width, width), _conv(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(self.first(x))


class Judge(nn.Module):
    """(batch, 3, 96, 96) in -1..1 to logits of every value of every group (batch, values),
    person numbers (batch, 22) and maps of the landmarks (batch, 6, 24, 24), logits."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = WIDTHS
        self.stem = _conv(12, a)  # sees 2x2 pixels as one cell of twelve numbers
        self.fine = _conv(a, b, 2)
        self.middle = nn.Sequential(_conv(b, c, 2), Residual(c))
        self.coarse = nn.Sequential(_conv(c, d, 2), Residual(d))
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
        self.maps = nn.Sequential(_conv(32, 32), last)

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


# Reading pictures ----------------------------------------------------------------------------


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


# Coherence -----------------------------------------------------------------------------------

NEEDED = ("left eye", "right eye", "nose", "mouth", "hair")
MEASURES = (
    "eye distance", "eye tilt", "face across", "face down", "nose across", "nose down",
    "mouth across", "mouth down", "hair across", "hair up",
)  # fmt: skip


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


# Weights -------------------------------------------------------------------------------------


def save_judge(judge: Judge, notes: dict[str, Any], folder: Path = WEIGHTS) -> None:
    """Write the weights as 16-bit safetensors, and what is known of the judge as JSON."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in judge.state_dict().items()
    }
    save_file(tensors, folder / "judge.safetensors.part")
    (folder / "judge.part").write_text(json.dumps(notes, indent=1) + "\n")
    (folder / "judge.safetensors.part").rename(folder / "judge.safetensors")
    (folder / "judge.part").rename(folder / "judge.json")


def load_judge(folder: Path = WEIGHTS) -> tuple[Judge, dict[str, Any]]:
    """The trained judge, ready to read, and its notes (the exam's results, the limits, ...)."""
    from safetensors.torch import load_file

    if not (folder / "judge.safetensors").exists():
        raise FileNotFoundError(f"{folder}: no judge here; run python -m portraitlib.mini.judge")
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


# Training ------------------------------------------------------------------------------------


def _wanted_maps(landmarks: torch.Tensor) -> torch.Tensor:
    """A soft spot of 1 at each landmark, (n, 6, 24, 24)."""
    centre = (torch.arange(MAP_CELLS) + 0.5) / MAP_CELLS
    x = (centre - landmarks[..., 0, None]) * MAP_CELLS
    y = (centre - landmarks[..., 1, None]) * MAP_CELLS
    return torch.exp(-(x[..., None, :] ** 2 + y[..., :, None] ** 2) / (2 * 1.1**2))


def _loss(
    judge: Judge, drawings: Drawings, rng: np.random.Generator
) -> tuple[torch.Tensor, dict[str, float]]:
    rows = rng.integers(len(drawings), size=BATCH + BROKEN)
    images = torch.from_numpy(drawings.images[rows]).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
    landmarks = torch.from_numpy(drawings.landmarks[rows])
    left = torch.ones(len(rows), len(LANDMARKS), dtype=torch.bool)
    broken, still = break_pictures(images[BATCH:], landmarks[BATCH:], None, rng)
    images = torch.cat([images[:BATCH], broken])
    left[BATCH:] = still
    images, landmarks = soften(images, landmarks, rng)
    values, numbers, maps = judge(images.contiguous(memory_format=torch.channels_last))

    looks = drawings.looks[rows[:BATCH]]
    shown = torch.from_numpy(visible_codes(looks))
    codes = torch.from_numpy(looks.astype(np.int64))
    sizes = [len(PHRASES[g]) for g in GROUPS]
    per_group = torch.stack(
        [
            F.cross_entropy(logits, codes[:, i], reduction="none", label_smoothing=0.02)
            for i, logits in enumerate(values[:BATCH].split(sizes, 1))
        ],
        1,
    )
    attributes = (per_group * shown).sum() / shown.sum()
    people = F.mse_loss(numbers[:BATCH], torch.from_numpy(drawings.people[rows[:BATCH]]))
    spots = _wanted_maps(landmarks)
    wanted = spots * left[..., None, None]
    # A spot covers one cell in a hundred: its cells count more, whether its feature is left or not.
    weight = 1 + 30 * spots
    found = (F.binary_cross_entropy_with_logits(maps, wanted, reduction="none") * weight).mean()
    loss = attributes + 3.0 * people + 4.0 * found
    return loss, {
        "loss": loss.item(), "attributes": attributes.item(), "people": people.item(),
        "landmarks": found.item(),
    }  # fmt: skip


def train_judge(folder: Path, drawings: Drawings, steps: int = STEPS) -> None:
    """Train for `steps` steps in all, going on from the state in `folder`."""
    torch.manual_seed(0)
    judge = Judge().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        return _loss(judge, drawings, np.random.default_rng((2, step)))

    train_small(folder, "judge", judge, _optimizer(judge), loss, steps, RATE)


def _optimizer(judge: Judge) -> Muon:
    ends = ("stem", "values", "numbers", "maps.1")
    return Muon(judge, ends, lr=RATE, betas=(0.9, 0.98), weight_decay=0.02)


def trained_judge(folder: Path) -> Judge:
    """The averaged judge of the state in `folder`."""
    judge = Judge()
    average = Average(judge)
    if not load_state(folder, judge, average, _optimizer(judge)):
        raise FileNotFoundError(f"{folder}: no judge here; train it first")
    judge.load_state_dict(average.weights)
    return judge.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m portraitlib.mini.judge", description=__doc__)
    parser.add_argument("--state", type=Path, default=Path("runs/mini"), help="where all is kept")
    parser.add_argument("--drawings", type=int, default=12_000, help="how many to learn on")
    parser.add_argument("--steps", type=int, default=STEPS, help="of training, in all; 0: none")
    parser.add_argument(
        "--exam", type=int, default=2_000, help="how many drawings to examine it on"
    )
    parser.add_argument(
        "--figures", type=Path, metavar="FOLDER", help="measure this pipeline instead"
    )
    parser.add_argument(
        "--count", type=float, default=1.0, help="share of the pictures to measure on"
    )
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    options = parser.parse_args(arguments)
    if options.figures:
        from .figures import measure_mini, summary

        figures = measure_mini(options.figures, share=options.count)
        print(summary(figures))
        if options.out:
            options.out.write_text(json.dumps(figures, indent=1) + "\n")
        return
    if options.steps:
        make_drawings(options.state / "drawings", options.drawings, SIZE_PX)
        drawings = read_drawings(options.state / "drawings", options.drawings)
        train_judge(options.state / "judge", drawings, options.steps)
    from .exam import pass_on

    pass_on(options.state / "judge", options.exam)


if __name__ == "__main__":
    main()
