"""Draw portraits that hold to a condition, such as the edges of a photo."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from portraitlib.device import seeded_generators
from portraitlib.generate.calls import TOGETHER, Together, Variants, shown
from portraitlib.generate.conditions import KINDS, Condition, mostly_black, ready_edges
from portraitlib.generate.controlnets import ControlNet, load_controlnet, on_the_device
from portraitlib.generate.denoise import (
    Drawing,
    State,
    count_steps,
    denoise_all,
    embed_condition,
    make_plan,
)
from portraitlib.generate.images import (
    DEFAULT_SAMPLING,
    OnStep,
    check_inputs,
    check_strength,
    fill_defaults,
    most_images,
    one_line_when_memory_is_short,
    ready_and_warned,
    starting_noise,
    to_images,
    write_recipe,
)
from portraitlib.generate.latents import add_noise, decode_latents, encode_picture
from portraitlib.generate.previews import OnPreview, Previewer
from portraitlib.generate.prompts import EncodedPrompt, encode_prompt, warn_of_dropped_words
from portraitlib.models.load import Model, sibling_pipeline
from portraitlib.photos.pictures import Picture, picture_hash
from portraitlib.portrait import Portrait
from portraitlib.settings import Control, Sampling, UsageError

AnyCondition = Condition | Image.Image | np.ndarray
AnyControlNet = str | Path | None

DEFAULT_CONTROL = Control()


def control_to_image(
    model: Model,
    condition: AnyCondition | Sequence[AnyCondition],
    prompt: str,
    sampling: Sampling = DEFAULT_SAMPLING,
    control: Control | Sequence[Control] = DEFAULT_CONTROL,
    *,
    image: Picture | None = None,
    strength: float = 1.0,
    controlnet: AnyControlNet | Sequence[AnyControlNet] = None,
    on_step: OnStep | None = None,
    on_preview: OnPreview | None = None,
) -> list[Portrait]:
    """Draw `sampling.num_images` portraits of what the prompt says that hold to a condition.

    condition: what `canny` or `make_condition` made, or a PIL picture or OpenCV array, which is
        taken as ready-made edges, white on black. Several in a list act together: what they add is
        summed.
    control: how hard it holds and in which steps; a list gives each condition its own.
    image, strength: as for image_to_image, to start from a picture; without one, from noise alone.
        start and end of `control` are then shares of the steps that are run.
    controlnet: the folder or hub id of the control model; None takes the one of the model's preset,
        which reads canny edges; a list gives each condition its own.
    Image i gets the noise of seed + i, as it would alone. on_step, on_preview: as for
    text_to_image.

    The control model does not run where its condition does not act, and the condition is embedded
    once. The pixels are those of diffusers' StableDiffusionXLControlNetPipeline.
    Warns of a condition that had to be made fit or never acts, and as text_to_image does.
    Raises UsageError for what cannot be drawn, a condition without edges, a control model that is
    missing or of another family.
    ControlNet: https://arxiv.org/abs/2302.05543.
    """
    run = _prepare(model, condition, prompt, sampling, [control], image, strength, controlnet)
    return dict(_draw(run, on_step, on_preview))[0]


def control_to_image_variants(
    model: Model,
    condition: AnyCondition | Sequence[AnyCondition],
    prompt: str,
    sampling: Sampling = DEFAULT_SAMPLING,
    controls: Sequence[Control | Sequence[Control]] = (DEFAULT_CONTROL,),
    *,
    image: Picture | None = None,
    strength: float = 1.0,
    controlnet: AnyControlNet | Sequence[AnyControlNet] = None,
    on_step: OnStep | None = None,
) -> list[list[Portrait]]:
    """Draw what control_to_image draws with each of `controls`, computing common steps once.

    Runs are alike until the first step in which their conditions act differently. So four values of
    `end` (.25, .5, .75, 1) at 30 steps take 30 calls of the control model and 76 of the UNet, in
    place of 120 and 120 in diffusers; the pixels are the same. Those that differ in scale alone
    have in common what the control model says in the first of their steps. The seconds in a recipe
    are those since the variant before was finished.
    """
    run = _prepare(model, condition, prompt, sampling, controls, image, strength, controlnet)
    return [portraits for _, portraits in sorted(_draw(run, on_step), key=itemgetter(0))]


def variants_as_they_come(
    model: Model,
    condition: AnyCondition | Sequence[AnyCondition],
    prompt: str,
    sampling: Sampling,
    control: Sequence[Control | Sequence[Control]],
    *,
    image: Picture | None = None,
    strength: float = 1.0,
    controlnet: AnyControlNet | Sequence[AnyControlNet] = None,
    on_step: OnStep | None = None,
    on_preview: OnPreview | None = None,
) -> Iterator[tuple[int, list[Portrait]]]:
    """What control_to_image_variants draws: the number of a control in the list and its portraits,
    each as soon as it is finished. Everything is checked before the first."""
    run = _prepare(model, condition, prompt, sampling, control, image, strength, controlnet)
    return _draw(run, on_step, on_preview)


TOGETHER[control_to_image] = Together(most_images, Variants("control", variants_as_they_come))


@dataclass(frozen=True)
class _Run:
    """Everything checked and ready; controls has one row a variant, one entry a condition."""

    model: Model
    prompt: str
    settings: Sampling
    encoded: EncodedPrompt
    conditions: list[Condition]
    controls: list[list[Control]]
    controlnets: list[ControlNet]
    picture: Image.Image | None
    strength: float

    @property
    def steps(self) -> int:
        assert self.settings.num_inference_steps is not None
        return int(self.settings.num_inference_steps * self.strength)


def _prepare(
    model: Model,
    condition: AnyCondition | Sequence[AnyCondition],
    prompt: str,
    sampling: Sampling,
    controls: Sequence[Control | Sequence[Control]],
    image: Picture | None,
    strength: float,
    controlnet: AnyControlNet | Sequence[AnyControlNet],
) -> _Run:
    """Check everything before anything is computed; warn the caller's caller of what was done."""
    check_inputs(model, prompt, sampling)
    settings = fill_defaults(model, sampling)
    strength = check_strength(strength, settings, "control_to_image")
    if image is None and strength != 1:
        raise UsageError(
            f"control_to_image.strength: got {strength:g} without an image to start from; "
            "try image=photo, or leave strength out"
        )
    assert settings.size_px is not None
    conditions, notes = fit_conditions(condition, settings.size_px)
    rows = [_one_each(control, len(conditions)) for control in controls]
    if not rows:
        raise UsageError("controls: got none, expected one Control or more")
    sources = _sources(controlnet, conditions)
    for source, fitted in zip(sources, conditions, strict=True):
        if source is None and fitted.picture is None and not mostly_black(fitted.image):
            notes.append("not mostly black, as edges are; try pl.canny(photo)")
    for note in notes:
        warnings.warn(f"condition: {note}", stacklevel=3)
    picture = None if image is None else ready_and_warned(model, image, settings, stacklevel=4)
    with one_line_when_memory_is_short(settings):
        loaded = [load_controlnet(model, source) for source in sources]
    encoded = encode_prompt(model, prompt, settings)
    warn_of_dropped_words(encoded, stacklevel=4)
    run = _Run(model, prompt, settings, encoded, conditions, rows, loaded, picture, strength)
    _warn_of_idle_controls(run)
    return run


def _warn_of_idle_controls(run: _Run) -> None:
    """Say where so few steps are run that none lies between a start and an end."""
    for control in {control: None for row in run.controls for control in row}:
        acts = make_plan([control], run.steps)
        if control.scale and not any(act for (act,) in acts):
            warnings.warn(
                f"control: none of {run.steps} steps lies wholly between start={control.start} "
                f"and end={control.end}, so the condition does nothing; try more steps",
                stacklevel=4,
            )


def fit_conditions(
    condition: AnyCondition | Sequence[AnyCondition], size_px: int
) -> tuple[list[Condition], list[str]]:
    """Conditions at the size that is drawn, and what had to be done for that.

    Raises UsageError for what is no condition and for edges that are all black.
    """
    several = condition if isinstance(condition, list | tuple) else [condition]
    if not several:
        raise UsageError("condition: got an empty list, expected pl.canny(photo)")
    fitted, notes = [], []
    for each in several:
        if isinstance(each, Condition):
            fitted.append(each.at_size(size_px))
            if fitted[-1] is not each:
                notes.append(
                    f"{each.kind} of {each.image.width} px, made again at {size_px} px; "
                    f"try size_px={size_px} where it is made"
                )
        elif isinstance(each, Image.Image | np.ndarray):
            ready, done = ready_edges(each, size_px)
            fitted.append(ready)
            notes += [f"a picture, taken as ready-made edges: {'; '.join(done)}"] if done else []
        else:
            raise UsageError(
                f"condition: got {type(each).__name__}, expected what pl.canny(photo) or "
                "pl.make_condition(photo, kind) makes, or edges as a PIL picture or array"
            )
    return fitted, notes


def _one_each(control: Any, count: int) -> list[Control]:
    """A control for each condition; one alone is for all."""
    row = list(control) if isinstance(control, list | tuple) else [control] * count
    for each in row:
        if not isinstance(each, Control):
            raise UsageError(f"control: got {shown(each)}, expected Control(scale=0.7)")
    if len(row) != count:
        raise UsageError(f"control: got {len(row)} for {count} conditions, expected one for each")
    return row


def _sources(controlnet: Any, conditions: list[Condition]) -> list[AnyControlNet]:
    """The control model for each condition; raises UsageError where a preset's cannot read it."""
    several = isinstance(controlnet, list | tuple)
    sources = list(controlnet) if several else [controlnet] * len(conditions)
    if len(sources) != len(conditions):
        raise UsageError(
            f"controlnet: got {len(sources)} for {len(conditions)} conditions, expected one for "
            "each"
        )
    for source, condition in zip(sources, conditions, strict=True):
        if source is None and not KINDS[condition.kind].lines:
            raise UsageError(
                f"condition: got {condition.kind}, but the model's own ControlNet reads edges; "
                'name one that was trained for it: controlnet="a hub id or a folder"'
            )
    return sources


def _draw(
    run: _Run, on_step: OnStep | None, on_preview: OnPreview | None = None
) -> Iterator[tuple[int, list[Portrait]]]:
    """Each variant's number and portraits, as they are finished; previews are of one alone."""
    model, settings = run.model, run.settings
    started_s = time.perf_counter()
    with one_line_when_memory_is_short(settings):
        state, timesteps = _start(run)
        plans = [make_plan(row, len(timesteps)) for row in run.controls]
        total, done = count_steps(plans), 0

        previewer = None
        if on_preview is not None and len(plans) == 1:
            previewer = Previewer(model, state.scheduler, state.latents, on_preview)

        def report(now: State) -> None:
            nonlocal done
            done += 1
            if on_step is not None:
                on_step(done, total)
            if previewer is not None:
                previewer.scheduler = now.scheduler
                previewer.saw(now.latents, done, total)

        with on_the_device(model, run.controlnets):
            # Variants that never differed come together and are one picture.
            for variants, end in denoise_all(_drawing(run), state, timesteps, plans, report):
                images = to_images(decode_latents(model, end.latents), model)
                seconds = (time.perf_counter() - started_s) / len(images) / len(variants)
                for variant in variants:
                    recipes = [_recipe(run, variant, i, seconds) for i in range(len(images))]
                    yield variant, list(map(Portrait, images, recipes))
                started_s = time.perf_counter()
        model.pipeline.maybe_free_model_hooks()  # parts that wait in main memory go back there


def _start(run: _Run) -> tuple[State, torch.Tensor]:
    """Where denoising starts, and its steps: from noise, or from the picture under noise."""
    model, settings = run.model, run.settings
    steps = settings.num_inference_steps
    generators = seeded_generators(settings.seed, settings.num_images)
    pipeline = sibling_pipeline(model, "StableDiffusionXLImg2ImgPipeline")
    if run.picture is None:
        noise = starting_noise(model, settings, generators)
        pipeline.scheduler.set_timesteps(steps, device=model.device)
        latents = noise * pipeline.scheduler.init_noise_sigma
        return State(latents, pipeline.scheduler, generators), pipeline.scheduler.timesteps
    encoded = encode_picture(model, run.picture)
    noise = starting_noise(model, settings, generators)
    latents = add_noise(pipeline, encoded, noise, settings, run.strength)
    timesteps, _ = pipeline.get_timesteps(steps, run.strength, model.device)
    return State(latents, pipeline.scheduler, generators), timesteps


def _drawing(run: _Run) -> Drawing:
    """What stays the same from step to step: the words and the embedded conditions."""
    model, settings, tensors = run.model, run.settings, run.encoded.tensors
    assert settings.guidance_scale is not None
    halves = ["negative_", ""] if settings.guidance_scale > 1 else [""]

    def batch(name: str) -> torch.Tensor:
        rows = [tensors[half + name].repeat_interleave(settings.num_images, 0) for half in halves]
        return torch.cat(rows).to(model.device)

    embeds = batch("prompt_embeds")
    # The size of the original, where its crop begins, the size wanted: as diffusers fills them.
    sizes = [settings.size_px, settings.size_px, 0, 0, settings.size_px, settings.size_px]
    sizes_row = torch.tensor([sizes], dtype=embeds.dtype, device=embeds.device)
    added = {"text_embeds": batch("pooled_prompt_embeds"), "time_ids": sizes_row}
    added["time_ids"] = sizes_row.repeat(len(embeds), 1)
    steered = [
        (controlnet, embed_condition(model, controlnet, condition.image))
        for controlnet, condition in zip(run.controlnets, run.conditions, strict=True)
    ]
    return Drawing(model, settings.guidance_scale, embeds, added, steered)


def _recipe(run: _Run, variant: int, index: int, seconds: float) -> dict[str, Any]:
    """The recipe of one picture, with diffusers' names; lists where conditions are several."""
    row, alone = run.controls[variant], len(run.conditions) == 1

    def plain(values: list[Any]) -> Any:
        return values[0] if alone else values

    own = {
        "function": "control_to_image",
        "controlnet_conditioning_scale": plain([control.scale for control in row]),
        "control_guidance_start": plain([control.start for control in row]),
        "control_guidance_end": plain([control.end for control in row]),
        "guess_mode": plain([control.guess_mode for control in row]),
        "condition": plain(
            [{"kind": c.kind, "settings": c.settings, "image": c.hash} for c in run.conditions]
        ),
        "controlnet": plain([controlnet.name for controlnet in run.controlnets]),
        "controlnet_revision": plain([controlnet.revision for controlnet in run.controlnets]),
    }
    if run.picture is not None:
        own |= {"strength": run.strength, "image": picture_hash(run.picture)}
    written = write_recipe(run.model, run.prompt, run.settings, run.encoded, index, seconds)
    return written | own
