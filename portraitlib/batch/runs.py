"""Many runs of notebooks, each finished for good, whatever becomes of the others.

The folder of a batch is a store: a folder for each run, under the address of all that decides its
result. What lies there whole need not be run again; what failed is run anew. The demo, batches and
`make notebooks` run notebooks in this one way.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import tempfile
import time
import tomllib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

from portraitlib.batch.engines import Engine, LocalEngine, WorkerLost, clear_remains
from portraitlib.batch.notebook import (
    PARTIAL,
    Execution,
    NotebookFailed,
    Task,
    keep,
    make_task,
    read_execution,
)
from portraitlib.batch.results import describe_run, shown, spent_on, write_report
from portraitlib.cost import Budget, BudgetSpent, Cost, duration
from portraitlib.places import cache_folder, project_folder
from portraitlib.portrait import check_writable, write_whole
from portraitlib.settings import UsageError

Say = Callable[[str], None]
TRIES = 2  # of a run whose worker is lost; a cell that raises would raise again


# --- the demo ------------------------------------------------------------------------------------


def demo(
    output: str | os.PathLike[str] = "runs/demo", *, jobs: int = 1, say: Say = print
) -> dict[str, Any]:
    """Run every notebook of the series with the small settings of `notebooks/demo.toml`.

    output: gets the executed notebooks, a folder of portraits (PNG) beside each, `index.html`
        (a page that opens from the disk) and `report.json`, which is also returned: for each
        notebook the seconds, the number of pictures and the figures measured.
    jobs: notebooks at a time. What has not changed since an earlier demo is not run again.

    Raises UsageError if `output` cannot be written to or a parameter does not exist, and
    NotebookFailed if a cell raises; the other notebooks are run nevertheless.
    """
    folder, store = Path(output).expanduser().absolute(), cache_folder("cache")
    check_writable(folder)
    series = project_folder() / "notebooks"
    if not (series / "demo.toml").is_file():
        raise UsageError(f"{series}: no notebooks here; run this in a checkout of the project")
    settings = tomllib.loads((series / "demo.toml").read_text(encoding="utf-8"))
    tasks = [
        make_task(path, {**settings.get(path.stem, {}), "output_dir": path.stem})
        for path in sorted(series.glob("[0-9][0-9]_*.ipynb"))
    ]
    runs = list(run_tasks(tasks, store, LocalEngine(store, jobs), say=say).values())
    rows = []
    for run in runs:
        write_whole(folder / run.notebook.name, run.executed.read_bytes())
        shutil.rmtree(folder / run.notebook.stem, ignore_errors=True)
        if run.results is not None:
            shutil.copytree(run.results, folder / run.notebook.stem)
        rows.append(describe_run(run, run.folder))
    for row in rows:  # as they lie here
        row.update(folder=row["folder"] and row["notebook"], file=f"{row['notebook']}.ipynb")
    report = write_report(folder, rows)
    for run in runs:
        if run.error is not None:
            where = folder / run.notebook.name
            raise NotebookFailed(f"{run.error}\nThe notebook, with all that it says: {where}")
    pictures = sum(row["pictures"] for row in rows)
    say(f"{pictures} pictures from {len(rows)} notebooks: open {folder / 'index.html'}")
    return report


# --- running -------------------------------------------------------------------------------------


def run_tasks(
    tasks: Sequence[Task],
    store: Path,
    engine: Engine,
    *,
    again: bool = False,
    say: Say = print,
    budget: Budget | None = None,
    device: str | None = None,
) -> dict[str, Execution]:
    """Execute tasks, as many at a time as the engine takes: name -> run, in the tasks' order.

    What stands in the store is not run again, unless `again`. A run whose worker is lost gets a
    second try. When the budget is spent, what runs is finished and nothing more is started.

    Raises UsageError if the store cannot be used; then everything is stopped.
    """
    done = {} if again else _standing(tasks, store, say)
    waiting = deque((task, 1) for task in tasks if task.name not in done)
    total, start_s = len(waiting), time.monotonic()
    active: dict[Future[None], tuple[Task, int]] = {}
    with ThreadPoolExecutor(max(1, min(engine.places, len(waiting)))) as threads:
        try:
            while waiting or active:
                while waiting and len(active) < engine.places:
                    task, attempt = waiting.popleft()
                    active[threads.submit(engine.run, task, attempt)] = task, attempt
                    if attempt == 1:
                        say(f"[{total - len(waiting)}/{total}] {_label(task, tasks)}")
                finished, _ = wait(active, return_when=FIRST_COMPLETED)
                for future in finished:
                    task, attempt = active.pop(future)
                    run = _outcome(future, task, attempt, store)
                    if run is None:
                        waiting.appendleft((task, attempt + 1))
                        continue
                    done[task.name] = run
                    rest = len(waiting) + len(active)
                    rest_s = (time.monotonic() - start_s) / (total - rest) * rest
                    say(f"{_label(task, tasks)}: {_end_of(run, rest_s)}")
                if waiting and budget and not _affordable(budget, done.values(), device, say):
                    waiting.clear()
        except BaseException:
            engine.stop()
            raise
        finally:
            for task in tasks:
                if task.name not in done:
                    clear_remains(task, store)
    return {task.name: done[task.name] for task in tasks if task.name in done}


def _standing(tasks: Sequence[Task], store: Path, say: Say) -> dict[str, Execution]:
    """The runs that lie in the store and did not fail."""
    done = {}
    for task in tasks:
        kept = read_execution(store / task.name)
        if kept is not None and kept.error is None:
            done[task.name] = replace(kept, notebook=task.notebook)
            say(f"{_label(task, tasks)}: stands, nothing to run")
    return done


def _outcome(future: Future[None], task: Task, attempt: int, store: Path) -> Execution | None:
    """What came of a run, a lost one kept as one that failed; None if it gets another try."""
    try:
        future.result()
        run = read_execution(store / task.name)
        if run is None:
            raise WorkerLost("its result is not where it should be")
    except WorkerLost as problem:
        if attempt < TRIES:
            return None
        return _keep_lost(task, store, f"{problem}, {attempt} times", attempt)
    return replace(run, notebook=task.notebook, reused=False)


def _keep_lost(task: Task, store: Path, error: str, attempts: int) -> Execution:
    """Keep what is left of a run whose worker was lost each time, as a run that failed."""
    import nbformat

    executed = nbformat.reads(task.text, as_version=4)
    for path in sorted(store.glob(f".{glob.escape(task.name)}-*/{PARTIAL}")):
        with contextlib.suppress(OSError, ValueError):
            executed = nbformat.read(path, as_version=4)
    clear_remains(task, store)
    working = Path(tempfile.mkdtemp(prefix=f".{task.name}-", dir=store))
    run = Execution(task.notebook, store / task.name, task.address, task.parameters, 0.0)
    run = replace(run, error=error, attempts=attempts)
    keep(run, executed, working)
    return run


def _affordable(budget: Budget, runs: Iterable[Execution], device: str | None, say: Say) -> bool:
    """Whether another run like those before fits into the budget; says why not."""
    new = [run for run in runs if not run.reused]
    if not new:
        return True
    spent = spent_on(new, device)
    dollars = None if spent.dollars is None else spent.dollars / len(new)
    try:
        budget.check(spent, Cost(spent.seconds / len(new), spent.device, dollars))
    except BudgetSpent as problem:
        say(f"stopping: {problem}")
        return False
    return True


def _label(task: Task, tasks: Sequence[Task]) -> str:
    """A run in a line: the notebook, and what sets it apart from its other runs."""
    others = [other.parameters for other in tasks if other.notebook == task.notebook]
    apart = [
        f"{name}={shown(value)}"
        for name, value in task.parameters.items()
        if any(repr(other.get(name)) != repr(value) for other in others)
    ]
    return " ".join([task.notebook.stem, *apart])


def _end_of(run: Execution, rest_s: float) -> str:
    """How a run ended, and how long the others will take."""
    end = f"FAILED: {run.error}" if run.error else f"done in {duration(run.duration_s)}"
    left = f"; about {duration(rest_s)} to go" if rest_s else ""
    return f"{end}{' on its second try' * (run.attempts > 1)}{left}"
