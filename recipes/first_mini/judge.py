"""Trains the judge of the embedded world on drawn portraits, examines it and passes it on.

    python -m recipes.first_mini.judge --state runs/mini

draws portraits, trains the judge and writes weights, limits and exam to `weights_judge`; with
`--figures FOLDER` it measures that pipeline instead.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from portraitlib.mini.judge import LANDMARKS, MAP_CELLS, SIZE_PX, WEIGHTS, Judge
from portraitlib.mini.visible import visible_codes
from portraitlib.mini.words import GROUPS, PHRASES

from .drawings import Drawings, make_drawings, read_drawings
from .spoil import break_pictures, soften
from .training import Average, Muon, load_state, train_small

STEPS = 4000
BATCH = 44  # drawn portraits a step
BROKEN = 16  # further ones a step, broken: they teach what is no face
RATE = 2e-3


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
    parser = argparse.ArgumentParser(prog="python -m recipes.first_mini.judge", description=__doc__)
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
