"""Pictures in a model's latents: encoded, and under noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from portraitlib.models.load import Model
from portraitlib.photos.pictures import picture_hash
from portraitlib.places import once
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
    return once(
        model.pictures, key, PICTURES_KEPT, lambda: encode_distribution(model, [picture])[0]
    )


def encode_distribution(
    model: Model, pictures: Sequence[Image.Image]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the pictures' latents, (pictures, 4, height/8, width/8) each.

    A training draws from them anew each time that it sees a picture.
    """
    vae = model.pipeline.vae
    pixels = model.pipeline.image_processor.preprocess(list(pictures))
    with torch.no_grad():
        found = vae.encode(pixels.to(model.device, vae.dtype)).latent_dist
    shift, spread = _shift_and_spread(vae, found.mean)
    factor = vae.config.scaling_factor
    return (found.mode() - shift) / spread * factor, found.std / spread * factor


def decode_latents(model: Model, latents: torch.Tensor) -> np.ndarray:
    """Latents (batch, 4, height/8, width/8) as pictures, (batch, height, width, 3) from 0 to 1."""
    vae = model.pipeline.vae
    latents = latents.to(vae.dtype)  # which may be the finer number type
    shift, spread = _shift_and_spread(vae, latents)
    latents = latents * spread / vae.config.scaling_factor + shift
    with torch.no_grad():
        pixels = vae.decode(latents, return_dict=False)[0]
    return model.pipeline.image_processor.postprocess(pixels, output_type="np")


def _shift_and_spread(vae: Any, like: torch.Tensor) -> tuple[Any, Any]:
    """What some VAEs want taken off their latents and divided out of them, else 0 and 1."""
    mean, std = (getattr(vae.config, name, None) for name in ("latents_mean", "latents_std"))
    if mean is None or std is None:
        return 0.0, 1.0
    shift, spread = (torch.tensor(row).view(1, -1, 1, 1).to(like) for row in (mean, std))
    return shift, spread


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
