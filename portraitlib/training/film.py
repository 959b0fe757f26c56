"""The film of a training: what it draws on the way, how alike that is, and which step to keep."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from portraitlib.generate.images import text_to_image
from portraitlib.measuring.intervals import mean_interval
from portraitlib.measuring.likeness import check_photos
from portraitlib.measuring.measure import Measurement, measure
from portraitlib.measuring.sweep import SweepRow, SweepTable
from portraitlib.models.adapter_files import json_entry, read_metadata
from portraitlib.models.adapters import OWN, Adapter
from portraitlib.models.load import Model
from portraitlib.photos.photo_set import PhotoSet
from portraitlib.places import output_folder
from portraitlib.portrait import Portrait
from portraitlib.settings import Range, Sampling, UsageError, check_number
from portraitlib.sheet import Picture
from portraitlib.show import Curve, show_curves, show_table
from portraitlib.training.dreambooth import ADAPTERS, FILM, Watch

FOUR = Sampling(num_images=4)
CLASS_PICTURES = 8  # drift is a distance between sets: of fewer it says little
LEAST_PHOTOS = 2  # one alone says nothing of how alike photos of the person are
COLUMNS = Range(2, 1000, "steps side by side", example=9)
# Of what 19 in 20 random halves of the untouched model's pictures differ by. On the embedded model,
# with 8 pictures: a training that holds the class stays below 0.8 of it, one that lets the class
# become the person passes 2 within 100 steps.
DRIFT_FLOORS = 1.5
LEAST_FACES = 0.5  # share of the pictures in which one is found
HARDLY_ALIKE = 0.3  # of the way from strangers to the person
MOST_LOSS = 0.1  # of the way from strangers to the person: more is never called noise


# --- while it trains -----------------------------------------------------------------------------


def film_strip(
    prompt: str,
    photos: PhotoSet | None = None,
    *,
    class_prompt: str | None = None,
    sampling: Sampling = FOUR,
) -> Watch:
    """What `train_dreambooth(watch=...)` calls: draws the same seeds every time, and measures them.

    prompt: with the identifier in it.  sampling: as many pictures as it says, of its seeds.
    photos: of the person, best some that are not trained on: `likeness`, over the pictures in which
        a face is found, and `faces`, their share.
    class_prompt: drawn too, with 8 seeds or more: `drift` from what the untouched model drew, and
        `class_likeness`, how far the class has become the person.
    `prompt_seen` is the prompt fidelity, where somebody can judge it. The figures are those of
    `measure`. Raises UsageError for what cannot be drawn or measured.
    """
    for name, text in (("prompt", prompt), ("class_prompt", class_prompt)):
        if text is not None and not (isinstance(text, str) and text.strip()):
            raise UsageError(f"{name}: got {text!r}, expected words; try 'portrait of jrdnpl man'")
    if photos is not None:
        check_photos(photos)
        if len(photos) < LEAST_PHOTOS:
            raise UsageError(
                f"photos: got {len(photos)}, expected {LEAST_PHOTOS} or more to measure with; try "
                "photos.hold_out(3)"
            )
    more = replace(sampling, num_images=max(CLASS_PICTURES, sampling.num_images))
    untouched: list[Portrait] = []

    def watch(model: Model, step: int) -> tuple[list[Portrait], dict[str, float]]:
        portraits = _draw(model, prompt, sampling, step)
        portraits, figures = _measured(portraits, photos, prompt, first=step == 0)
        if class_prompt is None:
            return portraits, figures
        # Given anew at the start of every run, also of one that goes on.
        of_class = _draw(model, class_prompt, more, step)
        if step == 0:
            untouched[:] = of_class
        of_class, drifted = _measured_class(of_class, photos, untouched or of_class)
        return portraits + of_class, figures | drifted

    return watch


def _draw(model: Model, prompt: str, sampling: Sampling, step: int) -> list[Portrait]:
    """One portrait a seed; their recipes say that they belong to a training."""
    about = {"function": "film_strip", "training_step": step}
    portraits = text_to_image(model, prompt, sampling)
    return [replace(portrait, recipe={**portrait.recipe, **about}) for portrait in portraits]


def _measured(
    portraits: list[Portrait], photos: PhotoSet | None, prompt: str, *, first: bool
) -> tuple[list[Portrait], dict[str, float]]:
    """Portraits of the prompt, each with its likeness, and the figures of all."""
    if photos is not None:  # whose identifier no judge knows
        prompt = " ".join(prompt.replace(photos.identifier, " ").split())
    try:
        found = measure(portraits, photos=photos, prompt=prompt)
    except UsageError as problem:  # no judge knows a word of it, or it cannot be loaded here
        if first:
            warnings.warn(f"prompt fidelity is not measured: {problem}", stacklevel=2)
        if photos is None:
            return portraits, {}
        found = measure(portraits, photos=photos)
    figures = _means(found, {"likeness": "likeness", "prompt_seen": "prompt_seen"})
    if photos is None:
        return portraits, figures
    return _noted(portraits, found), {"faces": found["likeness"].count / len(found), **figures}


def _measured_class(
    portraits: list[Portrait], photos: PhotoSet | None, untouched: Sequence[Portrait]
) -> tuple[list[Portrait], dict[str, float]]:
    """Portraits of the class prompt, and how far they are from what the untouched model drew."""
    measurement = measure(portraits, photos=photos, reference=untouched)
    floor = measurement["drift"].scale.floor
    noted = _noted(portraits, measurement, {} if floor is None else {"drift_floor": floor})
    return noted, _means(measurement, {"likeness": "class_likeness", "drift": "drift"})


def _means(measurement: Measurement, names: Mapping[str, str]) -> dict[str, float]:
    """Means of a measurement under other names; what is not known is left out."""
    known = {old: measurement.figures[old].mean for old in names if old in measurement.figures}
    return {names[old]: float(value) for old, value in known.items() if value is not None}


def _noted(
    portraits: Sequence[Portrait], measurement: Measurement, more: Mapping[str, float] = {}
) -> list[Portrait]:
    """The portraits with their likeness in their recipes."""
    return [
        replace(p, recipe={**p.recipe, "measured": {"likeness": row.get("likeness"), **more}})
        for p, row in zip(portraits, measurement.rows, strict=True)
    ]


# --- afterwards ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Frame:
    """A training after `step` steps.

    portraits: of the prompt, one a seed.  of_class: of the class prompt.
    figures: what was measured, such as "likeness" and "drift".  path: of its adapter.
    reason: why `propose` proposes it.
    """

    step: int
    portraits: tuple[Portrait, ...] = field(repr=False)
    of_class: tuple[Portrait, ...] = field(repr=False)
    figures: dict[str, float]
    path: Path
    reason: str = ""

    @property
    def adapter(self) -> Adapter:
        """What the training had learnt by then; read from its file each time."""
        return Adapter.open(self.path)

    @property
    def likeness(self) -> dict[int, float]:
        """Seed -> likeness of the portraits of the prompt; without those that have none."""
        return _likeness_of(self.portraits)

    @property
    def class_likeness(self) -> dict[int, float]:
        """Seed -> likeness of the portraits of the class prompt to the person."""
        return _likeness_of(self.of_class)


def _likeness_of(portraits: Sequence[Portrait]) -> dict[int, float]:
    measured = ((p.recipe.get("seed", -1), p.recipe.get("measured", {})) for p in portraits)
    values = {seed: entry.get("likeness") for seed, entry in measured}
    return {seed: value for seed, value in values.items() if value is not None}


@dataclass(frozen=True, eq=False)
class Film:
    """The frames of a training in the order of their steps; iterating and indexing give them.

    curve: (step, smoothed loss), every few steps.  total: steps of the whole training.
    """

    folder: Path
    frames: tuple[Frame, ...] = field(repr=False)
    curve: tuple[tuple[int, float], ...] = field(repr=False)
    total: int

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)

    def __getitem__(self, index: int) -> Frame:
        return self.frames[index]

    @property
    def drift_floor(self) -> float | None:
        """What chance makes of two halves of the untouched model's pictures; None if not known."""
        portraits = (portrait for frame in self.frames for portrait in frame.of_class)
        floors = (portrait.recipe.get("measured", {}).get("drift_floor") for portrait in portraits)
        return next((floor for floor in floors if floor is not None), None)


def read_film(folder: str | Path) -> Film:
    """The frames that a training in this folder has kept so far, without their adapters' weights.

    folder: as it was given to `train_dreambooth`, with `watch`; the training may still run.
    Raises UsageError if there are none.
    """
    home = output_folder(folder)
    paths = sorted(
        (home / ADAPTERS).glob("step-[0-9]*.safetensors"), key=lambda path: int(path.stem[5:])
    )
    if not paths:
        raise UsageError(
            f"{folder}: no frames of a training there; try train_dreambooth(..., "
            "folder=..., watch=film_strip('portrait of jrdnpl man'))"
        )
    frames = tuple(_read_frame(home, path) for path in paths)
    # The last adapter knows the losses up to its own step.
    whole = home / "adapter.safetensors"
    last = _recipe_in(whole if whole.is_file() else paths[-1])
    curve = tuple((int(step), float(loss)) for step, loss in last.get("curve", ()))
    return Film(home, frames, curve, int(last.get("total", frames[-1].step)))


def _recipe_in(path: Path) -> dict[str, Any]:
    return json_entry(path, read_metadata(path), OWN + "recipe")


def _read_frame(home: Path, path: Path) -> Frame:
    step = int(path.stem[5:])
    rows = [row for row in _recipe_in(path).get("figures", ()) if row.get("step") == step]
    figures: dict[str, Any] = rows[0] if rows else {}
    files = (home / FILM).glob(f"{path.stem}-*.png")
    drawn = [Portrait.open(p) for p in sorted(files, key=lambda p: int(p.stem.split("-")[2]))]
    first = drawn[0].recipe.get("prompt") if drawn else None
    return Frame(
        step,
        tuple(portrait for portrait in drawn if portrait.recipe.get("prompt") == first),
        tuple(portrait for portrait in drawn if portrait.recipe.get("prompt") != first),
        {name: value for name, value in figures.items() if name != "step" and value is not None},
        path,
    )


def show_film(film: Film, *, columns: int = 9, title: str | None = None) -> Picture:
    """Draw the film: a column a step, a row a seed, those of the class prompt below.

    columns: the most steps shown; of more, the first, the last and some between them. Each says its
    likeness and drift. Raises UsageError for fewer than 2 columns, or if nothing was drawn.
    """
    columns = int(check_number("show_film", "columns", columns, COLUMNS))
    frames = [frame for frame in film if frame.portraits]
    if not frames:
        raise UsageError(f"{film.folder}: no pictures in this film; try film_strip(prompt)")
    shown = sorted({round(index) for index in np.linspace(0, len(frames) - 1, columns)})
    rows = []
    for frame in (frames[index] for index in shown):
        names = [name for name in ("likeness", "drift") if name in frame.figures]
        figures = [f"{name} {frame.figures[name]:.2f}" for name in names]
        head = ", ".join([f"step {frame.step}", *figures])
        for portrait in (*frame.portraits, *frame.of_class[: len(frame.portraits)]):
            row = f"{portrait.recipe.get('prompt', '')}, seed {portrait.recipe.get('seed')}"
            rows.append(SweepRow({"row": row, "step": head}, [portrait]))
    table = SweepTable(tuple(rows), ("row", "step"))
    return show_table(table, rows="row", columns="step", title=title)


def show_training(film: Film, *, title: str | None = None) -> Picture:
    """Draw the loss, and likeness and drift where they were measured, along the steps."""
    curves = []
    if film.curve:
        done, losses = zip(*film.curve, strict=True)
        curves.append(Curve(done, [losses], "loss, smoothed", "step"))
    steps = [frame.step for frame in film]
    for label, by_step in (
        ("likeness", [frame.likeness for frame in film]),
        ("likeness of the class", [frame.class_likeness for frame in film]),
    ):
        seeds = sorted({seed for known in by_step for seed in known})
        if seeds:
            values = [[known.get(seed, math.nan) for known in by_step] for seed in seeds]
            curves.append(Curve(steps, values, label, "step"))
    if any("drift" in frame.figures for frame in film):
        drifts = [[frame.figures.get("drift", math.nan) for frame in film]]
        curves.append(Curve(steps, drifts, "drift of the class", "step"))
    return show_curves(curves, columns=2 if len(curves) == 4 else 3, title=title)


# --- which step to keep --------------------------------------------------------------------------


def propose(film: Film) -> Frame:
    """The step to keep, and why (`reason`): the best likeness that leaves the class as it was.

    Of the steps whose drift is at most one and a half times what chance makes of two halves of the
    untouched model's pictures it is the earliest that is as alike as the best of them, up to the
    noise: the 95 % interval of the difference, seed by seed, holds 0, and it is below 0.1. Later
    ones have learnt no more of the face and more of the photos. If every step drifts more, the one
    that drifts least of those with most of the likeness is proposed.
    Steps that show a face in fewer than half of the pictures do not count if others do.
    Raises UsageError if no likeness was measured.
    """
    known = [frame for frame in film if "likeness" in frame.figures]
    known = [frame for frame in known if frame.step] or known
    known = [frame for frame in known if frame.figures.get("faces", 1.0) >= LEAST_FACES] or known
    if not known:
        raise UsageError(
            f"{film.folder}: no likeness was measured in this training; try film_strip(prompt, "
            "photos=...) with photos that are not trained on"
        )
    limit = math.inf if film.drift_floor is None else DRIFT_FLOORS * film.drift_floor
    held = [frame for frame in known if frame.figures.get("drift", 0.0) <= limit]
    if not held:
        return _least_drifted(known, limit)
    best = max(held, key=_alike)
    chosen = next(frame for frame in held if frame is best or _as_alike(frame, best))
    return replace(chosen, reason=_why(chosen, best, known, limit))


def _alike(frame: Frame) -> float:
    return frame.figures["likeness"]


def _as_alike(frame: Frame, best: Frame) -> bool:
    """Is it no less alike than the best one, as far as the seeds can tell?"""
    lost = _alike(best) - _alike(frame)
    shared = sorted(frame.likeness.keys() & best.likeness.keys())
    apart = np.array([best.likeness[seed] - frame.likeness[seed] for seed in shared])
    interval = mean_interval(apart)
    return lost <= MOST_LOSS and (interval is None or interval[0] <= 0)


def _least_drifted(known: Sequence[Frame], limit: float) -> Frame:
    best = max(known, key=_alike)
    near = [frame for frame in known if _alike(frame) >= 0.8 * _alike(best)]
    least = min(near, key=lambda frame: frame.figures["drift"])
    reason = (
        f"step {least.step}: every step has drifted more than {limit:.2f}, this one least "
        f"({least.figures['drift']:.2f}) of those with most of the likeness "
        f"({_alike(least):.2f}; best {_alike(best):.2f}); class images would hold the class"
    )
    return replace(least, reason=reason)


def _why(chosen: Frame, best: Frame, known: Sequence[Frame], limit: float) -> str:
    if chosen is best:
        text = f"step {chosen.step}: the most alike ({_alike(chosen):.2f})"
    else:
        text = (
            f"step {chosen.step}: as alike ({_alike(chosen):.2f}) as the best ({_alike(best):.2f} "
            f"at step {best.step}), up to the noise, and the earliest such"
        )
    if _alike(best) < HARDLY_ALIKE:
        text += ", hardly so yet: try more steps or a higher rate"
    drift = chosen.figures.get("drift")
    if drift is None:
        return f"{text}; drift was not measured"
    if limit == math.inf:
        return f"{text}; drift {drift:.2f}"
    text += f", with a drift of {drift:.2f}, at most {limit:.2f} wanted"
    most = max(known, key=_alike)
    if most.figures.get("drift", 0.0) > limit and _alike(most) > _alike(best):
        text += f"; step {most.step} is more alike ({_alike(most):.2f}) but drifted further"
    return text
