"""Is it me? Cards in random order, a person's portraits among strangers', answered without scores.

What the eye says is held against what likeness says of the same cards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from PIL import Image

from portraitlib.measuring import intervals
from portraitlib.measuring.measure import LEAST_STRANGERS, measure, read_portraits
from portraitlib.measuring.scoreboard import IS_HIM
from portraitlib.photos.photo_set import PhotoSet
from portraitlib.places import output_folder
from portraitlib.portrait import Portrait, read_json, write_json
from portraitlib.settings import Range, check_number

COUNT = Range(2, 200, "cards", example=20)
FORM = 1


@dataclass(frozen=True)
class Card:
    """A picture to be judged.

    named: is it one of the person's portraits?  number: which of those given, from 0.
    likeness: of the picture; None without a face.  me: what the reader said; None before.
    """

    named: bool
    number: int
    image: Image.Image | None = None
    likeness: float | None = None
    me: bool | None = None


class AnswersFile(TypedDict):
    """What `write_answers` keeps."""

    form: int
    cards: list[dict[str, Any]]


def draw_cards(
    portraits: Sequence[Portrait | Image.Image],
    strangers: Sequence[Portrait | Image.Image],
    count: int = 20,
    seed: int = 0,
) -> list[Card]:
    """Half as many cards of each as `count`, or as there are, in an order that the seed decides.

    Raises UsageError for no portraits or no strangers.
    """
    count = int(check_number("ask", "count", count, COUNT))
    rng, cards = np.random.default_rng(seed), []
    for name, named, given in (("portraits", True, portraits), ("strangers", False, strangers)):
        pictures = read_portraits(name, given).pictures
        chosen = rng.permutation(len(pictures))[: count // 2]
        cards += [Card(named, int(i), pictures[i]) for i in chosen]
    return [cards[i] for i in rng.permutation(len(cards))]


def score_cards(
    cards: Sequence[Card], photos: PhotoSet, strangers: Sequence[Portrait | Image.Image]
) -> list[Card]:
    """The cards with their likeness; 0 are the strangers that are on no card, if four or more."""
    shown = {card.number for card in cards if not card.named}
    others = [item for index, item in enumerate(strangers) if index not in shown]
    floor = others if len(others) >= LEAST_STRANGERS else None
    rows = measure([card.image for card in cards if card.image], photos, strangers=floor).rows
    likenesses = (row["likeness"] for row in rows)
    return [replace(card, likeness=each) for card, each in zip(cards, likenesses, strict=True)]


def agreement(cards: Sequence[Card]) -> str:
    """How often eye and figure agree, with a 95 % interval, and how often each is right, in words.

    The figure says "me" from a likeness of one half; cards without a face do not count.
    """
    known = [card for card in cards if card.likeness is not None]
    if not known:
        return "no card has a face"
    named = np.array([card.named for card in known])
    eye = np.array([bool(card.me) for card in known])
    figure = np.array([(card.likeness or 0) >= IS_HIM for card in known])
    low, high = intervals.mean_interval((eye == figure).astype(float)) or (0.0, 1.0)
    faceless = f"; {len(cards) - len(known)} without a face" if len(known) < len(cards) else ""
    return (
        f"eye and figure agree on {(eye == figure).sum()} of {len(known)} cards ({low:.0%} to "
        f"{high:.0%}); right: the eye {(eye == named).sum()}, the figure {(figure == named).sum()}"
        + faceless
    )


def write_answers(folder: str | Path, cards: Sequence[Card]) -> Path:
    """Keep the answers in answers.json of a folder, or answers-2.json and so on; none is replaced.

    Raises UsageError if the folder cannot be written to.
    """
    home, number = output_folder(folder), 1
    while (path := home / f"answers{f'-{number}' * (number > 1)}.json").exists():
        number += 1
    rows = [{k: v for k, v in asdict(card).items() if k != "image"} for card in cards]
    write_json(path, AnswersFile(form=FORM, cards=rows))
    return path


def read_answers(folder: str | Path) -> list[list[Card]]:
    """The answers kept in a folder, those of each time, the first one first, without pictures.

    Raises UsageError for a file that cannot be read.
    """
    paths = output_folder(folder).glob("answers*.json")
    files = [read_json(p, AnswersFile) for p in sorted(paths, key=lambda p: (len(p.name), p.name))]
    return [[Card(**row) for row in file["cards"]] for file in files]
