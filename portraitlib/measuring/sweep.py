"""Vary some settings of a generating function, hold all others and the seed."""

from __future__ import annotations

import inspect
import itertools
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from portraitlib.cost import duration
from portraitlib.generate.calls import (
    TOGETHER,
    bind_call,
    check_name,
    setting_names,
    with_settings,
)
from portraitlib.portrait import Portrait
from portraitlib.settings import RANGES, Sampling, UsageError, check_number, shown

Arguments = Mapping[str, Any]
# What one call draws: rows of cells, by their numbers. A row are variants that share steps, such as
# several scales of a condition; the rows are seeds that follow each other and make one batch.
Block = Sequence[Sequence[int]]
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
        return list({_key(row.settings[name]): row.settings[name] for row in self.rows}.values())

    def select(self, **wanted: Any) -> SweepTable:
        """Keep the rows whose settings have these values: `table.select(guidance_scale=5.0)`.

        Raises `UsageError` for a name that was not varied and for a value that it did not take.
        """
        for name, value in wanted.items():
            if _key(value) not in map(_key, self.values(name)):
                raise UsageError(
                    f"{name}: got {shown(value)}, expected one of the values swept: "
                    f"{', '.join(map(shown, self.values(name)))}"
                )
        rows = (
            row
            for row in self.rows
            if all(_key(row.settings[name]) == _key(value) for name, value in wanted.items())
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
    values = _checked(getattr(function, "__name__", "function"), vary, held)
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
    for block in _make_blocks(function, held, combinations, calls):
        for finished in _draw_block(function, block, calls):
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


# --- cells that one call draws --------------------------------------------------------------------


def _make_blocks(
    function: Callable[..., Any],
    held: Arguments,
    combinations: Sequence[Mapping[str, Any]],
    calls: Sequence[Arguments],
) -> Sequence[Block]:
    """Put the cells into as few calls as the function can draw them in.

    combinations, calls: of each cell, the settings that are varied and all arguments.
    """
    together = TOGETHER.get(function)
    if together is None:
        return [[[number]] for number in range(len(calls))]
    owners = setting_names(held)
    batched = owners.get("seed") == "sampling" and isinstance(held["sampling"], Sampling)
    # Cells that can share steps stand in one row; rows of one group differ in their seed alone.
    groups: dict[Any, dict[Any, list[int]]] = {}
    for number, chosen in enumerate(combinations):
        seed = chosen.get("seed") if batched else None
        rest = tuple(
            _key(value)
            for name, value in chosen.items()
            if owners[name] != together.variants_of and not (batched and name == "seed")
        )
        groups.setdefault(rest, {}).setdefault(seed, []).append(number)
    blocks: list[list[list[int]]] = []
    for rows in groups.values():
        blocks.append([])
        for row in rows.values():
            if blocks[-1] and not _follows(row, blocks[-1], calls, together.most_images):
                blocks.append([])
            blocks[-1].append(row)
    return blocks


def _follows(
    row: Sequence[int],
    block: Block,
    calls: Sequence[Arguments],
    most_images: Callable[[Arguments], int],
) -> bool:
    """Whether a row has the seed that comes next in a block, and room in it."""
    arguments, first = calls[row[0]], calls[block[0][0]]
    images = arguments["sampling"].num_images
    next_seed = first["sampling"].seed + len(block) * images
    fits = (len(block) + 1) * images <= most_images(arguments)
    return arguments["sampling"].seed == next_seed and fits


def _draw_block(
    function: Callable[..., list[Portrait]], block: Block, calls: Sequence[Arguments]
) -> Iterator[dict[int, list[Portrait] | Exception]]:
    """What came of the cells of a block, as they are finished; what one call cannot draw, apart."""
    waiting = dict.fromkeys(cell for row in block for cell in row)
    if len(waiting) > 1:
        try:
            for drawn in _draw_together(function, block, calls):
                for cell in drawn:
                    del waiting[cell]
                yield dict(drawn)
        except Exception:  # one cell may be the cause, so each is tried by itself
            pass
    for cell in waiting:
        try:
            yield {cell: list(function(**calls[cell]))}
        except Exception as failure:  # whatever happened in one cell, the others are still wanted
            yield {cell: failure}


def _draw_together(
    function: Callable[..., list[Portrait]], block: Block, calls: Sequence[Arguments]
) -> Iterator[dict[int, list[Portrait]]]:
    """The portraits of every cell, from one call, a column of the block at a time."""
    arguments = dict(calls[block[0][0]])
    count = arguments["sampling"].num_images
    if len(block) > 1:
        arguments["sampling"] = replace(arguments["sampling"], num_images=count * len(block))
    varied, draw = TOGETHER[function].variants_of, TOGETHER[function].draw_variants
    columns: Iterable[tuple[int, list[Portrait]]]
    if varied is None or draw is None:
        columns = [(0, function(**arguments))]
    else:
        columns = draw(**{**arguments, varied: [calls[cell][varied] for cell in block[0]]})
    for column, portraits in columns:
        yield {
            row[column]: portraits[index * count : (index + 1) * count]
            for index, row in enumerate(block)
        }


# --- checks --------------------------------------------------------------------------------------


def _checked(
    function: str, vary: Mapping[str, Iterable[Any]], held: Arguments
) -> dict[str, list[Any]]:
    """Return the values as lists, or raise `UsageError` with what is wrong about them."""
    if not vary or not isinstance(vary, Mapping):
        got = shown(vary) if vary else "nothing"
        raise UsageError(f'vary: got {got}, expected e.g. {{"num_inference_steps": [5, 10, 20]}}')
    names = tuple(setting_names(held))
    checked: dict[str, list[Any]] = {}
    for name, given in vary.items():
        check_name(name, names)
        if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
            raise UsageError(
                f"vary: {name}: got {shown(given)}, expected a list; try [{shown(given)}]"
            )
        plain = given.tolist() if hasattr(given, "tolist") else given  # numpy numbers -> Python's
        values = list(plain)
        if not values:
            raise UsageError(f"vary: {name}: got no values, expected one or more")
        for index, value in enumerate(values):
            if _key(value) in map(_key, values[:index]):
                raise UsageError(f"vary: {name}: got {shown(value)} twice, expected each once")
            if name in held and name in RANGES:  # the records check their own
                check_number(function, name, value, RANGES[name])
        checked[name] = values
    return checked


def _key(value: Any) -> Any:
    """What tells settings apart: pictures and arrays are the same only if they are one object."""
    if isinstance(value, tuple):
        return tuple(map(_key, value))
    plain = isinstance(value, str | int | float | bool | None)
    return value if plain else ("object", id(value))


def _named(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={shown(value)}" for name, value in settings.items())


def _one_line(failure: Exception) -> str:
    text = " ".join(str(failure).split())
    kind = "" if isinstance(failure, UsageError) else f"{type(failure).__name__}: "
    return f"{kind}{text}"[:500]
