"""Vary some settings of a generating function, hold all others and the seed."""

from __future__ import annotations

import inspect
import itertools
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from portraitlib.calls import TOGETHER, bind_call, check_name, setting_names, shown, with_settings
from portraitlib.portrait import Portrait
from portraitlib.settings import RANGES, UsageError, check_number


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
        check_name(name, self.varied)
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
                    f"{name}: got {shown(value)}, expected one of the values swept: "
                    f"{', '.join(shown(each) for each in self.values(name))}"
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

    Cells that have steps in common are drawn in one call: those of `control_to_image` that differ
    in how the condition holds (`scale`, `start`, `end`, `guess_mode`), with the pixels of single
    calls. `on_step(done, total)` is called after every combination, or several drawn in one call.

    All settings are checked before the first picture is made. A combination that fails then is
    kept as a row with its error, warned of at the end, and the others finish; if none succeeds,
    the first failure is raised.

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
    outcomes: dict[int, list[Portrait] | Exception] = {}
    for cells in _groups(function, held, combinations, calls):
        outcomes.update(_drawn(function, [(cell, calls[cell]) for cell in cells]))
        if on_step is not None:
            on_step(len(outcomes), len(calls))
    table = SweepTable(
        tuple(_row(chosen, outcomes[cell]) for cell, chosen in enumerate(combinations)),
        tuple(values),
    )
    in_order = (outcomes[cell] for cell in sorted(outcomes))
    failures = [outcome for outcome in in_order if isinstance(outcome, Exception)]
    if failures and len(failures) == len(calls):
        raise failures[0]
    if failures:
        told = "; ".join(f"{_named(row.settings)}: {row.error}" for row in table.failures[:3])
        warnings.warn(f"{len(failures)} of {len(calls)} failed: {told}", stacklevel=2)
    return table


# --- cells drawn together ------------------------------------------------------------------------


def _groups(
    function: Callable[..., Any],
    held: Mapping[str, Any],
    combinations: Sequence[Mapping[str, Any]],
    calls: Sequence[Mapping[str, Any]],
) -> list[list[int]]:
    """The numbers of the cells that one call can draw, in the order of their first ones."""
    together = TOGETHER.get(function)
    if together is None:
        return [[cell] for cell in range(len(calls))]
    owners = setting_names(held)
    groups: list[tuple[Hashable, list[Any], list[int]]] = []
    for cell, (chosen, arguments) in enumerate(zip(combinations, calls, strict=True)):
        kin = together.kin(arguments[together.argument])
        apart = [value for name, value in chosen.items() if owners[name] != together.argument]
        for other_kin, others, cells in groups:
            if kin == other_kin and all(map(_same, apart, others)):
                cells.append(cell)
                break
        else:
            groups.append((kin, apart, [cell]))
    return [cells for _, _, cells in groups]


def _drawn(
    function: Callable[..., list[Portrait]], cells: Sequence[tuple[int, dict[str, Any]]]
) -> Iterator[tuple[int, list[Portrait] | Exception]]:
    """What came of each cell; together where they are several, and apart if that fails."""
    if len(cells) > 1:
        together = TOGETHER[function]
        arguments = {k: v for k, v in cells[0][1].items() if k != together.argument}
        arguments[together.many] = [each[together.argument] for _, each in cells]
        try:
            drawn = together.draw(**arguments)
        except Exception:  # one cell may be the cause, so each is tried by itself
            drawn = []
        if drawn:
            yield from zip((cell for cell, _ in cells), drawn, strict=True)
            return
    for cell, arguments in cells:
        try:
            yield cell, list(function(**arguments))
        except Exception as failure:  # whatever happened in one cell, the others are still wanted
            yield cell, failure


def _row(settings: dict[str, Any], outcome: list[Portrait] | Exception) -> SweepRow:
    if isinstance(outcome, Exception):
        return SweepRow(settings, [], _one_line(outcome))
    return SweepRow(settings, outcome)


# --- checks --------------------------------------------------------------------------------------


def _checked(vary: Mapping[str, Iterable[Any]], names: Mapping[str, str]) -> dict[str, list[Any]]:
    """Return the values as lists, or raise `UsageError` with what is wrong about them."""
    if not vary:
        raise UsageError('vary: got nothing, expected e.g. {"num_inference_steps": [5, 10, 20]}')
    checked: dict[str, list[Any]] = {}
    for name, given in vary.items():
        check_name(name, tuple(names))
        if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
            raise UsageError(
                f"vary: {name}: got {shown(given)}, expected a list; try [{shown(given)}]"
            )
        plain = given.tolist() if hasattr(given, "tolist") else given  # numpy numbers -> Python's
        values = list(plain)
        if not values:
            raise UsageError(f"vary: {name}: got no values, expected one or more")
        twice = [value for index, value in enumerate(values) if _known(value, values[:index])]
        if twice:
            raise UsageError(f"vary: {name}: got {shown(twice[0])} twice, expected each value once")
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


def _same(one: Any, other: Any) -> bool:
    """Equality for settings; pictures and arrays are the same only if they are one object."""
    plain = (str, int, float, bool, tuple, type(None))
    return one is other or (isinstance(one, plain) and isinstance(other, plain) and one == other)


def _known(value: Any, values: Iterable[Any]) -> bool:
    return any(_same(value, other) for other in values)


def _named(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={shown(value)}" for name, value in settings.items())


def _one_line(failure: Exception) -> str:
    text = " ".join(str(failure).split())
    kind = "" if isinstance(failure, UsageError) else f"{type(failure).__name__}: "
    return f"{kind}{text}"[:500]
