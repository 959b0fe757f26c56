"""The page of a sweep: its pictures as a labelled grid, with what was measured in the cells.

It needs nothing but the files beside it: no network, no script.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import product
from pathlib import Path
from typing import Any

from portraitlib.places import page_style
from portraitlib.portrait import write_whole

PAGE = "index.html"
OWN_STYLE = """
body { max-width: none; }
.grid-of-cells { overflow-x: auto; display: block; }
.grid-of-cells th { font-weight: 600; padding: .3rem .9rem .3rem 0; text-align: left;
  vertical-align: top; max-width: 14rem; }
.grid-of-cells .above { display: none; }
.grid-of-cells .above span { position: sticky; left: 0; display: inline-block;
  max-width: calc(100vw - 2.5rem); }
.grid-of-cells td { border: 0; padding: .2rem .6rem .6rem 0; vertical-align: top; }
.grid-of-cells td + td { text-align: left; padding-right: .6rem; }
.cell { display: flex; gap: .4rem; }
.cell figure { min-width: 8rem; }
.cell dl { display: grid; grid-template-columns: 1fr auto; gap: 0 .5rem; margin: 0;
  line-height: 1.35; }
.cell dd { margin: 0; text-align: right; font-variant-numeric: tabular-nums; color: var(--ink); }
.error { color: var(--accent); max-width: 14rem; }
@media (max-width: 45rem) { .grid-of-cells .above { display: table-row; }
  .grid-of-cells .beside { display: none; } .grid-of-cells th { max-width: none; }
  .cell figure { width: 9.5rem; } .cell dl { font-size: .8rem; } }
"""


@dataclass(frozen=True)
class Cell:
    """One cell of the grid: a PNG beside the page for each portrait, or why there is none.

    settings: the varied ones.  scores: what stands under each picture, name and number.
    """

    settings: Mapping[str, Any]
    files: Sequence[str]
    scores: Sequence[Mapping[str, str]]
    error: str | None = None


def write_page(
    folder: Path, title: str, held: str, varied: Mapping[str, Sequence[str]], cells: Sequence[Cell]
) -> Path:
    """Write `index.html` for a sweep whose pictures lie in `folder`; return it.

    varied: setting -> its values as texts, in order; the last runs across, the one before it down,
        and all others make sections. The settings of the cells are these texts.
    held: one line that says what was the same in all.
    """
    names = list(varied)
    sections, down, across = names[:-2], names[-2:-1], names[-1]
    page = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{page_style()}{OWN_STYLE}</style></head><body>",
        f'<h1>{escape(title)}</h1><p class="soft">{escape(held)}</p>',
    ]
    for chosen in product(*(varied[name] for name in sections)):
        here = dict(zip(sections, chosen, strict=True))
        inside = [cell for cell in cells if here.items() <= cell.settings.items()]
        if not inside:
            continue
        heading = ", ".join(_label(name, value) for name, value in here.items())
        page.append(f"<section><h2>{escape(heading)}</h2>" if heading else "<section>")
        page += _grid(inside, varied, down[0] if down else None, across)
        page.append("</section>")
    page += [
        '<p class="soft">Each PNG carries the recipe that makes it again. '
        'The numbers as data: <a href="sweep.json">sweep.json</a></p>',
        "</body></html>",
    ]
    target = folder / PAGE
    text = "\n".join(page) + "\n"
    write_whole(target, text.encode("utf-8", errors="replace"))
    return target


def _grid(
    cells: Sequence[Cell], varied: Mapping[str, Sequence[str]], down: str | None, across: str
) -> Iterable[str]:
    """A table with the values of two settings at its edges."""
    yield '<table class="grid-of-cells"><thead><tr>'
    yield '<th class="beside"></th>' if down else ""
    yield "".join(f"<th>{escape(_label(across, value))}</th>" for value in varied[across])
    yield "</tr></thead><tbody>"
    for value in varied[down] if down else [""]:
        if down:
            name, columns = escape(_label(down, value)), len(varied[across])
            # On a narrow screen the name stands above its row.
            yield f'<tr class="above"><th colspan="{columns}"><span>{name}</span></th></tr>'
            yield f'<tr><th class="beside">{name}</th>'
        else:
            yield "<tr>"
        row = [cell for cell in cells if down is None or cell.settings[down] == value]
        for column in varied[across]:
            found = [cell for cell in row if cell.settings[across] == column]
            yield f"<td>{''.join(map(_cell, found))}</td>"
        yield "</tr>"
    yield "</tbody></table>"


def _cell(cell: Cell) -> str:
    if cell.error is not None:
        return f'<p class="error">{escape(cell.error)}</p>'
    name = escape(", ".join(f"{key} {value}" for key, value in cell.settings.items()))
    figures = []
    for file, scores in zip(cell.files, cell.scores, strict=True):
        link = escape(file)
        lines = "".join(
            f"<dt>{escape(what.replace('_', ' '))}</dt><dd>{escape(number)}</dd>"
            for what, number in scores.items()
        )
        below = f"<figcaption><dl>{lines}</dl></figcaption>" if lines else ""
        figures.append(
            f'<figure><a href="{link}"><img loading="lazy" src="{link}" alt="{name}"></a>'
            f"{below}</figure>"
        )
    return f'<div class="cell">{"".join(figures)}</div>'


def _label(name: str, value: str) -> str:
    return f"{name.replace('_', ' ')}: {value}"
