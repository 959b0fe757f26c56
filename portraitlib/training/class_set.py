"""What `make_class_images` and `read_class_images` give, what it costs, and what makes one good.

Pictures are looked over one by one in the order of their seeds or names, so that the same pictures
always get the same verdicts, however many of them are asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from portraitlib.photos.audit import DUPLICATE_BITS, HASH_SIDE, alike, look_hash
from portraitlib.photos.contact_sheet import COLOURS, greyed
from portraitlib.photos.faces.find import find_faces
from portraitlib.photos.files import NotAPhoto, list_photos, read_photo
from portraitlib.photos.photo_set import Report
from portraitlib.photos.pictures import picture_hash, ready_picture
from portraitlib.places import digest
from portraitlib.portrait import Portrait
from portraitlib.settings import RANGES, UsageError, check_number
from portraitlib.sheet import WIDTH_PX, Picture
from portraitlib.show import show_grid

MOST = 1000  # of a set
NO_FACE, SMALL_HEAD, REPEATED = "no face", "small head", "repeated"
# Of the picture's height. Below it the picture is of a place with somebody in it, and teaches
# nothing of faces; half-length portraits have a third.
LEAST_HEAD_SHARE = 0.25
# As many pictures may be dropped as are good, and these: then the prompt is at fault.
SPARE = 8


@dataclass(frozen=True)
class DroppedImage:
    """A picture that was not taken, why in two words (`kind`) and in full (`reason`).

    image: None for a file that cannot be read.
    """

    name: str
    kind: str
    reason: str
    image: Image.Image | None = field(repr=False)


@dataclass(frozen=True, repr=False)
class ClassImages:
    """Pictures of many people of a class. Iterating and indexing give the pictures.

    prompt: what they show, the class prompt.  images: (size_px, size_px) RGB.
    names: "seed 7" of a drawn one, the file's name of one's own.
    dropped: what was not taken.  notes: what to know of the set, one sentence each.
    source: the model and the settings, or the folder.
    seconds: what drawing them took, whenever that was; None for one's own.
    drawn: how many were drawn this time; the others were kept from before.
    """

    prompt: str
    images: tuple[Image.Image, ...]
    size_px: int
    names: tuple[str, ...] = ()
    dropped: tuple[DroppedImage, ...] = ()
    notes: tuple[str, ...] = ()
    source: str = ""
    seconds: float | None = None
    drawn: int = 0

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Image.Image]:
        return iter(self.images)

    def __getitem__(self, index: int) -> Image.Image:
        return self.images[index]

    def __repr__(self) -> str:
        return f"ClassImages({self.summary})"

    @cached_property
    def digest(self) -> str:
        """Hash of the prompt and of all pixels, 16 hexadecimal digits."""
        return digest([self.prompt, *map(picture_hash, self.images)])

    @property
    def summary(self) -> str:
        """The counts in one line."""
        text = f'{len(self)} of "{self.prompt}", {self.size_px} px'
        if self.dropped:
            text += f"; dropped {len(self.dropped)} ({count_kinds(self.dropped)})"
        return text

    @property
    def report(self) -> Report:
        """Where they come from, what was dropped and why, as text; shows itself in a notebook."""
        lines = [self.summary, self.source]
        if self.seconds is not None:
            lines.append(
                f"{self.drawn} drawn now, {len(self) + len(self.dropped) - self.drawn} kept from "
                f"before; drawing them all took {self.seconds:.0f} s"
            )
        lines += [f"  {item.name}  dropped: {item.reason}" for item in self.dropped]
        return Report("\n".join([*lines, *(f"  note: {text}" for text in self.notes)]))

    def resized(self, size_px: int) -> ClassImages:
        """The same pictures at another size, with a note of it; themselves if they have it."""
        if size_px == self.size_px:
            return self
        resized = tuple(
            image.resize((size_px, size_px), Image.Resampling.LANCZOS) for image in self
        )
        note = f"made to fit: {self.size_px} px brought to {size_px} px"
        return replace(self, images=resized, size_px=size_px, notes=(*self.notes, note))


@dataclass(frozen=True)
class ClassImagesCost:
    """What class images cost before they are made; `str` says it in one line.

    count: how many are wanted.  missing: how many of them have to be drawn, if none is dropped.
    steps: denoising steps of one.  seconds: about, as the last ones went here; None if none did.
    """

    count: int
    missing: int
    steps: int
    seconds: float | None

    def __str__(self) -> str:
        if not self.missing:
            return f"{self.count} class images: all are there"
        there = self.count - self.missing
        text = f"{self.count} class images: " + (f"{there} are there, " if there else "")
        text += f"{self.missing} x {self.steps} steps = {self.missing * self.steps} steps to draw"
        return text if self.seconds is None else f"{text}, about {self.seconds:.0f} s"


def count_kinds(dropped: Sequence[DroppedImage]) -> str:
    """Why pictures were dropped, such as "2 no face, 1 repeated"."""
    kinds = [item.kind for item in dropped]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))


def show_class_images(
    class_images: ClassImages, columns: int = 10, *, width_px: int = WIDTH_PX
) -> Picture:
    """Draw the class images, and after them those that were dropped, greyed, with the reason.

    `width_px` is the widest that the figure may be. Raises UsageError for fewer than 1 column.
    """
    dropped = [item for item in class_images.dropped if item.image]
    pictures = [*class_images, *(_struck(item.image) for item in dropped if item.image)]
    titles = [""] * len(class_images) + [item.kind for item in dropped]
    return show_grid(
        pictures,
        columns,
        titles if dropped else None,
        title=class_images.summary,
        width_px=width_px,
    )


def _struck(image: Image.Image) -> Image.Image:
    """A picture that was not taken, greyed in a red frame."""
    picture = greyed(image)
    width = max(2, image.width // 48)
    ImageDraw.Draw(picture).rectangle(
        (0, 0, image.width - 1, image.height - 1), outline=COLOURS["left out"], width=width
    )
    return picture


# --- looked over ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Look:
    """What is known of a picture: its head's share of the height, None without a face; its hash."""

    head_share: float | None
    hash: str  # `look_hash`, 64 hexadecimal digits


def check_finder(finder: str | None) -> None:
    """Can faces be looked for? Raises UsageError before anything is drawn or read."""
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
    hashes = _hashes(look)
    same = next((name for name, other in kept.items() if alike(hashes, _hashes(other))), None)
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
    for seed in range(first, int(RANGES["seed"].high) + 1):
        wanted = len(good) + len(missing)
        if wanted == count or len(dropped) > SPARE + wanted:
            break
        before = {f"seed {number}": looks[number] for number in good}
        if seed not in looks:
            missing.append(seed)
        elif fault := fault_of(looks[seed], before, allow_no_face):
            dropped[seed] = fault
        else:
            good.append(seed)
    return Plan(tuple(good), dropped, tuple(missing))


def none_good(what: str, reasons: Sequence[str]) -> str:
    distinct = "; ".join(dict.fromkeys(reasons))
    return (
        f"class images: none of {len(reasons)} of {what} is good ({distinct[:300]}); try another "
        "prompt, or allow_no_face=True if no face is wanted"
    )


# --- one's own -----------------------------------------------------------------------------------


def read_class_images(
    folder: str | os.PathLike[str],
    prompt: str,
    size_px: int,
    *,
    allow_no_face: bool = False,
    finder: str | None = None,
) -> ClassImages:
    """Take one's own pictures of many people as class images.

    folder: JPEG, PNG, WebP, TIFF and (with pillow-heif) HEIC files lie directly in it, up to 1000.
    prompt: what they show, the class prompt.
    size_px: side of the pictures, `model.preset.size_px`. One of another size is resized, and if
        it is no square cut about the largest face before; a note says so.
    allow_no_face: keep pictures without a face.
    finder: "dlib" (photographs) or "mini" (drawn portraits); None for whichever finds a face.

    They are looked over as those of `make_class_images` are, in the order of their names.
    Raises UsageError for a folder that cannot be read or holds no good picture.
    """
    if not isinstance(prompt, str) or not prompt.strip():
        raise UsageError(
            f"prompt: got {prompt!r}, expected words that say what the pictures show; "
            "try 'portrait of a man'"
        )
    size_px = int(check_number("read_class_images", "size_px", size_px, RANGES["size_px"]))
    home = Path(folder).expanduser()
    check_finder(finder)
    paths, skipped = list_photos(home, MOST, "class images")
    if not paths:
        raise UsageError(f"{folder}: holds no pictures, expected class images; put some in")
    good, dropped, notes = _look_over(paths, size_px, allow_no_face, finder)
    if not good:
        raise UsageError(none_good(str(folder), [item.reason for item in dropped]))
    return ClassImages(
        prompt=prompt,
        images=tuple(good.values()),
        size_px=size_px,
        names=tuple(good),
        dropped=tuple(dropped),
        notes=(*(f"skipped {item}" for item in skipped), *notes),
        source=f"read from {folder}",
    )


def _look_over(
    paths: Sequence[Path], size_px: int, allow_no_face: bool, finder: str | None
) -> tuple[dict[str, Image.Image], list[DroppedImage], list[str]]:
    """The good pictures by name, those that are not, and what was done to which to make it fit."""
    looks: dict[str, Look] = {}
    good: dict[str, Image.Image] = {}
    dropped, notes = [], []
    for path in paths:
        try:
            whole, _ = read_photo(path)
        except NotAPhoto as reason:
            dropped.append(DroppedImage(path.name, "no picture", str(reason), None))
            continue
        # As a Portrait: a square one is resized as it is, not cut about the head.
        image, about = ready_picture(Portrait(whole), size_px)
        if whole.size != image.size:
            done = [f"{whole.width}x{whole.height} px made to fit", *about]
            notes.append(f"{path.name}: {'; '.join(done)}")
        look = look_at(image, finder)
        if fault := fault_of(look, looks, allow_no_face):
            dropped.append(DroppedImage(path.name, *fault, image))
        else:
            looks[path.name], good[path.name] = look, image
    return good, dropped, notes
