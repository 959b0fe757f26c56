"""One notebook: what it takes, how it is run, and what stands in a store once it was.

Its result follows from its cells, its parameters, the library, the weights and the versions of the
libraries underneath. Their hash is the result's address, under which it lies in a store with every
file that it wrote. Whole notebooks alone are used again: with single pictures from a cache one
would report wrong seconds.

`python -m portraitlib.batch.notebook` runs one in a process of its own, told by a line of JSON. It
ends, and its kernel with it, when stdin does: a batch that is killed leaves nothing running.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

from portraitlib.places import most_memory_gb, notebook_address
from portraitlib.portrait import check_writable, read_json, write_json, write_whole
from portraitlib.settings import RANGES, UsageError, check_number, nearest

EXECUTION = "execution.json"  # written last: where it is, the folder is whole
PARTIAL = ".partial.ipynb"
RESULTS = "results.json"
DONE, MISTAKE, LOST, STOPPED = 0, 2, 75, 130  # what the process says by its exit code
# Lists of values of one setting: the name of a list -> the setting.
LISTS = {"step_counts": "num_inference_steps"} | {f"{name}s": name for name in RANGES}
TYPES: dict[str, Any] = {"int": int, "float": int | float, "str": str, "bool": bool}
TYPES |= {"list": list, "tuple": tuple | list, "dict": dict}


class NotebookFailed(RuntimeError):
    """A cell of a notebook raised; the message says which one."""


class KernelDied(RuntimeError):
    """The process that ran the cells is gone: killed, or out of memory."""


@dataclass(frozen=True)
class Task:
    """One notebook to be executed with certain parameters.

    notebook: where it lies.  text: the file, as it was when the task was made.
    """

    notebook: Path
    text: str
    parameters: dict[str, Any]
    address: str

    @property
    def name(self) -> str:
        """The folder that its result gets in a store."""
        return f"{self.notebook.stem}-{self.address}"


@dataclass(frozen=True)
class Execution:
    """One executed notebook in a store: `folder` holds it and the files that it wrote.

    error: why it failed, in one line; None if it did not.  attempts: 2 if a first worker was lost.
    peak_memory_gb: the most main memory that its kernel had, 10**9 bytes; None if not known.
    """

    notebook: Path
    folder: Path
    address: str
    parameters: dict[str, Any]
    duration_s: float
    reused: bool = False
    error: str | None = None
    attempts: int = 1
    peak_memory_gb: float | None = None

    @property
    def executed(self) -> Path:
        """The executed notebook."""
        return self.folder / self.notebook.name

    @property
    def results(self) -> Path | None:
        """The folder that the notebook gave to `save_results`, None if it saved none."""
        return next((path.parent for path in sorted(self.folder.rglob(RESULTS))), None)


class Record(TypedDict):
    """What `execution.json` says of a run."""

    notebook: str
    address: str
    parameters: dict[str, Any]
    duration_s: float
    error: str | None
    attempts: int
    peak_memory_gb: float | None


def read_execution(folder: Path) -> Execution | None:
    """The run that lies in a folder, failed ones too; None if there is none, or not a whole one."""
    try:
        record = read_json(folder / EXECUTION, Record)
    except UsageError:
        return None
    values: dict[str, Any] = {**record, "notebook": folder / record["notebook"]}
    return Execution(folder=folder, reused=True, **values)


# --- what it takes -------------------------------------------------------------------------------


def make_task(notebook: Path, parameters: Mapping[str, Any]) -> Task:
    """Read a notebook, check the parameters against it, and address what will come of them.

    Raises UsageError for parameters that the notebook does not have, or no notebook at all.
    """
    text, node = read_notebook(notebook)
    check_parameters(notebook, parameters)
    return Task(notebook, text, dict(parameters), notebook_address(node, parameters))


def read_notebook(path: Path) -> tuple[str, Any]:
    """The text of a notebook's file and what it says; raises UsageError if it is not one."""
    import nbformat

    try:
        text = path.read_text(encoding="utf-8")
        return text, nbformat.reads(text, as_version=4)
    except (OSError, ValueError, nbformat.reader.NotJSONError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else str(problem)[:80]
        raise UsageError(f"{path}: cannot be read as a notebook ({reason})") from None


def parameters_of(notebook: Path) -> dict[str, Any]:
    """What papermill reads in the cell tagged `parameters`: name -> type, default, help.

    Raises UsageError if that is no notebook.
    """
    read_notebook(notebook)
    return import_papermill().inspect_notebook(literal_path(notebook))


def check_parameters(notebook: Path, parameters: Mapping[str, Any]) -> None:
    """Check names, types and ranges against the notebook's cell tagged `parameters`.

    papermill only warns of an unknown name and puts names into code unchecked. The ranges are those
    of the settings with the same name, or of which a list such as `strengths` holds values.

    Raises UsageError.
    """
    known = parameters_of(notebook)
    for name, value in parameters.items():
        where = f"{notebook.name}, parameter {name}"
        if name not in known:
            hint = nearest(name, known)
            raise UsageError(f"{where}: the notebook has no such parameter; {hint}")
        expected, default = known[name]["inferred_type_name"], known[name]["default"]
        if not (_fits(value, expected) or (value is None and default == "None")):
            raise UsageError(
                f"{where}: got {value!r} ({type(value).__name__}), expected {expected}; "
                f"try {default}"
            )
        if name in RANGES and value is not None:
            check_number(notebook.name, name, value, RANGES[name])
        for entry in value if name in LISTS and isinstance(value, list) else ():
            check_number(notebook.name, name, entry, RANGES[LISTS[name]])


def _fits(value: Any, annotation: str) -> bool:
    """Whether a value is of the type that a parameters cell names, such as `list[int]`."""
    kind = annotation.split("[")[0].strip()
    if kind not in TYPES:
        return True  # papermill says "None" where there is no annotation
    return isinstance(value, TYPES[kind]) and (kind == "bool" or not isinstance(value, bool))


def import_papermill() -> Any:
    """papermill, or a UsageError that says how to get it."""
    try:
        import papermill
    except ImportError as problem:
        raise UsageError(
            f"notebooks are run by papermill ({problem}); try pip install 'portraitlib[notebooks]'"
        ) from None
    return papermill


def literal_path(path: Path) -> str:
    """A path as papermill takes it, which fills in parameters between braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


# --- running -------------------------------------------------------------------------------------


def main() -> int:
    """Execute the task on stdin; a cell that raises is a result, kept in the store.

    Where the exit code is `MISTAKE` or `LOST`, the last line on stdout says why.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_stop_with_stdin, daemon=True).start()
    try:
        task = Task(**{**order["task"], "notebook": Path(order["task"]["notebook"])})
        execute(task, Path(order["store"]), order["attempt"], order["progress"])
    except (KernelDied, UsageError) as problem:
        print(_one_line(problem), flush=True)
        return LOST if isinstance(problem, KernelDied) else MISTAKE
    except KeyboardInterrupt:
        return STOPPED
    return DONE


def _stop_with_stdin() -> None:
    """Once stdin ends, interrupt the main thread."""
    sys.stdin.read()
    if hasattr(signal, "pthread_kill"):
        # A signal, not a flag: it wakes what the main thread waits for.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        os.kill(os.getpid(), signal.SIGINT)


def execute(task: Task, store: Path, attempt: int = 1, progress: bool = True) -> Execution:
    """Run a task into its folder of the store, which gets its name when everything is in it.

    Where a cell raises, the notebook is kept with its error. Raises UsageError if the store cannot
    be written to, and KernelDied if the kernel's process is gone.
    """
    check_writable(store)
    store.mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(prefix=f".{task.name}-", dir=store))
    start_s = time.perf_counter()
    try:
        executed, error = _run_cells(task, working, progress)
        seconds, peak_gb = time.perf_counter() - start_s, most_memory_gb("RUSAGE_CHILDREN")
        run = Execution(task.notebook, store / task.name, task.address, task.parameters, seconds)
        run = replace(run, error=error, attempts=attempt, peak_memory_gb=peak_gb)
        keep(run, executed, working)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return run


def keep(run: Execution, executed: Any, working: Path) -> None:
    """Write the notebook and the record of a run, and give its folder its name."""
    import nbformat

    (working / PARTIAL).unlink(missing_ok=True)
    write_whole(working / run.notebook.name, nbformat.writes(executed).encode("utf-8", "replace"))
    record = {name: getattr(run, name) for name in Record.__annotations__}
    write_json(working / EXECUTION, {**record, "notebook": run.notebook.name})
    os.chmod(working, 0o755)  # a temporary folder is for its maker alone
    shutil.rmtree(run.folder, ignore_errors=True)
    os.replace(working, run.folder)


def _run_cells(task: Task, working: Path, progress: bool) -> tuple[Any, str | None]:
    """The executed notebook, and in one line why a cell raised; None if none did.

    The kernel is one of this very environment; a terminal sees them counted.
    """
    import nbformat
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    name = task.notebook.stem
    bar = {"desc": name, "bar_format": "  {desc}: cell {n_fmt} of {total_fmt}, {elapsed}"}
    try:
        executed = import_papermill().execute_notebook(
            nbformat.reads(task.text, as_version=4),
            # Written after each cell, in place: what is left if the process is killed.
            literal_path(working / PARTIAL),
            task.parameters or None,
            kernel_name="python3",
            cwd=str(working),
            progress_bar=bar if progress and sys.stderr.isatty() else False,
            extra_arguments=["--log-level=50"],  # what matters comes with the cells
        )
        return executed, None
    except PapermillExecutionError as problem:
        error = f"{name}, cell {problem.exec_count}: {problem.ename}: {problem.evalue}"
        return nbformat.read(working / PARTIAL, as_version=4), _one_line(error)
    except DeadKernelError as problem:
        raise KernelDied(f"{name}: its kernel died; was memory short? ({problem})") from None
    except KeyboardInterrupt:
        # The cell's task fails as well, and asyncio would tell of that with its whole traceback.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        raise


def _one_line(problem: object) -> str:
    return " ".join((str(problem).splitlines() or [""])[0].split())[:500]


if __name__ == "__main__":
    sys.exit(main())
