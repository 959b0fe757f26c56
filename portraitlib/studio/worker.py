"""One job at a time, beside the kernel's own thread, so that a press of Cancel is heard.

Widgets are served by the kernel's main thread. A job that ran there would hold up the message that
asks it to stop; in a thread of its own it looks, after each step, whether it was asked to.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


class Cancelled(KeyboardInterrupt):
    """The job was asked to stop; what catches mistakes, such as a sweep, lets it through."""


class Worker:
    """Runs a job; another one that comes while it runs takes its place."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = threading.Event()
        self._next: Callable[[], None] | None = None
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """Does a job run?"""
        return self._thread is not None

    @property
    def replaced(self) -> bool:
        """Does another job wait for the end of this one?"""
        return self._next is not None

    def start(self, job: Callable[[], None]) -> None:
        """Run a job; one that runs is asked to stop, and what waited behind it is forgotten."""
        with self._lock:
            self._next = job
            if self._thread is not None:
                self._asked.set()
                return
            self._thread = threading.Thread(target=self._run, name="studio", daemon=True)
            self._thread.start()

    def cancel(self) -> None:
        """Ask the job to stop at its next step."""
        with self._lock:
            self._next = None
            self._asked.set()

    def check(self, *_: Any) -> None:
        """Called by the job at each step; raises Cancelled if it was asked to stop."""
        if self._asked.is_set():
            raise Cancelled

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until nothing runs; for tests, and for cells that go on with what was made."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._lock:
                job, self._next = self._next, None
                if job is None:
                    self._thread = None
                    return
                self._asked.clear()
            job()
