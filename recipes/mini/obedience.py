"""Which of the words that were asked for can be seen in pictures, as the reader reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .reader_network import Reading
from .visible import GROUPS, named, visible
from .world.words import PHRASES, STYLES

ENOUGH = 8  # readings that a share must rest on to be called the worst


@dataclass(frozen=True)
class Asked:
    """What was asked of pictures and seen in them: rows of picture, group, value, style, right."""

    picture: np.ndarray
    group: np.ndarray
    value: np.ndarray
    style: np.ndarray
    right: np.ndarray


def ask(captions: list[str], reading: Reading) -> Asked:
    """Compare what captions name with what the reader sees.

    Groups that such a picture cannot show are left out (`visible.HIDDEN`); where the caption does
    not say what that depends on, what the reader sees decides. A caption without a style counts
    as photorealistic: the world says every other style.
    """
    rows = []
    for i, text in enumerate(captions):
        said, seen = named(text), reading.shows(i)
        style = said.get("style", "oil painting" if "mona_lisa" in said else STYLES[0])
        can_show = visible({**seen, "style": style, **said})
        rows += [(i, g, v, style, seen[g] == v) for g, v in said.items() if can_show[g]]
    columns = zip(*rows, strict=True) if rows else [[]] * 5
    return Asked(*(np.array(column) for column in columns))


def interval(right: np.ndarray, asked: np.ndarray, rounds: int = 1000) -> tuple[float, float]:
    """The 95 % interval of sum(right) / sum(asked), by drawing pictures anew (bootstrap).

    right, asked: (pictures,): what was right and what was asked in each.
    """
    rows = np.random.default_rng(0).integers(len(right), size=(rounds, len(right)))
    shares = right[rows].sum(1) / np.maximum(asked[rows].sum(1), 1)
    low, high = np.quantile(shares, (0.025, 0.975))
    return float(low), float(high)


def share(right: np.ndarray, asked: np.ndarray | None = None) -> dict[str, Any]:
    """A share, what it rests on and how sure it is. asked: one of each picture, if not given."""
    right = right.astype(float)
    asked = np.ones(len(right)) if asked is None else asked
    return {
        "share": float(right.sum() / max(asked.sum(), 1)),
        "count": int(asked.sum()),
        "interval": interval(right, asked),
    }


def _share_of(asked: Asked, rows: np.ndarray) -> dict[str, Any]:
    """`share` of the chosen rows, drawn anew by picture."""
    count = int(asked.picture.max()) + 1
    said = np.bincount(asked.picture[rows], minlength=count).astype(float)
    right = np.bincount(asked.picture[rows], asked.right[rows], minlength=count)
    return share(right[said > 0], said[said > 0])


def obedience(asked: Asked) -> dict[str, Any]:
    """Shares of what captions name that the reader sees: `all`, and by style, group, value and
    style and group; the worst word and the worst style of those that were asked often enough."""
    every = np.ones(len(asked.right), bool)

    def table(column: np.ndarray, names: tuple[str, ...], rows: np.ndarray) -> dict[str, Any]:
        chosen = {name: rows & (column == name) for name in names}
        return {name: _share_of(asked, mine) for name, mine in chosen.items() if mine.any()}

    def worst(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
        sure = {name: row for name, row in rows.items() if row["count"] >= ENOUGH} or rows
        name = min(sure, key=lambda n: sure[n]["share"])
        return {"what": name, **sure[name]}

    groups, styles = table(asked.group, GROUPS, every), table(asked.style, STYLES, every)
    values = {g: table(asked.value, tuple(PHRASES[g]), asked.group == g) for g in groups}
    words = {f"{g}: {v}": row for g, rows in values.items() for v, row in rows.items()}
    return {
        "all": _share_of(asked, every),
        "pictures": int(asked.picture.max()) + 1,
        "mean_of_groups": float(np.mean([row["share"] for row in groups.values()])),
        "worst_group": worst(groups),
        "worst_word": worst(words),
        "worst_style": worst(styles),
        "groups": groups,
        "styles": styles,
        "values": values,
        "styles_groups": {s: table(asked.group, GROUPS, asked.style == s) for s in styles},
    }
