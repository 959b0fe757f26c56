"""Running notebooks: what is checked before, kept after, and shown."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import nbformat
import pytest
from PIL import Image
from processes import is_running, wait_for

import portraitlib as pl
from portraitlib import places
from portraitlib.batch import execute, gallery, series, tasks
from portraitlib.settings import UsageError

SLEEP = """
import os, pathlib, time
pathlib.Path({pid!r}).write_text(str(os.getpid()))
time.sleep(60)
"""
INTERRUPTED = """
import pathlib
from portraitlib.batch.execute import execute
execute(pathlib.Path({notebook!r}), {{}})
"""


@pytest.fixture()
def store(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "store"
    monkeypatch.setenv("PORTRAITLIB_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def shown(tmp_path_factory, write_notebook):
    """A demo of one tiny notebook: its folder, its report, and what was said."""
    folder = tmp_path_factory.mktemp("shown")
    notebook = write_notebook(folder / "01_tiny.ipynb")
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PORTRAITLIB_CACHE", str(folder / "store"))
        plan = {notebook: {"seed": 0}}
        report = series.demo(folder / "demo", plan=plan, say=lines.append)
        again = series.demo(folder / "demo", plan=plan, say=lines.append)
    return folder / "demo", report, again, lines


def portraits_of(*seeds: int) -> list[pl.Portrait]:
    return [pl.Portrait(Image.new("RGB", (8, 8)), {"prompt": "x", "seed": seed}) for seed in seeds]


# --- parameters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"sed": 1}, "did you mean seed"),
        ({"seed = 1; import os #": 1}, "no such parameter"),
        ({"seed": "1"}, "expected int"),
        ({"seed": True}, "expected int"),
        ({"seed": 1.5}, "expected int"),
        ({"scale": "big"}, "expected float"),
        ({"names": "a"}, "expected list"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_runs(
    tmp_path, store, write_notebook, parameters, words
):
    notebook = write_notebook(tmp_path / "01_tiny.ipynb")
    with pytest.raises(UsageError, match=words) as caught:
        execute.execute(notebook, parameters)
    assert "01_tiny.ipynb" in str(caught.value)
    assert not store.exists()


def test_fitting_parameters_pass(tmp_path, write_notebook):
    notebook = write_notebook(tmp_path / "01_tiny.ipynb")
    tasks.check_parameters(notebook, {"seed": 3, "scale": 2, "names": ["b"]})


# --- the demo ------------------------------------------------------------------------------------


def test_the_demo_lays_out_notebooks_portraits_and_report(shown):
    folder, report, _, _ = shown
    portrait = pl.Portrait.open(folder / "01_tiny/portrait-000.png")
    assert portrait.image.getpixel((0, 0)) == (0, 0, 0), "seed 0, which is not the default"
    (row,) = report["notebooks"]
    assert row["pictures"] == 1 and row["figures"] == {"number (of things)": 3.5}
    assert row["duration_s"] > 0 and row["title"] == "1. Squares"
    assert json.loads((folder / "report.json").read_text())["notebooks"][0]["address"]
    executed = nbformat.read(folder / "01_tiny.ipynb", as_version=4)
    assert [c.execution_count for c in executed.cells if c.cell_type == "code"] == [1, 2, 3]


def test_the_gallery_links_only_to_files_beside_it(shown):
    folder, *_ = shown
    page = (folder / "index.html").read_text()
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert "01_tiny/portrait-000.png" in links
    assert all((folder / link).is_file() for link in links)
    assert "a &lt;red&gt; square" in page and "Why squares at all?" in page
    assert "seed 0 · 4 steps" in page
    assert "<script" not in page and "http" not in page


def test_a_second_demo_runs_nothing(shown):
    _, report, again, lines = shown
    assert not report["notebooks"][0]["reused"] and again["notebooks"][0]["reused"]
    assert again["notebooks"][0]["figures"] == report["notebooks"][0]["figures"]
    assert any("stands" in line for line in lines)


def test_a_demo_that_cannot_be_written_says_so_before_it_runs(tmp_path, store, write_notebook):
    (tmp_path / "taken").write_text("a file, not a folder")
    plan = {write_notebook(tmp_path / "01_tiny.ipynb"): {}}
    with pytest.raises(UsageError, match="cannot be written to"):
        series.demo(tmp_path / "taken" / "demo", plan=plan)
    assert not store.exists()


# --- what stands, and what does not --------------------------------------------------------------


def test_the_address_follows_cells_and_parameters_but_not_outputs(tmp_path, write_notebook):
    node = nbformat.read(write_notebook(tmp_path / "01_tiny.ipynb"), as_version=4)
    first = places.notebook_address(node, {"seed": 1})
    assert first != places.notebook_address(node, {"seed": 2})
    node.cells[1].execution_count = 5
    node.metadata["anything"] = 1
    assert first == places.notebook_address(node, {"seed": 1})
    node.cells[2].source += "\n"
    assert first != places.notebook_address(node, {"seed": 1})


def test_a_failing_cell_is_named_and_leaves_nothing(tmp_path, store, write_notebook):
    notebook = write_notebook(tmp_path / "01_tiny.ipynb", "x = 1", "raise ValueError('too red')")
    with pytest.raises(series.NotebookFailed, match="01_tiny, cell 3: ValueError: too red"):
        execute.execute(notebook, {})
    assert list(store.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_control_c_leaves_no_folder_and_no_kernel(tmp_path, store, write_notebook):
    pid_file = tmp_path / "pid"
    notebook = write_notebook(tmp_path / "01_tiny.ipynb", SLEEP.format(pid=str(pid_file)))
    code = INTERRUPTED.format(notebook=str(notebook))
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stderr=subprocess.DEVNULL,
        # A shell starts what it puts in the background with SIGINT ignored, tests too.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    wait_for(pid_file.is_file)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) != 0
    assert list(store.iterdir()) == []
    wait_for(lambda: not is_running(int(pid_file.read_text())))


def test_refreshed_notebooks_hold_clean_outputs_and_then_stand(
    tmp_path, store, write_notebook, monkeypatch
):
    (tmp_path / "notebooks").mkdir()
    notebook = write_notebook(
        tmp_path / "notebooks/01_tiny.ipynb", "import os; print('in', os.getcwd())"
    )
    monkeypatch.setattr(series, "project_folder", lambda: tmp_path)
    before = nbformat.read(notebook, as_version=4)
    assert series.refresh_notebooks(say=lambda line: None) == [notebook]
    node = nbformat.read(notebook, as_version=4)
    assert places.source_hash(node) == places.source_hash(before)
    assert [cell.id for cell in node.cells] == [cell.id for cell in before.cells]
    assert node.cells[2].outputs[0].text == "in .\n"
    assert node.metadata["portraitlib"]["source"] == places.source_hash(node)
    text = notebook.read_text()
    assert "papermill" not in text and str(tmp_path) not in text
    assert series.refresh_notebooks(say=lambda line: None) == []
    with pytest.raises(UsageError, match="did you mean 01_tiny"):
        series.refresh_notebooks(["01_tinny"])


def test_widgets_do_not_stay_in_a_notebook(tmp_path):
    view = nbformat.v4.new_output("display_data", {execute.WIDGET: {"model_id": "1"}})
    figure = nbformat.v4.new_output("display_data", {"image/png": "", "text/plain": "<figure>"})
    cell = nbformat.v4.new_code_cell("x", outputs=[view, figure])
    node = nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {"state": {}}})
    execute.clean_notebook(node, tmp_path)
    assert node.cells[0].outputs == [figure] and "widgets" not in node.metadata


# --- what a notebook saves -----------------------------------------------------------------------


def test_results_replace_those_of_an_earlier_run(tmp_path):
    series.save_results(tmp_path, portraits_of(0, 1, 2), {})
    (tmp_path / "mine.png").write_bytes(b"the reader's own")
    series.save_results(tmp_path, portraits_of(7), {"spread": float("nan"), "pictures": 1})
    results = gallery.read_results(tmp_path)
    assert [entry["recipe"]["seed"] for entry in results["portraits"]] == [7]
    assert results["figures"] == {"spread": None, "pictures": 1}
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["mine.png", "portrait-000.png"]
