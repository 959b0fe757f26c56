"""Vary some settings of a generating function, hold all others and the seed."""

from __future__ import annotations

import difflib
import inspect
import itertools
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from portraitlib.portrait import Portrait
from portraitlib.settings import RANGES, UsageError, check_number

NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class SweepRow:
    """One cell of a sweep: the settings that were varied, and what came of them.

    settings: name -> value, for the varied names only; each portrait's recipe has all of them.
    portraits: what the function returned; empty if it failed.
    error: why it failed, in one line; None if it did not.
    """

    settings: dict[str, Any]
    portraits: list[Portrait]
    error: str | None = None


@dataclass(frozen=True)
class SweepTable:
    """What a sweep made: one row a combination of values, in the order in which they ran.

    varied: the names that were varied; the first changes slowest.
    """

    rows: tuple[SweepRow, ...]
    varied: tuple[str, ...]

    @property
    def portraits(self) -> list[Portrait]:
        """All portraits, row after row."""
        return [portrait for row in self.rows for portrait in row.portraits]

    @property
    def failures(self) -> tuple[SweepRow, ...]:
        """The rows that failed."""
        return tuple(row for row in self.rows if row.error is not None)

    def values(self, name: str) -> list[Any]:
        """The values that `name` took, in order; raises `UsageError` for an unknown name."""
        _check_name(name, self.varied)
        found: list[Any] = []
        for row in self.rows:
            if not _known(row.settings[name], found):
                found.append(row.settings[name])
        return found

    def select(self, **wanted: Any) -> SweepTable:
        """Keep the rows whose settings have these values: `table.select(guidance_scale=5.0)`.

        Raises `UsageError` for a name that was not varied and for a value that it did not take.
        """
        for name, value in wanted.items():
            if not _known(value, self.values(name)):
                raise UsageError(
                    f"{name}: got {_shown(value)}, expected one of the values swept: "
                    f"{', '.join(_shown(each) for each in self.values(name))}"
                )
        rows = (
            row
            for row in self.rows
            if all(_same(row.settings[name], value) for name, value in wanted.items())
        )
        return replace(self, rows=tuple(rows))

    def as_records(self) -> list[dict[str, Any]]:
        """One plain dict a portrait: the varied settings, its own seed and seconds, no pixels.

        A row that failed is one record with its `error`. Made for pandas, csv and json.
        """
        records = []
        for row in self.rows:
            for portrait in row.portraits:
                own = {name: portrait.recipe.get(name) for name in ("seed", "seconds")}
                records.append({**own, **row.settings, "error": None})
            if row.error is not None:
                records.append({"seed": None, "seconds": None, **row.settings, "error": row.error})
        return records

    def __repr__(self) -> str:
        sizes = " x ".join(f"{len(self.values(name))} {name}" for name in self.varied)
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return f"<SweepTable: {sizes}, {len(self.portraits)} portraits{failed}>"


def sweep(
    function: Callable[..., list[Portrait]],
    model: Any,
    *inputs: Any,
    vary: Mapping[str, Iterable[Any]],
    on_step: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> SweepTable:
    """Call `function(model, *inputs, **settings)` for every combination of the values in `vary`.

    `vary` maps names to values. A name is an input or keyword of the function (`prompt`,
    `strength`) or a field of one of its settings records (`seed`, `num_inference_steps`,
    `guidance_scale`, `negative_prompt`, ... of `Sampling`). Everything else is held, the seed
    too, so that two neighbours differ in one thing only. The first name changes slowest.

    All settings are checked before the first picture is made. A combination that fails then is
    kept as a row with its error, warned of at the end, and the others finish; if none succeeds,
    the first failure is raised. `on_step(done, total)` is called after every combination.

    Raises `UsageError` for an unknown name (near matches are named), no values, values given
    twice, and settings out of range.

    >>> table = sweep(text_to_image, model, "a smiling man", Sampling(seed=3),
    ...               vary={"num_inference_steps": [5, 25], "guidance_scale": [1.0, 5.0]})
    >>> table.select(guidance_scale=5.0).portraits      # two portraits: 5 and 25 steps
    """
    varied_inputs = [name for name in vary if name in inspect.signature(function).parameters]
    held = bind_call(function, (model, *inputs), settings, later=varied_inputs)
    values = _checked(vary, setting_names(held))
    _check_ranges(getattr(function, "__name__", "function"), values, held)
    combinations = [
        dict(zip(values, each, strict=True)) for each in itertools.product(*values.values())
    ]
    calls = [with_settings(held, chosen) for chosen in combinations]
    rows: list[SweepRow] = []
    failures: list[Exception] = []
    for chosen, arguments in zip(combinations, calls, strict=True):
        try:
            rows.append(SweepRow(chosen, list(function(**arguments))))
        except Exception as failure:  # whatever happened in one cell, the others are still wanted
            failures.append(failure)
            rows.append(SweepRow(chosen, [], _one_line(failure)))
        if on_step is not None:
            on_step(len(rows), len(calls))
    if failures and len(failures) == len(rows):
        raise failures[0]
    table = SweepTable(tuple(rows), tuple(values))
    if failures:
        told = "; ".join(f"{_named(row.settings)}: {row.error}" for row in table.failures[:3])
        warnings.warn(f"{len(failures)} of {len(rows)} failed: {told}", stacklevel=2)
    return table


# --- a call whose settings can be varied by name -------------------------------------------------


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
    name = getattr(function, "__name__", "function")
    parameters = signature.parameters.values()
    if any(parameter.kind not in NAMED for parameter in parameters):
        raise UsageError(f"{name}{signature}: expected a function whose parameters all have names")
    for given in settings:
        _check_name(given, tuple(signature.parameters))
    try:
        bound = signature.bind_partial(*inputs, **settings)
    except TypeError as problem:
        raise UsageError(f"{name}: {problem}") from None
    bound.apply_defaults()
    arguments = {**dict.fromkeys(later), **bound.arguments}
    for argument in later:
        if is_dataclass(arguments[argument]):  # it slipped into the place of what is varied
            value = _shown(arguments[argument])
            raise UsageError(
                f"{name}: {argument} is varied, yet got {value}; give that by its name"
            )
    missing = [each.name for each in parameters if each.name not in arguments]
    if missing:
        raise UsageError(f"{name}: missing {', '.join(missing)}")
    return {each.name: arguments[each.name] for each in parameters}


def setting_names(arguments: Mapping[str, Any]) -> dict[str, str]:
    """What can be varied in a call: name -> the argument that it belongs to.

    These are the arguments themselves, but for the settings records (dataclasses such as
    `Sampling`), of which it is the fields. The first argument is the model: a whole, no record.
    """
    model, *others = arguments
    names = {name: name for name in arguments if name != "on_step"}
    for owner in others:
        if is_dataclass(arguments[owner]):
            for field in fields(arguments[owner]):
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


# --- checks --------------------------------------------------------------------------------------


def _checked(vary: Mapping[str, Iterable[Any]], names: Mapping[str, str]) -> dict[str, list[Any]]:
    """Return the values as lists, or raise `UsageError` with what is wrong about them."""
    if not vary:
        raise UsageError('vary: got nothing, expected e.g. {"num_inference_steps": [5, 10, 20]}')
    checked: dict[str, list[Any]] = {}
    for name, given in vary.items():
        _check_name(name, tuple(names))
        if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
            raise UsageError(
                f"vary: {name}: got {_shown(given)}, expected a list; try [{_shown(given)}]"
            )
        plain = given.tolist() if hasattr(given, "tolist") else given  # numpy numbers -> Python's
        values = list(plain)
        if not values:
            raise UsageError(f"vary: {name}: got no values, expected one or more")
        twice = [value for index, value in enumerate(values) if _known(value, values[:index])]
        if twice:
            raise UsageError(
                f"vary: {name}: got {_shown(twice[0])} twice, expected each value once"
            )
        checked[name] = values
    return checked


def _check_ranges(
    function: str, values: Mapping[str, Iterable[Any]], held: Mapping[str, Any]
) -> None:
    """Check values of the function's own arguments, as its records check theirs."""
    for name in values:
        if name in held and name in RANGES:
            for value in values[name]:
                check_number(function, name, value, RANGES[name])


def _check_name(name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = (
            f"did you mean {' or '.join(near)}?" if near else f"expected one of {', '.join(known)}"
        )
        raise UsageError(f"unknown setting {name!r}: {hint}")


def _same(one: Any, other: Any) -> bool:
    """Equality for settings; pictures and arrays are the same only if they are one object."""
    plain = (str, int, float, bool, tuple, type(None))
    return one is other or (isinstance(one, plain) and isinstance(other, plain) and one == other)


def _known(value: Any, values: Iterable[Any]) -> bool:
    return any(_same(value, other) for other in values)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _named(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_shown(value)}" for name, value in settings.items())


def _one_line(failure: Exception) -> str:
    text = " ".join(str(failure).split())
    kind = "" if isinstance(failure, UsageError) else f"{type(failure).__name__}: "
    return f"{kind}{text}"[:500]
