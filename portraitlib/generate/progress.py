"""One line of progress, written over itself, wherever a long call reports its steps.

No widget: a notebook keeps the last line as plain text, also where papermill runs it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from portraitlib.settings import UsageError

SHOW_EVERY_S = 0.25  # in a notebook or a terminal
LINES = 20  # in a file or a pipe: about so many in all


def print_progress(what: str = "", *, file: TextIO | None = None) -> Callable[..., None]:
    """A callback for `on_step`: shows how far a training or a drawing is, and the seconds left.

    what: words before it, such as "class images".  file: where to, the standard output by default.
    In a notebook and in a terminal it is one line that changes, else about 20 lines in all.
    Raises UsageError for what is no text: `on_step=pl.print_progress()` has parentheses.
    """
    if not isinstance(what, str):
        raise UsageError(
            f"print_progress: got {type(what).__name__}, expected words or nothing; try "
            "on_step=print_progress()"
        )
    line = _Line(f"{what}: " if what else "", file)

    def report(*now: Any) -> None:
        """Take a Progress, or the step and how many there are."""
        if len(now) == 1:
            line.show(str(now[0]), now[0].step, now[0].total)
        else:
            line.show(line.counted(*now), *now)

    return report


class _Line:
    """Where the line stands, and when it was last written."""

    def __init__(self, before: str, file: TextIO | None) -> None:
        self.before, self.file = before, file
        self.begun_s = self.shown_s = 0.0
        self.first = self.step = self.shown_step = 0
        self.width = 0
        self.display_id = ""

    def counted(self, step: int, total: int) -> str:
        """What there is to say of a call that knows its steps alone."""
        if not self.begun_s or step < self.step:  # the first, or another call of the same callback
            self.begun_s, self.first = time.perf_counter(), step
        self.step = step
        seconds = time.perf_counter() - self.begun_s
        text = f"step {step} of {total}, {seconds:.0f} s"
        if step > self.first:
            text += f", {seconds / (step - self.first) * (total - step):.0f} s left"
        return text

    def show(self, text: str, step: int, total: int) -> None:
        """Write it if it is time to; the last one always."""
        last, text = step >= total, self.before + text
        if step < self.shown_step:  # another call: a line of its own
            self.display_id, self.shown_step = "", 0
        now_s = time.perf_counter()
        file = self.file or sys.stdout
        in_notebook = self.file is None and _in_notebook()
        rewritten = in_notebook or file.isatty()
        wait_s, wait_steps = (SHOW_EVERY_S, 0.0) if rewritten else (0.0, total / LINES)
        if not last and (now_s - self.shown_s < wait_s or step - self.shown_step < wait_steps):
            return
        if in_notebook:
            self._display(text)
        elif rewritten:
            file.write("\r" + text.ljust(self.width) + "\n" * last)
            file.flush()
        else:
            print(text, file=file, flush=True)
        self.shown_s, self.shown_step, self.width = now_s, step, len(text)
        if last:
            self.display_id, self.begun_s, self.shown_step, self.width = "", 0.0, 0, 0

    def _display(self, text: str) -> None:
        from IPython.display import display

        update = bool(self.display_id)
        self.display_id = self.display_id or f"portraitlib-{id(self)}-{time.time_ns()}"
        display({"text/plain": text}, raw=True, display_id=self.display_id, update=update)


def _in_notebook() -> bool:
    """Does a kernel run this, which shows what is displayed? A plain IPython prompt does not."""
    ipython = sys.modules.get("IPython")
    return getattr(ipython and ipython.get_ipython(), "kernel", None) is not None
