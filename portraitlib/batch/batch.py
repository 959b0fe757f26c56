"""Batches: notebooks times values, every one checked before any starts, and what came of them."""

from __future__ import annotations

import ast
import contextlib
import csv
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portraitlib.batch.engines import LocalEngine, RayEngine
from portraitlib.batch.notebook import Execution, Task, make_task, parameters_of
from portraitlib.batch.results import describe_run, kept_runs, spent_on, write_report
from portraitlib.batch.runs import Say, run_tasks
from portraitlib.cost import Budget, Cost, cost_of, rate_of
from portraitlib.places import hold_lock
from portraitlib.portrait import check_writable
from portraitlib.settings import UsageError, nearest

ENGINES = ("local", "ray")
OUTPUT = "output"  # parameters that begin so name a place for results
# Parameters that end so name files that are there already.
INPUTS = ("_dir", "_file", "_path", "_folder")


@dataclass(frozen=True)
class Batch:
    """What came of a batch.

    runs: in the order of the plan, failed ones too.  missing: what was not run, because the batch
    was stopped or its budget spent.  spent: of this call.
    """

    folder: Path
    runs: tuple[Execution, ...]
    missing: tuple[Task, ...]
    spent: Cost

    @property
    def failed(self) -> tuple[Execution, ...]:
        """The runs in which a cell raised, or whose worker was lost each time."""
        return tuple(run for run in self.runs if run.error is not None)

    def __str__(self) -> str:
        """The summary: a line of counts, and one for each failed run."""
        counts = {
            "done": len(self.runs) - len(self.failed),
            "of them stood already": sum(run.reused for run in self.runs),
            "on a second try": sum(run.attempts > 1 and not run.reused for run in self.runs),
            "failed": len(self.failed),
            "not run": len(self.missing),
        }
        parts = [f"{number} {what}" for what, number in counts.items() if number or what == "done"]
        total = len(self.runs) + len(self.missing)
        failures = [f"  {run.error}: {run.executed}" for run in self.failed]
        return "\n".join([f"{total} runs: {', '.join(parts)}; {self.spent}", *failures])


def run_batch(
    notebooks: Iterable[str | os.PathLike[str]],
    parameters: Mapping[str, Any] | None = None,
    *,
    vary: Mapping[str, Sequence[Any]] | None = None,
    output: str | os.PathLike[str] = "runs/batch",
    engine: str = "local",
    jobs: int | None = None,
    gpus: float | None = None,
    budget: Budget | None = None,
    device: str | None = None,
    say: Say = print,
) -> Batch:
    """Execute notebooks with every combination of the varied parameters, and show what they made.

    parameters, vary: as in `plan_batch`; everything is checked before anything runs.
    output: gets a folder for each run, `report.json`, and `index.html` with all runs that lie
        there. The same again runs only what is missing or failed.
    engine: "local" or "ray".  jobs: runs at a time; None for one locally, with Ray what fits.
    gpus: with Ray, what each run asks for; None for one where the cluster has any.
    budget: when it is spent, what runs is finished and nothing else is started.
    device: whose rate counts (see `portraitlib.cost`); None for what the portraits' recipes name.

    Raises UsageError for what cannot be run. A stop with Ctrl-C ends the workers, writes the page
    and goes on as KeyboardInterrupt; a spent budget is no error, but `missing` is not empty then.
    """
    folder = Path(output).expanduser().absolute()
    if jobs is not None and (isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1):
        raise UsageError(f"jobs: got {jobs!r}, expected a whole number from 1; try 1")
    if engine not in ENGINES:
        raise UsageError(f"engine: got {engine!r}, expected one of {', '.join(ENGINES)}")
    device = _priced_device(device, budget, engine)
    tasks = plan_batch(map(Path, notebooks), parameters, vary)
    check_writable(folder)
    with hold_lock(folder, "batch"):
        try:
            ray = engine == "ray"
            workers = RayEngine(folder, jobs, gpus) if ray else LocalEngine(folder, jobs or 1)
            with contextlib.closing(workers):
                done = run_tasks(tasks, folder, workers, say=say, budget=budget, device=device)
        finally:
            write_report(folder, [describe_run(run, folder, device) for run in kept_runs(folder)])
    runs = tuple(done[task.name] for task in tasks if task.name in done)
    missing = tuple(task for task in tasks if task.name not in done)
    return Batch(folder, runs, missing, spent_on(runs, device))


def _priced_device(device: str | None, budget: Budget | None, engine: str) -> str | None:
    """The device whose rate counts; for a budget in dollars there must be one beforehand."""
    if device is not None and rate_of(device) is None:
        raise UsageError(
            f"device: no rate is known of {device!r}; try a row of portraitlib.cost.RATES, or one "
            "of your own in the file that PORTRAITLIB_RATES names"
        )
    if device is not None or budget is None or budget.dollars is None:
        return device
    if engine == "ray":
        raise UsageError("budget: with Ray, say what a machine costs; try --device t4")
    from portraitlib.device import device_name, pick_device

    name = device_name(pick_device())
    budget.check(cost_of(0, name))  # says so if it has no rate
    return name


# --- the plan -------------------------------------------------------------------------------------


def plan_batch(
    notebooks: Iterable[Path],
    parameters: Mapping[str, Any] | None = None,
    vary: Mapping[str, Sequence[Any]] | None = None,
) -> list[Task]:
    """All combinations of the varied values, for each notebook; the first name changes slowest.

    parameters: name -> value for all runs.  vary: name -> values. A text is read as the type that
        the notebook names: "3" is a number where one is expected and a text where a text is. A name
        that some of the notebooks have is given to those; one that none has is refused.

    Raises UsageError for notebooks that are none, names that are unknown or no identifiers, values
    of the wrong type or out of range, places outside the batch's folder, and runs named twice.
    """
    paths = [Path(notebook).expanduser() for notebook in notebooks]
    fixed, varied = dict(parameters or {}), dict(vary or {})
    known = {path: parameters_of(path) for path in paths}
    if not known:
        raise UsageError("batch: no notebooks given; try notebooks/0*.ipynb")
    _check_names(fixed, varied, [name for names in known.values() for name in names])
    tasks = []
    for path, names in known.items():
        same = {name: _value(names[name], fixed[name]) for name in fixed if name in names}
        lists = {name: _values(path, names[name], varied[name]) for name in varied if name in names}
        for chosen in itertools.product(*lists.values()):
            settings = {**same, **dict(zip(lists, chosen, strict=True))}
            if "output_dir" in names:
                settings.setdefault("output_dir", "results")
            tasks.append(make_task(path, _check_places(path, settings)))
    all_names = [task.name for task in tasks]
    for task in tasks:
        if all_names.count(task.name) > 1:
            raise UsageError(f"batch: {task.notebook.name} with {task.parameters} is there twice")
    return tasks


def _check_names(fixed: Mapping[str, Any], varied: Mapping[str, Any], known: list[str]) -> None:
    for name in [*fixed, *varied]:
        if name not in known:
            raise UsageError(
                f"parameter {name}: none of the notebooks has it; "
                f"{nearest(name, sorted(set(known)))}"
            )
    both = sorted(set(fixed) & set(varied))
    if both:
        raise UsageError(f"parameter {both[0]}: given once for all and varied; try one of the two")


def _check_places(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse results outside the run's folder; name inputs by whole paths, whatever the folder."""
    checked = dict(settings)
    for name, value in settings.items():
        if not isinstance(value, str) or not value:
            continue
        if name.startswith(OUTPUT):
            if Path(value).anchor or ".." in Path(value).parts or value.startswith("~"):
                raise UsageError(
                    f"{path.name}, parameter {name}: got {value!r}, expected a folder within the "
                    "run's own; try 'results', and --out for the whole batch"
                )
        elif name.endswith(INPUTS):
            there = Path(value).expanduser()
            if not there.exists():
                raise UsageError(f"{path.name}, parameter {name}: {value!r} is not there")
            checked[name] = str(there.absolute())
        elif name == "model_name" and Path(value).expanduser().is_dir():
            checked[name] = str(Path(value).expanduser().absolute())
    return checked


# --- values --------------------------------------------------------------------------------------


def split_name(text: str) -> tuple[str, str]:
    """ "seed=1,2" as ("seed", "1,2"); raises UsageError if there is no name or no value."""
    name, mark, values = text.partition("=")
    if not mark or not name.strip() or not values.strip():
        raise UsageError(f"--vary: got {text!r}, expected name=a,b,c; try seed=0,1,2")
    return name.strip(), values


def _values(path: Path, about: Any, given: Any) -> list[Any]:
    """The values of a varied parameter; a text is split at its commas, lists and quotes whole."""
    where = f"{path.name}, parameter {about['name']}"
    if isinstance(given, str):
        parts: list[Any] = _split(about["inferred_type_name"], given)
    elif isinstance(given, Iterable) and not isinstance(given, Mapping | bytes):
        parts = list(given)
    else:
        raise UsageError(f"{where}: got {given!r}, expected a list of values")
    values = [_value(about, part) for part in parts]
    if not values:
        raise UsageError(f"{where}: got no values, expected one or more")
    return values


def _split(kind: str, text: str) -> list[Any]:
    """The parts of "a,b,c"; of "[1,2],[3]" where lists are expected; of '["a, b", "c"]'."""
    lists = kind.split("[")[0] in ("list", "tuple", "dict")
    if lists or text.lstrip().startswith("["):
        try:
            return list(ast.literal_eval(f"[{text}]" if lists else text.strip()))
        except (ValueError, SyntaxError):
            if lists:
                return [text]  # and be refused by its type
    return [part.strip() for part in next(csv.reader([text], skipinitialspace=True))]


def _value(about: Any, given: Any) -> Any:
    """A value as the notebook's parameter takes it; a text that cannot be read stays one."""
    given = str(given) if isinstance(given, Path) else given
    given = given.tolist() if hasattr(given, "tolist") else given  # of numpy -> Python's own
    if not isinstance(given, str) or about["inferred_type_name"].startswith("str"):
        return given
    words = {"true": True, "false": False, "none": None, "null": None}
    if given.strip().lower() in words:
        return words[given.strip().lower()]
    try:
        return ast.literal_eval(given.strip())
    except (ValueError, SyntaxError):
        return given
