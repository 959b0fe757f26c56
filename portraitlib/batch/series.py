"""The notebooks of the series together: the demo, batches, and the outputs stored in them."""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from portraitlib.batch.engines import LocalEngine
from portraitlib.batch.execute import (
    NotebookFailed,
    Say,
    environment,
    execute,
    store_folder,
)
from portraitlib.batch.gallery import save_results
from portraitlib.batch.repository import carry_address, carry_ledger
from portraitlib.batch.runs import describe_run, run_batch, run_tasks, write_report
from portraitlib.batch.tasks import Execution, make_task, near
from portraitlib.places import notebook_address, project_folder, source_hash, weights_hash
from portraitlib.portrait import check_writable, write_whole
from portraitlib.settings import UsageError

__all__ = [
    "DEMO",
    "NotebookFailed",
    "demo",
    "find_notebooks",
    "refresh_notebooks",
    "run_batch",
    "save_results",
]

# Notebook -> the parameters with which the whole series runs in minutes on two cores.
DEMO: dict[str, dict[str, Any]] = {
    "01_text_to_image": {
        "model_name": "mini",
        "num_images": 1,
        "num_people": 6,
        "step_counts": [2, 8, 32],
        "guidance_scales": [1.0, 4.0, 12.0],
    },
    "02_image_to_image": {
        "model_name": "mini",
        "num_images": 2,
        "num_seeds": 2,
        "strengths": [0.3, 0.6, 0.9],
    },
    "03_dreambooth": {
        "model_name": "mini",
        "num_images": 4,
        "max_train_steps": 80,
        "watch_every": 20,
        "too_long": 2,
    },
    "04_class_images": {
        "model_name": "mini",
        "num_images": 4,
        "num_class_images": 16,
        "max_train_steps": 80,
        "experiment_steps": 30,
        "num_trainings": 2,
        "epoch_factors": [1, 4],
        "first_steps": 15,
        "class_image_counts": [6, 16],
        "prior_loss_weights": [1.0, 5.0],
    },
    "05_styles": {
        "model_name": "mini",
        "num_images": 4,
        "num_class_images": 16,
        "max_train_steps": 80,
        "style_steps": 40,
        "adapter_scales": [0.6, 1.0],
    },
    "06_controlnet": {
        "model_name": "mini",
        "num_images": 2,
        "num_seeds": 2,
        "step_counts": [5, 10, 20],
        "scales": [0.0, 0.5, 1.0],
        "ends": [0.5, 1.0],
    },
    "07_retouch": {
        "model_name": "mini",
        "num_images": 2,
        "num_class_images": 16,
        "max_train_steps": 80,
        "strengths": [0.3, 1.0],
    },
    "08_scoreboard": {
        "model_name": "mini",
        "num_images": 2,
        "num_class_images": 16,
        "max_train_steps": 80,
        "style_steps": 40,
    },
    "09_studio": {"model_name": "mini", "num_images": 2},
}

STAMP = "portraitlib"  # the key of a notebook's metadata that says where its outputs come from


def find_notebooks(names: Sequence[str] = ()) -> list[Path]:
    """The numbered notebooks of the project in order, or those of the given names.

    Raises UsageError for a name that is not there, naming near ones.
    """
    folder = project_folder() / "notebooks"
    found = {path.stem: path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))}
    if not found:
        raise UsageError(
            f"{folder}: no notebooks here; run this in a checkout of the project, they are not "
            "part of the installed package"
        )
    wanted = [Path(name).name.removesuffix(".ipynb") for name in names] or list(found)
    for name in wanted:
        if name not in found:
            raise UsageError(f"no notebook {name!r}; {near(name, found)}")
    return [found[name] for name in wanted]


# --- the demo ------------------------------------------------------------------------------------


def demo(
    output: str | os.PathLike[str] = "runs/demo",
    *,
    plan: Mapping[Path, Mapping[str, Any]] | None = None,
    say: Say = print,
) -> dict[str, Any]:
    """Run every notebook of the series with small settings and lay out what they made.

    output: gets the executed notebooks, a folder of portraits (PNG) beside each, `index.html`
        (a gallery that opens from the disk) and `report.json`, which is also returned: for each
        notebook the seconds, the number of pictures and the figures measured.
    plan: notebook -> parameters; None for the series as `DEMO` has it.

    Raises UsageError if `output` cannot be written to or a parameter does not exist, and
    NotebookFailed if a cell raises; the other notebooks are run nevertheless.
    """
    folder = Path(output).expanduser().absolute()
    check_writable(folder)
    chosen = plan or {path: DEMO.get(path.stem, {}) for path in find_notebooks()}
    tasks = [make_task(path, {**own, "output_dir": path.stem}) for path, own in chosen.items()]
    with contextlib.closing(LocalEngine(store_folder())) as engine:
        runs = run_tasks(tasks, store_folder(), engine, say=say)
    for run in runs:
        _copy(run, folder)
    # The gallery finds the portraits of a run in `folder`, its notebook in `file`.
    rows = [{**describe_run(r), "folder": r.notebook.stem, "file": r.notebook.name} for r in runs]
    report = write_report(folder, rows)
    failed = [run for run in runs if run.error is not None]
    if failed:
        raise NotebookFailed(
            f"{failed[0].error}\nThe notebook, with all that it says: "
            f"{folder / failed[0].notebook.name}"
        )
    pictures = sum(row["pictures"] for row in rows)
    say(f"{pictures} pictures from {len(rows)} notebooks: open {folder / 'index.html'}")
    return report


def _copy(run: Execution, folder: Path) -> None:
    """Copy an executed notebook and its portraits to `folder`."""
    write_whole(folder / run.notebook.name, run.executed.read_bytes())
    shutil.rmtree(folder / run.notebook.stem, ignore_errors=True)
    if run.results is not None:
        shutil.copytree(run.results, folder / run.notebook.stem)


# --- the stored outputs --------------------------------------------------------------------------


def refresh_notebooks(
    names: Sequence[str] = (), *, force: bool = False, say: Say = print
) -> list[Path]:
    """Execute notebooks with their default parameters and store the outputs in them.

    names: which; none for all.  force: even where nothing changed since the stored outputs.
    A notebook's metadata say from which cells, library and weights its outputs come.

    Returns the notebooks that were written. Raises UsageError for a name that is not there,
    NotebookFailed if a cell raises; then the notebook stays as it was.
    """
    import nbformat

    written = []
    for path in carry_address(project_folder()):
        say(f"{path.name}: now with the address in pyproject.toml")
    for path in find_notebooks(names):
        node = nbformat.read(path, as_version=4)
        if not force and node.metadata.get(STAMP, {}).get("address") == notebook_address(node, {}):
            say(f"{path.stem}: its outputs stand")
            continue
        with environment(CUDA_VISIBLE_DEVICES=""):  # where there is no GPU, the default is `mini`
            run = execute(path, {}, again=force, say=say)
        if source_hash(nbformat.read(path, as_version=4)) != source_hash(node):
            say(f"{path.stem}: was edited while it ran; its outputs are not stored, run this again")
            continue
        fresh = nbformat.read(run.executed, as_version=4)
        fresh.metadata[STAMP] = {
            "address": run.address,
            "source": source_hash(fresh),
            "weights": weights_hash(),
        }
        write_whole(path, nbformat.writes(fresh).encode())
        written.append(path)
    if carry_ledger(project_folder(), datetime.date.today().isoformat()):
        say("README.md: now with the ledger of the scoreboard")
    return written
