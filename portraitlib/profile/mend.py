"""Mends what is nearly good: a face that is small in its picture, an eye that is not one."""

from __future__ import annotations

from PIL import Image, ImageDraw

from portraitlib.generate.inpaint import inpaint
from portraitlib.models.load import Model
from portraitlib.photos.faces.face import Place
from portraitlib.portrait import Portrait
from portraitlib.profile.findings import SMALL, Finding, Judge
from portraitlib.settings import Sampling

TRIES = 2
WINDOW = 1.5  # the side of the square that is drawn for a small head, in heights of the head
LARGER, ANEW = 0.45, 0.7  # strength: a small face is there already, an eye that is none is not
FEATHER = 0.12  # of the square's side, over which what is new fades in


def mend(
    model: Model, portrait: Portrait, finding: Finding, judge: Judge, seed: int
) -> tuple[Portrait, Finding, int]:
    """Draw again what was found wrong in a portrait, twice at most, until it is worth keeping.

    Returns it as it was where that mends nothing, and how often was drawn.

    model: what drew the portrait.  A small head is drawn at the model's whole size in a square
    about it, anything else in its place in the picture. Both fade in from their border, and beyond
    it no pixel changes (`pl.inpaint`).
    """
    if not finding.places or finding.lacking:
        return portrait, finding, 0
    picture, recipe = portrait.image, portrait.recipe
    small = SMALL in finding.faults
    window = _window(picture, finding.places[0]) if small else (0, 0, *picture.size)
    mask = _mask(picture, finding.places).crop(window)
    for tried in range(TRIES):
        sampling = Sampling(
            seed=seed + tried,
            num_inference_steps=recipe["num_inference_steps"],
            guidance_scale=recipe["guidance_scale"],
            size_px=recipe["size_px"],
        )
        drawn = inpaint(
            model, picture.crop(window), mask, recipe["prompt"], sampling,
            strength=LARGER if small else ANEW, feather=FEATHER,
        )[0]  # fmt: skip
        whole = picture.copy()
        whole.paste(drawn.image, window[:2])
        found = judge.look([whole])[0]
        if found.good:
            mended = drawn.recipe | {"window": window, "mended": recipe}
            return Portrait(whole, mended), found, tried + 1
    return portrait, finding, TRIES


def _window(picture: Image.Image, place: Place) -> tuple[int, int, int, int]:
    """The square about a head that lies in the picture: left, top, right, bottom, in its pixels."""
    x, y, radius = place
    side = min(round(2 * WINDOW * radius * picture.height), *picture.size)
    left, top = (
        min(max(round(at * length - side / 2), 0), length - side)
        for at, length in zip((x, y), picture.size, strict=True)
    )
    return left, top, left + side, top + side


def _mask(picture: Image.Image, places: tuple[Place, ...]) -> Image.Image:
    """White discs at these places, black about them."""
    mask = Image.new("L", picture.size)
    draw = ImageDraw.Draw(mask)
    for x, y, radius in places:
        r = max(1.0, radius * picture.height)
        middle_x, middle_y = x * picture.width, y * picture.height
        draw.ellipse([middle_x - r, middle_y - r, middle_x + r, middle_y + r], fill=255)
    return mask
