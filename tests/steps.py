"""One step of a training: a trainer, its loss and its gradients."""

from __future__ import annotations

import torch
from accelerate import Accelerator

from portraitlib.training.check import fill_training
from portraitlib.training.data import Batch, encode_captions, prepare_data
from portraitlib.training.networks import tune
from portraitlib.training.step import (
    _accumulate,
    make_trainer,
    weighted_error,
)


def trainer_for(model, photos, settings, class_images=None):
    """All that an update needs, with a LoRA that already does something."""
    chosen = fill_training(model, photos, settings)
    tuned = tune(model, chosen)
    trainer = make_trainer(model, tuned, chosen, Accelerator())
    trainer.data = prepare_data(model, photos, chosen, class_images)
    trainer.words = encode_captions(model, trainer.data.captions)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for name, weight in tuned.weights.items():
            if name.endswith("lora_B.weight"):
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.05)
    return trainer


def gradients(trainer, batch: Batch, micro_batch_size: int) -> dict[str, torch.Tensor]:
    trainer.micro_batch_size = micro_batch_size
    _accumulate(trainer, batch)
    return {
        name: weight.grad.clone()
        for name, weight in trainer.tuned.weights.items()
        if weight.grad is not None
    }


def loss_of(trainer, batch: Batch) -> float:
    with torch.no_grad():
        return float(weighted_error(trainer, batch))


def close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Are two sets of gradients the same but for rounding?"""
    largest = max(float(each.abs().max()) for each in other.values())
    return one.keys() == other.keys() and all(
        torch.allclose(one[name], other[name], rtol=1e-3, atol=1e-5 * largest) for name in one
    )
