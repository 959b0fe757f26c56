"""Mend a region of a portrait: drawn anew by the model, all else untouched to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from portraitlib.generate.calls import TOGETHER, Together
from portraitlib.generate.images import (
    DEFAULT_SAMPLING,
    OnStep,
    Person,
    most_images,
    redraw,
    take_order,
)
from portraitlib.generate.latents import OnPreview
from portraitlib.generate.regions import paste_region, read_mask, square_about
from portraitlib.models.load import Model
from portraitlib.photos.pictures import Picture, open_picture, picture_hash
from portraitlib.portrait import Portrait
from portraitlib.settings import Range, Sampling, check_number

FEATHER = Range(0.0, 0.5, "of the square's side", example=0.02, whole=False)


def inpaint(
    model: Model,
    image: Picture,
    mask: Any,
    prompt: str,
    sampling: Sampling = DEFAULT_SAMPLING,
    *,
    strength: float = 0.9,
    feather: float = FEATHER.example,
    person: Person = None,
    on_step: OnStep | None = None,
    on_preview: OnPreview | None = None,
) -> list[Portrait]:
    """Draw a region of a picture anew, `sampling.num_images` times; return whole pictures.

    image: a picture as image_to_image takes it, of any size: it is not cut.
    mask: what is drawn anew, an image or array of the picture's height and width that is not 0
        there; `select_region` makes one from a click.
    prompt: of the whole picture, with the region as it should be.
    strength: 0.001 to 1, how much of the region is drawn anew: near 0 it stays, at 1 nothing of it
        is left.  feather: how far inside its border the region fades in, as a share of the side of
        the square that is drawn; 0 is a hard border.
    person, on_step, on_preview: as for text_to_image; image i gets the noise of seed + i here too.

    Drawn is the largest square of the picture about the region, at the model's size: what lies
    around the region is put back under the noise of each step, so that the region comes to fit it
    (blended latent diffusion, https://arxiv.org/abs/2206.02779). Outside the mask the pixels are
    those of the picture. Raises UsageError for what cannot be drawn, a mask that does not fit, or
    no step to run.
    """
    order = take_order(model, prompt, sampling, strength, "inpaint", person=person)
    feather = check_number("inpaint", "feather", feather, FEATHER)
    picture = open_picture(image)
    region = read_mask(mask, picture.size)
    left, top, right, bottom = square = square_about(region)
    part = _resized(picture.crop(square), order.size_px)
    blend = _keep_outside(model, region[top:bottom, left:right], order.size_px)
    order = replace(order, picture=part)
    pixels, seconds = redraw(order, on_step, on_preview, blend)
    more = {"function": "inpaint", "feather": feather}
    more |= {"image": picture_hash(picture), "mask": picture_hash(Image.fromarray(region))}
    side = right - left
    portraits = []
    for drawn in order.portraits(pixels, seconds, more):
        whole = picture.copy()
        whole.paste(_resized(drawn.image, side), (left, top))
        portraits.append(
            Portrait(paste_region(picture, whole, region, feather * side), drawn.recipe)
        )
    return portraits


TOGETHER[inpaint] = Together(most_images)


def _resized(picture: Image.Image, side_px: int) -> Image.Image:
    same = picture.size == (side_px, side_px)
    return picture if same else picture.resize((side_px, side_px), Image.Resampling.LANCZOS)


def _keep_outside(
    model: Model, region: np.ndarray, size_px: int
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """What takes the latents of the region from the drawing, all others from the picture.

    region: (side, side) bool. A latent of which any pixel is in the region is drawn anew.
    """
    cells = size_px // model.pipeline.vae_scale_factor
    plane = torch.from_numpy(region.astype(np.float32))[None, None]
    inside = torch.nn.functional.adaptive_max_pool2d(plane, cells).to(model.device, model.dtype)

    def blend(drawn: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        return inside * drawn + (1 - inside) * kept

    return blend
