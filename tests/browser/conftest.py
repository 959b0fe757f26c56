"""A real browser on the studio, served by JupyterLab and by Voila."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest
from browsing import SHOTS
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).parent.parent.parent
REQUIRED = "PORTRAITLIB_BROWSER_REQUIRED"  # set: a missing browser is a failure, no reason to skip
START_S = 180
# What the copy of the notebook that is served differs in: quick pictures, one at a time.
PARAMETERS = {
    "num_images: int = 4": "num_images: int = 1",
    "num_inference_steps: int = None": "num_inference_steps: int = 12",
    'model_name: str = ""': 'model_name: str = "mini"',
}

REGION = """
from portraitlib.studio.explore import pick_region
from portraitlib.photos.subject import subject_portrait

pick_region(subject_portrait("comic book", ear_size=5), radius=0.18)
"""


def chromium() -> str | None:
    """The browser named by PORTRAITLIB_CHROMIUM, the system's, or None for Playwright's own."""
    return os.environ.get("PORTRAITLIB_CHROMIUM") or shutil.which("chromium")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, started once."""
    problem = "playwright is not installed"
    try:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            try:
                started = playwright.chromium.launch(
                    executable_path=chromium(), args=["--no-sandbox", "--force-color-profile=srgb"]
                )
            except Exception as reason:
                problem = str(reason).splitlines()[0]
            else:
                yield started
                started.close()
                return
    except ImportError:
        pass
    told = f"no browser ({problem}): install chromium, or name one in PORTRAITLIB_CHROMIUM"
    if os.environ.get(REQUIRED):
        pytest.fail(told)
    pytest.skip(told)


def write_served(folder: Path) -> Path:
    """The studio's notebook up to the studio, with parameters for quick pictures."""
    notebook = nbformat.read(ROOT / "notebooks" / "09_studio.ipynb", as_version=4)
    end = next(i for i, cell in enumerate(notebook.cells) if "open_studio(" in cell.source)
    notebook.cells = notebook.cells[: end + 1]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        for old, new in PARAMETERS.items():
            cell.source = cell.source.replace(old, new)
    notebook.metadata.pop("portraitlib", None)
    path = folder / "studio.ipynb"
    nbformat.write(notebook, path)
    other = new_notebook(cells=[new_code_cell(REGION)], metadata=notebook.metadata)
    nbformat.write(other, folder / "region.ipynb")
    return path


@contextmanager
def served(command: list[str], folder: Path, ready: str) -> Iterator[str]:
    """A server in a folder of its own; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JUPYTER_TOKEN": ""}
    environment.setdefault("OMP_NUM_THREADS", "1")
    # What was open in earlier sessions is not opened again, nor is this one kept for later ones.
    environment["JUPYTERLAB_WORKSPACES_DIR"] = str(folder / ".workspaces")
    log = (folder / "server.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", *command, f"--port={port}", "--no-browser"],
        cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(START_S * 2):
            assert process.poll() is None, (folder / "server.log").read_text()[-3000:]
            try:
                urllib.request.urlopen(address + ready, timeout=60)
                break
            except urllib.error.HTTPError:  # it answers
                break
            except OSError:
                time.sleep(0.5)
        yield address
    finally:
        process.terminate()
        process.wait(60)
        log.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory) -> Iterator[str]:
    """JupyterLab with the studio's notebook; the address that opens it."""
    folder = tmp_path_factory.mktemp("lab")
    write_served(folder)
    command = ["jupyterlab", "--allow-root", "--IdentityProvider.token="]
    command += [f"--ServerApp.root_dir={folder}"]
    with served(command, folder, "/api") as address:
        yield f"{address}/lab/tree/studio.ipynb"


@pytest.fixture(scope="session")
def app(tmp_path_factory) -> Iterator[str]:
    """The same notebook as an app by Voila; its address."""
    folder = tmp_path_factory.mktemp("app")
    path = write_served(folder)
    with served(["voila", str(path)], folder, "/voila/api/shutdown") as address:
        yield address


@pytest.fixture
def shoot(request) -> Callable[..., Path]:
    """A function that keeps a picture of a page, or of a part of it."""

    def keep(what: Any, name: str) -> Path:
        SHOTS.mkdir(parents=True, exist_ok=True)
        path = SHOTS / f"{name}.png"
        what.screenshot(path=str(path), **({"full_page": True} if hasattr(what, "goto") else {}))
        return path

    return keep
