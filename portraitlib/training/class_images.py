"""Class images: what the model draws for "portrait of a man", so that training on one man does not
make all men look like him. Prior preservation: https://arxiv.org/abs/2208.12242, section 3.2.

They are kept as PNG files with their recipes, in a folder under the hash of all that decides them
but the seeds; each is written whole or not at all. A file is named by its seed.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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
from portraitlib.places import cache_folder, digest
from portraitlib.portrait import Portrait, check_writable, read_recipe
from portraitlib.settings import RANGES, Range, Sampling, UsageError, check_number, check_record
from portraitlib.training.class_set import (
    MOST,
    ClassImages,
    ClassImagesCost,
    DroppedImage,
    Look,
    Plan,
    check_finder,
    count_kinds,
    look_at,
    none_good,
    plan_set,
)

COUNT = Range(1, MOST, "class images", example=100)
# Of the preset's steps, and at least so many. Class images need many people more than the last
# detail: of the embedded model's, 2 in 102 show no coherent face (3 in 103 at 25 steps), and they
# are 4 % less sharp.
STEPS_SHARE, LEAST_STEPS = 0.6, 15
APART = 2**31  # the first seed of a style's strangers, far from those of anybody's portraits
NEEDED = {"seconds", "num_inference_steps", "guidance_scale"}  # in a kept one's recipe


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
        three fifths of the preset's are taken, or 15: 15 for "mini", 18 for "sdxl", the fewest of
        its LoRA with a `speed`.
    cache: folder in which they are kept; None for class_images in runs, or in PORTRAITLIB_CACHE.
    allow_no_face: keep pictures without a face, such as sketches that no finder understands.
    on_step: called with (done, total) denoising steps of all that are to be drawn.

    A picture without a face, with a small head or almost the same as one before it is dropped, and
    the next seed takes its place, up to as many as are good and 8 more. If it is broken off, what
    was drawn is used the next time. `report` says what was done, `class_images_cost` what it costs.

    Warns of damaged files and of sets that stay short. Raises UsageError for what cannot be drawn,
    a count out of range, a cache that cannot be written to, or if no good picture comes.
    """
    settings, count = _checked(model, prompt, count, sampling)
    folder = _folder(model, prompt, settings, cache)
    kept, notes = _read_kept(folder, model)
    before = len(kept)

    def plan_now() -> Plan:
        return plan_set(_looks(kept), settings.seed, count, allow_no_face)

    if plan_now().missing:
        check_finder(model.preset.finder)
        check_writable(folder)
        _draw_missing(model, prompt, settings, folder, kept, plan_now, on_step)
    classes = _as_set(model, prompt, settings, kept, plan_now())
    if (good := len(classes)) < count:
        notes.append(
            f"{good} good ones of {good + len(classes.dropped)} drawn, {count} were asked for: "
            f"{count_kinds(classes.dropped)}; try another prompt, more steps or allow_no_face=True"
        )
    for note in notes:
        warnings.warn(f"class images: {note}", stacklevel=2)
    source = f"{classes.source}, kept in {folder}"
    return replace(classes, drawn=len(kept) - before, notes=tuple(notes), source=source)


def style_strangers(
    model: Model,
    prompt: str,
    sampling: Sampling = DEFAULT_SAMPLING,
    count: int = 64,
    *,
    cache: str | os.PathLike[str] | None = None,
    on_step: OnStep | None = None,
) -> list[Image.Image]:
    """Draw strangers in a style, or take those drawn before: where `pl.measure` puts likeness 0.

    The model draws without its adapters, and the prompt goes without their identifiers: "portrait
    of jrdnpl man, oil painting" becomes "portrait of man, oil painting".
    sampling: how the portraits to be measured are drawn; the strangers have the same settings and
        other seeds, which do not depend on it, so that they are drawn once.
    count: 1 to 1000; the floor is their median.  cache, on_step: as for `make_class_images`.

    Returns (size_px, size_px) RGB pictures, each with a face. Warns and raises as
    `make_class_images` does. Where the style is an adapter itself, draw strangers with
    `make_class_images` and a model that has that one alone.
    """
    check_inputs(model, prompt, sampling)
    prompt = without_identifiers(prompt, [adapter.identifier for adapter, _ in model.adapters])
    seed = APART if sampling.seed < APART // 2 else 0
    settings = fill_defaults(model, replace(sampling, seed=seed, num_images=1))
    base = model.base or model
    drawn = make_class_images(base, prompt, count, settings, cache=cache, on_step=on_step)
    return list(drawn)


def without_identifiers(prompt: str, identifiers: Sequence[str]) -> str:
    """The prompt without words that only an adapter knows: "portrait of man, oil painting"."""
    for identifier in filter(None, identifiers):
        prompt = re.sub(rf"\b{re.escape(identifier)}\b\s*", "", prompt)
    return prompt


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
    folder = _folder(model, prompt, settings, cache)
    kept, _ = _read_kept(folder, model)
    missing = len(plan_set(_looks(kept), settings.seed, count, allow_no_face).missing)
    steps = settings.num_inference_steps or 0
    pace_s = _seconds_per_pass(folder.parent, model, settings)
    seconds = pace_s and pace_s * _passes(asdict(settings)) * missing
    return ClassImagesCost(count, missing, steps, seconds)


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
    if sampling.num_inference_steps is None and sampling.speed is None:
        steps = max(LEAST_STEPS, round(STEPS_SHARE * model.preset.num_inference_steps))
        sampling = replace(sampling, num_inference_steps=steps)
    return fill_defaults(model, replace(sampling, num_images=1)), count


def _folder(
    model: Model, prompt: str, settings: Sampling, cache: str | os.PathLike[str] | None
) -> Path:
    """Where what is drawn by these settings is kept, whatever the seeds."""
    home = cache_folder("class_images") if cache is None else Path(cache).expanduser().absolute()
    scheduler, preset = model.pipeline.scheduler, model.preset
    config = {key: value for key, value in scheduler.config.items() if not key.startswith("_")}
    about = {
        "model": model.name,
        "revision": model.revision,
        "dtype": model.dtype_name,
        "vae": preset.vae_source and f"{preset.vae_source}@{preset.vae_revision}",
        "adapters": [[adapter.hash, scale] for adapter, scale in model.adapters],
        "scheduler": [type(scheduler).__name__, config],
        "prompt": prompt,
        "num_inference_steps": settings.num_inference_steps,
        "guidance_scale": settings.guidance_scale,
        "size_px": settings.size_px,
        "negative_prompt": settings.negative_prompt,
    }
    if settings.speed is not None:
        about["speed"] = preset.speeds[settings.speed].name
    return home / digest(json.loads(json.dumps(about, default=repr)))


# --- what is kept --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kept:
    """A class image on the disk, its recipe, and what it shows."""

    path: Path
    recipe: dict[str, Any]
    look: Look


def _read_kept(folder: Path, model: Model) -> tuple[dict[int, Kept], list[str]]:
    """Seed -> picture, those whose file is whole; and a note of those that are not."""
    kept: dict[int, Kept] = {}
    damaged = []
    for path in sorted(folder.glob("[0-9]*.png")):
        seed = int(path.stem.split("-")[0])
        recipe = _recipe_of(path)
        if recipe is None:
            damaged.append(seed)
            continue
        if known := recipe.get("look"):
            look = check_record(str(path), known, Look)
        else:  # as portraitlib 0.1 kept them
            look = look_at(_open(path), model.preset.finder)
        kept[seed] = Kept(path, recipe, look)
    seeds = ", ".join(map(str, damaged))
    return kept, [f"damaged pictures are drawn anew: seeds {seeds}"] if damaged else []


def _recipe_of(path: Path) -> dict[str, Any] | None:
    """The recipe in a PNG that is whole; None for any other file."""
    try:
        with Image.open(path) as picture:
            recipe = read_recipe(path, picture.info)
            picture.verify()
    except (UsageError, OSError, SyntaxError, ValueError):
        return None
    return recipe if recipe.keys() >= NEEDED else None


def _open(path: Path) -> Image.Image:
    return Portrait.open(path).image.convert("RGB")


def _looks(kept: Mapping[int, Kept]) -> dict[int, Look]:
    return {seed: picture.look for seed, picture in kept.items()}


def _seconds_per_pass(home: Path, model: Model, settings: Sampling) -> float | None:
    """How long the UNet took for one picture when such pictures were drawn last, of any prompt.

    None if there are none of the same model and size on the same device.
    """
    alike: dict[str, Any] = {
        "model": model.name,
        "model_revision": model.revision,
        "dtype": model.dtype_name,
    }
    alike |= {"size_px": settings.size_px, "device": str(model.device)}
    folders = {folder: folder.stat().st_mtime for folder in home.glob("*/")}
    for folder in sorted(folders, key=lambda folder: folders[folder], reverse=True):
        recipes = [_recipe_of(path) for path in folder.glob("[0-9]*.png")]
        if fitting := [r for r in recipes if r and alike.items() <= r.items()]:
            return sum(r["seconds"] for r in fitting) / sum(map(_passes, fitting))
    return None


def _passes(recipe: Mapping[str, Any]) -> int:
    """How often the UNet is asked for one picture."""
    return recipe["num_inference_steps"] * (2 if recipe["guidance_scale"] > 1 else 1)


# --- drawing -------------------------------------------------------------------------------------


def _draw_missing(
    model: Model,
    prompt: str,
    settings: Sampling,
    folder: Path,
    kept: dict[int, Kept],
    plan_now: Callable[[], Plan],
    on_step: OnStep | None,
) -> None:
    """Draw batch after batch into the folder and into `kept`, until the set is whole."""
    done = 0
    largest = most_images({"model": model, "sampling": settings})
    while missing := plan_now().missing:
        # A batch has seeds in a row.
        seeds = [s for index, s in enumerate(missing[:largest]) if s == missing[0] + index]
        sampling = replace(settings, seed=seeds[0], num_images=len(seeds))
        report = None
        if on_step is not None:
            report = _steps_of_all(on_step, settings, done, len(seeds), len(missing))
        try:
            portraits = text_to_image(model, prompt, sampling, on_step=report)
        except UsageError as problem:
            # Raised from the allocator's own error: a smaller batch may do.
            if len(seeds) == 1 or not isinstance(problem.__cause__, RuntimeError):
                raise
            largest = len(seeds) // 2
            continue
        for seed, portrait in zip(seeds, portraits, strict=True):
            look = look_at(portrait.image, model.preset.finder)
            recipe = {**portrait.recipe, "look": asdict(look)}
            path = replace(portrait, recipe=recipe).save(folder / f"{seed:06d}.png")
            kept[seed] = Kept(path, recipe, look)
        done += len(seeds)


def _steps_of_all(
    on_step: OnStep, settings: Sampling, done: int, together: int, missing: int
) -> Callable[[int, int], None]:
    """An `on_step` for one batch that counts the steps of every picture of the set."""
    steps = settings.num_inference_steps or 0

    def report(step: int, of: int) -> None:
        # Some samplers take two steps for one: `of` is what they count to.
        now = steps * together * step // of
        on_step(done * steps + now, (done + missing) * steps)

    return report


def _as_set(
    model: Model, prompt: str, settings: Sampling, kept: Mapping[int, Kept], plan: Plan
) -> ClassImages:
    """The pictures of a plan as they lie on the disk; raises UsageError if none is good."""
    assert settings.size_px is not None
    dropped = tuple(
        DroppedImage(f"seed {seed}", *fault, _open(kept[seed].path))
        for seed, fault in plan.dropped.items()
    )
    if not plan.good:
        raise UsageError(none_good(f'"{prompt}" with {model.name}', [d.reason for d in dropped]))
    return ClassImages(
        prompt=prompt,
        images=tuple(_open(kept[seed].path) for seed in plan.good),
        size_px=settings.size_px,
        names=tuple(f"seed {seed}" for seed in plan.good),
        dropped=dropped,
        source=(
            f"drawn by {model}, {settings.num_inference_steps} steps, guidance "
            f"{settings.guidance_scale:g}"
        ),
        seconds=sum(kept[seed].recipe["seconds"] for seed in (*plan.good, *plan.dropped)),
    )
