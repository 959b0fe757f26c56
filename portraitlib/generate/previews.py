"""What a drawing will look like, while it is drawn.

Between two steps the latents hold picture and noise. The line through two neighbouring latents,
over their noise levels, points at the picture that the model has in mind: where it meets no noise
(what Euler's method predicted, exactly). Decoded small, that is a preview; the drawing itself is
not touched. Who asks for no picture pays nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image

from portraitlib.generate.latents import decode_latents
from portraitlib.models.load import Model

PREVIEW_PX = 256  # a side that decodes in a fraction of a step; smaller models draw smaller anyway


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
