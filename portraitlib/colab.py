"""Google Colab: whether this is it, its Drive, and photos chosen in the browser.

A machine of Colab is thrown away with its session; Google Drive, where it is mounted, stays. The
token for the hub needs nothing here: huggingface_hub asks Colab's secrets for HF_TOKEN itself.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path

from portraitlib.portrait import write_whole
from portraitlib.settings import UsageError

CONTENT = Path("/content")  # where a notebook works, unless it moved
DRIVE = CONTENT / "drive" / "MyDrive"  # where the button in Colab's side bar mounts it
OURS = "portraitlib"  # the folder in Drive that everything is kept in
UPLOAD = "upload"  # in place of a folder of photos: choose them in the browser


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
