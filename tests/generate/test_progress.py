"""A line of progress: one that changes where there is a reader, few where there is none."""

from __future__ import annotations

import io

import nbformat
import papermill
import pytest

import portraitlib as pl
from portraitlib.training.checkpoints import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def training(step: int) -> Progress:
    return Progress(step, 100, 0.5, 2.0 * step, 2.0 * (100 - step), {"likeness": 0.42})


def test_into_a_file_it_writes_some_twenty_lines_with_the_seconds_left():
    file = io.StringIO()
    report = pl.print_progress(file=file)
    for step in range(1, 101):
        report(training(step))
    lines = file.getvalue().splitlines()
    assert 18 <= len(lines) <= 21
    assert lines[-1] == "step 100 of 100, loss 0.5000, 200 s, 0 s left, likeness 0.42"
    assert "\r" not in file.getvalue()


def test_in_a_terminal_it_is_one_line():
    file = Terminal()
    report = pl.print_progress("class images", file=file)
    for step in range(1, 9):
        report(step, 8)
    assert file.getvalue().count("\n") == 1 and file.getvalue().endswith("\n")
    assert file.getvalue().split("\r")[-1].startswith("class images: step 8 of 8, 0 s, 0 s left")


def test_a_second_call_begins_anew():
    file = io.StringIO()
    report = pl.print_progress(file=file)
    for _ in range(2):
        for step in (1, 2):
            report(step, 2)
    assert [line.split(",")[0] for line in file.getvalue().splitlines()] == [
        "step 1 of 2",
        "step 2 of 2",
    ] * 2


def test_forgotten_parentheses_are_told():
    with pytest.raises(pl.UsageError, match=r"try on_step=print_progress\(\)"):
        pl.print_progress(training(1))


def test_a_notebook_that_papermill_runs_keeps_one_line_and_no_widget(tmp_path, write_notebook):
    cell = """\
import time
import portraitlib as pl
report = pl.print_progress()
for step in range(1, 6):
    report(step, 5)
    time.sleep(0.3)
"""
    path = write_notebook(tmp_path / "01_line.ipynb", cell)
    papermill.execute_notebook(path, tmp_path / "done.ipynb", progress_bar=False)
    done = nbformat.read(tmp_path / "done.ipynb", as_version=4)
    (output,) = done.cells[-1].outputs
    assert output.output_type == "display_data"
    assert output.data["text/plain"].startswith("step 5 of 5")
    assert "widgets" not in done.metadata
