"""Runs of notebooks on a Ray cluster: the one that RAY_ADDRESS names or that runs here, else here.

Nothing has to be shared between the machines but the files that parameters name: what a run made
travels back through Ray. On each machine a run is a process as on this one alone.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from portraitlib.batch.notebook import Task
from portraitlib.batch.runs import LocalEngine, WorkerLost, kernel_variables
from portraitlib.places import PACKAGE, folder_hash, weights_hash
from portraitlib.settings import UsageError


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
    archive = io.BytesIO()
    with tempfile.TemporaryDirectory(prefix="portraitlib-") as store:
        engine = LocalEngine(Path(store))
        try:
            engine.run(task, attempt)
        except BaseException:
            engine.stop()
            raise
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(Path(store) / task.name, arcname=task.name)
    return archive.getvalue()


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
