"""Quick drawings along edges: settings, ControlNets, and counts of what was computed."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from drawing import counting_calls, pixels

import portraitlib as pl

PROMPT = "portrait of a man, comic book style"
QUICK = pl.Sampling(seed=11, num_inference_steps=6, size_px=64, guidance_scale=3.0)
HALF = pl.Control(scale=0.8, start=0.3, end=0.7)


def assert_same(portraits, theirs):
    for portrait, values in zip(portraits, theirs, strict=True):
        assert np.abs(pixels(portrait) - values).max() <= 1


@contextmanager
def counting_parts(steered):
    """The same model without what it remembers; the batch sizes of its parts' calls meanwhile."""
    fresh = replace(steered, prompts=OrderedDict(), pictures=OrderedDict(), controlnets={})
    net, pipeline = pl.load_controlnet(fresh), fresh.pipeline
    parts = {
        "embedded": net.embedding,
        "controlled": net.trunk,
        "denoised": pipeline.unet,
        "read": pipeline.text_encoder,
        "encoded": pipeline.vae.encoder,
        "decoded": pipeline.vae.decoder,
    }
    with ExitStack() as stack:
        counted = {name: stack.enter_context(counting_calls(part)) for name, part in parts.items()}
        yield fresh, SimpleNamespace(**counted)


def write_controlnet(folder: Path, unet, seed: int) -> Path:
    """A ControlNet that does something: seeded numbers where training would begin from zeros."""
    import torch

    from recipes.first_mini.controlnet import new_controlnet

    controlnet = new_controlnet(unet)
    generator = torch.Generator().manual_seed(seed)
    for name, weights in controlnet.named_parameters():
        if name.startswith(("controlnet_", "controlnet_cond_embedding.conv_out")):
            weights.data = 0.1 * torch.randn(weights.shape, generator=generator)
    controlnet.save_pretrained(folder)
    return folder
