"""Layers that answer as peft's and diffusers' do, to rounding, and learn faster on a processor.

On small pictures much of a step is not arithmetic: weights are put in another order for every
convolution, many small tensors are made and kept, the same captions are multiplied again. What is
here replaces `forward` of single modules while gradients are computed, and nothing else: the
networks that draw, are saved or wait are those of the libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from portraitlib.device import has_onednn

# Frozen convolutions are kept in two more copies; those of SDXL are too large for that.
MOST_IN_CONVOLUTIONS = 100_000_000  # weights of all of them together


class LowRankLinear(torch.autograd.Function):
    """A frozen linear layer and its LoRA in one: `x W' + bias + scale x A' B'`.

    x: (..., inputs).  weight: (outputs, inputs).  down: (rank, inputs).  up: (outputs, rank).
    One node instead of seven; keeps x and x A', and adds in place. 5 to 7 % of a step.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        low = rows @ down.t()
        out = rows @ weight.t() if bias is None else torch.addmm(bias, rows, weight.t())
        out.addmm_(low, up.t(), alpha=scale)
        ctx.save_for_backward(rows, low, weight, down, up)
        ctx.shape, ctx.scale = x.shape, scale
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, low, weight, down, up = ctx.saved_tensors
        of_out = gradients[0].reshape(-1, up.shape[0])
        of_low = of_out @ up
        of_up = of_out.t() @ low
        if ctx.scale != 1:
            of_low, of_up = of_low.mul_(ctx.scale), of_up.mul_(ctx.scale)
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = (of_out @ weight).addmm_(of_low, down).view(ctx.shape)
        return of_x, None, None, of_low.t() @ rows, of_up, None


@dataclass(eq=False)
class FrozenConvolution:
    """A convolution that does not learn, its weights in the order that oneDNN computes with.

    Otherwise they are brought into that order twice a step, which for pictures of few pixels takes
    as long as the convolution: 5 to 7 % of a step. Going back is a convolution as well, with the
    kernel turned round. Each order is found when it is first needed, for the shape that is seen
    then; another shape is computed alike.
    """

    layer: nn.Conv2d
    forth: torch.Tensor | None = None
    back: torch.Tensor | None = None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return _Convolved.apply(x, self)

    def answer(self, x: torch.Tensor) -> torch.Tensor:
        layer, x = self.layer, x.contiguous()
        if self.forth is None:
            self.forth = _packed(layer.weight.detach(), layer.padding, layer.stride, x)
        return _convolve(x, self.forth, layer.bias, layer.padding, layer.stride)

    def gradient(self, of_out: torch.Tensor, shape: torch.Size) -> torch.Tensor:
        """Of x, which had that shape."""
        layer: Any = self.layer
        of_out = of_out.contiguous()
        weight = layer.weight.detach()
        if layer.stride != (1, 1):
            x = of_out.new_empty(1).expand(shape)  # its numbers are not asked for
            settings = (None, layer.stride, layer.padding, (1, 1), False, (0, 0), 1)
            plain = torch.ops.aten.convolution_backward
            return plain(of_out, x, weight, *settings, (True, False, False))[0]
        sides = zip(layer.kernel_size, layer.padding, strict=True)
        padding = [kernel - 1 - margin for kernel, margin in sides]
        if self.back is None:
            turned = weight.flip(2, 3).transpose(0, 1).contiguous()
            self.back = _packed(turned, padding, (1, 1), of_out)
        return _convolve(of_out, self.back, None, padding, (1, 1))


class _Convolved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, convolution: FrozenConvolution) -> torch.Tensor:
        ctx.shape, ctx.convolution = x.shape, convolution
        return convolution.answer(x)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.convolution.gradient(gradients[0], ctx.shape), None


def _packed(weight: torch.Tensor, padding: Any, stride: Any, x: torch.Tensor) -> torch.Tensor:
    settings = (list(padding), list(stride), [1, 1], 1)
    return torch.ops.mkldnn._reorder_convolution_weight(weight, *settings, list(x.shape))


def _convolve(
    x: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None, padding: Any, stride: Any
) -> torch.Tensor:
    settings: Any = (list(padding), list(stride), [1, 1], 1, "none", [], "")
    return torch.ops.mkldnn._convolution_pointwise(x, packed, bias, *settings)


@dataclass(eq=False)
class QuickLayers:
    """What stands in for the `forward` of modules while a step computes gradients.

    forwards: by module.  shares_captions: do all cross-attentions pick keys and values by `rows`?
    rows: the place of each sample's caption among those that were given; None: in their order.
    """

    forwards: dict[nn.Module, Callable[..., torch.Tensor]] = field(default_factory=dict)
    shares_captions: bool = False
    in_use: bool = False
    rows: torch.Tensor | None = None

    @contextmanager
    def used(self) -> Iterator[None]:
        """Compute with them, forth and back; checkpointing computes forth in going back."""
        for module, forward in self.forwards.items():
            module.__dict__["forward"] = forward
        self.in_use, self.rows = True, None
        try:
            yield
        finally:
            for module in self.forwards:
                module.__dict__.pop("forward", None)
            self.in_use = False

    def distinct(self, texts: torch.Tensor) -> torch.Tensor:
        """The captions whose states the network is to be given: each once, where it can pick.

        texts: (batch,), the number of each sample's caption; (captions,) comes back. Keys and
        values of 4 + 4 samples are those of 2 captions; with `_attend`, 8 % of such a step.
        """
        self.rows = None
        if not (self.in_use and self.shares_captions):
            return texts
        captions, rows = texts.unique(return_inverse=True)
        if len(captions) == len(texts):
            return texts
        self.rows = rows
        return captions


def quick_layers(parts: Iterable[nn.Module], device: torch.device) -> QuickLayers:
    """What can be quicker in networks whose weights are in float32 on a processor; else nothing."""
    quick = QuickLayers()
    if device.type != "cpu":
        return quick
    modules = [module for part in parts for module in part.modules()]
    frozen: list[Any] = [module for module in modules if _is_plain_convolution(module)]
    small = sum(layer.weight.numel() for layer in frozen) <= MOST_IN_CONVOLUTIONS
    if small and has_onednn():
        quick.forwards |= {layer: FrozenConvolution(layer) for layer in frozen}
    for module in modules:
        if _is_plain_lora(module):
            quick.forwards[module] = partial(_low_rank, module)
    _add_attentions(quick, modules)
    return quick


def _add_attentions(quick: QuickLayers, modules: list[nn.Module]) -> None:
    from diffusers.models.attention_processor import Attention

    found = [module for module in modules if isinstance(module, Attention)]
    plain = [module for module in found if _is_plain_attention(module)]
    quick.shares_captions = bool(plain) and len(plain) == len(found)
    quick.forwards |= {module: partial(_attend, module, quick) for module in plain}


def _low_rank(layer: Any, x: torch.Tensor) -> torch.Tensor:
    base, down, up = layer.base_layer, layer.lora_A["default"], layer.lora_B["default"]
    scale = layer.scaling["default"]
    return LowRankLinear.apply(x, base.weight, base.bias, down.weight, up.weight, scale)


def _attend(
    layer: Any,
    quick: QuickLayers,
    hidden_states: torch.Tensor,
    encoder_hidden_states: torch.Tensor | None = None,
    attention_mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """What diffusers' AttnProcessor2_0 does here, without looking up its own signature."""
    assert attention_mask is None
    crosses = encoder_hidden_states is not None
    shown = encoder_hidden_states if crosses else hidden_states
    found = [layer.to_q(hidden_states), layer.to_k(shown), layer.to_v(shown)]
    if crosses and quick.rows is not None:
        found[1:] = [each.index_select(0, quick.rows) for each in found[1:]]
    heads = (each.unflatten(-1, (layer.heads, -1)).transpose(1, 2) for each in found)
    answer = F.scaled_dot_product_attention(*heads)
    return layer.to_out[0](answer.transpose(1, 2).flatten(2))


# --- what is as it is taken to be ----------------------------------------------------------------


def _is_frozen(layer: Any) -> bool:
    """Is a layer in float32, nobody's stand-in, and not to be learnt?"""
    weight = layer.weight
    plain = weight.dtype == torch.float32 and weight.device.type == "cpu"
    return plain and not weight.requires_grad and "forward" not in layer.__dict__


def _is_plain_convolution(module: Any) -> bool:
    if type(module) is not nn.Conv2d or isinstance(module.padding, str):
        return False
    usual = module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"
    fits = all(p < k for p, k in zip(module.padding, module.kernel_size, strict=True))
    return usual and fits and _is_frozen(module)


def _is_plain_lora(module: Any) -> bool:
    from peft.tuners.lora.layer import Linear

    if type(module) is not Linear or type(module.base_layer) is not nn.Linear:
        return False
    alone = list(module.lora_A) == ["default"] == list(module.active_adapters)
    if not alone or module.merged or module.disable_adapters:
        return False
    usual = not (module.lora_variant or module.lora_bias["default"] or module.fan_in_fan_out)
    plain = usual and isinstance(module.lora_dropout["default"], nn.Identity)
    return plain and _is_frozen(module.base_layer)


def _is_plain_attention(module: Any) -> bool:
    from diffusers.models.attention_processor import AttnProcessor2_0

    extra = ("group_norm", "spatial_norm", "norm_q", "norm_k", "norm_cross", "residual_connection")
    return (
        type(module.processor) is AttnProcessor2_0
        and not any(getattr(module, name, None) for name in extra)
        and module.rescale_output_factor == 1
        and module.to_out[1].p == 0
        and "forward" not in module.__dict__
    )
