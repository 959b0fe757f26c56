"""The networks under training: which weights may change, and the model that draws with them."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from portraitlib.models.adapter_weights import copy_sharing
from portraitlib.models.load import Model, sibling_pipeline
from portraitlib.models.parts import quiet_loading
from portraitlib.settings import LAYERS, DreamBooth, UsageError

TEXT_LAYERS = ("q_proj", "k_proj", "v_proj", "out_proj")
TEXT_PARTS = ("text_encoder", "text_encoder_2")


@dataclass(frozen=True, eq=False)
class Tuned:
    """Networks whose weights change, beside a model that stays as it is.

    parts: "unet" and, where they learn, the text encoders; frozen weights are the model's own.
    weights: name -> trainable parameter in float32; names as an adapter has them.
    model: draws with the weights as they are.
    """

    parts: dict[str, Any]
    weights: dict[str, nn.Parameter] = field(repr=False)
    model: Model

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The trainable weights as an adapter holds them: float32 on the CPU, copies."""
        return {
            name: weight.detach().to("cpu", torch.float32).clone()
            for name, weight in self.weights.items()
        }

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take trainable weights back, in place: another layout in memory would round otherwise.

        Raises UsageError, and changes nothing, if one is missing.
        """
        if missing := sorted(self.weights.keys() - tensors.keys()):
            raise UsageError(
                f"checkpoint: it lacks {len(missing)} of {len(self.weights)} weights, such as "
                f"{missing[0]}; other versions of peft or diffusers wrote it; give another folder"
            )
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(tensors[name])

    def train(self) -> None:
        """Switch to learning: no part has dropout, but gradient checkpointing asks for this."""
        for part in self.parts.values():
            part.train()


def tune(model: Model, settings: DreamBooth) -> Tuned:
    """Copies of the model's networks that share its weights, with those that are to be learnt.

    A LoRA begins as no change: its second matrix is zero. The first follows from the seed.
    """
    names = ("unet", *(TEXT_PARTS if settings.text_learning_rate else ()))
    originals = {name: getattr(model.pipeline, name) for name in names}
    for original in originals.values():
        original.requires_grad_(False)
    with quiet_loading(), torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(settings.seed)
        parts: dict[str, Any] = {
            name: _tunable(name, part, settings) for name, part in originals.items()
        }
        for part in parts.values():
            part.to(model.device)  # an optimizer's state is put where its weights are
        if settings.gradient_checkpointing:
            for name, part in parts.items():
                if name == "unet":
                    part.enable_gradient_checkpointing()
                else:
                    # transformers is about to rename it
                    newer = getattr(part, "activation_checkpointing_enable", None)
                    (newer or part.gradient_checkpointing_enable)()
    weights = {
        f"{part}.{name.replace('.default', '')}": weight
        for part, module in parts.items()
        for name, weight in module.named_parameters()
        if weight.requires_grad
    }
    # The hooks that move parts which wait in main memory belong to the model's own pipeline.
    waiting = ("vae", *TEXT_PARTS) if model.offloaded else ()
    others = {name: copy_sharing(getattr(model.pipeline, name), {}) for name in waiting}
    pipeline = sibling_pipeline(model, type(model.pipeline).__name__, **{**others, **parts})
    drawing = dataclasses.replace(
        model,
        pipeline=pipeline,
        offloaded=False,
        # It is another model now, of which nothing is on record until it is an adapter.
        prompts=OrderedDict() if settings.text_learning_rate else model.prompts,
    )
    return Tuned(parts, weights, drawing)


def _tunable(name: str, original: Any, settings: DreamBooth) -> Any:
    """A network that shares the frozen weights of `original`; what is learnt is in float32."""
    if name == "unet" and settings.tune == "full":
        own = {key: value.detach().float().clone() for key, value in original.named_parameters()}
        return copy_sharing(original, own).requires_grad_(True)
    from diffusers.training_utils import cast_training_params
    from peft import LoraConfig

    part: Any = copy_sharing(original, {})
    assert settings.rank is not None and settings.layers is not None
    part.add_adapter(
        LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha or settings.rank,
            init_lora_weights="gaussian",
            target_modules=list(LAYERS[settings.layers] if name == "unet" else TEXT_LAYERS),
        )
    )
    cast_training_params(part)
    return part


# --- where the parts are -------------------------------------------------------------------------


def _put_unused(tuned: Tuned, device: Any) -> None:
    """Move the parts that a step does not need, and that share nothing with one it does."""
    for name in ("vae", *TEXT_PARTS):
        if name not in tuned.parts:
            getattr(tuned.model.pipeline, name).to(device)


@contextmanager
def encoders_resting(tuned: Tuned, *, offloaded: bool = False) -> Iterator[None]:
    """Keep the encoders and the VAE out of the device's memory, and what is trained in it.

    offloaded: did all parts wait in main memory before? There they are brought back to.
    """
    _put_unused(tuned, "cpu")
    tuned.train()
    try:
        yield
    finally:
        home = "cpu" if offloaded else tuned.model.device
        for part in tuned.parts.values():
            part.to(home).eval()
        _put_unused(tuned, home)


@contextmanager
def as_when_drawing(tuned: Tuned) -> Iterator[None]:
    """Bring the encoders back for a while, and switch the networks from training to drawing."""
    _put_unused(tuned, tuned.model.device)
    for part in tuned.parts.values():
        part.eval()
    if len(tuned.parts) > 1:  # the text encoders change: prompts are encoded anew
        tuned.model.prompts.clear()
    try:
        yield
    finally:
        tuned.train()
        _put_unused(tuned, "cpu")
