"""A picture to click on: clicks become a mask, and the parameters that say the same."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("anywidget")

from portraitlib.photos.subject import subject_portrait
from portraitlib.settings import UsageError
from portraitlib.studio.explore import mark_region, pick_region


def picture_of(shown):
    head, content = shown.source.split(",", 1)
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


def redness(shown):
    pixels = np.asarray(picture_of(shown), int)
    return (pixels[..., 0] - pixels[..., 1:].max(2) > 60).mean()


@pytest.fixture
def portrait():
    return subject_portrait("pencil sketch", ear_size=5)  # grey: red is the region alone


def test_clicks_select_and_are_told_as_parameters(portrait):
    shown, (slider, undo), said = (lambda box: (box[0], box[1].children, box[2]))(
        pick_region(portrait, radius=0.18).children
    )
    assert redness(shown) == 0 and picture_of(shown).size == (512, 512)
    shown.set_state({"click": [0.18, 0.47]})
    one = redness(shown)
    shown.set_state({"click": [0.81, 0.48]})
    assert redness(shown) > one > 0.01
    assert re.findall("<code>(.*?)</code>", said.value) == [
        "points = [[0.18, 0.47], [0.81, 0.48]]", "radius = 0.18",
    ]  # fmt: skip
    undo.click()
    assert redness(shown) == pytest.approx(one, abs=0.002)
    shown.set_state({"click": [0.81, 0.48]})
    slider.value = 0.05
    assert redness(shown) < one and "radius = 0.05" in said.value


def test_it_begins_with_the_points_given_and_clicks_on_the_border_are_inside(portrait):
    shown, _, said = pick_region(portrait, [[0.18, 0.47]], 0.18).children
    assert redness(shown) > 0.01 and "[[0.18, 0.47]]" in said.value
    shown.set_state({"click": [1.0, 1.0]})
    assert "[0.999, 0.999]" in said.value


def test_what_is_no_picture_is_told():
    with pytest.raises(UsageError, match="^image: got None"):
        pick_region(None)


def test_the_region_is_marked_and_nothing_else():
    plain = Image.new("RGB", (4, 4), "white")
    mask = Image.new("L", (4, 4))
    mask.putpixel((1, 2), 255)
    marked = mark_region(plain, mask)
    assert marked.getpixel((0, 0)) == (255, 255, 255) and marked.getpixel((1, 2))[1] < 160
