"""`portraitlib train`: from a settings file to an adapter, told line by line."""

from __future__ import annotations

import os
import shlex
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portraitlib.cost import BudgetSpent
from portraitlib.generate.progress import print_progress
from portraitlib.photos.photo_set import PhotoSet
from portraitlib.photos.read import read_photos
from portraitlib.photos.subject import subject_photos
from portraitlib.portrait import check_writable, write_whole
from portraitlib.settings import UsageError
from portraitlib.training.file import (
    SUBJECT,
    TrainingFile,
    plan_file,
    read_toml,
    read_training_file,
)

if TYPE_CHECKING:
    from portraitlib.models.adapters import Adapter
    from portraitlib.training.class_set import ClassImages

Say = Callable[[str], None]


def train_from_file(asked: TrainingFile, say: Say) -> None:
    """Do what a settings file asks for. Everything that can be refused early is.

    Several processes, of `accelerate launch`, train together; the first alone speaks.
    Raises UsageError, and KeyboardInterrupt and BudgetSpent with words that tell how to go on.
    """
    from portraitlib.models.load import load_model
    from portraitlib.training.dreambooth import train_dreambooth

    main = int(os.environ.get("RANK", 0)) == 0
    say = say if main else _silent
    check_writable(asked.out)
    model = load_model(asked.model)
    say(f"model: {model}")
    photos, held_out = _photos(asked, model)
    say(f"photos: {photos.summary}" + (f"; {len(held_out)} held out" if held_out else ""))
    _check(asked, model, photos)
    classes = _class_images(asked, model, say)
    watch = _film(asked, photos, held_out)
    say(f"training in {asked.out}")
    try:
        adapter = train_dreambooth(
            model,
            photos,
            asked.dreambooth,
            classes,
            folder=asked.out,
            watch=watch,
            watch_every=asked.film["every"] if asked.film else 100,
            trackers=asked.trackers,
            on_step=print_progress() if main else None,
            budget=asked.budget,
        )
    except KeyboardInterrupt as stopped:
        if not str(stopped):
            raise
        raise KeyboardInterrupt(_to_go_on(asked, stopped)) from None
    except BudgetSpent as stopped:
        raise BudgetSpent(_to_go_on(asked, stopped, "raise its budget, then ")) from None
    if main:
        _finish(asked, model, adapter, say)


def _to_go_on(asked: TrainingFile, stopped: BaseException, first: str = "") -> str:
    """What a stopped training says, for a shell."""
    where, _, _ = str(stopped).partition("; run the same again")
    path = shlex.quote(os.path.relpath(asked.path))
    return f"{where}; to go on: {first}portraitlib train {path}"


def _silent(line: str) -> None:
    """Say nothing: another process does."""


def _photos(asked: TrainingFile, model: Any) -> tuple[PhotoSet, PhotoSet | None]:
    """The photos to train on, and those to measure with."""
    size_px, identifier = model.preset.size_px, asked.identifier
    count = asked.film["held_out"] if asked.film else 0
    if asked.photos == SUBJECT:
        drawn = {"size_px": size_px, "identifier": identifier}
        others = subject_photos(held_out=True, **drawn) if count else None
        return subject_photos(**drawn), others
    photos = read_photos(
        asked.photos, size_px=size_px, identifier=identifier, caption=asked.caption
    )
    if not count:
        return photos, None
    try:
        return photos.hold_out(count)
    except UsageError as problem:
        raise UsageError(f"{asked.path}: [film] held_out: {problem}") from None


def _check(asked: TrainingFile, model: Any, photos: PhotoSet) -> None:
    """Refuse what cannot be trained with before class images are drawn, which takes long."""
    from portraitlib.training.check import check_training

    settings = asked.dreambooth
    if asked.class_images:
        settings = replace(settings, class_prompt=asked.class_images["prompt"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the training warns of the same
        check_training(model, photos, settings, None)


def _class_images(asked: TrainingFile, model: Any, say: Say) -> ClassImages | None:
    from portraitlib.training.class_images import class_images_cost, make_class_images
    from portraitlib.training.class_set import read_class_images

    wanted = asked.class_images
    if wanted is None:
        return None
    if wanted["folder"]:
        classes = read_class_images(wanted["folder"], wanted["prompt"], model.preset.size_px)
    else:
        with _first_alone(model):
            say(f"{class_images_cost(model, wanted['prompt'], wanted['count'])}")
            on_step = None if say is _silent else print_progress("class images")
            classes = make_class_images(model, wanted["prompt"], wanted["count"], on_step=on_step)
    say(f"class images: {classes.summary}")
    return classes


def _first_alone(model: Any) -> AbstractContextManager[Any]:
    """Of several processes the first draws, and the others find what it has drawn."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return nullcontext()
    from accelerate import PartialState

    return PartialState(cpu=model.device.type == "cpu").main_process_first()


def _film(asked: TrainingFile, photos: PhotoSet, held_out: PhotoSet | None) -> Any:
    if asked.film is None:
        return None
    from portraitlib.training.film import film_strip

    of_class = asked.class_images["prompt"] if asked.class_images else asked.dreambooth.class_prompt
    prompt = asked.film["prompt"] or asked.dreambooth.instance_prompt or photos.captions[0]
    return film_strip(prompt, held_out, class_prompt=asked.film["class_prompt"] or of_class)


# --- the end -------------------------------------------------------------------------------------


def _finish(asked: TrainingFile, model: Any, adapter: Adapter, say: Say) -> None:
    """Say which step to take and why, write it in both forms, and say how to use it."""
    if asked.film:
        from portraitlib.training.film import propose, read_film, show_film, show_training

        film = read_film(asked.out)
        show_film(film).savefig(asked.out / "film.png")
        show_training(film).savefig(asked.out / "curves.png")
        say(f"film: {asked.out / 'film.png'}, curves: {asked.out / 'curves.png'}")
        if asked.film["held_out"]:
            chosen = propose(film)
            say(f"proposed: {chosen.reason}")
            adapter = chosen.adapter
    name = adapter.identifier
    plain = adapter.save(asked.out / f"{name}.safetensors")
    say(f"for portraitlib and diffusers: {plain}")
    if adapter.kind == "lora":
        kohya = adapter.save(asked.out / f"{name}-kohya.safetensors", form="kohya")
        say(f"for AUTOMATIC1111 and ComfyUI: {kohya}")
    say(f"the last step: {asked.out / 'adapter.safetensors'}; others: {asked.out / 'adapters'}")
    say(
        f'use it: model = pl.load_model("{model.name}").with_adapter(pl.Adapter.open("{plain}")); '
        f'pl.text_to_image(model, "{adapter.instance_prompt}, oil painting")'
    )


def changed(
    asked: TrainingFile, model: str | None, photos: str | None, out: str | None
) -> TrainingFile:
    """The same with what was given on the command line, whose folders are those of the shell."""

    def here(folder: str) -> Path:
        return Path(folder).expanduser().absolute()

    given: dict[str, Any] = {} if model is None else {"model": model}
    if photos is not None:
        given["photos"] = photos if photos == SUBJECT else str(here(photos))
    if out is not None:
        given["out"] = here(out)
    return replace(asked, **given)


def write_plan(path: str, settings: str | None = None) -> Path:
    """Write a new settings file for all weights of SDXL, by another settings file if there is one.

    Returns where it is. Raises UsageError for a file that is there already.
    """
    target = Path(path).expanduser().absolute()
    if target.exists():
        raise UsageError(f"--plan: {target} is there already; give another name")
    given = None if settings is None else read_toml(read_training_file(settings).path)
    write_whole(target, plan_file(target, given).encode())
    return target
