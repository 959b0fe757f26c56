"""What `make_class_images` and `read_class_images` give, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from PIL import Image, ImageDraw

from portraitlib.photos.contact_sheet import COLOURS, greyed
from portraitlib.photos.photo_set import Report
from portraitlib.photos.pictures import picture_hash
from portraitlib.places import digest
from portraitlib.sheet import WIDTH_PX, Picture
from portraitlib.show import show_grid


@dataclass(frozen=True)
class Dropped:
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
    dropped: tuple[Dropped, ...] = ()
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

    @property
    def total_steps(self) -> int:
        """Denoising steps of all that have to be drawn."""
        return self.missing * self.steps

    def __str__(self) -> str:
        if not self.missing:
            return f"{self.count} class images: all are there"
        there = self.count - self.missing
        text = f"{self.count} class images: " + (f"{there} are there, " if there else "")
        text += f"{self.missing} x {self.steps} steps = {self.total_steps} steps to draw"
        return text if self.seconds is None else f"{text}, about {self.seconds:.0f} s"


def count_kinds(dropped: Sequence[Dropped]) -> str:
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
