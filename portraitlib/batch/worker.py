"""One run of a batch in a process of its own, so that a run that is killed takes no other along.

`python -m portraitlib.batch.worker` reads one line of JSON from stdin and executes what it says.
It ends, and its kernel with it, when stdin does: a batch that is stopped or killed leaves nothing
running.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import sys
import tarfile
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from portraitlib.batch.execute import KernelDied, perform
from portraitlib.batch.tasks import Task
from portraitlib.settings import UsageError

# What the process says by its exit code.
DONE, MISTAKE, LOST, STOPPED = 0, 2, 75, 130


def task_line(task: Task, store: Path, attempt: int, progress: bool) -> str:
    """What `main` reads; raises UsageError for parameters that cannot be written down."""
    order = {"store": str(store), "attempt": attempt, "progress": progress}
    try:
        return json.dumps({**asdict(task), **order, "notebook": str(task.notebook)}) + "\n"
    except TypeError as problem:
        raise UsageError(f"{task.notebook.name}: {problem}; expected plain values") from None


def main() -> int:
    """Execute the task on stdin; a cell that raises is a result, kept in the store."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_stop_with_stdin, daemon=True).start()
    task = Task(Path(order["notebook"]), order["text"], order["parameters"], order["address"])
    try:
        perform(
            task,
            Path(order["store"]),
            attempt=order["attempt"],
            keep_failure=True,
            progress=order["progress"],
        )
    except KernelDied as problem:
        return _say(problem, LOST)
    except UsageError as problem:
        return _say(problem, MISTAKE)
    except KeyboardInterrupt:
        return STOPPED
    return DONE


def _say(problem: Exception, code: int) -> int:
    """The last line on stdout is the reason."""
    print(" ".join(str(problem).splitlines()[0].split()), flush=True)
    return code


def _stop_with_stdin() -> None:
    sys.stdin.read()
    if hasattr(signal, "pthread_kill"):
        # A signal, not a flag: it wakes what the main thread waits for.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        os.kill(os.getpid(), signal.SIGINT)


def perform_far(task: Task, attempt: int) -> bytes:
    """Execute a task on a machine of a cluster; return its folder as a tar archive.

    Nothing has to be shared between the machines but the files that parameters name.
    """
    store = Path(tempfile.mkdtemp(prefix="portraitlib-"))
    try:
        run = perform(task, store, attempt=attempt, keep_failure=True, progress=False)
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.add(run.folder, arcname=".")
        return archive.getvalue()
    finally:
        shutil.rmtree(store, ignore_errors=True)


def unpack(archive: bytes, target: Path) -> None:
    """Put a folder from `perform_far` in its place, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    working = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(working, filter="data")
        os.chmod(working, 0o755)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(working, target)
    finally:
        shutil.rmtree(working, ignore_errors=True)


def library_stamp() -> dict[str, Any]:
    """What must be alike on all machines of a batch."""
    from portraitlib.places import PACKAGE, folder_hash, weights_hash

    return {"library": folder_hash(PACKAGE, ".py"), "weights": weights_hash()}


if __name__ == "__main__":
    sys.exit(main())
