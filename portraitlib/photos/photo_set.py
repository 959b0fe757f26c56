"""What `read_photos` gives: photos made ready, and what is known of each and of all together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from portraitlib.photos.crop import Crop
from portraitlib.photos.faces.find import FINDERS, Face
from portraitlib.photos.files import Skipped
from portraitlib.settings import UsageError, check_fields, check_span

IDENTIFIER = "jrdnpl"
USED, WARNED, LEFT_OUT = "used", "used with a warning", "left out"


@dataclass(frozen=True)
class Photo:
    """One photo made ready, or left out; lengths are pixels of the upright photo.

    name: its file's.  caption: what it shows, the identifier in it.
    image: the crop, (size_px, size_px) RGB sRGB without metadata; None if there is none.
    preview: the whole photo, upright, at most 512 px.
    original_size: width and height.  crop: the square that `image` was cut from.
    mask: what a training counts, white, cut as `image` was, (size_px, size_px) L; None for all.
    faces: all that were found, from left to right.  chosen: which of them it is about, from 0.
    refusals: why it was left out; empty if it is used.  warnings: what to know of it.
    notes: what was done to the file's pixels, nothing to act on.
    """

    name: str
    caption: str
    image: Image.Image | None
    preview: Image.Image = field(repr=False)
    original_size: tuple[int, int]
    crop: Crop | None
    faces: tuple[Face, ...] = field(default=(), repr=False)
    chosen: int | None = None
    finder: str | None = None
    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)
    embedding: np.ndarray | None = field(default=None, repr=False, compare=False)
    mask: Image.Image | None = field(default=None, repr=False)

    def saying(
        self, refusals: Sequence[str] = (), warnings: Sequence[str] = (), notes: Sequence[str] = ()
    ) -> Photo:
        """The same photo with more said of it."""
        return replace(
            self,
            refusals=(*self.refusals, *refusals),
            warnings=(*self.warnings, *warnings),
            notes=(*self.notes, *notes),
        )

    @property
    def status(self) -> str:
        """ "used", "used with a warning" or "left out"."""
        return LEFT_OUT if self.refusals else WARNED if self.warnings else USED

    @property
    def face(self) -> Face | None:
        """The face that the crop is about."""
        return None if self.chosen is None else self.faces[self.chosen]

    @property
    def conditioning(self) -> dict[str, tuple[int, int]]:
        """SDXL's size and crop conditioning under diffusers' names, (height, width) or (top, left).

        The crop's corner is in pixels of the photo resized as the crop was
        (https://arxiv.org/abs/2307.01952, section 2.2). Raises UsageError if there is no crop.
        """
        if self.crop is None or self.image is None:
            raise UsageError(f"{self.name}: it was left out and has no crop")
        factor = self.image.width / self.crop.side_px
        return {
            "original_size": (self.original_size[1], self.original_size[0]),
            "crops_coords_top_left": (
                round(self.crop.top * factor),
                round(self.crop.left * factor),
            ),
            "target_size": (self.image.height, self.image.width),
        }


@dataclass(frozen=True, repr=False)
class PhotoSet:
    """A person's photos. Iterating and indexing give those that are used.

    photos: the used ones.  left_out: those that could be read but are not used.
    skipped: files that are no photos.  warnings: about the set as a whole.
    """

    photos: tuple[Photo, ...]
    left_out: tuple[Photo, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    warnings: tuple[str, ...] = ()
    source: str = ""
    identifier: str = IDENTIFIER
    size_px: int = 1024

    def __len__(self) -> int:
        return len(self.photos)

    def __iter__(self) -> Iterator[Photo]:
        return iter(self.photos)

    def __getitem__(self, index: int) -> Photo:
        return self.photos[index]

    def __repr__(self) -> str:
        return f"PhotoSet({self.summary})"

    @property
    def images(self) -> list[Image.Image]:
        """The crops of the used photos, RGB, `size_px` square."""
        return [photo.image for photo in self.photos if photo.image is not None]

    @property
    def captions(self) -> list[str]:
        """The captions of the used photos."""
        return [photo.caption for photo in self.photos]

    @property
    def finders(self) -> list[str]:
        """Who found the faces of the used photos; names of `faces.FINDERS`."""
        return sorted({photo.finder for photo in self.photos if photo.finder})

    @property
    def summary(self) -> str:
        """The counts in one line."""
        warned = sum(photo.status == WARNED for photo in self.photos)
        parts = [f"{len(self.photos)} used" + (f" ({warned} with a warning)" if warned else "")]
        parts += [f"{len(self.left_out)} left out"] if self.left_out else []
        parts += [f"{len(self.skipped)} skipped"] if self.skipped else []
        return f"{self.source}: {', '.join(parts)}"

    @property
    def report(self) -> Report:
        """What was done with each file and why, as text; shows itself in a notebook."""
        return Report("\n".join(_report_lines(self)))

    def hold_out(self, count: int) -> tuple[PhotoSet, PhotoSet]:
        """Two sets: the photos to train on, and `count` of them, spread evenly, to measure with.

        Raises UsageError unless at least one photo is left on either side.
        """
        if not 1 <= count < len(self):
            raise UsageError(
                f"hold_out: got {count}, expected 1 to {len(self) - 1} of the {len(self)} photos"
            )
        chosen = {int((i + 0.5) * len(self) / count) for i in range(count)}
        kept = tuple(photo for i, photo in enumerate(self.photos) if i not in chosen)
        held = tuple(photo for i, photo in enumerate(self.photos) if i in chosen)
        return replace(self, photos=kept), replace(self, photos=held, left_out=(), skipped=())


@dataclass(frozen=True)
class Likeness:
    """A person's photos as part of the prompt, and how loud they speak in it.

    photos: of one person, a face in each; one is enough, several are taken together.
    scale: 0 to 2, how hard they hold (diffusers: set_ip_adapter_scale); None takes the model's own.
    start, end: 0 to 1, the shares of the steps between which they act, start before end.
    weights: None takes the IP-Adapter of the model's preset; else a preset's name, or the
        .safetensors of one.

    Raises UsageError for a value out of range.
    """

    photos: PhotoSet
    scale: float | None = None
    start: float = 0.0
    end: float = 1.0
    weights: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        check_span(self)


def picture_set(
    images: Sequence[Image.Image], caption: str, identifier: str = IDENTIFIER
) -> PhotoSet:
    """Pictures of a style or a thing as a set to train on: no face is looked for, nothing is cut.

    images: square, of one size, RGB or what becomes RGB.  caption: what each is called, with the
    identifier in it. Raises UsageError for none, and for pictures that are not so.
    """
    if not images:
        raise UsageError("images: got none, expected one picture or more")
    if not isinstance(caption, str) or not caption.strip():
        raise UsageError(f"caption: got {caption!r}, expected words; try 'blprnt print of a man'")
    side_px = images[0].width
    photos = []
    for index, image in enumerate(images):
        if image.size != (side_px, side_px):
            raise UsageError(
                f"images: number {index} is {image.width}x{image.height} px, expected squares of "
                f"{side_px} px as the first; cut them to one size"
            )
        plain = image.convert("RGB")
        plain.info = {}  # no metadata goes on
        whole = Crop(0, 0, side_px)
        photos.append(Photo(f"picture {index}", caption, plain, plain, plain.size, whole))
    return PhotoSet(tuple(photos), source="pictures", identifier=identifier, size_px=side_px)


class Report(str):
    """A text that a notebook shows with its lines."""

    def __repr__(self) -> str:
        return str(self)


# --- the report ----------------------------------------------------------------------------------


def _report_lines(photos: PhotoSet) -> Iterator[str]:
    yield photos.summary
    made_by = [f"{name} (for {FINDERS[name].made_for})" for name in photos.finders]
    yield (
        f"crops of {photos.size_px} px; faces found by {' and '.join(made_by) or 'nobody'}; "
        "metadata removed"
    )
    everything = sorted([*photos.photos, *photos.left_out], key=lambda photo: photo.name)
    widest = max((len(photo.name) for photo in everything), default=0)
    for photo in everything:
        size = f"{photo.original_size[0]}x{photo.original_size[1]} px"
        crop = f", crop of {photo.crop.side_px}" if photo.crop and not photo.refusals else ""
        line = f"  {photo.name:<{widest}}  {photo.status}: {size}{crop}"
        yield "; ".join([line, *photo.refusals, *photo.warnings, *photo.notes])
    for item in photos.skipped:
        yield f"  {item.name}  skipped: {item.reason}"
    for text in photos.warnings:
        yield f"  together: {text}"
