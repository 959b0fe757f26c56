"""What a user installs: the wheel is whole, and the lists of dependencies agree."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def weights() -> list[Path]:
    """The files of weights in the package: the model's, and those of what judges it."""
    return [path for path in (ROOT / "portraitlib/mini").glob("weights*/**/*") if path.is_file()]


def plain_name(requirement: str) -> str:
    """The name in a requirement line, spelled one way."""
    return re.split(r"[<>=!~;\[ ]", requirement)[0].lower().replace("_", "-")


def needed(*extras: str) -> set[str]:
    lines = list(PROJECT["dependencies"])
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    return {plain_name(line) for line in lines} - {"portraitlib"}


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {plain_name(name): version for name, version in rows}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> set[str]:
    """The names of the files in a freshly built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder]
    # Built from a copy, so that no build folder is left in the checkout.
    command += ["--no-build-isolation", copy_of_the_package(folder / "source")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return set(zipfile.ZipFile(built).namelist())


def copy_of_the_package(target: Path) -> Path:
    """The files that go into a wheel, linked into another folder."""
    for path in [*ROOT.glob("*.*"), ROOT / "LICENSE", *(ROOT / "portraitlib").rglob("*")]:
        if path.is_file() and "__pycache__" not in path.parts:
            place = target / path.relative_to(ROOT)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.symlink(path, place)
    return target


@pytest.mark.slow
def test_the_wheel_carries_the_weights_and_every_module(wheel):
    carried = {path.relative_to(ROOT).as_posix() for path in weights()}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "portraitlib").rglob("*.py")}
    assert any(name.endswith(".safetensors") for name in carried)
    kept = (
        "py.typed",
        "*.xmp",
        "batch/page.*",
        "measuring/*.toml",
        "photos/faces/strangers*",
        "mini/*.npz",
        "mini/subject/*.png",
    )
    found = [path for name in kept for path in (ROOT / "portraitlib").glob(name)]
    data = {path.relative_to(ROOT).as_posix() for path in found}
    assert len(data) >= 6 + 2 + 2 + 18
    assert carried | modules | data <= wheel
    kept_out = ("tests", "notebooks", "runs", "recipes", "benchmarks", "docs")
    assert not {name for name in wheel if name.startswith(kept_out)}


def test_the_weights_are_safetensors_and_at_most_45_mb():
    assert (ROOT / "portraitlib/mini/weights/model_index.json").is_file()
    assert sum(path.stat().st_size for path in weights()) <= 45e6
    assert {path.suffix for path in weights()} <= {".safetensors", ".json", ".txt", ".md", ".png"}


def test_every_dependency_has_a_tested_version():
    assert needed(*PROJECT["optional-dependencies"]) <= set(pins())


def test_the_stand_in_for_opencv_has_the_same_version():
    assert pins()["opencv-python"] == pins()["opencv-python-headless"]


def test_conda_users_get_the_same_packages():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (listed,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    names = {plain_name(line) for line in listed if not line.startswith("-")}
    assert names == needed("notebooks", "photos", "widgets")


def test_torchvision_is_nowhere_needed():
    assert "torchvision" not in needed(*PROJECT["optional-dependencies"])
    assert "torchvision" not in pins()
