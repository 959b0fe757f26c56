"""Pictures in a model's latents: encoded, and under noise."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image

from portraitlib.models import Model
from portraitlib.pictures import picture_hash
from portraitlib.settings import Sampling

PICTURES_KEPT = 16  # encoded pictures that a model keeps; 131 kB each with SDXL in float32


def encode_picture(model: Model, picture: Image.Image) -> torch.Tensor:
    """The picture in latents, (1, 4, height/8, width/8); computed once, then remembered.

    It is the mode of what the VAE answers, where diffusers' pipelines draw a sample of it. So one
    picture has one encoding, whatever the seed; a seed's noise is the one that it has in
    text_to_image; and a sweep encodes once. With the embedded model a sample moves a colour by half
    of one of 255 levels.
    """
    key = picture_hash(picture)
    if key in model.pictures:
        model.pictures.move_to_end(key)
        return model.pictures[key]
    vae = model.pipeline.vae
    pixels = model.pipeline.image_processor.preprocess(picture)
    with torch.no_grad():
        latents = vae.encode(pixels.to(model.device, vae.dtype)).latent_dist.mode()
    mean, std = (getattr(vae.config, name, None) for name in ("latents_mean", "latents_std"))
    if mean is not None and std is not None:
        shift, spread = (torch.tensor(row).view(1, -1, 1, 1).to(latents) for row in (mean, std))
        latents = (latents - shift) / spread
    model.pictures[key] = latents * vae.config.scaling_factor
    while len(model.pictures) > PICTURES_KEPT:
        model.pictures.popitem(last=False)
    return model.pictures[key]


def add_noise(
    pipeline: Any,
    latents: torch.Tensor,
    noise: torch.Tensor,
    settings: Sampling,
    strength: float,
) -> torch.Tensor:
    """A picture's latents under the noise of the step that `strength` starts at, (batch, ...)."""
    steps = settings.num_inference_steps
    pipeline.scheduler.set_timesteps(steps, device=noise.device)
    timesteps, _ = pipeline.get_timesteps(steps, strength, noise.device)
    start = timesteps[:1].repeat(len(noise))
    return pipeline.scheduler.add_noise(latents.to(noise).expand_as(noise), noise, start)
