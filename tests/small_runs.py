"""Small trainings: a settings file, runs of a few numbers, and what is in their folders."""

from __future__ import annotations

from pathlib import Path

import torch

from portraitlib.training.checkpoints import open_run, save_checkpoint

SMALL = """\
model = "mini"
photos = "subject"
[dreambooth]
max_train_steps = {steps}
layers = "attention"
rank = 4
train_batch_size = 1
save_every_steps = 2
"""
IDENTITY = {"photos": "a1b2", "rank": 4, "prior_weight": 1.0, "sizes": (128, 128)}


def tensors_at(step: int) -> dict[str, torch.Tensor]:
    noise = torch.randn(3, 5, generator=torch.Generator().manual_seed(step))
    return {"weight": noise, "half": noise.bfloat16(), "step": torch.tensor(float(step))}


def save_steps(folder: Path, *steps: int) -> None:
    with open_run(folder, IDENTITY):
        for step in steps:
            save_checkpoint(folder, step, tensors_at(step), {"loss": 1 / 3, "step": step})


def files_of(*steps: int) -> set[str]:
    """What is in the folder of a run that saved these."""
    return {".lock", "run.json", *(f"step-{step:06d}.safetensors" for step in steps)}


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(
        found[name].dtype == expected[name].dtype and torch.equal(found[name], expected[name])
        for name in found
    )


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
