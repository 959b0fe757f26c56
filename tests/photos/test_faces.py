"""Faces in pictures: each kind has its finder and its encoder."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageEnhance

import portraitlib as pl
from portraitlib.photos.faces.find import ENCODERS, FINDERS, default_encoders, find_faces
from recipes.first_mini.subject import draw_shots


def test_photographs_and_drawings_each_have_their_finder(astronaut):
    (face,), finder = find_faces(astronaut)
    assert finder.name == "dlib"
    assert np.hypot(*np.subtract(face.landmarks["nose"], (225, 137))) < 20
    drawing = next(iter(draw_shots()))[1]
    (face,), finder = find_faces(drawing)
    assert finder.name == "mini" and finder.made_for == "drawn portraits"


def test_the_same_photo_changed_stays_the_same_person(astronaut):
    encoder = ENCODERS["dlib"]
    changed = [
        astronaut,
        astronaut.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        ImageEnhance.Brightness(astronaut).enhance(0.5),
        astronaut.resize((256, 256)).resize((512, 512)),
        astronaut.rotate(15, Image.Resampling.BICUBIC),
    ]
    faces = [(picture, find_faces(picture, "dlib")[0][0]) for picture in changed]
    points = encoder.embed(faces)
    distances = np.linalg.norm(points - points[0], axis=1)
    assert distances.max() < encoder.near


@pytest.mark.parametrize("encoder", default_encoders(), ids=lambda encoder: encoder.name)
def test_every_encoder_knows_strangers_and_the_finder_of_its_faces(encoder):
    strangers = encoder.strangers(())
    assert strangers.dtype == np.float32 and np.isfinite(strangers).all() and len(strangers) >= 20
    apart = np.linalg.norm(strangers[:, None] - strangers[None], axis=2)
    assert np.median(apart[np.triu_indices(len(strangers), 1)]) > encoder.far
    assert FINDERS[encoder.finder].made_for == encoder.made_for
    assert encoder.embed([]).shape == (0, strangers.shape[1])


def test_without_dlib_photographs_say_what_to_install(astronaut, monkeypatch):
    import sys

    from portraitlib.photos.faces import find

    monkeypatch.setitem(sys.modules, "dlib", None)
    find._dlib.cache_clear()
    with pytest.raises(pl.UsageError, match=r'dlib is not installed; try pip install "portraitlib'):
        find_faces(astronaut)
