"""The claims of the post, each with the figure that bears on it and what that figure says.

The post is of February 2024 and tells its author's way to a profile picture; its claims are given
here in words of this project. A claim is confirmed or refuted where 95 % intervals say so, and
depends where they do not.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from portraitlib.measuring.scoreboard import IS_HIM, Row, find_row, in_words, markdown_table

CONFIRMED, REFUTED, DEPENDS, UNKNOWN = "confirmed", "refuted", "depends", "not measured"

# Methods and styles as the rows of the scoreboard and `claims.toml` call them.
ZERO_SHOT, FROM_PHOTO = "zero-shot", "image-to-image"
ALONE, CLASSES = "DreamBooth, no class images", "DreamBooth, class images"
IMAGE_FREE, MIXED = "DreamBooth, image-free prior", "subject + style"
SKETCHED, SHORTER = "DreamBooth, sketches as class images", "DreamBooth, a quarter of the epochs"
EDGES, FEW_STEPS, BOTH = "words + edges", "words + edges, few steps", "adapter + edges"
ONE_PHOTO = "one photo, no training"
# The same portraits, held against strangers whom the model draws in the style itself.
IN_STYLE = f"{CLASSES}, strangers of the style"
THE_PHOTOS, THE_POST = "the photos", "the post's four trainings"
PHOTO, SKETCH, COMIC, ANIME = "photorealistic", "pencil sketch", "comic book", "anime"
IMPRESSIONIST, DRAMATIC, PUNK = "oil, impressionist", "oil, dramatic", "punk"


@dataclass(frozen=True)
class Side:
    """One figure: of which method, in which style; "" is any."""

    method: str
    style: str
    figure: str = "likeness"


@dataclass(frozen=True)
class Claim:
    """What the post says, and by what it is judged.

    rule: the figure is "above" or "below" a limit; or it is "more" or "no more" than another.
    """

    says: str
    side: Side
    rule: Literal["above", "below", "more", "no more"]
    than: Side | float = IS_HIM


def read_claims() -> tuple[Claim, ...]:
    """The claims as `claims.toml` has them, in the order of the post."""
    rows = tomllib.loads(Path(__file__).with_name("claims.toml").read_text(encoding="utf-8"))
    return tuple(
        Claim(
            row["says"],
            Side(*row["of"]),
            row["rule"],
            Side(*row["than"]) if isinstance(row["than"], list) else row["than"],
        )
        for row in rows["claim"]
    )


CLAIMS = read_claims()


@dataclass(frozen=True)
class Verdict:
    """What the figures say of a claim: a word, the figures in words, the seeds behind them."""

    word: str
    figures: str
    seeds: int | None


def judge(claim: Claim, rows: Sequence[Row]) -> Verdict:
    """Hold a claim against the rows of one model."""
    row = _row_of(claim.side, rows)
    if row is None:
        return Verdict(UNKNOWN, "–", None)
    low, high = _interval(row)
    said = f"{claim.side.figure.replace('_', ' ')} {in_words(row)}"
    if not isinstance(claim.than, Side):
        least = most = middle = claim.than
        said += f", limit {claim.than:g}"
    else:
        other = _row_of(claim.than, rows)
        if other is None:
            return Verdict(UNKNOWN, f"{said}, and nothing to compare with", None)
        (least, most), middle = _interval(other), other["mean"]
        said += f", against {in_words(other)}"
    more, less = low > most, high < least
    right, wrong = {
        "above": (more, less),
        "more": (more, high <= least),  # as much as the other is not more
        "below": (less, more),
        "no more": (row["mean"] <= middle, more),  # no gain was claimed: it need not be a loss
    }[claim.rule]
    word = CONFIRMED if right else REFUTED if wrong else DEPENDS
    return Verdict(word, said, row["seeds"])


def _row_of(side: Side, rows: Sequence[Row]) -> Row | None:
    """The row of a side, if it has a value."""
    row = find_row(rows, side.figure, side.method, side.style)
    return row if row is not None and row["mean"] is not None else None


def _interval(row: Row) -> tuple[float, float]:
    """The 95 % interval of a row; the value itself where none is known."""
    low, high = row["low"], row["high"]
    return (row["mean"], row["mean"]) if low is None else (low, high)


def ledger_table(rows_by_model: Mapping[str, Sequence[Row]]) -> str:
    """All claims as a table in Markdown: verdict, figures and seeds, a column group a model."""
    several = len(rows_by_model) > 1
    head = ["the post says"]
    for model in rows_by_model:
        named = f", {model}" if several else ""
        head += [f"verdict{named}", f"figure (95 % interval){named}", f"seeds{named}"]
    lines = [head]
    for claim in CLAIMS:
        line = [claim.says]
        for rows in rows_by_model.values():
            verdict = judge(claim, rows)
            word = verdict.word if verdict.word == UNKNOWN else f"**{verdict.word}**"
            line += [word, verdict.figures, "–" if verdict.seeds is None else str(verdict.seeds)]
        lines.append(line)
    return markdown_table(lines)
