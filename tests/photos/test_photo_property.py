"""Whatever a file holds, reading it ends soon, in bounded memory, with a picture or a reason."""

from __future__ import annotations

import io
import resource
import sys
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from photo_makers import adobe_rgb
from PIL import Image

import portraitlib as pl
from portraitlib.photos.crop import LARGEST_FACTOR, crop_head
from portraitlib.photos.faces.find import Face
from portraitlib.photos.files import NotAPhoto, read_captions, read_photo

LONGEST_S = 2.0  # of processor time: the wall clock of a busy machine says nothing
LARGEST_GROWTH_MB = 1500  # 64 million pixels of 4 bytes, in a few steps
KINDS = {
    "jpg": ("RGB", {"quality": 80, "progressive": True}),
    "png": ("RGBA", {}),
    "palette.png": ("P", {}),
    "deep.png": ("I;16", {}),
    "webp": ("RGB", {"quality": 70}),
    "tiff": ("RGB", {"compression": "tiff_lzw"}),
    "raw.tiff": ("CMYK", {}),
    "heic": ("RGB", {}),
}
CALM = settings(
    deadline=None,
    max_examples=60,
    derandomize=True,  # the same files every time: a test that fails by chance teaches nothing
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def whole_file(kind: str) -> bytes:
    """A small, sound file with everything in it that can be damaged."""
    mode, options = KINDS[kind]
    picture = Image.radial_gradient("L").resize((64, 48)).convert("RGB")
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture.convert("L"), dtype=np.uint16) * 257)
    elif mode != "RGB":
        picture = picture.convert(mode)
    file = io.BytesIO()
    if kind == "heic":
        pytest.importorskip("pillow_heif").from_pillow(picture).save(file)
        return file.getvalue()
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = 6, "somebody"
    profile = adobe_rgb() if mode == "RGB" else None
    image_format = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "tiff": "TIFF"}
    name = image_format[kind.rpartition(".")[2]]
    picture.save(file, name, exif=exif, icc_profile=profile, **options)
    return file.getvalue()


def damaged(content: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    """The bytes with some replaced, put in, taken out or cut off at places in 0..1."""
    for what, place, piece in changes:
        at = int(place * len(content))
        if what == "replace":
            content = content[:at] + piece + content[at + len(piece) :]
        elif what == "insert":
            content = content[:at] + piece + content[at:]
        elif what == "remove":
            content = content[:at] + content[at + len(piece) :]
        else:
            content = content[:at]
    return content


# The beginning of a file, with its sizes and counts, is hit as often as all the rest.
PLACES = st.one_of(st.floats(0, 0.15), st.floats(0, 1))
PIECES = st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([b"\xff" * 4, b"\0" * 4]))
CHANGES = st.lists(
    st.tuples(st.sampled_from(["replace", "replace", "insert", "remove", "cut"]), PLACES, PIECES),
    min_size=1,
    max_size=5,
)


def largest_memory_mb() -> float:
    """The most memory that this process has had, in MB."""
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def check(path) -> None:
    start_s, before_mb = time.process_time(), largest_memory_mb()
    try:
        image, notes = read_photo(path)
    except NotAPhoto as reason:
        assert str(reason) and "\n" not in str(reason)
    else:
        assert image.mode == "RGB" and not image.info and min(image.size) >= 1
        assert all(isinstance(note, str) for note in notes)
    assert time.process_time() - start_s < LONGEST_S
    assert largest_memory_mb() - before_mb < LARGEST_GROWTH_MB


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_photo_is_read_or_refused(kind, tmp_path):
    whole, path = whole_file(kind), tmp_path / f"photo.{kind}"

    @CALM
    @given(CHANGES)
    def hold(changes):
        path.write_bytes(damaged(whole, changes))
        check(path)

    path.write_bytes(whole)
    assert read_photo(path)[0].size in ((64, 48), (48, 64))
    hold()


@CALM
@given(content=st.binary(max_size=400))
def test_any_bytes_are_refused(content, tmp_path):
    (tmp_path / "any.jpg").write_bytes(content)
    check(tmp_path / "any.jpg")


def test_damaged_files_beside_a_good_photo_do_no_harm(tmp_path):
    from recipes.first_mini.subject import draw_shots

    next(iter(draw_shots()))[1].save(tmp_path / "good.png")
    rng = np.random.default_rng(0)
    for index, kind in enumerate(sorted(KINDS)):
        content = bytearray(whole_file(kind))
        for at in rng.integers(0, len(content), 12):
            content[at] = int(rng.integers(256))
        (tmp_path / f"bad-{index}.{kind}").write_bytes(bytes(content))
    photos = pl.read_photos(tmp_path, size_px=96)
    assert "good.png" in [photo.name for photo in photos]
    everything = [photo.name for photo in (*photos, *photos.left_out)]
    assert len(everything) + len(photos.skipped) == len(KINDS) + 1


@CALM
@given(rows=st.binary(max_size=200), text=st.binary(max_size=60))
def test_any_captions_are_read_or_refused_in_one_line(rows, text, tmp_path):
    (tmp_path / "metadata.jsonl").write_bytes(rows)
    (tmp_path / "me.txt").write_bytes(text)
    try:
        captions = read_captions(tmp_path, ["me.jpg"], "portrait of {identifier} man", "jrdnpl")
    except pl.UsageError as refusal:
        assert "\n" not in str(refusal)
    else:
        assert "jrdnpl" in captions["me.jpg"].lower()


LENGTHS = st.integers(1, 9000)
ANYWHERE = st.floats(-500, 9500)


@CALM
@given(
    width=LENGTHS, height=LENGTHS, x=ANYWHERE, y=ANYWHERE, tall=st.floats(1, 9000),
    size_px=st.sampled_from([96, 512, 1024]),
)  # fmt: skip
def test_a_square_lies_in_the_photo_and_is_enlarged_within_reason(
    width, height, x, y, tall, size_px
):
    head = (x - 0.4 * tall, y - 0.5 * tall, x + 0.4 * tall, y + 0.5 * tall)
    crop, faults = crop_head((width, height), Face(head, head, {}), size_px)
    if crop is None:
        assert faults
        return
    left, top, right, bottom = crop.box
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    assert size_px / crop.side_px <= LARGEST_FACTOR
