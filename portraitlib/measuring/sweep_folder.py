"""A sweep on the disk: every finished cell as PNG files under its content address.

`sweep.json` says what the sweep is and which files belong to which cell. It is written after every
cell, so that a sweep that was broken off goes on where it stood.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from portraitlib.generate.calls import CALLBACKS
from portraitlib.measuring.sweep_page import Cell, write_page
from portraitlib.photos.pictures import content_hash
from portraitlib.places import digest, output_folder
from portraitlib.portrait import Portrait, write_json
from portraitlib.settings import Control, Sampling, UsageError

SWEEP = "sweep.json"
# What a label says of a setting that is no plain value.
TOLD = ("name", "kind", "file", "folder", "image", "array")
# Arguments whose texts are paths: it is the content of the file that counts.
PATHS = ("image", "condition", "controlnet", "adapter")


@dataclass(frozen=True)
class About:
    """What is the same in all cells of a sweep, as plain JSON values.

    function: its name.  model: name, revision and number type; None where the model is varied.
    held: setting -> value, pictures by their content.
    """

    function: str
    model: Any
    held: dict[str, Any]

    def address(self, settings: Mapping[str, Any]) -> str:
        """The content address of the cell with these settings, 16 hexadecimal digits."""
        varied = {name: plain(value, name) for name, value in settings.items()}
        return digest([self.function, self.model, self.held, varied])


def about_sweep(
    function: Any, held: Mapping[str, Any], owners: Mapping[str, str], varied: Sequence[str]
) -> About:
    """What is held in a sweep: `held` are a call's arguments, `owners` says where settings lie."""
    model, *inputs = held
    kept: dict[str, Any] = {}
    opened = {owners[name] for name in varied} - set(varied)  # records of which a field is varied
    for name in inputs:
        if name in varied or name in CALLBACKS:
            continue
        if name in opened or isinstance(held[name], Sampling | Control):
            for part in (each.name for each in dataclasses.fields(held[name])):
                key = f"{name}.{part}" if part in held else part
                if key not in varied:
                    kept[key] = plain(getattr(held[name], part), part)
        else:
            kept[name] = plain(held[name], name)
    named = None if model in varied else plain(held[model], model)
    return About(_function(function), named, kept)


def _function(function: Any) -> str:
    """A function's name, and the hash of its code where that is no part of the library."""
    name = str(getattr(function, "__name__", "function"))
    if getattr(function, "__module__", "").startswith("portraitlib."):
        return name
    try:
        return f"{name}, code {digest(inspect.getsource(function))}"
    except (OSError, TypeError):  # typed in by hand
        return name


def plain(value: Any, name: str = "") -> Any:
    """A setting as JSON values that stay the same from one process to the next."""
    if name in PATHS and isinstance(value, str) or isinstance(value, os.PathLike):
        return _path(os.fspath(value))
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 5.0 is 5
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, list | tuple):
        return [plain(each, name) for each in value]
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if hasattr(value, "pipeline") and hasattr(value, "revision"):  # a Model
        named = {each: plain(getattr(value, each, None)) for each in ("name", "revision")}
        named["dtype_name"] = plain(getattr(value, "dtype_name", None))
        return {**named, "adapter": plain(getattr(value, "adapter_entries", None))}
    if hasattr(value, "tensors") and hasattr(value, "hash"):  # an Adapter
        return {"name": value.name, "adapter": value.hash}
    picture = value if isinstance(value, Image.Image) else getattr(value, "image", None)
    if isinstance(picture, Image.Image):
        beside = {key: getattr(value, key) for key in ("kind", "settings") if hasattr(value, key)}
        return {"image": f"sha256:{content_hash(picture)}", **plain(beside)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        shown = (each.name for each in dataclasses.fields(value) if each.repr)
        return {each: plain(getattr(value, each), each) for each in shown}
    if hasattr(value, "tobytes") and hasattr(value, "shape"):
        shape = f"{value.dtype} {value.shape}".encode()
        return {"array": f"sha256:{hashlib.sha256(shape + value.tobytes()).hexdigest()}"}
    if hasattr(value, "numpy"):  # a tensor
        return plain(value.detach().cpu().numpy())
    return repr(value)


def _path(text: str) -> Any:
    """A path by what lies there; anything else, such as a hub id, as it is."""
    path = Path(text).expanduser()
    try:
        if path.is_file():
            return {"file": f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"}
        if path.is_dir():
            found = sorted(each for each in path.rglob("*") if each.is_file())
            stats = [(str(each.relative_to(path)), each.stat()) for each in found]
            files = digest([(name, stat.st_size, stat.st_mtime) for name, stat in stats])
            return {"folder": path.name, "files": files}
    except (OSError, ValueError):  # no possible path
        pass
    return text


@dataclass
class SweepFolder:
    """The folder of one sweep.

    rows: address -> what `sweep.json` says of the cell: settings, files, error.
    Raises UsageError in one line where the folder holds another sweep or cannot be written to.
    """

    folder: Path
    about: About
    varied: Mapping[str, Sequence[Any]]
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in [*self.about.held.items(), ("model", self.about.model)]:
            if " at 0x" in str(value):
                raise UsageError(
                    f"{name}: got {value}, which has another name in every run; a sweep with a "
                    "folder takes numbers, texts, pictures and settings"
                )
        path = self.folder / SWEEP
        if path.exists():
            self.rows = {row["cell"]: row for row in self._read(path)}

    def _read(self, path: Path) -> list[dict[str, Any]]:
        """The rows of an earlier run of the same sweep."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            then = [found["function"], found["model"], found["held"], sorted(found["varied"])]
            rows = [row for row in found["rows"] if {"cell", "files", "error"} <= set(row)]
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise UsageError(f"{path}: cannot be read ({problem}); try another folder") from None
        now = json.loads(json.dumps(self._head()))
        now = [now["function"], now["model"], now["held"], sorted(now["varied"])]
        if then != now:
            raise UsageError(
                f"{self.folder}: holds another sweep ({_difference(then, now)}); try another folder"
            )
        return rows

    def load(self, settings: Mapping[str, Any]) -> list[Portrait] | None:
        """The portraits of a finished cell; None if it is missing, failed or damaged."""
        row = self.rows.get(self.about.address(settings))
        if row is None or row["error"] is not None:
            return None
        try:
            return [Portrait.open(self.folder / Path(name).name) for name in row["files"]]
        except UsageError:
            return None

    def keep(
        self,
        settings: Mapping[str, Any],
        portraits: Sequence[Portrait],
        error: str | None = None,
        scores: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Write a cell's pictures, each whole or not at all; `write` then makes them count."""
        cell = self.about.address(settings)
        files = [f"{cell}-{index:02d}.png" for index in range(len(portraits))]
        for file, portrait in zip(files, portraits, strict=True):
            portrait.save(self.folder / file)
        shown = {name: plain(value, name) for name, value in settings.items()}
        row = {"cell": cell, "settings": shown, "files": files, "error": error}
        self.rows[cell] = row if scores is None else {**row, "scores": [dict(s) for s in scores]}

    def write(self, order: Sequence[Mapping[str, Any]] = ()) -> None:
        """Write `sweep.json`, the cells with the settings in `order` first and in that order."""
        first = [self.about.address(settings) for settings in order]
        ranked = dict.fromkeys([*(cell for cell in first if cell in self.rows), *self.rows])
        rows = [self.rows[cell] for cell in ranked]
        write_json(self.folder / SWEEP, {**self._head(), "rows": rows})

    def write_page(self, order: Sequence[Mapping[str, Any]]) -> None:
        """Write `index.html` with the cells of these settings and their scores."""
        labels = {name: _labels(name, values) for name, values in self.varied.items()}
        cells = []
        for settings in order:
            row = self.rows[self.about.address(settings)]
            own = {name: labels[name][_key(value, name)] for name, value in settings.items()}
            scores = row.get("scores") or [{} for _ in row["files"]]
            told_scores = [{n: _score(v) for n, v in each.items()} for each in scores]
            cells.append(Cell(own, row["files"], told_scores, row["error"]))
        varied = {name: list(texts.values()) for name, texts in labels.items()}
        held = {name: value for name, value in self.about.held.items() if value not in (None, "")}
        told = ", ".join(f"{name} {label(value)}" for name, value in held.items())
        title = f"{self.about.function.split(',')[0]}: {', '.join(varied)} varied"
        write_page(self.folder, title, f"{label(self.about.model)}; {told}", varied, cells)

    def _head(self) -> dict[str, Any]:
        varied = {name: [plain(v, name) for v in values] for name, values in self.varied.items()}
        return {**dataclasses.asdict(self.about), "varied": varied}


def open_folder(
    folder: str | os.PathLike[str], about: About, varied: Mapping[str, Sequence[Any]]
) -> SweepFolder:
    """The folder of a sweep, new or begun; raises UsageError if it holds another."""
    return SweepFolder(output_folder(folder), about, varied)


def _key(value: Any, name: str) -> str:
    return json.dumps(plain(value, name), sort_keys=True)


def _labels(name: str, values: Sequence[Any]) -> dict[str, str]:
    """A label for each value of a varied setting; no two are the same."""
    found: dict[str, str] = {}
    for value in values:
        text = str(value) if isinstance(value, float) else label(value, name)
        twice = text in found.values()
        found[_key(value, name)] = f"{text} ({len(found) + 1})" if twice else text
    return found


def _score(value: Any) -> str:
    """A figure as it stands under a picture: "0.71", "52.5", "-" where there is none."""
    if not isinstance(value, float):
        return label(value)
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def label(value: Any, name: str = "") -> str:
    """A setting in a few words."""
    value = plain(value, name)
    if isinstance(value, dict):
        if value.get("kind") and value.get("settings"):  # a condition, by what it was made with
            made = (f"{part} {label(number)}" for part, number in value["settings"].items())
            return ", ".join([value["kind"], *made])
        told = [str(value[key]) for key in TOLD if value.get(key)]
        added = value.get("adapter")  # of a Model: what was learnt on top of it, and how much
        if isinstance(added, list):
            told += [f"{each['identifier'] or each['hash'][:8]} {each['scale']}" for each in added]
        return ", ".join(text[:24] for text in told) or json.dumps(value)
    if isinstance(value, float):
        return f"{value:.3g}"
    return value if isinstance(value, str) else "-" if value is None else json.dumps(value)


def _difference(then: Sequence[Any], now: Sequence[Any]) -> str:
    """The first thing in which two sweeps differ, in a few words."""
    for name, old, new in zip(("function", "model", "held", "varied"), then, now, strict=True):
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            name = next(key for key in [*old, *new] if old.get(key) != new.get(key))
            old, new = old.get(name, "varied"), new.get(name, "varied")
        return f"{name}: {json.dumps(old)[:60]}, now {json.dumps(new)[:60]}"
    return ""
