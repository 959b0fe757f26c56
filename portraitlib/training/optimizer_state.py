"""What an optimizer remembers as named tensors and plain JSON values, and back, bit for bit.

torch's own `load_state_dict` turns the state into the number type of the weights; this keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from portraitlib.settings import UsageError


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, names: Sequence[str]
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What an optimizer remembers: tensors by name, and the rest as plain JSON values.

    names: one for each of its parameters, in the order of its groups, no two the same.
    Tensors are named "optimizer/<parameter>/<what>" and are no copies. Any optimizer will do whose
    state is tensors, numbers and texts, in lists or dictionaries or not: AdamW, 8-bit, Prodigy.
    Raises UsageError for names that do not fit, or a state of another kind.
    """
    tensors: dict[str, torch.Tensor] = {}
    parameters = _named(optimizer, names)
    if unknown := len(set(optimizer.state) - set(parameters.values())):
        raise UsageError(f"optimizer: its state is of {unknown} things that are no parameters")
    remembered = {
        name: _flatten(optimizer.state[parameter], f"optimizer/{name}", tensors)
        for name, parameter in parameters.items()
        if parameter in optimizer.state
    }
    groups = [
        _flatten(
            {key: group[key] for key in group if key != "params"},
            f"optimizer groups/{index}",
            tensors,
        )
        for index, group in enumerate(optimizer.param_groups)
    ]
    kind = type(optimizer).__name__
    return tensors, {"kind": kind, "names": list(names), "state": remembered, "groups": groups}


def load_optimizer(
    optimizer: torch.optim.Optimizer,
    names: Sequence[str],
    tensors: Mapping[str, torch.Tensor],
    state: Mapping[str, Any],
) -> None:
    """Give an optimizer back what `optimizer_tensors` found: the inverse, in place, by copies.

    `tensors` may hold others besides. Counts of steps lie where torch wants them, other tensors
    with their parameter. Raises UsageError if it was an optimizer of another kind or over other
    parameters; then nothing was changed.
    """
    parameters = _named(optimizer, names)
    kind = type(optimizer).__name__
    for what, got, expected in (
        ("optimizer", kind, state["kind"]),
        ("parameters", list(names), state["names"]),
        ("groups of parameters", len(optimizer.param_groups), len(state["groups"])),
    ):
        if got != expected:
            raise UsageError(
                f"{what}: got {str(got)[:80]}, expected {str(expected)[:80]}, as it was saved"
            )
    try:
        remembered: dict[torch.Tensor, Any] = {
            parameters[name]: _rebuild(saved, tensors, parameters[name])
            for name, saved in state["state"].items()
        }
        settings = [_rebuild(saved, tensors, torch.empty(0)) for saved in state["groups"]]
    except KeyError as missing:
        raise UsageError(
            f"optimizer: got no tensor {missing}, expected it with its state"
        ) from None
    for group, saved in zip(optimizer.param_groups, settings, strict=True):
        for key, value in saved.items():
            now = group.get(key)
            if isinstance(now, torch.Tensor) and isinstance(value, torch.Tensor):
                value = value.to(now.device)
            group[key] = value
        counted_there = group.get("capturable") or group.get("fused")
        for parameter in group["params"]:
            step = remembered.get(parameter, {}).get("step")
            if isinstance(step, torch.Tensor) and not counted_there:
                remembered[parameter]["step"] = step.cpu()
    optimizer.state.clear()
    optimizer.state.update(remembered)


def _named(optimizer: torch.optim.Optimizer, names: Sequence[str]) -> dict[str, torch.nn.Parameter]:
    """Name -> parameter, in the order of the groups."""
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    if len(names) != len(parameters) or len(set(names)) != len(names):
        raise UsageError(
            f"names: got {len(names)}, of which {len(set(names))} differ; expected "
            f"{len(parameters)} different ones, one for each parameter of the optimizer"
        )
    return dict(zip(names, parameters, strict=True))


def _flatten(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    """A value as JSON, its tensors put into `tensors` and their names in their place."""
    if isinstance(value, torch.Tensor):
        tensors[name] = value.detach()
        return {"tensor": name}
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise UsageError(f"{name}: expected texts as keys, got {list(value)[:3]}")
        return {"dict": {key: _flatten(value[key], f"{name}/{key}", tensors) for key in value}}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_flatten(each, f"{name}/{i}", tensors) for i, each in enumerate(value)]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UsageError(
        f"{name}: got {type(value).__name__}, expected tensors, numbers and texts in the optimizer"
    )


def _rebuild(value: Any, tensors: Mapping[str, torch.Tensor], like: torch.Tensor) -> Any:
    """The value that `_flatten` was given, its tensors copied to where the parameter `like` lies.

    They get its layout in memory, which decides what loops compute with them, and so how they
    round. May raise KeyError.
    """
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "tensor":
        saved = tensors[inner]
        pattern = like if like.shape == saved.shape else saved
        copied = torch.empty_like(pattern, dtype=saved.dtype, device=like.device)
        return copied.copy_(saved)
    if kind == "dict":
        return {key: _rebuild(each, tensors, like) for key, each in inner.items()}
    listed = [_rebuild(each, tensors, like) for each in inner]
    return tuple(listed) if kind == "tuple" else listed
