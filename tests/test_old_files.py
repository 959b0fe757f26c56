"""What version 0.1 wrote is still read: pictures, adapters, a training, a run and a batch."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import portraitlib as pl
from portraitlib.batch.results import describe_run, kept_runs, read_results
from portraitlib.measuring.scoreboard import read_scores

OLD = Path(__file__).parent / "fixtures" / "version_0_1"
SETTINGS = pl.DreamBooth(
    instance_prompt="portrait of jrdnpl man",
    max_train_steps=2,
    train_batch_size=1,
    layers="attention",
    rank=1,
    save_every_steps=2,
)
DRAWN = ("run/portrait-000", "run/portrait-001", "control", "image")
pytestmark = pytest.mark.filterwarnings("ignore:the picture may differ")  # library versions do


@pytest.fixture()
def training(tmp_path) -> Path:
    """The folder of a training of two steps, which is complete."""
    return shutil.copytree(OLD / "training", tmp_path / "training")


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_is_opened_and_drawn_again(name, mini):
    portrait = pl.Portrait.open(OLD / f"{name}.png")
    photo = OLD / "photo.png"
    given = {
        "run/portrait-001": {
            "model": mini.with_adapter(pl.Adapter.open(OLD / "kohya.safetensors"))
        },
        "control": {"condition": pl.canny(photo)},
        "image": {"image": photo},
    }.get(name, {})
    again = pl.rerun(portrait, **{"model": mini} | given)
    apart = np.abs(np.asarray(again.image, int) - np.asarray(portrait.image, int))
    assert apart.mean() < 2  # none on the machine that drew it
    assert again.recipe.keys() >= portrait.recipe.keys() - {"seconds"}


def test_an_adapter_is_opened_from_both_of_its_forms():
    theirs, ours = (
        pl.Adapter.open(OLD / name)
        for name in ("kohya.safetensors", "training/adapter.safetensors")
    )
    assert (ours.instance_prompt, ours.rank) == ("portrait of jrdnpl man", 1)
    assert theirs.tensors.keys() == ours.tensors.keys() and len(ours.tensors) > 50
    assert all(torch.equal(theirs.tensors[name], ours.tensors[name]) for name in ours.tensors)


def test_a_training_that_is_complete_is_not_trained_again(training, mini, monkeypatch):
    monkeypatch.setattr("portraitlib.training.dreambooth.update", pytest.fail)
    adapter = pl.train_dreambooth(mini, pl.subject_photos(), SETTINGS, folder=training, trackers=())
    kept = pl.Adapter.open(OLD / "training/adapter.safetensors")
    assert adapter.tensors.keys() == kept.tensors.keys()
    assert all(torch.equal(adapter.tensors[name], kept.tensors[name]) for name in kept.tensors)


def test_a_training_that_was_stopped_is_refused_in_one_line(training, mini):
    (training / "adapter.safetensors").unlink()
    with pytest.raises(pl.UsageError, match="a training of portraitlib 0.1 was stopped there"):
        pl.train_dreambooth(mini, pl.subject_photos(), SETTINGS, folder=training, trackers=())


def test_a_film_is_read(training):
    film = pl.read_film(training)
    assert [frame.step for frame in film.frames] == [2] and film.curve


def test_what_a_notebook_left_is_read():
    results = read_results(OLD / "run")
    assert [row["file"] for row in results["portraits"]] == ["portrait-000.png", "portrait-001.png"]
    assert results["figures"] == {"likeness": 0.25, "seconds": 1.5}
    assert {row["method"] for row in read_scores(OLD / "scores")} == {"zero-shot"}


def test_the_runs_of_a_batch_are_found_and_shown(tmp_path):
    folder = shutil.copytree(OLD / "batch", tmp_path / "batch")
    runs = kept_runs(folder)
    assert [run.parameters["seed"] for run in runs] == [1, 2]
    rows = [describe_run(run, folder) for run in runs]
    assert [row["figures"] for row in rows] == [{"twice the seed": 2.0}, {"twice the seed": 4.0}]
