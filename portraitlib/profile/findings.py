"""Is a portrait worth keeping? Is it the person, in the style, with the face whole, and no copy?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from portraitlib.measuring import fidelity, likeness
from portraitlib.mini.visible import style_ceiling
from portraitlib.models.load import Model
from portraitlib.photos.faces.face import Face, Place
from portraitlib.photos.faces.find import FINDERS, find_faces
from portraitlib.photos.photo_set import PhotoSet
from portraitlib.settings import UsageError

LEAST_LIKENESS = 0.6
LEAST_FACE = 0.2  # of the picture's width; below it the face is drawn again, larger
LARGEST_CUT = 0.06  # of the picture's side, what may lie outside of a whole head
MOST_COPYING = 0.6  # 1 is a photo learnt from, itself; counts where photos are no more alike
LEAST_STRANGERS = 6
SMALL, CUT, NO_FACE, COPY = "small face", "head is cut off", "no face found", "copy of a photo"


@dataclass(frozen=True)
class Finding:
    """What was found out about one portrait.

    likeness: None without a face or without a scale.  low, high: its 95 % interval, the photos that
        it is held against drawn anew.
    is_him: is it the person?  lacking: words of the style that are not seen.
    faults: what is wrong with it, in words.  places: of those that can be mended, (x, y) and the
        radius, shares of the picture's side.  copying: 1 is a photo learnt from, itself.
    """

    is_him: bool
    likeness: float | None = None
    low: float | None = None
    high: float | None = None
    copying: float | None = None
    lacking: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()

    @property
    def good(self) -> bool:
        """Is it worth keeping?"""
        return self.is_him and not self.lacking and not self.faults


@dataclass(frozen=True, eq=False)
class Judge:
    """Who finds out about the portraits of one style.

    words: those that are looked for.  drawn: are they of the embedded model's world?
    ends: what a likeness of 0 and of 1 is, in words.  ceiling: how far from strangers of the style
    to the photos the person is even when drawn by one who knows him: a likeness of 1.
    """

    yardstick: likeness.Yardstick
    copies: likeness.Copying | None
    words: str
    drawn: bool
    ends: str
    ceiling: float = 1.0

    def look(self, pictures: Sequence[Image.Image]) -> list[Finding]:
        """One finding a picture; each is looked at once for faces and once for words."""
        encoder = self.yardstick.encoder
        found = [find_faces(picture, encoder.finder)[0] for picture in pictures]
        faces = list(map(likeness.largest_face, found))
        points = likeness.embed_faces(list(zip(pictures, faces, strict=True)), encoder)
        return list(map(self._find, pictures, faces, points, self._lacking(pictures)))

    def _find(
        self,
        picture: Image.Image,
        face: Face | None,
        point: np.ndarray | None,
        lacking: tuple[str, ...],
    ) -> Finding:
        if face is None or point is None:
            places = FINDERS[self.yardstick.encoder.finder].out_of_place(picture)
            return Finding(False, lacking=lacking, faults=(NO_FACE,), places=tuple(places))
        row = self.yardstick.measure(point)
        value = self._in_style(row["likeness"])
        near = row["distance"] < self.yardstick.encoder.near  # of one photo there is no scale
        low, high = map(self._in_style, self.yardstick.interval(point) or (None, None))
        copying = self.copies.measure(point)["copying"] if self.copies else None
        faults, marked = _wrong_with(picture, face)
        if copying is not None and copying > MOST_COPYING and (value or 0) > 1:
            faults = (*faults, COPY)
        is_him = near if value is None else value >= LEAST_LIKENESS
        return Finding(is_him, value, low, high, copying, lacking, faults, marked)

    def _in_style(self, value: float | None) -> float | None:
        return None if value is None else value / self.ceiling

    def _lacking(self, pictures: Sequence[Image.Image]) -> list[tuple[str, ...]]:
        prompts = [self.words] * len(pictures)
        if self.drawn:
            rows, _ = fidelity.judge_drawn(fidelity.read_drawn(pictures), prompts)
        else:
            rows, _ = fidelity.judge_by_clip(fidelity.embed_pictures(pictures), prompts)
        return [tuple(word for word, there in row["seen"].items() if not there) for row in rows]


def make_judge(
    model: Model,
    photos: PhotoSet,
    words: str,
    strangers: Sequence[Image.Image],
    learnt: PhotoSet | None = None,
) -> Judge:
    """A judge of portraits of the person of the photos, in the style that words ask for.

    strangers: others in that style, as `pl.style_strangers` draws them, where likeness is 0; where
        too few of them have a face that is found, strangers of the photos' kind take their place.
    learnt: the photos that were trained on, none of `photos`; None if those are the same.
    """
    encoder = likeness.encoder_of(photos)
    points, _ = likeness.photo_points(photos, encoder)
    others, zero = None, "a stranger in a photograph"
    try:
        others, _ = likeness.known_points("strangers", strangers, encoder, LEAST_STRANGERS)
        zero = f"a stranger drawn in the style ({len(others)} were)"
    except UsageError:
        pass
    drawn, ceiling, one = bool(model.preset.words), 1.0, "another photo"
    if drawn and others is not None:
        ceiling = style_ceiling(words)
        one = f"a person as {model.name}'s world draws them, {ceiling:.0%} of the way to a photo"
    yardstick = likeness.make_yardstick(points, encoder, photos.images, others)
    copies = None if learnt is None else likeness.find_copying(photos, learnt, encoder)
    ends = f"likeness 0 is {zero}, 1 is {one}"
    return Judge(yardstick, copies, words, drawn, ends, ceiling)


def _wrong_with(picture: Image.Image, face: Face) -> tuple[tuple[str, ...], tuple[Place, ...]]:
    """What is wrong with a face that was found, and where that can be mended."""
    width, height = picture.size
    left, top, right, bottom = face.head
    outside_px = max(-top, bottom - height, -left, right - width)
    faults = [CUT] if outside_px > LARGEST_CUT * max(picture.size) else []
    if face.width >= LEAST_FACE * width:
        return tuple(faults), ()
    middle = (left + right) / 2 / width, (top + bottom) / 2 / height
    return (*faults, SMALL), ((*middle, (bottom - top) / 2 / height),)
