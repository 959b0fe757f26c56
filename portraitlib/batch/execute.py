"""One notebook, run by papermill, and the store that keeps the result under its address.

A notebook's result follows from its cells, its parameters, the library, the weights and the
versions of the libraries underneath. Their hash is the result's address, and the result lies under
it in one store (`runs/cache`, or the folder that PORTRAITLIB_CACHE names): the executed notebook
and every file that it wrote. The demo, `refresh_notebooks` and the tests share that store, so what
one of them has made the others only copy.

Reuse is by whole notebook on purpose. Single pictures take about a second on the embedded model,
and a notebook that got some of them from a cache would report wrong seconds. What takes minutes
and is wanted by several notebooks (class images, fine-tuned adapters) has a content-addressed home
in its own module.
"""

from __future__ import annotations

import contextlib
import glob
import io
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from portraitlib.batch.tasks import (
    EXECUTION,
    Execution,
    Task,
    import_papermill,
    literal_path,
    make_task,
    read_execution,
)
from portraitlib.places import PACKAGE, home_folder
from portraitlib.portrait import check_writable, write_json, write_whole

Say = Callable[[str], None]

PARTIAL = ".partial.ipynb"
WIDGET = "application/vnd.jupyter.widget-view+json"


class NotebookFailed(RuntimeError):
    """A cell of a notebook raised; the message says which one, and holds the traceback."""


class KernelDied(NotebookFailed):
    """The process that ran the cells is gone: killed, or out of memory."""


# --- places -----------------------------------------------------------------------------------


def store_folder() -> Path:
    """Where executed notebooks are kept: PORTRAITLIB_CACHE, else `home_folder()`'s runs/cache."""
    chosen = os.environ.get("PORTRAITLIB_CACHE")
    return Path(chosen).expanduser().absolute() if chosen else home_folder() / "runs" / "cache"


# --- running -------------------------------------------------------------------------------------


def execute(
    notebook: Path, parameters: Mapping[str, Any], *, again: bool = False, say: Say = print
) -> Execution:
    """Run a notebook from top to bottom, or return the run that stands under its address.

    again: run it even then. The notebook works in its own folder of the store, which gets its
    final name only when everything in it is written: a stopped run leaves nothing behind.

    Raises UsageError for parameters that the notebook does not have, NotebookFailed if a cell does.
    """
    task = make_task(notebook, parameters)
    kept = read_execution(store_folder() / task.name)
    if kept is not None and kept.error is None and not again:
        say(f"{notebook.stem}: stands, nothing to run")
        return replace(kept, notebook=notebook)
    run = perform(task, store_folder())
    say(f"{notebook.stem}: done in {run.duration_s:.0f} s")
    return run


def perform(
    task: Task,
    store: Path,
    *,
    attempt: int = 1,
    keep_failure: bool = False,
    progress: bool = True,
) -> Execution:
    """Execute a task into its folder of the store, which gets its name when it is whole.

    keep_failure: keep a notebook in which a cell raised, with its error, in place of raising.

    Raises UsageError if the store cannot be written to, NotebookFailed if a cell raises, and
    KernelDied in any case if its process is gone.
    """
    import nbformat

    check_writable(store)
    store.mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(prefix=f".{task.name}-", dir=store))
    before, start_s, error = _children_peak_gb(), time.perf_counter(), None
    try:
        try:
            executed = _run_cells(task, working, progress)
        except KernelDied:
            raise
        except NotebookFailed as problem:
            if not keep_failure:
                raise
            error = " ".join(str(problem).splitlines()[0].split())[:500]
            executed = nbformat.read(working / PARTIAL, as_version=4)
        peak_gb = _children_peak_gb()
        run = Execution(
            task.notebook,
            store / task.name,
            task.address,
            task.parameters,
            time.perf_counter() - start_s,
            reused=False,
            error=error,
            attempts=attempt,
            peak_memory_gb=peak_gb if peak_gb > before else None,
        )
        _finish(run, executed, working)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return run


def keep_lost(task: Task, store: Path, error: str, attempts: int) -> Execution:
    """Keep what is left of a run whose worker was lost each time, as a run that failed."""
    import nbformat

    remains = sorted(store.glob(f".{glob.escape(task.name)}-*/{PARTIAL}"))
    executed = nbformat.reads(task.text, as_version=4)
    for path in remains:
        with contextlib.suppress(OSError, ValueError):
            executed = nbformat.read(path, as_version=4)
    clear_remains(task, store)
    working = Path(tempfile.mkdtemp(prefix=f".{task.name}-", dir=store))
    run = Execution(
        *(task.notebook, store / task.name, task.address, task.parameters, 0.0, False),
        error=error,
        attempts=attempts,
    )
    _finish(run, executed, working)
    return run


def clear_remains(task: Task, store: Path) -> None:
    """Remove the working folders that killed workers of a task left behind."""
    for folder in store.glob(f".{glob.escape(task.name)}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _finish(run: Execution, executed: Any, working: Path) -> None:
    """Write the notebook and the record of a run, and give its folder its name."""
    import nbformat

    clean_notebook(executed, working)
    (working / PARTIAL).unlink(missing_ok=True)
    write_whole(working / run.notebook.name, nbformat.writes(executed).encode("utf-8", "replace"))
    record = {
        "notebook": run.notebook.name,
        "address": run.address,
        "parameters": run.parameters,
        "duration_s": run.duration_s,
        "peak_memory_gb": run.peak_memory_gb,
        "attempts": run.attempts,
        "error": run.error,
    }
    write_json(working / EXECUTION, record)
    os.chmod(working, 0o755)  # a temporary folder is for its maker alone
    shutil.rmtree(run.folder, ignore_errors=True)
    os.replace(working, run.folder)


def _children_peak_gb() -> float:
    """The most main memory that an ended process started from here had, in GB; 0 if not known."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return most / 1e9 * (1 if sys.platform == "darwin" else 1024)


def _run_cells(task: Task, working: Path, progress: bool) -> Any:
    """Execute the cells in a kernel of this very environment; count them on stderr."""
    import nbformat
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    name = task.notebook.stem
    terminal = sys.stderr.isatty()
    bar = {
        "desc": name,
        "bar_format": "  {desc}: cell {n_fmt} of {total_fmt}, {elapsed}",
        "file": sys.stderr if terminal else _Lines(),
        "mininterval": 0.2 if terminal else 10.0,
        "miniters": 1,
    }
    try:
        with environment():
            return import_papermill().execute_notebook(
                nbformat.reads(task.text, as_version=4),
                # Written after each cell, in place: what is left if the process is killed.
                literal_path(working / PARTIAL),
                task.parameters or None,
                kernel_name="python3",
                cwd=str(working),
                progress_bar=bar if progress else False,
                extra_arguments=["--log-level=50"],  # what matters comes with the cells
            )
    except PapermillExecutionError as problem:
        trace = "\n".join(problem.traceback)
        raise NotebookFailed(
            f"{name}, cell {problem.exec_count}: {problem.ename}: {problem.evalue}\n{trace}"
        ) from None
    except DeadKernelError as problem:
        raise KernelDied(f"{name}: its kernel died; was memory short? ({problem})") from None
    except KeyboardInterrupt:
        # The cell's task fails as well, and asyncio would tell of that with its whole traceback.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        raise


class _Lines(io.StringIO):
    """Where progress goes that no terminal shows: a line each time, nothing overwritten."""

    def write(self, text: str) -> int:
        if text.strip():
            print(text.strip("\r\n"), file=sys.stderr, flush=True)
        return len(text)


@contextlib.contextmanager
def environment(**changes: str) -> Iterator[None]:
    """Meanwhile, start kernels with these environment variables and this copy of the library."""
    path = os.environ.get("PYTHONPATH")
    changes["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"  # some kernels warn of their debugger else
    changes["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PACKAGE.parent), path]))
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


# --- tidying -------------------------------------------------------------------------------------


def clean_notebook(notebook: Any, working: Path) -> None:
    """Take out, in place, what belongs to one machine or one moment.

    That is: widgets and their state (a static figure stands beside each), papermill's and the
    editor's timestamps, and the machine's folders in what cells print. `working` is the folder
    that the notebook ran in.
    """
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = {"tags": tags} if tags else {}
        if cell.cell_type != "code":
            continue
        cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
        for output in cell.outputs:
            for part in (output, output.get("data", {})):
                for key in ("text", "text/plain", "text/html", "text/markdown"):
                    if isinstance(part.get(key), str):
                        part[key] = _without_folders(part[key], working)


def _without_folders(text: str, working: Path) -> str:
    """Text with this machine's folders shortened to what they are for."""
    short = {
        working: ".",
        PACKAGE.parent: ".",
        Path(sys.prefix): "python",
        Path(sys.base_prefix): "python",
        Path.home(): "~",
        Path(tempfile.gettempdir()): "temporary",
    }
    for folder in sorted(short, key=lambda folder: -len(str(folder))):
        if len(folder.parts) > 1:  # never the root itself
            text = text.replace(str(folder), short[folder])
    return text
