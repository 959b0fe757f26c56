"""Adapters with random weights, and what a model draws with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from drawing import PROMPT, QUICK, pixels

import portraitlib as pl

TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2")
TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")
RECIPE = {"steps": 400, "photos": ["sha256:1", "sha256:2"], "seconds": 12.5}


def lora_tensors(model, seed: int, rank: int = 4, text: bool = False) -> dict[str, torch.Tensor]:
    """Random matrices under the names that peft gives, large enough to change a picture."""
    generator = torch.Generator().manual_seed(seed)
    parts = {"unet": TARGETS} | (
        {"text_encoder": TEXT_TARGETS, "text_encoder_2": TEXT_TARGETS} if text else {}
    )
    tensors = {}
    for part, targets in parts.items():
        for name, module in getattr(model.pipeline, part).named_modules():
            if name.endswith(targets):
                rows, columns = module.weight.shape
                down = torch.randn(rank, columns, generator=generator) / columns**0.5
                up = torch.randn(rows, rank, generator=generator) * 0.1
                tensors[f"{part}.{name}.lora_A.weight"] = down
                tensors[f"{part}.{name}.lora_B.weight"] = up
    return tensors


def make_lora(model, seed: int = 0, rank: int = 4, text: bool = False, **about) -> pl.Adapter:
    about = {"base": model.name, "base_revision": model.revision, "identifier": "jrdnpl"} | about
    return pl.Adapter("lora", lora_tensors(model, seed, rank, text), rank, 2.0, **about)


def make_full(model, seed: int = 7) -> pl.Adapter:
    """Whole weights, near those of the model."""
    generator = torch.Generator().manual_seed(seed)
    weights = {
        f"unet.{name}": value + 0.01 * torch.randn(value.shape, generator=generator)
        for name, value in model.pipeline.unet.state_dict().items()
    }
    return pl.Adapter("full", weights, 0, 0.0, model.name, model.revision, "jrdnpl")


def draw(model, **settings) -> np.ndarray:
    (portrait,) = pl.text_to_image(model, PROMPT, replace(QUICK, **settings))
    return pixels(portrait)


def nearly_equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Up to rounding: no channel value off by more than 1 of 255, fewer than 1 in 200 at all."""
    difference = np.abs(one - other)
    return difference.max() <= 1 and (difference > 0).mean() < 0.005
