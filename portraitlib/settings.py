"""What may vary when a picture is made: frozen records with units, ranges and checks.

Knows no torch, so that a notebook, a sweep or the command line can check settings at once,
before anything slow happens.
"""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, fields
from typing import Any


class UsageError(ValueError):
    """Something the user gave cannot be used; the message says what, why, and what to try."""


@dataclass(frozen=True)
class Range:
    """The numbers that a setting may take, both ends included.

    whole: only whole numbers.  multiple: only multiples of this.  example: one good value.
    """

    low: float
    high: float
    unit: str
    example: float
    whole: bool = True
    multiple: int = 1

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        if self.multiple > 1:
            kind = f"a multiple of {self.multiple}"
        return f"{kind} from {self.low} to {self.high} ({self.unit})"


# One row per numeric setting. Sliders and the command line read the same rows.
RANGES: dict[str, Range] = {
    # torch's CPU generator uses the low 32 bits only: larger seeds would repeat smaller ones.
    "seed": Range(0, 2**32 - 1, "picks the noise", example=0),
    "num_images": Range(1, 256, "pictures in one batch", example=4),
    # The models know 1000 noise levels; more steps than levels cannot exist.
    "num_inference_steps": Range(1, 1000, "denoising steps", example=25),
    "guidance_scale": Range(0.0, 50.0, "1 and below: no guidance", example=5.0, whole=False),
    "size_px": Range(32, 4096, "pixels, width and height", example=1024, multiple=8),
    # Below one in a thousand no step would be left of the most that there can be.
    "strength": Range(0.001, 1.0, "how much is drawn anew", example=0.6, whole=False),
    "scale": Range(0.0, 2.0, "how hard a condition holds; 0: not at all", 0.7, whole=False),
    "start": Range(0.0, 1.0, "share of the steps", example=0.0, whole=False),
    "end": Range(0.0, 1.0, "share of the steps", example=1.0, whole=False),
    "adapter_scale": Range(-2.0, 2.0, "how much of an adapter; 0: none", 1.0, whole=False),
    # Canny's own: a step from black to white has a gradient of 4 * 255 in each direction.
    "low_threshold": Range(0.0, 1000.0, "gradient, levels", example=100, whole=False),
    "high_threshold": Range(0.0, 1000.0, "gradient, levels", example=200, whole=False),
}


def check_number(owner: str, name: str, value: Any, allowed: Range) -> int | float:
    """Return `value` as a plain int or float, or raise UsageError naming `owner.name`.

    Numpy numbers are taken; NaN, infinities, booleans, text and fractions of a whole number
    are not.
    """
    number = _plain_number(value, allowed.whole)
    fits = number is not None and allowed.low <= number <= allowed.high
    if number is None or not fits or (allowed.whole and number % allowed.multiple):
        raise UsageError(
            f"{owner}.{name}: got {value!r}, expected {allowed}; try {allowed.example}"
        )
    return number


def _plain_number(value: Any, whole: bool) -> int | float | None:
    """A finite int (if whole) or float; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return None
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond all floats
        return None
    if not math.isfinite(number) or (whole and not number.is_integer()):
        return None
    return int(number) if whole else number


@dataclass(frozen=True)
class Sampling:
    """How pictures are sampled; None means the default of the model's preset.

    seed: 0 to 2**32 - 1. Image i of a batch is drawn from seed + i, as it would be alone.
    num_images: 1 to 256, made in one batch.
    num_inference_steps: 1 to 1000 denoising steps. More is slower, and finer up to a point.
    guidance_scale: 0 to 50, how hard the prompt pulls (classifier-free guidance,
        https://arxiv.org/abs/2207.12598). At 1 and below there is no guidance and half the work.
    size_px: width and height in pixels, 32 to 4096, a multiple of 8.
    negative_prompt: what the picture should not show; acts only with guidance.

    Raises UsageError for a value out of range.
    """

    seed: int = 0
    num_images: int = 1
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    size_px: int | None = None
    negative_prompt: str = ""

    def __post_init__(self) -> None:
        for name in (setting.name for setting in fields(self) if setting.name in RANGES):
            value = getattr(self, name)
            if value is None and name not in ("seed", "num_images"):
                continue
            # Frozen: the checked, plain number is put in place of a numpy number or 4.0.
            object.__setattr__(self, name, check_number("Sampling", name, value, RANGES[name]))
        last_seed = self.seed + self.num_images - 1
        if last_seed > RANGES["seed"].high:
            raise UsageError(
                f"Sampling.seed: {self.seed} with num_images={self.num_images} needs seeds up to "
                f"{last_seed}, expected at most {2**32 - 1}; try a smaller seed"
            )
        if not isinstance(self.negative_prompt, str):
            raise UsageError(
                f"Sampling.negative_prompt: got {self.negative_prompt!r}, expected text; "
                'try "" for none'
            )


@dataclass(frozen=True)
class Control:
    """How a condition, such as edges, steers the drawing.

    scale: 0 to 2, how hard it holds (diffusers: controlnet_conditioning_scale).
    start, end: 0 to 1, the shares of the steps between which it acts, start before end (diffusers:
        control_guidance_start, control_guidance_end). Outside them the control model does not run.
    guess_mode: let the condition alone say what is drawn, whatever the prompt: only the guided half
        is steered, and finer detail less than coarse (https://arxiv.org/abs/2302.05543).

    Raises UsageError for a value out of range.
    """

    scale: float = 1.0
    start: float = 0.0
    end: float = 1.0
    guess_mode: bool = False

    def __post_init__(self) -> None:
        for name in ("scale", "start", "end"):
            value = check_number("Control", name, getattr(self, name), RANGES[name])
            object.__setattr__(self, name, value)
        if self.start >= self.end:
            raise UsageError(
                f"Control.start: got {self.start:g} with end={self.end:g}, expected start before "
                "end; try start=0.0, end=1.0"
            )
        if not isinstance(self.guess_mode, bool):
            raise UsageError(
                f"Control.guess_mode: got {self.guess_mode!r}, expected True or False; try False"
            )
