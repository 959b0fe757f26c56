"""Is it still the person? Faces of portraits against the person's photos and against strangers.

One encoder measures all of it: distances of different encoders are never mixed or compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from PIL import Image

from portraitlib.measuring.intervals import Interval, distances, drawn_anew, quantiles, unit
from portraitlib.photos.faces.find import ENCODERS, FINDERS, Encoder, Face, encoder_for, find_faces
from portraitlib.photos.photo_set import Photo, PhotoSet
from portraitlib.settings import UsageError

FOUND, NOT_FOUND = "found", "no face found"
SAME_RADIANS = 0.01  # below it two photos are one


@dataclass(frozen=True)
class Yardstick:
    """What a distance to the person's photos means; distances are Euclidean, of `encoder`.

    photos: (photos, numbers).
    ceiling: the median distance of a photo to the others, or of drawings of the person to the
        photos; None with one photo and no drawing.
    strangers: each stranger's median distance to the photos, sorted.  floor: their median.
    points: the strangers', (strangers, numbers).
    """

    encoder: Encoder
    photos: np.ndarray
    ceiling: float | None
    strangers: np.ndarray
    points: np.ndarray

    @property
    def floor(self) -> float:
        return float(np.median(self.strangers))

    @property
    def ceiling_less_alike(self) -> float | None:
        """The share of the strangers who are less alike than a photo in the middle."""
        return None if self.ceiling is None else float((self.strangers > self.ceiling).mean())

    @property
    def tells_apart(self) -> bool:
        """Are the photos nearer to each other than strangers are?"""
        return self.ceiling is not None and self.ceiling < self.floor

    def measure(self, point: np.ndarray | None) -> dict[str, Any]:
        """The columns of one portrait from its face; None, never a number, where there is none."""
        row: dict[str, Any] = {"face": NOT_FOUND if point is None else FOUND}
        row |= dict.fromkeys(("distance", "likeness", "strangers_less_alike"))
        row["likeness_by"] = self.encoder.name
        if point is None:
            return row
        distance = float(np.median(distances(point[None], self.photos)))
        row["distance"] = distance
        row["strangers_less_alike"] = float((self.strangers > distance).mean())
        if self.ceiling is not None and self.tells_apart:
            row["likeness"] = (self.floor - distance) / (self.floor - self.ceiling)
        return row

    def interval(self, point: np.ndarray) -> Interval | None:
        """The 95 % interval of a portrait's likeness: the photos it is held against, drawn anew.

        None where there is no likeness.
        """
        if self.ceiling is None or not self.tells_apart:
            return None
        chosen = drawn_anew(len(self.photos))
        distance, floor = self._to_photos(point[None], chosen)[:, 0], self._floors
        return quantiles((floor - distance) / (floor - self.ceiling), len(self.photos))

    @cached_property
    def _floors(self) -> np.ndarray:
        """The floor with the photos drawn anew, (rounds,)."""
        return np.median(self._to_photos(self.points, drawn_anew(len(self.photos))), axis=1)

    def _to_photos(self, points: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Median distances to chosen photos, (rounds, photos): (rounds, points)."""
        return np.median(distances(points, self.photos)[:, chosen], axis=2).T


def make_yardstick(
    photos: np.ndarray,
    encoder: Encoder,
    pictures: Sequence[Image.Image] = (),
    strangers: np.ndarray | None = None,
    drawn: np.ndarray | None = None,
) -> Yardstick:
    """The yardstick from the photos' points, (photos, numbers), one photo or more.

    pictures: of the person, so that the strangers can be people of the same description.
    strangers: points of others, (strangers, numbers), in place of the encoder's own.
    drawn: points of drawings of the person, (drawings, numbers), for the ceiling; None: the photos.
    Ceiling and floor are found as a portrait is measured: the median distance to the photos.
    """
    apart = distances(photos, photos)
    own = [float(np.median(np.delete(row, i))) for i, row in enumerate(apart) if len(row) > 1]
    if drawn is not None:
        own = np.median(distances(drawn, photos), axis=1).tolist()
    others = encoder.strangers(pictures) if strangers is None else strangers
    floor = np.sort(np.median(distances(others, photos), axis=1))
    return Yardstick(encoder, photos, float(np.median(own)) if own else None, floor, others)


# --- copying -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Copying:
    """How much nearer a portrait is to the photos learnt from than to those held out.

    learnt, held_out: (photos, numbers).  names: of the photos learnt from.
    """

    learnt: np.ndarray
    held_out: np.ndarray
    names: tuple[str, ...]

    def measure(self, point: np.ndarray | None) -> dict[str, Any]:
        """The columns of one portrait; None where there is no face.

        With the angles between faces, t the nearest photo held out and r the nearest learnt from,
        `copying` is (angle to t - angle to r) / angle of t to r: 1 for r itself, -1 for t, 0 for
        what is as near to both (https://arxiv.org/abs/2510.14975, its table 1: InstantID .337,
        WithAnyone .144, Kontext .10, each of one photo given and one target).
        """
        if point is None:
            return {"copying": None, "nearest_photo": None}
        to_held, to_learnt = (angles(point[None], p)[0] for p in (self.held_out, self.learnt))
        t, r = int(to_held.argmin()), int(to_learnt.argmin())
        between = angles(self.held_out[t : t + 1], self.learnt[r : r + 1])[0, 0]
        copying = float((to_held[t] - to_learnt[r]) / between)
        return {"copying": copying, "nearest_photo": self.names[r]}


def find_copying(photos: PhotoSet, learnt: PhotoSet, encoder: Encoder) -> Copying:
    """What tells copying, from the crops of photos held out and of those learnt from.

    Raises UsageError for no set of photos, without a face in either, or if one is in both.
    """
    check_photos(learnt, "learnt")
    held_out, _ = known_points("photos", photos.images, encoder)
    points, at = known_points("learnt", learnt.images, encoder)
    names = tuple(learnt[index].name for index in at)
    apart = angles(points, held_out)
    if apart.min() < SAME_RADIANS:
        both = names[int(apart.min(1).argmin())]
        raise UsageError(f"learnt: {both} is among the photos, too; expected others in each")
    return Copying(points, held_out, names)


def angles(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Angles between the rows of two arrays, (rows, other rows), 0 to pi radians."""
    return 2 * np.arcsin(np.clip(distances(unit(one), unit(other)) / 2, 0, 1))


# --- which encoder -------------------------------------------------------------------------------


def named_encoder(name: str) -> Encoder:
    """The encoder of this name; raises UsageError for a name that is none of `ENCODERS`."""
    if not isinstance(name, str) or name not in ENCODERS:
        known = ", ".join(map(repr, ENCODERS))
        raise UsageError(f"encoder: got {name!r}, expected None or one of {known}")
    return ENCODERS[name]


def check_photos(photos: Any, name: str = "photos") -> None:
    """Raise UsageError for what is not a set of photos."""
    if not isinstance(photos, PhotoSet):
        raise UsageError(
            f"{name}: got {type(photos).__name__}, expected a PhotoSet; try "
            "pl.read_photos(folder), best of photos that nothing was trained on"
        )
    if not len(photos):
        raise UsageError(f"{name}: got none in use, expected one of the person or more")


def photos_kind(photos: PhotoSet) -> str:
    """What the photos are pictures of, by who found their faces.

    Raises UsageError if no face was found in any, or if they are of two kinds.
    """
    kinds: dict[str, list[str]] = {}
    for photo in photos:
        if photo.finder:
            kinds.setdefault(FINDERS[photo.finder].made_for, []).append(photo.name)
    if not kinds:
        raise UsageError("photos: no face was found in any, expected the person's face in each")
    if len(kinds) > 1:
        odd = min(kinds, key=lambda kind: len(kinds[kind]))
        raise UsageError(
            f"photos: got {' and '.join(sorted(kinds))}, whose distances cannot be compared; "
            f"expected one kind; leave out {', '.join(kinds[odd][:3])}, or give encoder="
        )
    return next(iter(kinds))


def encoder_of(photos: PhotoSet) -> Encoder:
    """The encoder for the photos' kind; raises UsageError where there is none."""
    kind = photos_kind(photos)
    encoder = encoder_for(kind)
    if encoder is None:
        raise UsageError(f"photos: got {kind}, for which there is no encoder")
    return encoder


# --- faces as points -----------------------------------------------------------------------------


def face_points(images: Sequence[Image.Image], encoder: Encoder) -> list[np.ndarray | None]:
    """The largest face of each RGB picture as a point (numbers,); None where none is found.

    Only the finder that belongs to the encoder looks for faces. All are embedded in one call.
    """
    faces = [find_faces(image, encoder.finder)[0] for image in images]
    return embed_faces(
        [(image, largest_face(f)) for image, f in zip(images, faces, strict=True)], encoder
    )


def known_points(
    name: str, images: Sequence[Image.Image], encoder: Encoder, least: int = 1
) -> tuple[np.ndarray, list[int]]:
    """Those of `face_points` that there are, (faces, numbers), and of which pictures, from 0.

    Raises UsageError for fewer than `least`.
    """
    points = face_points(images, encoder)
    at = [index for index, point in enumerate(points) if point is not None]
    if len(at) < least:
        raise UsageError(
            f"{name}: got {len(at)} with a face of {len(points)}, expected at least {least}"
        )
    return np.array([points[index] for index in at]), at


def largest_face(faces: Sequence[Face]) -> Face | None:
    """The widest; None of none."""
    return max(faces, key=lambda face: face.width, default=None)


def embed_faces(
    pairs: Sequence[tuple[Image.Image, Face | None]], encoder: Encoder
) -> list[np.ndarray | None]:
    """Faces in their pictures as points (numbers,), all in one call; None for None."""
    points = iter(encoder.embed([(image, face) for image, face in pairs if face is not None]))
    return [None if face is None else next(points) for _, face in pairs]


def photo_points(photos: PhotoSet, encoder: Encoder) -> tuple[np.ndarray, list[str]]:
    """The photos' faces, (photos with a face, numbers), and the names of those without.

    Raises UsageError if the encoder's finder sees a face in none.
    """
    ready: dict[str, np.ndarray | None] = {
        photo.name: photo.embedding
        for photo in photos
        if photo.embedding is not None and encoder is _embedded_by(photo)
    }
    rest = [photo for photo in photos if photo.name not in ready]
    pairs = [(photo.preview, _face_in_preview(photo, encoder)) for photo in rest]
    ready |= zip((photo.name for photo in rest), embed_faces(pairs, encoder), strict=True)
    points = [ready[photo.name] for photo in photos]
    missing = [photo.name for photo, point in zip(photos, points, strict=True) if point is None]
    if len(missing) == len(points):
        raise UsageError(
            f"photos: no face in any of the {len(points)} for the encoder {encoder.name!r}, which "
            f"is made for {encoder.made_for}; expected photos of that kind"
        )
    return np.array([point for point in points if point is not None]), missing


def _embedded_by(photo: Photo) -> Encoder | None:
    """Whose point of its face a photo carries."""
    return encoder_for(FINDERS[photo.finder].made_for) if photo.finder else None


def _face_in_preview(photo: Photo, encoder: Encoder) -> Face | None:
    """The face that a photo is about, as it lies in the photo's preview."""
    if photo.face and photo.finder == encoder.finder:
        return photo.face.scaled(photo.preview.width / photo.original_size[0])
    return largest_face(find_faces(photo.preview, encoder.finder)[0])
