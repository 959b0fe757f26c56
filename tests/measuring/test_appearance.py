"""What the pixels of portraits tell: edges that agree, colours, sharpness."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

import portraitlib as pl
from portraitlib.measuring import appearance

BLANK = Image.new("RGB", (96, 96), (120, 120, 120))


# --- edges ---------------------------------------------------------------------------------------


def test_a_portrait_has_all_of_its_own_edges(astronaut):
    edges = appearance.find_edges(astronaut)
    assert 0.02 < edges.mean() < 0.3
    (row,) = pl.measure([astronaut], edges=edges).rows
    assert (row["edge_f1"], row["edge_precision"], row["edge_recall"]) == (1.0, 1.0, 1.0)


def test_edges_within_the_tolerance_count_and_beyond_it_do_not():
    box = np.zeros((100, 100), bool)
    box[20:80, [20, 80]] = box[[20, 80], 20:81] = True
    for shift_px, f1 in ((0, 1.0), (2, 1.0), (4, 0.1)):
        shifted = np.roll(box, shift_px, axis=(0, 1))
        agreement = appearance.edge_agreement(shifted, box, tolerance_px=2.0)
        assert agreement["edge_f1"] == pytest.approx(f1, abs=0.1)
    half = box.copy()
    half[50:] = False
    agreement = appearance.edge_agreement(half, box, tolerance_px=0.0)
    assert agreement["edge_precision"] == 1.0
    assert agreement["edge_recall"] == pytest.approx(half.sum() / box.sum())


def test_a_blank_portrait_has_no_edges_and_agrees_with_none(astronaut):
    edges = appearance.find_edges(astronaut.resize((96, 96)))
    (row,) = pl.measure([BLANK], edges=edges).rows
    assert (row["edge_f1"], row["edge_recall"], row["edge_precision"]) == (0.0, 0.0, None)


def test_edges_can_be_a_picture_and_their_floor_is_what_chance_gives(astronaut):
    edges = appearance.find_edges(astronaut)
    picture = Image.fromarray(edges.astype(np.uint8) * 255).convert("RGB")
    measured = pl.measure([astronaut], edges=picture)
    assert measured["edge_f1"].mean == 1.0 and 0 < measured["edge_f1"].scale.floor < 0.7
    turned = pl.measure([astronaut.transpose(Image.Transpose.FLIP_TOP_BOTTOM)], edges=edges)
    assert turned["edge_f1"].mean == pytest.approx(measured["edge_f1"].scale.floor, abs=0.05)


# --- pixel art ------------------------------------------------------------------------------------


def test_pixel_art_has_a_grid_at_any_size_and_offset_and_photographs_have_none(astronaut):
    drawn = pl.subject_portrait("pixel-art", size_px=192)
    assert appearance.pixel_grid(drawn) > 0.95
    for size_px, share in ((96, 0.95), (144, 0.8), (512, 0.95)):
        resized = drawn.resize((size_px, size_px), Image.Resampling.BICUBIC)
        assert appearance.pixel_grid(resized) > share
    assert appearance.pixel_grid(drawn.crop((7, 2, 180, 165))) > 0.9
    others = [pl.subject_portrait(style) for style in ("photorealistic", "anime", "comic-book")]
    for picture in (astronaut, astronaut.resize((96, 96)), astronaut.resize((1024, 1024)), *others):
        assert appearance.pixel_grid(picture) < 0.2
    # Some of the edges on a grid: about their share.
    half = drawn.copy()
    half.paste(astronaut.resize((192, 192)).crop((0, 96, 192, 192)), (0, 96))
    assert 0.3 < appearance.pixel_grid(half) < 0.8


def test_pictures_without_edges_or_too_small_for_squares_have_no_grid():
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    for picture in (BLANK, BLANK.resize((1, 1)), Image.fromarray(noise)):
        assert appearance.pixel_grid(picture) == 0
    bar = BLANK.copy()
    bar.paste("white", (40, 0, 96, 96))  # one straight edge is on any grid: nothing is known
    assert appearance.pixel_grid(bar) == 0


# --- colour and sharpness ------------------------------------------------------------------------


def test_grey_is_not_colourful_and_more_colour_is_more(astronaut):
    assert appearance.colourfulness(astronaut.convert("L")) == 0
    faint, full, strong = (
        appearance.colourfulness(ImageEnhance.Color(astronaut).enhance(amount))
        for amount in (0.5, 1.0, 1.5)
    )
    assert 0 < faint < full < strong
    # Half red, half blue: deviations 255 and 63.75 * 3, means 0 and 0, worked out by hand.
    flag = Image.new("RGB", (10, 10), "red")
    flag.paste((0, 0, 255), (0, 0, 5, 10))
    deviation, mean = np.hypot(127.5, 191.25), np.hypot(127.5, -63.75)
    assert appearance.colourfulness(flag) == pytest.approx(deviation + 0.3 * mean)


def test_blur_is_less_sharp_and_size_is_brought_to_one(astronaut):
    sharp = appearance.sharpness(astronaut)
    blurred = [astronaut.filter(ImageFilter.GaussianBlur(radius)) for radius in (2, 4)]
    assert sharp > appearance.sharpness(blurred[0]) > appearance.sharpness(blurred[1]) > 0
    assert appearance.sharpness(BLANK) == 0
    larger = astronaut.resize((1024, 1024), Image.Resampling.BICUBIC)
    assert appearance.sharpness(larger) == pytest.approx(sharp, rel=0.15)
