"""The networks under training: which weights may change, and the model that draws with them."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from portraitlib.adapter_weights import copy_sharing
from portraitlib.models import Model, quiet_loading, sibling_pipeline
from portraitlib.settings import LAYERS, DreamBooth

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
        """Take trainable weights back, in place: another layout in memory would round otherwise."""
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(tensors[name])

    def forget_prompts(self) -> None:
        """Have the prompts encoded anew where the text encoders change."""
        if len(self.parts) > 1:
            self.model.prompts.clear()


def tune(model: Model, settings: DreamBooth) -> Tuned:
    """Copies of the model's networks that share its weights, with those that are to be learnt.

    A LoRA begins as no change: its second matrix is zero. The first follows from the seed.
    """
    names = ("unet", *(TEXT_PARTS if settings.text_learning_rate else ()))
    originals = {name: getattr(model.pipeline, name) for name in names}
    for original in originals.values():
        original.requires_grad_(False)
    with quiet_loading(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        parts: dict[str, Any] = {
            name: _tunable(name, part, settings) for name, part in originals.items()
        }
        if settings.gradient_checkpointing:
            for name, part in parts.items():
                if name == "unet":
                    part.enable_gradient_checkpointing()
                else:
                    part.gradient_checkpointing_enable()
    weights = {
        f"{part}.{name.replace('.default', '')}": weight
        for part, module in parts.items()
        for name, weight in module.named_parameters()
        if weight.requires_grad
    }
    pipeline = sibling_pipeline(model, type(model.pipeline).__name__, **parts)
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
    from peft import LoraConfig

    part = copy_sharing(original, {})
    assert settings.rank is not None and settings.layers is not None
    part.add_adapter(
        LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha or settings.rank,
            init_lora_weights="gaussian",
            target_modules=list(LAYERS[settings.layers] if name == "unet" else TEXT_LAYERS),
        )
    )
    for weight in part.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    return part
