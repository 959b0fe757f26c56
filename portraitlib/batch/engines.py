"""Where the runs of a batch are executed: in processes of this machine, or on a Ray cluster.

An engine takes `places` runs at a time, each until it lies in the store.

The cluster is the one that RAY_ADDRESS names or that runs here, else one started here. Nothing has
to be shared between the machines but the files that parameters name: what a run made travels back
through Ray. On each machine a run is a process as on this one alone.
"""

from __future__ import annotations

import contextlib
import glob
import io
import json
import os
import queue
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from portraitlib.batch.notebook import DONE, MISTAKE, Task
from portraitlib.places import PACKAGE, folder_hash, weights_hash
from portraitlib.settings import UsageError

STOP_S = 30.0  # a worker that has not ended by itself in that time is killed


class WorkerLost(RuntimeError):
    """The process or machine that executed a run is gone; a second try is worth it."""


def clear_remains(task: Task, store: Path) -> None:
    """Remove the working folders that killed workers of a task left behind."""
    for folder in store.glob(f".{glob.escape(task.name)}-*"):
        shutil.rmtree(folder, ignore_errors=True)


# --- on this machine -----------------------------------------------------------------------------


class LocalEngine:
    """A process a run on this machine; with several at a time, a GPU each in turn."""

    def __init__(self, store: Path, jobs: int = 1, variables: Mapping[str, str] | None = None):
        self.store, self.places = store, jobs
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._stopping = False
        self._slots: queue.SimpleQueue[Mapping[str, str]] = queue.SimpleQueue()
        for slot in _slots(jobs):
            self._slots.put({**slot, **(variables or {})})

    def run(self, task: Task, attempt: int) -> None:
        """Execute the task; raises WorkerLost, or UsageError for a store that cannot be used."""
        clear_remains(task, self.store)  # of a worker that was killed
        order = {"task": asdict(task), "store": self.store, "attempt": attempt}
        order["progress"] = self.places == 1
        line = json.dumps(order, default=str) + "\n"  # as papermill takes what is no plain value
        slot = self._slots.get()
        try:
            code, last_line = self._run_worker(line, slot)
        finally:
            self._slots.put(slot)
        if code == MISTAKE:
            raise UsageError(last_line)
        if code != DONE:
            reason = f"signal {-code}" if code < 0 else last_line or f"exit code {code}"
            raise WorkerLost(f"its worker was lost ({reason})")

    def _run_worker(self, line: str, slot: Mapping[str, str]) -> tuple[int, str]:
        """Start a worker, hand it the task, wait; the exit code, and the last line it printed."""
        # A file and no pipe: a kernel that outlives its worker would hold a pipe open.
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "portraitlib.batch.notebook"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=None if self.places == 1 else output,
                env={**os.environ, **kernel_variables(), **slot},
                # Ctrl-C is for the batch, which ends its workers in turn.
                start_new_session=True,
            )
            self._processes.add(process)
            assert process.stdin is not None
            with contextlib.suppress(OSError, ValueError):  # it is gone, or was stopped already
                process.stdin.write(line.encode())
                process.stdin.flush()
            if self._stopping:
                _end(process)
            code = process.wait()
            self._processes.discard(process)
            _end(process)
            output.seek(0)
            lines = output.read().decode(errors="replace").strip().splitlines()
            return code, lines[-1] if lines else ""

    def stop(self) -> None:
        """End all workers: each ends with its stdin."""
        self._stopping = True
        processes = list(self._processes)
        for process in processes:
            _end(process)
        for process in processes:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()

    close = stop


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        if process.stdin is not None:
            process.stdin.close()


def kernel_variables() -> dict[str, str]:
    """Environment variables with which kernels that are started have this copy of the library."""
    path = filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")])
    # Some kernels warn of their debugger else.
    return {"PYTHONPATH": os.pathsep.join(path), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}


def _slots(jobs: int) -> list[dict[str, str]]:
    """The environment of each place: its GPU, and its share of the processors."""
    if jobs == 1:
        return [{}]
    from portraitlib.device import gpu_ids

    gpus = gpu_ids()
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // jobs))}
    shared = {} if "OMP_NUM_THREADS" in os.environ else threads
    return [
        {**shared, **({"CUDA_VISIBLE_DEVICES": gpus[place % len(gpus)]} if gpus else {})}
        for place in range(jobs)
    ]


# --- on a cluster --------------------------------------------------------------------------------


class RayEngine:
    """A Ray task a run.

    jobs: the most at a time; None for as many as fit.  gpus: what each asks for; None for one if
    the cluster has any. Raises UsageError without Ray.
    """

    def __init__(self, store: Path, jobs: int | None = None, gpus: float | None = None):
        try:
            import ray
            import ray.exceptions
        except ImportError as problem:
            raise UsageError(
                f"engine: {problem}; try pip install 'portraitlib[ray]', or the engine local"
            ) from None
        self._ray, self.store, self.places = ray, store, jobs or 1000
        self._running: set[Any] = set()
        self._started = not ray.is_initialized()
        if self._started:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
            os.environ.update(kernel_variables())
            ray.init(log_to_driver=False, logging_level="error", include_dashboard=False)
        if gpus is None:
            gpus = 1.0 if ray.cluster_resources().get("GPU", 0) >= 1 else 0.0
        self._work = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(_work)

    def run(self, task: Task, attempt: int) -> None:
        """Execute the task; raises WorkerLost, or UsageError for another library there."""
        reference = self._work.remote(task, attempt, _library())
        self._running.add(reference)
        try:
            archive = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as problem:
            if isinstance(problem.cause, UsageError | WorkerLost):
                raise problem.cause from None
            reason = " ".join(str(problem.cause).split())[:300]
            raise WorkerLost(f"its worker failed ({reason})") from None
        except self._ray.exceptions.RayError as problem:
            raise WorkerLost(f"its worker was lost ({type(problem).__name__})") from None
        finally:
            self._running.discard(reference)
        _unpack(archive, self.store / task.name)

    def stop(self) -> None:
        """End all tasks, as Ctrl-C would."""
        for reference in list(self._running):
            self._ray.cancel(reference)

    def close(self) -> None:
        """Leave the cluster; end it if it was started here."""
        if self._started:
            self._ray.shutdown()


def _work(task: Task, attempt: int, library: list[str]) -> bytes:
    """What a Ray task does: the run's folder as a tar archive."""
    if _library() != library:
        raise UsageError(
            "the machines have different portraitlib; try pip install of the same on each"
        )
    with tempfile.TemporaryDirectory(prefix="portraitlib-") as store:
        with contextlib.closing(LocalEngine(Path(store))) as engine:
            engine.run(task, attempt)
        return Path(shutil.make_archive(f"{store}/run", "tar", store, task.name)).read_bytes()


def _unpack(archive: bytes, target: Path) -> None:
    """Put a run's folder in its place, whole or not at all."""
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as working:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(working, filter="data")
        shutil.rmtree(target, ignore_errors=True)
        os.replace(Path(working) / target.name, target)


def _library() -> list[str]:
    """What must be alike on all machines of a batch."""
    return [folder_hash(PACKAGE, ".py", ".toml"), weights_hash()]


Engine: TypeAlias = LocalEngine | RayEngine
