"""The folder of a training run, which loses nothing that was saved.

A checkpoint is a folder `step-000123` with `tensors.safetensors`, `state.json` and
`manifest.json`. It is written beside under another name, the manifest with size and hash of each
file last, and then renamed: under its own name it is whole, whatever happened meanwhile. A run
holds a lock on its folder that dies with its process. Knows no models and no training.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from portraitlib.generate.calls import shown
from portraitlib.settings import UsageError
from portraitlib.training.run_lock import hold_lock

KEEP = 3  # of the newest saves
FORM = 1  # of the manifest; a greater one was written by a later portraitlib
TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
MISSING = object()


@dataclass(frozen=True, eq=False)
class Run:
    """A folder that this process alone writes checkpoints to, until the run is closed.

    identity: setting -> plain JSON; what must be the same for a run to go on.
    """

    folder: Path
    identity: dict[str, Any]
    lock: FileIO = field(repr=False)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What was saved after `step` steps: tensors on the CPU, and a state of plain JSON values."""

    folder: Path
    step: int
    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]


class Damaged(Exception):
    """Why a checkpoint is not whole."""


# --- a run ---------------------------------------------------------------------------------------


@contextmanager
def open_run(folder: str | Path, identity: Mapping[str, Any]) -> Iterator[Run]:
    """Take a folder for a training run, new or begun, after proof that saving and loading work.

    identity: setting -> plain JSON values; everything without which a saved step is of no use
        (hash of the photos, revision of the model, rank ...).

    Raises UsageError, before any work: the folder cannot be written to, another process has a run
    there, or it was begun with another identity, which is named.
    """
    folder = Path(folder).expanduser()
    identity = _plain(identity, "identity")
    with hold_lock(folder) as lock:
        _finish_replacing(folder)
        _refuse_another(folder, identity)
        _prove(folder, identity)
        yield Run(folder, identity, lock)


def check_room(run: Run, save_bytes: int) -> None:
    """Raise UsageError if the disk lacks the room for the saves of a run, of this size each."""
    # The newest is written before the oldest goes.
    room_bytes = save_bytes * max(1, KEEP + 1 - len(_steps(run.folder)))
    free_bytes = shutil.disk_usage(run.folder).free
    if free_bytes < room_bytes:
        raise UsageError(
            f"{run.folder}: got {free_bytes / 1e6:,.0f} MB of free disk, expected "
            f"{room_bytes / 1e6:,.0f} MB for the checkpoints; make room or give another folder"
        )


def _finish_replacing(folder: Path) -> None:
    """Put a step back that was set aside for a newer save of itself, which never took its place."""
    for aside in folder.glob(".step-*.old"):
        target = folder / aside.name[1 : -len(".old")]
        if not target.exists():
            with suppress(OSError):  # a folder that cannot be written to is refused by the proof
                os.rename(aside, target)


def _refuse_another(folder: Path, identity: dict[str, Any]) -> None:
    """Raise UsageError if a checkpoint in the folder belongs to another run, and say why."""
    for step in reversed(_steps(folder)):
        try:
            then = _read_manifest(_place(folder, step))["identity"]
        except Damaged:
            continue
        if different := list(_differences(then, identity)):
            name, old, new = different[0]
            others = ", ".join(each for each, *_ in different[1:])
            raise UsageError(
                f"{name}: got {new}, expected {old}, with which the run in {folder} was begun"
                + (f" (other than then, too: {others})" if others else "")
                + "; give another folder, or the settings of then"
            )


def _differences(then: Any, now: Any, name: str = "") -> Iterator[tuple[str, str, str]]:
    """Name, old and new value of each setting in which two identities differ."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in {**then, **now}:
            inner = f"{name}.{key}" if name else key
            yield from _differences(then.get(key, MISSING), now.get(key, MISSING), inner)
    elif then != now:
        old, new = ("nothing" if each is MISSING else shown(each) for each in (then, now))
        yield name, old, new


def _prove(folder: Path, identity: dict[str, Any]) -> None:
    """Save and load a small checkpoint; raise UsageError if it does not come back the same."""
    tensors = {"proof": torch.arange(1024, dtype=torch.float32)}
    proof = _place(folder / ".proof", 0)
    try:
        _write(proof, 0, identity, tensors, {"proof": True})
        found = _read(proof)
        if found.state != {"proof": True} or not torch.equal(
            found.tensors["proof"], tensors["proof"]
        ):
            raise Damaged("what was saved came back changed")
    except (OSError, SafetensorError, Damaged) as problem:
        raise UsageError(
            f"{folder}: no checkpoint can be saved there and loaded again ({_reason(problem)}); "
            "try a folder that you may write to, on a disk with room"
        ) from None
    finally:
        shutil.rmtree(proof.parent, ignore_errors=True)


# --- saving --------------------------------------------------------------------------------------


def save_checkpoint(
    run: Run,
    step: int,
    tensors: Mapping[str, torch.Tensor],
    state: Mapping[str, Any],
    *,
    keep: int = KEEP,
    kept: Collection[int] = (),
) -> Path:
    """Save what a run has after `step` steps, whole or not at all, and return its folder.

    tensors: name -> tensor of any shape, on any device.  state: plain JSON values, keys are text.
    keep: how many of the newest whole ones stay, 1 or more.  kept: steps that stay besides.
    Older ones, whole by their sizes or not, go only when this one is on the disk. A step saved
    twice is the later one.

    Raises UsageError if it cannot be written (the disk is full, say): then the earlier ones are
    as they were, and nothing half-written is left.
    """
    if run.lock.closed:
        raise UsageError(f"{run.folder}: the run is closed; save inside `with open_run(...)`")
    if step < 0 or keep < 1:
        raise UsageError(f"got step={step}, keep={keep}; expected step >= 0 and keep >= 1")
    target = _place(run.folder, step)
    plain = _plain(state, "state")
    try:
        _write(target, step, run.identity, tensors, plain)
    except (OSError, SafetensorError) as problem:
        whole = list_checkpoints(run.folder)
        stands = f"step {whole[-1]} stands" if whole else "there is no earlier one"
        raise UsageError(
            f"{target}: cannot be saved ({_reason(problem)}); {stands}; make room on its disk, "
            "then start the same run again, and it goes on from there"
        ) from problem
    _sweep(run.folder, step, keep, kept)
    return target


def _write(
    target: Path,
    step: int,
    identity: Mapping[str, Any],
    tensors: Mapping[str, torch.Tensor],
    state: Mapping[str, Any],
) -> None:
    """Write a checkpoint beside `target`, the manifest last, then rename it."""
    part = target.parent / f".{target.name}.part"
    aside = target.parent / f".{target.name}.old"
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        save_file(_storable(tensors), part / TENSORS)
        (part / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")
        shutil.copymode(part / STATE, part / TENSORS)  # safetensors lets nobody else read it
        files = {name: _seal(part / name) for name in (TENSORS, STATE)}
        manifest = {"form": FORM, "step": step, "identity": identity, "files": files}
        manifest["sha256"] = _digest(manifest)
        (part / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        _seal(part / MANIFEST)
        _sync_folder(part)
        if target.exists():
            shutil.rmtree(aside, ignore_errors=True)
            os.rename(target, aside)  # no folder takes the place of a full one in one go
        os.rename(part, target)
        _sync_folder(target.parent)
    finally:
        if aside.exists() and not target.exists():
            os.rename(aside, target)
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(aside, ignore_errors=True)


def _storable(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors as safetensors takes them: on the CPU, dense, no two in the same memory."""
    stored, taken = {}, set()
    for name, tensor in tensors.items():
        tensor = tensor.detach().to("cpu").contiguous()
        if tensor.untyped_storage().data_ptr() in taken:
            tensor = tensor.clone()
        taken.add(tensor.untyped_storage().data_ptr())
        stored[name] = tensor
    return stored


def _seal(path: Path) -> dict[str, Any]:
    """See that a file is on the disk; its size and hash."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": os.fstat(file.fileno()).st_size, "sha256": sha256}


def _sync_folder(folder: Path) -> None:
    """See that the names in a folder are on the disk; Windows and some disks cannot be asked to."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as problem:
        if problem.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _sweep(folder: Path, step: int, keep: int, kept: Collection[int]) -> None:
    """Remove what a save at `step` made useless: older checkpoints, damaged ones, remains.

    Steps beyond this one stay: somebody may have gone back on purpose.
    """
    whole = [each for each in list_checkpoints(folder) if each <= step]
    for each in _steps(folder):
        if each <= step and each not in {*whole[-keep:], *kept}:
            with suppress(OSError):
                # Hidden first: broken off half-way, it would look like a damaged checkpoint.
                os.rename(_place(folder, each), folder / f".step-{each:06d}.gone")
    for ending in ("part", "old", "gone"):
        for remains in folder.glob(f".step-*.{ending}"):
            shutil.rmtree(remains, ignore_errors=True)


# --- loading -------------------------------------------------------------------------------------


def newest_checkpoint(where: Run | str | Path) -> Checkpoint | None:
    """Load the newest checkpoint of which every byte is as it was saved; None if there is none.

    Warns of each newer one that is passed over, and why; removes nothing.
    Raises UsageError for one written by a later portraitlib.
    """
    folder = where.folder if isinstance(where, Run) else Path(where).expanduser()
    for part in sorted(folder.glob(".step-*.part")):
        warnings.warn(f"{part}: passed over, a save that was broken off", stacklevel=2)
    for step in reversed(_steps(folder)):
        try:
            return _read(_place(folder, step))
        except Damaged as problem:
            place = _place(folder, step)
            warnings.warn(f"{place}: passed over, not whole ({problem})", stacklevel=2)
    return None


def load_checkpoint(folder: str | Path, step: int) -> Checkpoint:
    """Load the checkpoint of one step; raises UsageError if it is not there, or not whole."""
    place = _place(Path(folder).expanduser(), step)
    there = ", ".join(map(str, list_checkpoints(folder))) or "none"
    if not place.is_dir():
        raise UsageError(f"{folder}: got step {step}, expected one that was saved: {there}")
    try:
        return _read(place)
    except Damaged as problem:
        raise UsageError(f"{place}: not whole ({problem}); try another step: {there}") from None


def list_checkpoints(folder: str | Path) -> tuple[int, ...]:
    """Steps with a checkpoint, ascending, by their manifests and sizes; hashes are not checked."""
    folder = Path(folder).expanduser()
    found = []
    for step in _steps(folder):
        with suppress(Damaged):
            _verify(_place(folder, step), sizes_only=True)
            found.append(step)
    return tuple(found)


def _steps(folder: Path) -> list[int]:
    """Steps that have a folder, ascending, whatever is in it."""
    names = (path.name for path in folder.glob("step-*") if path.is_dir())
    return sorted(int(name[5:]) for name in names if re.fullmatch(r"step-\d{6,}", name))


def _place(folder: Path, step: int) -> Path:
    return folder / f"step-{step:06d}"


def _read(place: Path) -> Checkpoint:
    """Check every byte of a checkpoint, then load it; raises Damaged."""
    manifest = _verify(place)
    try:
        state = json.loads((place / STATE).read_bytes())
        # Copies: loaded ones lie in the mapped file, unaligned, where sums may round otherwise.
        tensors = {name: each.clone() for name, each in load_file(place / TENSORS).items()}
    except (OSError, ValueError, SafetensorError) as problem:
        raise Damaged(_reason(problem)) from None
    return Checkpoint(place, manifest["step"], tensors, state)


def _verify(place: Path, sizes_only: bool = False) -> dict[str, Any]:
    """The manifest of a checkpoint whose files are as it says; raises Damaged."""
    manifest = _read_manifest(place)
    for name, seal in manifest["files"].items():
        try:
            size = (place / name).stat().st_size
            if size != seal["bytes"]:
                raise Damaged(f"{name}: got {size:,} bytes, expected {seal['bytes']:,}")
            if not sizes_only:
                with open(place / name, "rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != seal["sha256"]:
                        raise Damaged(f"{name}: its bytes were changed")
        except OSError as problem:
            raise Damaged(f"{name}: {_reason(problem)}") from None
    return manifest


def _read_manifest(place: Path) -> dict[str, Any]:
    """The manifest as it was written; raises Damaged, and UsageError for one of a later form."""
    try:
        manifest = json.loads((place / MANIFEST).read_bytes())
    except OSError as problem:
        raise Damaged(f"{MANIFEST}: {_reason(problem)}") from None
    except ValueError:
        raise Damaged(f"{MANIFEST}: no readable JSON") from None
    form = manifest.get("form") if isinstance(manifest, dict) else None
    if isinstance(form, int) and form > FORM:
        raise UsageError(
            f"{place / MANIFEST}: got form {form}, expected {FORM} at most; a later portraitlib "
            "wrote it: upgrade, or give another folder"
        )
    if form is None or manifest.pop("sha256", None) != _digest(manifest):
        raise Damaged(f"{MANIFEST}: its bytes were changed")
    if _place(place.parent, manifest["step"]) != place:
        raise Damaged(f"{MANIFEST}: it says step {manifest['step']}")
    return manifest


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _plain(values: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Values as they come back from JSON; raises UsageError for what JSON has no place for."""
    try:
        return json.loads(json.dumps(dict(values)))
    except (TypeError, ValueError) as problem:
        raise UsageError(f"{what}: expected plain JSON values ({problem})") from None


def _reason(problem: Exception) -> str:
    """What went wrong, in one line."""
    text = getattr(problem, "strerror", None) or str(problem) or type(problem).__name__
    return " ".join(text.split())
