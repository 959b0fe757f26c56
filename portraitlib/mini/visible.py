"""Which words a caption says, and which of them a picture can show."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache

import numpy as np

from portraitlib.mini.words import GROUPS, PHRASES
from portraitlib.places import PACKAGE


@cache
def _phrases() -> dict[tuple[str, ...], dict[str, str]]:
    """Every phrase, as words, and the groups and values that it names."""
    known: dict[tuple[str, ...], dict[str, str]] = {}
    for group, values in PHRASES.items():
        for value, phrases in values.items():
            for phrase in phrases:
                if "{who}" not in phrase:
                    known[tuple(phrase.replace(",", "").split())] = {group: value}
                    continue
                for who in PHRASES["who"]:
                    words = tuple(phrase.format(who=who).split())
                    known[words] = {group: value, "who": who}
    return known


def named(caption: str) -> dict[str, str]:
    """The value of each group that a caption names; words that it does not know say nothing.

    >>> named("portrait of an indian boy, curly hair, in jungle, comic book style")
    {'skin': 'indian', 'who': 'boy', 'texture': 'curly', 'place': 'jungle', 'style': 'comic book'}
    """
    known, said = _phrases(), {}
    longest = max(map(len, known))
    for part in caption.lower().split(","):
        words = part.split()
        while words:
            for length in range(min(longest, len(words)), 0, -1):
                if found := known.get(tuple(words[:length])):
                    said.update(found)
                    break
            else:
                length = 1
            words = words[length:]
    return said


@cache
def _ceilings() -> dict[str, float]:
    return tomllib.loads((PACKAGE / "mini" / "ceilings.toml").read_text(encoding="utf-8"))


def style_ceiling(prompt: str) -> float:
    """How far from strangers in the prompt's style to the photos a person drawn in it lies, 0 to 1.

    A style takes something of everybody: a punk's mohawk is no one's own hair.
    """
    said = named(prompt)
    style, mood = said.get("style", "photorealistic"), said.get("mood", "none")
    more = "punk" if said.get("punk") == "yes" else mood if mood != "none" else ""
    return _ceilings()[f"{style}, {more}" if more else style]


# What cannot be seen -------------------------------------------------------------------------


@dataclass(frozen=True)
class Hidden:
    """A group that a picture does not show where the look is one of those in `where`."""

    group: str
    where: dict[str, tuple[str, ...]]
    why: str


NOT_OIL = tuple(style for style in PHRASES["style"] if style != "oil painting")
HIDDEN = (
    *(
        Hidden(group, {"mona_lisa": ("yes",)}, "Mona Lisa is one composition")
        for group in PHRASES
        if group not in ("style", "mona_lisa")
    ),
    Hidden("texture", {"punk": ("yes",)}, "a mohawk has no texture"),
    Hidden("length", {"punk": ("yes",)}, "a mohawk has one length"),
    Hidden("length", {"texture": ("bald",)}, "there is no hair"),
    Hidden("hair", {"punk": ("yes",)}, "a mohawk is dyed"),
    Hidden("hair", {"texture": ("bald",)}, "there is no hair"),
    Hidden("hair", {"style": ("pencil sketch",)}, "graphite has no colour"),
    Hidden("skin", {"style": ("pencil sketch",)}, "graphite has no colour"),
    Hidden("mood", {"style": ("pencil sketch",)}, "graphite has no colour"),
    Hidden("mood", {"style": NOT_OIL, "mood": ("impressionist",)}, "it is a way to paint in oil"),
    Hidden("age", {"who": ("boy", "girl")}, "a child is young in any words"),
    Hidden(
        "age",
        {"style": ("pencil sketch",), "age": ("young", "adult")},
        "red cheeks are grey in graphite",
    ),
    Hidden(
        "place",
        {"style": ("pencil sketch",), "place": ("plain", "bubblegum")},
        "pink bubbles are paper in graphite",
    ),
    Hidden("jawline", {"beard": ("trimmed", "full")}, "the beard covers it"),
    Hidden("dimples", {"beard": ("full",)}, "the beard covers them"),
    Hidden("beard", {"who": ("woman", "girl")}, "only men and boys have beards"),
)


def visible(look: dict[str, str]) -> dict[str, bool]:
    """Which groups a portrait of this look shows."""
    hidden = {
        rule.group
        for rule in HIDDEN
        if all(look[group] in values for group, values in rule.where.items())
    }
    return {group: group not in hidden for group in GROUPS}


def visible_codes(looks: np.ndarray) -> np.ndarray:
    """`visible` for rows of `Drawings.looks`: (n, groups) bool."""
    seen = np.ones(looks.shape, bool)
    for rule in HIDDEN:
        applies = np.ones(len(looks), bool)
        for group, values in rule.where.items():
            codes = [list(PHRASES[group]).index(value) for value in values]
            applies &= np.isin(looks[:, GROUPS.index(group)], codes)
        seen[applies, GROUPS.index(rule.group)] = False
    return seen
