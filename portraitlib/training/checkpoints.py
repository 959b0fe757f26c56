"""The folder of a training run, which loses nothing that was saved, and how far the run is.

`run.json` says what the run is of; a checkpoint is one file, `step-000123.safetensors`, that holds
tensors and a state of plain JSON values. Both are written beside under another name and renamed:
under its own name a file is whole, whatever happened meanwhile. A run holds a lock on its folder
that dies with its process.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from portraitlib.cost import Cost, cost_of, money
from portraitlib.models.adapter_files import write_tensors
from portraitlib.places import hold_lock
from portraitlib.portrait import read_json, write_json
from portraitlib.settings import UsageError, shown

SMOOTH = 0.05  # what one step counts in the smoothed loss
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


# --- how far it is -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Progress:
    """Where a training is.

    loss: smoothed over about 20 steps.  seconds: of training so far, earlier runs included.
    seconds_left: at the pace so far.  figures: what `watch` last measured.
    dollars: all that the training has cost so far; None if no rate of the device is known.
    """

    step: int
    total: int
    loss: float
    seconds: float
    seconds_left: float
    figures: Mapping[str, float]
    dollars: float | None = None

    def __str__(self) -> str:
        seen = "".join(f", {name} {value:.2f}" for name, value in self.figures.items())
        cost = "" if self.dollars is None else f", {money(self.dollars)}"
        return (
            f"step {self.step} of {self.total}, loss {self.loss:.4f}, {self.seconds:.0f} s, "
            f"{self.seconds_left:.0f} s left{cost}{seen}"
        )


@dataclass
class History:
    """What is known of a training so far; it is in its checkpoints and in its adapter's recipe.

    step: steps done, of `total`.  loss: smoothed; None before the first.
    seconds: of training alone.  spent_s: device -> seconds of everything, encoding the photos,
        drawing a film strip and saving too.  peak_memory_gb: the most that was in use at a time.
    curve: (step, smoothed loss), every few steps.
    figures: what `watch` measured, with the step.
    """

    total: int
    step: int = 0
    loss: float | None = None
    seconds: float = 0.0
    spent_s: dict[str, float] = field(default_factory=dict)
    peak_memory_gb: float | None = None
    curve: list[list[float]] = field(default_factory=list)
    figures: list[dict[str, Any]] = field(default_factory=list)

    def add_losses(self, losses: Sequence[float]) -> None:
        """Go on by these steps."""
        for value in losses:
            self.loss = value if self.loss is None else self.loss + SMOOTH * (value - self.loss)
        self.step += len(losses)
        self.curve.append([self.step, round(self.loss or 0.0, 6)])

    def spend(self, cost: Cost, earlier_s: float) -> None:
        """Note what this run has cost, on a device that runs before it used for `earlier_s`."""
        self.spent_s[cost.device] = earlier_s + cost.seconds
        peaks = [peak for peak in (self.peak_memory_gb, cost.peak_memory_gb) if peak is not None]
        self.peak_memory_gb = max(peaks, default=None)

    @property
    def cost(self) -> Cost:
        """All that the training has cost so far, by the rate of each device; class images not."""
        first, *others = [cost_of(seconds, device) for device, seconds in self.spent_s.items()]
        return replace(sum(others, first), peak_memory_gb=self.peak_memory_gb)

    @property
    def progress(self) -> Progress:
        """Where the training is; asked after the first step."""
        figures = self.figures[-1] if self.figures else {}
        return Progress(
            step=self.step,
            total=self.total,
            loss=self.loss or 0.0,
            seconds=self.seconds,
            seconds_left=self.seconds / self.step * (self.total - self.step),
            figures={k: v for k, v in figures.items() if k != "step" and v is not None},
            dollars=self.cost.dollars,
        )


# --- a run ---------------------------------------------------------------------------------------


@contextmanager
def open_run(folder: Path, identity: Mapping[str, Any], *, wait: bool = False) -> Iterator[Path]:
    """Take a folder for a training run, new or begun, for as long as this lasts; gives the folder.

    identity: setting -> plain JSON values; everything without which a saved step is of no use
        (hash of the photos, revision of the model, rank ...).
    wait: for another process that has a run there, rather than be refused.

    Raises UsageError, before any work: the folder cannot be written to, another process has a run
    there, or it was begun with another identity, which is named.
    """
    plain = json.loads(json.dumps(identity))
    with hold_lock(folder, wait=wait):
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
    numbers = (path.stem.removeprefix("step-") for path in folder.glob("step-*.safetensors"))
    return tuple(sorted(int(number) for number in numbers if number.isdecimal()))


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
