"""Batches: what becomes of runs that fail, are killed, are stopped or cost too much."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import nbformat
import pytest
from processes import is_running, wait_for
from squares import DRAW, PARAMETERS, quiet

import portraitlib as pl
from portraitlib import cli, cost
from portraitlib.batch import batch as runs
from portraitlib.places import hold_lock
from portraitlib.settings import UsageError

# Three raise; one kills the process that runs it, if that was not done before.
TROUBLE = """\
import os, signal, time
from pathlib import Path
if seed in (2, 5, 8):
    raise ValueError(f"no colour {{seed}}")
mark = Path({mark!r})
if seed == 7 and not mark.exists():
    mark.touch()
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
"""
SLEEP = """\
import os, time
from pathlib import Path
Path({pid!r}).write_text(str(os.getpid()))
time.sleep(60 if seed == 2 and not Path({go!r}).exists() else 0)
"""


def files(folder: Path) -> dict[str, bytes]:
    """The files of the runs; the bytes of the pictures."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.suffix == ".png" else b""
        for path in found
    }


@pytest.fixture(scope="module")
def troubled(tmp_path_factory, write_notebook):
    """Ten runs, 3 raise and 1 kills its worker: a function engine -> first, second batch."""
    folder = tmp_path_factory.mktemp("troubled")
    mark = folder / "mark"
    cells = [TROUBLE.format(mark=str(mark)), DRAW]
    notebook = write_notebook(folder / "01_tiny.ipynb", *cells, parameters=PARAMETERS)

    def run(engine: str):
        mark.unlink(missing_ok=True)
        out = folder / engine

        def once() -> runs.Batch:
            vary = {"seed": list(range(10))}
            return runs.run_batch(
                [notebook], {}, vary=vary, output=out, engine=engine, jobs=4, say=quiet
            )

        return once(), once()

    return run


def needs_ray(engine: str) -> None:
    if engine == "ray" and importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")


@pytest.fixture(scope="module")
def local(troubled):
    return troubled("local")


@pytest.fixture(scope="module")
def ray(troubled):
    needs_ray("ray")
    return troubled("ray")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_the_others_finish_whatever_fails_or_is_killed(engine, request):
    needs_ray(engine)
    first, again = request.getfixturevalue(engine)
    assert len(first.runs) == 10 and not first.missing
    assert [run.parameters["seed"] for run in first.failed] == [2, 5, 8]
    # On a busy machine a kernel may find its port taken, which is a lost worker too.
    again_tried = [run.parameters["seed"] for run in first.runs if run.attempts == 2]
    assert 7 in again_tried and not {2, 5, 8} & set(again_tried)
    assert f"7 done, {len(again_tried)} on a second try, 3 failed" in str(first)
    for run in first.failed:
        assert "ValueError: no colour" in run.error
        text = run.executed.read_text()
        assert "no colour" in text and "An Exception was encountered at" in text
    for run in first.runs:
        if run.error is None:
            portrait = pl.Portrait.open(run.folder / "results/portrait-000.png")
            assert portrait.image.getpixel((0, 0)) == (run.parameters["seed"], 0, 0)
    ran = [run.parameters["seed"] for run in again.runs if not run.reused]
    assert ran == [2, 5, 8], "only what failed is run again"
    folders = [path for path in first.folder.iterdir() if path.is_dir()]
    assert len(folders) == 10 and not [path for path in folders if path.name[0] == "."]


@pytest.mark.slow
def test_ray_leaves_the_same_files_as_this_machine_alone(local, ray):
    assert files(local[0].folder) == files(ray[0].folder)


def test_a_worker_that_is_lost_each_time_is_a_failed_run(tmp_path, write_notebook):
    cells = [
        "x = 1",
        "import os, signal, time; os.kill(os.getppid(), signal.SIGKILL); time.sleep(9)",
    ]
    notebook = write_notebook(tmp_path / "01_tiny.ipynb", *cells, parameters=PARAMETERS)
    said: list[str] = []
    done = runs.run_batch([notebook], output=tmp_path / "out", say=said.append)
    (run,) = done.failed
    assert run.attempts == 2 and "signal 9" in run.error and run.executed.is_file()
    counts = [c.get("execution_count") for c in nbformat.read(run.executed, as_version=4).cells]
    assert 2 in counts, "it shows how far it came"
    assert "FAILED" in said[-1]
    assert {path.name for path in done.folder.iterdir()} == {
        *(run.folder.name, "index.html", "report.json", ".lock")
    }


def test_two_batches_do_not_share_a_folder_at_a_time(tmp_path, notebook):
    (tmp_path / "out").mkdir()
    with hold_lock(tmp_path / "out", "batch"), pytest.raises(UsageError, match="another batch"):
        runs.run_batch([notebook], output=tmp_path / "out", say=quiet)


def test_a_spent_budget_starts_nothing_more(tmp_path, notebook, monkeypatch):
    dear = cost.Rate("cpu", 3600.0, "2026-11-01", "a dollar a second")
    monkeypatch.setitem(cost.RATES, "cpu", dear)
    said: list[str] = []
    done = runs.run_batch(
        [notebook],
        vary={"seed": [1, 2]},
        output=tmp_path / "out",
        budget=cost.Budget(dollars=0.01),
        say=said.append,
    )
    assert len(done.runs) == len(done.missing) == 1 and done.spent.dollars > 0.01
    assert "1 not run" in str(done) and any("the budget of $0.01" in line for line in said)
    with pytest.raises(UsageError, match="no rate is known"):
        runs.run_batch([notebook], output=tmp_path / "out", device="H100", say=quiet)


BATCH = [sys.executable, "-m", "portraitlib.cli", "batch"]


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_batch_that_is_stopped_leaves_nothing_running_and_goes_on(tmp_path, write_notebook, how):
    pid_file, go = tmp_path / "pid", tmp_path / "go"
    cell = SLEEP.format(pid=str(pid_file), go=str(go))
    notebook = write_notebook(tmp_path / "01_tiny.ipynb", cell, DRAW, parameters=PARAMETERS)
    command = [*BATCH, str(notebook), "--vary", "seed=1,2,3", "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    finished = tmp_path / "out"
    wait_for(lambda: len(list(finished.glob("01_tiny-*"))) == 1)
    first_pid = pid_file.read_text()
    wait_for(lambda: pid_file.read_text() not in ("", first_pid))
    process.send_signal(how)
    _, error = process.communicate(timeout=60)
    wait_for(lambda: not is_running(int(pid_file.read_text())))
    wait_for(lambda: not list(finished.glob(".01_tiny*")))
    if how == signal.SIGINT:
        assert process.returncode == 130 and "Traceback" not in error
        assert (finished / "index.html").is_file()
    go.touch()
    said: list[str] = []
    done = runs.run_batch([notebook], vary={"seed": "1,2,3"}, output=finished, say=said.append)
    assert [run.reused for run in done.runs] == [True, False, False] and not done.failed


def test_the_command_says_what_failed_by_its_exit_code(tmp_path, write_notebook, capsys):
    cells = ["if seed == 1:\n    raise ValueError('too red')", DRAW]
    notebook = write_notebook(tmp_path / "01_tiny.ipynb", *cells, parameters=PARAMETERS)
    out = ["--out", str(tmp_path / "out")]
    assert cli.main(["batch", str(notebook), "--vary", "seed=1,2", "-p", "fast", "true", *out]) == 1
    printed = capsys.readouterr()
    assert "2 runs: 1 done, 1 failed" in printed.out and "too red" in printed.out
    assert "1 of 2 runs failed" in printed.err
    assert cli.main(["batch", str(tmp_path / "0*.ipynb"), "-p", "seed", "2", *out]) == 0
    assert cli.main(["batch", str(notebook), "-p", "sed", "2", *out]) == 2
    assert "did you mean seed" in capsys.readouterr().err
