"""Draw portraits that hold to a condition, such as the edges of a photo."""

from __future__ import annotations

import itertools
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

from portraitlib.generate.calls import TOGETHER, Together
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
    Order,
    Person,
    most_images,
    one_line_when_memory_is_short,
    starting_noise,
    take_order,
)
from portraitlib.generate.latents import (
    OnPreview,
    Previewer,
    add_noise,
    decode_latents,
    encode_picture,
)
from portraitlib.generate.person import speaking
from portraitlib.models.load import Model, sibling_pipeline
from portraitlib.photos.pictures import Picture
from portraitlib.portrait import Portrait
from portraitlib.settings import Control, Sampling, UsageError, shown

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
    person: Person = None,
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
    person: as for text_to_image.
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
    run = _prepare(
        model, condition, prompt, sampling, [control], image, strength, person, controlnet
    )
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
    person: Person = None,
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
    run = _prepare(
        model, condition, prompt, sampling, controls, image, strength, person, controlnet
    )
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
    person: Person = None,
    controlnet: AnyControlNet | Sequence[AnyControlNet] = None,
    on_step: OnStep | None = None,
    on_preview: OnPreview | None = None,
) -> Iterator[tuple[int, list[Portrait]]]:
    """What control_to_image_variants draws: the number of a control in the list and its portraits,
    each as soon as it is finished. Everything is checked before the first."""
    run = _prepare(model, condition, prompt, sampling, control, image, strength, person, controlnet)
    return _draw(run, on_step, on_preview)


TOGETHER[control_to_image] = Together(most_images, "control", variants_as_they_come)


@dataclass(frozen=True)
class _Run:
    """What is drawn, and what steers it: one control model for each condition.

    controls: one row a variant, in it one for each condition.
    """

    order: Order
    conditions: list[Condition]
    controlnets: list[ControlNet]
    controls: list[list[Control]]


def _prepare(
    model: Model,
    condition: AnyCondition | Sequence[AnyCondition],
    prompt: str,
    sampling: Sampling,
    controls: Sequence[Control | Sequence[Control]],
    image: Picture | None,
    strength: float,
    person: Person,
    controlnet: AnyControlNet | Sequence[AnyControlNet],
) -> _Run:
    """Check everything before anything is computed; warn the caller's caller of what was done."""
    if image is None and strength != 1:
        raise UsageError(
            f"control_to_image.strength: got {strength!r} without an image to start from; "
            "try image=photo, or leave strength out"
        )
    order = take_order(
        model, prompt, sampling, strength, "control_to_image", stacklevel=4, person=person
    )
    if image is not None:
        order = order.start_from(image, stacklevel=4)
    conditions, notes = fit_conditions(condition, order.size_px)
    rows = [_one_each("control", control, conditions) for control in controls]
    if not rows:
        raise UsageError("controls: got none, expected one Control or more")
    for control in (control for row in rows for control in row):
        if not isinstance(control, Control):
            raise UsageError(f"control: got {shown(control)}, expected Control(scale=0.7)")
    sources = _one_each("controlnet", controlnet, conditions)
    for source, fitted in zip(sources, conditions, strict=True):
        notes += _check_readable(source, fitted)
    for note in notes:
        warnings.warn(f"condition: {note}", stacklevel=3)
    with one_line_when_memory_is_short(order.settings):
        loaded = [load_controlnet(model, source) for source in sources]
    _warn_of_idle_controls(rows, order.steps)
    return _Run(order, conditions, loaded, rows)


def _warn_of_idle_controls(rows: list[list[Control]], steps: int) -> None:
    """Say where so few steps are run that none lies between a start and an end."""
    for control in dict.fromkeys(control for row in rows for control in row):
        if control.scale and not any(act for (act,) in make_plan([control], steps)):
            warnings.warn(
                f"control: none of {steps} steps lies wholly between start={control.start} "
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
    for given in several:
        if isinstance(given, Condition):
            fitted.append(given.at_size(size_px))
            if fitted[-1] is not given:
                notes.append(
                    f"{given.kind} of {given.image.width} px, made again at {size_px} px; "
                    f"try size_px={size_px} where it is made"
                )
        elif isinstance(given, Image.Image | np.ndarray):
            ready, done = ready_edges(given, size_px)
            fitted.append(ready)
            notes += [f"a picture, taken as ready-made edges: {'; '.join(done)}"] if done else []
        else:
            raise UsageError(
                f"condition: got {type(given).__name__}, expected what pl.canny(photo) or "
                "pl.make_condition(photo, kind) makes, or edges as a PIL picture or array"
            )
    return fitted, notes


def _one_each(name: str, given: Any, conditions: list[Condition]) -> list[Any]:
    """What belongs to each condition; one alone is for all."""
    several = isinstance(given, list | tuple)
    row = list(given) if several else [given] * len(conditions)
    if len(row) != len(conditions):
        raise UsageError(
            f"{name}: got {len(row)} for {len(conditions)} conditions, expected one for each"
        )
    return row


def _check_readable(source: AnyControlNet, condition: Condition) -> list[str]:
    """What to know of a condition; raises UsageError if the preset's ControlNet cannot read it."""
    if source is not None:
        return []
    if not KINDS[condition.kind].lines:
        raise UsageError(
            f"condition: got {condition.kind}, but the model's own ControlNet reads edges; "
            'name one that was trained for it: controlnet="a hub id or a folder"'
        )
    if condition.picture is None and not mostly_black(condition.image):
        return ["not mostly black, as edges are; try pl.canny(photo)"]
    return []


def _draw(
    run: _Run, on_step: OnStep | None, on_preview: OnPreview | None = None
) -> Iterator[tuple[int, list[Portrait]]]:
    """Each variant's number and portraits, as they are finished; previews are of one alone."""
    model, started_s = run.order.model, time.perf_counter()
    with one_line_when_memory_is_short(run.order.settings):
        state, timesteps = _start(run.order)
        plans = [make_plan(row, len(timesteps)) for row in run.controls]
        steps = itertools.count(1)
        total = count_steps(plans)
        previewer = None
        if on_preview is not None and len(plans) == 1:
            previewer = Previewer(model, state.scheduler, state.latents, on_preview)

        def report(now: State) -> None:
            step = next(steps)
            if on_step is not None:
                on_step(step, total)
            if previewer is not None:
                previewer.scheduler = now.scheduler
                previewer.saw(now.latents, step, total)

        listening = speaking(model, run.order.speech)
        with on_the_device(model, run.controlnets), listening:
            # Variants that never differed come together and are one picture.
            for variants, end in denoise_all(_drawing(run), state, timesteps, plans, report):
                pixels = decode_latents(model, end.latents)
                seconds = (time.perf_counter() - started_s) / len(pixels) / len(variants)
                for variant in variants:
                    yield variant, run.order.portraits(pixels, seconds, _entries(run, variant))
                started_s = time.perf_counter()
        model.pipeline.maybe_free_model_hooks()  # parts that wait in main memory go back there


def _start(order: Order) -> tuple[State, torch.Tensor]:
    """Where denoising starts, and its steps: from noise, or from the picture under noise."""
    model, settings = order.model, order.settings
    pipeline = sibling_pipeline(model, "StableDiffusionXLImg2ImgPipeline")
    scheduler = pipeline.scheduler
    noise, generators = starting_noise(order)
    if order.picture is None:
        scheduler.set_timesteps(settings.num_inference_steps, device=model.device)
        latents, timesteps = noise * scheduler.init_noise_sigma, scheduler.timesteps
    else:
        encoded = encode_picture(model, order.picture)
        latents = add_noise(pipeline, encoded, noise, settings, order.strength)
        steps = settings.num_inference_steps
        timesteps, _ = pipeline.get_timesteps(steps, order.strength, model.device)
    return State(latents, scheduler, generators), timesteps


def _drawing(run: _Run) -> Drawing:
    """What stays the same from step to step: the words and the embedded conditions."""
    model, settings = run.order.model, run.order.settings
    tensors, size_px = run.order.encoded.tensors, run.order.size_px
    assert settings.guidance_scale is not None
    halves = ["negative_", ""] if settings.guidance_scale > 1 else [""]

    def batch(name: str) -> torch.Tensor:
        rows = [tensors[half + name].repeat_interleave(settings.num_images, 0) for half in halves]
        return torch.cat(rows).to(model.device)

    embeds = batch("prompt_embeds")
    # The size of the original, where its crop begins, the size wanted: as diffusers fills them.
    sizes = torch.tensor([[size_px, size_px, 0, 0, size_px, size_px]]).to(embeds)
    added = {
        "text_embeds": batch("pooled_prompt_embeds"),
        "time_ids": sizes.repeat(len(embeds), 1),
    }
    steered = [
        (controlnet, embed_condition(model, controlnet, condition.image))
        for controlnet, condition in zip(run.controlnets, run.conditions, strict=True)
    ]
    speech = run.order.speech
    photos = speech and [speech.embeds.repeat_interleave(settings.num_images, 0)]
    heard = {"image_embeds": photos} if photos else {}
    return Drawing(model, settings.guidance_scale, embeds, added, steered, speech, heard)


def _entries(run: _Run, variant: int) -> dict[str, Any]:
    """What recipes say of the control, by diffusers' names; lists where conditions are several."""
    rows = [
        {
            "controlnet_conditioning_scale": control.scale,
            "control_guidance_start": control.start,
            "control_guidance_end": control.end,
            "guess_mode": control.guess_mode,
            "condition": {
                "kind": condition.kind,
                "settings": condition.settings,
                "image": condition.hash,
            },
            "controlnet": controlnet.name,
            "controlnet_revision": controlnet.revision,
        }
        for control, condition, controlnet in zip(
            run.controls[variant], run.conditions, run.controlnets, strict=True
        )
    ]
    alone = len(rows) == 1
    entries = {name: rows[0][name] if alone else [row[name] for row in rows] for name in rows[0]}
    return {"function": "control_to_image", **entries}
