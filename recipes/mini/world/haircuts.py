"""Cuts of hair, and whose is which."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .people import Person
    from .words import Look


@dataclass(frozen=True)
class Cut:
    """How hair is cut and worn; lengths in metres, on a head of the bank's usual size."""

    top: float  # length on top
    sides: float  # length at the sides
    comb: str  # a row of COMBS
    strands: int = 15000
    steps: int = 8
    rise: float = 0.5  # how steeply it leaves the skin, 0..1
    height: float = 0.009  # how far the outermost lie off the skin
    weight: float = 0.08  # how soon it falls
    obey: float = 0.35  # how soon it takes the comb's way
    locks: int = 500
    gathered: float = 0.5  # how much of a lock ends in one point, 0..1
    radius: float = 0.0  # of curls
    pitch: float = 0.015  # of a turn
    frizz: float = 0.0015
    points: int = 0  # of a strand in the end, more than steps where it is curled
    hug: float = 0.0  # how close it keeps to the head, 0..1
    width: float = 0.0008
    shorn: float = 0.55  # how much closer it is at the nape and about the ears
    level: float | None = None  # how far down it is cut straight, the head's joint at 0
    fringe: float = 0.0  # length of what falls into the forehead
    tail: float = 0.0  # length of a tail
    bun: float = 0.0  # radius of a bun


LONG: dict[str, Any] = {
    "strands": 9000,
    "steps": 18,
    "rise": 0.4,
    "shorn": 0.0,
    "weight": 0.10,
    "hug": 0.8,
}
RINGLETS = LONG | {"strands": 4400, "points": 72}
CUTS: dict[tuple[str, str], tuple[Cut, ...]] = {
    ("straight", "short"): (
        Cut(0.018, 0.0083, "whorl", strands=26000, steps=5, rise=0.6, height=0.006, locks=1200),
        Cut(0.047, 0.015, "parted", height=0.015, weight=0.05, hug=0.5),
        Cut(0.05, 0.0165, "back", height=0.0165, weight=0.02, hug=0.4),
        Cut(0.039, 0.018, "forward", height=0.012, weight=0.05, hug=0.3),
        Cut(0.0045, 0.003, "whorl", strands=26000, steps=3, rise=0.75, height=0.0023, gathered=0.1),
    ),
    ("curly", "short"): (
        Cut(0.064, 0.038, "out", strands=8000, steps=12, rise=0.9, height=0.023, weight=0.06,
            obey=0.25, locks=300, gathered=0.75, radius=0.0056, pitch=0.023, frizz=0.0009,
            points=28),
        Cut(0.06, 0.0165, "out", strands=9000, steps=12, rise=0.8, height=0.0195, weight=0.05,
            obey=0.25, locks=360, gathered=0.7, radius=0.0045, pitch=0.0195, frizz=0.0009,
            points=26),
        Cut(0.05, 0.039, "out", strands=10000, steps=20, rise=1.0, height=0.03, weight=0.0,
            obey=0.1, locks=1400, gathered=0.3, radius=0.0023, pitch=0.009, frizz=0.003),
    ),
    ("straight", "long"): (
        Cut(0.346, 0.316, "hanging", height=0.015, level=-0.27, locks=260, **LONG),
        Cut(0.301, 0.256, "hanging", height=0.018, level=-0.15, locks=220, fringe=0.056, **LONG),
        Cut(0.346, 0.316, "hanging", height=0.0195, level=-0.25, locks=150, gathered=0.65,
            radius=0.0083, pitch=0.083, **LONG),
        Cut(0.226, 0.18, "hanging", height=0.0195, level=-0.055, locks=260, **LONG),
        Cut(0.226, 0.18, "tied", height=0.0075, locks=300, tail=0.376, **LONG),
        Cut(0.226, 0.18, "tied", height=0.009, locks=300, bun=0.026, **LONG),
    ),
    ("curly", "long"): (
        Cut(0.346, 0.316, "hanging", height=0.026, level=-0.22, locks=230, gathered=0.6,
            radius=0.0083, pitch=0.039, frizz=0.0045, **RINGLETS),
        Cut(0.301, 0.271, "hanging", height=0.026, level=-0.13, locks=260, gathered=0.55,
            radius=0.0071, pitch=0.032, frizz=0.0045, **RINGLETS),
        Cut(0.346, 0.316, "hanging", height=0.024, level=-0.26, locks=170, gathered=0.6,
            radius=0.0098, pitch=0.056, frizz=0.0038, **RINGLETS),
    ),
}  # fmt: skip
# Where a child's or a woman's short hair differs from a man's: bobs, and no clipped sides.
WOMEN = {
    ("straight", "short"): (
        Cut(0.165, 0.128, "hanging", height=0.0165, level=-0.035, locks=260, **LONG),
        Cut(0.165, 0.12, "hanging", height=0.015, level=-0.02, locks=260, fringe=0.053, **LONG),
        Cut(0.056, 0.034, "forward", height=0.015, weight=0.06, shorn=0.3, hug=0.3),
        Cut(0.064, 0.034, "parted", height=0.018, weight=0.07, shorn=0.3, hug=0.5),
    ),
    ("curly", "short"): (
        Cut(0.105, 0.09, "hanging", height=0.027, level=-0.04, locks=300, gathered=0.5,
            radius=0.0064, pitch=0.024, frizz=0.0038, **RINGLETS | {"points": 40, "strands": 6500}),
        *CUTS["curly", "short"][::2],
    ),
}  # fmt: skip


# A crest on shaven sides; of so many strands about a sixth is left, see _crest.
MOHAWKS = (
    Cut(0.086, 0.068, "upward", strands=45000, steps=8, rise=0.95, height=0.0075, weight=0.0,
        locks=26, gathered=0.93, frizz=0.0008),
    Cut(0.064, 0.053, "upward", strands=60000, steps=8, rise=0.95, height=0.0075, weight=0.0,
        locks=300, gathered=0.5, frizz=0.0015),
    Cut(0.079, 0.06, "upward", strands=50000, steps=9, rise=0.9, height=0.0075, weight=0.06,
        locks=70, gathered=0.7, frizz=0.0015),
)  # fmt: skip
DYES = (
    (226, 30, 120),
    (40, 190, 70),
    (30, 160, 220),
    (245, 110, 20),
    (130, 50, 210),
    (225, 30, 40),
)


def choose(person: Person, look: Look) -> Cut:
    """A person's cut."""
    rng = np.random.default_rng((person.seed, 5))
    if look.punk == "yes":
        return MOHAWKS[int(rng.integers(len(MOHAWKS)))]
    if look.mona_lisa == "yes":
        return CUTS["straight", "long"][2]  # from a parting in the middle, waved
    key = (look.texture, look.length)
    choices = WOMEN.get(key, CUTS[key]) if look.who in ("woman", "girl") else CUTS[key]
    return choices[int(rng.integers(len(choices)))]


LENGTHS = ("top", "sides", "height", "radius", "pitch", "frizz", "fringe", "tail", "bun")


def sized(cut: Cut, scale: float) -> Cut:
    """A cut on a head of another size."""
    return replace(cut, **{name: scale * getattr(cut, name) for name in LENGTHS})
