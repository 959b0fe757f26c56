"""The figures of a notebook in one form, so that those of the whole series can be put together."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from portraitlib.measuring.result import Measurement
from portraitlib.places import output_folder
from portraitlib.portrait import write_json
from portraitlib.settings import UsageError

REPORT = "report.json"
FORM = 1


def score(measurement: Measurement, method: str, style: str = "", **about: Any) -> list[dict]:
    """The figures of one set of portraits as rows: one a figure, all with the same columns.

    method: how they were made, such as "zero-shot".  style: what they should look like.
    about: anything else that tells this set from others, such as `adapter_scale=0.8`; plain values.
    """
    rows = []
    for name, figure in measurement.figures.items():
        low, high = figure.interval or (None, None)
        rows.append(
            {"method": method, "style": style, "figure": name, "mean": figure.mean}
            | {"low": low, "high": high, "median": figure.median}
            | {"count": figure.count, "seeds": figure.seeds, "missing": figure.missing}
            | {"floor": figure.scale.floor, "ceiling": figure.scale.ceiling, "by": figure.by}
            | {"about": about}
        )
    return rows


def write_scores(
    folder: str | os.PathLike[str], notebook: str, model: object, rows: Iterable[dict]
) -> Path:
    """Write the rows of a notebook's run to `report.json` in its folder, whole or not at all."""
    target = output_folder(folder) / REPORT
    content = {"form": FORM, "notebook": notebook, "model": str(model), "rows": list(rows)}
    write_json(target, content)
    return target


def read_scores(folder: str | os.PathLike[str]) -> list[dict]:
    """All rows of every `report.json` in a folder and those below it, each with its notebook.

    Raises UsageError for one that cannot be read, or that a later portraitlib wrote.
    """
    rows = []
    for path in sorted(output_folder(folder).rglob(REPORT)):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as problem:
            raise UsageError(f"{path}: cannot be read ({problem}); delete it") from None
        if not isinstance(content, dict) or "rows" not in content:
            continue  # the demo's own report has the same name
        if content["form"] > FORM:
            raise UsageError(f"{path}: got form {content['form']}, expected {FORM} at most")
        named = {"notebook": content["notebook"], "model": content["model"]}
        rows += [named | row for row in content["rows"]]
    return rows
