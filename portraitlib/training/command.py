"""`portraitlib train`: from a settings file in TOML to an adapter, told line by line.

`example.toml` beside this has every key with its meaning, range and default.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import tomllib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from portraitlib.cost import Budget, BudgetSpent
from portraitlib.generate.progress import print_progress
from portraitlib.photos.photo_set import IDENTIFIER, PhotoSet
from portraitlib.photos.read import CAPTION, read_photos
from portraitlib.photos.subject import subject_photos
from portraitlib.portrait import check_writable, write_whole
from portraitlib.settings import DreamBooth, Range, UsageError, check_number, check_record, nearest

if TYPE_CHECKING:
    from portraitlib.models.adapters import Adapter
    from portraitlib.models.load import Model
    from portraitlib.training.class_set import ClassImages
    from portraitlib.training.dreambooth import Watch

HERE = Path(__file__).parent
SUBJECT = "subject"  # in place of a folder of photos: the drawn person
NONE = "none"  # TOML has no word for it
NUMBERS = {
    "count": Range(1, 1000, "class images", 100),
    "every": Range(1, 1_000_000, "updates", 100),
    "held_out": Range(0, 200, "photos", 3),
    "budget_dollars": Range(0.001, 1e6, "dollars", 2.0, whole=False),
    "budget_seconds": Range(1, 1e8, "seconds", 3600),
}
Say = Callable[[str], None]


@dataclass(frozen=True)
class ClassTable:
    """[class_images]: drawn from the prompt, or one's own in the folder."""

    prompt: str | None = None
    count: int = 100
    folder: str | None = None


@dataclass(frozen=True)
class FilmTable:
    """[film]: what is drawn on the way, every so many updates, and measured with `held_out` photos.

    prompt: None is what the photos are called.  class_prompt: None is that of the class images.
    """

    prompt: str | None = None
    class_prompt: str | None = None
    every: int = 100
    held_out: int = 0


@dataclass(frozen=True)
class TopTable:
    """What stands above all tables. photos: a folder, or "subject".  out: None is in runs/."""

    model: str | None = None
    photos: str = ""
    identifier: str = IDENTIFIER
    caption: str = CAPTION
    out: str | None = None
    trackers: tuple[str, ...] = ()
    budget_dollars: float | None = None
    budget_seconds: float | None = None


TABLES: dict[str, type] = {"dreambooth": DreamBooth, "class_images": ClassTable, "film": FilmTable}


@dataclass(frozen=True)
class TrainingFile:
    """What a settings file asks for; None for a table that it does not have."""

    path: Path
    top: TopTable
    dreambooth: DreamBooth
    class_images: ClassTable | None
    film: FilmTable | None

    def beside(self, folder: str) -> Path:
        """A folder that the file names is beside it, wherever the command is run."""
        return (self.path.parent / Path(folder).expanduser()).absolute()

    @property
    def out(self) -> Path:
        """The folder of the run."""
        return self.beside(self.top.out or f"runs/{self.path.stem}")

    @property
    def class_prompt(self) -> str | None:
        """What class images show, or is held without any."""
        return self.class_images.prompt if self.class_images else self.dreambooth.class_prompt


# --- the file ------------------------------------------------------------------------------------


def read_training_file(path: str | os.PathLike[str]) -> TrainingFile:
    """Read and check a settings file; nothing is loaded, nothing of what it names is looked at.

    Raises UsageError that names the file and the key, for whatever it is that does not fit.
    """
    source = Path(path).expanduser().absolute()
    raw = _read_toml(source)
    tables = {name: value for name, value in raw.items() if isinstance(value, dict)}
    top = _checked(f"{source}: ", {k: raw[k] for k in raw.keys() - tables}, TopTable, [*TABLES])
    for name in tables:
        if name not in TABLES:
            raise UsageError(f"{source}: [{name}]: no such table; {nearest(name, [*TABLES])}")
    given = {name: _checked(f"{source}: [{name}] ", tables[name], TABLES[name]) for name in tables}
    if not top.photos:
        raise UsageError(f"{source}: photos: missing, expected a folder; try photos = {SUBJECT!r}")
    settings, classes = given.get("dreambooth", DreamBooth()), given.get("class_images")
    if classes and not classes.prompt:
        raise UsageError(
            f"{source}: [class_images] prompt: missing, expected words; try 'portrait of a man'"
        )
    if classes and settings.class_prompt is not None:
        raise UsageError(
            f"{source}: [dreambooth] class_prompt: given beside [class_images], which has its own; "
            "leave one of them out"
        )
    return TrainingFile(source, top, settings, classes, given.get("film"))


def _read_toml(source: Path) -> dict[str, Any]:
    """The tables of a TOML file; raises UsageError for one that cannot be read."""
    try:
        return tomllib.loads(source.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise UsageError(
            f"{source}: no such file; try portraitlib train --example > {source.name}"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise UsageError(f"{source}: is no TOML in UTF-8 that can be read: {problem}") from None


def _checked(where: str, given: Mapping[str, Any], table: type, others: Sequence[str] = ()) -> Any:
    """The record of a table; raises UsageError that begins with `where` and the key."""
    known = [setting.name for setting in fields(table)]
    for name in given:
        if name not in known:
            raise UsageError(f"{where}{name}: no such key; {nearest(name, [*known, *others])}")
    values: dict[str, Any] = {k: None if value == NONE else value for k, value in given.items()}
    try:
        if table is DreamBooth:  # which checks them itself
            return table(**values)
        values = {name: value for name, value in values.items() if value is not None}
        for name in values.keys() & NUMBERS.keys():
            values[name] = check_number("", name, values[name], NUMBERS[name])
        return check_record("", values, table)
    except UsageError as problem:
        raise UsageError(where + re.sub(r"^(DreamBooth)?[.:]\s*", "", str(problem))) from None


def example_file(model: str | None = None) -> str:
    """A settings file with every key, its meaning, unit, range and default by preset."""
    text = (HERE / "example.toml").read_text(encoding="utf-8")
    if model in (None, "mini"):
        return text
    text = text.replace('photos = "subject"', 'photos = "my_photos"')
    return text.replace('model = "mini"', f"model = {json.dumps(model)}")


def write_plan(path: str) -> Path:
    """Write a new settings file for all weights of SDXL; return where it is.

    Raises UsageError for a file that is there already.
    """
    target = Path(path).expanduser().absolute()
    if target.exists():
        raise UsageError(f"--plan: {target} is there already; give another name")
    text = (HERE / "full.toml").read_text(encoding="utf-8")
    write_whole(target, text.replace("{name}", target.name).encode())
    return target


# --- the training --------------------------------------------------------------------------------


def changed(
    asked: TrainingFile, model: str | None, photos: str | None, out: str | None
) -> TrainingFile:
    """The same with what was given on the command line, whose folders are those of the shell."""
    given = {"model": model, "photos": photos, "out": out}
    for name in ("photos", "out"):
        folder = given[name]
        if folder is not None and (name, folder) != ("photos", SUBJECT):
            given[name] = str(Path(folder).expanduser().absolute())
    top: Any = {name: value for name, value in given.items() if value is not None}
    return replace(asked, top=replace(asked.top, **top))


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
    model = load_model(asked.top.model)
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
            watch_every=asked.film.every if asked.film else 100,
            trackers=asked.top.trackers,
            on_step=print_progress() if main else None,
            budget=Budget(asked.top.budget_dollars, asked.top.budget_seconds),
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


def _photos(asked: TrainingFile, model: Model) -> tuple[PhotoSet, PhotoSet | None]:
    """The photos to train on, and those to measure with."""
    size_px, top = model.preset.size_px, asked.top
    count = asked.film.held_out if asked.film else 0
    if top.photos == SUBJECT:
        photos = subject_photos(size_px=size_px, identifier=top.identifier)
        others = subject_photos(held_out=True, size_px=size_px, identifier=top.identifier)
        return photos, others if count else None
    folder = asked.beside(top.photos)
    photos = read_photos(folder, size_px=size_px, identifier=top.identifier, caption=top.caption)
    try:
        return photos.hold_out(count) if count else (photos, None)
    except UsageError as problem:
        raise UsageError(f"{asked.path}: [film] held_out: {problem}") from None


def _check(asked: TrainingFile, model: Model, photos: PhotoSet) -> None:
    """Refuse what cannot be trained with before class images are drawn, which takes long."""
    from portraitlib.training.check import check_training

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the training warns of the same
        settings = replace(asked.dreambooth, class_prompt=asked.class_prompt)
        check_training(model, photos, settings, None)


def _class_images(asked: TrainingFile, model: Model, say: Say) -> ClassImages | None:
    from portraitlib.training.class_images import class_images_cost, make_class_images
    from portraitlib.training.class_set import read_class_images
    from portraitlib.training.step import first_alone

    wanted = asked.class_images
    if wanted is None or wanted.prompt is None:
        return None
    if wanted.folder:
        folder = asked.beside(wanted.folder)
        classes = read_class_images(folder, wanted.prompt, model.preset.size_px)
    else:
        with first_alone(model):
            say(f"{class_images_cost(model, wanted.prompt, wanted.count)}")
            on_step = None if say is _silent else print_progress("class images")
            classes = make_class_images(model, wanted.prompt, wanted.count, on_step=on_step)
    say(f"class images: {classes.summary}")
    return classes


def _film(asked: TrainingFile, photos: PhotoSet, held_out: PhotoSet | None) -> Watch | None:
    from portraitlib.training.film import film_strip

    if asked.film is None:
        return None
    prompt = asked.film.prompt or asked.dreambooth.instance_prompt or photos.captions[0]
    return film_strip(prompt, held_out, class_prompt=asked.film.class_prompt or asked.class_prompt)


def _finish(asked: TrainingFile, model: Model, adapter: Adapter, say: Say) -> None:
    """Say which step to take and why, write it in both forms, and say how to use it."""
    from portraitlib.training.film import propose, read_film, show_film, show_training

    if asked.film:
        film = read_film(asked.out)
        show_film(film).savefig(asked.out / "film.png")
        show_training(film).savefig(asked.out / "curves.png")
        say(f"film: {asked.out / 'film.png'}, curves: {asked.out / 'curves.png'}")
        if asked.film.held_out:
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
