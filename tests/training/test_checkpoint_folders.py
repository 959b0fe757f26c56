"""The folder of a run: whose it is, and what becomes of it when the disk is full."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_runs import IDENTITY, names, save_steps, tensors_at

from portraitlib.settings import UsageError
from portraitlib.training.checkpoints import (
    check_room,
    newest_checkpoint,
    open_run,
    save_checkpoint,
)

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals, limits and mounts of Unix")

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
from portraitlib.places import hold_lock
with hold_lock(Path(sys.argv[1])):
    child = os.fork() if "fork" in sys.argv else None
    os.write(1, f"{child or 0}{os.linesep}".encode())  # in one go: two processes write
    time.sleep(60)
"""


@POSIX
@pytest.mark.parametrize("how", ["alone", "fork"])
def test_a_second_process_is_refused_until_the_first_is_dead(tmp_path, how):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path), how], stdout=subprocess.PIPE, text=True
    )
    # The child, too, has said that it is there: by then it has let go of its copy.
    children = [int(holder.stdout.readline()) for _ in range(2 if how == "fork" else 1)]
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
            os.kill(max(children), signal.SIGKILL)


# --- disks ---------------------------------------------------------------------------------------


@POSIX
def test_a_save_that_fails_half_way_leaves_the_earlier_ones_and_nothing_else(
    tmp_path, largest_file
):
    save_steps(tmp_path, 10)
    before = names(tmp_path)
    with open_run(tmp_path, IDENTITY):
        with largest_file(100_000), pytest.raises(UsageError) as caught:
            save_checkpoint(tmp_path, 20, {"large": torch.zeros(100_000)}, {})
        assert names(tmp_path) == before
        save_checkpoint(tmp_path, 20, tensors_at(20), {})
    said = str(caught.value)
    assert "step-000020.safetensors: cannot be saved (" in said
    assert "; step 10 stands; make room on its disk" in said
    assert "\n" not in said
    assert newest_checkpoint(tmp_path).step == 20


@POSIX
def test_a_folder_that_cannot_be_written_to_is_refused_before_any_work(tmp_path, largest_file):
    refused = pytest.raises(UsageError, match="run.json: cannot be written")
    with largest_file(0), refused, open_run(tmp_path / "a", IDENTITY):
        pytest.fail("was opened")
    (tmp_path / "file").write_text("not a folder")
    for folder in (tmp_path / "file", tmp_path / "file" / "run", Path("/proc/run")):
        with pytest.raises(UsageError, match="cannot be used for a run"):
            open_run(folder, IDENTITY).__enter__()


def test_a_disk_without_the_room_that_a_run_needs_is_refused_before_any_work(tmp_path):
    check_room(tmp_path, 1000)
    with pytest.raises(UsageError, match="MB of free disk, expected 4,000,000,000 MB"):
        check_room(tmp_path, 10**15)


SMALL_DISK = """
import subprocess, sys, warnings
from pathlib import Path
import torch
from portraitlib.training.checkpoints import newest_checkpoint, open_run, save_checkpoint
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
    assert {path.name for path in run.glob("step*")} == {"step-000010.safetensors"}
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
    assert "step-000020.safetensors: cannot be saved (" in mid_save
    assert "No space left on device" in mid_save
    assert "step 10 stands" in mid_save
    assert "run.json: cannot be written" in full
    assert "No space left on device" in full
    assert "run: cannot be used for a run (Read-only file system)" in begun
    assert "new: cannot be used for a run (Read-only file system)" in new
