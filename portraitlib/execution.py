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
import difflib
import io
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portraitlib.address import PACKAGE, notebook_address, project_folder
from portraitlib.gallery import RESULTS, write_json
from portraitlib.portrait import check_writable, write_whole
from portraitlib.settings import UsageError

Say = Callable[[str], None]

EXECUTION = "execution.json"  # written last: where it is, the folder is whole
WIDGET = "application/vnd.jupyter.widget-view+json"


class NotebookFailed(RuntimeError):
    """A cell of a notebook raised; the message says which one, and holds the traceback."""


@dataclass(frozen=True)
class Execution:
    """One executed notebook in the store: `folder` holds it and the files that it wrote."""

    notebook: Path
    folder: Path
    address: str
    parameters: dict[str, Any]
    duration_s: float
    reused: bool

    @property
    def executed(self) -> Path:
        """The executed notebook."""
        return self.folder / self.notebook.name

    @property
    def results(self) -> Path | None:
        """The folder that the notebook gave to `save_results`, None if it saved none."""
        return next((found.parent for found in sorted(self.folder.rglob(RESULTS))), None)


# --- places -----------------------------------------------------------------------------------


def store_folder() -> Path:
    """Where executed notebooks are kept: PORTRAITLIB_CACHE, else runs/cache of the project."""
    chosen = os.environ.get("PORTRAITLIB_CACHE")
    return Path(chosen).expanduser().absolute() if chosen else project_folder() / "runs" / "cache"


# --- running -------------------------------------------------------------------------------------


def near(name: str, known: Mapping[str, Any]) -> str:
    """A hint: the known names like `name`, else all of them."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(known)}"


def check_parameters(notebook: Path, parameters: Mapping[str, Any]) -> None:
    """Check names and types against the notebook's cell tagged `parameters`.

    papermill only warns of an unknown name and puts names into code unchecked. Raises UsageError.
    """
    known = _papermill().inspect_notebook(str(notebook))
    for name, value in parameters.items():
        where = f"{notebook.name}, parameter {name}"
        if name not in known:
            raise UsageError(f"{where}: the notebook has no such parameter; {near(name, known)}")
        expected, default = known[name]["inferred_type_name"], known[name]["default"]
        if not (_fits(value, expected) or (value is None and default == "None")):
            raise UsageError(
                f"{where}: got {value!r} ({type(value).__name__}), expected {expected}; "
                f"try {default}"
            )


def _fits(value: Any, annotation: str) -> bool:
    """Whether a value is of the type that a parameters cell names, such as `list[int]`."""
    kinds: dict[str, tuple[type, ...]] = {
        "int": (int,),
        "float": (int, float),
        "str": (str,),
        "bool": (bool,),
        "list": (list,),
        "tuple": (tuple, list),
        "dict": (dict,),
    }
    kind = annotation.split("[")[0].strip()
    if kind not in kinds:
        return True  # papermill says "None" where there is no annotation
    return isinstance(value, kinds[kind]) and (kind == "bool" or not isinstance(value, bool))


def _papermill() -> Any:
    try:
        import papermill
    except ImportError as problem:
        raise UsageError(
            f"notebooks are run by papermill ({problem}); try pip install 'portraitlib[notebooks]'"
        ) from None
    return papermill


def execute(
    notebook: Path, parameters: Mapping[str, Any], *, again: bool = False, say: Say = print
) -> Execution:
    """Run a notebook from top to bottom, or return the run that stands under its address.

    again: run it even then. The notebook works in its own folder of the store, which gets its
    final name only when everything in it is written: a stopped run leaves nothing behind.

    Raises UsageError for parameters that the notebook does not have, NotebookFailed if a cell does.
    """
    import nbformat

    check_parameters(notebook, parameters)
    node = nbformat.read(notebook, as_version=4)
    address = notebook_address(node, parameters)
    kept = store_folder() / f"{notebook.stem}-{address}"
    if (kept / EXECUTION).is_file() and not again:
        record = json.loads((kept / EXECUTION).read_text())
        say(f"{notebook.stem}: stands, nothing to run")
        return Execution(
            notebook, kept, address, dict(parameters), record["duration_s"], reused=True
        )
    check_writable(store_folder())
    store_folder().mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(prefix=f".{notebook.stem}-", dir=store_folder()))
    try:
        start_s = time.perf_counter()
        executed = _run_cells(node, parameters, working, notebook.stem)
        duration_s = time.perf_counter() - start_s
        clean_notebook(executed, working)
        write_whole(working / notebook.name, nbformat.writes(executed).encode())
        record = {"address": address, "parameters": dict(parameters), "duration_s": duration_s}
        write_json(working / EXECUTION, record)
        shutil.rmtree(kept, ignore_errors=True)
        os.replace(working, kept)
    finally:
        shutil.rmtree(working, ignore_errors=True)
    say(f"{notebook.stem}: done in {duration_s:.0f} s")
    return Execution(notebook, kept, address, dict(parameters), duration_s, reused=False)


def _run_cells(node: Any, parameters: Mapping[str, Any], working: Path, name: str) -> Any:
    """Execute the cells in a kernel of this very environment; count them on stderr."""
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

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
            return _papermill().execute_notebook(
                node,
                None,  # papermill does not write whole files; the caller does
                dict(parameters) or None,
                kernel_name="python3",
                cwd=str(working),
                progress_bar=bar,
                extra_arguments=["--log-level=50"],  # what matters comes with the cells
            )
    except PapermillExecutionError as problem:
        trace = "\n".join(problem.traceback)
        raise NotebookFailed(
            f"{name}, cell {problem.exec_count}: {problem.ename}: {problem.evalue}\n{trace}"
        ) from None
    except DeadKernelError as problem:
        raise NotebookFailed(f"{name}: its kernel died; was memory short? ({problem})") from None


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
