"""Draw portraits with a loaded model."""

from __future__ import annotations

import math
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image

from portraitlib.device import device_name, is_out_of_memory, seeded_generators, seeded_noise
from portraitlib.generate.calls import TOGETHER, Together
from portraitlib.generate.latents import OnPreview, Previewer, add_noise, encode_picture
from portraitlib.generate.person import Speaking, speak_for, speaking
from portraitlib.generate.prompts import EncodedPrompt, encode_prompt, warn_of_dropped_words
from portraitlib.models.load import Model, sibling_pipeline
from portraitlib.photos.photo_set import Likeness, PhotoSet
from portraitlib.photos.pictures import Picture, picture_hash, ready_picture_once
from portraitlib.places import installed_version
from portraitlib.portrait import Portrait
from portraitlib.settings import RANGES, Sampling, UsageError, check_number, is_text, shown

BATCH_IMAGES = 16
BATCH_PX = 2 * 1024**2  # two pictures of SDXL's size
OnStep = Callable[[int, int], None]

Person = PhotoSet | Likeness | None

DEFAULT_SAMPLING = Sampling()
LIBRARIES = ("portraitlib", "torch", "diffusers", "transformers", "numpy", "pillow")


def text_to_image(
    model: Model,
    prompt: str,
    sampling: Sampling = DEFAULT_SAMPLING,
    *,
    person: Person = None,
    on_step: OnStep | None = None,
    on_preview: OnPreview | None = None,
) -> list[Portrait]:
    """Draw `sampling.num_images` portraits of what the prompt says, in one batch.

    Image i is drawn from the noise of seed + i, as it would be alone: a batch and single pictures
    agree up to rounding, which moves less than one channel value in 1,000 by one of 255 levels.
    person: photos of one person, who is to be drawn without a training, or a `Likeness` of them,
        which says how hard they hold; the words say the rest.
    on_step: called after each denoising step with (step, total), step from 1 to total.
    on_preview: called then with a Preview, whose `pictures()` shows what is forming; whether it is
        asked to or not, the portraits have the same pixels.

    Warns which words fall away when a prompt is longer than the text encoders read.
    Raises UsageError for an empty prompt, a size that does not fit the model, or too little memory.
    Latent diffusion: https://arxiv.org/abs/2112.10752, SDXL: https://arxiv.org/abs/2307.01952.
    """
    order = take_order(model, prompt, sampling, person=person)
    noise, generators = starting_noise(order)
    pixels, seconds = _run(
        order, order.model.pipeline, noise, generators, on_step, on_preview,
        width=order.size_px, height=order.size_px,
    )  # fmt: skip
    return order.portraits(pixels, seconds)


def image_to_image(
    model: Model,
    image: Picture,
    prompt: str,
    sampling: Sampling = DEFAULT_SAMPLING,
    *,
    strength: float = 0.6,
    person: Person = None,
    on_step: OnStep | None = None,
    on_preview: OnPreview | None = None,
) -> list[Portrait]:
    """Draw `sampling.num_images` portraits of what the prompt says, starting from a picture.

    image: a PIL picture of any size and mode, the path of one, a `Photo` of a PhotoSet or a
        Portrait; it is cut to a square of the model's size, about the head where a face is found.
    strength: 0.001 to 1, how much is drawn anew. The picture gets the noise of the step at that
        share of the way, and the last int(num_inference_steps * strength) steps are run. Near 0 it
        stays; at 1 what is left of it in the noise is 1/4096 with the embedded model, where that
        draws what text_to_image draws, and a twelfth with SDXL.
    Image i gets the noise of seed + i, as it would alone. person, on_step, on_preview: as for
    text_to_image.

    Warns of words that fall away, of a picture that had to be enlarged or shows no face.
    Raises UsageError for what cannot be drawn, a picture that cannot be read, or no step to run.
    SDEdit: https://arxiv.org/abs/2108.01073.
    """
    order = take_order(model, prompt, sampling, strength, "image_to_image", person=person)
    order = order.start_from(image)
    pixels, seconds = redraw(order, on_step, on_preview)
    return order.portraits(pixels, seconds, {"function": "image_to_image"})


def redraw(
    order: Order,
    on_step: OnStep | None = None,
    on_preview: OnPreview | None = None,
    blend: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
) -> tuple[np.ndarray, float]:
    """Pixels (batch, height, width, 3) from 0 to 1, and seconds a picture.

    blend: called after each step with the latents of the drawing, and those of the picture under
        the same noise, (batch, 4, height/8, width/8) both; gives those to go on with.
    """
    assert order.picture is not None
    pipeline = sibling_pipeline(order.model, "StableDiffusionXLImg2ImgPipeline")
    with one_line_when_memory_is_short(order.settings):
        latents = encode_picture(order.model, order.picture)
        noise, generators = starting_noise(order)
        start = add_noise(pipeline, latents, noise, order.settings, order.strength)

    def change(drawn: torch.Tensor, next_timesteps: torch.Tensor) -> torch.Tensor:
        kept = latents.to(drawn).expand_as(drawn)
        if len(next_timesteps):
            kept = pipeline.scheduler.add_noise(kept, noise.to(drawn), next_timesteps[:1])
        return blend(drawn, kept) if blend else drawn

    drawn = _run(
        order, pipeline, start, generators, on_step, on_preview, change if blend else None,
        image=latents, strength=order.strength,
    )  # fmt: skip
    order.model.pipeline.maybe_free_model_hooks()  # parts waiting in main memory go back there
    return drawn


def _run(
    order: Order,
    pipeline: Any,
    start: torch.Tensor,
    generators: list[torch.Generator],
    on_step: OnStep | None,
    on_preview: OnPreview | None,
    change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
    **more: Any,
) -> tuple[np.ndarray, float]:
    """What a pipeline of diffusers makes of the latents it starts from, and seconds a picture.

    change: given the latents after a step and the timesteps that are left, says how to go on.
    After the last step the latents take the number type of the VAE, which may be the finer one.
    """
    model, settings = order.model, order.settings
    previewer = on_preview and Previewer(model, pipeline.scheduler, start, on_preview)

    def report(_: Any, index: int, timestep: Any, tensors: dict) -> dict:
        step, total = index + 1, pipeline.num_timesteps
        if order.speech is not None:
            order.speech.at_step(step)
        if change is not None:
            timesteps = pipeline.scheduler.timesteps
            left = timesteps[len(timesteps) - (total - step) :]
            tensors["latents"] = change(tensors["latents"], left)
        if on_step is not None:
            on_step(step, total)
        if previewer is not None:
            previewer.saw(tensors["latents"], step, total)
        if step == total:
            tensors["latents"] = tensors["latents"].to(model.pipeline.vae.dtype)
        return tensors

    started_s = time.perf_counter()
    with one_line_when_memory_is_short(settings), speaking(model, order.speech) as heard:
        pixels = pipeline(
            **order.encoded.tensors,
            **heard,
            num_images_per_prompt=settings.num_images,
            num_inference_steps=settings.num_inference_steps,
            guidance_scale=settings.guidance_scale,
            latents=start,
            generator=generators,  # for samplers that add noise on the way
            output_type="np",
            callback_on_step_end=report,
            callback_on_step_end_tensor_inputs=["latents"],
            **more,
        ).images
    return pixels, (time.perf_counter() - started_s) / settings.num_images


# --- what is drawn -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Order:
    """What is to be drawn, checked and whole: no setting is None.

    picture: what it starts from, at the size that is drawn; None for noise alone.
    strength: how much of that is drawn anew; 1 for noise alone.
    speech: what a person's photos say in it; None where there are none.
    """

    model: Model
    prompt: str
    settings: Sampling
    encoded: EncodedPrompt
    picture: Image.Image | None = None
    strength: float = 1.0
    speech: Speaking | None = None

    @property
    def size_px(self) -> int:
        assert self.settings.size_px is not None
        return self.settings.size_px

    @property
    def steps(self) -> int:
        """How many steps are run."""
        assert self.settings.num_inference_steps is not None
        return int(self.settings.num_inference_steps * self.strength)

    def start_from(self, image: Picture, stacklevel: int = 3) -> Order:
        """The same from a picture; warns in one line of what had to be done to that.

        The model remembers it by its content, so that a sweep looks for a face once.
        """
        picture, notes = ready_picture_once(self.model.ready_pictures, image, self.size_px)
        if notes:
            warnings.warn(f"image: {'; '.join(notes)}", stacklevel=stacklevel)
        return replace(self, picture=picture)

    def portraits(
        self, pixels: np.ndarray, seconds: float, more: Mapping[str, Any] | None = None
    ) -> list[Portrait]:
        """Pixels (batch, height, width, 3) from 0 to 1 as portraits; `more` goes in the recipes."""
        images = to_images(pixels, self.model)
        return [Portrait(im, self.recipe(i, seconds, more)) for i, im in enumerate(images)]

    def recipe(
        self, index: int, seconds: float, more: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Everything that made picture `index` of the batch, as a plain dict of JSON values.

        seed: the picture's own. batch_seed: of the batch's first picture. seconds: per picture.
        """
        model, preset = self.model, self.model.preset
        recipe = {
            "function": "text_to_image",
            "prompt": self.prompt,
            **asdict(self.settings),
            "seed": self.settings.seed + index,
            "batch_seed": self.settings.seed,
            "scheduler": type(model.pipeline.scheduler).__name__,
            "model": model.name,
            "model_revision": model.revision,
            "vae": preset.vae_source and f"{preset.vae_source}@{preset.vae_revision}",
            "adapter": model.adapter_entries,
            "device": str(model.device),
            "card": device_name(model.device),
            "dtype": model.dtype_name,
            "cpu_threads": torch.get_num_threads(),
            "versions": dict(library_versions()),
            "dropped_words": {name: list(words) for name, words in self.encoded.dropped.items()},
            "seconds": round(seconds, 4),
        }
        if self.settings.speed is not None:
            recipe["speed_lora"] = preset.speeds[self.settings.speed].name
        if self.picture is not None:
            recipe |= {"strength": self.strength, "image": picture_hash(self.picture)}
        if self.speech is not None:
            recipe["person"] = self.speech.entry
        return recipe | dict(more or {})


def take_order(
    model: Model,
    prompt: str,
    sampling: Sampling,
    strength: float = 1.0,
    function: str = "text_to_image",
    stacklevel: int = 3,
    person: Person = None,
) -> Order:
    """Check what is to be drawn; raises UsageError, and warns of words that fall away.

    function: who asks, for the message of a strength that is none.
    """
    check_inputs(model, prompt, sampling)
    settings = fill_defaults(model, sampling)
    strength = check_strength(strength, settings, function)
    with one_line_when_memory_is_short(settings):
        model = model.at_speed(settings.speed)
    encoded = encode_prompt(model, prompt, settings)
    warn_of_dropped_words(encoded, stacklevel=stacklevel + 1)
    order = Order(model, prompt, settings, encoded, strength=strength)
    guided = settings.guidance_scale is None or settings.guidance_scale > 1
    return replace(order, speech=speak_for(model, person, guided, order.steps))


def most_images(arguments: Mapping[str, Any]) -> int:
    """How many pictures of a sweep make one batch: faster than apart, yet small in memory."""
    model, sampling = arguments["model"], arguments["sampling"]
    if not isinstance(model, Model) or not isinstance(sampling, Sampling):
        return 1
    size_px = fill_defaults(model, sampling).size_px
    assert size_px is not None
    return max(1, min(BATCH_IMAGES, BATCH_PX // size_px**2))


for _function in (text_to_image, image_to_image):
    TOGETHER[_function] = Together(most_images)


def check_inputs(model: Model, prompt: str, sampling: Sampling) -> None:
    """Raise UsageError for what cannot be drawn, before anything is computed."""
    if not isinstance(model, Model):
        raise UsageError(
            f"model: got {shown(model)}, expected a loaded model; try load_model('mini')"
        )
    if not is_text(prompt) or not prompt.strip():
        raise UsageError(
            f"prompt: got {shown(prompt)}, expected words that say what to draw; "
            "try 'portrait of a man, smiling'"
        )
    if not isinstance(sampling, Sampling):
        raise UsageError(f"sampling: got {shown(sampling)}, expected Sampling(...)")
    if sampling.speed not in (None, *model.preset.speeds):
        raise UsageError(
            f"Sampling.speed: got {sampling.speed!r}, but no LoRA is known that makes "
            f"{model.name} fast, expected None; try sdxl, or fewer num_inference_steps"
        )
    if sampling.size_px is not None and sampling.size_px % model.size_multiple_px:
        raise UsageError(
            f"Sampling.size_px: got {sampling.size_px}, expected a multiple of "
            f"{model.size_multiple_px} for {model.name}; try {model.preset.size_px}"
        )


def fill_defaults(model: Model, sampling: Sampling) -> Sampling:
    """The sampling with the defaults of the model's preset in place of None."""
    defaults = vars(model.preset)
    if fast := model.preset.speeds.get(sampling.speed or ""):
        defaults = defaults | vars(fast)
    names = ("num_inference_steps", "guidance_scale", "size_px")
    open_ones = {name: defaults[name] for name in names if getattr(sampling, name) is None}
    return replace(sampling, **open_ones)


def check_strength(strength: float, settings: Sampling, function: str = "image_to_image") -> float:
    """The strength as a plain number; raises UsageError if it is no share, or leaves no step."""
    strength = check_number(function, "strength", strength, RANGES["strength"])
    steps = settings.num_inference_steps
    assert steps is not None
    if int(steps * strength) < 1:
        raise UsageError(
            f"strength: got {strength:g} with {steps} steps, which leaves none to run; "
            f"try strength={math.ceil(1000 / steps) / 1000} "
            f"or num_inference_steps={min(math.floor(1 / strength) + 1, 1000)}"
        )
    return strength


def starting_noise(order: Order) -> tuple[torch.Tensor, list[torch.Generator]]:
    """Where denoising starts, (batch, 4, height/8, width/8), and the generators it came from."""
    model, settings = order.model, order.settings
    generators = seeded_generators(settings.seed, settings.num_images)
    side = order.size_px // model.pipeline.vae_scale_factor
    shape = (model.pipeline.unet.config.in_channels, side, side)
    return seeded_noise(generators, shape, model.device, model.dtype), generators


@contextmanager
def one_line_when_memory_is_short(settings: Sampling) -> Iterator[None]:
    """Turn torch's out-of-memory report into a UsageError that says what to change."""
    try:
        yield
    except RuntimeError as problem:  # torch.OutOfMemoryError is one
        if not is_out_of_memory(problem):
            raise
        raise UsageError(
            f"out of memory while drawing {settings.num_images} pictures of {settings.size_px} px; "
            "try a smaller num_images or size_px"
        ) from problem


def to_images(pixels: np.ndarray, model: Model) -> list[Image.Image]:
    """Pictures from numbers between 0 and 1, (batch, height, width, 3)."""
    if not np.isfinite(pixels).all():
        raise UsageError(
            f"{model} computed values that are not numbers; try "
            f'load_model("{model.name}", dtype="float32")'
        )
    return [Image.fromarray(picture) for picture in (pixels * 255).round().astype(np.uint8)]


@cache
def library_versions() -> dict[str, str]:
    """The versions that made a picture: Python and the libraries that compute."""
    versions = {name: installed_version(name) or "unknown" for name in LIBRARIES}
    # The build of torch counts too, such as +cpu.
    return {"python": platform.python_version()} | versions | {"torch": str(torch.__version__)}
