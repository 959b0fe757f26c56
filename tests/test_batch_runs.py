"""Batches: what is refused beforehand, what becomes of runs that fail, what the page shows."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from processes import is_running, wait_for

import portraitlib as pl
from portraitlib import batch_runs, cli, cost, runs
from portraitlib.batch_plan import plan_batch
from portraitlib.run_lock import hold_lock
from portraitlib.settings import UsageError

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

PARAMETERS = """\
seed: int = 0  # picks the colour, 0 to 255
strength: float = 0.5  # nothing
prompt: str = "a square"  # what it shows
fast: bool = False  # nothing
names: list = ["a"]  # nothing
scales: list = [0.5]  # of something
photos_dir: str = ""  # a folder
output_dir: str = "runs/tiny"  # where results go
"""
# Three raise; one kills the process that runs it, if that was not done before.
TROUBLE = """\
import os, signal, time
from pathlib import Path
if seed in (4, 11, 17):
    raise ValueError(f"no colour {{seed}}")
mark = Path({mark!r})
if seed == 7 and not mark.exists():
    mark.touch()
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
"""
DRAW = """\
import portraitlib as pl
from PIL import Image
recipe = {"prompt": prompt, "seed": seed, "model": "none", "device": "cpu"}
portraits = [pl.Portrait(Image.new("RGB", (8, 8), (seed, 0, 0)), recipe)]
pl.save_results(output_dir, {"Squares": portraits}, {"twice the seed": 2.0 * seed})
"""
SLEEP = """\
import os, time
from pathlib import Path
Path({pid!r}).write_text(str(os.getpid()))
time.sleep(60 if seed == 2 and not Path({go!r}).exists() else 0)
"""


@pytest.fixture()
def notebook(tmp_path, write_notebook) -> Path:
    return write_notebook(tmp_path / "01_tiny.ipynb", DRAW, parameters=PARAMETERS)


def quiet(line: str) -> None:
    pass


# --- the plan ------------------------------------------------------------------------------------


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
    "not a name of Python": {"seed = 1; import os #": "1"},
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
        batch_runs.run_batch([notebook], REFUSED[words], output=tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "place", ["../x", "a/../../b", "C:\\x", "\\\\host\\x", "~/x", "a\\..\\..\\b"]
)
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
        ({}, {"for": "1"}, "not a name"),
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


# --- running -------------------------------------------------------------------------------------


def files(folder: Path) -> dict[str, bytes]:
    """The files of the runs; the bytes of the pictures."""
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.suffix == ".png" else b""
        for path in found
    }


@pytest.fixture(scope="module")
def troubled(tmp_path_factory, write_notebook):
    """24 runs of which 3 raise and 1 kills its worker: a function engine -> first, second batch."""
    folder = tmp_path_factory.mktemp("troubled")
    mark = folder / "mark"
    cells = [TROUBLE.format(mark=str(mark)), DRAW]
    notebook = write_notebook(folder / "01_tiny.ipynb", *cells, parameters=PARAMETERS)

    def run(engine: str):
        mark.unlink(missing_ok=True)
        out = folder / engine

        def once() -> batch_runs.Batch:
            vary = {"seed": list(range(24))}
            return batch_runs.run_batch(
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
    assert len(first.runs) == 24 and not first.missing
    assert [run.parameters["seed"] for run in first.failed] == [4, 11, 17]
    assert [run.parameters["seed"] for run in first.runs if run.attempts == 2] == [7]
    assert "21 done, 1 on a second try, 3 failed" in str(first)
    for run in first.failed:
        assert "ValueError: no colour" in run.error
        text = run.executed.read_text()
        assert "no colour" in text and "An Exception was encountered at" in text
    for run in first.runs:
        if run.error is None:
            portrait = pl.Portrait.open(run.folder / "results/portrait-000.png")
            assert portrait.image.getpixel((0, 0)) == (run.parameters["seed"], 0, 0)
    ran = [run.parameters["seed"] for run in again.runs if not run.reused]
    assert ran == [4, 11, 17], "only what failed is run again"
    folders = [path for path in first.folder.iterdir() if path.is_dir()]
    assert len(folders) == 24 and not [path for path in folders if path.name[0] == "."]


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
    done = batch_runs.run_batch([notebook], output=tmp_path / "out", say=said.append)
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
        batch_runs.run_batch([notebook], output=tmp_path / "out", say=quiet)


def test_a_spent_budget_starts_nothing_more(tmp_path, notebook, monkeypatch):
    dear = cost.Rate("cpu", 3600.0, "2026-11-01", "a dollar a second")
    monkeypatch.setitem(cost.RATES, "cpu", dear)
    said: list[str] = []
    done = batch_runs.run_batch(
        [notebook],
        vary={"seed": [1, 2]},
        output=tmp_path / "out",
        budget=cost.Budget(dollars=0.01),
        say=said.append,
    )
    assert len(done.runs) == len(done.missing) == 1 and done.spent.dollars > 0.01
    assert "1 not run" in str(done) and any("the budget of $0.01" in line for line in said)
    with pytest.raises(UsageError, match="no rate is known"):
        batch_runs.run_batch([notebook], output=tmp_path / "out", device="H100", say=quiet)


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
    done = batch_runs.run_batch(
        [notebook], vary={"seed": "1,2,3"}, output=finished, say=said.append
    )
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


# --- the page ------------------------------------------------------------------------------------

NASTY = "\"'><script>alert(1)</script><img src=x onerror=alert(2)> </td>&amp; \\ud83d ${x} `"


class Tags(HTMLParser):
    """What a browser makes of a page: tags with their attributes, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def page(tmp_path_factory, write_notebook):
    """A batch of four in one page, with a prompt that means harm."""
    folder = tmp_path_factory.mktemp("page")
    notebook = write_notebook(folder / "01_#tiny 100%.ipynb", DRAW, parameters=PARAMETERS)
    vary = {"prompt": ["a man", NASTY], "seed": [9, 10]}
    done = batch_runs.run_batch([notebook], vary=vary, output=folder / "o{ut}", jobs=2, say=quiet)
    assert not done.failed, done
    return done.folder, (done.folder / "index.html").read_text(encoding="utf-8")


def test_no_prompt_becomes_part_of_the_page(page):
    tags = Tags(page[1]).tags
    assert [tag for tag, _ in tags].count("script") == 1
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    assert {a["src"].split("/")[-1] for tag, a in tags if tag == "img"} == {"portrait-000.png"}
    assert NASTY in {a.get("data-value") for _, a in tags}
    script = page[1].split("<script>")[1]
    assert "alert" not in script and "http" not in page[1]


def test_the_page_links_only_to_files_beside_it(page):
    from urllib.parse import unquote

    folder, text = page
    links = [a.get("href") or a.get("src") for tag, a in Tags(text).tags if tag in ("a", "img")]
    local = [unquote(link) for link in links if not link.startswith("#")]
    assert len(local) >= 13 and all((folder / link).is_file() for link in local)
    ids = {a["id"] for _, a in Tags(text).tags if "id" in a}
    assert all(link[1:] in ids for link in links if link.startswith("#"))


def test_every_run_is_a_row_with_what_differs_and_what_was_measured(page):
    rows = re.findall(r"<tr data-run.*?</tr>", page[1])
    values = [re.findall(r'data-value="([^"]*)"', row) for row in rows]
    heads = re.findall(r'<button type="button">(.*?)</button>', page[1])
    assert heads == ["notebook", "prompt", "seed", "twice the seed", "pictures", "seconds"] + [
        *("dollars", "state")
    ]
    assert sorted(int(row[2]) for row in values) == [9, 9, 10, 10]
    assert all(float(row[3]) == 2 * float(row[2]) for row in values)
    selects = re.findall(r"<label>(\w+) <select", page[1])
    assert selects == ["prompt", "seed"], "one value is no choice"
    report = json.loads((page[0] / "report.json").read_text())
    assert all(row["peak_memory_gb"] > 0.03 for row in report["notebooks"])


# What a reader does: sort by the seed, downwards; then only the first of the two prompts.
CLICKS = """<script>
const buttons = [...document.querySelectorAll("th button")], title = [];
buttons[2].click(); buttons[2].click();
const select = document.querySelector("select[data-column]");
select.value = select.options[2].value; select.dispatchEvent(new Event("change"));
for (const row of document.querySelectorAll("#runs tbody tr"))
  if (!row.hidden) title.push(row.cells[2].dataset.value);
for (const run of document.querySelectorAll("section"))
  if (!run.hidden) title.push(run.textContent.match(/seed (\\d+)/)[1]);
document.title = [...title, document.getElementById("count").textContent].join(", ");
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_reader_sorts_and_filters_the_runs(page):
    folder, text = page
    (folder / "clicked.html").write_text(text.replace("</body>", CLICKS), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command = [CHROMIUM, *flags, (folder / "clicked.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "<title>10, 9, 10, 9, 2 of 4 runs</title>" in done.stdout


def test_later_runs_join_the_page_and_newer_ones_replace_older(page, tmp_path):
    folder, _ = page
    before = batch_runs.kept_runs(folder)
    old = runs.read_execution(before[0].folder)
    stale = folder / "old"
    stale.mkdir()
    record = json.loads((old.folder / runs.EXECUTION).read_text())
    (stale / runs.EXECUTION).write_text(json.dumps({**record, "address": "another"}))
    os.utime(stale, (1, 1))
    assert [run.folder for run in batch_runs.kept_runs(folder)] == [run.folder for run in before]
