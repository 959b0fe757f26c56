"""Draws a style until it has enough: small batches, each looked at, and mended where that serves.

What was drawn and found out lies in the style's folder after each batch: a search goes on there.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from portraitlib.cost import Budget, Cost, cost_of
from portraitlib.device import device_name
from portraitlib.generate.conditions import canny
from portraitlib.generate.control import control_to_image
from portraitlib.generate.images import text_to_image
from portraitlib.models.adapters import Adapter
from portraitlib.models.load import Model
from portraitlib.photos.photo_set import Likeness, PhotoSet
from portraitlib.portrait import Portrait, read_json, write_json
from portraitlib.profile.findings import Finding, Judge, make_judge
from portraitlib.profile.mend import mend
from portraitlib.profile.styles import Setting, Style, move
from portraitlib.settings import Control, Sampling, UsageError
from portraitlib.training.class_images import style_strangers

MOST_EACH = 12  # portraits drawn for one that is wanted; then a style is given up
TRIED_ENOUGH = 2  # portraits in which something was drawn again, and none mended by it
ONE_PHOTO = 1.4  # times the scale of an adapter: one photo says less than a training
MENDING = 2**31  # seeds of what is drawn again, far from those of portraits
FOLDER, STATE = "drawn", "search.json"

OnStep = Callable[[Any], None]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Drawn:
    """One portrait of a search: its file below the folder, and what was found out about it.

    again: how often something in it was drawn again.  mended: did that make it worth keeping?
    """

    file: str
    seed: int
    finding: Finding
    again: int = 0
    mended: bool = False


@dataclass(frozen=True)
class Batch:
    """What was drawn with one setting, and the seconds that drawing, looking and mending took."""

    setting: Setting
    drawn: tuple[Drawn, ...]
    seconds: float


@dataclass(frozen=True)
class Search:
    """What came of one style; it is in the style's folder.

    prompt: what was drawn.  ends: what a likeness of 0 and of 1 is, in words.  seconds: of drawing
    strangers; near 0 where they were there.
    """

    style: Style
    prompt: str
    batches: tuple[Batch, ...] = ()
    ends: str = ""
    seconds: float = 0.0

    @property
    def drawn(self) -> list[Drawn]:
        """Every portrait that was drawn, in order."""
        return [drawn for batch in self.batches for drawn in batch.drawn]

    @property
    def drawings(self) -> int:
        """How often was drawn, what was drawn again included."""
        return sum(1 + drawn.again for drawn in self.drawn)

    @property
    def good(self) -> list[Drawn]:
        """Those that are worth keeping."""
        return [drawn for drawn in self.drawn if drawn.finding.good]

    @property
    def spent_s(self) -> float:
        """The seconds of all of it."""
        return self.seconds + sum(batch.seconds for batch in self.batches)


@dataclass(frozen=True)
class Standing:
    """How far it is: portraits that are kept, of all that are wanted, and what was just done.

    kept: their files.
    """

    step: int
    total: int
    text: str
    kept: tuple[Path, ...] = ()

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, eq=False)
class Task:
    """What was asked for, checked."""

    model: Model
    photos: PhotoSet
    learnt: PhotoSet
    held_out: PhotoSet
    styles: list[Style]
    home: Path
    keep: int
    quick: bool
    who: str
    seed: int
    budget: Budget
    on_step: OnStep

    @property
    def wanted(self) -> int:
        return self.keep * len(self.styles)


def begin_search(task: Task, style: Style) -> Search:
    """The search of a style as it was left, or new."""
    path = task.home / FOLDER / style.folder / STATE
    named = "a" if task.quick else task.photos.identifier
    prompt = f"portrait of {named} {task.who}, {style.words}"
    if path.is_file():
        search = read_json(path, Search)
        if (search.prompt, search.style) == (prompt, style):
            return search
    return Search(style, prompt)


def search_all(
    task: Task, face: Adapter | None, searches: list[Search], learning: Cost | None
) -> None:
    """A batch for each style in turn until all have enough; `searches` is kept up to date."""
    judges: dict[int, Judge] = {}
    device = device_name(task.model.device)

    def tell(words: str) -> None:
        good = [drawn for search in searches for drawn in search.good[: task.keep]]
        kept = tuple(task.home / drawn.file for drawn in good)
        task.on_step(Standing(len(kept), task.wanted, words, kept))

    while missing := [at for at, search in enumerate(searches) if is_missing(task, search)]:
        for at in missing:
            spent = cost_of(sum(search.spent_s for search in searches), device)
            task.budget.check(spent if learning is None else learning + spent)
            if at not in judges:
                judges[at], searches[at] = make_style_judge(task, face, searches[at], tell)
            setting = next_setting(searches[at], task.quick)
            searches[at] = draw_batch(task, face, searches[at], judges[at], setting, tell=tell)
            tell(_in_words(task, searches[at]))


def is_missing(task: Task, search: Search) -> bool:
    """Has a style too few portraits, and is not given up?"""
    return len(search.good) < task.keep and len(search.drawn) < MOST_EACH * task.keep


def say_nothing(_: str) -> None:
    """Tells nobody how far it is."""


def make_style_judge(
    task: Task, face: Adapter | None, search: Search, tell: Tell = say_nothing
) -> tuple[Judge, Search]:
    """The judge of a style, and the search with what strangers took to draw."""
    plain = search.prompt.replace(f"{task.photos.identifier} ", "a ")
    begun_s = time.perf_counter()
    try:
        strangers = style_strangers(
            task.model, plain, Sampling(seed=task.seed), task.model.preset.strangers,
            on_step=_counted(tell, f"{search.style.name}: strangers to measure against"),
        )  # fmt: skip
    except UsageError:
        strangers = []  # a style in which the finder sees no face
    seconds = time.perf_counter() - begun_s
    learnt = None if task.learnt is task.held_out else task.learnt
    words = search.style.words
    judge = make_judge(task.model, task.held_out, words, strangers, learnt)
    return judge, replace(search, ends=judge.ends, seconds=search.seconds or seconds)


def next_setting(search: Search, quick: bool = False) -> Setting:
    """Where the style begins, or where the last batch sends it, if most of that was no good."""
    if not search.batches:
        return Setting(search.style.scale * (ONE_PHOTO if quick else 1))
    last = search.batches[-1]
    findings = [drawn.finding for drawn in last.drawn]
    if 2 * sum(finding.good for finding in findings) >= len(findings):
        return last.setting
    unlike = sum(not finding.is_him and not finding.faults for finding in findings)
    unstyled = sum(bool(finding.lacking) for finding in findings)
    return move(last.setting, unlike, unstyled)


def draw_batch(
    task: Task,
    face: Adapter | None,
    search: Search,
    judge: Judge,
    setting: Setting,
    mending: bool = True,
    tell: Tell = say_nothing,
) -> Search:
    """The search with one more batch, which is on the disk before this returns."""
    home = task.home / FOLDER / search.style.folder
    count = task.keep - len(search.good)
    first = task.seed + len(search.drawn)
    begun_s = time.perf_counter()
    model = task.model if face is None else task.model.with_adapter(face, setting.scale)
    paths = [home / f"{seed:06d}.png" for seed in range(first, first + count)]
    if all(path.is_file() for path in paths):  # drawn, and stopped before they were looked at
        portraits = [Portrait.open(path) for path in paths]
    else:
        sampling = Sampling(first, num_images=count)
        told = _counted(tell, f"{search.style.name}: drawing {count}")
        portraits = _draw(task, model, search.prompt, setting, sampling, told)
        for portrait, path in zip(portraits, paths, strict=True):
            portrait.save(path)
    found = judge.look([portrait.image for portrait in portraits])
    rows: list[Drawn] = []
    for path, portrait, finding in zip(paths, portraits, found, strict=True):
        seed, again = portrait.recipe["seed"], 0
        if mending and not finding.good and not in_vain(search, rows):
            portrait, finding, again = mend(model, portrait, finding, judge, MENDING + seed)
        if mended := again > 0 and finding.good:
            path = portrait.save(path.with_stem(f"{path.stem}-mended"))
        file = path.relative_to(task.home).as_posix()
        rows.append(Drawn(file, seed, finding, again, mended))
    batch = Batch(setting, tuple(rows), time.perf_counter() - begun_s)
    search = replace(search, batches=(*search.batches, batch))
    write_json(home / STATE, asdict(search))
    return search


def in_vain(search: Search, now: Sequence[Drawn] = ()) -> bool:
    """Has drawing again been tried in this style, and nothing mended?"""
    tried = [drawn for drawn in (*search.drawn, *now) if drawn.again]
    return len(tried) >= TRIED_ENOUGH and not any(drawn.mended for drawn in tried)


def _counted(tell: Tell, what: str) -> Callable[[int, int], None]:
    """An `on_step` of a drawing that tells how far it is, and where a run can be stopped."""
    return lambda step, total: tell(f"{what}, step {step} of {total}")


def _draw(
    task: Task,
    model: Model,
    prompt: str,
    setting: Setting,
    sampling: Sampling,
    told: Callable[[int, int], None],
) -> list[Portrait]:
    person = Likeness(task.learnt, setting.scale) if task.quick else None
    if not setting.edges:
        return text_to_image(model, prompt, sampling, person=person, on_step=told)
    held = Control(scale=setting.edges)
    edges = canny(task.learnt[0])
    return control_to_image(model, edges, prompt, sampling, held, person=person, on_step=told)


def _in_words(task: Task, search: Search) -> str:
    good = min(len(search.good), task.keep)
    words = f"{search.style.name}: {good} of {task.keep} kept, {len(search.drawn)} drawn"
    return f"{words}, {search.batches[-1].setting}"


def mostly_wrong(search: Search) -> str:
    """What was wrong most often with the portraits of a search, in words."""
    reasons: Counter[str] = Counter()
    for finding in (drawn.finding for drawn in search.drawn):
        unlike = () if finding.is_him or finding.faults else ("not like the person",)
        reasons.update([*finding.faults, *unlike, *(f"no {word}" for word in finding.lacking)])
    return ", ".join(f"{reason} in {count}" for reason, count in reasons.most_common(2))
