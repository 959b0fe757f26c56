"""Draw portraits with a loaded model."""

from __future__ import annotations

import math
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from PIL import Image

from portraitlib.device import device_name, is_out_of_memory, seeded_generators, seeded_noise
from portraitlib.generate.calls import TOGETHER, Together, shown
from portraitlib.generate.latents import add_noise, encode_picture
from portraitlib.generate.previews import OnPreview, Previewer
from portraitlib.generate.prompts import EncodedPrompt, encode_prompt, warn_of_dropped_words
from portraitlib.models.load import Model, sibling_pipeline
from portraitlib.photos.pictures import Picture, picture_hash, ready_picture_once
from portraitlib.portrait import Portrait
from portraitlib.settings import RANGES, Sampling, UsageError, check_number, is_text

BATCH_IMAGES = 16
BATCH_PX = 2 * 1024**2  # two pictures of SDXL's size
OnStep = Callable[[int, int], None]

DEFAULT_SAMPLING = Sampling()
LIBRARIES = ("portraitlib", "torch", "diffusers", "transformers", "numpy", "pillow")


def text_to_image(
    model: Model,
    prompt: str,
    sampling: Sampling = DEFAULT_SAMPLING,
    *,
    on_step: OnStep | None = None,
    on_preview: OnPreview | None = None,
) -> list[Portrait]:
    """Draw `sampling.num_images` portraits of what the prompt says, in one batch.

    Image i is drawn from the noise of seed + i, as it would be alone: a batch and single pictures
    agree up to rounding, which moves less than one channel value in 1,000 by one of 255 levels.
    on_step: called after each denoising step with (step, total), step from 1 to total.
    on_preview: called then with a Preview, whose `pictures()` shows what is forming; whether it is
        asked to or not, the portraits have the same pixels.

    Warns which words fall away when a prompt is longer than the text encoders read.
    Raises UsageError for an empty prompt, a size that does not fit the model, or too little memory.
    Latent diffusion: https://arxiv.org/abs/2112.10752, SDXL: https://arxiv.org/abs/2307.01952.
    """
    check_inputs(model, prompt, sampling)
    settings = fill_defaults(model, sampling)
    encoded = encode_prompt(model, prompt, settings)
    warn_of_dropped_words(encoded)
    generators = seeded_generators(settings.seed, settings.num_images)
    noise = starting_noise(model, settings, generators)
    previewer = _previewer(model, model.pipeline, noise, on_preview)
    started_s = time.perf_counter()
    with one_line_when_memory_is_short(settings):
        pixels = model.pipeline(
            **encoded.tensors,
            num_images_per_prompt=settings.num_images,
            num_inference_steps=settings.num_inference_steps,
            guidance_scale=settings.guidance_scale,
            width=settings.size_px,
            height=settings.size_px,
            latents=noise,
            generator=generators,  # for samplers that add noise on the way
            output_type="np",
            **step_arguments(model, on_step, previewer),
        ).images
    seconds = (time.perf_counter() - started_s) / settings.num_images
    return [
        Portrait(image, write_recipe(model, prompt, settings, encoded, index, seconds))
        for index, image in enumerate(to_images(pixels, model))
    ]


def image_to_image(
    model: Model,
    image: Picture,
    prompt: str,
    sampling: Sampling = DEFAULT_SAMPLING,
    *,
    strength: float = 0.6,
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
    Image i gets the noise of seed + i, as it would alone. on_step, on_preview: as for
    text_to_image.

    Warns of words that fall away, of a picture that had to be enlarged or shows no face.
    Raises UsageError for what cannot be drawn, a picture that cannot be read, or no step to run.
    SDEdit: https://arxiv.org/abs/2108.01073.
    """
    check_inputs(model, prompt, sampling)
    settings = fill_defaults(model, sampling)
    strength = check_strength(strength, settings)
    picture = ready_and_warned(model, image, settings)
    pixels, encoded, seconds = redraw(
        model, picture, prompt, settings, strength, on_step, on_preview
    )
    own = {"function": "image_to_image", "strength": strength, "image": picture_hash(picture)}
    return [
        Portrait(drawn, write_recipe(model, prompt, settings, encoded, index, seconds) | own)
        for index, drawn in enumerate(to_images(pixels, model))
    ]


def redraw(
    model: Model,
    picture: Image.Image,
    prompt: str,
    settings: Sampling,
    strength: float,
    on_step: OnStep | None = None,
    on_preview: OnPreview | None = None,
    blend: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
) -> tuple[np.ndarray, EncodedPrompt, float]:
    """Pixels (batch, height, width, 3) from 0 to 1, the prompt as it was read, seconds a picture.

    picture: at the size of the settings, which are whole, as `strength` is.
    blend: called after each step with the latents of the drawing, and those of the picture under
        the same noise, (batch, 4, height/8, width/8) both; gives those to go on with.
    """
    encoded = encode_prompt(model, prompt, settings)
    warn_of_dropped_words(encoded)
    generators = seeded_generators(settings.seed, settings.num_images)
    pipeline = sibling_pipeline(model, "StableDiffusionXLImg2ImgPipeline")
    with one_line_when_memory_is_short(settings):
        latents = encode_picture(model, picture)
        started_s = time.perf_counter()
        noise = starting_noise(model, settings, generators)
        start = add_noise(pipeline, latents, noise, settings, strength)
        previewer = _previewer(model, pipeline, start, on_preview)

        def change(drawn: torch.Tensor, next_timesteps: torch.Tensor) -> torch.Tensor:
            kept = latents.to(drawn).expand_as(drawn)
            if len(next_timesteps):
                kept = pipeline.scheduler.add_noise(kept, noise.to(drawn), next_timesteps[:1])
            return blend(drawn, kept) if blend else drawn

        pixels = pipeline(
            **encoded.tensors,
            image=latents,
            latents=start,
            strength=strength,
            num_images_per_prompt=settings.num_images,
            num_inference_steps=settings.num_inference_steps,
            guidance_scale=settings.guidance_scale,
            generator=generators,
            output_type="np",
            **step_arguments(model, on_step, previewer, change if blend else None),
        ).images
        model.pipeline.maybe_free_model_hooks()  # parts that wait in main memory go back there
    return pixels, encoded, (time.perf_counter() - started_s) / settings.num_images


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
    if sampling.size_px is not None and sampling.size_px % model.size_multiple_px:
        raise UsageError(
            f"Sampling.size_px: got {sampling.size_px}, expected a multiple of "
            f"{model.size_multiple_px} for {model.name}; try {model.preset.size_px}"
        )


def fill_defaults(model: Model, sampling: Sampling) -> Sampling:
    """The sampling with the defaults of the model's preset in place of None."""
    defaults = {
        name: getattr(model.preset, name)
        for name in ("num_inference_steps", "guidance_scale", "size_px")
        if getattr(sampling, name) is None
    }
    return replace(sampling, **defaults)


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


def ready_and_warned(
    model: Model, image: Picture, settings: Sampling, stacklevel: int = 3
) -> Image.Image:
    """The picture at the size of the settings; warns in one line of what it had to do for that.

    The model remembers it by its content, so that a sweep looks for a face once.
    """
    assert settings.size_px is not None
    picture, notes = ready_picture_once(model.ready_pictures, image, settings.size_px)
    if notes:
        warnings.warn(f"image: {'; '.join(notes)}", stacklevel=stacklevel)
    return picture


def starting_noise(
    model: Model, settings: Sampling, generators: list[torch.Generator]
) -> torch.Tensor:
    """Where denoising starts, (batch, 4, height/8, width/8)."""
    assert settings.size_px is not None
    latent_size = settings.size_px // model.pipeline.vae_scale_factor
    channels = model.pipeline.unet.config.in_channels
    shape = (channels, latent_size, latent_size)
    return seeded_noise(generators, shape, model.device, model.dtype)


def _previewer(
    model: Model, pipeline: Any, start: torch.Tensor, on_preview: OnPreview | None
) -> Previewer | None:
    return on_preview and Previewer(model, pipeline.scheduler, start, on_preview)


def step_arguments(
    model: Model,
    on_step: OnStep | None,
    previewer: Previewer | None = None,
    change: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
) -> dict[str, Any]:
    """The arguments that make a diffusers pipeline report its steps to `on_step`.

    change: given the latents after a step and the timesteps that are left, says how to go on.
    After the last step the latents take the number type of the VAE, which may be the finer one.
    """

    def report(pipeline: Any, index: int, timestep: Any, tensors: dict) -> dict:
        if change is not None:
            left = pipeline.num_timesteps - index - 1
            timesteps = pipeline.scheduler.timesteps
            tensors["latents"] = change(tensors["latents"], timesteps[len(timesteps) - left :])
        if on_step is not None:
            on_step(index + 1, pipeline.num_timesteps)
        if previewer is not None:
            previewer.saw(tensors["latents"], index + 1, pipeline.num_timesteps)
        if index + 1 == pipeline.num_timesteps:
            tensors["latents"] = tensors["latents"].to(model.pipeline.vae.dtype)
        return tensors

    return {"callback_on_step_end": report, "callback_on_step_end_tensor_inputs": ["latents"]}


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


def write_recipe(
    model: Model,
    prompt: str,
    settings: Sampling,
    encoded: EncodedPrompt,
    index: int,
    seconds: float,
) -> dict[str, Any]:
    """Everything that made picture `index` of a batch, as a plain dict of JSON values.

    seed: the picture's own. batch_seed: of the batch's first picture. seconds: per picture.
    """
    preset = model.preset
    return {
        "function": "text_to_image",
        "prompt": prompt,
        **asdict(settings),
        "seed": settings.seed + index,
        "batch_seed": settings.seed,
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
        "dropped_words": {name: list(words) for name, words in encoded.dropped.items()},
        "seconds": round(seconds, 4),
    }


@cache
def library_versions() -> dict[str, str]:
    """The versions that made a picture: Python and the libraries that compute."""
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:  # a checkout that was not installed
            versions[library] = "unknown"
    return versions | {"torch": str(torch.__version__)}  # with its build, such as +cpu
