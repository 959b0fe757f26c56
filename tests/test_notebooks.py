"""The notebooks of the series keep their template, and their outputs belong to their code."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import nbformat
import papermill
import pytest

from notebooks import refresh
from portraitlib import places
from portraitlib.batch import notebook, runs
from portraitlib.batch.results import opening_words
from portraitlib.models.presets import PRESETS

FOLDER = Path(__file__).parent.parent / "notebooks"
DEMO = tomllib.loads((FOLDER / "demo.toml").read_text(encoding="utf-8"))
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("[0-9][0-9]_*.ipynb"))
each_notebook = pytest.mark.parametrize("name", NOTEBOOKS)

# Places of somebody's machine; /content is Colab's.
MACHINE_PATH = re.compile(
    r"(?<![\w.:/~-])/(?:home|root|Users|tmp|var|opt|usr|mnt|work|workspace|content)/\S+|[A-Z]:\\\\"
)


@cache
def read(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(name: str) -> list[Any]:
    return [cell for cell in read(name).cells if cell.cell_type == "code" and cell.source.strip()]


def prose(name: str) -> list[str]:
    return [cell.source for cell in read(name).cells if cell.cell_type == "markdown"]


def python_of(cell: Any) -> ast.Module:
    """The Python of a cell, its magics and shell lines left out."""
    lines = [re.sub(r"^(\s*)[%!].*", r"\1pass", line) for line in cell.source.splitlines()]
    return ast.parse("\n".join(lines))


def outputs_text(name: str) -> list[str]:
    texts = []
    for cell in code_cells(name):
        for output in cell.outputs:
            data = output.get("data", {})
            texts += [output.get("text", "")]
            texts += [value for kind, value in data.items() if kind.startswith("text/")]
    return texts


def shows_picture(cell: Any) -> bool:
    return cell.cell_type == "code" and any(
        kind.startswith("image/") for output in cell.outputs for kind in output.get("data", {})
    )


# --- the template --------------------------------------------------------------------------------


@each_notebook
def test_it_opens_with_a_title_a_badge_and_a_reason(name):
    nbformat.validate(read(name))
    title, why = opening_words(read(name))
    assert title != "Untitled" and len(why.split()) >= 10
    assert any("colab.research.google.com" in text for text in prose(name)[:2])


@each_notebook
def test_the_install_cell_acts_in_colab_only_and_leaves_torch_alone(name):
    installs = [cell for cell in code_cells(name) if "pip install" in cell.source]
    assert len(installs) == 1 and "google.colab" in installs[0].source
    assert not re.search(r"pip install[^\n]*\btorch\b", installs[0].source)


@each_notebook
def test_one_parameters_cell_says_name_type_value_and_meaning(name):
    (cell,) = [c for c in code_cells(name) if "parameters" in c.metadata.get("tags", [])]
    lines = cell.source.splitlines()
    for node in python_of(cell).body:
        assert isinstance(node, ast.AnnAssign) and node.value is not None, ast.unparse(node)
        ast.literal_eval(node.value)  # no derived values
        assert any("#" in line for line in lines[node.lineno - 1 : node.end_lineno])


@each_notebook
def test_papermill_sees_every_parameter(name):
    (cell,) = [c for c in code_cells(name) if "parameters" in c.metadata.get("tags", [])]
    written = {ast.unparse(node.target) for node in python_of(cell).body}
    # It reads neither `str | None` nor Optional without an import: write `name: str = None`.
    assert set(papermill.inspect_notebook(FOLDER / f"{name}.ipynb")) == written


@each_notebook
def test_cells_are_short_and_define_little(name):
    lengths = [len(cell.source.splitlines()) for cell in code_cells(name)]
    settings = next(c for c in code_cells(name) if "parameters" in c.metadata.get("tags", []))
    others = [cell for cell in code_cells(name) if cell is not settings]
    assert median(lengths) <= 6
    assert max(len(cell.source.splitlines()) for cell in others) <= 25
    assert len(settings.source.splitlines()) <= 30, "a line for each setting, and not too many"
    for cell in code_cells(name):
        for node in ast.walk(python_of(cell)):
            assert not isinstance(node, ast.ClassDef)
            if isinstance(node, ast.FunctionDef):
                assert (node.end_lineno or 0) - node.lineno < 10, f"{node.name} belongs elsewhere"


@each_notebook
def test_prose_stands_between_pictures(name):
    cells = read(name).cells
    pictured = [index for index, cell in enumerate(cells) if shows_picture(cell)]
    assert pictured
    for first, second in zip(pictured, pictured[1:], strict=False):
        between = [cell.cell_type for cell in cells[first + 1 : second]]
        assert "markdown" in between, f"cells {first} and {second}"


@each_notebook
def test_it_ends_with_results_and_next(name):
    headings = re.findall(r"^#+ +(?:\d+\. *)?(\w+)", "\n".join(prose(name)), flags=re.MULTILINE)
    assert headings[-2:] == ["Results", "Next"]


# --- the stored outputs --------------------------------------------------------------------------


@each_notebook
def test_outputs_are_whole_and_in_order(name):
    counts = [cell.execution_count for cell in code_cells(name)]
    assert counts == list(range(1, len(counts) + 1))
    kinds = {output.output_type for cell in code_cells(name) for output in cell.outputs}
    assert "error" not in kinds


@each_notebook
def test_outputs_hold_nothing_of_one_machine_or_moment(name):
    text = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    assert len(text.encode()) <= 1_000_000
    assert refresh.WIDGET not in text and "widgets" not in read(name).metadata
    assert "papermill" not in read(name).metadata and "iopub" not in text
    found = [match.group() for out in outputs_text(name) for match in MACHINE_PATH.finditer(out)]
    assert not found


@each_notebook
def test_outputs_belong_to_the_code_beside_them(name):
    stamp = read(name).metadata.get(refresh.STAMP, {})
    assert stamp.get("source") == places.code_hash(read(name)), "run `make notebooks`"
    assert stamp.get("weights") == places.weights_hash(), "new weights: run `make notebooks`"


@each_notebook
def test_colab_opens_it_on_a_gpu(name):
    said = {key: read(name).metadata.get(key) for key in refresh.ON_A_GPU}
    assert said == {"accelerator": "GPU", "colab": {"gpuType": "T4"}}


@each_notebook
def test_outputs_are_those_of_the_embedded_model(name):
    assert any("mini on cpu" in text for text in outputs_text(name))


# --- running -------------------------------------------------------------------------------------


@each_notebook
def test_the_demo_knows_the_notebook_and_its_parameters(name):
    parameters = {**DEMO[name], "output_dir": "results"}
    notebook.check_parameters(FOLDER / f"{name}.ipynb", parameters)


def test_what_a_model_has_time_for_is_taken_where_a_parameter_is_none():
    mini, sdxl = (PRESETS[name].experiment for name in ("mini", "sdxl"))
    assert mini.keys() == sdxl.keys()
    taken: set[str] = set()
    for name in NOTEBOOKS:
        parameters = papermill.inspect_notebook(FOLDER / f"{name}.ipynb")
        code = "\n".join(cell.source for cell in code_cells(name))
        for parameter, key in re.findall(
            r"(\w+) or (?:model\.preset\.)?experiment\[\"(\w+)\"\]", code
        ):
            assert parameters[parameter]["default"] == "None", (name, parameter)
            for experiment in (mini, sdxl):
                given = {parameter: experiment[key]}
                notebook.check_parameters(FOLDER / f"{name}.ipynb", given)
            taken.add(key)
    assert taken == set(sdxl)


def test_the_minutes_on_a_t4_are_those_of_the_notebooks():
    text = (FOLDER.parent / "docs" / "colab.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d\d_\w+) \| (\d+) \|", text, re.MULTILINE))
    assert list(rows) == [name for name in NOTEBOOKS if name != "09_studio"]
    for name, minutes in rows.items():
        assert int(minutes) <= 90
        assert f"about {minutes} minutes on a T4" in prose(name)[0], name


@pytest.mark.slow
def test_the_series_runs_from_top_to_bottom(tmp_path):
    if not NOTEBOOKS:
        pytest.skip("no notebooks yet")
    report = runs.demo(tmp_path / "demo", jobs=2)
    assert [row["notebook"] for row in report["notebooks"]] == NOTEBOOKS
    for row in report["notebooks"]:
        assert row["pictures"] > 0 and row["figures"], row["notebook"]
        assert (
            len(list((tmp_path / "demo" / row["notebook"]).glob("portrait-*.png")))
            == row["pictures"]
        )
