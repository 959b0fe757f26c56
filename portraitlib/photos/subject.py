"""The default subject of the series: a person whom the embedded model's world drew.

So the series runs without anybody's photos. The shots go the way that photographs go, from the face
that is found in them to the audit. They come with the library; `recipes/first_mini` draws them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PIL import Image

from portraitlib.photos.photo_set import IDENTIFIER, PhotoSet
from portraitlib.photos.read import CAPTION, gather, prepare_photo
from portraitlib.places import PACKAGE
from portraitlib.settings import RANGES, UsageError, check_number

SEED = 20_260_131  # of the world's held-out people: nothing was trained on them
HOME = PACKAGE / "mini" / "subject"  # jrdnpl-01.png, jrdnpl-held-out-01.png, comic-book.png ...


def subject_photos(
    held_out: bool = False, *, size_px: int = 96, identifier: str = IDENTIFIER
) -> PhotoSet:
    """Photos of the drawn subject: 12 varied shots to train on, or 6 others to measure with.

    size_px: side of the crops, up to 192.
    The same arguments give the same pixels. Raises UsageError for a value out of range.
    """
    size_px = int(check_number("subject_photos", "size_px", size_px, RANGES["size_px"]))
    caption = CAPTION.replace("{identifier}", identifier)
    photos = [
        replace(prepare_photo(path.name, _open(path), size_px), caption=caption)
        for path in shot_files(held_out)
    ]
    source = subject_source(held_out, identifier)
    return gather(photos, source=source, identifier=identifier, size_px=size_px)


def subject_source(held_out: bool = False, identifier: str = IDENTIFIER) -> str:
    """What `subject_photos` calls its photos; no photo is opened for it."""
    return f"{identifier} ({'held out' if held_out else 'drawn'}, seed {SEED})"


def subject_portrait(
    style: str = "photorealistic", *, size_px: int = 96, **changed: float
) -> Image.Image:
    """A portrait of the subject as the world draws it, (size_px, size_px), or a caricature of it.

    style: one that the world draws.  changed: a feature beyond what people have; ear_size=5 comes
        with the library in three styles, hair_volume=3 in photorealistic.
    Drawn at 192 px: a larger one is the same, enlarged. Raises UsageError for what is not there.
    """
    size_px = int(check_number("subject_portrait", "size_px", size_px, RANGES["size_px"]))
    name = portrait_name(style, changed)
    there = sorted(path.stem for path in HOME.glob("*.png") if "jrdnpl" not in path.name)
    if name not in there:
        raise UsageError(
            f"subject_portrait: got {name}, expected one of {', '.join(there)}; "
            "recipes/first_mini draws others"
        )
    drawn = _open(HOME / f"{name}.png")
    return drawn.resize((size_px, size_px), Image.Resampling.LANCZOS)


def shot_files(held_out: bool = False) -> list[Path]:
    """The shots of the subject, (192, 192), photorealistic: 12, or the 6 that are held out."""
    shots = sorted(HOME.glob("jrdnpl-*.png"))
    return [path for path in shots if ("held-out" in path.name) == held_out]


def portrait_name(style: str, changed: dict[str, float]) -> str:
    """What the file of a portrait is called: "comic-book-ear_size=5"."""
    words = [style.replace(" ", "-"), *(f"{name}={value:g}" for name, value in changed.items())]
    return "-".join(words)


def _open(path: Path) -> Image.Image:
    with Image.open(path) as opened:
        return opened.convert("RGB")
