"""Where the runs of a batch are executed: processes of this machine, or a Ray cluster.

An engine has `places`, how many runs it takes at a time, `run(task, attempt)`, which blocks until
the run lies in the store, and `stop()`, which ends all that are under way. A run that went down
with its worker raises `WorkerLost`; the caller decides whether it gets a second try.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any, Protocol

from portraitlib.batch.execute import KernelDied, clear_remains, environment
from portraitlib.batch.tasks import Execution, Task, read_execution
from portraitlib.batch.worker import (
    DONE,
    LOST,
    MISTAKE,
    STOPPED,
    library_stamp,
    perform_far,
    task_line,
    unpack,
)
from portraitlib.settings import UsageError

STOP_S = 30.0  # a worker that has not ended by itself in that time is killed


class WorkerLost(RuntimeError):
    """The process or machine that executed a run is gone."""


class Stopped(RuntimeError):
    """The run was ended because the batch was."""


class Engine(Protocol):
    """What executes runs; see above."""

    places: int

    def run(self, task: Task, attempt: int) -> Execution: ...

    def stop(self) -> None: ...

    def close(self) -> None: ...


def _kept(task: Task, store: Path) -> Execution:
    run = read_execution(store / task.name)
    if run is None:
        raise WorkerLost("its result is not where it should be")
    return run


class LocalEngine:
    """A process a run on this machine; with several at a time, a GPU each in turn."""

    def __init__(self, store: Path, jobs: int = 1):
        self.store, self.places = store, jobs
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._lock, self._stopping = threading.Lock(), False
        self._slots: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
        for settings in _slots(jobs):
            self._slots.put(settings)

    def run(self, task: Task, attempt: int) -> Execution:
        """Execute the task; raises WorkerLost, Stopped, or UsageError for a place it can't use."""
        clear_remains(task, self.store)  # of a worker that was killed
        line = task_line(task, self.store, attempt, progress=self.places == 1)
        slot = self._slots.get()
        try:
            code, told = self._perform(line, slot)
        finally:
            self._slots.put(slot)
        if code == DONE:
            return _kept(task, self.store)
        if self._stopping or code == STOPPED:
            clear_remains(task, self.store)
            raise Stopped(task.name)
        if code == MISTAKE:
            raise UsageError(told)
        if code == LOST:
            raise WorkerLost(told)
        reason = f"signal {-code}" if code < 0 else f"exit code {code}: {told}"
        raise WorkerLost(f"its worker was lost ({reason})")

    def _perform(self, line: str, slot: dict[str, str]) -> tuple[int, str]:
        """Start a worker, hand it the task, wait; the exit code, and the last line that it said."""
        # A file and no pipe: a kernel that outlives its worker would hold a pipe open.
        with tempfile.TemporaryFile() as said:
            with self._lock, environment(**slot):
                if self._stopping:
                    raise Stopped
                process = subprocess.Popen(
                    [sys.executable, "-m", "portraitlib.batch.worker"],
                    stdin=subprocess.PIPE,
                    stdout=said,
                    stderr=None if self.places == 1 else said,
                    # Ctrl-C is for the batch, which ends its workers in turn.
                    start_new_session=True,
                )
                self._processes.add(process)
            assert process.stdin is not None
            with contextlib.suppress(OSError, ValueError):  # it is gone, or was stopped already
                process.stdin.write(line.encode())
                process.stdin.flush()
            code = process.wait()
            with self._lock:
                self._processes.discard(process)
            _close(process)
            said.seek(0)
            told = said.read().decode(errors="replace").strip().splitlines()
            return code, told[-1] if told else ""

    def stop(self) -> None:
        """End all workers: each ends with its stdin."""
        with self._lock:
            self._stopping = True
            processes = list(self._processes)
        for process in processes:
            _close(process)
        for process in processes:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()

    def close(self) -> None:
        """Nothing stays open."""


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()


def _slots(jobs: int) -> list[dict[str, str]]:
    """The environment of each place: its GPU, and its share of the processors."""
    if jobs == 1:
        return [{}]
    from portraitlib.device import gpu_ids

    gpus = gpu_ids()
    slots: list[dict[str, str]] = [{} for _ in range(jobs)]
    for index, slot in enumerate(slots):
        if gpus:
            slot["CUDA_VISIBLE_DEVICES"] = gpus[index % len(gpus)]
        if "OMP_NUM_THREADS" not in os.environ:
            slot["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // jobs))
    return slots


class RayEngine:
    """A Ray task a run: on the cluster that RAY_ADDRESS names or that runs here, else just here.

    jobs: the most at a time; None for as many as fit.  gpus: what each asks for; None for one if
        the cluster has any. The results travel through Ray and are written here alone: a run whose
        machine is lost half way leaves nothing that could be there twice.
    """

    def __init__(self, store: Path, jobs: int | None = None, gpus: float | None = None):
        ray = import_ray()
        self.store, self.places = store, jobs or 1000
        self._ray, self._started = ray, not ray.is_initialized()
        self._references: set[Any] = set()
        self._lock, self._stopping = threading.Lock(), False
        if self._started:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
            with environment():
                ray.init(log_to_driver=False, logging_level="error", include_dashboard=False)
        if gpus is None:
            gpus = 1.0 if ray.cluster_resources().get("GPU", 0) >= 1 else 0.0
        # The second try is ours, so that it is counted. A process that has done one run takes
        # another: what a run holds is held by its kernel, which is gone by then.
        settings = {"num_cpus": 1, "num_gpus": gpus, "max_retries": 0}
        self._remote = ray.remote(**settings)(_work)

    def run(self, task: Task, attempt: int) -> Execution:
        """Execute the task; raises WorkerLost, Stopped, or UsageError for another library there."""
        with self._lock:
            if self._stopping:
                raise Stopped
            reference = self._remote.remote(task, attempt, library_stamp())
            self._references.add(reference)
        try:
            archive = self._ray.get(reference)
        except self._ray.exceptions.TaskCancelledError:
            raise Stopped from None
        except self._ray.exceptions.RayTaskError as problem:
            if self._stopping:
                raise Stopped from None
            if isinstance(problem.cause, KernelDied):
                raise WorkerLost(str(problem.cause)) from None
            if isinstance(problem.cause, UsageError):
                raise UsageError(str(problem.cause)) from None
            told = f"{type(problem.cause).__name__}: {' '.join(str(problem.cause).split())}"
            raise WorkerLost(f"its worker failed ({told[:300]})") from None
        except self._ray.exceptions.RayError as problem:
            if self._stopping:
                raise Stopped from None
            raise WorkerLost(f"its worker was lost ({type(problem).__name__})") from None
        finally:
            with self._lock:
                self._references.discard(reference)
        unpack(archive, self.store / task.name)
        return _kept(task, self.store)

    def stop(self) -> None:
        """End all tasks, as Ctrl-C would."""
        with self._lock:
            self._stopping = True
            references = list(self._references)
        for reference in references:
            self._ray.cancel(reference)

    def close(self) -> None:
        """Leave the cluster; end it if it was started here."""
        if self._started:
            self._ray.shutdown()


def _work(task: Task, attempt: int, stamp: dict[str, Any]) -> bytes:
    """What a Ray task does."""
    if library_stamp() != stamp:
        raise UsageError(
            "the machines have different portraitlib; try pip install of the same on each"
        )
    return perform_far(task, attempt)


def import_ray() -> Any:
    """Ray, or a UsageError that says how to get it."""
    try:
        import ray
        import ray.exceptions
    except ImportError as problem:
        raise UsageError(
            f"--engine ray: {problem}; try pip install 'portraitlib[ray]', or --engine local"
        ) from None
    return ray
