"""What adapters make of a model's weights: new tensors for those they change, the rest shared."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from portraitlib.models.adapters import Adapter, lora_modules
from portraitlib.settings import UsageError

# What accelerate leaves in a part that waits in main memory.
HOOKS = ("_hf_hook", "_old_forward", "forward")
Applied = tuple[Adapter, float]  # an adapter and its scale


def check_base(adapter: Adapter, name: str, revision: str, stacklevel: int = 3) -> None:
    """Warn of an adapter that another model was the base of; refuse whole weights of another.

    People use LoRAs on relatives of their base, and much of the likeness stays.
    """
    known = adapter.base_revision or adapter.base
    if not known or known == (revision if adapter.base_revision else name):
        return
    of = f"{adapter.base or 'a model'} at {adapter.base_revision[:19] or 'an unknown revision'}"
    text = f"adapter {adapter.name}: trained on {of}, got {name} at {revision[:19]}"
    if adapter.kind == "full":
        raise UsageError(f"{text}; whole weights fit their own base only; try that one")
    warnings.warn(f"{text}; likeness may be lost", stacklevel=stacklevel)


def changed_weights(
    parts: Mapping[str, nn.Module], adapters: Sequence[Applied], model_name: str
) -> dict[str, dict[str, torch.Tensor]]:
    """The parameters that adapters change, part -> parameter -> new value in the old number type.

    parts: a model's own, before any adapter. What all of them add is summed in float32, then cast:
    their order does not matter but for rounding. Those with scale 0 change nothing.
    Raises UsageError for an adapter whose modules are not those of the model.
    """
    known = {part: dict(module.named_parameters()) for part, module in parts.items()}
    rows: dict[tuple[str, str], list[tuple[Adapter, str, float]]] = {}
    # Whole weights come first: what a LoRA adds is then added to what lies between.
    for adapter, scale in sorted(adapters, key=lambda row: row[0].kind != "full"):
        for key, place in _places(adapter, known, model_name).items():
            if scale:
                rows.setdefault(place, []).append((adapter, key, scale))
    changed: dict[str, dict[str, torch.Tensor]] = {}
    for (part, name), added in rows.items():
        changed.setdefault(part, {})[name] = _new_value(known[part][name], added)
    return changed


@torch.no_grad()
def _new_value(weight: torch.Tensor, added: Sequence[tuple[Adapter, str, float]]) -> torch.Tensor:
    """A weight with what adapters add to it: (adapter, module or key, scale) each."""
    old = weight.float()
    new = old
    for adapter, key, scale in added:
        if adapter.kind == "lora":
            new = new + scale * _product(adapter, key, old)
            continue
        tuned = adapter.tensors[key].to(old.device)
        # The first in this way, because at scale 1 it gives the tuned weights to the last bit.
        new = torch.lerp(old, tuned, scale) if new is old else new + scale * (tuned - old)
    return new.to(weight.dtype)


def _product(adapter: Adapter, module: str, weight: torch.Tensor) -> torch.Tensor:
    """What a LoRA adds to a weight at scale 1, float32, in the weight's shape and place."""
    down, up = (
        adapter.tensors[f"{module}.lora_{role}.weight"].to(weight.device).flatten(1)
        for role in "AB"
    )
    return (adapter.alpha / adapter.rank * (up @ down)).reshape(weight.shape)


def _places(
    adapter: Adapter, known: Mapping[str, Mapping[str, torch.Tensor]], model_name: str
) -> dict[str, tuple[str, str]]:
    """Module (LoRA) or key (full) of an adapter -> the part and parameter that it changes."""
    is_lora = adapter.kind == "lora"
    keys = lora_modules(adapter.tensors) if is_lora else list(adapter.tensors)
    of_base = f" (it was trained on {adapter.base})" if adapter.base else ""
    places: dict[str, tuple[str, str]] = {}
    strange = []
    for key in keys:
        part, _, path = key.partition(".")
        wanted = f"{path}.weight" if is_lora else path
        # Newer versions of transformers have no "text_model." in the first encoder.
        names = (wanted, wanted.removeprefix("text_model."))
        name = next(filter(known.get(part, {}).__contains__, names), None)
        if name is None:
            strange.append(key)
            continue
        _check_shape(adapter, key, tuple(known[part][name].shape), f"{model_name}{of_base}")
        places[key] = part, name
    if strange:
        raise UsageError(
            f"adapter {adapter.name}: {len(strange)} of its {len(keys)} keys match no module of "
            f"{model_name}, such as {strange[0]}{of_base}; try the model that it was made for"
        )
    return places


def _check_shape(adapter: Adapter, key: str, expected: tuple[int, ...], model_name: str) -> None:
    """Raise UsageError unless what an adapter has for a weight is of its shape."""
    if adapter.kind == "lora":
        down, up = (tuple(adapter.tensors[f"{key}.lora_{role}.weight"].shape) for role in "AB")
        got: tuple[int, ...] = (up[0], *down[1:])
        # Some write a linear layer's matrices as those of a convolution of one pixel.
        while len(got) > len(expected) and got[-1] == 1:
            got = got[:-1]
    else:
        got = tuple(adapter.tensors[key].shape)
    if got != expected:
        raise UsageError(
            f"adapter {adapter.name}: of another base than {model_name}: {key} is for weights "
            f"{got}, expected {expected}; try the model that it was made for"
        )


def copy_sharing(module: nn.Module, values: Mapping[str, torch.Tensor]) -> nn.Module:
    """A copy of a module's structure, sharing every tensor but the parameters in `values`.

    The hooks that accelerate leaves in parts that wait in main memory are not copied.
    """
    kept: list[Any] = [*module.parameters(), *module.buffers()]
    for inner in _hooked(module):
        kept += [inner.__dict__[name] for name in HOOKS if name in inner.__dict__]
    twin = copy.deepcopy(module, {id(shared): shared for shared in kept})
    for inner in _hooked(twin):
        for name in HOOKS:
            inner.__dict__.pop(name, None)
    for name, value in values.items():
        path, _, leaf = name.rpartition(".")
        owner = twin.get_submodule(path)
        wanted = getattr(owner, leaf).requires_grad
        setattr(owner, leaf, nn.Parameter(value, requires_grad=wanted))
    return twin


def _hooked(module: nn.Module) -> list[nn.Module]:
    """The modules inside one in which accelerate left hooks."""
    return [inner for inner in module.modules() if HOOKS[0] in inner.__dict__]
