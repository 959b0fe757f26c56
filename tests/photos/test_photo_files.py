"""One file at a time: which are photos, and how each becomes upright sRGB pixels, no more."""

from __future__ import annotations

import io
import os
import struct
import sys
import zlib

import cv2
import numpy as np
import pytest
from photo_makers import SECRETS, adobe_rgb, photo_with_secrets
from PIL import Image, ImageCms

from portraitlib.photos.files import NotAPhoto, list_photos, read_photo
from portraitlib.settings import UsageError

# How a picture has to be laid down so that each orientation brings it upright again.
LAID_DOWN = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def small_photo(astronaut, size=(120, 90)) -> Image.Image:
    return astronaut.crop((120, 0, 360, 180)).resize(size)


def pixels(image) -> np.ndarray:
    return np.asarray(image, dtype=np.int16)


def read(path):
    """The picture, and the notes; the rules that hold for every photo are checked on the way."""
    image, notes = read_photo(path)
    assert image.mode == "RGB" and not image.info and not image.getexif()
    return image, notes


# --- orientation and metadata --------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tiff"])
@pytest.mark.parametrize("orientation", LAID_DOWN)
def test_every_orientation_comes_upright(astronaut, tmp_path, orientation, ending):
    upright = small_photo(astronaut)
    method = LAID_DOWN[orientation]
    lying = upright if method is None else upright.transpose(method)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"lying.{ending}"
    lying.save(path, exif=exif, quality=95)
    image, _ = read(path)
    assert image.size == upright.size
    assert np.abs(pixels(image) - pixels(upright)).mean() < 5


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tiff"])
def test_nothing_but_pixels_is_left_of_the_metadata(astronaut, tmp_path, ending):
    path = tmp_path / f"private.{ending}"
    photo_with_secrets(small_photo(astronaut), path)
    assert any(secret in path.read_bytes() for secret in SECRETS), "else nothing is tested"
    image, _ = read(path)
    for kind in ("PNG", "JPEG", "TIFF", "WEBP"):
        written = io.BytesIO()
        image.save(written, kind)
        assert not [secret for secret in SECRETS if secret in written.getvalue()]


def test_damaged_exif_leaves_the_photo_as_it_lies(astronaut, tmp_path):
    path = tmp_path / "odd.jpg"
    small_photo(astronaut).save(path, exif=b"Exif\0\0MM\0\x2a\0\0\0\x08\xff\xff" + b"\x01\x12" * 40)
    assert read(path)[0].size == (120, 90)


# --- colours -------------------------------------------------------------------------------------


def test_wide_colours_are_brought_to_srgb(tmp_path):
    Image.new("RGB", (40, 40), (100, 150, 100)).save(tmp_path / "wide.png", icc_profile=adobe_rgb())
    image, notes = read(tmp_path / "wide.png")
    # By hand: (100, 150, 100) of Adobe RGB is (66, 151, 97) of sRGB.
    assert np.abs(pixels(image)[20, 20] - (66, 151, 97)).max() <= 2 and not notes


@pytest.mark.parametrize("profile", [b"no profile at all", adobe_rgb()[:200]])
def test_a_damaged_profile_is_said_and_taken_as_srgb(tmp_path, profile):
    Image.new("RGB", (40, 40), (100, 150, 100)).save(tmp_path / "odd.png", icc_profile=profile)
    image, notes = read(tmp_path / "odd.png")
    assert tuple(pixels(image)[20, 20]) == (100, 150, 100)
    assert "colour profile is damaged" in notes[0]


def test_a_profile_of_another_kind_of_picture_is_not_used(tmp_path):
    Image.new("L", (40, 40), 90).save(tmp_path / "grey.png", icc_profile=adobe_rgb())
    image, notes = read(tmp_path / "grey.png")
    assert tuple(pixels(image)[20, 20]) == (90, 90, 90) and "does not fit" in notes[0]


# --- kinds of pixels -----------------------------------------------------------------------------


def test_cmyk_becomes_rgb(tmp_path):
    Image.new("CMYK", (40, 40), (0, 255, 255, 0)).save(tmp_path / "print.jpg", quality=95)
    red, green, blue = pixels(read(tmp_path / "print.jpg")[0])[20, 20]
    assert red > 200 and max(green, blue) < 60


def test_lab_becomes_rgb(tmp_path):
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    lab = ImageCms.applyTransform(Image.new("RGB", (40, 40), (200, 120, 60)), to_lab)
    lab.save(tmp_path / "lab.tiff")
    assert np.abs(pixels(read(tmp_path / "lab.tiff")[0])[20, 20] - (200, 120, 60)).max() <= 6


def test_16_bits_keep_the_upper_8(tmp_path):
    Image.fromarray(np.full((40, 40), 0x80FF, np.uint16)).save(tmp_path / "grey.png")
    image, notes = read(tmp_path / "grey.png")
    assert tuple(pixels(image)[20, 20]) == (128, 128, 128) and "brought to 8" in notes[0]
    colours = np.full((40, 40, 3), (0x10FF, 0x20FF, 0x30FF), np.uint16)
    cv2.imwrite(str(tmp_path / "colour.png"), colours)
    assert tuple(pixels(read(tmp_path / "colour.png")[0])[20, 20]) == (48, 32, 16)


def test_floats_must_lie_between_0_and_1(tmp_path):
    Image.fromarray(np.full((40, 40), 0.5, np.float32)).save(tmp_path / "half.tiff")
    assert tuple(pixels(read(tmp_path / "half.tiff")[0])[20, 20]) == (128, 128, 128)
    for value in (7.0, -1.0, np.nan):
        Image.fromarray(np.full((40, 40), value, np.float32)).save(tmp_path / "odd.tiff")
        with pytest.raises(NotAPhoto, match=r"float pixels beyond 0\.\.1"):
            read_photo(tmp_path / "odd.tiff")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_lies_on_white(tmp_path, mode):
    picture = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    picture.paste((90, 90, 90, 255), (0, 0, 20, 40))
    picture.convert(mode).save(tmp_path / "clear.png")
    image, notes = read(tmp_path / "clear.png")
    assert tuple(pixels(image)[20, 30]) == (255, 255, 255)
    assert tuple(pixels(image)[20, 5]) == (90, 90, 90)
    assert notes == ["transparent parts laid on white"]


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_few_colours_become_rgb_without_a_word(tmp_path, mode):
    Image.new("RGB", (40, 40), "white").convert(mode).save(tmp_path / "few.png")
    image, notes = read(tmp_path / "few.png")
    assert tuple(pixels(image)[20, 20]) == (255, 255, 255) and not notes


@pytest.mark.parametrize("ending", ["png", "webp", "tiff"])
def test_of_an_animation_the_first_picture_counts(tmp_path, ending):
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("#c80000", "#00c800", "#0000c8")]
    frames[0].save(tmp_path / f"moves.{ending}", save_all=True, append_images=frames[1:])
    image, notes = read(tmp_path / f"moves.{ending}")
    assert np.abs(pixels(image)[20, 20] - (200, 0, 0)).max() <= 6
    assert notes == ["first of 3 pictures in the file"]


def test_a_heic_photo_is_read(astronaut, tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    picture = small_photo(astronaut, (128, 96))
    pillow_heif.from_pillow(picture).save(tmp_path / "phone.heic", quality=90)
    image, _ = read(tmp_path / "phone.heic")
    assert image.size == (128, 96)
    assert np.abs(pixels(image) - pixels(picture)).mean() < 6


def test_without_pillow_heif_a_heic_photo_says_what_to_install(astronaut, tmp_path, monkeypatch):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.from_pillow(small_photo(astronaut, (128, 96))).save(tmp_path / "phone.heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(NotAPhoto, match="pip install pillow-heif"):
        read_photo(tmp_path / "phone.heic")


# --- no photos -----------------------------------------------------------------------------------


def bomb() -> bytes:
    """A PNG of 100 bytes that says it has 3,600 million pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
    return start + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG")
    return file.getvalue()


def gif(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "GIF")
    return file.getvalue()


NO_PHOTOS = {
    "text.png": (lambda _: b"Dear diary,\nthis is no picture", "no picture by its content"),
    "noise.jpg": (lambda _: bytes(range(256)) * 4, "no picture by its content"),
    "moving.gif": (gif, "expected JPEG, PNG, WebP, TIFF or HEIC"),
    "cut.jpg": (lambda picture: jpeg(picture)[:1500], "damaged or cut short"),
    "bomb.png": (lambda _: bomb(), "a decompression bomb"),
}


@pytest.mark.parametrize("name", NO_PHOTOS)
def test_a_file_that_is_no_photo_says_why(astronaut, tmp_path, name):
    make, message = NO_PHOTOS[name]
    (tmp_path / name).write_bytes(make(small_photo(astronaut)))
    with pytest.raises(NotAPhoto, match=message) as refusal:
        read_photo(tmp_path / name)
    assert "\n" not in str(refusal.value)


def test_a_picture_just_under_the_bomb_limit_is_none(tmp_path):
    Image.new("1", (20_000, 3_300)).save(tmp_path / "wide.png")
    with pytest.raises(NotAPhoto, match="20000x3300 pixels, expected at most 64 million"):
        read_photo(tmp_path / "wide.png")


# --- the folder ----------------------------------------------------------------------------------


def test_what_a_folder_holds_besides_photos_is_named(astronaut, tmp_path):
    home = tmp_path / "photos"
    for folder in ("older", ".ipynb_checkpoints"):
        (home / folder).mkdir(parents=True)
    for name in (".DS_Store", "Thumbs.db", "._me.jpg", "me.jpg", "you.JPG"):
        (home / name).write_bytes(b"x")
    (home / "me.txt").write_text("a caption")
    (home / "metadata.jsonl").write_text("")
    (home / "empty.jpg").write_bytes(b"")
    (tmp_path / "elsewhere.jpg").write_bytes(b"x")
    os.symlink(tmp_path / "elsewhere.jpg", home / "out.jpg")
    os.symlink(home / "me.jpg", home / "in.jpg")
    os.symlink(home / "gone.jpg", home / "nowhere.jpg")
    os.symlink(home / "circle.jpg", home / "circle.jpg")
    os.mkfifo(home / "pipe.jpg")
    photos, skipped = list_photos(home)
    assert [path.name for path in photos] == ["Thumbs.db", "in.jpg", "me.jpg", "you.JPG"]
    reasons = {item.name: item.reason for item in skipped}
    assert reasons == {
        ".DS_Store": "a hidden file",
        "._me.jpg": "a hidden file",
        ".ipynb_checkpoints": "a folder; only photos directly in the folder given are read",
        "older": "a folder; only photos directly in the folder given are read",
        "empty.jpg": "empty (0 bytes)",
        "out.jpg": "a link out of the folder; copy the photo into it instead",
        "nowhere.jpg": "a link to nowhere",
        "circle.jpg": "a link to nowhere",
        "pipe.jpg": "not a file but a pipe, socket or device",
    }


def test_a_folder_that_cannot_be_used_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="no such folder"):
        list_photos(tmp_path / "missing")
    with pytest.raises(UsageError, match="got a file, expected a folder"):
        list_photos(tmp_path / "file")
    (tmp_path / "many").mkdir()
    for number in range(201):
        (tmp_path / "many" / f"{number}.jpg").write_bytes(b"x")
    with pytest.raises(UsageError, match="got 201 files, expected up to 200"):
        list_photos(tmp_path / "many")
