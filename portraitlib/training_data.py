"""What a training sees: photos and class images as latents, captions encoded, one batch a step."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from portraitlib.class_images import ClassImages
from portraitlib.latents import latent_distribution
from portraitlib.models import Model
from portraitlib.photo_set import PhotoSet
from portraitlib.pictures import picture_hash
from portraitlib.prompts import encode_prompt, fit_words
from portraitlib.settings import DreamBooth, Sampling

EPOCH, STEP = 1, 2  # what a random number is for; part of its seed
ENCODED_TOGETHER = 8


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures as the VAE sees them, each encoded once; on the model's device.

    means, spreads: (pictures, 4, height/8, width/8) of the normal distribution that a latent is
        drawn from; photos with a margin, in which their crops move.
    texts: the number of each picture's caption.
    sizes: (pictures, 6), SDXL's original height and width, crop's top and left, target size.
    masks: (pictures, 1, height/8, width/8) from 0 to 1, what the loss counts; None for all of it.
    """

    means: torch.Tensor
    spreads: torch.Tensor
    texts: torch.Tensor
    sizes: torch.Tensor
    masks: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.means)


@dataclass(frozen=True, eq=False)
class Batch:
    """The samples of one step: first the photos, then as many of the class, row by row.

    latents, noise: (batch, 4, height/8, width/8).  times: noise levels, 0 to 999.
    texts: number of the caption; that after the last is the empty one.
    sizes: (batch, 6).  weights: (batch,), what each sample counts in the loss; they sum to 1, or
    to 1 + prior_loss_weight.  masks: (batch, 1, height/8, width/8), or None.
    of_class: (batch,), is it of the class half?
    """

    latents: torch.Tensor
    noise: torch.Tensor
    times: torch.Tensor
    texts: torch.Tensor
    sizes: torch.Tensor
    weights: torch.Tensor
    of_class: torch.Tensor
    masks: torch.Tensor | None

    def __len__(self) -> int:
        return len(self.latents)

    def part(self, rows: slice | torch.Tensor) -> Batch:
        """Some rows of it."""
        masks = None if self.masks is None else self.masks[rows]
        return Batch(
            *(self.latents[rows], self.noise[rows], self.times[rows], self.texts[rows]),
            *(self.sizes[rows], self.weights[rows], self.of_class[rows], masks),
        )


@dataclass(frozen=True, eq=False)
class TrainingData:
    """All that a training sees.

    captions: every distinct one; the empty one comes after the last.
    prior: what the class half is drawn from; None where there is no class half.
    window: height and width of a sample's latents.
    """

    photos: Pictures
    prior: Pictures | None
    captions: tuple[str, ...]
    window: int

    def batch(self, settings: DreamBooth, step: int, levels: int = 1000) -> Batch:
        """The samples of step `step`, from 0: they follow from it and the seed alone."""
        count = settings.train_batch_size
        assert count is not None
        halves = [self._draw(self.photos, settings, step, count, 0, levels)]
        weights = [torch.full((count,), 1 / count)]
        if self.prior is not None:
            halves.append(self._draw(self.prior, settings, step, count, 1, levels))
            weights.append(torch.full((count,), settings.prior_loss_weight / count))
        latents, noise, times, texts, sizes, masks = zip(*halves, strict=True)
        masked = any(each is not None for each in masks)
        whole = torch.ones_like(latents[0][:, :1])
        device = self.photos.means.device
        of_class = torch.arange(len(halves)).repeat_interleave(count).bool()
        return Batch(
            *(torch.cat(latents), torch.cat(noise), torch.cat(times), torch.cat(texts)),
            *(torch.cat(sizes), torch.cat(weights).to(device), of_class.to(device)),
            torch.cat([whole if each is None else each for each in masks]) if masked else None,
        )

    def _draw(
        self,
        pictures: Pictures,
        settings: DreamBooth,
        step: int,
        count: int,
        half: int,
        levels: int,
    ) -> tuple[torch.Tensor, ...]:
        """`count` samples: latents drawn anew, crops, noise, time steps and captions."""
        rng = np.random.default_rng((settings.seed, STEP, step, half))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        rows = torch.from_numpy(_order(len(pictures), settings.seed, half, step * count, count))
        device = pictures.means.device
        shape = (count, pictures.means.shape[1], self.window, self.window)
        drawn, noise = (torch.randn(shape, generator=generator).to(device) for _ in range(2))
        if settings.noise_offset:
            whole = torch.randn((*shape[:2], 1, 1), generator=generator)
            noise = noise + settings.noise_offset * whole.to(device)
        # One noise level in each part of the range: the same spread in every batch.
        shares = (rng.permutation(count) + rng.random(count)) / count
        times = torch.from_numpy((shares * levels).astype(np.int64)).to(device)
        margin = pictures.means.shape[-1] - self.window
        corners = rng.integers(margin + 1, size=(count, 2))
        silent = torch.from_numpy(rng.random(count) < settings.caption_dropout)
        texts = pictures.texts[rows].masked_fill(silent, len(self.captions))
        means, spreads, masks = (
            None if each is None else self._crop(each[rows.to(device)], corners)
            for each in (pictures.means, pictures.spreads, pictures.masks)
        )
        assert means is not None and spreads is not None
        sizes = pictures.sizes[rows]
        return means + spreads * drawn, noise, times, texts, sizes, masks

    def _crop(self, latents: torch.Tensor, corners: np.ndarray) -> torch.Tensor:
        side = self.window
        rows = zip(latents, corners, strict=True)
        return torch.stack([each[:, y : y + side, x : x + side] for each, (y, x) in rows])
