"""The denoising loop with control models beside the UNet, which can stop at a step and go on.

Runs that begin alike share their first steps exactly: `denoise_all` computes each step once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from portraitlib.generate.controlnets import ControlNet
from portraitlib.generate.person import Speaking
from portraitlib.models.load import Model
from portraitlib.photos.pictures import picture_hash
from portraitlib.places import once
from portraitlib.settings import Control, acts_in

CONDITIONS_KEPT = 8  # embedded conditions that a control model keeps; 10 MB each with SDXL

# What one control model does in one step: None, or its scale and whether it guesses.
Act = tuple[float, bool] | None
Plan = list[tuple[Act, ...]]  # step after step, one act for each control model


@dataclass(frozen=True)
class Drawing:
    """What stays the same from step to step.

    guidance_scale: above 1 every batch is twice as long, without and with the prompt.
    embeds, added: what the text encoders said, (batch, tokens, width) and the UNet's other words.
    steered: the control models, each with its embedded condition, (1, width, height/8, width/8).
    speech, heard: what a person's photos say, and the same as the UNet takes it.
    """

    model: Model
    guidance_scale: float
    embeds: torch.Tensor
    added: dict[str, torch.Tensor]
    steered: list[tuple[ControlNet, torch.Tensor]]
    speech: Speaking | None = None
    heard: dict[str, Any] = field(default_factory=dict)


@dataclass
class State:
    """A drawing between two steps: latents (images, 4, height/8, width/8) and all that remembers.

    The scheduler knows its place in the steps, the generators what noise comes next.
    shared: where several runs go on from here, what the control models say of these latents: runs
        that differ in scale alone need it said once.
    step: how many were run.
    """

    latents: torch.Tensor
    scheduler: Any
    generators: list[torch.Generator]
    shared: dict[tuple[int, bool], list[torch.Tensor]] | None = None
    step: int = 0

    def copy(self) -> State:
        """Another one, which goes on alone."""
        generators = [generator.clone_state() for generator in self.generators]
        scheduler = copy.deepcopy(self.scheduler)
        return State(self.latents, scheduler, generators, self.shared, self.step)


@torch.no_grad()
def denoise(
    drawing: Drawing,
    state: State,
    timesteps: torch.Tensor,
    plan: Plan,
    report: Callable[[State], None] = lambda state: None,
) -> State:
    """Run some steps and return the state after them; the one given stays as it is.

    timesteps: the scheduler's own, or a part of them that begins where the state is.
    plan: as long as `timesteps`.  report: called after each step
    with the state.
    Steps i:j and then j:k give what i:k gives. Classifier-free guidance is one batch, as in
    diffusers: https://arxiv.org/abs/2207.12598.
    """
    state = state.copy()
    unet, scheduler = drawing.model.pipeline.unet, state.scheduler
    guided = drawing.guidance_scale > 1
    more = drawing.model.pipeline.prepare_extra_step_kwargs(state.generators, 0.0)
    for timestep, acts in zip(timesteps, plan, strict=True):
        noisy = torch.cat([state.latents] * 2) if guided else state.latents
        noisy = scheduler.scale_model_input(noisy, timestep)
        if drawing.speech is not None:
            drawing.speech.at_step(state.step)
        predicted = unet(
            noisy,
            timestep,
            encoder_hidden_states=drawing.embeds,
            added_cond_kwargs=drawing.added | drawing.heard,
            **_residuals(drawing, noisy, timestep, acts, state.shared),
            return_dict=False,
        )[0]
        if guided:
            without, with_prompt = predicted.chunk(2)
            predicted = without + drawing.guidance_scale * (with_prompt - without)
        state.latents = scheduler.step(
            predicted, timestep, state.latents, **more, return_dict=False
        )[0]
        state.shared = None
        state.step += 1
        report(state)
    return state


def denoise_all(
    drawing: Drawing,
    state: State,
    timesteps: torch.Tensor,
    plans: Sequence[Plan],
    report: Callable[[State], None] = lambda state: None,
) -> Iterator[tuple[list[int], State]]:
    """Run all plans from one state to the end, each step that they begin with in common once.

    Gives the numbers of plans and the state at their end, as soon as they are there.
    """
    first, rest = plans[0], len(timesteps)
    same = next((i for i in range(rest) if any(p[i] != first[i] for p in plans)), rest)
    if same:
        state = denoise(drawing, state, timesteps[:same], first[:same], report)
    if same == rest:
        yield list(range(len(plans))), state
        return
    state = replace(state, shared={})
    for acts in dict.fromkeys(plan[same] for plan in plans):
        mine = [index for index, plan in enumerate(plans) if plan[same] == acts]
        ends = [plans[index][same:] for index in mine]
        for done, end in denoise_all(drawing, state, timesteps[same:], ends, report):
            yield [mine[index] for index in done], end


def count_steps(plans: Sequence[Plan]) -> int:
    """How many steps `denoise_all` runs."""
    return len({tuple(plan[: step + 1]) for plan in plans for step in range(len(plan))})


def make_plan(controls: Sequence[Control], steps: int) -> Plan:
    """Who acts in which step: all that lie wholly between start and end, if scale is not 0."""

    def act(control: Control, step: int) -> Act:
        acts = control.scale and acts_in(control, step, steps)
        return (control.scale, control.guess_mode) if acts else None

    return [tuple(act(control, step) for control in controls) for step in range(steps)]


def embed_condition(model: Model, controlnet: ControlNet, picture: Image.Image) -> torch.Tensor:
    """A condition as the control model's first layers see it, (1, width, height/8, width/8).

    Computed once, then remembered.
    """

    @torch.no_grad()
    def embed() -> torch.Tensor:
        values = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
        return controlnet.embedding(values.to(model.device, model.dtype))

    return once(controlnet.embedded, picture_hash(picture), CONDITIONS_KEPT, embed)


def _residuals(
    drawing: Drawing,
    noisy: torch.Tensor,
    timestep: torch.Tensor,
    acts: tuple[Act, ...],
    known: dict[tuple[int, bool], list[torch.Tensor]] | None,
) -> dict[str, Any]:
    """What the control models add to the UNet in this step, summed; nothing where none acts."""
    known = {} if known is None else known
    total: list[torch.Tensor] = []
    for index, act in enumerate(acts):
        if act is None:
            continue
        scale, guess = act
        if (index, guess) not in known:
            known[index, guess] = _run_control(drawing, index, guess, noisy, timestep)
        mine = [scale * residual for residual in known[index, guess]]
        total = [a + b for a, b in zip(total, mine, strict=True)] if total else mine
    if not total:
        return {}
    *down, middle = total
    return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}


def _run_control(
    drawing: Drawing, index: int, guess: bool, noisy: torch.Tensor, timestep: torch.Tensor
) -> list[torch.Tensor]:
    """What one control model says at scale 1: a residual for each skip of the UNet, and the last
    for its middle."""
    controlnet, condition = drawing.steered[index]
    guess = guess or controlnet.trunk.config.global_pool_conditions
    halved = guess and drawing.guidance_scale > 1  # only the half with the prompt is steered
    seen, embeds, added = noisy, drawing.embeds, drawing.added
    if halved:
        seen, embeds = seen.chunk(2)[1], embeds.chunk(2)[1]
        added = {name: words.chunk(2)[1] for name, words in added.items()}
    down, middle = controlnet.trunk(
        seen,
        timestep,
        encoder_hidden_states=embeds,
        controlnet_cond=condition,
        guess_mode=guess,
        added_cond_kwargs=added,
        return_dict=False,
    )
    residuals = [*down, middle]
    return [torch.cat([torch.zeros_like(r), r]) for r in residuals] if halved else residuals
