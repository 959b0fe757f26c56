"""A sweep on the studio's screen: a grid of pictures, and what was measured of each."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

from portraitlib.measuring.sweep import SweepRow
from portraitlib.studio.draw import Made
from portraitlib.studio.fields import label_of, plain_number
from portraitlib.studio.gallery import data_link, encoded

CELL_PX = 192
# What stands under a picture: column of `measure` -> label and form.
SCORES = {
    "likeness": ("likeness", "{:.2f}"),
    "prompt_seen": ("words", "{:.0%}"),
    "edge_f1": ("edges", "{:.2f}"),
}


def sheet_html(made: Made) -> str:
    """A table of the pictures: the setting varied last runs across, the one before it down."""
    table = made.table
    assert table is not None
    *down, across = table.varied
    rows = table.values(down[0]) if down else [None]
    scores = iter(made.scores.rows if made.scores else ())
    measured: dict[tuple[str, ...], tuple[SweepRow, list[dict[str, Any]]]] = {}
    for row in table.rows:
        key = tuple(_key(row.settings[name]) for name in table.varied)
        measured[key] = row, [next(scores, {}) for _ in row.portraits]
    head = "".join(f"<th>{_label(across, value)}</th>" for value in table.values(across))
    body = ""
    for value in rows:
        cells = ""
        for other in table.values(across):
            key = (*([_key(value)] if down else []), _key(other))
            cells += f"<td>{_cell(*measured[key])}</td>"
        edge = f"<th>{_label(down[0], value)}</th>" if down else ""
        body += f"<tr>{edge}{cells}</tr>"
    corner = "<th></th>" if down else ""
    return f"<table><thead><tr>{corner}{head}</tr></thead><tbody>{body}</tbody></table>"


def _key(value: Any) -> str:
    return repr(value)


def _label(name: str, value: Any) -> str:
    if isinstance(value, str):
        return html.escape(value or f"(no {label_of(name)})")
    return html.escape(f"{label_of(name)} {plain_number(value)}")


def _cell(row: SweepRow, scores: list[dict[str, Any]]) -> str:
    """The pictures of one cell with their scores, or why there is none."""
    if row.error is not None:
        return f'<div class="pl-cell"></div><div class="pl-score">{html.escape(row.error)}</div>'
    parts = []
    for portrait, found in zip(row.portraits, scores, strict=True):
        link = data_link(encoded(portrait.image, CELL_PX), "image/jpeg")
        told = f"seed {portrait.recipe.get('seed', '')}"
        parts.append(f'<div class="pl-cell"><img src="{link}" alt="{html.escape(told)}"></div>')
        parts.append(f'<div class="pl-score">{_scores(found)}</div>')
    return "".join(parts)


def _scores(found: Mapping[str, Any]) -> str:
    shown = []
    for name, (label, form) in SCORES.items():
        if name in found:
            value = "no face" if found[name] is None else form.format(found[name])
            shown.append(f"{label} {value}")
    return "<br>".join(shown)
