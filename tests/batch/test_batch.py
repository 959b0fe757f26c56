"""Running notebooks: what is checked before, kept after, and shown."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
import pytest
from PIL import Image

import portraitlib as pl
from portraitlib import places
from portraitlib.batch import notebook as notebooks
from portraitlib.batch import results, runs
from portraitlib.settings import UsageError


@pytest.fixture()
def store(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "store"
    monkeypatch.setenv("PORTRAITLIB_CACHE", str(folder))
    return folder


def small_series(project: Path, write_notebook) -> Path:
    """A project with a series of one tiny notebook, whose demo has the seed 0."""
    (project / "notebooks").mkdir(exist_ok=True)
    write_notebook(project / "notebooks/01_tiny.ipynb")
    (project / "notebooks/demo.toml").write_text("[01_tiny]\nseed = 0\n")
    return project


@pytest.fixture(scope="module")
def shown(tmp_path_factory, write_notebook):
    """A demo of one tiny notebook: its folder, its report, and what was said."""
    folder = tmp_path_factory.mktemp("shown")
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PORTRAITLIB_CACHE", str(folder / "store"))
        patch.setattr(runs, "project_folder", lambda: small_series(folder, write_notebook))
        report = runs.demo(folder / "demo", say=lines.append)
        again = runs.demo(folder / "demo", say=lines.append)
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
        notebooks.make_task(notebook, parameters)
    assert "01_tiny.ipynb" in str(caught.value)
    assert not store.exists()


def test_fitting_parameters_pass(tmp_path, write_notebook):
    notebook = write_notebook(tmp_path / "01_tiny.ipynb")
    notebooks.check_parameters(notebook, {"seed": 3, "scale": 2, "names": ["b"]})


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


def test_the_page_of_a_demo_links_only_to_files_beside_it(shown):
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


def test_a_demo_that_cannot_be_written_says_so_before_it_runs(tmp_path, store):
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(UsageError, match="cannot be written to"):
        runs.demo(tmp_path / "taken" / "demo")
    assert not store.exists()


def test_a_demo_that_fails_shows_the_cell_and_keeps_the_notebook(
    tmp_path, store, write_notebook, monkeypatch
):
    small_series(tmp_path, write_notebook)
    write_notebook(tmp_path / "notebooks/02_bad.ipynb", "x = 1", "raise ValueError('too red')")
    monkeypatch.setattr(runs, "project_folder", lambda: tmp_path)
    with pytest.raises(notebooks.NotebookFailed, match="02_bad, cell 4: ValueError: too red"):
        runs.demo(tmp_path / "demo", say=lambda line: None)
    assert "too red" in (tmp_path / "demo/02_bad.ipynb").read_text()
    assert (tmp_path / "demo/01_tiny/portrait-000.png").is_file(), "the others are run"
    assert "1 of 2 runs failed" in (tmp_path / "demo/index.html").read_text()


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


# --- what a notebook saves -----------------------------------------------------------------------


def test_results_replace_those_of_an_earlier_run(tmp_path):
    results.save_results(tmp_path, portraits_of(0, 1, 2), {})
    (tmp_path / "mine.png").write_bytes(b"the reader's own")
    results.save_results(tmp_path, portraits_of(7), {"spread": float("nan"), "pictures": 1})
    kept = results.read_results(tmp_path)
    assert [entry["recipe"]["seed"] for entry in kept["portraits"]] == [7]
    assert kept["figures"] == {"spread": None, "pictures": 1}
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["mine.png", "portrait-000.png"]
