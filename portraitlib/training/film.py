"""The film of a training: what it draws on the way, and how alike that is."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from portraitlib.generate.images import DEFAULT_SAMPLING, text_to_image
from portraitlib.measuring.likeness import check_photos
from portraitlib.measuring.measure import Measurement, measure
from portraitlib.models.adapter_files import json_entry, read_metadata
from portraitlib.models.adapters import OWN, Adapter
from portraitlib.models.load import Model
from portraitlib.photos.photo_set import PhotoSet
from portraitlib.places import output_folder
from portraitlib.portrait import Portrait
from portraitlib.settings import RANGES, Sampling, UsageError, check_number
from portraitlib.training.dreambooth import ADAPTERS, FILM, Watch

SEEDS = (0, 1, 2, 3)
CLASS_PICTURES = 8  # drift is a distance between sets: of fewer it says little
LEAST_PHOTOS = 2  # one alone says nothing of how alike photos of the person are


# --- while it trains -----------------------------------------------------------------------------


def film_strip(
    prompt: str,
    photos: PhotoSet | None = None,
    *,
    class_prompt: str | None = None,
    seeds: Sequence[int] = SEEDS,
    sampling: Sampling = DEFAULT_SAMPLING,
) -> Watch:
    """What `train_dreambooth(watch=...)` calls: draws the same seeds every time, and measures them.

    prompt: with the identifier in it.  seeds: one picture each, drawn in one batch where they
        follow each other; those of `sampling` do not count.
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
    asked = _Asked(prompt, photos, class_prompt, _checked_seeds(seeds), sampling)
    untouched: list[Portrait] = []

    def watch(model: Model, step: int) -> tuple[list[Portrait], dict[str, float]]:
        portraits, figures = _of_person(asked, model, step)
        if asked.class_prompt:
            # Given anew at the start of every run, also of one that goes on.
            drawn = _draw(model, asked.class_prompt, asked.class_seeds, asked.sampling, step)
            if step == 0:
                untouched[:] = drawn
            of_class, more = _of_class(asked, drawn, untouched or drawn)
            portraits, figures = portraits + of_class, figures | more
        return portraits, figures

    return watch


@dataclass(frozen=True)
class _Asked:
    prompt: str
    photos: PhotoSet | None
    class_prompt: str | None
    seeds: tuple[int, ...]
    sampling: Sampling

    @property
    def class_seeds(self) -> tuple[int, ...]:
        """The seeds, and as many after the last as it takes."""
        more = range(max(self.seeds) + 1, max(self.seeds) + 1 + CLASS_PICTURES - len(self.seeds))
        return (*self.seeds, *more)

    @property
    def judged(self) -> str:
        """The prompt without the identifier, which no judge knows."""
        name = self.photos.identifier if self.photos else ""
        return " ".join(self.prompt.replace(name, " ").split()) if name else self.prompt


def _checked_seeds(seeds: Any) -> tuple[int, ...]:
    wanted = list(seeds) if isinstance(seeds, Sequence | range) else []
    checked = tuple(int(check_number("film_strip", "seed", s, RANGES["seed"])) for s in wanted)
    if not checked or len(set(checked)) < len(checked) or isinstance(seeds, str):
        raise UsageError(f"seeds: got {seeds!r}, expected different whole numbers; try {SEEDS}")
    if max(checked) + CLASS_PICTURES > RANGES["seed"].high:
        raise UsageError(f"seeds: got {max(checked)}, expected smaller ones; try {SEEDS}")
    return checked


def _draw(
    model: Model, prompt: str, seeds: Sequence[int], sampling: Sampling, step: int
) -> list[Portrait]:
    """One portrait a seed; their recipes say that they belong to a training."""
    portraits = []
    rest = list(seeds)
    while rest:
        run = [seed for index, seed in enumerate(rest) if seed == rest[0] + index]
        rest = rest[len(run) :]
        settings = replace(sampling, seed=run[0], num_images=len(run))
        portraits += text_to_image(model, prompt, settings)
    about = {"function": "film_strip", "training_step": step}
    return [replace(each, recipe={**each.recipe, **about}) for each in portraits]


def _of_person(asked: _Asked, model: Model, step: int) -> tuple[list[Portrait], dict[str, float]]:
    """Portraits of the prompt, each with its likeness, and the figures of all."""
    portraits = _draw(model, asked.prompt, asked.seeds, asked.sampling, step)
    figures: dict[str, float] = {}
    if asked.photos is not None:
        found = measure(portraits, photos=asked.photos)
        figures = {"faces": found["likeness"].count / len(found)}
        figures |= _means(found, {"likeness": "likeness"})
        portraits = _noted(portraits, [row["likeness"] for row in found.rows])
    try:
        found = measure(portraits, photos=asked.photos, prompt=asked.judged)
        figures |= _means(found, {"prompt_seen": "prompt_seen"})
    except UsageError as problem:  # no judge knows a word of it, or it cannot be loaded here
        if step == 0:
            warnings.warn(f"prompt fidelity is not measured: {problem}", stacklevel=2)
    return portraits, figures


def _of_class(
    asked: _Asked, drawn: list[Portrait], untouched: Sequence[Portrait]
) -> tuple[list[Portrait], dict[str, float]]:
    """Portraits of the class prompt, and how far they are from what the untouched model drew."""
    found = measure(drawn, photos=asked.photos, reference=untouched)
    figures = _means(found, {"likeness": "class_likeness", "drift": "drift"})
    floor = found["drift"].scale.floor
    values = [row.get("likeness") for row in found.rows]
    return _noted(drawn, values, {} if floor is None else {"drift_floor": floor}), figures


def _means(found: Measurement, names: Mapping[str, str]) -> dict[str, float]:
    """Means of a measurement under other names; what is not known is left out."""
    values = {new: found.figures[old].mean for old, new in names.items() if old in found.figures}
    return {name: float(value) for name, value in values.items() if value is not None}


def _noted(
    portraits: Sequence[Portrait], values: Sequence[float | None], more: Mapping[str, float] = {}
) -> list[Portrait]:
    """The portraits with their likeness in their recipes."""
    return [
        replace(each, recipe={**each.recipe, "measured": {"likeness": value, **more}})
        for each, value in zip(portraits, values, strict=True)
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
    measured = {p.recipe.get("seed", -1): p.recipe.get("measured", {}) for p in portraits}
    found = {seed: entry.get("likeness") for seed, entry in measured.items()}
    return {seed: value for seed, value in found.items() if value is not None}


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
        found = (portrait.recipe.get("measured", {}).get("drift_floor") for portrait in portraits)
        return next((floor for floor in found if floor is not None), None)


def read_film(folder: str | Path) -> Film:
    """The frames that a training in this folder has kept so far, without their adapters' weights.

    folder: as it was given to `train_dreambooth`, with `watch`; the training may still run.
    Raises UsageError if there are none.
    """
    home = output_folder(folder)
    paths = sorted((home / ADAPTERS).glob("step-*.safetensors"), key=_step_of)
    if not paths:
        raise UsageError(
            f"{folder}: no frames of a training there; try train_dreambooth(..., "
            "folder=..., watch=film_strip('portrait of jrdnpl man'))"
        )
    frames: list[Frame] = []
    recipe: dict[str, Any] = {}
    for path in paths:
        recipe = _recipe_in(path)
        frames.append(_read_frame(home, path, recipe))
    # The last adapter knows the losses up to its own step.
    whole = home / "adapter.safetensors"
    last = _recipe_in(whole) if whole.is_file() else recipe
    curve = tuple((int(step), float(loss)) for step, loss in last.get("curve", ()))
    return Film(home, tuple(frames), curve, int(last.get("total", frames[-1].step)))


def _step_of(path: Path) -> int:
    number = path.stem.removeprefix("step-")
    return int(number) if number.isdigit() else 0


def _recipe_in(path: Path) -> dict[str, Any]:
    return json_entry(path, read_metadata(path), OWN + "recipe")


def _read_frame(home: Path, path: Path, recipe: Mapping[str, Any]) -> Frame:
    step = _step_of(path)
    figures: dict[str, Any] = next(
        (row for row in recipe.get("figures", ()) if row.get("step") == step), {}
    )
    files = sorted(
        (home / FILM).glob(f"{path.stem}-*.png"), key=lambda p: int(p.stem.split("-")[2])
    )
    drawn = [Portrait.open(file) for file in files]
    first = drawn[0].recipe.get("prompt") if drawn else None
    return Frame(
        step,
        tuple(each for each in drawn if each.recipe.get("prompt") == first),
        tuple(each for each in drawn if each.recipe.get("prompt") != first),
        {name: value for name, value in figures.items() if name != "step" and value is not None},
        path,
    )
