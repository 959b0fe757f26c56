"""Processes that tests start: code run apart, waited for, killed in the middle of a save."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any


def run_python(code: str, *arguments: str, launcher: tuple[str, ...] = (), **environment: str):
    """Run code, or what a launcher launches, on one thread; it can import what is beside this."""
    command = [sys.executable, *launcher]
    command += [*arguments] if launcher else ["-c", code, *arguments]
    here = Path(__file__).parent
    beside = [str(here), str(here.parent), os.environ.get("PYTHONPATH", "")]
    limits = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    limits["PYTHONPATH"] = os.pathsep.join(filter(None, beside))
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **limits, **environment}
    )


def wait_for(condition: Callable[[], Any], limit_s: float = 120.0) -> None:
    """Return once the condition holds; fail when it does not in time."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.is_file() and ") Z " in state.read_text())


# --- killed --------------------------------------------------------------------------------------

PROOF_SYNCS = 1  # so often a run that begins asks for bytes to be on the disk, before any save


def die_at_sync(left: int) -> None:
    """Die in the middle of a save, once it has asked this often for bytes to be on the disk."""
    sync = os.fsync

    def counted(descriptor: int) -> None:
        nonlocal left
        left -= 1
        sync(descriptor)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    os.fsync = counted


def attempt(
    train: Callable[[Path], Any], folder: Path, moment_s: float | None = None, sync: int = 0
) -> int:
    """Train in a fork that is killed after so long or in its nth sync, if at all: its status."""
    child = os.fork()
    if child == 0:
        warnings.simplefilter("ignore")
        if sync:
            die_at_sync(sync)
        try:
            train(folder)
        except BaseException as problem:
            print(repr(problem), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    if moment_s is not None:
        time.sleep(moment_s)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def newest_step(folder: Path) -> int:
    return max((int(path.stem[5:]) for path in folder.glob("step-*")), default=0)


def kill_by_plan(
    attempted: Callable[..., tuple[int, Any]],
    outcome: Callable[[Path], str],
    base: Path,
    plan: list[dict[str, Any]],
) -> tuple[list[dict[str, Any]], list[str], Path]:
    """Kill runs as planned: what was seen of each death, what whole runs came to, the last folder.

    `attempted` gives the status of an attempt and where it began.
    """
    told: list[dict[str, Any]] = []
    ended: list[str] = []
    folder = base / "run0"
    while plan:
        status, begun = attempted(folder, **plan[-1])
        if status == 0:  # done before its moment came: that counts as none, and a new run begins
            ended.append(outcome(folder))
            folder = base / f"run{len(ended)}"
            continue
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
        halves = bool(list(folder.glob(".*.part")))
        told.append({"begun": begun, "inside": "sync" in plan.pop(), "halves": halves})
    return told, ended, folder
