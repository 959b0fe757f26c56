"""Calls whose settings can be varied by name, and calls that draw several cells of a sweep at once.

Knows no torch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from portraitlib.photos.photo_set import Likeness
from portraitlib.portrait import Portrait
from portraitlib.settings import Control, Sampling, UsageError, nearest, shown

# What diffusers calls a setting -> its name here.
DIFFUSERS_NAMES = {
    "controlnet_conditioning_scale": "scale",
    "control_guidance_start": "start",
    "control_guidance_end": "end",
    "num_images_per_prompt": "num_images",
    "width": "size_px",
    "height": "size_px",
}
CALLBACKS = ("on_step", "on_preview")  # arguments that tell of a drawing and do not change it
NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Together:
    """What one call of a function can draw of several cells of a sweep.

    most_images: arguments -> how many pictures one batch may hold. The function takes a `sampling`,
        and draws picture i of a batch from seed + i.
    variants_of: the argument among whose values it can share steps; None if it cannot.
    draw_variants: takes the same arguments, but a list of values of that one; gives the number of a
        value and its portraits, each as soon as it is finished, with the same pixels as apart.
    """

    most_images: Callable[[Mapping[str, Any]], int]
    variants_of: str | None = None
    draw_variants: Callable[..., Iterator[tuple[int, list[Portrait]]]] | None = None


# Function -> what shares computation among its calls; the module of the function adds its own.
TOGETHER: dict[Callable[..., Any], Together] = {}


def bind_call(
    function: Callable[..., Any],
    inputs: Sequence[Any],
    settings: Mapping[str, Any],
    later: Iterable[str] = (),
) -> dict[str, Any]:
    """Return all arguments of `function(*inputs, **settings)` by name, defaults included.

    Arguments named in `later` may be missing: they are None until `with_settings` fills them.
    Raises `UsageError` if the function cannot be called like this.
    """
    signature = inspect.signature(function)
    function_name = getattr(function, "__name__", "function")
    parameters = signature.parameters.values()
    if any(parameter.kind not in NAMED for parameter in parameters):
        raise UsageError(
            f"{function_name}{signature}: expected a function whose parameters all have names"
        )
    for given in settings:
        check_name(given, tuple(signature.parameters))
    try:
        bound = signature.bind_partial(*inputs, **settings)
    except TypeError as problem:
        raise UsageError(f"{function_name}: {problem}") from None
    bound.apply_defaults()
    arguments = {**dict.fromkeys(later), **bound.arguments}
    for argument in later:
        record = isinstance(arguments[argument], Sampling | Control)
        # A record where another input belongs slipped into the place of what is varied.
        if record and type(arguments[argument]) is not type(signature.parameters[argument].default):
            value = shown(arguments[argument])
            raise UsageError(
                f"{function_name}: {argument} is varied, yet got {value}; give that by its name"
            )
    names = [parameter.name for parameter in parameters]
    missing = [name for name in names if name not in arguments]
    if missing:
        raise UsageError(f"{function_name}: missing {', '.join(missing)}")
    return {name: arguments[name] for name in names}


def setting_names(arguments: Mapping[str, Any]) -> dict[str, str]:
    """What can be varied in a call: name -> the argument that it belongs to.

    These are the arguments themselves, but for the settings records (dataclasses such as
    `Sampling`), of which it is the fields. The first argument is the model: a whole, no record.
    """
    model, *others = arguments
    names = {name: name for name in arguments if name not in CALLBACKS}
    for owner in others:
        # A photo, a condition and a set of photos are records too, yet each is one whole.
        value = arguments[owner]
        whole = hasattr(value, "image") or hasattr(value, "photos")
        if is_dataclass(value) and (not whole or isinstance(value, Likeness)):
            for field in fields(value):
                names.setdefault(field.name, owner)
    return names


def get_setting(arguments: Mapping[str, Any], name: str) -> Any:
    """The value of one setting of a bound call."""
    owner = setting_names(arguments)[name]
    return arguments[owner] if owner == name else getattr(arguments[owner], name)


def with_settings(arguments: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments with some settings replaced; records check their new fields."""
    owners = setting_names(arguments)
    changed = dict(arguments)
    whole = {name: value for name, value in chosen.items() if owners[name] == name}
    changed.update(whole)
    for owner in {owners[name] for name in chosen if name not in whole}:
        parts = {name: value for name, value in chosen.items() if owners[name] == owner}
        changed[owner] = replace(changed[owner], **parts)
    return changed


def check_name(name: str, known: tuple[str, ...]) -> None:
    """Raise UsageError, with what comes near, for a name that is none of these."""
    if name not in known:
        here = DIFFUSERS_NAMES.get(name)
        hint = f"did you mean {here}?" if here in known else nearest(name, known)
        raise UsageError(f"unknown setting {name!r}: {hint}")
