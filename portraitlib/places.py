"""Where things are kept: folders, content addresses, and Google Colab's Drive. Knows no torch.

A content address is a short hash of everything that decides a result. What is kept under one needs
no date and no version to be trusted: where the address is the same, the result would be the same.

A machine of Colab is thrown away with its session; Google Drive, where it is mounted, stays. The
token for the hub needs nothing here: huggingface_hub asks Colab's secrets for HF_TOKEN itself.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import sys
import tempfile
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

from portraitlib.portrait import write_whole
from portraitlib.settings import UsageError

PACKAGE = Path(__file__).parent
# The libraries that decide pixels: another version of one makes another result.
DECIDING = ("torch", "diffusers", "transformers", "peft", "numpy")
MOST_FILES = 10_000  # of a folder that are looked at
CONTENT = Path("/content")  # where a notebook works, unless it moved
DRIVE = CONTENT / "drive" / "MyDrive"  # where the button in Colab's side bar mounts it
LOCK = ".lock"  # in a folder that one process at a time may work in
OURS = "portraitlib"  # the folder in Drive that everything is kept in
UPLOAD = "upload"  # in place of a folder of photos: choose them in the browser
_TOLD: set[Path] = set()  # folders in Drive that were spoken of


def digest(content: Any) -> str:
    """Hash of plain JSON values: 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


@cache
def folder_hash(folder: Path, *endings: str) -> str:
    """Hash of the names and bytes of the files under `folder` that end so."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.suffix in endings)
    return digest(
        {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in paths
        }
    )


def once(kept: OrderedDict[Any, Any], key: Any, most: int, compute: Callable[[], Any]) -> Any:
    """What was computed for this key before, else now; the `most` used last are kept in memory."""
    if key not in kept:
        kept[key] = compute()
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)
    return kept[key]


def weights_hash() -> str:
    """Hash of all weights and pictures that the package carries, with their configurations."""
    return folder_hash(PACKAGE / "mini", ".safetensors", ".json", ".txt", ".npz", ".png")


def versions() -> dict[str, str | None]:
    """Library -> installed version, for the libraries that decide pixels."""
    return {name: installed_version(name) for name in DECIDING}


def installed_version(name: str) -> str | None:
    """The version of an installed distribution, None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def most_memory_gb(whose: str) -> float | None:
    """The most main memory that a process had, in GB (10**9 bytes); None if the system tells none.

    whose: "RUSAGE_SELF" for this process, "RUSAGE_CHILDREN" for those that it started and that
        ended.
    """
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(getattr(resource, whose)).ru_maxrss
    return most * (1 if sys.platform == "darwin" else 1024) / 1e9 or None


def source_hash(notebook: Mapping[str, Any]) -> str:
    """Hash of the cells of a notebook as they are written, whatever their outputs."""
    return digest([(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]])


def code_hash(notebook: Mapping[str, Any]) -> str:
    """Hash of a notebook's cells of code: what its outputs come from, whatever is said of them."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return source_hash({"cells": cells})


def named_files(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Parameter -> hash of names, sizes and dates of the files that it names by a whole path."""
    hashes = {}
    for name, value in parameters.items():
        if not isinstance(value, str) or not os.path.isabs(value) or not os.path.exists(value):
            continue
        path = Path(value)
        files = sorted(islice(path.rglob("*"), MOST_FILES)) if path.is_dir() else [path]
        stats = [(str(file), file.stat()) for file in files if file.is_file()]
        hashes[name] = digest([(file, stat.st_size, stat.st_mtime_ns) for file, stat in stats])
    return hashes


def notebook_address(notebook: Mapping[str, Any], parameters: Mapping[str, Any]) -> str:
    """Hash of everything that decides what a notebook makes with these parameters.

    That includes the dates of files that a parameter names by a whole path (a folder of photos).
    """
    return digest(
        {
            "notebook": source_hash(notebook),
            "parameters": {name: repr(value) for name, value in parameters.items()},
            "files": named_files(parameters),
            "library": folder_hash(PACKAGE, ".py", ".toml"),
            "weights": weights_hash(),
            "versions": versions(),
        }
    )


def page_template(room: str, name: str, **filters: Callable[[Any], str]) -> Any:
    """A page's template in a room of the package; what HTML shows is escaped, its style is not.

    It may include what lies beside it, and `page.css`, which all pages share.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([PACKAGE / room, PACKAGE]),
        autoescape=name.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    return environment.get_template(name)


def project_folder() -> Path:
    """The checkout that this library runs from, else the current folder."""
    return PACKAGE.parent if (PACKAGE.parent / "pyproject.toml").is_file() else Path.cwd()


def home_folder() -> Path:
    """Below which is kept what is made: in Colab a mounted Drive's, else the project's folder."""
    return drive_folder() or project_folder()


def cache_folder(name: str) -> Path:
    """Where what takes long is kept: `name` in PORTRAITLIB_CACHE, else in `home_folder()`'s runs.

    In Colab a training so goes on in another session, if both have Drive mounted.
    """
    chosen = os.environ.get("PORTRAITLIB_CACHE")
    home = Path(chosen).expanduser().absolute() if chosen else home_folder() / "runs"
    return home / name


def output_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder that is meant by one that somebody gave for results, with ~ as their home.

    A relative one is beside the notebook, but where that is Colab's own folder, which is lost with
    the session, and Drive is mounted, it is in Drive; that is said once.
    """
    given, drive = Path(folder).expanduser(), drive_folder()
    if drive is None or given.is_absolute() or Path.cwd() != CONTENT:
        return given
    if drive not in _TOLD:
        print(f"Google Drive is mounted: what is made here goes to {drive}")
        _TOLD.add(drive)
    return drive / given


@contextlib.contextmanager
def hold_lock(folder: Path, what: str = "run", *, wait: bool = False) -> Iterator[None]:
    """Make the folder if need be, and keep every other `what` out of it; dies with the process.

    wait: for another that has it, which is told by a warning.
    Raises UsageError if another has it, whose process is named, or if the folder cannot be
    written to.
    """
    from filelock import FileLock, Timeout

    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            if not wait:
                raise
            warnings.warn(
                f"{folder}: another {what} is at work there; waiting for it", stacklevel=4
            )
            lock.acquire(timeout=-1)
    except Timeout:
        holder = ""
        with contextlib.suppress(OSError):
            holder = path.read_text(errors="replace").strip()
        raise UsageError(
            f"{folder}: another {what} is at work there, {holder or 'not yet named'}; wait for it, "
            "stop it, or give another folder"
        ) from None
    except OSError as problem:
        raise UsageError(
            f"{folder}: cannot be used for a {what} ({problem.strerror or problem}); "
            "try a folder that you may write to, on a disk with room"
        ) from None
    try:
        with contextlib.suppress(OSError):  # the name is a courtesy
            path.write_text(f"process {os.getpid()} on {platform.node()}")
        yield
    finally:
        lock.release()


def in_colab() -> bool:
    """Does one of Colab's notebooks run this?"""
    return "google.colab" in sys.modules


def drive_folder() -> Path | None:
    """Where things outlive the session: a folder in Google Drive; None without a mounted Drive."""
    return DRIVE / OURS if in_colab() and DRIVE.is_dir() else None


def upload_photos(home: Path) -> Path:
    """Let the reader choose photos in the browser; return the new folder below `home` they are in.

    Raises UsageError if this is not Colab, or nothing was chosen.
    """
    if not in_colab():
        raise UsageError("upload: photos can be uploaded in Colab alone; try the path of a folder")
    from google.colab import files

    # Colab writes them into the current folder, too, under names that it makes up.
    with tempfile.TemporaryDirectory() as aside, contextlib.chdir(aside):
        chosen = files.upload()
    if not chosen:
        raise UsageError("upload: no photo was chosen; run the cell again and choose 10 to 20")
    number = 1
    while (folder := home / f"photos-{number}").exists():
        number += 1
    for name, content in chosen.items():
        write_whole(folder / Path(name).name, content)
    print(f'{len(chosen)} photos are in {folder}; another time: photos_dir = "{folder}"')
    return folder
