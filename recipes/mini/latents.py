"""Latents of a drawn set for the denoiser: every shard is encoded once, and kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from .architecture import LATENT_PX, SIZES_PX
from .autoencoder import to_tensor
from .sets import PARTS, Shard
from .world.words import Look

CELLS = SIZES_PX[-1] // LATENT_PX  # latents along a side of the larger picture


@dataclass(frozen=True)
class Encoded:
    """A shard as the denoiser sees it.

    means: side of the picture in px -> (n, 12, side/8, side/8) float16.  spreads: the same sides
    -> (12,), how far a latent lies about its mean, by channel.  parts: (n, 10, 32, 32) uint8, how
    much of a latent's pixels is each of `PARTS`, 255 for all.  looks: n, what captions may say.
    """

    means: dict[int, torch.Tensor]
    spreads: dict[int, torch.Tensor]
    parts: torch.Tensor
    looks: list[Look]

    def __len__(self) -> int:
        return len(self.looks)


def part_shares(parts: np.ndarray) -> torch.Tensor:
    """Labels (n, 128, 128) to the share of each of `PARTS` in a latent, (n, 10, 32, 32) uint8."""
    labels = torch.from_numpy(np.array(parts)).long()
    planes = F.one_hot(labels, len(PARTS)).permute(0, 3, 1, 2).float()
    return F.avg_pool2d(planes, parts.shape[-1] // CELLS).mul(255).round().byte().contiguous()


@torch.no_grad()
def _encode(vae: Any, images: np.ndarray) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for side in SIZES_PX:
        means, spreads = [], []
        for start in range(0, len(images), 8):
            pictures = to_tensor(images[start : start + 8])
            if side != pictures.shape[-1]:
                pictures = F.avg_pool2d(pictures, pictures.shape[-1] // side)
            latent = vae.encode(pictures).latent_dist
            means.append(latent.mean.half())
            spreads.append(latent.std.mean((0, 2, 3)))
        tensors[f"mean_{side}"] = torch.cat(means).contiguous()
        tensors[f"spread_{side}"] = torch.stack(spreads).mean(0)
    return tensors


def encoded(vae: Any, shard: Shard, folder: Path) -> Encoded:
    """The latents of a shard by this autoencoder, from `folder` if they are there, else into it."""
    from safetensors.torch import load_file, save_file

    path = folder / f"{shard.folder.name}.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {**_encode(vae, shard.images), "parts": part_shares(shard.parts)}
        save_file(tensors, path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)
    tensors = load_file(path)
    return Encoded(
        {side: tensors[f"mean_{side}"] for side in SIZES_PX},
        {side: tensors[f"spread_{side}"] for side in SIZES_PX},
        tensors["parts"],
        [Look(**meta["look"]) for meta in shard.meta],
    )
