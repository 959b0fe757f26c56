"""Class images: what the model draws for "portrait of a man", so that training on one man does not
make all men look like him.

Prior preservation: https://arxiv.org/abs/2208.12242, section 3.2. How they are kept is in
`class_cache`, what makes one good in `class_audit`.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from portraitlib.generate.images import (
    DEFAULT_SAMPLING,
    OnStep,
    check_inputs,
    fill_defaults,
    most_images,
    text_to_image,
)
from portraitlib.models.load import Model
from portraitlib.photos.files import NotAPhoto, list_photos, read_photo
from portraitlib.photos.pictures import ready_picture
from portraitlib.places import cache_folder, versions
from portraitlib.portrait import Portrait
from portraitlib.settings import RANGES, Range, Sampling, UsageError, check_number
from portraitlib.training.class_audit import Look, Plan, check_finder, fault_of, look_at, plan_set
from portraitlib.training.class_cache import ClassCache
from portraitlib.training.class_set import ClassImages, ClassImagesCost, Dropped, count_kinds

COUNT = Range(1, 1000, "class images", example=100)
# Of the preset's steps. Class images need many people more than the last detail: with the embedded
# model 2 in 102 show no coherent face (3 in 103 at all steps), and they are 4 % less sharp.
STEPS_SHARE = 0.6


def make_class_images(
    model: Model,
    prompt: str,
    count: int = 100,
    sampling: Sampling = DEFAULT_SAMPLING,
    *,
    cache: str | os.PathLike[str] | None = None,
    allow_no_face: bool = False,
    on_step: OnStep | None = None,
) -> ClassImages:
    """Draw `count` pictures of what the prompt says, or take those that were drawn before.

    prompt: the class prompt, "portrait of a man".  count: 1 to 1000.
    sampling: image i has seed + i; `num_images` does not count. Where it leaves the steps open,
        three fifths of the preset's are taken: 15 for "mini", 18 for "sdxl".
    cache: folder in which they are kept by content; None for runs/class_images of the project, or
        class_images in the folder that PORTRAITLIB_CACHE names.
    allow_no_face: keep pictures without a face, such as sketches that no finder understands.
    on_step: called with (done, total) denoising steps of all pictures that have to be drawn; the
        total grows where one is dropped.

    A picture without a face, with a small head or almost the same as one before it is dropped, and
    the next seed takes its place, up to as many as are good and 8 more. If it is broken off, what
    was drawn is used the next time. `report` says what was done, `class_images_cost` what it costs.

    Warns of damaged files and of sets that stay short. Raises UsageError for what cannot be drawn,
    a count out of range, a cache that cannot be written to, or if no good picture comes.
    Prior preservation: https://arxiv.org/abs/2208.12242.
    """
    settings, count = _checked(model, prompt, count, sampling)
    store = _open_cache(model, prompt, settings, cache)
    plan = plan_set(store.looks, settings.seed, count, allow_no_face)
    drawn = 0
    if plan.missing:
        assert settings.size_px is not None
        check_finder(model.preset.finder)
        store.check_room(len(plan.missing), settings.size_px)
        for done in _draw_missing(model, prompt, settings, count, store, allow_no_face, on_step):
            drawn = done
        plan = plan_set(store.looks, settings.seed, count, allow_no_face)
    return _from_cache(model, prompt, settings, count, store, plan, drawn)


def class_images_cost(
    model: Model,
    prompt: str,
    count: int = 100,
    sampling: Sampling = DEFAULT_SAMPLING,
    *,
    cache: str | os.PathLike[str] | None = None,
    allow_no_face: bool = False,
) -> ClassImagesCost:
    """What `make_class_images` with the same arguments will cost; draws and writes nothing.

    Raises UsageError as that does for its arguments.
    """
    settings, count = _checked(model, prompt, count, sampling)
    store = _open_cache(model, prompt, settings, cache)
    plan = plan_set(store.looks, settings.seed, count, allow_no_face)
    steps = settings.num_inference_steps
    assert steps is not None
    pace_s = store.seconds_per_step(str(model.device))
    missing = len(plan.missing)
    return ClassImagesCost(count, missing, steps, pace_s and pace_s * steps * missing)


# --- what decides a set --------------------------------------------------------------------------


def _checked(model: Model, prompt: str, count: int, sampling: Sampling) -> tuple[Sampling, int]:
    """The settings with nothing left open, and the count; raises UsageError."""
    check_inputs(model, prompt, sampling)
    count = int(check_number("class images", "count", count, COUNT))
    if sampling.seed + count - 1 > RANGES["seed"].high:
        raise UsageError(
            f"Sampling.seed: {sampling.seed} with {count} class images needs seeds up to "
            f"{sampling.seed + count - 1}, expected at most {2**32 - 1}; try a smaller seed"
        )
    if sampling.num_inference_steps is None:
        steps = max(1, round(STEPS_SHARE * model.preset.num_inference_steps))
        sampling = replace(sampling, num_inference_steps=steps)
    return fill_defaults(model, replace(sampling, num_images=1)), count


def _open_cache(
    model: Model, prompt: str, settings: Sampling, cache: str | os.PathLike[str] | None
) -> ClassCache:
    """What was drawn for these settings before; nothing is written."""
    home = cache_folder("class_images") if cache is None else Path(cache).expanduser().absolute()
    scheduler, preset = model.pipeline.scheduler, model.preset
    config = {key: value for key, value in scheduler.config.items() if not key.startswith("_")}
    about = {
        "model": model.name,
        "revision": model.revision,
        "dtype": model.dtype_name,
        "vae": preset.vae_source and f"{preset.vae_source}@{preset.vae_revision}",
        "adapters": [_adapter_key(each) for each in getattr(model, "adapters", ())],
        "scheduler": [type(scheduler).__name__, config],
        "prompt": prompt,
        "num_inference_steps": settings.num_inference_steps,
        "guidance_scale": settings.guidance_scale,
        "size_px": settings.size_px,
        "negative_prompt": settings.negative_prompt,
    }
    return ClassCache(home, json.loads(json.dumps(about, default=repr)))


def _adapter_key(applied: Any) -> list[Any]:
    """The hash of an adapter that the model carries, and its scale."""
    parts = applied if isinstance(applied, tuple) else (applied,)
    return [getattr(part, "hash", part) for part in parts]


# --- drawing -------------------------------------------------------------------------------------


def _draw_missing(
    model: Model,
    prompt: str,
    settings: Sampling,
    count: int,
    store: ClassCache,
    allow_no_face: bool,
    on_step: OnStep | None,
) -> Iterator[int]:
    """Draw batch after batch until the set is whole; yields how many were drawn so far."""
    done, made_by = 0, versions()
    largest = most_images({"model": model, "sampling": settings})
    while missing := plan_set(store.looks, settings.seed, count, allow_no_face).missing:
        batch = _first_run(missing, largest)
        sampling = replace(settings, seed=batch[0], num_images=len(batch))
        report = None
        if on_step is not None:
            report = _steps_of_all(on_step, settings, done, len(batch), len(missing))
        try:
            portraits = text_to_image(model, prompt, sampling, on_step=report)
        except UsageError as problem:
            # Raised from the allocator's own error: a smaller batch may do.
            if len(batch) == 1 or not isinstance(problem.__cause__, RuntimeError):
                raise
            largest = len(batch) // 2
            continue
        looks = [look_at(portrait.image, model.preset.finder) for portrait in portraits]
        store.keep(portraits, looks, made_by)
        done += len(batch)
        yield done


def _first_run(seeds: Sequence[int], most: int) -> list[int]:
    """The first seeds without a gap, `most` at most: a batch has seeds in a row."""
    return [seed for index, seed in enumerate(seeds[:most]) if seed == seeds[0] + index]


def _steps_of_all(
    on_step: OnStep, settings: Sampling, done: int, together: int, missing: int
) -> Callable[[int, int], None]:
    """An `on_step` for one batch that counts the steps of every picture of the set."""
    steps = settings.num_inference_steps
    assert steps is not None

    def report(step: int, of: int) -> None:
        # Some samplers take two steps for one: `of` is what they count to.
        now = steps * together * step // of
        on_step(done * steps + now, (done + missing) * steps)

    return report


def _from_cache(
    model: Model,
    prompt: str,
    settings: Sampling,
    count: int,
    store: ClassCache,
    plan: Plan,
    drawn: int,
) -> ClassImages:
    """The set as it lies in the cache now; warns of all that is not as asked."""
    assert settings.size_px is not None
    dropped = tuple(
        Dropped(f"seed {seed}", *fault, store.load(seed)) for seed, fault in plan.dropped.items()
    )
    if not plan.good:
        raise UsageError(_no_good(f'"{prompt}" with {model.name}', [d.reason for d in dropped]))
    seeds = (*plan.good, *plan.dropped)
    notes = [*store.faults, *_other_versions(store, seeds)]
    if len(plan.good) < count:
        notes.append(
            f"{len(plan.good)} good ones of {len(seeds)} drawn, {count} were asked for: "
            f"{count_kinds(dropped)}; try another prompt, more steps or allow_no_face=True"
        )
    for note in notes:
        warnings.warn(f"class images: {note}", stacklevel=3)
    return ClassImages(
        prompt=prompt,
        images=tuple(store.load(seed) for seed in plan.good),
        size_px=settings.size_px,
        names=tuple(f"seed {seed}" for seed in plan.good),
        dropped=dropped,
        notes=tuple(notes),
        source=(
            f"drawn by {model}, {settings.num_inference_steps} steps, guidance "
            f"{settings.guidance_scale:g}, kept in {store.folder}"
        ),
        seconds=sum(store.rows[seed].seconds for seed in seeds),
        drawn=drawn,
    )


def _other_versions(store: ClassCache, seeds: Sequence[int]) -> list[str]:
    """Which libraries were others when pictures were drawn; they may move single pixels."""
    now = versions()
    then = [store.rows[seed].versions for seed in seeds]
    changed = sorted(
        {f"{name} {row.get(name)}" for row in then for name in now if row.get(name) != now[name]}
    )
    count = sum(row != now for row in then)
    return [f"{count} were drawn with {', '.join(changed)}, not with today's"] if count else []


def _no_good(what: str, reasons: Sequence[str]) -> str:
    told = "; ".join(dict.fromkeys(reasons))
    return (
        f"class images: none of {len(reasons)} of {what} is good ({told[:300]}); try another "
        "prompt, or allow_no_face=True if no face is wanted"
    )


# --- one's own -----------------------------------------------------------------------------------


def read_class_images(
    folder: str | os.PathLike[str],
    prompt: str,
    size_px: int,
    *,
    allow_no_face: bool = False,
    finder: str | None = None,
) -> ClassImages:
    """Take one's own pictures of many people as class images.

    folder: JPEG, PNG, WebP, TIFF and (with pillow-heif) HEIC files lie directly in it, up to 1000.
    prompt: what they show, the class prompt.
    size_px: side of the pictures, `model.preset.size_px`. One of another size is resized, and if
        it is no square cut about the largest face before; a note says so.
    allow_no_face: keep pictures without a face.
    finder: "dlib" (photographs) or "mini" (drawn portraits); None for whichever finds a face.

    They are looked over as those of `make_class_images` are, in the order of their names.
    Raises UsageError for a folder that cannot be read or holds no good picture.
    """
    if not isinstance(prompt, str) or not prompt.strip():
        raise UsageError(
            f"prompt: got {prompt!r}, expected words that say what the pictures show; "
            "try 'portrait of a man'"
        )
    size_px = int(check_number("read_class_images", "size_px", size_px, RANGES["size_px"]))
    home = Path(folder).expanduser()
    check_finder(finder)
    paths, skipped = list_photos(home, int(COUNT.high), "class images")
    if not paths:
        raise UsageError(f"{folder}: holds no pictures, expected class images; put some in")
    good, dropped, notes = _look_over(paths, size_px, allow_no_face, finder)
    if not good:
        raise UsageError(_no_good(str(folder), [item.reason for item in dropped]))
    return ClassImages(
        prompt=prompt,
        images=tuple(good.values()),
        size_px=size_px,
        names=tuple(good),
        dropped=tuple(dropped),
        notes=(*(f"skipped {item}" for item in skipped), *notes),
        source=f"read from {folder}",
    )


def _look_over(
    paths: Sequence[Path], size_px: int, allow_no_face: bool, finder: str | None
) -> tuple[dict[str, Image.Image], list[Dropped], list[str]]:
    """The good pictures by name, those that are not, and what was done to which to make it fit."""
    looks: dict[str, Look] = {}
    good: dict[str, Image.Image] = {}
    dropped, notes = [], []
    for path in paths:
        try:
            whole, _ = read_photo(path)
        except NotAPhoto as reason:
            dropped.append(Dropped(path.name, "no picture", str(reason), None))
            continue
        # As a Portrait: a square one is resized as it is, not cut about the head.
        image, about = ready_picture(Portrait(whole), size_px)
        if whole.size != image.size:
            told = [f"{whole.width}x{whole.height} px made to fit", *about]
            notes.append(f"{path.name}: {'; '.join(told)}")
        look = look_at(image, finder)
        if fault := fault_of(look, looks, allow_no_face):
            dropped.append(Dropped(path.name, *fault, image))
        else:
            looks[path.name], good[path.name] = look, image
    return good, dropped, notes
