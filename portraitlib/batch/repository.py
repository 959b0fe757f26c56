"""What stands in one place and is carried to others: the repository's address, the ledger.

The address, from which badges and install cells derive, stands in `pyproject.toml` under
`[project.urls]`. Whoever forks the project changes it there and runs `make notebooks`, which
carries it into the notebooks and the README. The ledger of the post's claims is made by the
scoreboard, and carried from its stored outputs into the README.
"""

from __future__ import annotations

import json
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


# --- the ledger ----------------------------------------------------------------------------------

LEDGER_NOTEBOOK, LEDGER_HEAD = "08_scoreboard", "| the post says |"
LEDGER = re.compile(r"(?<=<!-- ledger -->\n).*?(?=<!-- end of the ledger -->)", re.DOTALL)


def stored_ledger(project: Path) -> str | None:
    """The table of the post's claims as the scoreboard's stored outputs have it; None for none."""
    path = project / "notebooks" / f"{LEDGER_NOTEBOOK}.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"] if path.is_file() else []
    for output in (output for cell in cells for output in cell.get("outputs", [])):
        text = "".join(output.get("data", {}).get("text/markdown", ""))
        if text.startswith(LEDGER_HEAD):
            return text
    return None


def carry_ledger(project: Path, date: str) -> bool:
    """Put the stored ledger into the README, with the date; tell whether it was another one."""
    path, table = project / "README.md", stored_ledger(project)
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    if table is None or table in before or not LEDGER.search(before):
        return False
    said = f"Measured with `mini`, {date}:\n\n{table}\n"
    write_whole(path, LEDGER.sub(lambda _: said, before).encode("utf-8"))
    return True
