"""What a run saved comes back bit for bit, or is passed over when it was damaged."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from small_runs import IDENTITY, names, same, save_steps, tensors_at

from portraitlib.settings import UsageError
from portraitlib.training.checkpoints import (
    list_checkpoints,
    load_checkpoint,
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
    assert same(load_checkpoint(tmp_path, 5).tensors, tensors_at(5))
    assert list_checkpoints(tmp_path) == (5, 10)
    with open_run(tmp_path, IDENTITY) as run:
        assert newest_checkpoint(run).step == 10


def test_tensors_that_share_memory_or_are_not_dense_are_saved_by_their_values(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    given = {"whole": whole, "column": whole[:, 1], "turned": whole.T, "none": torch.empty(0)}
    with open_run(tmp_path, IDENTITY) as run:
        save_checkpoint(run, 1, given, {})
        save_checkpoint(run, 2, newest_checkpoint(run).tensors, {})
    assert same(newest_checkpoint(tmp_path).tensors, given)


def test_the_newest_and_those_named_stay(tmp_path):
    save_steps(tmp_path, 1, 2, 3, 4, 5, 6, keep=2, kept=[1, 3])
    assert list_checkpoints(tmp_path) == (1, 3, 5, 6)
    assert names(tmp_path) == {".lock", "step-000001", "step-000003", "step-000005", "step-000006"}


def test_going_back_on_purpose_removes_nothing_that_came_later(tmp_path):
    save_steps(tmp_path, 10, 20, 30)
    save_steps(tmp_path, 15, keep=1)
    assert list_checkpoints(tmp_path) == (15, 20, 30)


def test_a_step_saved_twice_is_the_later_one(tmp_path):
    with open_run(tmp_path, IDENTITY) as run:
        save_checkpoint(run, 7, tensors_at(1), {"time": 1})
        save_checkpoint(run, 7, tensors_at(2), {"time": 2})
    assert newest_checkpoint(tmp_path).state == {"time": 2}
    assert names(tmp_path) == {".lock", "step-000007"}


def test_a_step_set_aside_for_a_newer_save_of_itself_is_put_back(tmp_path):
    save_steps(tmp_path, 7)
    (tmp_path / "step-000007").rename(tmp_path / ".step-000007.old")
    with open_run(tmp_path, IDENTITY) as run:
        assert newest_checkpoint(run).step == 7


@pytest.mark.parametrize("moment", range(1, 6))
def test_a_save_interrupted_from_the_keyboard_leaves_one_whole_checkpoint(
    tmp_path, monkeypatch, moment
):
    sync, left = os.fsync, [moment]

    def interrupted(descriptor):
        sync(descriptor)
        left[0] -= 1
        if left[0] == 0:
            signal.raise_signal(signal.SIGINT)

    with open_run(tmp_path, IDENTITY) as run:
        save_checkpoint(run, 7, tensors_at(1), {})
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(os, "fsync", interrupted)
            save_checkpoint(run, 7, tensors_at(2), {})
    assert names(tmp_path) == {".lock", "step-000007"}
    assert same(newest_checkpoint(tmp_path).tensors, tensors_at(2 if moment == 5 else 1))


def test_a_checkpoint_that_is_not_there_is_answered_with_those_that_are(tmp_path):
    save_steps(tmp_path, 5, 10)
    with pytest.raises(UsageError, match="got step 6, expected one that was saved: 5, 10"):
        load_checkpoint(tmp_path, 6)


def test_a_state_that_json_cannot_hold_is_refused_and_the_rest_stands(tmp_path):
    save_steps(tmp_path, 5)
    with open_run(tmp_path, IDENTITY) as run, pytest.raises(UsageError, match="plain JSON"):
        save_checkpoint(run, 10, {}, {"loss": torch.tensor(1.0)})
    assert list_checkpoints(tmp_path) == (5,)


def test_a_closed_run_saves_no_more(tmp_path):
    with open_run(tmp_path, IDENTITY) as run:
        pass
    with pytest.raises(UsageError, match="closed"):
        save_checkpoint(run, 1, {}, {})


# --- damage --------------------------------------------------------------------------------------


def truncate(place: Path) -> None:
    os.truncate(place / "tensors.safetensors", 200)


def flip(name: str):
    def change(place: Path) -> None:
        content = bytearray((place / name).read_bytes())
        content[-9] ^= 1
        (place / name).write_bytes(content)

    return change


def without(*lost: str):
    def remove(place: Path) -> None:
        for name in lost:
            (place / name).unlink()

    return remove


DAMAGE = {
    "truncated": (truncate, "tensors.safetensors: got 200 bytes, expected"),
    "a bit of the tensors": (flip("tensors.safetensors"), "tensors.safetensors: its bytes were"),
    "a bit of the state": (flip("state.json"), "state.json: its bytes were changed"),
    "a bit of the manifest": (flip("manifest.json"), "manifest.json: its bytes were changed"),
    "no manifest": (without("manifest.json"), "manifest.json: No such file"),
    "no tensors": (without("tensors.safetensors"), "tensors.safetensors: No such file"),
    "nothing": (without("tensors.safetensors", "state.json", "manifest.json"), "manifest.json"),
    "manifest empty": (lambda place: os.truncate(place / "manifest.json", 0), "no readable JSON"),
    "another step": (lambda place: shutil.copytree(place, place.parent / "step-000099"), "step 20"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_passed_over_and_stays_until_good_ones_are_newer(tmp_path, damage):
    inflict, reason = DAMAGE[damage]
    save_steps(tmp_path, 10, 20)
    inflict(tmp_path / "step-000020")
    damaged = 99 if damage == "another step" else 20
    with pytest.warns(UserWarning, match=f"step-0000{damaged}: passed over, not whole.*{reason}"):
        newest = newest_checkpoint(tmp_path)
    assert newest.step == (20 if damaged == 99 else 10)
    assert same(newest.tensors, tensors_at(newest.step))
    with pytest.raises(UsageError, match=f"not whole.*{reason}.*try another step: 10"):
        load_checkpoint(tmp_path, damaged)
    assert f"step-0000{damaged}" in names(tmp_path)
    save_steps(tmp_path, 100, 110, 120)
    assert names(tmp_path) == {".lock", "step-000100", "step-000110", "step-000120"}


def test_a_damaged_step_is_replaced_when_the_run_reaches_it_again(tmp_path):
    save_steps(tmp_path, 10, 20)
    truncate(tmp_path / "step-000020")
    save_steps(tmp_path, 20)
    assert same(newest_checkpoint(tmp_path).tensors, tensors_at(20))


def test_a_save_that_was_broken_off_is_passed_over_and_swept_up_later(tmp_path):
    save_steps(tmp_path, 10)
    shutil.copytree(tmp_path / "step-000010", tmp_path / ".step-000020.part")
    with pytest.warns(UserWarning, match=r"\.step-000020\.part: passed over, a save that was"):
        assert newest_checkpoint(tmp_path).step == 10
    save_steps(tmp_path, 30)
    assert names(tmp_path) == {".lock", "step-000010", "step-000030"}


def test_a_checkpoint_of_a_later_portraitlib_is_neither_ignored_nor_overwritten(tmp_path):
    save_steps(tmp_path, 10, 20)
    manifest = tmp_path / "step-000020" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "form": 2}))
    said = "manifest.json: got form 2, expected 1 at most; a later portraitlib wrote it: upgrade"
    with pytest.raises(UsageError, match=said):
        newest_checkpoint(tmp_path)
    with pytest.raises(UsageError, match=said):
        open_run(tmp_path, IDENTITY).__enter__()
