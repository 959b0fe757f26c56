"""A folder of photos becomes a set that can be trained on, and a report that can be acted on."""

from __future__ import annotations

import io

import numpy as np
import pytest
from photo_makers import SECRETS, photo_with_secrets
from PIL import Image, ImageEnhance, ImageFilter

import portraitlib as pl
from portraitlib import cli
from portraitlib.photos.audit import find_duplicates, find_strangers, is_crowd, judge_set, look_hash
from portraitlib.photos.crop import LARGEST_FACTOR, crop_head
from portraitlib.photos.faces.find import ENCODERS, Face
from portraitlib.photos.files import list_photos, read_captions
from recipes.first_mini.subject import draw_shots

SIZE_PX = 240


def turned(astronaut, degrees) -> Image.Image:
    return astronaut.rotate(degrees, Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def mixed(astronaut, tmp_path_factory):
    """A folder with a good and a bad photo of each sort, read once."""
    home = tmp_path_factory.mktemp("mixed")
    head = astronaut.crop((110, 0, 350, 240))
    two = Image.new("RGB", (540, 300), "grey")
    two.paste(head.resize((200, 200)), (10, 50))
    two.paste(head.resize((300, 300)).rotate(-6, Image.Resampling.BICUBIC), (230, 0))
    drawn = next(iter(draw_shots(held_out=True)))[1]
    pictures = {
        "a.png": astronaut,
        "b.png": turned(astronaut, 9),
        "c.png": turned(astronaut, -12),
        "again.png": ImageEnhance.Brightness(astronaut.resize((400, 400))).enhance(0.85),
        "blurred.png": turned(astronaut, 4).filter(ImageFilter.GaussianBlur(2)),
        "dark.png": turned(astronaut, -6).point(lambda value: value // 12),
        "dim.png": turned(astronaut, -9).point(lambda value: value // 5),
        "nobody.png": Image.linear_gradient("L").resize((300, 300)).convert("RGB"),
        "lying.png": astronaut.rotate(-90, expand=True),
        "one.png": Image.new("RGB", (1, 1)),
        "small.png": astronaut.resize((150, 150)),
        "somebody.png": drawn.resize((512, 512), Image.Resampling.LANCZOS),
        "two.png": two,
    }
    for name, picture in pictures.items():
        picture.save(home / name)
    (home / "notes.txt").write_text("not a photo")
    (home / "text.png").write_text("not a photo either")
    return pl.read_photos(home, size_px=SIZE_PX, finder="dlib")


# name -> status, and what the report says of it
VERDICTS = {
    "a.png": ("used", ""),
    "b.png": ("used", ""),
    "c.png": ("used", ""),
    "again.png": ("left out", "almost the same as a.png"),
    "blurred.png": ("left out", "blurred"),
    "dark.png": ("left out", "too dark"),
    "dim.png": ("used with a warning", "too dark"),
    "nobody.png": ("left out", "no face found; try one that shows the face from the front"),
    "lying.png": ("left out", "but one if it is turned a quarter to the left"),
    "one.png": ("left out", "too small: 1x1 px"),
    "small.png": ("left out", "too small: 150x150 px, a crop of 240 px needs 160 px or more"),
    "somebody.png": ("left out", "somebody else"),
    "two.png": ("used with a warning", "2 faces: the largest was taken, number 2 from the left"),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_each_photo_gets_its_verdict_and_the_reason(mixed, name):
    status, words = VERDICTS[name]
    (photo,) = [photo for photo in (*mixed.photos, *mixed.left_out) if photo.name == name]
    assert (photo.status, photo.refusals, photo.warnings)[0] == status, mixed.report
    assert words in "; ".join(photo.refusals + photo.warnings)
    (line,) = [line for line in mixed.report.splitlines() if line.startswith(f"  {name} ")]
    assert status in line and words in line


def test_what_is_no_photo_is_named_and_counted(mixed):
    assert [item.name for item in mixed.skipped] == ["notes.txt", "text.png"]
    assert mixed.summary.endswith("5 used (2 with a warning), 8 left out, 2 skipped")
    assert "text.png  skipped: no picture by its content" in mixed.report
    assert repr(mixed.report) == str(mixed.report), "a notebook shows its lines"


def test_used_photos_are_squares_of_the_size_asked_for(mixed):
    assert len(mixed) == len(mixed.images) == len(mixed.captions) == 5
    for photo in mixed:
        assert photo.image.size == (SIZE_PX, SIZE_PX) and photo.image.mode == "RGB"
        assert SIZE_PX / photo.crop.side_px <= LARGEST_FACTOR
        assert photo.caption == "portrait of jrdnpl man"


def test_the_crop_keeps_the_whole_head_in_its_place(mixed):
    (photo,) = [photo for photo in mixed if photo.name == "a.png"]
    # Measured by eye on the photograph: hair from y = 28, chin at y = 197, x from 172 to 275.
    left, top, right, bottom = photo.crop.box
    assert left <= 172 and right >= 275 and top <= 28 and bottom >= 197
    assert 0.6 <= (197 - 28) / photo.crop.side_px <= 0.85


def test_a_set_that_is_too_alike_says_so(astronaut, tmp_path):
    for index, degrees in enumerate((0, 9, -12)):
        turned(astronaut, degrees).save(tmp_path / f"{index}.png")
    photos = pl.read_photos(tmp_path, size_px=SIZE_PX)
    together = " ".join(photos.warnings)
    for words in ("3 photos are few", "all from one side", "one background"):
        assert words in together
    assert photos.finders == ["dlib"]


def test_another_face_can_be_chosen(mixed, tmp_path):
    path = tmp_path / "two.png"
    Image.open(f"{mixed.source}/two.png").save(path)
    (photo,) = pl.read_photos(tmp_path, size_px=128, faces={"two.png": 1})
    assert photo.chosen == 0 and photo.crop.left < 100 and not photo.refusals
    assert "faces" not in " ".join(photo.warnings)
    with pytest.raises(pl.UsageError, match=r"faces\['two.png'\]: got 3, expected 1 to 2"):
        pl.read_photos(tmp_path, size_px=128, faces={"two.png": 3})
    with pytest.raises(pl.UsageError, match="expected the name of a photo"):
        pl.read_photos(tmp_path, faces={"tow.png": 1})
    with pytest.raises(pl.UsageError, match="expected 1 for the leftmost face"):
        pl.read_photos(tmp_path, faces={"two.png": 0})


def test_a_photo_without_a_face_is_used_only_when_allowed(tmp_path):
    picture = Image.linear_gradient("L").resize((300, 200)).convert("RGB")
    picture.save(tmp_path / "back.png")
    with pytest.raises(pl.UsageError, match=r"none of them usable.*back.png: no face found"):
        pl.read_photos(tmp_path, size_px=128)
    (photo,) = pl.read_photos(tmp_path, size_px=128, allow_no_face=True)
    assert photo.crop.box == (50, 0, 250, 200)
    assert photo.warnings == ("no face found: cropped the middle",)


def test_a_folder_with_nothing_usable_is_one_clear_line(tmp_path, capsys):
    with pytest.raises(pl.UsageError, match="the folder is empty"):
        pl.read_photos(tmp_path)
    (tmp_path / "a.png").write_text("text")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    assert cli.main(["photos", str(tmp_path), "--output", str(tmp_path / "sheet.png")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "got 2 files, none of them usable" in error
    assert "a.png: no picture by its content" in error and not (tmp_path / "sheet.png").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"size_px": 100}, "size_px: got 100"),
        ({"identifier": "two words"}, "identifier: got 'two words'"),
        ({"caption": "portrait of a man"}, "caption: got 'portrait of a man'"),
        ({"finder": "eyes"}, "finder: got 'eyes', expected None or one of mini, dlib"),
    ],
)
def test_a_wrong_setting_is_told_before_anything_is_read(tmp_path, setting, message):
    with pytest.raises(pl.UsageError, match=message):
        pl.read_photos(tmp_path / "missing", **setting)


def test_nothing_that_is_written_holds_metadata(astronaut, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.txt").write_text("portrait of jrdnpl man, smiling")
    photo_with_secrets(astronaut, tmp_path / "photos" / "me.jpg")
    sheet = tmp_path / "sheet.png"
    command = ["photos", str(tmp_path / "photos"), "--size-px", "240", "--output", str(sheet)]
    assert cli.main(command) == 0
    printed = capsys.readouterr().out
    assert "1 used" in printed and printed.endswith(f"{sheet}\n")
    crop = io.BytesIO()
    (photo,) = pl.read_photos(tmp_path / "photos", size_px=SIZE_PX)
    assert photo.caption == "portrait of jrdnpl man, smiling"
    photo.image.save(crop, "PNG")
    for content in (sheet.read_bytes(), crop.getvalue(), printed.encode()):
        assert not [secret for secret in SECRETS if secret in content]
    with Image.open(sheet) as opened:
        assert opened.format == "PNG"


# --- the contact sheet ---------------------------------------------------------------------------


def test_the_contact_sheet_shows_every_photo_with_its_verdict(mixed):
    figure = pl.show_photos(mixed)
    assert len([axes for axes in figure.axes if axes.images]) == len(VERDICTS)
    texts = " ".join(" ".join(text.get_text().split()) for text in figure.texts)
    assert all(name in texts for name in VERDICTS)
    assert "5 used (2 with a warning), 8 left out, 2 skipped" in texts
    figure.canvas.draw()
    canvas = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)
    for colour in ((0x3F, 0x8F, 0x55), (0xC9, 0x8A, 0x12), (0xC0, 0x39, 0x2B)):
        assert (np.abs(canvas - colour).max(-1) <= 2).sum() > 400, "the squares are drawn in"
    with pytest.raises(pl.UsageError, match="columns: got 0"):
        pl.show_photos(mixed, columns=0)


# --- captions ------------------------------------------------------------------------------------


NAMES = ("0.png", "1.png", "2.png")


@pytest.fixture
def captioned(astronaut, tmp_path):
    for index in range(3):
        astronaut.rotate(90 * index).resize((64, 64)).save(tmp_path / f"{index}.png")
    return tmp_path


def test_captions_come_from_files_then_rows_then_the_template(captioned):
    (captioned / "0.txt").write_text("  photo of zwx\nsmiling ")
    rows = '{"file_name": "0.png", "text": "zwx"}\n\n{"file_name": "1.png", "text": "ZWX, hat"}\n'
    (captioned / "metadata.jsonl").write_text(rows)
    captions = read_captions(captioned, NAMES, "portrait of {identifier} woman", "zwx")
    assert list(captions.values()) == ["photo of zwx smiling", "ZWX, hat", "portrait of zwx woman"]
    assert not list_photos(captioned)[1], "captions are no strays"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("0.txt", b"a man", r"1 without the identifier 'jrdnpl' \(0.txt has 'a man'\)"),
        ("0.txt", b"a jrdnplman", "without the identifier"),
        ("0.txt", b"jrdnpl \xff\xfe", "0.txt: not UTF-8 text"),
        ("metadata.jsonl", b'{"file_name": "1.png", "text": "a man"}', "metadata.jsonl has"),
        ("metadata.jsonl", b'{"text": "jrdnpl"}', "metadata.jsonl, line 1: got"),
        ("metadata.jsonl", b"\n[1, 2]", "metadata.jsonl, line 2: got"),
    ],
)
def test_a_wrong_caption_names_its_file(captioned, file, content, message):
    (captioned / file).write_bytes(content)
    with pytest.raises(pl.UsageError, match=message) as refusal:
        read_captions(captioned, NAMES, "portrait of {identifier} man", "jrdnpl")
    assert "\n" not in str(refusal.value)


# --- the square ----------------------------------------------------------------------------------


def face_at(x: float, y: float, height: float) -> Face:
    """A face whose head is `height` high and has its middle at (x, y)."""
    half, width = height / 2, 0.38 * height
    marks = {"left eye": (x - 9, y), "right eye": (x + 9, y), "nose": (x, y + 9)}
    box = (x - 0.3 * height, y - 0.2 * height, x + 0.3 * height, y + 0.4 * height)
    return Face(box, (x - width, y - half, x + width, y + half), marks)


@pytest.mark.parametrize("at", [(2000, 1500), (300, 1500), (3900, 260), (150, 2900)])
@pytest.mark.parametrize("height", [500, 900, 1700])
def test_the_square_lies_within_the_photo_and_holds_the_head(at, height):
    crop, faults = crop_head((4000, 3000), face_at(*at, height), 1024)
    left, top, right, bottom = crop.box
    assert 0 <= left < right <= 4000 and 0 <= top < bottom <= 3000
    head = face_at(*at, height).head
    assert left <= max(head[0], 0) and right >= min(head[2], 4000)
    assert top <= max(head[1], 0) and bottom >= min(head[3], 3000)
    assert 1024 / crop.side_px <= LARGEST_FACTOR
    outside = max(-head[0], -head[1], head[2] - 4000, head[3] - 3000)
    assert ("the photo's edge cuts the head" in faults) == (outside > 0.16 * height) or (
        0.08 * height < outside < 0.16 * height  # a side is measured against the head's width
    )


def test_a_small_head_gets_a_wider_square_and_a_warning():
    crop, faults = crop_head((4000, 3000), face_at(2000, 1500, 300), 1024)
    assert crop.side_px == 683 and "the head is small: it fills 44%" in faults[0]


def test_a_tiny_head_gets_no_square():
    crop, faults = crop_head((4000, 3000), face_at(2000, 1500, 150), 1024)
    assert crop is None and "the head is too small: 150 px high" in faults[0]


def test_a_head_larger_than_any_square_of_the_photo_is_said():
    crop, faults = crop_head((2000, 900), face_at(1000, 450, 1100), 512)
    assert (
        crop.side_px == 900
        and faults == ["the head is larger than a square of the photo"]
        or ("cuts the head" in faults[0])
    )


def test_size_and_corner_are_kept_for_conditioning(mixed):
    (photo,) = [photo for photo in mixed if photo.name == "a.png"]
    factor = SIZE_PX / photo.crop.side_px
    assert photo.original_size == (512, 512)
    assert photo.conditioning == {
        "original_size": (512, 512),
        "crops_coords_top_left": (round(photo.crop.top * factor), round(photo.crop.left * factor)),
        "target_size": (SIZE_PX, SIZE_PX),
    }
    small = next(photo for photo in mixed.left_out if photo.name == "small.png")
    with pytest.raises(pl.UsageError, match="small.png: it was left out"):
        _ = small.conditioning


# --- the audit -----------------------------------------------------------------------------------


def people(*counts: int) -> np.ndarray:
    """Points of an encoder: `counts` photos of each person, people 0.9 apart."""
    rng = np.random.default_rng(0)
    return np.concatenate(
        [0.64 * np.eye(128)[i] + rng.normal(0, 0.01, (n, 128)) for i, n in enumerate(counts)]
    )


@pytest.mark.parametrize(
    ("counts", "strangers", "crowd"),
    [
        ((6,), [], False),
        ((5, 1), [5], False),
        ((1, 4), [0], False),
        ((4, 2, 1), [4, 5, 6], False),
        ((3, 3), [], True),
        ((1, 1, 1, 1), [], True),
        ((1, 1), [], True),
        ((1,), [], False),
    ],
)
def test_whoever_most_photos_show_is_the_person(counts, strangers, crowd):
    points, encoder = people(*counts), ENCODERS["dlib"]
    assert sorted(find_strangers(points, encoder)[0]) == strangers
    assert is_crowd(points, encoder) == crowd


def test_the_larger_of_two_copies_is_kept_also_if_mirrored(astronaut):
    pictures = [astronaut, astronaut.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    pictures = [*pictures, astronaut.rotate(9)]
    hashes = [dict.fromkeys(("crop", "whole"), look_hash(picture)) for picture in pictures]
    assert find_duplicates(hashes, [(3, 1.0), (4, 0.5), (2, 9.0)]) == {0: 1}


def test_a_varied_set_has_nothing_to_be_said_against_it():
    photos = pl.subject_photos()
    assert judge_set(photos.images, [photo.face for photo in photos]) == []


def test_held_out_photos_are_spread_over_the_set(mixed):
    train, held = mixed.hold_out(2)
    assert [photo.name for photo in train] + [photo.name for photo in held] == [
        *("a.png", "c.png", "two.png"),
        *("b.png", "dim.png"),
    ]
    for count in (0, 5):
        with pytest.raises(pl.UsageError, match=f"hold_out: got {count}, expected 1 to 4"):
            mixed.hold_out(count)
