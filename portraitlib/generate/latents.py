"""Pictures in a model's latents: encoded, under noise, and as they form while they are drawn.

Between two steps the latents hold picture and noise. The line through two neighbouring latents,
over their noise levels, points at the picture that the model has in mind: where it meets no noise
(what Euler's method predicted, exactly). Decoded small, that is a preview; the drawing itself is
not touched. Who asks for no picture pays nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image

from portraitlib.models.load import Model
from portraitlib.photos.pictures import picture_hash
from portraitlib.places import once
from portraitlib.settings import Sampling

PREVIEW_PX = 256  # a side that decodes in a fraction of a step; smaller models draw smaller anyway
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
        latents = vae.encode(pixels.to(model.device, vae.dtype)).latent_dist
    shift, spread = _shift_and_spread(vae, latents.mean)
    factor = vae.config.scaling_factor
    return (latents.mode() - shift) / spread * factor, latents.std / spread * factor


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


# --- as they form --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Preview:
    """A drawing after step `step` of `total`.

    latents: (images, 4, height/8, width/8), without the noise that is left.
    """

    model: Model = field(repr=False)
    latents: torch.Tensor = field(repr=False)
    step: int
    total: int

    def pictures(self, count: int = 1) -> list[Image.Image]:
        """The first `count` pictures of the batch as they form, at most about 256 px wide.

        Larger ones are decoded from latents averaged over neighbours: soft, for a sixteenth of the
        work at 1024 px.
        """
        latents = self.latents[:count]
        pooled = latents.shape[-1] * self.model.pipeline.vae_scale_factor // PREVIEW_PX
        if pooled > 1:
            latents = torch.nn.functional.avg_pool2d(latents, pooled)
        pixels = decode_latents(self.model, latents)
        return [Image.fromarray(picture) for picture in (pixels * 255).round().astype("uint8")]


OnPreview = Callable[[Preview], None]


class Previewer:
    """Follows the latents of one drawing, and hands out a Preview after each step.

    scheduler: the one that draws. start: the latents before the first step.
    """

    def __init__(
        self, model: Model, scheduler: Any, start: torch.Tensor, on_preview: OnPreview
    ) -> None:
        self.model, self.scheduler, self.on_preview = model, scheduler, on_preview
        self.latents = start

    def saw(self, latents: torch.Tensor, step: int, total: int) -> None:
        """Take the latents after a step, and tell of them."""
        formed = self._without_noise(latents.float())
        self.latents = latents
        self.on_preview(Preview(self.model, formed, step, total))

    def _without_noise(self, latents: torch.Tensor) -> torch.Tensor:
        """Where the line through the last two latents meets no noise; latents of other schedules
        than sigmas stay as they are."""
        sigmas, index = getattr(self.scheduler, "sigmas", None), self.scheduler.step_index
        if sigmas is None or index is None or not 0 < index < len(sigmas):
            return latents
        before, now = float(sigmas[index - 1]), float(sigmas[index])
        if before <= now:
            return latents
        slope = (latents - self.latents.to(latents)) / (now - before)
        return latents - now * slope
