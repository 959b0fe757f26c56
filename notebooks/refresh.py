"""Execute the notebooks with their default parameters and store the outputs: `make notebooks`.

    python notebooks/refresh.py [NAME ...] [--force]

Two things that stand in one place are carried to others on the way.

The address and the version, from which badges and install cells derive, stand in `pyproject.toml`.
Whoever forks the project changes it there and runs `make notebooks`, which
carries it into the notebooks and the README. The ledger of the post's claims is made by the
scoreboard, and carried from its stored outputs into the README.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat

from portraitlib.batch.notebook import NotebookFailed, make_task
from portraitlib.batch.runs import LocalEngine, Say, run_tasks
from portraitlib.places import (
    PACKAGE,
    cache_folder,
    code_hash,
    notebook_address,
    project_folder,
    source_hash,
    weights_hash,
)
from portraitlib.portrait import write_whole
from portraitlib.settings import UsageError, nearest

WIDGET = "application/vnd.jupyter.widget-view+json"
ON_A_GPU = {"accelerator": "GPU", "colab": {"gpuType": "T4"}}  # what Colab opens a notebook on
STAMP = "portraitlib"  # the key of a notebook's metadata that says where its outputs come from

# Where the address stands in a text; in Colab's links its owner and name alone.
IN_COLAB = re.compile(r"(?<=colab\.research\.google\.com/github/)[\w.-]+/[\w.-]+(?=/blob/)")
CLONED = re.compile(r"(?<=git clone )https://[\w./-]+")
INSTALLED = re.compile(r"(?<=git\+)https://[\w./-]+(@v[\w.]+)?")


def repository_address(project: Path) -> str:
    """Such as "https://github.com/owner/name", for a checkout; raises UsageError if it has none."""
    path = project / "pyproject.toml"
    try:
        urls = tomllib.loads(path.read_text(encoding="utf-8"))["project"]["urls"]
        address = str(urls["Repository"]).removesuffix(".git").rstrip("/")
    except (OSError, ValueError, KeyError) as problem:
        raise UsageError(f"{path}: has no Repository under [project.urls] ({problem})") from None
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", address):
        raise UsageError(
            f"{path}: Repository is {address!r}, expected https://github.com/OWNER/NAME; Colab "
            "opens notebooks from nowhere else"
        )
    return address


def colab_link(address: str, notebook: str) -> str:
    """Where a notebook opens in Colab."""
    owner_and_name = address.removeprefix("https://github.com/")
    return (
        f"https://colab.research.google.com/github/{owner_and_name}/blob/main/notebooks/"
        f"{notebook}.ipynb"
    )


def notebook_badge(address: str, notebook: str) -> str:
    """The badge that opens a notebook in Colab, in Markdown."""
    picture = "https://colab.research.google.com/assets/colab-badge.svg"
    return f"[![Open in Colab]({picture})]({colab_link(address, notebook)})"


def released_version(project: Path) -> str:
    """The version that a checkout's `pyproject.toml` names, such as "0.2.0"."""
    text = (project / "pyproject.toml").read_text(encoding="utf-8")
    return str(tomllib.loads(text)["project"]["version"])


def with_address(text: str, address: str, version: str) -> str:
    """A text whose Colab links and git addresses point to the repository, pip's to a release."""
    text = IN_COLAB.sub(address.removeprefix("https://github.com/"), text)
    return INSTALLED.sub(f"{address}@v{version}", CLONED.sub(address, text))


def carry_address(project: Path) -> list[Path]:
    """Put the address into the README and the notebooks; return the files that changed.

    Nothing is done in a folder that is no checkout. Raises UsageError if there is no address.
    """
    if not (project / "pyproject.toml").is_file():
        return []
    address, version = repository_address(project), released_version(project)
    changed = []
    for path in [project / "README.md", *sorted((project / "notebooks").glob("*.ipynb"))]:
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        after = with_address(before, address, version)
        if after != before:
            write_whole(path, after.encode("utf-8"))
            changed.append(path)
    return changed


# --- the ledger ----------------------------------------------------------------------------------

LEDGER_NOTEBOOK, LEDGER_HEAD = "08_scoreboard", "| the post says |"
LEDGER = re.compile(r"(?<=<!-- ledger -->\n).*?(?=<!-- end of the ledger -->)", re.DOTALL)


def stored_ledger(project: Path) -> str | None:
    """The table of the post's claims as the scoreboard's stored outputs have it; None for none."""
    path = project / "notebooks" / f"{LEDGER_NOTEBOOK}.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"] if path.is_file() else []
    for output in (output for cell in cells for output in cell.get("outputs", [])):
        text = "".join(output.get("data", {}).get("text/markdown", ""))
        if text.startswith(LEDGER_HEAD):
            return text
    return None


def carry_ledger(project: Path, date: str) -> bool:
    """Put the stored ledger into the README, with the date; tell whether it was another one."""
    path, table = project / "README.md", stored_ledger(project)
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    if table is None or table in before or not LEDGER.search(before):
        return False
    said = f"Measured with `mini`, {date}:\n\n{table}\n"
    write_whole(path, LEDGER.sub(lambda _: said, before).encode("utf-8"))
    return True


# --- the outputs ---------------------------------------------------------------------------------


def find_notebooks(names: Sequence[str] = ()) -> list[Path]:
    """The numbered notebooks of the project in order, or those of the given names.

    Raises UsageError for a name that is not there, naming near ones.
    """
    folder = project_folder() / "notebooks"
    known = {path.stem: path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))}
    wanted = [Path(name).name.removesuffix(".ipynb") for name in names] or list(known)
    for name in wanted:
        if name not in known:
            raise UsageError(f"no notebook {name!r}; {nearest(name, known)}")
    return [known[name] for name in wanted]


def refresh_notebooks(
    names: Sequence[str] = (), *, force: bool = False, say: Say = print
) -> list[Path]:
    """Execute notebooks with their default parameters and store the outputs in them.

    names: which; none for all.  force: even where nothing changed since the stored outputs.
    A notebook's metadata say from which cells, library and weights its outputs come.

    Returns the notebooks that were written. Raises UsageError for a name that is not there,
    NotebookFailed if a cell raises; then the notebook stays as it was.
    """
    paths = find_notebooks(names)
    for path in carry_address(project_folder()):
        say(f"{path.name}: now with the address in pyproject.toml")
    written = [path for path in paths if refresh(path, force, say)]
    if carry_ledger(project_folder(), datetime.date.today().isoformat()):
        say("README.md: now with the ledger of the scoreboard")
    return written


def refresh(path: Path, force: bool, say: Say) -> bool:
    """Execute one notebook and store its outputs, unless they stand; tells whether it was written.

    Raises NotebookFailed if a cell raises.
    """
    before = nbformat.read(path, as_version=4)
    if not force and before.metadata.get(STAMP, {}).get("address") == notebook_address(before, {}):
        say(f"{path.stem}: its outputs stand")
        return False
    task, store = make_task(path, {}), cache_folder("cache")
    # Where there is no GPU, the default model is `mini`.
    engine = LocalEngine(store, 1, {"CUDA_VISIBLE_DEVICES": ""})
    (run,) = run_tasks([task], store, engine, again=force, say=say).values()
    if run.error is not None:
        raise NotebookFailed(f"{run.error}\nThe notebook, with all that it says: {run.executed}")
    if source_hash(nbformat.read(path, as_version=4)) != source_hash(before):
        say(f"{path.stem}: was edited while it ran; its outputs are not stored, run this again")
        return False
    fresh = nbformat.read(run.executed, as_version=4)
    clean_notebook(fresh, store)
    source, weights = code_hash(fresh), weights_hash()
    fresh.metadata[STAMP] = {"address": run.address, "source": source, "weights": weights}
    write_whole(path, nbformat.writes(fresh).encode())
    return True


def clean_notebook(notebook: Any, store: Path) -> None:
    """Take out, in place, what belongs to one machine or one moment.

    That is: widgets and their state (a static figure stands beside each), papermill's and the
    editor's timestamps, and the machine's folders in what cells print. `store` holds the folder
    that the notebook ran in.
    """
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        **ON_A_GPU,
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
                        part[key] = _without_folders(part[key], store)


def _without_folders(text: str, store: Path) -> str:
    """Text with this machine's folders shortened to what they are for."""
    text = re.sub(re.escape(str(store)) + r"/\.[\w.-]+", ".", text)
    short = {
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


def main() -> int:
    """Refresh what the command names; exit code 1 for a notebook that fails, 2 for a mistake."""
    parser = argparse.ArgumentParser(description="Re-execute notebooks, store their outputs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; none for all")
    parser.add_argument("--force", action="store_true", help="even where nothing changed")
    chosen = parser.parse_args()
    try:
        refresh_notebooks(chosen.names, force=chosen.force)
    except (UsageError, NotebookFailed) as problem:
        print(f"refresh: {problem}", file=sys.stderr)
        return 1 if isinstance(problem, NotebookFailed) else 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
