"""The default subject: one drawn person in varied shots, made from a seed."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

import portraitlib as pl
from portraitlib.photos.subject import SEED, shot_files, subject_portrait
from recipes.first_mini.drawings import HELD_OUT
from recipes.first_mini.subject import draw_portrait, draw_shots, photos_of, subject_person


@pytest.fixture(scope="module")
def sets():
    return pl.subject_photos(), pl.subject_photos(held_out=True)


def test_there_are_12_shots_and_6_held_out_all_good(sets):
    shown, held_out = sets
    assert (len(shown), len(held_out)) == (12, 6)
    assert {photo.status for photo in (*shown, *held_out)} == {"used"}
    assert not shown.left_out and not held_out.left_out
    assert set(shown.captions) == {"portrait of jrdnpl man"}
    assert {image.size for image in shown.images} == {(96, 96)}


def test_crops_of_the_subject_are_never_enlarged(sets):
    assert all(photo.crop.side_px >= 96 for photos in sets for photo in photos)


def test_the_shots_differ_in_pose_light_and_place(sets):
    shown, held_out = sets
    turns = [photo.face.yaw for photo in shown]
    assert min(turns) < -0.2 and max(turns) > 0.2
    pixels = {image.tobytes() for photos in sets for image in photos.images}
    assert len(pixels) == 18


def test_what_comes_with_the_library_is_what_the_world_draws(sets):
    for held_out in (False, True):
        for path, (name, drawn) in zip(shot_files(held_out), draw_shots(held_out), strict=True):
            assert path.name == name
            assert Image.open(path).convert("RGB").tobytes() == drawn.tobytes(), name
    drawn = draw_portrait("comic book", ear_size=5).resize((96, 96), Image.Resampling.LANCZOS)
    assert subject_portrait("comic book", ear_size=5).tobytes() == drawn.tobytes()
    photos = photos_of(SEED)
    assert [image.tobytes() for image in photos.images] == [i.tobytes() for i in sets[0].images]
    assert photos.source == sets[0].source


def test_the_same_seed_draws_the_same_pixels_and_another_somebody_else():
    first, again = (next(iter(draw_shots())) for _ in range(2))
    assert first[1].tobytes() == again[1].tobytes()
    other = next(iter(draw_shots(seed=SEED + 1)))
    assert np.abs(subject_person().numbers() - subject_person(SEED + 1).numbers()).max() > 0.5
    assert first[1].tobytes() != other[1].tobytes()


def test_the_subject_was_never_trained_on():
    assert SEED >= HELD_OUT


def test_written_shots_read_back_as_any_photos(sets, tmp_path):
    for path in shot_files():
        shutil.copy(path, tmp_path)
    photos = pl.read_photos(tmp_path, size_px=96)
    assert photos.finders == ["mini"]
    for read, drawn in zip(photos, sets[0], strict=True):
        assert read.image.tobytes() == drawn.image.tobytes()
