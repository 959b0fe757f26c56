"""What was asked of portraits and seen in them, by the judge of the embedded world."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from portraitlib.mini.judge import Reading
from portraitlib.mini.visible import named, visible, visible_codes
from portraitlib.mini.words import GROUPS, PHRASES, STYLES
from portraitlib.places import PACKAGE

FILE = PACKAGE / "mini" / "drawn.npz"  # drawn and read by recipes/first_mini


@dataclass(frozen=True)
class Asked:
    """What was asked of pictures and seen in them: rows of picture, group, value, style, right."""

    picture: np.ndarray
    group: np.ndarray
    value: np.ndarray
    style: np.ndarray
    right: np.ndarray


def ask(captions: list[str], reading: Reading) -> Asked:
    """Compare what captions name with what the judge sees.

    Groups that such a picture cannot show are left out (`visible.HIDDEN`); where the caption does
    not say what that depends on, what the judge sees decides. A caption without a style counts
    as photorealistic: the world says every other style.
    """
    rows = []
    for i, text in enumerate(captions):
        said, seen = named(text), reading.shows(i)
        style = _style_of(said)
        can_show = visible({**seen, "style": style, **said})
        rows += [(i, g, v, style, seen[g] == v) for g, v in said.items() if can_show[g]]
    columns = zip(*rows, strict=True) if rows else [[]] * 5
    return Asked(*(np.array(column) for column in columns))


def _style_of(said: dict[str, str]) -> str:
    """The style that a caption means: without a word for it, it is of a photograph."""
    return said.get("style", "oil painting" if "mona_lisa" in said else STYLES[0])


@lru_cache(maxsize=256)
def drawn_scale(prompt: str) -> tuple[float, float]:
    """The share of what a prompt names that is seen in drawings of anything, and in drawings of it.

    The latter is the mean, over what is named and can be shown, of how often it is seen where it
    was drawn in the prompt's style. Words that say nothing that can be seen give 0 and 1.
    """
    said = named(prompt)
    looks, seen = _drawn()
    columns = [GROUPS.index(group) for group in said]
    codes = [list(PHRASES[group]).index(value) for group, value in said.items()]
    style, style_column = STYLES.index(_style_of(said)), GROUPS.index("style")
    right = seen[:, columns] == codes
    as_asked = seen.copy()
    as_asked[:, style_column] = style
    as_asked[:, columns] = codes
    shown = visible_codes(as_asked)[:, columns]
    if not shown.any():
        return 0.0, 1.0
    drawn = (looks[:, columns] == codes) & visible_codes(looks)[:, columns]
    in_style = drawn & (looks[:, style_column] == style)[:, None]
    rows = np.where(in_style.any(0), in_style, drawn) & shown.any(0)
    shares = [right[row, index].mean() for index, row in enumerate(rows.T) if row.any()]
    return float(right[shown].mean()), float(np.mean(shares))


@cache
def _drawn() -> tuple[np.ndarray, np.ndarray]:
    """Drawings of all the world's looks: what they were drawn with, and what the judge sees in
    them, both (drawings, groups) uint8 as in `Reading.looks`."""
    with np.load(FILE) as kept:
        return kept["looks"], kept["seen"]
