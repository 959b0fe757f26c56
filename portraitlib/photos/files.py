"""Photo files: which of a folder are photos, how each becomes an upright sRGB picture, and what it
shows, in words.

The rules, for every file that `read_photo` takes:

- upright by its EXIF orientation, all eight of them;
- colours brought to sRGB by the embedded profile; without one they are taken as sRGB already;
- 8 bits a channel: 16-bit values lose their lower half, floats must lie in 0..1;
- CMYK, Lab, palettes and grey become RGB;
- transparent parts are laid on white;
- of an animation or a multi-page file the first picture counts;
- nothing but the pixels is kept: no EXIF, XMP, IPTC, profile, comment or thumbnail.
"""

from __future__ import annotations

import io
import json
import re
import stat
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps

from portraitlib.settings import UsageError

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "HEIF")
LARGEST_PIXELS = 64_000_000  # 8000 x 8000; decoded that is 200 MB
LARGEST_BYTES = 200_000_000
MOST_PHOTOS = 200  # of one person; each keeps a crop and a preview in memory
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
METADATA = "metadata.jsonl"  # captions of a folder, as the `datasets` library has them
MASK = "-masklabel.png"  # how the name of a photo's mask goes on after the photo's stem


class NotAPhoto(ValueError):
    """A file that cannot be used as a photo; the message says why, in a few words."""


@dataclass(frozen=True)
class Skipped:
    """A file or folder that was not read as a photo, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


# --- the folder ----------------------------------------------------------------------------------


def list_photos(
    folder: Path,
    most: int = MOST_PHOTOS,
    expected: str = "photos of one person; try a folder with the 10 to 20 best",
) -> tuple[list[Path], list[Skipped]]:
    """The files directly in a folder that may be photos, by name, and what is not one.

    Captions (`name.txt` beside a photo `name.*`, and `metadata.jsonl`) and masks
    (`name-masklabel.png`) are in neither list.
    Raises UsageError if the folder is missing, no folder, unreadable, or holds too many files.
    """
    try:
        entries = sorted(folder.iterdir(), key=lambda path: path.name)
    except FileNotFoundError:
        raise UsageError(
            f"{folder}: no such folder; try the path of your folder of photos"
        ) from None
    except NotADirectoryError:
        raise UsageError(
            f"{folder}: got a file, expected a folder of photos; try {folder.parent}"
        ) from None
    except OSError as problem:
        raise UsageError(f"{folder}: cannot be read ({problem.strerror or problem})") from None
    home = folder.resolve()
    stems = {path.stem for path in entries if path.suffix.lower() != ".txt"}
    photos, skipped = [], []
    for path in entries:
        if path.name == METADATA or (path.suffix == ".txt" and path.stem in stems):
            continue
        if path.name.endswith(MASK):
            stem = path.name.removesuffix(MASK)
            if stem not in stems:
                skipped.append(Skipped(path.name, f"a mask, and no photo is called {stem}"))
            continue
        if reason := _why_no_photo(path, home):
            skipped.append(Skipped(path.name, reason))
        else:
            photos.append(path)
    if len(photos) > most:
        raise UsageError(f"{folder}: got {len(photos)} files, expected up to {most} {expected}")
    return photos, skipped


def _why_no_photo(path: Path, home: Path) -> str:
    """Why a directory entry is not to be opened; "" if it may be a photo."""
    try:
        target = path.resolve(strict=True)
        kind = target.stat()
    except (OSError, RuntimeError):  # RuntimeError: links in a circle, before Python 3.13
        return "a link to nowhere" if path.is_symlink() else "cannot be read"
    if path.is_symlink() and not target.is_relative_to(home):
        return "a link out of the folder; copy the photo into it instead"
    if stat.S_ISDIR(kind.st_mode):
        return "a folder; only photos directly in the folder given are read"
    if path.name.startswith("."):
        return "a hidden file"
    if not stat.S_ISREG(kind.st_mode):  # opening a pipe would wait for ever
        return "not a file but a pipe, socket or device"
    if kind.st_size == 0:
        return "empty (0 bytes)"
    if kind.st_size > LARGEST_BYTES:
        return f"{kind.st_size / 1e6:.0f} MB, expected at most {LARGEST_BYTES / 1e6:.0f} MB"
    return ""


# --- one file ------------------------------------------------------------------------------------


def read_photo(path: Path) -> tuple[Image.Image, list[str]]:
    """Read one photo by the rules above: an RGB picture without metadata, and what was done to it.

    Raises NotAPhoto if the file cannot be used.
    """
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise NotAPhoto(f"cannot be read ({problem.strerror or problem})") from None
    return read_content(content)


def read_content(content: bytes) -> tuple[Image.Image, list[str]]:
    """`read_photo` for the content of a file, such as an upload."""
    if content[4:8] == b"ftyp" and content[8:12] in HEIF_BRANDS:
        try:
            from pillow_heif import register_heif_opener
        except ImportError:
            raise NotAPhoto(
                "a HEIC photo, and pillow-heif is not installed; try pip install pillow-heif, or "
                "save it as JPEG"
            ) from None
        register_heif_opener(thumbnails=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of much that is mended or refused here
        with _opened(content) as picture:
            return plain_picture(picture)


def plain_picture(picture: Image.Image) -> tuple[Image.Image, list[str]]:
    """A picture of any mode by the rules above: an RGB one without metadata, and what was done.

    Raises NotAPhoto if its pixels cannot be used.
    """
    notes: list[str] = []
    if not 0 < picture.width * picture.height <= LARGEST_PIXELS:
        raise NotAPhoto(_odd_size(f"{picture.width}x{picture.height}"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            picture.load()
            frames = getattr(picture, "n_frames", 1)
            if frames > 1 and picture.format != "MPO":  # a JPEG to which phones add views
                notes.append(f"first of {frames} pictures in the file")
            picture.seek(0)
            return _plain(_upright(picture, notes), notes), notes
        except NotAPhoto:
            raise
        except MemoryError:
            raise NotAPhoto("too large for this machine's memory") from None
        except Exception as problem:  # Pillow reports damage as errors of almost any kind
            raise NotAPhoto(f"damaged or cut short ({_first_words(problem)})") from None


def _opened(content: bytes) -> Image.Image:
    """The picture with its size known and its pixels unread; raises NotAPhoto."""
    Image.init()
    known = [name for name in FORMATS if name in Image.OPEN]  # no HEIF without pillow-heif
    try:
        return Image.open(io.BytesIO(content), formats=known)
    except Image.DecompressionBombError:
        raise NotAPhoto(_odd_size("more")) from None
    except Image.UnidentifiedImageError:
        raise NotAPhoto(
            "no picture by its content, whatever its name says; expected JPEG, PNG, WebP, TIFF or "
            "HEIC"
        ) from None
    except Exception as problem:  # see above
        raise NotAPhoto(f"damaged ({_first_words(problem)})") from None


def _odd_size(size: str) -> str:
    if "0" in size.split("x"):
        return f"{size} pixels, expected at least one"
    return (
        f"a decompression bomb or a huge picture: {size} pixels, expected at most "
        f"{LARGEST_PIXELS / 1e6:.0f} million; try a smaller copy"
    )


def _first_words(problem: Exception) -> str:
    """An error of Pillow's, short and in one line."""
    return " ".join((str(problem) or type(problem).__name__).split())[:80]


def _upright(picture: Image.Image, notes: list[str]) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # damaged EXIF fails in as many ways as there are tags
        notes.append("its EXIF is damaged: taken as it lies")
        return picture


# --- any mode to RGB -----------------------------------------------------------------------------


def _plain(picture: Image.Image, notes: list[str]) -> Image.Image:
    """Pixels alone, RGB, 8 bits, sRGB."""
    profile = picture.info.get("icc_profile")
    picture = _eight_bits(picture, notes)
    if picture.mode in ("P", "PA", "LA", "La", "RGBA", "RGBa") or "transparency" in picture.info:
        picture = _on_white(picture, notes)
    if picture.mode in ("1", "YCbCr", "HSV", "RGBX"):
        picture = picture.convert("L" if picture.mode == "1" else "RGB")
    if picture.mode not in ("RGB", "L", "CMYK", "LAB"):
        raise NotAPhoto(f"pixels of kind {picture.mode}, expected RGB, grey, CMYK or Lab")
    picture = _to_srgb(picture, profile, notes)
    return Image.fromarray(np.array(picture, dtype=np.uint8))  # new: brings no metadata along


def _eight_bits(picture: Image.Image, notes: list[str]) -> Image.Image:
    """Grey of 16 bits or floats as grey of 8; other modes as they are."""
    if not picture.mode.startswith(("I", "F")):
        return picture
    values = np.asarray(picture)
    if picture.mode == "F":
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise NotAPhoto("float pixels beyond 0..1; try saving it with 8 or 16 bits")
        grey = (values * 255 + 0.5).astype(np.uint8)
    else:
        grey = (np.clip(values, 0, 65535).astype(np.uint16) >> 8).astype(np.uint8)
    notes.append("16 bits or more brought to 8")
    return Image.fromarray(grey)


def _on_white(picture: Image.Image, notes: list[str]) -> Image.Image:
    layer = picture.convert("RGBA")
    if layer.getchannel("A").getextrema()[0] == 255:
        return layer.convert("RGB")
    notes.append("transparent parts laid on white")
    paper = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(paper, layer).convert("RGB")


def _to_srgb(picture: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    """The picture in sRGB: by its profile, else by what its mode means by itself."""
    if profile:
        try:
            return _converted(picture, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
        except (OSError, ImageCms.PyCMSError, TypeError, ValueError):
            notes.append("its colour profile is damaged or does not fit: taken as sRGB")
    if picture.mode == "LAB":
        return _converted(picture, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))
    return picture.convert("RGB")


def _converted(picture: Image.Image, source: ImageCms.ImageCmsProfile) -> Image.Image:
    converted = ImageCms.profileToProfile(
        picture,
        source,
        ImageCms.createProfile("sRGB"),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert converted is not None  # None only with inPlace
    return converted


# --- in words -------------------------------------------------------------------------------------


def read_captions(
    folder: Path, names: Iterable[str], template: str, identifier: str
) -> dict[str, str]:
    """The caption of each photo, by file name; each holds the identifier.

    It is the text of `photo.txt` beside `photo.jpg`; without that, the row of `metadata.jsonl`
    whose "file_name" is the photo's, its "text" or "caption" (as the `datasets` library has it);
    without that, `template`, where {identifier} stands for the identifier.

    Raises UsageError for a caption that lacks the identifier, and for a file of captions that
    cannot be read: training on wrong words would go unnoticed.
    """
    fallback = template_caption(template, identifier)
    listed = read_metadata(folder / METADATA)
    captions, lacking = {}, []
    for name in names:
        beside = (folder / name).with_suffix(".txt")
        written = " ".join(_text(beside).split()) if beside.is_file() else ""
        captions[name] = written or listed.get(name, "") or fallback
        if not holds(captions[name], identifier):
            lacking.append(f"{beside.name if written else METADATA} has {captions[name][:60]!r}")
    if lacking:
        more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        raise UsageError(
            f"captions in {folder}: got {len(lacking)} without the identifier {identifier!r} "
            f"({'; '.join(lacking[:3])}{more}), expected it in each, as a word of its own; write "
            "it there, or pass the identifier that they use"
        )
    return captions


def template_caption(template: str, identifier: str) -> str:
    """The template with the identifier put in; raises UsageError if it has no place for it."""
    if not identifier or not re.fullmatch(r"[\w-]+", identifier):
        raise UsageError(
            f"identifier: got {identifier!r}, expected one word of letters and digits that means "
            "nothing yet; try 'jrdnpl'"
        )
    text = template.replace("{identifier}", identifier)
    if not holds(text, identifier):
        raise UsageError(
            f"caption: got {template!r}, expected a text with {{identifier}} in it; try "
            "'portrait of {identifier} man'"
        )
    return text


def holds(caption: str, identifier: str) -> bool:
    """Is the identifier in the caption, as a word of its own? Captions are read in lower case.

    >>> holds("Portrait of JRDNPL man", "jrdnpl"), holds("a jrdnplx", "jrdnpl")
    (True, False)
    """
    word = rf"(?<![\w-]){re.escape(identifier)}(?![\w-])"
    return re.search(word, caption, flags=re.IGNORECASE) is not None


def read_metadata(path: Path) -> dict[str, str]:
    """File name -> caption of a `metadata.jsonl`; empty where there is no such file."""
    if not path.is_file():
        return {}
    captions = {}
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            name, text = row["file_name"], row.get("text", row.get("caption", ""))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            name = text = None
        if not (isinstance(name, str) and isinstance(text, str)):
            raise UsageError(
                f'{path}, line {number}: got {line[:60]!r}, expected {{"file_name": "photo.jpg", '
                '"text": "portrait of ..."}'
            )
        captions[name] = " ".join(text.split())
    return captions


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as problem:
        raise UsageError(f"{path}: cannot be read ({problem.strerror or problem})") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not UTF-8 text; save it as UTF-8, or delete it") from None
