"""The settings file of `portraitlib train`: TOML that is read, checked and written from one table.

What a setting means stands in the docstring of `DreamBooth`, its range in `RANGES`, its default in
the dataclass or in the presets; the file that `--example` prints is made of them.
"""

from __future__ import annotations

import difflib
import inspect
import json
import os
import re
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from portraitlib.cost import Budget
from portraitlib.models.presets import PRESETS
from portraitlib.photos.photo_set import IDENTIFIER
from portraitlib.photos.read import CAPTION
from portraitlib.settings import CHOICES, RANGES, DreamBooth, Range, UsageError, check_number

SUBJECT = "subject"  # in place of a folder of photos: the drawn person
NONE = "none"  # TOML has no word for it
LARGEST_BYTES = 1_000_000
WIDTH = 100


@dataclass(frozen=True)
class Key:
    """One key of a settings file outside [dreambooth].

    default: None where there is none.  example: what the example file has; None for a comment.
    numbers: the range of a number; a key without one is a text.
    """

    about: str
    default: Any = None
    example: Any = None
    numbers: Range | None = None
    several: bool = False


COUNT = Range(1, 1000, "class images", 100)
EVERY = Range(1, 1_000_000, "updates", 100)
HELD_OUT = Range(0, 200, "photos", 3)
DOLLARS = Range(0.001, 1e6, "dollars", 2.0, whole=False)
SECONDS = Range(1, 1e8, "seconds", 3600)
# Table -> key -> what it is; "" is the top of the file, and [dreambooth] has its own.
TABLES: dict[str, dict[str, Key]] = {
    "": {
        "model": Key("mini, sdxl, a hub id or a folder; without it sdxl with a GPU, else mini"),
        "photos": Key(
            "the folder of the person's photos, beside this file; or \"subject\", a person drawn "
            "in the embedded model's world",
            example=SUBJECT,
        ),
        "identifier": Key("the word that will mean the person", default=IDENTIFIER),
        "caption": Key(
            "what a photo is called that has no name.txt beside it; {identifier} stands in it",
            default=CAPTION,
        ),
        "out": Key("the folder of the run, beside this file; without it runs/ and its name"),
        "trackers": Key(
            "names of trackers that accelerate knows, such as tensorboard", default=[], several=True
        ),
        "budget_dollars": Key(
            "the most that the training may cost, runs before this one included and class images "
            "not; then it stops, saved",
            numbers=DOLLARS,
        ),
        "budget_seconds": Key("the longest that it may take, counted alike", numbers=SECONDS),
    },
    "class_images": {
        "prompt": Key("the class prompt, which the model draws", example="portrait of a man"),
        "count": Key("how many", default=100, example=24, numbers=COUNT),
        "folder": Key("one's own pictures of the class in place of drawn ones"),
    },
    "film": {
        "prompt": Key("what is drawn on the way; without it what the photos are called"),
        "class_prompt": Key("drawn too, for the drift; without it that of the class images"),
        "every": Key("updates between two frames", default=100, example=100, numbers=EVERY),
        "held_out": Key(
            "photos kept from the training to measure likeness with; 0 for none; the subject has "
            "six more for it",
            default=0,
            example=3,
            numbers=HELD_OUT,
        ),
    },
}  # fmt: skip


@dataclass(frozen=True)
class TrainingFile:
    """What a settings file asks for, folders absolute; None for a table that it does not have."""

    path: Path
    model: str | None
    photos: str
    identifier: str
    caption: str
    out: Path
    trackers: tuple[str, ...]
    budget: Budget
    dreambooth: DreamBooth
    class_images: dict[str, Any] | None
    film: dict[str, Any] | None


def read_training_file(path: str | os.PathLike[str]) -> TrainingFile:
    """Read and check a settings file; nothing is loaded, nothing of what it names is looked at.

    Raises UsageError that names the file and the key, for whatever it is that does not fit.
    """
    source = Path(path).expanduser().absolute()
    raw = read_toml(source)
    top = _checked(source, "", {k: v for k, v in raw.items() if not isinstance(v, dict)})
    tables = {name: table for name, table in raw.items() if isinstance(table, dict)}
    known = ("dreambooth", *filter(None, TABLES))
    for name in tables:
        if name not in known:
            raise UsageError(f"{source}: [{name}]: no such table; {_near(name, known)}")
    if top["photos"] is None:
        raise UsageError(f"{source}: photos: missing, expected a folder; try photos = {SUBJECT!r}")
    of_class = _checked_table(source, "class_images", tables)
    if of_class and not of_class["prompt"]:
        raise UsageError(
            f"{source}: [class_images] prompt: missing, expected words; try 'portrait of a man'"
        )
    settings = _read_dreambooth(source, tables.get("dreambooth", {}))
    if of_class and settings.class_prompt is not None:
        raise UsageError(
            f"{source}: [dreambooth] class_prompt: given beside [class_images], which has its own; "
            "leave one of them out"
        )
    photos = top["photos"]
    if of_class and of_class["folder"]:
        of_class["folder"] = str(_place(source, of_class["folder"]))
    return TrainingFile(
        source,
        top["model"],
        photos if photos == SUBJECT else str(_place(source, photos)),
        top["identifier"],
        top["caption"],
        _place(source, top["out"] or f"runs/{source.stem}"),
        tuple(top["trackers"]),
        Budget(top["budget_dollars"], top["budget_seconds"]),
        settings,
        of_class,
        _checked_table(source, "film", tables),
    )


def read_toml(source: Path) -> dict[str, Any]:
    """The tables of a TOML file; raises UsageError for one that cannot be read."""
    try:
        if source.stat().st_size > LARGEST_BYTES:
            raise UsageError(f"{source}: too large for a settings file; try train --example")
        return tomllib.loads(source.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise UsageError(
            f"{source}: no such file; try portraitlib train --example > {source.name}"
        ) from None
    except OSError as problem:
        raise UsageError(f"{source}: cannot be read ({problem.strerror or problem})") from None
    except UnicodeDecodeError:
        raise UsageError(f"{source}: is no text in UTF-8, expected TOML") from None
    except tomllib.TOMLDecodeError as problem:
        raise UsageError(f"{source}: is no TOML: {problem}") from None


def _place(source: Path, folder: str) -> Path:
    """A folder that a file names is beside it, wherever the command is run."""
    return (source.parent / Path(folder).expanduser()).absolute()


def _near(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(known)}"


def _checked_table(
    source: Path, name: str, tables: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any] | None:
    return _checked(source, name, tables[name]) if name in tables else None


def _checked(source: Path, table: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a table, checked, with defaults for the others."""
    keys, where = TABLES[table], f"{source}: " + (f"[{table}] " if table else "")
    for name in given:
        if name not in keys:
            tables = () if table else ("dreambooth", *filter(None, TABLES))
            raise UsageError(f"{where}{name}: no such key; {_near(name, (*keys, *tables))}")
    values = {}
    for name, key in keys.items():
        value = given.get(name, key.default)
        if value == NONE and key.default is None:
            value = None
        elif name in given and key.numbers:
            try:
                value = check_number("", name, value, key.numbers)
            except UsageError as problem:
                raise UsageError(f"{where}{str(problem).removeprefix('.')}") from None
        elif name in given and key.several:
            if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
                raise UsageError(f'{where}{name}: got {value!r}, expected a list; try ["a"]')
        elif name in given and not (isinstance(value, str) and value.strip()):
            raise UsageError(f"{where}{name}: got {value!r}, expected a text; {key.about}")
        values[name] = value
    return values


def _read_dreambooth(source: Path, given: Mapping[str, Any]) -> DreamBooth:
    where = f"{source}: [dreambooth] "
    known = [each.name for each in fields(DreamBooth)]
    for name in given:
        if name not in known:
            raise UsageError(f"{where}{name}: no such setting; {_near(name, known)}")
    try:
        values: dict[str, Any] = {name: None if v == NONE else v for name, v in given.items()}
        return DreamBooth(**values)
    except UsageError as problem:
        raise UsageError(where + re.sub(r"^DreamBooth[.:]\s*", "", str(problem))) from None


# --- the example ---------------------------------------------------------------------------------

OPENING = """\
Settings of a training: portraitlib train {name}
A line that begins with "# name = " shows the default; take the # away to change it.
Folders are beside this file. What has the default "none" can be left out, or be "none"."""


def example_file(
    chosen: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    model: str | None = None,
    opening: str = OPENING.format(name="settings.toml"),
) -> str:
    """A settings file with every key, its meaning, unit, range and default by preset.

    chosen: table -> key -> value of the lines that are no comments; None for a small example.
    model: the preset whose defaults the comments show; None for the embedded one.
    """
    lines = [f"# {line}".rstrip() for line in opening.splitlines()]
    preset = model if model in PRESETS else "sdxl" if model else "mini"
    if chosen is None:
        chosen = _small_example(model)
    for table in ("", "dreambooth", *filter(None, TABLES)):
        own = chosen.get(table, {})
        used = table in ("", "dreambooth") or table in chosen
        lines += ["", f"{'' if used else '# '}[{table}]"] if table else []
        rows = _dreambooth_rows(preset) if table == "dreambooth" else _key_rows(table)
        for name, about, default in rows:
            told = [line for text in about if text for line in textwrap.wrap(text, WIDTH - 2)]
            lines += ["", *(f"# {line}" for line in told)]
            value = own.get(name, default)
            lines.append(f"{'' if name in own else '# '}{name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _small_example(model: str | None) -> dict[str, dict[str, Any]]:
    chosen: dict[str, dict[str, Any]] = {
        table: {name: key.example for name, key in keys.items() if key.example is not None}
        for table, keys in TABLES.items()
    }
    if model and model != "mini":
        chosen[""] |= {"model": model, "photos": "my_photos"}
        chosen["class_images"]["count"] = 100
    else:
        chosen[""]["model"] = "mini"
    chosen["film"]["prompt"] = f"portrait of {IDENTIFIER} man"
    return chosen


Row = tuple[str, tuple[str, str], Any]  # name, meaning and range, default


def _key_rows(table: str) -> Iterator[Row]:
    for name, key in TABLES[table].items():
        default = NONE if key.default is None else key.default
        limits = f"{key.numbers}; default {_toml(default)}" if key.numbers else ""
        yield name, (key.about, limits), default


def _dreambooth_rows(preset: str) -> Iterator[Row]:
    """Each setting of a training: what it is, its unit, range and default by preset."""
    said = _said(DreamBooth)
    for each in fields(DreamBooth):
        name = each.name
        limits = f"{RANGES[name]}; " if name in RANGES else ""
        if name in CHOICES:
            limits = f"one of {', '.join(CHOICES[name])}; "
        by_preset = {k: p.training[name] for k, p in PRESETS.items() if name in p.training}
        default = by_preset.get(preset, NONE if each.default is None else each.default)
        shown = ", ".join(f"{key} {_toml(value)}" for key, value in by_preset.items())
        yield name, (said.get(name, ""), f"{limits}default {shown or _toml(default)}"), default


def _said(record: type) -> dict[str, str]:
    """Setting -> what the docstring of a record says of it, "name: text"; of "name, name: text" the
    first has it.
    """
    text = inspect.cleandoc(record.__doc__ or "")
    names = "|".join(sorted((each.name for each in fields(record)), key=len, reverse=True))
    opening = re.compile(rf"(?:(?<=\n)|(?<=  )|(?<=\. ))({names})((?:, (?:{names}))*): ")
    found = list(opening.finditer(text))
    said = {}
    for at, following in zip(found, [*found[1:], None], strict=True):
        body = text[at.end() : following.start() if following else len(text)].split("\n\n")[0]
        sentence = re.sub(r"\bNone\b", f'"{NONE}"', " ".join(body.split()))
        said[at[1]] = f"{at[1]}{at[2]}: {sentence}" if at[2] else sentence
    return said


def _toml(value: Any) -> str:
    """A plain value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return repr(value) if isinstance(value, int | float) else json.dumps(value, ensure_ascii=False)


# --- the plan ------------------------------------------------------------------------------------

# What full fine-tuning of SDXL's UNet takes: 2.57 billion weights.
PLAN_SETTINGS = {
    "tune": "full", "learning_rate": 2e-6, "lr_scheduler": "constant", "max_train_steps": 1200,
    "optimizer": "adamw8bit", "train_batch_size": 1, "gradient_checkpointing": True,
    "save_every_steps": 400, "precision": "bfloat16",
}  # fmt: skip
LORA_ALONE = ("layers", "rank", "alpha", "text_learning_rate")
PLAN = """\
A plan for a big GPU: full fine-tuning of SDXL's UNet, all 2.57 billion weights of it.

    pip install bitsandbytes
    accelerate launch --num_processes 1 --mixed_precision no \\
        -m portraitlib.cli train {name}

For N GPUs: --num_processes N, and train_batch_size a multiple of N.
Memory: weights 10.3 GB and gradients 10.3 GB in float32, AdamW in 8 bits 5.1 GB (with "adamw"
20.6 GB), the untouched model in half precision 7 GB, activations some GB: from 40 GB, 80 GB with
"adamw". Disk: 10.3 GB for each frame of the film, 16 GB (31 GB) for each of 3 checkpoints.
Folders are beside this file."""


def plan_file(path: Path, given: Mapping[str, Any] | None = None) -> str:
    """The settings file of a full fine-tuning of SDXL; prompts and photos are those `given`.

    given: the content of another settings file, as `read_toml` gives it; its number of steps, rank
    and rates are of a LoRA or of another model, and are not taken.
    """
    given = given or _small_example("sdxl")
    top = {k: v for k, v in given.items() if not isinstance(v, dict)} | dict(given.get("", {}))
    kept = ("instance_prompt", "class_prompt", "prior_loss_weight", "seed", "caption_dropout")
    own = {k: v for k, v in given.get("dreambooth", {}).items() if k in kept}
    chosen = {name: dict(given[name]) for name in TABLES if name and name in given}
    chosen[""] = top | {"model": "sdxl"}
    if top.get("photos", SUBJECT) == SUBJECT:
        chosen[""]["photos"] = "my_photos"
    chosen["dreambooth"] = own | PLAN_SETTINGS
    if "film" in chosen:
        chosen["film"]["every"] = PLAN_SETTINGS["save_every_steps"]
    return example_file(chosen, model="sdxl", opening=PLAN.format(name=path.name))
