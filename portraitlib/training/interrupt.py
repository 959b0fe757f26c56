"""Ctrl-C at a place of one's own choosing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Interrupt:
    """asked: has Ctrl-C been pressed since?"""

    asked: bool = False


@contextmanager
def hold_interrupts() -> Iterator[Interrupt]:
    """Note Ctrl-C rather than break off, so that a step is done or not; a second one breaks off.

    Outside the main thread, where Python takes no signals, nothing changes.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def note(number: int, frame: object) -> None:
        if interrupt.asked:
            raise KeyboardInterrupt
        interrupt.asked = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
