"""What a run saved comes back bit for bit, or is passed over when it was damaged."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from small_runs import IDENTITY, files_of, names, same, save_steps, tensors_at

from portraitlib.settings import UsageError
from portraitlib.training.checkpoints import (
    list_checkpoints,
    newest_checkpoint,
    open_run,
    save_checkpoint,
)

# --- saving and loading --------------------------------------------------------------------------


def test_what_was_saved_comes_back_bit_for_bit(tmp_path):
    assert newest_checkpoint(tmp_path / "none yet") is None
    save_steps(tmp_path, 5, 10)
    newest = newest_checkpoint(tmp_path)
    assert newest.step == 10
    assert newest.state == {"loss": 1 / 3, "step": 10}
    assert same(newest.tensors, tensors_at(10))
    assert list_checkpoints(tmp_path) == (5, 10)


def test_tensors_that_share_memory_or_are_not_dense_are_saved_by_their_values(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    given = {"whole": whole, "column": whole[:, 1], "turned": whole.T, "none": torch.empty(0)}
    given["bytes"] = torch.arange(3, dtype=torch.uint8)  # as optimizers of 8 bits have them
    with open_run(tmp_path, IDENTITY):
        save_checkpoint(tmp_path, 1, given, {})
        save_checkpoint(tmp_path, 2, newest_checkpoint(tmp_path).tensors, {})
    assert same(newest_checkpoint(tmp_path).tensors, given)


def test_the_newest_three_stay(tmp_path):
    save_steps(tmp_path, 1, 2, 3, 4, 5, 6)
    assert names(tmp_path) == files_of(4, 5, 6)


def test_going_back_on_purpose_removes_nothing_that_came_later(tmp_path):
    save_steps(tmp_path, 10, 20, 30)
    save_steps(tmp_path, 15)
    assert list_checkpoints(tmp_path) == (10, 15, 20, 30)


def test_a_step_saved_twice_is_the_later_one(tmp_path):
    with open_run(tmp_path, IDENTITY):
        save_checkpoint(tmp_path, 7, tensors_at(1), {"time": 1})
        save_checkpoint(tmp_path, 7, tensors_at(2), {"time": 2})
    assert newest_checkpoint(tmp_path).state == {"time": 2}
    assert names(tmp_path) == files_of(7)


def test_a_save_interrupted_from_the_keyboard_leaves_the_one_before(tmp_path, monkeypatch):
    def interrupted(descriptor):
        signal.raise_signal(signal.SIGINT)

    with open_run(tmp_path, IDENTITY):
        save_checkpoint(tmp_path, 7, tensors_at(1), {})
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(os, "fsync", interrupted)
            save_checkpoint(tmp_path, 7, tensors_at(2), {})
    assert names(tmp_path) == files_of(7)
    assert same(newest_checkpoint(tmp_path).tensors, tensors_at(1))


# --- damage --------------------------------------------------------------------------------------


def truncate(path: Path) -> None:
    os.truncate(path, 200)


DAMAGE = {
    "truncated": truncate,
    "short by a byte": lambda path: os.truncate(path, path.stat().st_size - 1),
    "empty": lambda path: os.truncate(path, 0),
    "something else": lambda path: path.write_text("something else, and long enough"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_passed_over_and_stays_until_good_ones_are_newer(tmp_path, damage):
    save_steps(tmp_path, 10, 20)
    DAMAGE[damage](tmp_path / "step-000020.safetensors")
    with pytest.warns(UserWarning, match="step-000020.safetensors: passed over, not whole"):
        newest = newest_checkpoint(tmp_path)
    assert newest.step == 10
    assert same(newest.tensors, tensors_at(10))
    assert "step-000020.safetensors" in names(tmp_path)
    save_steps(tmp_path, 100, 110, 120)
    assert names(tmp_path) == files_of(100, 110, 120)


def test_a_damaged_step_is_replaced_when_the_run_reaches_it_again(tmp_path):
    save_steps(tmp_path, 10, 20)
    truncate(tmp_path / "step-000020.safetensors")
    save_steps(tmp_path, 20)
    assert same(newest_checkpoint(tmp_path).tensors, tensors_at(20))


def test_a_save_that_was_broken_off_does_not_count_and_is_swept_up_later(tmp_path):
    save_steps(tmp_path, 10)
    (tmp_path / ".0a1b2c3d4e5f6071.part").write_bytes(b"half")
    assert newest_checkpoint(tmp_path).step == 10
    save_steps(tmp_path, 30)
    assert names(tmp_path) == files_of(10, 30)


# --- other versions ------------------------------------------------------------------------------


def test_a_run_of_a_later_portraitlib_is_neither_ignored_nor_overwritten(tmp_path):
    save_steps(tmp_path, 10, 20)
    path = tmp_path / "run.json"
    content = json.dumps({**json.loads(path.read_text()), "form": 3})
    path.write_text(content)
    said = "run.json: got form 3, expected 2 at most; a later portraitlib wrote it: upgrade"
    with pytest.raises(UsageError, match=said):
        open_run(tmp_path, IDENTITY).__enter__()
    assert path.read_text() == content


def test_a_run_whose_identity_cannot_be_read_is_refused(tmp_path):
    save_steps(tmp_path, 10)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UsageError, match="run.json: cannot be read as JSON"):
        open_run(tmp_path, IDENTITY).__enter__()
