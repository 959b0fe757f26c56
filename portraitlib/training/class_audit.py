"""Looks class images over: is a face there, is it large enough, was it there before?

The pictures are looked at one by one in the order of their seeds or names, so that the same
pictures always get the same verdicts, however many of them are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from portraitlib.photos.audit import DUPLICATE_BITS, HASH_SIDE, alike, look_hash
from portraitlib.photos.faces.find import FINDERS, find_faces
from portraitlib.settings import RANGES, UsageError

NO_FACE, SMALL_HEAD, REPEATED = "no face", "small head", "repeated"
# Of the picture's height. Below it the picture is of a place with somebody in it, and teaches
# nothing of faces; half-length portraits have a third.
LEAST_HEAD_SHARE = 0.25
# As many pictures may be dropped as are good, and these: then the prompt is at fault.
SPARE = 8


@dataclass(frozen=True)
class Look:
    """What is known of a picture: its head's share of the height, None without a face; its hash."""

    head_share: float | None
    hash: str  # `look_hash`, 64 hexadecimal digits


def check_finder(finder: str | None) -> None:
    """Can faces be looked for? Raises UsageError before anything is drawn or read."""
    if finder is not None and finder not in FINDERS:
        raise UsageError(f"finder: got {finder!r}, expected None or one of {', '.join(FINDERS)}")
    find_faces(Image.new("RGB", (64, 64)), finder)


def look_at(image: Image.Image, finder: str | None) -> Look:
    """Find the largest face of an RGB picture, and hash it. finder: as for `find_faces`."""
    faces, _ = find_faces(image, finder)
    tall = max((face.head[3] - face.head[1] for face in faces), default=None)
    bits = np.packbits(look_hash(image)).tobytes().hex()
    return Look(None if tall is None else round(tall / image.height, 4), bits)


def fault_of(look: Look, kept: Mapping[str, Look], allow_no_face: bool) -> tuple[str, str] | None:
    """Why a picture is dropped, in two words and in full; None if it is good.

    kept: name -> look, of the good pictures before it.
    """
    if look.head_share is None and not allow_no_face:
        return NO_FACE, "no face found"
    if look.head_share is not None and look.head_share < LEAST_HEAD_SHARE:
        return SMALL_HEAD, (
            f"the head is small: {look.head_share:.0%} of the picture's height, "
            f"{LEAST_HEAD_SHARE:.0%} at least"
        )
    own = _hashes(look)
    same = next((name for name, other in kept.items() if alike(own, _hashes(other))), None)
    return None if same is None else (REPEATED, f"almost the same as {same}")


def _hashes(look: Look) -> dict[str, np.ndarray]:
    """The hash in the form of `photos.audit`: a class image is whole and a crop at once."""
    packed = np.frombuffer(bytes.fromhex(look.hash), np.uint8)
    bits = np.unpackbits(packed).astype(bool).reshape(HASH_SIDE, HASH_SIDE)
    return dict.fromkeys(DUPLICATE_BITS, bits)


# --- a set by its seeds --------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """Which seeds make a set: the good ones, the dropped with the reason, those yet to be drawn."""

    good: tuple[int, ...]
    dropped: dict[int, tuple[str, str]]
    missing: tuple[int, ...]


def plan_set(looks: Mapping[int, Look], first: int, count: int, allow_no_face: bool) -> Plan:
    """Go through the seeds from `first` until `count` are good, if those not yet drawn turn out so.

    It ends before that where more than `SPARE` and the good ones have been dropped.
    """
    good: list[int] = []
    missing: list[int] = []
    dropped: dict[int, tuple[str, str]] = {}
    seed = first
    while len(good) + len(missing) < count and seed <= RANGES["seed"].high:
        if len(dropped) > SPARE + len(good) + len(missing):
            break
        if seed not in looks:
            missing.append(seed)
        elif fault := fault_of(looks[seed], named(good, looks), allow_no_face):
            dropped[seed] = fault
        else:
            good.append(seed)
        seed += 1
    return Plan(tuple(good), dropped, tuple(missing))


def named(seeds: Sequence[int], looks: Mapping[int, Any]) -> dict[str, Any]:
    """Looks by the name that a seed has in reports."""
    return {f"seed {seed}": looks[seed] for seed in seeds}
