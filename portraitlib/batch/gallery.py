"""What a notebook leaves behind (portraits, figures), and the page that shows it all."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from portraitlib.batch.gallery_table import SCRIPT, differing, figure_text, shown, table_of_runs
from portraitlib.places import output_folder, page_style
from portraitlib.portrait import Portrait, write_json, write_whole
from portraitlib.settings import UsageError

RESULTS = "results.json"


def save_results(
    folder: str | os.PathLike[str],
    portraits: Sequence[Portrait] | Mapping[str, Sequence[Portrait]],
    figures: Mapping[str, Any] | None = None,
) -> Path:
    """Write portraits as PNG files, and beside them `results.json` with the figures measured.

    folder: made if it is missing; in Colab, with Drive mounted, a relative one is made in Drive.
        Pictures of an earlier `save_results` there are replaced.
    portraits: a list, or heading -> list, for a gallery with headings.
    figures: name with unit -> number or short text, e.g. {"seconds a picture": 0.9}.

    Returns the folder. Raises UsageError if it cannot be written to.
    """
    target = output_folder(folder)
    groups = portraits if isinstance(portraits, Mapping) else {"": portraits}
    earlier = read_results(target)["portraits"] if (target / RESULTS).is_file() else []
    rows: list[dict[str, Any]] = []
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


def read_results(folder: Path | None) -> dict[str, Any]:
    """What `save_results` wrote to `folder`: "portraits" (file, heading, recipe) and "figures".

    Empty for None. Raises UsageError if the file is missing or damaged.
    """
    if folder is None:
        return {"portraits": [], "figures": {}}
    try:
        return json.loads((folder / RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise UsageError(f"{folder / RESULTS}: cannot be read ({problem}); delete it") from None


def _plain(value: Any) -> Any:
    """A number of numpy or torch as JSON knows it; None where there is no number."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- the page ------------------------------------------------------------------------------------


def write_gallery(folder: Path, report: Mapping[str, Any]) -> Path:
    """Write `index.html` for what lies in `folder`; return it.

    report: as `report.json` has it; each row of "notebooks" is one run and says where in `folder`
        its notebook ("file") and its portraits ("folder", None for none) lie. Where a notebook ran
        more than once, the page has a table of the runs that can be sorted and filtered.
    The page needs nothing but the files beside it: no network.
    """
    rows = report["notebooks"]
    told = sorted({model for row in rows for model in row["models"]})
    told.append(f"{sum(row['pictures'] for row in rows)} pictures")
    told.append(f"{_duration(report['duration_s'])} on {report['processors']} processors")
    failed = sum(row["error"] is not None for row in rows)
    several = len({row["notebook"] for row in rows}) < len(rows)
    page = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><title>portraitlib: what was made</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{page_style()}</style></head><body>",
        f'<h1>What the notebooks made</h1><p class="soft">{escape(" · ".join(told))}</p>',
        f'<p class="error">{failed} of {len(rows)} runs failed.</p>' if failed else "",
        "<p>Every picture was drawn by a trained model; each PNG carries the recipe that makes it "
        "again and the mark of a machine-made picture.</p>",
        *(table_of_runs(rows) if several else ()),
        *(line for row in rows for line in _section(folder, row, rows if several else ())),
        '<p class="soft" id="end">The numbers as data: <a href="report.json">report.json</a></p>',
        f"<script>{SCRIPT}</script>" if several else "",
        "</body></html>",
    ]
    target = folder / "index.html"
    # A prompt may hold half a character, which no encoding has.
    write_whole(target, ("\n".join(page) + "\n").encode("utf-8", errors="replace"))
    return target


def _section(
    folder: Path, row: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]
) -> Iterable[str]:
    """One run: its first words, its figures, its pictures by heading and prompt.

    runs: all of them, where a notebook ran more than once; then it is told how this one differs.
    """
    yield f'<section id="run-{escape(row["address"])}"><h2>{escape(row["title"])}</h2>'
    if runs:
        told = [f"{name} {shown(row['parameters'].get(name))}" for name in differing(runs)]
        yield f"<p>{escape(' · '.join(told))}</p>"
    else:
        yield f"<p>{escape(row['why'])}</p>"
    if row["error"] is not None:
        yield f'<p class="error">Failed: {escape(row["error"])}</p>'
    facts = [_duration(row["duration_s"])]
    facts += [row["cost"]] if row["cost"] else []
    facts += [f"on try {row['attempts']}"] if row["attempts"] > 1 else []
    yield (
        f'<p class="soft">{escape(" · ".join(facts))} · <a href="{_link(row["file"])}">'
        "the executed notebook</a></p>"
    )
    if row["figures"]:
        yield "<table>"
        for label, value in row["figures"].items():
            yield f"<tr><td>{escape(label)}</td><td>{escape(figure_text(value))}</td></tr>"
        yield "</table>"
    name = row["folder"]
    if name is None:
        yield "</section>"
        return
    portraits = read_results(folder / name)["portraits"] if row["pictures"] else []
    for heading, entries in groupby(portraits, key=lambda entry: entry["heading"]):
        yield from _pictures(name, heading, list(entries))
    drawn = {entry["file"] for entry in portraits}
    for path in sorted((folder / name).glob("*.png")):
        if path.name not in drawn:
            link = _link(f"{name}/{path.name}")
            yield f'<p><a href="{link}"><img class="chart" src="{link}" alt="a chart"></a></p>'
    yield "</section>"


def _link(path: str) -> str:
    return escape(quote(path))


def _pictures(name: str, heading: str, entries: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """The pictures under one heading; a prompt that they share is said once."""
    prompts = {entry["recipe"].get("prompt", "") for entry in entries}
    yield f"<h3>{escape(heading)}</h3>"
    if len(prompts) == 1:
        yield f'<p class="soft prompt">{escape(*prompts)}</p>'
    yield '<div class="grid">'
    for entry in entries:
        link, prompt = _link(f"{name}/{entry['file']}"), entry["recipe"].get("prompt", "")
        own = f'<span class="prompt">{escape(prompt)}</span><br>' if len(prompts) > 1 else ""
        yield (
            f'<figure><a href="{link}"><img loading="lazy" src="{link}" alt="{escape(prompt)}">'
            f"</a><figcaption>{own}{escape(_caption(entry['recipe']))}</figcaption></figure>"
        )
    yield "</div>"


def _caption(recipe: Mapping[str, Any]) -> str:
    """The settings of a picture in one line, such as "seed 3 · 25 steps · guidance 5"."""
    words = {
        "seed": "seed {}",
        "num_inference_steps": "{} steps",
        "guidance_scale": "guidance {:g}",
        "strength": "strength {:g}",
        "controlnet_conditioning_scale": "control {}",
        "negative_prompt": "not: {}",
    }
    said = {key: recipe[key] for key in words if recipe.get(key) not in (None, "")}
    return " · ".join(words[key].format(value) for key, value in said.items())


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def opening_words(notebook: Mapping[str, Any]) -> tuple[str, str]:
    """The title of a notebook and its first paragraph of prose, without markdown's marks."""
    prose = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown"]
    blocks = [
        block.strip() for block in re.split(r"\n\s*\n|\n(?=#)|(?<=\n)(?=\[!)", "\n\n".join(prose))
    ]
    titles = [block.lstrip("# ").splitlines()[0] for block in blocks if block.startswith("#")]
    paragraphs = [block for block in blocks if re.match(r"[\w*`\"']", block)]
    why = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", paragraphs[0]) if paragraphs else ""
    return (titles[0] if titles else "Untitled"), re.sub(r"[*`]|\s+(?=\s)", "", why).replace(
        "\n", " "
    )
