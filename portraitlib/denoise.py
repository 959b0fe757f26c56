"""The denoising loop with control models beside the UNet, which can stop at a step and go on.

Runs that begin alike share their first steps exactly: `denoise_all` computes each step once.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from portraitlib.controlnets import ControlNet
from portraitlib.models import Model
from portraitlib.settings import Control

# What one control model does in one step: None, or its scale and whether it guesses.
Act = tuple[float, bool] | None
Plan = list[tuple[Act, ...]]  # step after step, one act for each control model


@dataclass(frozen=True)
class Drawing:
    """What stays the same from step to step.

    guidance_scale: above 1 every batch is twice as long, without and with the prompt.
    embeds, added: what the text encoders said, (batch, tokens, width) and the UNet's other words.
    steered: the control models, each with its embedded condition, (1, width, height/8, width/8).
    """

    model: Model
    guidance_scale: float
    embeds: torch.Tensor
    added: dict[str, torch.Tensor]
    steered: list[tuple[ControlNet, torch.Tensor]]


@dataclass
class State:
    """A drawing between two steps: latents (images, 4, height/8, width/8) and all that remembers.

    The scheduler knows its place in the steps, the generators what noise comes next.
    """

    latents: torch.Tensor
    scheduler: Any
    generators: list[torch.Generator]

    def copy(self) -> State:
        """Another one, which goes on alone."""
        generators = [generator.clone_state() for generator in self.generators]
        return State(self.latents, copy.deepcopy(self.scheduler), generators)


@torch.no_grad()
def denoise(
    drawing: Drawing,
    state: State,
    timesteps: torch.Tensor,
    plan: Plan,
    report: Callable[[], None] = lambda: None,
) -> State:
    """Run some steps and return the state after them; the one given stays as it is.

    timesteps: the scheduler's own, or a part of them that begins where the state is.
    plan: as long as `timesteps`.  report: called after each step.
    Steps i:j and then j:k give what i:k gives. Classifier-free guidance is one batch, as in
    diffusers: https://arxiv.org/abs/2207.12598.
    """
    state = state.copy()
    unet, scheduler = drawing.model.pipeline.unet, state.scheduler
    guided = drawing.guidance_scale > 1
    step_arguments = _step_arguments(state)
    for timestep, acts in zip(timesteps, plan, strict=True):
        noisy = torch.cat([state.latents] * 2) if guided else state.latents
        noisy = scheduler.scale_model_input(noisy, timestep)
        predicted = unet(
            noisy,
            timestep,
            encoder_hidden_states=drawing.embeds,
            added_cond_kwargs=drawing.added,
            **_residuals(drawing, noisy, timestep, acts),
            return_dict=False,
        )[0]
        if guided:
            without, with_prompt = predicted.chunk(2)
            predicted = without + drawing.guidance_scale * (with_prompt - without)
        state.latents = scheduler.step(
            predicted, timestep, state.latents, **step_arguments, return_dict=False
        )[0]
        report()
    return state


def denoise_all(
    drawing: Drawing,
    state: State,
    timesteps: torch.Tensor,
    plans: Sequence[Plan],
    report: Callable[[], None] = lambda: None,
) -> list[State]:
    """Run all plans from one state to the end, each step that they begin with in common once."""
    first, rest = plans[0], len(timesteps)
    same = next((i for i in range(rest) if any(p[i] != first[i] for p in plans)), rest)
    if same:
        state = denoise(drawing, state, timesteps[:same], first[:same], report)
    if same == rest:
        return [state] * len(plans)
    finished: dict[int, State] = {}
    for acts in dict.fromkeys(plan[same] for plan in plans):
        mine = [index for index, plan in enumerate(plans) if plan[same] == acts]
        ends = [plans[index][same:] for index in mine]
        done = denoise_all(drawing, state, timesteps[same:], ends, report)
        finished.update(zip(mine, done, strict=True))
    return [finished[index] for index in range(len(plans))]


def count_steps(plans: Sequence[Plan]) -> int:
    """How many steps `denoise_all` runs."""
    return len({tuple(plan[: step + 1]) for plan in plans for step in range(len(plan))})


def make_plan(controls: Sequence[Control], steps: int) -> Plan:
    """Who acts in which step: all that lie wholly between start and end, if scale is not 0."""

    def act(control: Control, step: int) -> Act:
        inside = step / steps >= control.start and (step + 1) / steps <= control.end
        return (control.scale, control.guess_mode) if inside and control.scale else None

    return [tuple(act(control, step) for control in controls) for step in range(steps)]


def embed_condition(model: Model, controlnet: ControlNet, picture: Image.Image) -> torch.Tensor:
    """A condition as the control model's first layers see it, (1, width, height/8, width/8)."""
    values = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        return controlnet.embedding(values.to(model.device, model.dtype))


def _residuals(
    drawing: Drawing, noisy: torch.Tensor, timestep: torch.Tensor, acts: tuple[Act, ...]
) -> dict[str, Any]:
    """What the control models add to the UNet in this step, summed; nothing where none acts."""
    down: list[torch.Tensor] = []
    middle = None
    for (controlnet, condition), act in zip(drawing.steered, acts, strict=True):
        if act is None:
            continue
        scale, guess = act[0], act[1] or controlnet.trunk.config.global_pool_conditions
        halved = guess and drawing.guidance_scale > 1  # only the half with the prompt is steered
        added = drawing.added
        seen, embeds = noisy, drawing.embeds
        if halved:
            seen, embeds = seen.chunk(2)[1], embeds.chunk(2)[1]
            added = {name: words.chunk(2)[1] for name, words in added.items()}
        found, last = controlnet.trunk(
            seen,
            timestep,
            encoder_hidden_states=embeds,
            controlnet_cond=condition,
            conditioning_scale=scale,
            guess_mode=guess,
            added_cond_kwargs=added,
            return_dict=False,
        )
        mine = [torch.cat([torch.zeros_like(r), r]) if halved else r for r in (*found, last)]
        down = [a + b for a, b in zip(down, mine[:-1], strict=True)] if down else mine[:-1]
        middle = mine[-1] if middle is None else middle + mine[-1]
    if middle is None:
        return {}
    return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}


def _step_arguments(state: State) -> dict[str, Any]:
    """The generators, for samplers that add noise on the way."""
    knows = inspect.signature(state.scheduler.step).parameters
    return {"generator": state.generators} if "generator" in knows else {}
