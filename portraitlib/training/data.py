"""What a training sees: photos and class images as latents, captions encoded, one batch a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from portraitlib.device import put_on
from portraitlib.generate.latents import encode_distribution
from portraitlib.generate.prompts import encode_prompt, fit_words, warn_of_dropped_words
from portraitlib.models.load import Model
from portraitlib.photos.photo_set import PhotoSet
from portraitlib.settings import DreamBooth, Sampling
from portraitlib.training.class_set import ClassImages

EPOCH, STEP = 1, 2  # what a random number is for; part of its seed
ENCODED_TOGETHER = 8
LANCZOS = Image.Resampling.LANCZOS


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures as the VAE sees them, each encoded once; on the model's device.

    means, spreads: (pictures, 4, height/8, width/8) of the normal distribution that a latent is
        drawn from; photos with a margin, in which their crops move.
    texts: the number of each picture's caption.
    sizes: (pictures, 6), SDXL's original height and width, crop's top and left, target size.
    latent_px: pixels that the crop's corner moves with a latent pixel; 0 where a model knows of no
        crops.
    masks: (pictures, 1, height/8, width/8) from 0 to 1, what the loss counts; None for all of it.
    """

    means: torch.Tensor
    spreads: torch.Tensor
    texts: torch.Tensor
    sizes: torch.Tensor
    latent_px: int = 0
    masks: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.means)


@dataclass(frozen=True, eq=False)
class Batch:
    """The samples of one step: first the photos, then as many of the class, row by row.

    latents, noise: (batch, 4, height/8, width/8).  times: noise levels, 0 to 999.
    texts: number of the caption; that after the last is the empty one; on the CPU.
    sizes: (batch, 6).  weights: (batch,), what each sample counts in the loss; they sum to 1, or
    to 1 + prior_loss_weight.  masks: (batch, 1, height/8, width/8), or None.
    of_class: (batch,), is it of the class half? On the CPU, so that asking waits for nothing; in
        any part of a batch, too, those that are come last.
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
        columns: Any = [value if value is None else value[rows] for value in vars(self).values()]
        return Batch(*columns)

    def followed_by(self, other: Batch) -> Batch:
        """The rows of both."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        columns: Any = [one if one is None else torch.cat([one, two]) for one, two in pairs]
        return Batch(*columns)


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
        photos = self._draw(self.photos, settings, step, levels, of_class=False)
        if self.prior is None:
            return photos
        return photos.followed_by(self._draw(self.prior, settings, step, levels, of_class=True))

    def _draw(
        self, pictures: Pictures, settings: DreamBooth, step: int, levels: int, *, of_class: bool
    ) -> Batch:
        """One half: latents drawn anew, crops, noise, time steps and captions."""
        count, half = settings.train_batch_size or 1, int(of_class)
        rng = np.random.default_rng((settings.seed, STEP, step, half))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        rows = torch.from_numpy(_order(len(pictures), settings.seed, half, step * count, count))
        device = pictures.means.device
        there = put_on(rows, device)
        shape = (count, pictures.means.shape[1], self.window, self.window)
        drawn, noise = (put_on(torch.randn(shape, generator=generator), device) for _ in range(2))
        if settings.noise_offset:
            whole = torch.randn((*shape[:2], 1, 1), generator=generator)
            noise = noise + settings.noise_offset * put_on(whole, device)
        # One noise level in each part of the range: the same spread in every batch.
        shares = (rng.permutation(count) + rng.random(count)) / count
        times = put_on(torch.from_numpy((shares * levels).astype(np.int64)), device)
        margin = pictures.means.shape[-1] - self.window
        corners = rng.integers(margin + 1, size=(count, 2))
        silent = torch.from_numpy(rng.random(count) < settings.caption_dropout)
        texts = pictures.texts[rows].masked_fill(silent, len(self.captions))
        sizes = pictures.sizes[rows].clone()
        sizes[:, 2:4] += torch.from_numpy(corners) * pictures.latent_px
        means = self._crop(pictures.means[there], corners)
        spreads = self._crop(pictures.spreads[there], corners)
        masks = None
        if pictures.masks is not None:
            masks = self._crop(pictures.masks[there], corners)
        elif self.photos.masks is not None:
            masks = torch.ones_like(means[:, :1])
        weight = (settings.prior_loss_weight if of_class else 1) / count
        return Batch(
            latents=means + spreads * drawn,
            noise=noise,
            times=times,
            texts=texts,
            sizes=put_on(sizes, device),
            weights=put_on(torch.full((count,), weight), device),
            of_class=torch.full((count,), of_class),
            masks=masks,
        )

    def _crop(self, latents: torch.Tensor, corners: np.ndarray) -> torch.Tensor:
        side = self.window
        rows = zip(latents, corners, strict=True)
        return torch.stack([row[:, y : y + side, x : x + side] for row, (y, x) in rows])


def _order(pictures: int, seed: int, half: int, first: int, count: int) -> np.ndarray:
    """Which pictures the samples `first` to `first + count` are of: every epoch in a new order."""
    places = np.arange(first, first + count)
    orders = {
        epoch: np.random.default_rng((seed, EPOCH, int(epoch), half)).permutation(pictures)
        for epoch in np.unique(places // pictures)
    }
    return np.array([orders[place // pictures][place % pictures] for place in places])


# --- made ready ----------------------------------------------------------------------------------


def prepare_data(
    model: Model, photos: PhotoSet, settings: DreamBooth, class_images: ClassImages | None
) -> TrainingData:
    """Encode every picture once and say what is seen of it; the encoders are not needed after.

    settings: with no None where the preset has a default. Captions are encoded by
    `encode_captions`.
    """
    size_px = model.preset.size_px
    latent_px = model.pipeline.vae_scale_factor
    assert settings.crop_jitter is not None
    # Photos are never enlarged: crops move in what photos show beyond the model's own size.
    largest_px = min(image.width for image in photos.images)
    wanted = round(size_px * (1 + settings.crop_jitter) / latent_px)
    side_px = max(size_px, latent_px * min(wanted, largest_px // latent_px))
    captions = instance_captions(photos, settings)
    of_class = class_images.prompt if class_images else settings.class_prompt
    texts = tuple(dict.fromkeys([*captions, *([of_class] if of_class else [])]))
    numbers = [texts.index(caption) for caption in captions]
    if model.preset.knows_sizes:
        sizes = _sizes(photos, side_px, size_px)
        shown = _encoded(model, photos.images, side_px, numbers, sizes, latent_px)
    else:
        shown = _encoded(model, photos.images, side_px, numbers)
    shown = replace(shown, masks=_masks(photos, shown.means))
    prior = None
    if of_class and class_images:
        prior = _encoded(model, class_images.images, size_px, [texts.index(of_class)])
    elif of_class:  # the photos again, called what they are one of
        names = torch.full_like(shown.texts, texts.index(of_class))
        prior = replace(shown, texts=names, masks=None)
    return TrainingData(shown, prior, texts, size_px // latent_px)


def instance_captions(photos: PhotoSet, settings: DreamBooth) -> list[str]:
    """What each photo is called."""
    return [settings.instance_prompt or photo.caption for photo in photos]


def encode_captions(model: Model, captions: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """What the text encoders make of each caption and, last, of none: states and pooled.

    (captions + 1, tokens, width) and (captions + 1, width). Each is encoded once.
    """
    # With guidance the empty one comes along, as guidance takes it; without, it is not encoded.
    encoded = [
        encode_prompt(model, caption, Sampling(guidance_scale=1.0 if index else 2.0))
        for index, caption in enumerate(captions)
    ]
    for prompt in encoded:
        warn_of_dropped_words(prompt, stacklevel=4)
    rows = [prompt.tensors for prompt in encoded]
    states = [row["prompt_embeds"] for row in rows] + [rows[0]["negative_prompt_embeds"]]
    pooled = [row["pooled_prompt_embeds"] for row in rows]
    pooled.append(rows[0]["negative_pooled_prompt_embeds"])
    return torch.cat(states), torch.cat(pooled)


def encode_learning(
    model: Model, captions: Sequence[str], texts: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """What text encoders that learn make of a batch's captions now, with gradients.

    texts: (batch,), numbers of captions; that after the last is the empty one. Each is encoded
    once. (batch, tokens, width) and (batch, width), the same as by `encode_captions`.
    """
    used, rows = texts.unique(return_inverse=True)
    asked = [fit_words(model, caption)[0] for caption in (*captions, "")]
    states, _, pooled, _ = model.pipeline.encode_prompt(
        [asked[number] for number in used.tolist()],
        device=model.device,
        do_classifier_free_guidance=False,
    )
    if model.pipeline.config.force_zeros_for_empty_prompt:
        known = put_on(used < len(captions), model.device)
        states, pooled = states * known[:, None, None], pooled * known[:, None]
    there = put_on(rows, model.device)
    return states[there], pooled[there]


def _sizes(photos: PhotoSet, side_px: int, target_px: int) -> list[list[int]]:
    """What SDXL is told of each photo, brought to `side_px`: its size, crop and target size."""
    sizes = []
    for photo, image in zip(photos, photos.images, strict=True):
        conditioning, factor = photo.conditioning, side_px / image.width
        corner = [round(px * factor) for px in conditioning["crops_coords_top_left"]]
        sizes.append([*conditioning["original_size"], *corner, target_px, target_px])
    return sizes


def _masks(photos: PhotoSet, latents: torch.Tensor) -> torch.Tensor | None:
    """What the loss counts of each photo's latents; None where no photo has a mask."""
    if not any(photo.mask for photo in photos):
        return None
    height, width = latents.shape[-2:]
    whole = Image.new("L", (width, height), 255)
    rows = [(p.mask or whole).resize((width, height), Image.Resampling.BOX) for p in photos]
    values = np.stack([np.asarray(row, dtype=np.float32) / 255 for row in rows])
    return torch.from_numpy(values)[:, None].to(latents.device)


def _encoded(
    model: Model,
    images: Sequence[Image.Image],
    side_px: int,
    texts: list[int],
    sizes: list[list[int]] | None = None,
    latent_px: int = 0,
) -> Pictures:
    """Pictures brought to a size and encoded; uncropped where nobody says what they were cut from.

    texts: of each, or one of all.
    """
    plain = [image.convert("RGB").resize((side_px, side_px), LANCZOS) for image in images]
    groups = [
        encode_distribution(model, plain[start : start + ENCODED_TOGETHER])
        for start in range(0, len(plain), ENCODED_TOGETHER)
    ]
    means = torch.cat([mean for mean, _ in groups]).float()
    spreads = torch.cat([spread for _, spread in groups]).float()
    px = model.preset.size_px
    whole = [[px, px, 0, 0, px, px]]
    rows = torch.tensor(sizes or whole).expand(len(plain), -1)
    return Pictures(means, spreads, torch.tensor(texts).expand(len(plain)), rows, latent_px)
