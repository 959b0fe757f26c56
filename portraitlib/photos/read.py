"""A folder of photos -> a `PhotoSet`: upright, private, cropped about the head, and audited.

What happens to a file's pixels is in `files`, the square in `crop`, what counts as a
good photo in `audit`, and who finds faces in `faces`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from portraitlib.photos import audit, files
from portraitlib.photos.crop import crop_head
from portraitlib.photos.faces.face import Face, shrunk
from portraitlib.photos.faces.find import FINDERS, default_encoders, encoder_for, find_faces
from portraitlib.photos.files import NotAPhoto, Skipped
from portraitlib.photos.photo_set import IDENTIFIER, Photo, PhotoSet
from portraitlib.places import UPLOAD, home_folder, in_colab, upload_photos
from portraitlib.settings import RANGES, UsageError, check_number

CAPTION = "portrait of {identifier} man"
PREVIEW_PX = 512  # longer side of the whole photo that is kept for showing
LEAST_MASK = 0.01  # of the crop; a mask that leaves less was meant the other way round


def read_photos(
    folder: str | os.PathLike[str],
    *,
    size_px: int = 1024,
    identifier: str = IDENTIFIER,
    caption: str = CAPTION,
    faces: Mapping[str, int] | None = None,
    allow_no_face: bool = False,
    finder: str | None = None,
) -> PhotoSet:
    """Make a person's photos ready: upright, sRGB, without metadata, cropped about the head.

    folder: JPEG, PNG, WebP, TIFF and (with pillow-heif) HEIC files lie directly in it. Beside
        `name.jpg` may lie `name-masklabel.png`, of the same size: white is what a training counts.
        In Colab "upload" lets you choose them in the browser; they stay on that machine, or go to
        your Drive if it is mounted.
    size_px: side of the crops; `model.preset.size_px`. None is enlarged more than 1.5 times.
    identifier: the word that will mean the person.
    caption: for photos without `name.txt` and row in `metadata.jsonl`; {identifier} stands in it.
    faces: file name -> which face, counted from the left, 1 on; else the largest is taken.
    allow_no_face: use photos in which no face is found, cropped in the middle.
    finder: "dlib" (photographs) or "mini" (drawn portraits); None for whichever finds a face.

    `photos.report` says what came of every file. Raises UsageError if the folder cannot be read,
    nothing usable is in it, or a caption or a setting does not fit.
    """
    if str(folder) == UPLOAD and in_colab() and not Path(UPLOAD).is_dir():
        folder = upload_photos(home_folder())
    home = Path(folder).expanduser()
    size_px = int(check_number("read_photos", "size_px", size_px, RANGES["size_px"]))
    files.template_caption(caption, identifier)
    if finder is not None and finder not in FINDERS:
        raise UsageError(f"finder: got {finder!r}, expected None or one of {', '.join(FINDERS)}")
    paths, skipped = files.list_photos(home)
    chosen = _checked_choice(faces or {}, [path.name for path in paths], home)
    photos = []
    for path in paths:
        try:
            image, notes = files.read_photo(path)
        except NotAPhoto as reason:
            skipped.append(Skipped(path.name, str(reason)))
            continue
        number = chosen.get(path.name)
        photo = prepare_photo(path.name, image, size_px, notes, number, finder)
        photo = _allowed(photo) if allow_no_face else photo
        photos.append(_masked(photo, path.with_name(path.stem + files.MASK)))
    captions = files.read_captions(home, [photo.name for photo in photos], caption, identifier)
    photos = [replace(photo, caption=captions[photo.name]) for photo in photos]
    skipped.sort(key=lambda file: file.name)
    return gather(photos, skipped, source=str(folder), identifier=identifier, size_px=size_px)


def _checked_choice(faces: Mapping[str, int], names: Sequence[str], home: Path) -> dict[str, int]:
    for name, number in faces.items():
        if name not in names:
            raise UsageError(f"faces: got {name!r}, expected the name of a photo in {home}")
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise UsageError(
                f"faces[{name!r}]: got {number!r}, expected 1 for the leftmost face, 2 for the next"
            )
    return dict(faces)


# --- one photo -----------------------------------------------------------------------------------

NO_FACE = "no face found"


def prepare_photo(
    name: str,
    image: Image.Image,
    size_px: int,
    notes: Sequence[str] = (),
    number: int | None = None,
    finder: str | None = None,
) -> Photo:
    """Find the face of an upright RGB picture, crop and measure it; the set is not looked at yet.

    number: which face, from 1 at the left; None for the largest. The caption is left empty.
    """
    preview = shrunk(image, PREVIEW_PX)
    faces, by = find_faces(image, finder)
    index, warnings = _choose(name, faces, number)
    face = None if index is None else faces[index]
    crop, faults = crop_head(image.size, face, size_px)
    refusals = [] if crop else faults
    warnings += faults if crop else []
    figures: dict[str, float] = {}
    if face is None and crop:
        refusals.append(NO_FACE + _turned_hint(preview, finder))
    if face is not None:
        figures = audit.measure_quality(image, face)
        refused, warned = audit.judge_quality(figures)
        refusals, warnings = refusals + refused, warnings + warned
    encoder = encoder_for(by.made_for) if by else None
    return Photo(
        name=name,
        caption="",
        image=crop.cut(image, size_px) if crop else None,
        preview=preview,
        original_size=image.size,
        crop=crop,
        faces=tuple(faces),
        chosen=index,
        finder=by.name if by else None,
        figures=figures,
        embedding=encoder.embed([(image, face)])[0] if encoder and face else None,
    ).saying(refusals, warnings, notes)


def _choose(name: str, faces: Sequence[Face], number: int | None) -> tuple[int | None, list[str]]:
    """Which face, from 0, and a warning if that had to be guessed."""
    if number is not None and number > len(faces):
        seen = f"expected 1 to {len(faces)}: that many were found"
        seen = seen if faces else "but no face was found in this photo"
        raise UsageError(f"faces[{name!r}]: got {number}, {seen}")
    if number is not None:
        return number - 1, []
    largest = max(range(len(faces)), key=lambda index: faces[index].width, default=None)
    if largest is None or len(faces) == 1:
        return largest, []
    return largest, [
        f"{len(faces)} faces: the largest was taken, number {largest + 1} from the left; for "
        f'another, faces={{"{name}": NUMBER}}'
    ]


def _turned_hint(preview: Image.Image, finder: str | None) -> str:
    """Is there a face if the photo is turned? A camera that forgot to say so is common."""
    for turn, angle in (("left", 90), ("right", 270), ("upside down", 180)):
        turned = preview.rotate(angle, expand=True)
        if find_faces(turned, finder)[0]:
            how = turn if angle == 180 else f"a quarter to the {turn}"
            return f" as it lies, but one if it is turned {how}: turn it and save it"
    return "; try one that shows the face from the front"


def _masked(photo: Photo, path: Path) -> Photo:
    """The photo with its mask, cut as the photo was, or a warning why a mask cannot be used."""
    if photo.crop is None or not path.exists():
        return photo
    try:
        whole = files.read_photo(path)[0].convert("L")
        if whole.size != photo.original_size:
            got, wanted = (f"{w}x{h} px" for w, h in (whole.size, photo.original_size))
            raise NotAPhoto(f"got {got}, expected {wanted} as the photo has, upright")
        mask = photo.crop.cut(whole, photo.image.width if photo.image else 1)
        share = float(np.asarray(mask).mean()) / 255
        if share < LEAST_MASK:
            raise NotAPhoto("nearly black within the crop; white is what counts")
    except NotAPhoto as fault:
        return photo.saying(warnings=[f"its mask is not used: {fault}"])
    return replace(photo, mask=mask).saying(notes=[f"mask: {share:.0%} of the crop counts"])


def _allowed(photo: Photo) -> Photo:
    """A photo without a face, used all the same if it has a crop."""
    if photo.faces or photo.crop is None:
        return photo
    return replace(photo, refusals=()).saying(warnings=[f"{NO_FACE}: cropped the middle"])


# --- all together --------------------------------------------------------------------------------


def gather(
    photos: Sequence[Photo],
    skipped: Sequence[Skipped] = (),
    *,
    source: str,
    identifier: str,
    size_px: int,
) -> PhotoSet:
    """Look at prepared photos as a set: repetitions and strangers are left out, the rest is used.

    Raises UsageError if nothing is left.
    """
    photos = _without_strangers(_without_repetitions(list(photos)))
    used = tuple(photo for photo in photos if not photo.refusals)
    left_out = tuple(photo for photo in photos if photo.refusals)
    if not used:
        raise UsageError(_nothing_left(source, left_out, skipped))
    warnings = audit.judge_set(
        [photo.image for photo in used if photo.image], [photo.face for photo in used]
    )
    warnings += _who_warnings(used)
    return PhotoSet(used, left_out, tuple(skipped), tuple(warnings), source, identifier, size_px)


def _without_repetitions(photos: list[Photo]) -> list[Photo]:
    """The photos, those refused that show almost what another shows."""
    at = [i for i, photo in enumerate(photos) if not photo.refusals and photo.image]
    hashes = [
        {"crop": audit.look_hash(image), "whole": audit.look_hash(photos[i].preview)}
        for i in at
        if (image := photos[i].image)
    ]
    repeats = audit.find_duplicates(hashes, [_rank(photos[i]) for i in at])
    for index, same in repeats.items():
        reason = f"almost the same as {photos[at[same]].name}, which is kept"
        photos[at[index]] = photos[at[index]].saying([reason])
    return photos


def _rank(photo: Photo) -> tuple[int, float]:
    """Of two alike photos the larger is kept, and the sharper of about equal ones."""
    side_px = photo.crop.side_px if photo.crop else 1
    return round(5 * math.log(side_px)), photo.figures.get("sharpness", 0.0)


def _without_strangers(photos: list[Photo]) -> list[Photo]:
    """The photos, those refused that show somebody else, and doubts said of others."""
    for encoder in default_encoders():
        at, points = _embedded(photos, encoder.made_for)
        strangers, doubtful = audit.find_strangers(points, encoder)
        for index, distance in strangers.items():
            far = f"distance {distance:.2f} to the others, {encoder.far} at most"
            photos[at[index]] = photos[at[index]].saying([f"somebody else ({far})"])
        for index, distance in doubtful.items():
            near = f"distance {distance:.2f} to the others, good to {encoder.near}"
            photos[at[index]] = photos[at[index]].saying(warnings=[f"somebody else? ({near})"])
    return photos


def _embedded(photos: Sequence[Photo], made_for: str) -> tuple[list[int], np.ndarray]:
    """The photos in use of which an encoder for `made_for` has points: indices and points."""
    rows = [
        (index, photo.embedding)
        for index, photo in enumerate(photos)
        if photo.embedding is not None and not photo.refusals and _kind(photo) == made_for
    ]
    return [index for index, _ in rows], np.array([point for _, point in rows])


def _kind(photo: Photo) -> str:
    """What whoever found its face was made for; "" if nobody found one."""
    return FINDERS[photo.finder].made_for if photo.finder else ""


def _who_warnings(used: Sequence[Photo]) -> list[str]:
    """Doubts about who is on the photos that concern the set."""
    kinds = sorted({_kind(photo) for photo in used} - {""})
    doubts = []
    if len(kinds) > 1:
        names = {kind: [photo.name for photo in used if _kind(photo) == kind] for kind in kinds}
        odd = min(kinds, key=lambda kind: len(names[kind]))
        are = "is" if len(names[odd]) == 1 else "are"
        doubts.append(
            f"{' and '.join(kinds)} are mixed: {', '.join(names[odd][:3])} {are} of the {odd}"
        )
    for encoder in default_encoders():
        if audit.is_crowd(_embedded(used, encoder.made_for)[1], encoder):
            doubts.append(
                "several people: none is in more than half of the photos; keep one person's, or "
                "choose the faces"
            )
    return doubts + [
        f"not checked whether all show one person: no encoder for {kind} yet"
        for kind in kinds
        if encoder_for(kind) is None and len(used) > 1
    ]


def _nothing_left(source: str, left_out: Sequence[Photo], skipped: Sequence[Skipped]) -> str:
    reasons = [f"{photo.name}: {photo.refusals[0]}" for photo in left_out]
    reasons += [str(file) for file in skipped]
    if not reasons:
        return f"{source}: the folder is empty, expected photos of one person; put some in"
    more = f"; and {len(reasons) - 6} more" if len(reasons) > 6 else ""
    return (
        f"{source}: got {len(reasons)} files, none of them usable, expected photos of one person "
        f"({'; '.join(reasons[:6])}{more})"
    )
