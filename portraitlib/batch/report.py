"""One line at the end of a notebook: what it made, where, how long it took, what comes next."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from portraitlib import places
from portraitlib.batch.gallery import read_results
from portraitlib.cost import cost_of, duration, money
from portraitlib.places import output_folder

LOST = (
    "Colab forgets this folder with the session: before that, download it, or mount Drive "
    "(the folder in the side bar, then the Drive button) and run all again"
)


def report(folder: str | os.PathLike[str], next_notebook: str = "") -> None:
    """Print one line: what lies in a folder of results, how long it took, and what comes next.

    folder: as given to `save_results`, or as it returned it.
    next_notebook: the name of the one to open after this one; "" for none.
    The time is that since the kernel started, and its price that of the device that drew.

    Raises UsageError if nothing was saved there.
    """
    home = output_folder(folder)
    results = read_results(home)
    took = _since_the_start(recipe for row in results["portraits"] if (recipe := row["recipe"]))
    line = f"{home.name}: {_made(home, results)} in {home}, {took}"
    if next_notebook:
        line += f"; next: {next_notebook}"
    if places.in_colab() and not home.absolute().is_relative_to(places.DRIVE):
        line += f". {LOST}" if home.absolute().is_relative_to(places.CONTENT) else ""
    print(line)


def _made(home: Path, results: Mapping[str, Any]) -> str:
    """What lies there, such as "12 portraits, 3 figures and 1 adapter"."""
    counts = {
        "portrait": len(results["portraits"]),
        "figure": len(results["figures"]),
        "adapter": len(list(home.glob("*.safetensors"))),
    }
    told = [f"{n} {name}{'s' if n > 1 else ''}" for name, n in counts.items() if n]
    return " and ".join(filter(None, [", ".join(told[:-1]), *told[-1:]])) or "nothing"


def _since_the_start(recipes: Iterable[Mapping[str, Any]]) -> str:
    """How long this kernel has been there, and what that cost on the device of most recipes."""
    import psutil

    seconds = max(0.0, time.time() - psutil.Process().create_time())
    told = f"{duration(seconds)} after the kernel started"
    devices = Counter(str(each.get("card") or each.get("device") or "") for each in recipes)
    devices.pop("", None)
    if not devices:
        return told
    ((device, _),) = devices.most_common(1)
    return f"{told}, on {device}, {money(cost_of(seconds, device).dollars)}"
