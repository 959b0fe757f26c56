"""The plan of a batch: what runs there are, and what is refused before any of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from squares import DRAW

from portraitlib.batch.batch import plan_batch, run_batch
from portraitlib.settings import UsageError


def test_every_combination_of_values_is_a_run(notebook):
    tasks = plan_batch([notebook], {"prompt": "5"}, {"seed": "1, 2", "strength": [0.1, 0.2, 0.3]})
    assert len(tasks) == len({task.name for task in tasks}) == 6
    assert [(t.parameters["seed"], t.parameters["strength"]) for t in tasks[:4]] == [
        *((1, 0.1), (1, 0.2), (1, 0.3), (2, 0.1))
    ]
    assert {task.parameters["prompt"] for task in tasks} == {"5"}, "a text stays a text"
    assert {task.parameters["output_dir"] for task in tasks} == {"results"}


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("prompt", "a man,  a woman", ["a man", "a woman"]),
        ("prompt", '"a man, smiling","a woman"', ["a man, smiling", "a woman"]),
        ("prompt", '["a man, smiling", "x"]', ["a man, smiling", "x"]),
        ("prompt", "[a man", ["[a man"]),
        ("fast", "true,False", [True, False]),
        ("names", '["a"],["b","c"]', [["a"], ["b", "c"]]),
        ("strength", "1,0.5", [1, 0.5]),
    ],
)
def test_texts_are_read_as_the_notebook_names_their_types(notebook, name, text, values):
    tasks = plan_batch([notebook], {}, {name: text})
    assert [task.parameters[name] for task in tasks] == values


REFUSED = {
    "did you mean seed": {"sede": "1"},
    "none of the notebooks has it": {"seed = 1; import os #": "1"},
    "expected int": {"seed": "many"},
    "from 0 to 4294967295": {"seed": "-1"},
    "from 0.001 to 1.0": {"strength": "1.5"},
    "from 0.0 to 2.0": {"scales": "[0.5, 3]"},
    "expected bool": {"fast": "1"},
    "expected list": {"names": "a"},
    "expected a folder within": {"output_dir": "/elsewhere"},
    "is not there": {"photos_dir": "no_such_folder"},
}


@pytest.mark.parametrize("words", REFUSED)
def test_wrong_parameters_are_refused_before_anything_runs(notebook, tmp_path, words):
    with pytest.raises(UsageError, match=words) as caught:
        run_batch([notebook], REFUSED[words], output=tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["../x", "a/../../b", "/x", "~/x"])
def test_results_stay_inside_the_folder_of_the_run(notebook, place):
    with pytest.raises(UsageError, match="output_dir"):
        plan_batch([notebook], {"output_dir": place})


@pytest.mark.parametrize(
    ("parameters", "vary", "words"),
    [
        ({"seed": 1}, {"seed": "1,2"}, "given once for all and varied"),
        ({}, {"seed": "1,1"}, "twice"),
        ({}, {"seed": []}, "no values"),
        ({}, {"seed": 3}, "expected a list"),
    ],
)
def test_wrong_lists_of_values_are_refused(notebook, parameters, vary, words):
    with pytest.raises(UsageError, match=words):
        plan_batch([notebook], parameters, vary)


def test_what_is_no_notebook_is_told(tmp_path, notebook):
    (tmp_path / "broken.ipynb").write_text("{")
    for path in (tmp_path / "broken.ipynb", tmp_path / "missing.ipynb", tmp_path):
        with pytest.raises(UsageError, match="cannot be read as a notebook"):
            plan_batch([path])
    with pytest.raises(UsageError, match="is there twice"):
        plan_batch([notebook, Path(os.path.relpath(notebook))])


def test_a_name_goes_to_the_notebooks_that_have_it(tmp_path, notebook, write_notebook):
    other = write_notebook(tmp_path / "02_other.ipynb", DRAW, parameters="seed: int = 0  # x")
    tasks = plan_batch([notebook, other], {"seed": "3"}, {"strength": "0.1,0.2"})
    assert [task.notebook.stem for task in tasks] == ["01_tiny", "01_tiny", "02_other"]
    assert tasks[2].parameters == {"seed": 3}


def test_photos_count_by_what_they_are(tmp_path, notebook, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (before,) = plan_batch([notebook], {"photos_dir": "photos"})
    assert before.parameters["photos_dir"] == str(tmp_path / "photos"), "for any folder"
    (tmp_path / "photos/me.png").write_bytes(b"x")
    (after,) = plan_batch([notebook], {"photos_dir": "photos"})
    assert after.address != before.address
