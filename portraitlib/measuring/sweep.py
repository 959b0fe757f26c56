"""Vary some settings of a generating function, hold all others and the seed."""

from __future__ import annotations

import inspect
import itertools
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from portraitlib.cost import duration
from portraitlib.generate.calls import (
    bind_call,
    check_name,
    same,
    setting_names,
    shown,
    with_settings,
)
from portraitlib.measuring.sweep_cells import draw_block, make_blocks
from portraitlib.portrait import Portrait
from portraitlib.settings import RANGES, UsageError, check_number

LONG_S = 120.0  # a sweep that takes longer says so


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
        values: list[Any] = []
        for row in self.rows:
            if not _known(row.settings[name], values):
                values.append(row.settings[name])
        return values

    def select(self, **wanted: Any) -> SweepTable:
        """Keep the rows whose settings have these values: `table.select(guidance_scale=5.0)`.

        Raises `UsageError` for a name that was not varied and for a value that it did not take.
        """
        for name, value in wanted.items():
            if not _known(value, self.values(name)):
                raise UsageError(
                    f"{name}: got {shown(value)}, expected one of the values swept: "
                    f"{', '.join(map(shown, self.values(name)))}"
                )
        rows = (
            row
            for row in self.rows
            if all(same(row.settings[name], value) for name, value in wanted.items())
        )
        return replace(self, rows=tuple(rows))

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

    Cells that one call can draw are drawn in one call. Those of `control_to_image` that differ in
    how the condition holds (`scale`, `start`, `end`, `guess_mode`) share the steps in which they
    are alike, with the pixels of single calls; seeds that follow each other make one batch, which
    agrees with single calls up to rounding, as in `text_to_image`.
    `on_step(done, total)` is called whenever cells are finished.

    All settings are checked before the first picture is made. A combination that fails then is
    kept as a row with its error, warned of at the end, and the others finish; if none succeeds,
    the first failure is raised. Warns how long it will take where that is over two minutes.
    Raises `UsageError` for an unknown name (near matches are named), no values, values given
    twice, and settings out of range.

    >>> table = sweep(text_to_image, model, "a smiling man", Sampling(seed=3),
    ...               vary={"num_inference_steps": [5, 25], "guidance_scale": [1.0, 5.0]})
    >>> table.select(guidance_scale=5.0).portraits      # two portraits: 5 and 25 steps
    """
    if not callable(function):
        raise UsageError(f"function: got {shown(function)}, expected one such as pl.text_to_image")
    varied_inputs = [name for name in vary if name in inspect.signature(function).parameters]
    held = bind_call(function, (model, *inputs), settings, later=varied_inputs)
    values = _checked(vary, setting_names(held))
    _check_ranges(getattr(function, "__name__", "function"), values, held)
    combinations = [
        dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())
    ]
    outcomes = _run_cells(function, held, combinations, on_step)
    rows = tuple(map(_row, combinations, outcomes))
    failures = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    if failures and len(failures) == len(outcomes):
        raise failures[0]
    table = SweepTable(rows, tuple(values))
    if failures:
        reasons = "; ".join(f"{_named(row.settings)}: {row.error}" for row in table.failures[:3])
        warnings.warn(f"{len(failures)} of {len(outcomes)} failed: {reasons}", stacklevel=2)
    return table


def _run_cells(
    function: Callable[..., list[Portrait]],
    held: Mapping[str, Any],
    combinations: Sequence[dict[str, Any]],
    on_step: Callable[[int, int], None] | None,
) -> list[list[Portrait] | Exception]:
    """What came of each combination; warns after the first if the others take long."""
    calls = [with_settings(held, chosen) for chosen in combinations]
    outcomes: dict[int, list[Portrait] | Exception] = {}
    start_s = time.monotonic()
    for block in make_blocks(function, held, combinations, calls):
        for finished in draw_block(function, block, calls):
            outcomes |= finished
            rest = len(calls) - len(outcomes)
            rest_s = (time.monotonic() - start_s) / len(outcomes) * rest
            if len(outcomes) == len(finished) and rest_s > LONG_S:
                warnings.warn(f"{rest} cells left: about {duration(rest_s)} to go", stacklevel=3)
            if on_step is not None:
                on_step(len(outcomes), len(calls))
    return [outcomes[cell] for cell in range(len(calls))]


def _row(settings: dict[str, Any], outcome: list[Portrait] | Exception) -> SweepRow:
    if isinstance(outcome, Exception):
        return SweepRow(settings, [], _one_line(outcome))
    return SweepRow(settings, outcome)


# --- checks --------------------------------------------------------------------------------------


def _checked(vary: Mapping[str, Iterable[Any]], names: Mapping[str, str]) -> dict[str, list[Any]]:
    """Return the values as lists, or raise `UsageError` with what is wrong about them."""
    if not vary or not isinstance(vary, Mapping):
        got = shown(vary) if vary else "nothing"
        raise UsageError(f'vary: got {got}, expected e.g. {{"num_inference_steps": [5, 10, 20]}}')
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


def _known(value: Any, values: Iterable[Any]) -> bool:
    return any(same(value, other) for other in values)


def _named(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={shown(value)}" for name, value in settings.items())


def _one_line(failure: Exception) -> str:
    text = " ".join(str(failure).split())
    kind = "" if isinstance(failure, UsageError) else f"{type(failure).__name__}: "
    return f"{kind}{text}"[:500]
