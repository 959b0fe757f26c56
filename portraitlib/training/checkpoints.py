"""The folder of a training run, which loses nothing that was saved.

`run.json` says what the run is of; a checkpoint is one file, `step-000123.safetensors`, that holds
tensors and a state of plain JSON values. Both are written beside under another name and renamed:
under its own name a file is whole, whatever happened meanwhile. A run holds a lock on its folder
that dies with its process.
"""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from portraitlib.models.adapter_files import write_tensors
from portraitlib.places import hold_lock
from portraitlib.portrait import read_json, write_json
from portraitlib.settings import UsageError, shown

KEEP = 3  # of the newest saves
FORM = 2  # of run.json; a greater one was written by a later portraitlib
RUN = "run.json"
NOTHING = object()


@dataclass(frozen=True)
class RunRecord:
    """What run.json holds; in version 0.1 the manifest of each checkpoint."""

    form: int
    identity: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What was saved after `step` steps: tensors on the CPU, and a state of plain JSON values."""

    step: int
    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]


# --- a run ---------------------------------------------------------------------------------------


@contextmanager
def open_run(folder: Path, identity: Mapping[str, Any]) -> Iterator[Path]:
    """Take a folder for a training run, new or begun, for as long as this lasts; gives the folder.

    identity: setting -> plain JSON values; everything without which a saved step is of no use
        (hash of the photos, revision of the model, rank ...).

    Raises UsageError, before any work: the folder cannot be written to, another process has a run
    there, or it was begun with another identity, which is named.
    """
    plain = json.loads(json.dumps(identity))
    with hold_lock(folder):
        _refuse_another(folder, plain)
        write_json(folder / RUN, {"form": FORM, "identity": plain})
        yield folder


def check_room(folder: Path, save_bytes: int) -> None:
    """Raise UsageError if the disk lacks the room for the saves of a run, of this size each."""
    # The newest is written before the oldest goes.
    room_bytes = save_bytes * max(1, KEEP + 1 - len(list_checkpoints(folder)))
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < room_bytes:
        raise UsageError(
            f"{folder}: got {free_bytes / 1e6:,.0f} MB of free disk, expected "
            f"{room_bytes / 1e6:,.0f} MB for the checkpoints; make room or give another folder"
        )


def _refuse_another(folder: Path, identity: dict[str, Any]) -> None:
    """Raise UsageError if the folder belongs to another run, and say why."""
    # In version 0.1 a checkpoint was a folder.
    written = [folder / RUN, *sorted(folder.glob("step-*/manifest.json"), reverse=True)]
    path = next((path for path in written if path.is_file()), None)
    if path is None:
        return
    record = read_json(path, RunRecord)
    then = record.identity
    if record.form > FORM:
        raise UsageError(
            f"{path}: got form {record.form}, expected {FORM} at most; a later portraitlib wrote "
            "it: upgrade, or give another folder"
        )
    names = [
        name
        for name in {**then, **identity}
        if then.get(name, NOTHING) != identity.get(name, NOTHING)
    ]
    if names:
        got, expected = (
            shown(settings[names[0]]) if names[0] in settings else "nothing"
            for settings in (identity, then)
        )
        others = f" (other than then, too: {', '.join(names[1:])})" if names[1:] else ""
        raise UsageError(
            f"{names[0]}: got {got}, expected {expected}, with which the run in {folder} was begun"
            f"{others}; give another folder, or the settings of then"
        )
    if path.name != RUN and not (folder / "adapter.safetensors").is_file():
        raise UsageError(
            f"{folder}: a training of portraitlib 0.1 was stopped there, which this version cannot "
            "go on with; give another folder"
        )


# --- saving and loading --------------------------------------------------------------------------


def save_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]
) -> None:
    """Save what an open run has after `step` steps, whole or not at all; the newest three stay.

    tensors: name -> tensor of any shape, on any device.  state: plain JSON values.
    A step saved twice is the later one. Steps beyond this one stay: somebody may have gone back on
    purpose.

    Raises UsageError if it cannot be written (the disk is full, say): then the earlier ones are
    as they were, and nothing half-written is left.
    """
    target = _place(folder, step)
    try:
        write_tensors(target, tensors, {"state": json.dumps(state)})
    except UsageError as problem:
        there = list_checkpoints(folder)
        stands = f"step {there[-1]} stands" if there else "there is no earlier one"
        raise UsageError(
            f"{target}: cannot be saved ({_reason(problem.__cause__)}); {stands}; make room on its "
            "disk, then start the same run again, and it goes on from there"
        ) from problem
    earlier = [number for number in list_checkpoints(folder) if number <= step]
    for path in [_place(folder, number) for number in earlier[:-KEEP]]:
        path.unlink(missing_ok=True)
    for path in folder.glob(".*.part"):  # of processes that were killed
        path.unlink(missing_ok=True)


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """Load the newest checkpoint that can be read; None if there is none.

    Warns of each newer one that is passed over, and why; removes nothing.
    """
    for step in reversed(list_checkpoints(folder)):
        path = _place(folder, step)
        try:
            with safe_open(path, "pt") as file:
                state = json.loads(file.metadata()["state"])
                # Copies: in the mapped file they lie unaligned, where sums may round otherwise.
                names = file.keys()
                tensors = {name: file.get_tensor(name).clone() for name in names}
            return Checkpoint(step, tensors, state)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as problem:
            warnings.warn(f"{path}: passed over, not whole ({_reason(problem)})", stacklevel=2)
    return None


def list_checkpoints(folder: Path) -> tuple[int, ...]:
    """Steps with a checkpoint, ascending; whether they can be read is not asked."""
    names = (path.name for path in folder.glob("step-*.safetensors"))
    matches = (re.fullmatch(r"step-(\d{6,})\.safetensors", name) for name in names)
    return tuple(sorted(int(match[1]) for match in matches if match))


def _place(folder: Path, step: int) -> Path:
    return folder / f"step-{step:06d}.safetensors"


def _reason(problem: BaseException | None) -> str:
    """What went wrong, in one line."""
    text = getattr(problem, "strerror", None) or str(problem) or type(problem).__name__
    return " ".join(text.split())


# --- an optimizer --------------------------------------------------------------------------------


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, names: Sequence[str]
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """What an optimizer remembers: tensors by name, and the rest as plain JSON values.

    names: one for each of its parameters, in the order of its groups. Tensors are no copies.
    """
    tensors: dict[str, torch.Tensor] = {}
    content = _apart(optimizer.state_dict(), "optimizer", tensors)
    return tensors, {"names": list(names), "content": content}


def load_optimizer(
    optimizer: torch.optim.Optimizer,
    names: Sequence[str],
    tensors: Mapping[str, torch.Tensor],
    state: Mapping[str, Any],
) -> None:
    """Give an optimizer back what `optimizer_tensors` took apart; `tensors` may hold others too.

    Raises UsageError if it was an optimizer of other parameters.
    """
    if list(names) != state["names"]:
        raise UsageError(
            f"parameters: got {shown(list(names))}, expected {shown(state['names'])}, as it was "
            "saved; other versions of peft or diffusers wrote it; give another folder"
        )
    optimizer.load_state_dict(_together(state["content"], tensors))


def _apart(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    """A value as JSON, its tensors put into `tensors` and their names in their place."""
    if isinstance(value, torch.Tensor):
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, dict):  # whose keys may be numbers
        return {
            "dict": [[key, _apart(value[key], f"{name}/{key}", tensors)] for key in value],
        }
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_apart(item, f"{name}/{i}", tensors) for i, item in enumerate(value)]}
    return value


def _together(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    """The value that `_apart` was given, with copies of its tensors."""
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "tensor":
        return tensors[inner].clone()
    if kind == "dict":
        return {key: _together(item, tensors) for key, item in inner}
    items = [_together(item, tensors) for item in inner]
    return tuple(items) if kind == "tuple" else items
