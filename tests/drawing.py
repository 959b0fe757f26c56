"""Prompts and settings of quick drawings, and counts of what a network was asked."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import torch

import portraitlib as pl

PROMPT = "portrait of a man, curly hair, smiling"
QUICK = pl.Sampling(seed=11, num_inference_steps=3, size_px=64)


def pixels(portrait: pl.Portrait) -> np.ndarray:
    return np.asarray(portrait.image).astype(int)


@contextmanager
def counting_calls(module: torch.nn.Module):
    """The batch sizes of a module's calls while the block runs."""
    sizes: list[int] = []
    handle = module.register_forward_pre_hook(
        lambda _, arguments, named: sizes.append(len((*arguments, *named.values())[0])),
        with_kwargs=True,
    )
    try:
        yield sizes
    finally:
        handle.remove()
