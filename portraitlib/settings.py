"""What may vary when a picture is made: frozen records with units, ranges and checks.

Knows no torch, so that a notebook, a sweep or the command line can check settings at once,
before anything slow happens.
"""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import msgspec

Record = TypeVar("Record")


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
    "keep": Range(1, 100, "portraits a style", example=3),
    "minutes": Range(0.1, 100_000, "minutes", example=30, whole=False),
    # The models know 1000 noise levels; more steps than levels cannot exist.
    "num_inference_steps": Range(1, 1000, "denoising steps", example=25),
    "guidance_scale": Range(0.0, 50.0, "1 and below: no guidance", example=5.0, whole=False),
    "size_px": Range(32, 4096, "pixels, width and height", example=1024, multiple=8),
    # Below one in a thousand no step would be left of the most that there can be.
    "strength": Range(0.001, 1.0, "how much is drawn anew", example=0.6, whole=False),
    "scale": Range(0.0, 2.0, "how hard a condition holds; 0: not at all", 0.7, whole=False),
    "person_scale": Range(0.0, 2.0, "how hard photos hold; 0: not at all", 0.7, whole=False),
    "start": Range(0.0, 1.0, "share of the steps", example=0.0, whole=False),
    "end": Range(0.0, 1.0, "share of the steps", example=1.0, whole=False),
    "adapter_scale": Range(-2.0, 2.0, "how much of an adapter; 0: none", 1.0, whole=False),
    # Canny's own: a step from black to white has a gradient of 4 * 255 in each direction.
    "low_threshold": Range(0.0, 1000.0, "gradient, levels", example=100, whole=False),
    "high_threshold": Range(0.0, 1000.0, "gradient, levels", example=200, whole=False),
    # The training of a face.
    "max_train_steps": Range(1, 1_000_000, "updates of the weights", example=400),
    "num_train_epochs": Range(1, 100_000, "times that every photo is seen", example=100),
    "train_batch_size": Range(1, 256, "photos in one update", example=4),
    "micro_batch_size": Range(1, 512, "pictures in one forward pass", example=2),
    "rank": Range(1, 1024, "columns of the low-rank matrices", example=16),
    "alpha": Range(0.001, 4096.0, "the change is alpha / rank times B A", 16, whole=False),
    "learning_rate": Range(1e-8, 1.0, "of the UNet", example=1e-4, whole=False),
    "text_learning_rate": Range(0.0, 1.0, "0: text encoders stay", example=5e-6, whole=False),
    "lr_warmup_steps": Range(0, 1_000_000, "updates", example=20),
    "weight_decay": Range(0.0, 10.0, "of AdamW", example=0.01, whole=False),
    "snr_gamma": Range(0.1, 1000.0, "signal-to-noise ratio", example=5.0, whole=False),
    "noise_offset": Range(0.0, 1.0, "standard deviations", example=0.0, whole=False),
    "prior_loss_weight": Range(0.0, 100.0, "times the photos' loss", example=1.0, whole=False),
    "caption_dropout": Range(0.0, 0.9, "share of captions left empty", 0.1, whole=False),
    "crop_jitter": Range(0.0, 0.5, "share of the side that crops may move", 0.08, whole=False),
    "save_every_steps": Range(1, 1_000_000, "updates between checkpoints", example=100),
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


def check_fields(record: Any) -> None:
    """Check a frozen record by RANGES, CHOICES and its truths; its numbers become plain ones.

    None is right where it is the default. Raises UsageError.
    """
    for setting in fields(record):
        name, value = setting.name, getattr(record, setting.name)
        where = f"{type(record).__name__}.{name}: got {value!r}, expected"
        if value is None and setting.default is None:
            continue
        if name in RANGES:
            number = check_number(type(record).__name__, name, value, RANGES[name])
            object.__setattr__(record, name, number)
        elif name in CHOICES and value not in CHOICES[name]:
            raise UsageError(f"{where} one of {', '.join(CHOICES[name])}")
        elif str(setting.type).startswith("bool") and not isinstance(value, bool):
            raise UsageError(f"{where} True or False")


def check_span(record: Any) -> None:
    """Raise UsageError unless a record's start comes before its end."""
    if record.start >= record.end:
        raise UsageError(
            f"{type(record).__name__}.start: got {record.start:g} with end={record.end:g}, "
            "expected start before end; try start=0.0, end=1.0"
        )


def acts_in(record: Any, step: int, steps: int) -> bool:
    """Does a step, from 0, of so many lie wholly between a record's start and end?"""
    return step / steps >= record.start and (step + 1) / steps <= record.end


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


def shown(value: Any) -> str:
    """A value as a message shows it, on one line and not too long.

    >>> shown("a" * 99)
    "'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa..."
    """
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(name: Any, known: Iterable[str]) -> str:
    """A hint for a name that is none of these: those that come near, else all of them.

    >>> nearest("sed", ["seed", "size_px"])
    'did you mean seed?'
    """
    names = list(known)
    near = difflib.get_close_matches(str(name).lower(), names, 2, 0.5) if name else []
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"expected one of {', '.join(names)}" if names else "there is none"


def is_text(value: Any) -> bool:
    """Is this a text that can be written down? Half a character (a lone surrogate) cannot."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def check_record(source: str, content: Any, kind: type[Record], texts: bool = False) -> Record:
    """What came from outside (a file's JSON, a header) as a record of this kind: the one door.

    kind: a TypedDict or a dataclass, whose fields say what may stand where; other entries are left
        away.  texts: numbers may be written as texts, as in the header of a safetensors file.
    Raises UsageError in one line that names the source, the entry, and what it holds.

    >>> check_record("recipe", {"a": [1, 2]}, dict[str, list[int]])
    {'a': [1, 2]}
    """
    try:
        return msgspec.convert(content, kind, strict=not texts)
    except msgspec.ValidationError as problem:
        what, _, place = str(problem).replace("`", "").partition(" - at $")
        where = f"{place.removeprefix('.')}: " if place else ""
        raise UsageError(f"{source}: {where}{what[:1].lower()}{what[1:]}") from None
    except (UnicodeError, OverflowError, RecursionError) as problem:
        raise UsageError(f"{source}: cannot be read ({problem})") from None


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
    speed: "hyper8" draws SDXL in 8 steps, by a LoRA that is put on for the drawing, beside any of a
        person; trainings never see it. None is the model as it is.

    Raises UsageError for a value out of range.
    """

    seed: int = 0
    num_images: int = 1
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    size_px: int | None = None
    negative_prompt: str = ""
    speed: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        last_seed = self.seed + self.num_images - 1
        if last_seed > RANGES["seed"].high:
            raise UsageError(
                f"Sampling.seed: {self.seed} with num_images={self.num_images} needs seeds up to "
                f"{last_seed}, expected at most {2**32 - 1}; try a smaller seed"
            )
        if not is_text(self.negative_prompt):
            raise UsageError(
                f"Sampling.negative_prompt: got {self.negative_prompt!r}, expected text; "
                'try "" for none'
            )


# Which layers a training changes, as they are called in a UNet of diffusers. Convolutions hold most
# of what the embedded model draws with; SDXL's faces are learnt in the attention.
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
FEED_FORWARD = (*ATTENTION, "ff.net.0.proj", "ff.net.2")
PROJECTIONS = ("proj_in", "proj_out", "conv1", "conv2", "conv_shortcut", "time_emb_proj")
CONVOLUTIONS = (*FEED_FORWARD, *PROJECTIONS)
LAYERS = {"attention": ATTENTION, "feed_forward": FEED_FORWARD, "convolutions": CONVOLUTIONS}
# Settings that are one of a few words.
CHOICES = {
    "speed": ("hyper8",),
    "tune": ("lora", "full"),
    "layers": tuple(LAYERS),
    "lr_scheduler": ("cosine", "linear", "constant"),
    "optimizer": ("adamw", "adamw8bit", "prodigy"),
    "precision": ("float32", "float16", "bfloat16", "fast"),
}


@dataclass(frozen=True)
class DreamBooth:
    """How a face is taught (https://arxiv.org/abs/2208.12242); None: the default of the preset.

    What is learnt
    instance_prompt: what every photo is called, the identifier in it; None takes each photo's own
        caption.
    class_prompt: with class images None. Without, a class prompt for which the untouched model's
        own predictions are held: prior preservation that needs no images.
    tune: "lora" learns small matrices beside the weights (https://arxiv.org/abs/2106.09685), "full"
        all weights of the UNet.
    layers: where a LoRA sits: "attention", with "feed_forward", or with "convolutions" as well.
    rank, alpha: of a LoRA; alpha None is the rank.
    text_learning_rate: above 0 the text encoders' attention learns too, by a LoRA of its own.

    How long
    max_train_steps: updates of the weights. num_train_epochs: instead, how often each photo is
        seen. Give one of them.
    train_batch_size: photos in one update; as many class images come on top.
    micro_batch_size: pictures in one forward pass; None takes all of an update at once. The result
        differs by rounding only; memory that runs short halves it by itself.

    How
    learning_rate, lr_scheduler, lr_warmup_steps, optimizer, weight_decay: the default rate of
        tune="full" is a twentieth of a LoRA's. "adamw8bit" needs bitsandbytes, "prodigy" needs
        prodigyopt (and learning_rate=1.0).
    snr_gamma: the most that a little-noised picture counts (https://arxiv.org/abs/2303.09556);
        None weighs all alike.
    noise_offset: noise of a whole channel, for darker and lighter pictures.
    prior_loss_weight: what the class images' loss counts beside that of the photos.
    caption_dropout: the share of captions left empty. What stays of the person under no caption is
        what guidance pushes away from, so it costs likeness.
    crop_jitter: each time that a photo is seen its crop lies elsewhere, by up to this share of the
        side; for photos that were read larger than the model's pictures by as much.
    gradient_checkpointing: less memory, a third slower.  compile: torch.compile of the UNet.
    precision: number type of the forward pass; None is that of the model. "fast" is bfloat16 where
        the processor or GPU computes it by itself, else None: on a processor it pays where a UNet
        has about 100 channels and more.
    seed: order, crops, noise and time steps follow from it and the number of the step.
    save_every_steps: updates between checkpoints.

    Raises UsageError for a value out of range.
    """

    instance_prompt: str | None = None
    class_prompt: str | None = None
    tune: str = "lora"
    layers: str | None = None
    rank: int | None = None
    alpha: float | None = None
    text_learning_rate: float = 0.0
    max_train_steps: int | None = None
    num_train_epochs: int | None = None
    train_batch_size: int | None = None
    micro_batch_size: int | None = None
    learning_rate: float | None = None
    lr_scheduler: str = "cosine"
    lr_warmup_steps: int = 20
    optimizer: str = "adamw"
    weight_decay: float = 0.01
    snr_gamma: float | None = None
    noise_offset: float = 0.0
    prior_loss_weight: float = 1.0
    caption_dropout: float = 0.0
    crop_jitter: float | None = None
    gradient_checkpointing: bool | None = None
    compile: bool = False
    precision: str | None = None
    seed: int = 0
    save_every_steps: int = 100

    def __post_init__(self) -> None:
        check_fields(self)
        for name in ("instance_prompt", "class_prompt"):
            words = getattr(self, name)
            if words is not None and not (isinstance(words, str) and words.strip()):
                raise UsageError(
                    f"DreamBooth.{name}: got {words!r}, expected words; "
                    "try 'portrait of jrdnpl man'"
                )
        if self.max_train_steps is not None and self.num_train_epochs is not None:
            raise UsageError(
                f"DreamBooth: got max_train_steps={self.max_train_steps} and "
                f"num_train_epochs={self.num_train_epochs}, expected one of them; leave one out"
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
        check_fields(self)
        check_span(self)
