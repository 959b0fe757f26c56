"""Regions: what a click selects, and that a region goes back with all else untouched."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

import portraitlib as pl
from portraitlib.generate.regions import paste_region, read_mask, square_about
from portraitlib.photos.subject import subject_portrait


def discs(size=(160, 120), at=((40, 50), (110, 60)), radius_px=14) -> Image.Image:
    """Red discs on a grey ground with some noise."""
    picture = Image.new("RGB", size, (128, 128, 128))
    for x, y in at:
        box = (x - radius_px, y - radius_px, x + radius_px, y + radius_px)
        ImageDraw.Draw(picture).ellipse(box, fill=(200, 40, 40))
    noise = np.random.default_rng(0).integers(-12, 13, (*size[::-1], 1))
    return Image.fromarray((np.asarray(picture, int) + noise).clip(0, 255).astype(np.uint8))


def disc(x, y, radius_px, size=(160, 120)) -> np.ndarray:
    columns, rows = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    return np.hypot(columns - x, rows - y) <= radius_px


def agreement(found: np.ndarray, wanted: np.ndarray) -> float:
    return (found & wanted).sum() / (found | wanted).sum()


@pytest.mark.parametrize("point", [(40, 50), (34, 56)])
def test_a_click_selects_the_thing_and_no_other(point):
    mask = pl.select_region(discs(), point, radius=0.2, grow=0)
    assert mask.mode == "L" and mask.size == (160, 120) and set(mask.getdata()) == {0, 255}
    assert agreement(np.asarray(mask) > 0, disc(40, 50, 14)) > 0.85


def test_several_clicks_select_several_things_and_grow_reaches_beyond():
    both = disc(40, 50, 14) | disc(110, 60, 14)
    exact, grown = (
        np.asarray(pl.select_region(discs(), [(40, 50), (110, 60)], radius=0.2, grow=grow)) > 0
        for grow in (0, 0.05)
    )
    assert agreement(exact, both) > 0.85
    assert (grown & exact).sum() == exact.sum() and agreement(grown, exact) < 0.8


def test_a_click_on_a_large_ear_selects_it_and_leaves_the_face():
    ears = np.abs(
        np.asarray(subject_portrait("comic book", ear_size=5), int)
        - np.asarray(subject_portrait("comic book"), int)
    ).max(2)
    mask = np.asarray(
        pl.select_region(
            subject_portrait("comic book", ear_size=5), [(18, 44), (78, 46)], radius=0.18
        )
    )
    assert (mask[ears > 40] > 0).mean() > 0.75
    assert not mask[30:70, 34:62].any()  # eyes, nose and mouth


def test_the_same_click_selects_the_same():
    first, second = (pl.select_region(discs(), (40, 50)) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_a_click_at_the_border_and_one_where_all_is_alike_select_something():
    plain = Image.new("RGB", (50, 40), "white")
    for point in ((0, 0), (49, 39), (25, 20)):
        mask = np.asarray(pl.select_region(plain, point, radius=1.0 if point[0] == 25 else 0.1))
        assert mask[point[1], point[0]] == 255


@pytest.mark.parametrize(
    "point", [(160, 10), (-1, 5), (3,), "ear", (), None, [(1, 2), (3, 500)], (1, 2, 3)]
)
def test_a_point_outside_is_refused_in_one_line(point):
    with pytest.raises(pl.UsageError, match=r"^point: got .*\(159, 119\)") as told:
        pl.select_region(discs(), point)
    assert "\n" not in str(told.value)


# --- masks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (np.zeros((120, 160)), "got nothing but black"),
        (np.ones((160, 120)), r"got shape \(160, 120\), expected \(120, 160\)"),
        (np.ones((120, 160, 3)), "got shape"),
        ("ear", "got str"),
        (None, "got NoneType"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused_in_one_line(mask, says):
    with pytest.raises(pl.UsageError, match=f"^mask: {says}") as told:
        read_mask(mask, (160, 120))
    assert "\n" not in str(told.value)


def test_the_square_lies_about_the_region_and_inside_the_picture():
    assert square_about(disc(40, 50, 9)) == (0, 0, 120, 120)
    assert square_about(disc(80, 50, 9)) == (20, 0, 140, 120)
    assert square_about(disc(150, 50, 9)) == (40, 0, 160, 120)
    wide = np.zeros((120, 160), bool)
    wide[60, :130] = True
    with pytest.raises(pl.UsageError, match="130 px long.* 120 px"):
        square_about(wide)


def test_a_region_fades_in_inside_its_border_and_stays_whole_at_the_pictures():
    black, white = (Image.new("RGB", (40, 30), colour) for colour in ("black", "white"))
    region = np.zeros((30, 40), bool)
    region[:, 20:] = True
    pasted = np.asarray(paste_region(black, white, region, 4))[..., 0]
    assert not pasted[:, :20].any()
    assert (np.diff(pasted[15, 19:25].astype(int)) > 0).all() and (pasted[:, 25:] == 255).all()
    hard = np.asarray(paste_region(black, white, region, 0))[..., 0]
    assert (hard[:, 20:] == 255).all()
