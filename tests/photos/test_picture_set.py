"""Pictures of a style as a set to train on."""

from __future__ import annotations

import pytest
from PIL import Image

import portraitlib as pl
from portraitlib.settings import UsageError


def test_pictures_become_photos_of_one_caption_that_are_not_cut():
    images = [Image.effect_noise((96, 96), 20 + index).convert("RGB") for index in range(3)]
    found = pl.picture_set(images, "blprnt print of a man", identifier="blprnt")
    assert found.captions == ["blprnt print of a man"] * 3 and found.identifier == "blprnt"
    assert [image.tobytes() for image in found.images] == [image.tobytes() for image in images]
    assert found[0].conditioning == {
        "original_size": (96, 96), "crops_coords_top_left": (0, 0), "target_size": (96, 96),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sizes", "caption", "said"),
    [
        ((), "a print", "got none"),
        (((96, 96), (96, 80)), "a print", "number 1 is 96x80 px"),
        (((96, 96),), " ", "expected words"),
    ],
)
def test_what_is_no_set_is_refused_in_one_line(sizes, caption, said):
    images = [Image.new("RGB", size) for size in sizes]
    with pytest.raises(UsageError, match=said):
        pl.picture_set(images, caption)
