"""What `make notebooks` does: outputs, and what derives from the one address in pyproject.toml."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest

from notebooks import refresh
from notebooks.refresh import (
    carry_address,
    carry_ledger,
    colab_link,
    notebook_badge,
    released_version,
    repository_address,
    stored_ledger,
    with_address,
)
from portraitlib import places
from portraitlib.batch.notebook import NotebookFailed
from portraitlib.settings import UsageError

ROOT = Path(__file__).parent.parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
ADDRESS, VERSION = repository_address(ROOT), released_version(ROOT)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_the_badge_and_installs_from_the_address(path):
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells]
    assert sum(notebook_badge(ADDRESS, path.stem) in cell for cell in cells) == 1
    (install,) = [cell for cell in cells if "pip install" in cell]
    assert f'git+{ADDRESS}@v{VERSION}"' in install


def test_the_readme_has_a_badge_for_every_notebook():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_address(text, ADDRESS, VERSION) == text
    for path in NOTEBOOKS:
        assert f"[![Open in Colab][colab]]({colab_link(ADDRESS, path.stem)})" in text, path.stem


def test_a_fork_changes_one_line(tmp_path):
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    shutil.copy(ROOT / "README.md", tmp_path)
    fork = "https://github.com/some-one/their.fork"
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(text.replace(ADDRESS, fork), encoding="utf-8")
    changed = carry_address(tmp_path)
    assert {path.name for path in changed} >= {"README.md", *(path.name for path in NOTEBOOKS)}
    assert carry_address(tmp_path) == []
    for path in changed:
        after = path.read_text(encoding="utf-8")
        assert ADDRESS.removeprefix("https://") not in after
        before = (ROOT / path.relative_to(tmp_path)).read_text(encoding="utf-8")
        assert with_address(after, ADDRESS, VERSION) == before, "nothing else is touched"


@pytest.mark.parametrize("url", ["", 'Repository = "https://example.org/x/y"'])
def test_an_address_that_colab_cannot_open_is_refused(tmp_path, url):
    (tmp_path / "pyproject.toml").write_text(f"[project.urls]\n{url}\n")
    with pytest.raises(UsageError, match="Repository"):
        repository_address(tmp_path)


# --- the ledger ----------------------------------------------------------------------------------


def test_the_readme_tells_the_ledger_as_the_scoreboard_measured_it():
    table = stored_ledger(ROOT)
    assert table is not None and table in (ROOT / "README.md").read_text(encoding="utf-8")


def test_a_new_ledger_takes_the_place_of_the_old_one_and_touches_nothing_else(tmp_path):
    (tmp_path / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks" / "08_scoreboard.ipynb", tmp_path / "notebooks")
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- ledger -->\nold\n<!-- end of the ledger -->\nafter\n")
    assert carry_ledger(tmp_path, "2026-11-23")
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("before\n<!-- ledger -->\nMeasured with `mini`, 2026-11-23:\n\n| the ")
    assert text.endswith("|\n<!-- end of the ledger -->\nafter\n") and "old" not in text
    assert not carry_ledger(tmp_path, "2026-11-24"), "the same ledger keeps its date"


def test_where_no_ledger_was_measured_the_readme_stays(tmp_path):
    (tmp_path / "README.md").write_text("<!-- ledger -->\n<!-- end of the ledger -->\n")
    assert not carry_ledger(tmp_path, "2026-11-23")


# --- the outputs ----------------------------------------------------------------------------------


def test_refreshed_notebooks_hold_clean_outputs_and_then_stand(
    tmp_path, write_notebook, monkeypatch
):
    (tmp_path / "notebooks").mkdir()
    notebook = write_notebook(
        tmp_path / "notebooks/01_tiny.ipynb", "import os; print('in', os.getcwd())"
    )
    monkeypatch.setattr(refresh, "project_folder", lambda: tmp_path)
    monkeypatch.setenv("PORTRAITLIB_CACHE", str(tmp_path / "store"))
    before = nbformat.read(notebook, as_version=4)
    assert refresh.refresh_notebooks(say=lambda line: None) == [notebook]
    node = nbformat.read(notebook, as_version=4)
    assert places.source_hash(node) == places.source_hash(before)
    assert [cell.id for cell in node.cells] == [cell.id for cell in before.cells]
    assert node.cells[2].outputs[0].text == "in .\n"
    assert node.metadata["portraitlib"]["source"] == places.code_hash(node)
    text = notebook.read_text()
    assert "papermill" not in text and str(tmp_path) not in text
    assert refresh.refresh_notebooks(say=lambda line: None) == []
    with pytest.raises(UsageError, match="did you mean 01_tiny"):
        refresh.refresh_notebooks(["01_tinny"])


def test_a_notebook_that_fails_stays_as_it_was(tmp_path, write_notebook, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    notebook = write_notebook(tmp_path / "notebooks/01_tiny.ipynb", "raise ValueError('too red')")
    before = notebook.read_bytes()
    monkeypatch.setattr(refresh, "project_folder", lambda: tmp_path)
    monkeypatch.setenv("PORTRAITLIB_CACHE", str(tmp_path / "store"))
    with pytest.raises(NotebookFailed, match="01_tiny, cell 2: ValueError: too red"):
        refresh.refresh_notebooks(say=lambda line: None)
    assert notebook.read_bytes() == before


def test_widgets_do_not_stay_in_a_notebook(tmp_path):
    view = nbformat.v4.new_output("display_data", {refresh.WIDGET: {"model_id": "1"}})
    figure = nbformat.v4.new_output("display_data", {"image/png": "", "text/plain": "<figure>"})
    cell = nbformat.v4.new_code_cell("x", outputs=[view, figure])
    node = nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {"state": {}}})
    refresh.clean_notebook(node, tmp_path)
    assert node.cells[0].outputs == [figure] and "widgets" not in node.metadata
