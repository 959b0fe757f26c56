"""The side of the studio where pictures appear: the buttons that draw, progress, what was made.

Widgets are served by the kernel's main thread. A job that ran there would hold up the message that
asks it to stop; in a thread of its own it forming, after each step, whether it was asked to.
"""

from __future__ import annotations

import html
import io
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets
from PIL import Image

from portraitlib.generate.latents import Preview
from portraitlib.settings import UsageError
from portraitlib.studio.draw import Callbacks
from portraitlib.studio.gallery import Entry, download_link, encoded, recipe_html

SHOWN_PX = 1024
PREVIEW_EVERY_S = 0.15  # at the most; and previews take at most a fifth of the time
LONGEST_WARNING = 300  # characters; what is longer is for developers


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


class Stage:
    """Runs one job at a time and shows how far it is and what comes of it.

    chosen: the picture that is shown large; None for none.
    """

    def __init__(self) -> None:
        self.worker = Worker()
        self.chosen: Entry | None = None
        self.large, self.said = b"", ""
        self.action = widgets.Button(description="Generate", button_style="primary", icon="magic")
        self.cancel = widgets.Button(description="Cancel", icon="stop", disabled=True)
        self.bar = widgets.FloatProgress(value=0.0, min=0.0, max=1.0).add_class("pl-bar")
        words = "Draw when a setting changes"
        self.live = widgets.Checkbox(description=words, indent=False, layout={"width": "auto"})
        self.line = widgets.HTML().add_class("pl-say")
        self.picture = widgets.Image(format="jpeg", layout={"display": "none"})
        self.recipe = widgets.HTML().add_class("pl-recipe")
        self.link = widgets.HTML("<span class='pl-get pl-off'>Download PNG</span>")
        self.to_photo = widgets.Button(description="To photo", icon="image")
        self.to_edges = widgets.Button(description="To edges", icon="pencil")
        self.to_sliders = widgets.Button(description="To sliders", icon="sliders")
        self.cancel.on_click(lambda _: self._stop())
        self.boxes = self._lay_out()

    def _lay_out(self) -> list[Any]:
        act = widgets.Box([self.action, self.cancel, self.bar]).add_class("pl-act")
        place = widgets.Box([self.picture]).add_class("pl-stage")
        after = widgets.Box([self.to_photo, self.to_edges, self.to_sliders, self.link])
        return [act, self.live, self.line, place, after.add_class("pl-after"), self.recipe]

    # --- a job -----------------------------------------------------------------------------------

    def run(self, job: Callable[[], None], word: str) -> None:
        """Run a job in a thread of its own; a mistake becomes one line on screen."""

        def guarded() -> None:
            self.action.disabled, self.cancel.disabled = True, False
            self.bar.value = 0.0
            self.say(word)
            try:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always", UserWarning)
                    job()
                texts = dict.fromkeys(str(warning.message) for warning in caught)
                short = [t for t in texts if "\n" not in t and len(t) < LONGEST_WARNING]
                self.say("; ".join([self.said, *short]))
            except Cancelled:
                if not self.worker.replaced:
                    self.say("Cancelled.")
                    self._show_chosen()
            except UsageError as problem:
                self.wrong(str(problem))
            except KeyboardInterrupt as stopped:
                self.say(str(stopped) or "Stopped.")
            except Exception as problem:  # the reader sees one line and may try again
                self.wrong(f"{type(problem).__name__}: {' '.join(str(problem).split())[:400]}")
            finally:
                self.action.disabled, self.cancel.disabled = False, True
                self.bar.value = 0.0

        self.worker.start(guarded)

    def callbacks(self, forming: Forming) -> Callbacks:
        """What a drawing calls: the bar moves, previews appear, and Cancel is heard."""
        return Callbacks(self.step, forming.see, self.tell)

    def tell(self, now: Any) -> None:
        """Show how far a job is, in its words too; raises Cancelled if it was asked to stop."""
        self.bar.value = now.step / now.total
        self.say(str(now))
        self.worker.check()

    def step(self, step: int, total: int) -> None:
        """Show how far a job is; raises Cancelled if it was asked to stop."""
        self.worker.check()
        self.bar.value = step / total

    def _stop(self) -> None:
        self.cancel.disabled = True
        self.worker.cancel()

    # --- what is shown ---------------------------------------------------------------------------

    def show(self, entry: Entry) -> None:
        """Show a picture of the gallery large, with its recipe and what can be done with it."""
        content = entry.path.read_bytes()
        with Image.open(io.BytesIO(content)) as picture:
            self.large = encoded(picture, SHOWN_PX)
        self.chosen = entry
        self._show_chosen()
        self.recipe.value = recipe_html(entry.recipe)
        self.link.value = download_link(content, entry.path.name, "image/png", "Download PNG")

    def _show_chosen(self) -> None:
        """The chosen picture in place of a preview; the place stays, empty, where there is none."""
        self.picture.value = self.large
        self.picture.layout.display = "none" if self.chosen is None else None

    def say(self, text: str) -> None:
        """One line below the buttons."""
        self.said = text
        self.line.value = f'<span role="status">{html.escape(text)}</span>'

    def wrong(self, text: str) -> None:
        """One line that says what cannot be, and what to try."""
        self.said = text
        self.line.value = f'<span class="pl-wrong" role="alert">{html.escape(text)}</span>'


class Forming:
    """Shows what forms, now and then: at most a fifth of the time goes into looking.

    first_s: seconds until the first preview, 0 while there is none.
    """

    def __init__(self, picture: Any) -> None:
        self.picture, self.started_s = picture, time.perf_counter()
        self.next_s, self.first_s = 0.0, 0.0

    def see(self, preview: Preview) -> None:
        """Show a preview if it is time to; the last is the picture itself, which comes next."""
        begun_s = time.perf_counter()
        if begun_s < self.next_s or preview.step == preview.total:
            return
        self.picture.value = encoded(preview.pictures()[0])
        self.picture.layout.display = None
        done_s = time.perf_counter()
        self.first_s = self.first_s or done_s - self.started_s
        self.next_s = done_s + max(PREVIEW_EVERY_S, 4 * (done_s - begun_s))
