"""A batch: many runs of notebooks, each finished for good, whatever becomes of the others.

The folder of a batch is a store: a folder for each run, under the address of all that decides its
result. What lies there whole need not be run again; what failed is run anew.

A cluster in five lines. On the first machine, then on each other one:

    pip install 'portraitlib[notebooks,photos,ray]'
    ray start --head
    ray start --address=FIRST:6379

and again on the first:

    portraitlib batch notebooks/0*.ipynb --vary seed=0,1,2,3 --engine ray --out runs/seeds
    ray stop
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from portraitlib.batch.engines import Engine, LocalEngine, RayEngine, WorkerLost
from portraitlib.batch.execute import Say, clear_remains, keep_lost
from portraitlib.batch.gallery import opening_words, read_results, write_gallery
from portraitlib.batch.gallery_table import shown
from portraitlib.batch.plan import plan_batch
from portraitlib.batch.tasks import Execution, Task, read_execution
from portraitlib.cost import UNKNOWN, Budget, BudgetSpent, Cost, cost_of, duration, rate_of
from portraitlib.places import installed_version, versions
from portraitlib.portrait import check_writable, write_json
from portraitlib.settings import UsageError
from portraitlib.training.run_lock import hold_lock

ENGINES = ("local", "ray")
TRIES = 2  # of a run whose worker is lost; a cell that raises would raise again


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
        again = sum(run.attempts > 1 and not run.reused for run in self.runs)
        stood = sum(run.reused for run in self.runs)
        counts = [f"{len(self.runs) - len(self.failed)} done"]
        counts += [f"{stood} of them stood already"] if stood else []
        counts += [f"{again} on a second try"] if again else []
        counts += [f"{len(self.failed)} failed"] if self.failed else []
        counts += [f"{len(self.missing)} not run"] if self.missing else []
        total = len(self.runs) + len(self.missing)
        lines = [f"{total} runs: {', '.join(counts)}; {self.spent}"]
        for run in self.failed:
            lines.append(f"  {run.error}: {run.executed}")
        return "\n".join(lines)


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
    tasks = plan_batch([Path(each) for each in notebooks], parameters, vary)
    check_writable(folder)
    with hold_lock(folder, "batch"):
        runs: dict[str, Execution] = {}
        try:
            with contextlib.closing(_engine(engine, folder, jobs, gpus)) as made:
                run_tasks(tasks, folder, made, say=say, budget=budget, device=device, runs=runs)
        finally:
            write_report(folder, [_row(run, folder, device) for run in kept_runs(folder)])
    done = [runs[task.name] for task in tasks if task.name in runs]
    missing = tuple(task for task in tasks if task.name not in runs)
    return Batch(folder, tuple(done), missing, _spent(done, device))


def _engine(name: str, folder: Path, jobs: int | None, gpus: float | None) -> Engine:
    return LocalEngine(folder, jobs or 1) if name == "local" else RayEngine(folder, jobs, gpus)


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


# --- running -------------------------------------------------------------------------------------


def run_tasks(
    tasks: Sequence[Task],
    store: Path,
    engine: Engine,
    *,
    say: Say = print,
    budget: Budget | None = None,
    device: str | None = None,
    runs: dict[str, Execution] | None = None,
) -> list[Execution]:
    """Execute tasks, as many at a time as the engine takes; return the runs in their order.

    What stands in the store is not run again. A run whose worker is lost gets a second try. Those
    that finish are put into `runs` at once, for a caller who is interrupted. When the budget is
    spent, what runs is finished and nothing more is started.

    Raises UsageError if the store cannot be used; then everything is stopped.
    """
    done = {} if runs is None else runs
    waiting = _not_standing(tasks, store, done, say)
    progress = _Progress(len(waiting), say)
    active: dict[Future[Execution], Task] = {}
    with ThreadPoolExecutor(max(1, min(engine.places, len(waiting)))) as threads:
        try:
            while waiting or active:
                while waiting and len(active) < engine.places:
                    task = waiting.popleft()
                    active[threads.submit(_try_task, engine, task, store)] = task
                    progress.start(_told(task, tasks))
                finished, _ = wait(active, return_when=FIRST_COMPLETED)
                for future in finished:
                    task = active.pop(future)
                    done[task.name] = future.result()
                    progress.finish(_told(task, tasks), done[task.name])
                if budget is not None and waiting and not _affordable(budget, done, device, say):
                    waiting.clear()
        except BaseException:
            engine.stop()
            raise
        finally:
            for task in tasks:
                if task.name not in done and task not in active.values():
                    clear_remains(task, store)
    return [done[task.name] for task in tasks if task.name in done]


def _not_standing(
    tasks: Sequence[Task], store: Path, done: dict[str, Execution], say: Say
) -> deque[Task]:
    """The tasks that are to be run; the runs that stand in the store are put into `done`."""
    waiting: deque[Task] = deque()
    for task in tasks:
        kept = read_execution(store / task.name)
        if kept is None or kept.error is not None:
            waiting.append(task)
        else:
            done[task.name] = replace(kept, notebook=task.notebook)
            say(f"{_told(task, tasks)}: stands, nothing to run")
    return waiting


def _try_task(engine: Engine, task: Task, store: Path) -> Execution:
    """One run, a second time if its worker is lost, and then kept as a failed one."""
    for attempt in range(1, TRIES + 1):
        try:
            return replace(engine.run(task, attempt), notebook=task.notebook, reused=False)
        except WorkerLost as problem:
            told = f"{problem}, {attempt} times"
    return keep_lost(task, store, told, TRIES)


def _affordable(
    budget: Budget, done: Mapping[str, Execution], device: str | None, say: Say
) -> bool:
    """Whether another run like those before fits into the budget; says why not."""
    new = [run for run in done.values() if not run.reused]
    spent = _spent(new, device)
    typical = replace(spent, seconds=spent.seconds / len(new), peak_memory_gb=None)
    if spent.dollars is not None:
        typical = replace(typical, dollars=spent.dollars / len(new))
    try:
        budget.check(spent, typical)
    except BudgetSpent as problem:
        say(f"stopping: {problem}")
        return False
    return True


def _told(task: Task, tasks: Sequence[Task]) -> str:
    """A run in a line: the notebook, and what sets it apart from its other runs."""
    kin = [each for each in tasks if each.notebook == task.notebook]
    apart = [
        f"{name}={shown(value)}"
        for name, value in task.parameters.items()
        if len({repr(each.parameters.get(name)) for each in kin}) > 1
    ]
    return " ".join([task.notebook.stem, *apart])


class _Progress:
    """Says what starts and ends, and how long the rest will take."""

    def __init__(self, total: int, say: Say) -> None:
        self.total, self.say = total, say
        self.started = self.finished = 0
        self.start_s = time.monotonic()

    def start(self, told: str) -> None:
        self.started += 1
        self.say(f"[{self.started}/{self.total}] {told}")

    def finish(self, told: str, run: Execution) -> None:
        self.finished += 1
        came = f"done in {duration(run.duration_s)}"
        came = came if run.error is None else f"FAILED: {run.error}"
        rest = self.total - self.finished
        rest_s = (time.monotonic() - self.start_s) / self.finished * rest
        to_go = f"; about {duration(rest_s)} to go" if rest else ""
        self.say(f"{told}: {came}{' on its second try' * (run.attempts > 1)}{to_go}")


# --- reporting -----------------------------------------------------------------------------------


def kept_runs(folder: Path) -> list[Execution]:
    """The runs that lie in the folder of a batch, of equal ones the newest, by their values."""
    found: dict[tuple[str, str], Execution] = {}
    folders = [path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."]
    for path in sorted(folders, key=lambda path: (path.stat().st_mtime, path.name)):
        run = read_execution(path)
        if run is not None:
            found[run.notebook.name, json.dumps(run.parameters, sort_keys=True)] = run
    return sorted(found.values(), key=_rank)


def _rank(run: Execution) -> tuple[str, list[tuple[bool, float, str]]]:
    """What runs are sorted by: the notebook, then the values, numbers by their size."""
    values = run.parameters.values()
    plain = [(v, "") if isinstance(v, int | float) else (0.0, str(v)) for v in values]
    return run.notebook.name, [(bool(text), number, text) for number, text in plain]


def describe_run(run: Execution, device: str | None = None) -> dict[str, Any]:
    """The row of a run in `report.json`: what it is, what it made, what it cost."""
    results = read_results(run.results)
    title, why = opening_words(json.loads(run.executed.read_text(encoding="utf-8")))
    recipes = [entry["recipe"] for entry in results["portraits"]]
    cost = run_cost(run, recipes, device)
    return {
        "notebook": run.notebook.stem,
        "title": title,
        "why": why,
        "models": sorted({str(recipe.get("model", "?")) for recipe in recipes}),
        "parameters": run.parameters,
        "address": run.address,
        "reused": run.reused,
        "error": run.error,
        "attempts": run.attempts,
        "duration_s": round(run.duration_s, 1),
        "peak_memory_gb": run.peak_memory_gb and round(run.peak_memory_gb, 2),
        "device": cost.device,
        "dollars": cost.dollars,
        "cost": str(cost) if cost.dollars else "",
        "pictures": len(recipes),
        "figures": results["figures"],
    }


def run_cost(
    run: Execution, recipes: Sequence[Mapping[str, Any]] | None = None, device: str | None = None
) -> Cost:
    """What a run cost on a device; None for the one that most of its portraits name."""
    if recipes is None and device is None:
        recipes = [entry["recipe"] for entry in read_results(run.results)["portraits"]]
    named = Counter(str(r.get("card") or r.get("device") or "") for r in recipes or ())
    most = named.most_common(1)[0][0] if named else ""
    return cost_of(run.duration_s, device or most or UNKNOWN, run.peak_memory_gb)


def _spent(runs: Iterable[Execution], device: str | None) -> Cost:
    """What the new runs cost in all; one that drew nothing ran on the device of the others."""
    new = [run for run in runs if not run.reused]
    costs = [run_cost(run, device=device) for run in new]
    known = Counter(cost.device for cost in costs if cost.device != UNKNOWN)
    usual = device or (known.most_common(1)[0][0] if known else UNKNOWN)
    costs = [
        run_cost(run, device=usual) if cost.device == UNKNOWN else cost
        for run, cost in zip(new, costs, strict=True)
    ]
    return sum(costs[1:], costs[0]) if costs else cost_of(0.0, usual)


def _row(run: Execution, folder: Path, device: str | None) -> dict[str, Any]:
    """The row of a run that lies in the folder of a batch."""
    results = run.results and run.results.relative_to(folder).as_posix()
    executed = run.executed.relative_to(folder).as_posix()
    return {**describe_run(run, device), "folder": results, "file": executed}


def write_report(folder: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Write `report.json` and the page that shows it; return the report."""
    report = {
        "portraitlib": installed_version("portraitlib"),
        "versions": versions(),
        "processors": os.cpu_count(),
        "duration_s": sum(row["duration_s"] for row in rows),
        "notebooks": list(rows),
    }
    write_json(folder / "report.json", report)
    write_gallery(folder, report)
    return report
