"""What a notebook leaves behind (portraits, figures), and the page that shows it all."""

from __future__ import annotations

import json
import math
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, TypedDict

from portraitlib import places
from portraitlib.batch.notebook import RESULTS, Execution, read_execution
from portraitlib.cost import UNKNOWN, Cost, cost_of, duration, money
from portraitlib.places import installed_version, output_folder, page_template, versions
from portraitlib.portrait import Portrait, caption, read_json, write_json, write_whole

MOST_FIGURES = 8  # columns of figures in the table of runs; all figures stand with the run
LOST = (
    "Colab forgets this folder with the session: before that, download it, or mount Drive "
    "(the folder in the side bar, then the Drive button) and run all again"
)


# --- what a notebook does ------------------------------------------------------------------------


def save_results(
    folder: str | os.PathLike[str],
    portraits: Sequence[Portrait] | Mapping[str, Sequence[Portrait]],
    figures: Mapping[str, Any] | None = None,
) -> Path:
    """Write portraits as PNG files, and beside them `results.json` with the figures measured.

    folder: made if it is missing; in Colab, with Drive mounted, a relative one is made in Drive.
        Pictures of an earlier `save_results` there are replaced.
    portraits: a list, or heading -> list, for a page with headings.
    figures: name with unit -> number or short text, e.g. {"seconds a picture": 0.9}.

    Returns the folder. Raises UsageError if it cannot be written to.
    """
    target = output_folder(folder)
    groups = portraits if isinstance(portraits, Mapping) else {"": portraits}
    earlier = read_results(target)["portraits"] if (target / RESULTS).is_file() else []
    rows: list[Entry] = []
    for heading, group in groups.items():
        for portrait in group:
            file = f"portrait-{len(rows):03d}.png"
            portrait.save(target / file)
            rows.append({"file": file, "heading": heading, "recipe": portrait.recipe})
    plain = {name: _plain(value) for name, value in (figures or {}).items()}
    write_json(target / RESULTS, {"portraits": rows, "figures": plain})
    for name in {row["file"] for row in earlier} - {row["file"] for row in rows}:
        (target / Path(name).name).unlink(missing_ok=True)
    return target


def _plain(value: Any) -> Any:
    """A number of numpy or torch as JSON knows it; None where there is no number."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Entry(TypedDict):
    """A portrait as `results.json` has it: a PNG beside it, and what made it."""

    file: str
    heading: str
    recipe: dict[str, Any]


class Results(TypedDict):
    """What `results.json` says."""

    portraits: list[Entry]
    figures: dict[str, Any]


def read_results(folder: Path | None) -> Results:
    """What `save_results` wrote to `folder`, nothing for None.

    Raises UsageError if the file is missing or damaged.
    """
    if folder is None:
        return {"portraits": [], "figures": {}}
    return read_json(folder / RESULTS, Results)


def report(folder: str | os.PathLike[str], next_notebook: str = "") -> None:
    """Print one line: what lies in a folder of results, how long it took, and what comes next.

    folder: as given to `save_results`, or as it returned it.
    next_notebook: the name of the one to open after this one; "" for none.
    The time is that since the kernel started, and its price that of the device that drew.

    Raises UsageError if nothing was saved there.
    """
    home = output_folder(folder)
    results = read_results(home)
    recipes = [row["recipe"] for row in results["portraits"]]
    line = f"{home.name}: {_contents(home, results)} in {home}, {_since_the_start(recipes)}"
    if next_notebook:
        line += f"; next: {next_notebook}"
    in_drive = home.absolute().is_relative_to(places.DRIVE)
    if places.in_colab() and not in_drive and home.absolute().is_relative_to(places.CONTENT):
        line += f". {LOST}"
    print(line)


def _contents(home: Path, results: Results) -> str:
    """What lies there, such as "12 portraits, 3 figures and 1 adapter"."""
    counts = {
        "portrait": len(results["portraits"]),
        "figure": len(results["figures"]),
        "adapter": len(list(home.glob("*.safetensors"))),
    }
    parts = [f"{n} {name}{'s' if n > 1 else ''}" for name, n in counts.items() if n]
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]])) or "nothing"


def _since_the_start(recipes: Iterable[Mapping[str, Any]]) -> str:
    """How long this kernel has been there, and what that cost on the device of most recipes."""
    import psutil

    seconds = max(0.0, time.time() - psutil.Process().create_time())
    device = _device_of(recipes)
    price = f", on {device}, {money(cost_of(seconds, device).dollars)}" if device else ""
    return f"{duration(seconds)} after the kernel started{price}"


def _device_of(recipes: Iterable[Mapping[str, Any]]) -> str:
    """The device that most recipes name; "" if none does."""
    devices = Counter(str(r.get("card") or r.get("device") or "") for r in recipes)
    devices.pop("", None)
    return devices.most_common(1)[0][0] if devices else ""


# --- runs ----------------------------------------------------------------------------------------


def kept_runs(folder: Path) -> list[Execution]:
    """The runs that lie in the folder of a batch, of equal ones the newest, by their values."""
    newest: dict[tuple[str, str], Execution] = {}
    folders = [path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."]
    for path in sorted(folders, key=lambda path: (path.stat().st_mtime, path.name)):
        run = read_execution(path)
        if run is not None:
            newest[run.notebook.name, repr(sorted(run.parameters.items()))] = run
    return sorted(newest.values(), key=_rank)


def _rank(run: Execution) -> tuple[str, list[tuple[bool, float, str]]]:
    """What runs are sorted by: the notebook, then the values, numbers by their size."""
    values = run.parameters.values()
    plain = [(v, "") if isinstance(v, int | float) else (0.0, str(v)) for v in values]
    return run.notebook.name, [(bool(text), number, text) for number, text in plain]


def describe_run(run: Execution, folder: Path, device: str | None = None) -> dict[str, Any]:
    """The row of a run in `report.json`: what it is, what it made, what it cost.

    folder: which its notebook ("file") and its portraits ("folder") lie in.
    device: whose rate counts; None for the one that most of its portraits name.
    """
    results = read_results(run.results)
    title, why = opening_words(json.loads(run.executed.read_text(encoding="utf-8")))
    recipes = [entry["recipe"] for entry in results["portraits"]]
    cost = run_cost(run, device)
    return {
        "notebook": run.notebook.stem,
        "title": title,
        "why": why,
        "models": sorted({str(recipe.get("model", "?")) for recipe in recipes}),
        "parameters": run.parameters,
        "address": run.address,
        "reused": run.reused,
        "error": run.error,
        "attempts": run.attempts,
        "duration_s": round(run.duration_s, 1),
        "peak_memory_gb": run.peak_memory_gb and round(run.peak_memory_gb, 2),
        "device": cost.device,
        "dollars": cost.dollars,
        "cost": str(cost) if cost.dollars else "",
        "pictures": len(recipes),
        "figures": results["figures"],
        "folder": run.results and run.results.relative_to(folder).as_posix(),
        "file": run.executed.relative_to(folder).as_posix(),
    }


def run_cost(run: Execution, device: str | None = None) -> Cost:
    """What a run cost on a device; None for the one that most of its portraits name."""
    if device is None:
        device = _device_of(entry["recipe"] for entry in read_results(run.results)["portraits"])
    return cost_of(run.duration_s, device or UNKNOWN, run.peak_memory_gb)


def spent_on(runs: Iterable[Execution], device: str | None) -> Cost:
    """What the new ones of some runs cost in all."""
    costs = [run_cost(run, device) for run in runs if not run.reused]
    return sum(costs[1:], costs[0]) if costs else cost_of(0.0, device or UNKNOWN)


def opening_words(notebook: Mapping[str, Any]) -> tuple[str, str]:
    """The title of a notebook and its first paragraph of prose, without markdown's marks."""
    prose = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown"]
    blocks = re.split(r"\n\s*\n|\n(?=#)|(?<=\n)(?=\[!)", "\n\n".join(prose))
    blocks = [block.strip() for block in blocks]
    titles = [block.lstrip("# ").splitlines()[0] for block in blocks if block.startswith("#")]
    paragraphs = [block for block in blocks if re.match(r"[\w*`\"']", block)]
    why = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", paragraphs[0]) if paragraphs else ""
    why = re.sub(r"[*`]|\s+(?=\s)", "", why).replace("\n", " ")
    return (titles[0] if titles else "Untitled"), why


# --- the page ------------------------------------------------------------------------------------


def write_report(folder: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Write `report.json` and the page `index.html` that shows it; return the report.

    rows: one a run, as `describe_run` has it. Where a notebook ran more than once, the page has a
        table of the runs that can be sorted and filtered.
    The page needs nothing but the files beside it: no network.
    """
    content = {
        "portraitlib": installed_version("portraitlib"),
        "versions": versions(),
        "processors": os.cpu_count(),
        "duration_s": sum(row["duration_s"] for row in rows),
        "notebooks": list(rows),
    }
    write_json(folder / "report.json", content)
    # A prompt may hold half a character, which no encoding has.
    template = page_template(
        "batch", "page.html", duration=duration, shown=shown, figure=figure_text
    )
    page = template.render(
        report=content,
        models=sorted({model for row in rows for model in row["models"]}),
        pictures=sum(row["pictures"] for row in rows),
        failed=sum(row["error"] is not None for row in rows),
        table=_table(rows) if len({row["notebook"] for row in rows}) < len(rows) else None,
        varied=differing(rows),
        sections=[(row, _groups(folder, row), _charts(folder, row)) for row in rows],
    )
    write_whole(folder / "index.html", page.encode("utf-8", errors="replace"))
    return content


def _groups(folder: Path, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The pictures of a run by heading: each with its link, its prompt and its caption."""
    name = row["folder"]
    entries = read_results(folder / name)["portraits"] if row["pictures"] else []
    groups = []
    for heading, group in groupby(entries, key=lambda entry: entry["heading"]):
        pictures = [
            {
                "link": f"{name}/{entry['file']}",
                "prompt": entry["recipe"].get("prompt", ""),
                "caption": caption(entry["recipe"]),
            }
            for entry in group
        ]
        prompts = {picture["prompt"] for picture in pictures}
        shared = prompts.pop() if len(prompts) == 1 else None
        groups.append({"heading": heading, "pictures": pictures, "shared": shared})
    return groups


def _charts(folder: Path, row: Mapping[str, Any]) -> list[str]:
    """The other pictures in a run's folder of results."""
    paths = (folder / row["folder"]).glob("*.png") if row["folder"] else ()
    names = sorted(path.name for path in paths if not re.fullmatch(r"portrait-\d+\.png", path.name))
    return [f"{row['folder']}/{name}" for name in names]


def differing(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The parameters in which runs differ, in the order in which they come up."""
    names = dict.fromkeys(name for row in rows for name in row["parameters"])
    names.pop("output_dir", None)
    return [name for name in names if len({repr(r["parameters"].get(name)) for r in rows}) > 1]


def _table(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The table of runs: heads, cells of (what is compared, what is shown), choices to filter by.

    Columns are the notebook, what differs, what was measured, and what it took.
    """
    varied = differing(rows)
    figures = list(dict.fromkeys(name for row in rows for name in row["figures"]))[:MOST_FIGURES]
    priced = ["dollars"] if any(row["dollars"] is not None for row in rows) else []
    heads = ["notebook", *varied, *figures, "pictures", "seconds", *priced, "state"]
    lines = []
    for row in rows:
        texts = [row["notebook"], *(row["parameters"].get(name) for name in varied)]
        numbers = [*(row["figures"].get(name) for name in figures), row["pictures"]]
        numbers += [row["duration_s"], *(row[name] for name in priced)]
        state = "done" if row["error"] is None else "failed"
        cells = [(compared(value), shown(value)) for value in texts]
        cells += [
            (compared(value), "" if value is None else figure_text(value)) for value in numbers
        ]
        lines.append([*cells, (state, state)])
    choices = {}
    for column in [*range(len(varied) + 1), len(heads) - 1]:
        values = dict(line[column] for line in lines)
        if len(values) > 1:  # one value is no choice
            choices[column] = values
    return {"heads": heads, "lines": lines, "choices": choices}


def compared(value: Any) -> str:
    """A value as it is compared: text as it is, nothing for None."""
    return "" if value is None else str(value)


def shown(value: Any) -> str:
    """A parameter in one short line; a dash where a notebook has it not."""
    text = "–" if value is None else " ".join(compared(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def figure_text(value: Any) -> str:
    """A figure as it is shown."""
    if value is None:
        return "not measured"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
