"""One run in one folder: a lock that dies with the process that holds it."""

from __future__ import annotations

import errno
import os
import platform
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from portraitlib.settings import UsageError

LOCK = ".lock"
TAKEN = (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)
# Locks that this process holds; a forked child lets go of its copies, or it would hold them longer
# than the process that trains.
HELD: set[FileIO] = set()


@contextmanager
def hold_lock(folder: Path, what: str = "run") -> Iterator[FileIO]:
    """Make the folder if need be, and keep every other run out of it meanwhile.

    what: what the others are called, such as "batch". Gives the open file that is the lock.
    Raises UsageError if another has it, whose process is named, or if the folder cannot be
    written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Not emptied: it may name the process that holds the lock.
        lock = FileIO(os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666), "r+")
    except OSError as problem:
        raise UsageError(
            f"{folder}: cannot be used for a {what} ({problem.strerror}); "
            "try a folder that you may write to, on a disk with room"
        ) from None
    with lock:
        _take(lock, folder, what)
        HELD.add(lock)
        try:
            yield lock
        finally:
            HELD.discard(lock)


def _take(lock: FileIO, folder: Path, what: str) -> None:
    """Lock the file and write into it who holds it."""
    try:
        _lock(lock.fileno())
    except OSError as problem:
        if problem.errno in TAKEN:
            holder = lock.read(200).decode(errors="replace").strip() or "not yet named"
            raise UsageError(
                f"{folder}: another {what} is at work there, {holder}; wait for it, stop it, "
                "or give another folder"
            ) from None
        warnings.warn(
            f"{folder}: its disk knows no locks ({problem.strerror}); see that no second {what} "
            "uses it meanwhile",
            stacklevel=2,
        )
    try:
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {platform.node()}".encode())
    except OSError:
        pass  # the name is a courtesy; a full disk is refused by the proof that follows


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        # A byte far beyond the end: what is locked there, others cannot read.
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _let_go_in_child() -> None:
        for lock in HELD:
            lock.close()
        HELD.clear()

    os.register_at_fork(after_in_child=_let_go_in_child)
