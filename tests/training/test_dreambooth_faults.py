"""Numbers that are none, memory and disks that run out: what was learnt before stays."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import portraitlib as pl
from portraitlib.models.adapters import Adapter
from portraitlib.training import dreambooth
from portraitlib.training import step as training_step
from portraitlib.training.checkpoints import list_checkpoints, newest_checkpoint
from portraitlib.training.step import update

POSIX = pytest.mark.skipif(os.name != "posix", reason="limits of Unix")


def train(model, photos, settings, folder, class_images=None, **given) -> Adapter:
    return pl.train_dreambooth(model, photos, settings, class_images, folder=folder, **given)


def finite(tensors) -> bool:
    return all(bool(each.isfinite().all()) for each in tensors.values() if each.is_floating_point())


# --- no numbers ----------------------------------------------------------------------------------


def test_a_rate_far_too_high_stops_the_run_and_saves_nothing_of_it(
    mini, three_photos, quick, tmp_path
):
    settings = quick(max_train_steps=40, learning_rate=1.0, lr_warmup_steps=0)
    with pytest.raises(pl.UsageError) as stopped:
        train(mini, three_photos, replace(settings, tune="full"), tmp_path)
    assert str(stopped.value) == (
        "the loss is not a number after step 10; nothing was saved before; try a learning_rate "
        "below 1 in another folder"
    )
    assert not list_checkpoints(tmp_path)
    assert not (tmp_path / "adapter.safetensors").exists()


def poisoned(monkeypatch, at_step: int, what: str) -> None:
    """From a step on, the latents or the gradients of one sample are no numbers."""

    def spoilt(trainer, step):
        if step < at_step:
            return update(trainer, step)
        with monkeypatch.context() as patch:
            if what == "latents":
                means = trainer.data.photos.means.clone()
                means[:, 0, 3, 3] = float("nan")
                photos = replace(trainer.data.photos, means=means)
                patch.setattr(trainer, "data", replace(trainer.data, photos=photos))
            else:
                accumulate = training_step._accumulate

                def spoil(trainer, batch):
                    loss = accumulate(trainer, batch)
                    next(iter(trainer.tuned.weights.values())).grad[0, 0] = float("inf")
                    return loss  # which is a number

                patch.setattr(training_step, "_accumulate", spoil)
            return update(trainer, step)

    monkeypatch.setattr(dreambooth, "update", spoilt)


@pytest.mark.parametrize(
    ("what", "at_step", "said"),
    [
        ("latents", 6, "the loss is not a number after step 8"),
        # The loss of the last step is of the weights before it, and is a number.
        ("gradients", 7, "the weights are no numbers after step 8"),
        ("gradients", 5, "the loss is not a number after step 8"),
    ],
)
def test_the_last_good_state_stays_and_can_be_used(
    mini, three_photos, quick, tmp_path, monkeypatch, what, at_step, said
):
    settings = quick(max_train_steps=8, save_every_steps=4)
    with monkeypatch.context() as patch, pytest.raises(pl.UsageError) as stopped:
        poisoned(patch, at_step, what)
        train(mini, three_photos, settings, tmp_path)
    assert str(stopped.value).startswith(f"{said}; the last good state, of step 4, is in ")
    assert "\n" not in str(stopped.value)
    assert list_checkpoints(tmp_path) == (4,)
    assert finite(newest_checkpoint(tmp_path).tensors)
    assert not (tmp_path / "adapter.safetensors").exists()
    rescued = Adapter.open(tmp_path / "adapters" / "step-000004.safetensors")
    assert rescued.recipe["step"] == 4
    assert finite(rescued.tensors)
    mini.with_adapter(rescued)
    whole = train(mini, three_photos, settings, tmp_path / "whole")
    went_on = train(mini, three_photos, settings, tmp_path)  # with good latents once more
    assert went_on.hash == whole.hash


# --- memory --------------------------------------------------------------------------------------


@contextmanager
def memory_for(most: int, only_steps: range = range(1000)):
    """A forward pass of more pictures than this runs out of memory, after some of the work."""
    from diffusers import UNet2DConditionModel

    original, calls = UNet2DConditionModel.forward, []

    def forward(self, sample, *args, **more):
        answer = original(self, sample, *args, **more)
        calls.append(len(sample))
        if len(sample) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UNet2DConditionModel, "forward", forward)
        yield calls


def test_memory_that_runs_short_halves_what_goes_in_at_once_and_changes_nothing_else(
    mini, three_photos, two_men, quick, how_far, tmp_path
):
    settings = quick(train_batch_size=4, max_train_steps=2, snr_gamma=None)
    whole = train(mini, three_photos, settings, tmp_path / "whole", two_men)
    with memory_for(3) as calls:
        got = train(mini, three_photos, settings, tmp_path / "short", two_men)
    assert calls == [8, 4, 2, 2, 2, 2] + [2, 2, 2, 2]
    assert newest_checkpoint(tmp_path / "short").state["micro_batch_size"] == 2
    assert how_far(got.tensors, whole.tensors) < 0.01
    assert got.recipe["loss"] == pytest.approx(whole.recipe["loss"], rel=1e-4)


def test_a_run_that_goes_on_remembers_how_much_fitted(
    mini, three_photos, quick, tmp_path, monkeypatch
):
    def stop(progress):
        raise KeyboardInterrupt

    settings = quick(train_batch_size=4, max_train_steps=12)
    with memory_for(3), pytest.raises(KeyboardInterrupt):
        train(mini, three_photos, settings, tmp_path, on_step=stop)
    with memory_for(3) as calls:
        train(mini, three_photos, settings, tmp_path)
    assert calls == [2, 2, 2, 2]


def test_too_little_memory_for_one_picture_is_said_in_one_line(mini, three_photos, quick, tmp_path):
    said = "out of memory while training mini on one picture at a time; try gradient_checkpointing"
    with memory_for(0), pytest.raises(pl.UsageError, match=said):
        train(mini, three_photos, quick(train_batch_size=2), tmp_path)


def test_another_fault_of_a_forward_pass_is_not_taken_for_memory(
    mini, three_photos, quick, tmp_path, monkeypatch
):
    def fails(trainer, batch):
        raise RuntimeError("a kernel is missing")

    monkeypatch.setattr(training_step, "_accumulate", fails)
    with pytest.raises(RuntimeError, match="a kernel is missing"):
        train(mini, three_photos, quick(), tmp_path)


# --- disks ---------------------------------------------------------------------------------------


def test_a_disk_without_room_for_the_saves_is_refused_before_any_work(
    mini, three_photos, quick, tmp_path, monkeypatch
):
    usage = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 10**5))
    with pytest.raises(pl.UsageError, match="got 0 MB of free disk, expected [1-9]"):
        train(mini, three_photos, quick(), tmp_path, on_step=pytest.fail)
    assert list_checkpoints(tmp_path) == ()


@POSIX
def test_a_disk_that_fills_up_in_a_save_costs_nothing_that_was_saved(
    mini, three_photos, quick, tmp_path, monkeypatch, largest_file
):
    settings = quick(max_train_steps=6, save_every_steps=2)
    whole = train(mini, three_photos, settings, tmp_path / "whole")

    def save(folder, step, *rest):
        with largest_file(100_000 if step == 4 else 2**40):
            return original(folder, step, *rest)

    original = dreambooth.save_checkpoint
    with monkeypatch.context() as patch, pytest.raises(pl.UsageError) as stopped:
        patch.setattr(dreambooth, "save_checkpoint", save)
        train(mini, three_photos, settings, tmp_path / "full")
    said = str(stopped.value)
    assert (
        "step-000004.safetensors: cannot be saved (" in said
        and "; step 2 stands; make room" in said
    )
    assert "\n" not in said
    assert list_checkpoints(tmp_path / "full") == (2,)
    assert train(mini, three_photos, settings, tmp_path / "full").hash == whole.hash


@POSIX
def test_a_disk_that_fills_up_at_the_very_end_costs_the_file_alone(
    mini, three_photos, quick, tmp_path, monkeypatch, largest_file
):
    def save(self, *rest):
        with largest_file(100_000):
            return original(self, *rest)

    original = Adapter.save
    with monkeypatch.context() as patch:
        patch.setattr(Adapter, "save", save)
        with pytest.raises(pl.UsageError, match="adapter.safetensors: cannot be written"):
            train(mini, three_photos, quick(), tmp_path)
    assert list_checkpoints(tmp_path) == (3,)
    again = train(mini, three_photos, quick(), tmp_path)
    assert Adapter.open(tmp_path / "adapter.safetensors").hash == again.hash


def test_a_folder_that_cannot_be_written_to_is_refused_before_any_work(
    mini, three_photos, quick, tmp_path, monkeypatch
):
    def work(*given):
        pytest.fail("work was done")

    for name in ("tune", "prepare_data", "encode_captions"):
        monkeypatch.setattr(dreambooth, name, work)
    (tmp_path / "file").write_text("not a folder")
    for folder in (tmp_path / "file", tmp_path / "file" / "run", Path("/proc/run")):
        with pytest.raises(pl.UsageError, match="cannot be used for a run"):
            train(mini, three_photos, quick(), folder, trackers=("tensorboard",))
    assert (tmp_path / "file").read_text() == "not a folder"


def test_the_home_folder_may_be_written_as_a_tilde(
    mini, three_photos, quick, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    train(mini, three_photos, quick(max_train_steps=1), "~/run")
    assert (tmp_path / "run" / "adapter.safetensors").exists()
    assert not (tmp_path / "~").exists()
