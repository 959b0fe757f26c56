"""What several test files share: the embedded model, a photograph, a throwaway notebook."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import v4
from PIL import Image

# No test reaches for the network; set before any library reads it.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

PARAMETERS = """\
seed: int = 90  # picks the colour, 0 to 255
scale: float = 1.0  # of the number measured
names: list[str] = ["a"]  # nothing
output_dir: str = "runs/tiny"  # where results go
"""
SAVE = """\
import portraitlib as pl
from PIL import Image
recipe = {"prompt": "a <red> square", "seed": seed, "model": "none", "num_inference_steps": 4}
portraits = [pl.Portrait(Image.new("RGB", (8, 8), (seed, 0, 0)), recipe)]
pl.save_results(output_dir, {"Squares": portraits}, {"number (of things)": 3.5 * scale})
"""


@pytest.fixture(scope="session")
def mini():
    """The embedded model, loaded once."""
    import portraitlib as pl

    return pl.load_model("mini", device="cpu")


@pytest.fixture(scope="session")
def astronaut() -> Image.Image:
    """A photograph of a person, 512 x 512, without strings (NASA, public domain)."""
    with Image.open(str(files("skimage") / "data" / "astronaut.png")) as opened:
        return Image.frombytes("RGB", opened.size, opened.convert("RGB").tobytes())


@pytest.fixture(scope="session")
def write_notebook() -> Callable[..., Path]:
    """A function that writes a small notebook with the given code cells after the parameters."""

    def write(path: Path, *cells: str, parameters: str = PARAMETERS) -> Path:
        notebook = v4.new_notebook()
        notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "P"}}
        notebook.metadata["language_info"] = {"name": "python"}
        opening = v4.new_markdown_cell("# 1. Squares\n\nWhy **squares** at all?\n\nMore words.")
        tagged = v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
        code = [v4.new_code_cell(cell) for cell in cells or [SAVE]]
        notebook.cells = [opening, tagged, *code]
        nbformat.write(notebook, path)
        return path

    return write


@pytest.fixture(scope="session")
def three_photos():
    """Three photos of the drawn subject, each with a caption of its own."""
    from dataclasses import replace

    import portraitlib as pl

    photos = pl.subject_photos()
    places = ("in a forest", "on a beach", "in a city")
    named = [
        replace(photo, caption=f"portrait of jrdnpl man {place}")
        for photo, place in zip(photos, places, strict=False)
    ]
    return replace(photos, photos=tuple(named))


@pytest.fixture(scope="session")
def two_men():
    """Two class images, drawn by the world and not by a model."""
    from portraitlib.class_set import ClassImages
    from portraitlib.subject import subject_photos

    others = [subject_photos(seed=seed).images[0] for seed in (5, 6)]
    return ClassImages("portrait of a man", tuple(others), 96)


@pytest.fixture(scope="session")
def quick() -> Callable[..., Any]:
    """A function that gives the settings of a training of a second or two."""
    import portraitlib as pl

    least = {"max_train_steps": 3, "train_batch_size": 1, "layers": "attention", "rank": 4}
    return lambda **settings: pl.DreamBooth(**{**least, **settings})
