"""The folder of a run: what was saved is found again, whatever happens to the process or disk."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from portraitlib.checkpoints import (
    list_checkpoints,
    load_checkpoint,
    newest_checkpoint,
    open_run,
    save_checkpoint,
)
from portraitlib.settings import UsageError

IDENTITY = {"photos": "a1b2", "rank": 4, "prior_weight": 1.0, "sizes": (128, 128)}
POSIX = pytest.mark.skipif(os.name != "posix", reason="signals, limits and mounts of Unix")


def tensors_at(step: int) -> dict[str, torch.Tensor]:
    noise = torch.randn(3, 5, generator=torch.Generator().manual_seed(step))
    return {"weight": noise, "half": noise.bfloat16(), "step": torch.tensor(float(step))}


def save_steps(folder: Path, *steps: int, **settings) -> None:
    with open_run(folder, IDENTITY) as run:
        for step in steps:
            save_checkpoint(run, step, tensors_at(step), {"loss": 1 / 3, "step": step}, **settings)


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(
        found[name].dtype == expected[name].dtype and torch.equal(found[name], expected[name])
        for name in found
    )


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


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


# --- another run ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rank": 8}, "rank: got 8, expected 4,"),
        ({"rank": 8, "photos": "c3"}, r"photos: got 'c3', expected 'a1b2'.*too: rank\)"),
        ({"scale": {"x": 1}}, "scale: got {'x': 1}, expected nothing"),
        ({"sizes": [128, 64]}, r"sizes: got \[128, 64\], expected \[128, 128\]"),
    ],
)
def test_a_run_with_other_settings_is_refused_by_their_names(tmp_path, changed, said):
    save_steps(tmp_path, 5)
    before = names(tmp_path)
    refused = pytest.raises(UsageError, match=said + ".*give another folder")
    with refused as caught, open_run(tmp_path, {**IDENTITY, **changed}):
        pytest.fail("was opened")
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == before


def test_settings_that_only_look_different_are_the_same(tmp_path):
    save_steps(tmp_path, 5)
    with open_run(tmp_path, {**IDENTITY, "sizes": [128, 128], "prior_weight": 1}):
        pass


def test_two_runs_in_one_process_do_not_share_a_folder(tmp_path):
    said = f"another run is at work there, process {os.getpid()} "
    with open_run(tmp_path, IDENTITY), pytest.raises(UsageError, match=said):
        open_run(tmp_path, IDENTITY).__enter__()
    with open_run(tmp_path, IDENTITY):
        pass


# Holds the lock and waits; with "fork", a child outlives it as a worker that loads pictures would.
HOLDER = """
import os, sys, time
from pathlib import Path
from portraitlib.run_lock import hold_lock
with hold_lock(Path(sys.argv[1])):
    child = os.fork() if "fork" in sys.argv else None
    if child != 0:
        print(child, flush=True)
    time.sleep(60)
"""


@POSIX
@pytest.mark.parametrize("how", ["alone", "fork"])
def test_a_second_process_is_refused_until_the_first_is_dead(tmp_path, how):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path), how], stdout=subprocess.PIPE, text=True
    )
    child = holder.stdout.readline().strip()
    try:
        said = f"process {holder.pid} on .*; wait for it, stop it, or give another folder"
        with pytest.raises(UsageError, match=said):
            open_run(tmp_path, IDENTITY).__enter__()
        holder.kill()
        holder.wait()
        save_steps(tmp_path, 5)
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
        if how == "fork":
            os.kill(int(child), signal.SIGKILL)


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


# --- disks ---------------------------------------------------------------------------------------


@POSIX
def test_a_save_that_fails_half_way_leaves_the_earlier_ones_and_nothing_else(
    tmp_path, largest_file
):
    save_steps(tmp_path, 10)
    before = names(tmp_path)
    with open_run(tmp_path, IDENTITY) as run:
        with largest_file(100_000), pytest.raises(UsageError) as caught:
            save_checkpoint(run, 20, {"large": torch.zeros(100_000)}, {})
        assert names(tmp_path) == before
        save_checkpoint(run, 20, tensors_at(20), {})
    said = str(caught.value)
    assert "step-000020: cannot be saved (" in said
    assert "; step 10 stands; make room on its disk" in said
    assert "\n" not in said
    assert newest_checkpoint(tmp_path).step == 20


@POSIX
def test_a_folder_that_cannot_be_written_to_is_refused_before_any_work(tmp_path, largest_file):
    said = "no checkpoint can be saved there and loaded again"
    refused = pytest.raises(UsageError, match=said)
    with largest_file(0), refused, open_run(tmp_path / "a", IDENTITY):
        pytest.fail("was opened")
    (tmp_path / "file").write_text("not a folder")
    for folder in (tmp_path / "file", tmp_path / "file" / "run", Path("/proc/run")):
        with pytest.raises(UsageError, match="cannot be used for a run"):
            open_run(folder, IDENTITY).__enter__()


def test_a_disk_without_the_room_that_a_run_needs_is_refused_before_any_work(tmp_path):
    refused = pytest.raises(UsageError, match="MB of free disk, expected 1,000,000,000 MB")
    with refused, open_run(tmp_path, IDENTITY, room_bytes=10**15):
        pytest.fail("was opened")


SMALL_DISK = """
import subprocess, sys, warnings
from pathlib import Path
import torch
from portraitlib.checkpoints import newest_checkpoint, open_run, save_checkpoint
from portraitlib.settings import UsageError
disk = Path(sys.argv[1])
def refusal(call, *arguments):
    try:
        call(*arguments)
    except UsageError as problem:
        return print(str(problem))
    sys.exit("was not refused")
warnings.simplefilter("error")
with open_run(disk / "run", {"rank": 4}) as run:
    save_checkpoint(run, 10, {"small": torch.ones(1000)}, {})
    refusal(save_checkpoint, run, 20, {"large": torch.ones(1_000_000)}, {})
    assert newest_checkpoint(run).step == 10
    assert {path.name for path in run.folder.iterdir()} == {".lock", "step-000010"}
    save_checkpoint(run, 20, {"small": torch.ones(2000)}, {})
try:
    (disk / "filler").write_bytes(bytes(4_000_000))
except OSError:
    pass
refusal(open_run(disk / "run", {"rank": 4}).__enter__)
subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
refusal(open_run(disk / "run", {"rank": 4}).__enter__)
refusal(open_run(disk / "new", {"rank": 4}).__enter__)
assert newest_checkpoint(disk / "run").step == 20
"""


@POSIX
def test_a_real_disk_that_fills_up_or_is_read_only(tmp_path):
    apart = ["unshare", "--map-root-user", "--mount"]  # the mount is seen by, and dies with, these
    mount = f"mount -t tmpfs -o size=3m tmpfs '{tmp_path}'"
    if not shutil.which("unshare") or subprocess.run([*apart, "sh", "-c", mount]).returncode:
        pytest.skip("no small disk may be mounted here")
    script = f'{mount} && exec "$@"'
    python = [sys.executable, "-c", SMALL_DISK, str(tmp_path)]
    done = subprocess.run(
        [*apart, "sh", "-c", script, "sh", *python], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    mid_save, full, begun, new = done.stdout.splitlines()
    assert "step-000020: cannot be saved (" in mid_save
    assert "No space left on device" in mid_save
    assert "step 10 stands" in mid_save
    assert "no checkpoint can be saved there" in full
    assert "No space left on device" in full
    assert "run: cannot be used for a run (Read-only file system)" in begun
    assert "new: cannot be used for a run (Read-only file system)" in new
