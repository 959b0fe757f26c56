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

from portraitlib.portrait import Portrait, write_whole
from portraitlib.settings import UsageError

RESULTS = "results.json"


def save_results(
    folder: str | os.PathLike[str],
    portraits: Sequence[Portrait] | Mapping[str, Sequence[Portrait]],
    figures: Mapping[str, Any] | None = None,
) -> Path:
    """Write portraits as PNG files, and beside them `results.json` with the figures measured.

    folder: made if it is missing. Pictures of an earlier `save_results` there are replaced.
    portraits: a list, or heading -> list, for a gallery with headings.
    figures: name with unit -> number or short text, e.g. {"seconds a picture": 0.9}.

    Returns the folder. Raises UsageError if it cannot be written to.
    """
    target = Path(folder).expanduser()
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


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all; raises UsageError if the disk refuses."""
    write_whole(path, (json.dumps(content, indent=1, default=str) + "\n").encode())


def _plain(value: Any) -> Any:
    """A number of numpy or torch as JSON knows it; None where there is no number."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- the page ------------------------------------------------------------------------------------

STYLE = """
:root { color-scheme: light dark; --paper: #faf8f5; --card: #fff; --ink: #26231f; --soft: #6d665e;
  --line: #e5dfd7; --accent: #a4472f; }
@media (prefers-color-scheme: dark) { :root { --paper: #171614; --card: #211f1c; --ink: #ece7e0;
  --soft: #a19a90; --line: #37332e; --accent: #e79a7f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 74rem; padding: 2.5rem 1.25rem 4rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.9rem; margin: 0; }
h2 { font-size: 1.4rem; margin: 0 0 .3rem; }
h3 { font-size: 1rem; font-weight: 600; margin: 1.8rem 0 .2rem; }
p { margin: .3rem 0 .6rem; max-width: 46rem; }
a { color: var(--accent); }
.soft, figcaption { color: var(--soft); font-size: .87rem; }
.prompt { font-style: italic; }
section { border-top: 1px solid var(--line); margin-top: 2.2rem; padding-top: 1.8rem; }
.grid { display: flex; flex-wrap: wrap; gap: .9rem; }
figure { margin: 0; width: 11rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 10px; overflow: hidden; }
figure img { display: block; width: 100%; }
figcaption { padding: .4rem .6rem .5rem; }
img.chart { max-width: 100%; border-radius: 10px; }
table { border-collapse: collapse; margin: .8rem 0; font-size: .92rem; }
td { border-bottom: 1px solid var(--line); padding: .2rem 1.6rem .2rem 0; }
td + td { text-align: right; font-variant-numeric: tabular-nums; padding-right: 0; }
"""


def write_gallery(folder: Path, report: Mapping[str, Any]) -> Path:
    """Write `index.html` for what lies in `folder`; return it.

    report: as `report.json` has it; the portraits of notebook N lie in `folder / N`. The page
    needs nothing but the files beside it: no network, no script.
    """
    rows = report["notebooks"]
    model = " · ".join(
        sorted({model for row in rows for model in row["models"]})
        + [f"{sum(row['pictures'] for row in rows)} pictures"]
        + [f"{_duration(report['duration_s'])} on {report['processors']} processors"]
    )
    page = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><title>portraitlib: what was made</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{STYLE}</style></head><body>",
        f'<h1>What the notebooks made</h1><p class="soft">{escape(model)}</p>',
        "<p>Every picture was drawn by a trained model; each PNG carries the recipe that makes it "
        "again and the mark of a machine-made picture.</p>",
        *(line for row in rows for line in _section(folder, row)),
        '<p class="soft">The numbers as data: <a href="report.json">report.json</a></p>',
        "</body></html>",
    ]
    target = folder / "index.html"
    write_whole(target, ("\n".join(page) + "\n").encode())
    return target


def _section(folder: Path, row: Mapping[str, Any]) -> Iterable[str]:
    """One notebook: its first words, its figures, its pictures by heading and prompt."""
    name = row["notebook"]
    yield f'<section id="{escape(name)}"><h2>{escape(row["title"])}</h2>'
    yield f"<p>{escape(row['why'])}</p>"
    yield (
        f'<p class="soft">{_duration(row["duration_s"])} · <a href="{escape(name)}.ipynb">'
        "the executed notebook</a></p>"
    )
    if row["figures"]:
        yield "<table>"
        for label, value in row["figures"].items():
            yield f"<tr><td>{escape(label)}</td><td>{escape(_figure(value))}</td></tr>"
        yield "</table>"
    portraits = read_results(folder / name)["portraits"] if row["pictures"] else []
    for heading, entries in groupby(portraits, key=lambda entry: entry["heading"]):
        yield from _pictures(name, heading, list(entries))
    shown = {entry["file"] for entry in portraits}
    for path in sorted((folder / name).glob("*.png")):
        if path.name not in shown:
            link = escape(f"{name}/{path.name}")
            yield f'<p><a href="{link}"><img class="chart" src="{link}" alt="a chart"></a></p>'
    yield "</section>"


def _pictures(name: str, heading: str, entries: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """The pictures under one heading; a prompt that they share is said once."""
    prompts = {entry["recipe"].get("prompt", "") for entry in entries}
    yield f"<h3>{escape(heading)}</h3>"
    if len(prompts) == 1:
        yield f'<p class="soft prompt">{escape(*prompts)}</p>'
    yield '<div class="grid">'
    for entry in entries:
        link, prompt = escape(f"{name}/{entry['file']}"), entry["recipe"].get("prompt", "")
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


def _figure(value: Any) -> str:
    if value is None:
        return "not measured"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


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
