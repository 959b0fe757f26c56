"""Vary some settings of a generating function, hold all others and the seed."""

from __future__ import annotations

import inspect
import itertools
import os
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portraitlib.generate.calls import (
    bind_call,
    check_name,
    same,
    setting_names,
    shown,
    with_settings,
)
from portraitlib.measuring.sweep_cells import draw_block, make_blocks
from portraitlib.measuring.sweep_folder import About, SweepFolder, about_sweep, open_folder
from portraitlib.portrait import Portrait
from portraitlib.settings import RANGES, UsageError, check_number

if TYPE_CHECKING:
    from portraitlib.measuring.result import Measurement

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
    about: the function, the model and all that was held, for `save`.
    """

    rows: tuple[SweepRow, ...]
    varied: tuple[str, ...]
    about: About | None = field(default=None, repr=False)

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
            if all(same(row.settings[name], value) for name, value in wanted.items())
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

    def save(self, folder: str | os.PathLike[str], *, scores: Measurement | None = None) -> Path:
        """Write the pictures as PNG files, `sweep.json` and the page `index.html`.

        The page shows the pictures as a grid: the setting varied last runs across, the one before
        it down, others make sections. It needs no network and no script.
        scores: what `measure` gave for this table; it stands under the pictures and in the JSON.

        Returns the folder. Raises `UsageError` if it holds another sweep or cannot be written to,
        and for the scores of another table.
        """
        if self.about is None:
            raise UsageError("save: this table was not made by sweep, so nothing says what it is")
        measured = None if scores is None else _score_rows(scores, self)
        store = open_folder(folder, self.about, {name: self.values(name) for name in self.varied})
        done = 0
        for row in self.rows:
            own = None if measured is None else measured[done : done + len(row.portraits)]
            store.keep(row.settings, row.portraits, row.error, own)
            done += len(row.portraits)
        order = [row.settings for row in self.rows]
        store.write(order)
        store.write_page(order)
        return store.folder

    def __repr__(self) -> str:
        sizes = " x ".join(f"{len(self.values(name))} {name}" for name in self.varied)
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return f"<SweepTable: {sizes}, {len(self.portraits)} portraits{failed}>"


def sweep(
    function: Callable[..., list[Portrait]],
    model: Any,
    *inputs: Any,
    vary: Mapping[str, Iterable[Any]],
    folder: str | os.PathLike[str] | None = None,
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
    the first failure is raised.

    folder: where every finished cell is written at once, as PNG files and in `sweep.json`. The same
        sweep with the same folder, whole or broken off, computes only what is missing or failed;
        values may be added. The page `index.html` comes last.

    Warns how long it will take, after the first cells, where that is more than two minutes.
    Raises `UsageError` for an unknown name (near matches are named), no values, values given
    twice, settings out of range, and a folder of another sweep.

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
        dict(zip(values, each, strict=True)) for each in itertools.product(*values.values())
    ]
    about = about_sweep(function, held, setting_names(held), tuple(values))
    store = None if folder is None else open_folder(folder, about, values)
    outcomes = _run_cells(function, held, combinations, store, on_step)
    rows = tuple(_row(*each) for each in zip(combinations, outcomes, strict=True))
    failures = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    if failures and len(failures) == len(outcomes):
        raise failures[0]
    table = SweepTable(rows, tuple(values), about)
    if failures:
        told = "; ".join(f"{_named(row.settings)}: {row.error}" for row in table.failures[:3])
        warnings.warn(f"{len(failures)} of {len(outcomes)} failed: {told}", stacklevel=2)
    return table


def _run_cells(
    function: Callable[..., list[Portrait]],
    held: Mapping[str, Any],
    combinations: Sequence[dict[str, Any]],
    store: SweepFolder | None,
    on_step: Callable[[int, int], None] | None,
) -> list[list[Portrait] | Exception]:
    """What came of each combination; with a folder, only those that it lacks are computed."""
    calls = [with_settings(held, chosen) for chosen in combinations]
    outcomes: dict[int, list[Portrait] | Exception] = {}
    if store is not None:
        store.write(combinations)  # a folder that takes no files is found out before the work
        loaded = {cell: store.load(chosen) for cell, chosen in enumerate(combinations)}
        outcomes = {cell: portraits for cell, portraits in loaded.items() if portraits is not None}
    missing = [cell for cell in range(len(calls)) if cell not in outcomes]
    clock = _Clock(len(missing), store is not None)
    for block in make_blocks(function, held, combinations, calls, missing):
        for finished in draw_block(function, block, calls):
            outcomes |= finished
            if store is not None:
                for cell, outcome in finished.items():
                    row = _row(combinations[cell], outcome)
                    store.keep(row.settings, row.portraits, row.error)
                store.write(combinations)
            clock.tick(len(finished))
            if on_step is not None:
                on_step(len(outcomes), len(calls))
    if store is not None:
        store.write_page(combinations)
    return [outcomes[cell] for cell in range(len(calls))]


# --- what is said of it ---------------------------------------------------------------------------


class _Clock:
    """Says once how long a sweep will take, if that is long."""

    def __init__(self, total: int, kept: bool) -> None:
        self.total, self.kept, self.done = total, kept, 0
        self.started_s = time.monotonic()

    def tick(self, cells: int) -> None:
        """Some cells are finished; the warning is for the one who called `sweep`."""
        first = self.done == 0
        self.done += cells
        rest_s = (time.monotonic() - self.started_s) / self.done * (self.total - self.done)
        if first and rest_s > LONG_S:
            hint = "" if self.kept else "; with folder=... nothing finished is lost if you stop it"
            cells_told = f"{self.total} cells: about {_duration(rest_s)} to go"
            warnings.warn(cells_told + hint, stacklevel=4)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes / 60:.0f} hours"


def _row(settings: dict[str, Any], outcome: list[Portrait] | Exception) -> SweepRow:
    if isinstance(outcome, Exception):
        return SweepRow(settings, [], _one_line(outcome))
    return SweepRow(settings, outcome)


def _score_rows(scores: Measurement, table: SweepTable) -> list[dict[str, Any]]:
    """The figures of each portrait; raises `UsageError` for the scores of another table."""
    if len(scores.rows) != len(table.portraits) or set(scores.varied) - set(table.varied):
        raise UsageError(
            f"scores: got {len(scores.rows)} rows, expected those of measure(table), "
            f"{len(table.portraits)}; try table.save(folder, scores=measure(table, ...))"
        )
    beside = {"portrait", "seed", *table.varied}
    return [
        {
            name: value
            for name, value in row.items()
            if name not in beside and (value is None or isinstance(value, int | float))
        }
        for row in scores.rows
    ]


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
