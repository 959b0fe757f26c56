"""What is to be run and what came of it: tasks, their parameters, and the records in a store."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portraitlib.batch.gallery import RESULTS
from portraitlib.places import notebook_address
from portraitlib.settings import RANGES, UsageError, check_number

EXECUTION = "execution.json"  # written last: where it is, the folder is whole
# Lists of values of one setting: the name of a list -> the setting.
LISTS = {"step_counts": "num_inference_steps"} | {f"{name}s": name for name in RANGES}


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
    reused: bool
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
        return next((found.parent for found in sorted(self.folder.rglob(RESULTS))), None)


def read_execution(folder: Path) -> Execution | None:
    """The run that lies in a folder, failed ones too; None if there is none, or not a whole one."""
    try:
        record = json.loads((folder / EXECUTION).read_text(encoding="utf-8"))
        return Execution(
            folder / record["notebook"],
            folder,
            record["address"],
            record["parameters"],
            record["duration_s"],
            reused=True,
            error=record["error"],
            attempts=record["attempts"],
            peak_memory_gb=record["peak_memory_gb"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


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
        told = problem.strerror if isinstance(problem, OSError) else str(problem)[:80]
        raise UsageError(f"{path}: cannot be read as a notebook ({told})") from None


# --- parameters ----------------------------------------------------------------------------------


def near(name: str, known: Mapping[str, Any]) -> str:
    """A hint: the known names like `name`, else all of them."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(known)}"


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
            raise UsageError(f"{where}: the notebook has no such parameter; {near(name, known)}")
        expected, default = known[name]["inferred_type_name"], known[name]["default"]
        if not (_fits(value, expected) or (value is None and default == "None")):
            raise UsageError(
                f"{where}: got {value!r} ({type(value).__name__}), expected {expected}; "
                f"try {default}"
            )
        if name in RANGES and value is not None:
            check_number(notebook.name, name, value, RANGES[name])
        for each in value if name in LISTS and isinstance(value, list) else ():
            check_number(notebook.name, name, each, RANGES[LISTS[name]])


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


def import_papermill() -> Any:
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
