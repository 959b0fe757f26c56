"""The one address of the repository, from which badges and install cells derive.

It stands in `pyproject.toml` under `[project.urls]`. Whoever forks the project changes it there and
runs `make notebooks`, which carries it into the notebooks and the README.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from portraitlib.portrait import write_whole
from portraitlib.settings import UsageError

# Where the address stands in a text; in Colab's links its owner and name alone.
IN_COLAB = re.compile(r"(?<=colab\.research\.google\.com/github/)[\w.-]+/[\w.-]+(?=/blob/)")
TO_GIT = re.compile(r"(?<=git\+)https://[\w./-]+?(?=[\"'\s@#\\]|$)|(?<=git clone )https://[\w./-]+")


def repository_address(project: Path) -> str:
    """Such as "https://github.com/owner/name", for a checkout; raises UsageError if it has none."""
    path = project / "pyproject.toml"
    try:
        urls = tomllib.loads(path.read_text(encoding="utf-8"))["project"]["urls"]
        address = str(urls["Repository"]).removesuffix(".git").rstrip("/")
    except (OSError, ValueError, KeyError) as problem:
        raise UsageError(f"{path}: has no Repository under [project.urls] ({problem})") from None
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", address):
        raise UsageError(
            f"{path}: Repository is {address!r}, expected https://github.com/OWNER/NAME; Colab "
            "opens notebooks from nowhere else"
        )
    return address


def notebook_badge(address: str, notebook: str) -> str:
    """The link that opens a notebook in Colab, in Markdown."""
    owner_and_name = address.removeprefix("https://github.com/")
    return (
        "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        f"(https://colab.research.google.com/github/{owner_and_name}/blob/main/notebooks/"
        f"{notebook}.ipynb)"
    )


def with_address(text: str, address: str) -> str:
    """A text whose Colab links and pip or git addresses point to the repository."""
    text = IN_COLAB.sub(address.removeprefix("https://github.com/"), text)
    return TO_GIT.sub(address, text)


def carry_address(project: Path) -> list[Path]:
    """Put the address into the README and the notebooks; return the files that changed.

    Nothing is done in a folder that is no checkout. Raises UsageError if there is no address.
    """
    if not (project / "pyproject.toml").is_file():
        return []
    address = repository_address(project)
    changed = []
    for path in [project / "README.md", *sorted((project / "notebooks").glob("*.ipynb"))]:
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        after = with_address(before, address)
        if after != before:
            write_whole(path, after.encode("utf-8"))
            changed.append(path)
    return changed
