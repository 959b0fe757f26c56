"""Figures: sharp pictures, labels at the edges, honest bands, few bytes, no global state."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from portraitlib.measuring.sweep import sweep
from portraitlib.portrait import Portrait
from portraitlib.settings import Sampling, UsageError
from portraitlib.show import (
    Curve,
    show_curves,
    show_grid,
    show_rows,
    show_strip,
    show_table,
)

LONG = "indian boy with curly hair, jawline, trimmed beard, smiling, dimples, pimple on cheek"

PRESET = Sampling()


def noise(seed=0, size=(48, 48)):
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def draw(model, prompt, sampling=PRESET):
    if "broken" in prompt:
        raise RuntimeError("out of memory")
    seeds = range(sampling.seed, sampling.seed + sampling.num_images)
    return [Portrait(noise(seed), {"seed": seed, "seconds": 0.5}) for seed in seeds]


def rendered(figure):
    """(height, width, 3) pixels, as savefig writes them."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return np.asarray(Image.open(file).convert("RGB"))


def texts(figure):
    return [text.get_text() for text in figure.texts]


def where(figure, wanted):
    return next(text.get_position() for text in figure.texts if text.get_text() == wanted)


def test_small_pictures_are_doubled_pixel_for_pixel():
    picture = noise()
    pixels = rendered(show_grid([picture], columns=1))
    doubled = np.kron(np.asarray(picture), np.ones((2, 2, 1), dtype=np.uint8))
    assert np.array_equal(pixels[8:-8, 8:-8], doubled)


def test_large_pictures_shrink_to_the_width_asked_for():
    figure = show_strip([noise(size=(512, 512))] * 3, width_px=300)
    assert rendered(figure).shape[1] <= 300


def test_pictures_of_different_shapes_keep_their_proportions():
    pixels = rendered(show_strip([Image.new("RGB", (40, 80), "red"), Image.new("RGB", (80, 80))]))
    red = np.argwhere((pixels == (255, 0, 0)).all(axis=2))
    height, width = np.ptp(red, axis=0) + 1
    assert height == 2 * width


def test_a_grid_takes_portraits_and_images_and_fills_row_after_row():
    figure = show_grid([Portrait(noise(0)), noise(1), noise(2)], columns=2, titles=["a", "b", "c"])
    assert len(figure.axes) == 3
    (ax, ay), (bx, by), (cx, cy) = (where(figure, name) for name in "abc")
    assert ax == cx < bx
    assert cy < ay == by


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"portraits": []}, "at least one"),
        ({"portraits": [noise()], "columns": 0}, "columns: got 0"),
        ({"portraits": [noise()], "titles": ["a", "b"]}, "titles: got 2, expected 1"),
        ({"portraits": ["face.png"]}, "got str"),
    ],
)
def test_a_grid_says_what_is_wrong_with_what_it_got(given, says):
    with pytest.raises(UsageError, match=says):
        show_grid(**given)


def test_rows_have_their_names_on_the_left_and_heads_above_the_first():
    figure = show_rows({"one": [noise(0), None], "two": [noise(1), noise(2)]}, ["a", "b"])
    assert len(figure.axes) == 4
    assert where(figure, "one")[1] > where(figure, "two")[1]
    assert where(figure, "a")[0] < where(figure, "b")[0]
    assert where(figure, "a")[1] == where(figure, "b")[1] > where(figure, "one")[1]


@pytest.mark.parametrize(
    ("rows", "heads", "says"),
    [
        ({}, [], "rows: got none"),
        ({"one": [None]}, [], "rows: got none"),
        ({"one": [noise()]}, ["a", "b"], "got 2 heads for 1 columns"),
    ],
)
def test_rows_say_what_is_wrong_with_what_they_got(rows, heads, says):
    with pytest.raises(UsageError, match=says):
        show_rows(rows, heads)


def test_a_table_has_one_setting_down_and_one_across_with_values_at_the_edges():
    table = sweep(
        draw,
        None,
        "a man",
        Sampling(),
        vary={"guidance_scale": [1.0, 5.0], "num_inference_steps": [5, 10, 20]},
    )
    figure = show_table(table)
    assert len(figure.axes) == 6
    across = [where(figure, f"steps {steps}") for steps in (5, 10, 20)]
    assert across[0][0] < across[1][0] < across[2][0]
    assert len({y for _, y in across}) == 1
    assert where(figure, "guidance 1")[1] > where(figure, "guidance 5")[1]
    turned = show_table(table, rows="num_inference_steps", columns="guidance_scale")
    assert where(turned, "guidance 1")[0] < where(turned, "guidance 5")[0]


def test_a_table_lays_the_seeds_of_each_cell_along_an_edge():
    table = sweep(
        draw, None, sampling=Sampling(seed=7, num_images=2), vary={"prompt": ["a man", LONG]}
    )
    figure = show_table(table, rows="prompt", columns="seed")
    assert {"seed 7", "seed 8", "a man"} <= set(texts(figure))
    assert len(figure.axes) == 4


def test_what_no_edge_names_stands_side_by_side_in_the_cell():
    table = sweep(draw, None, sampling=Sampling(num_images=3), vary={"prompt": ["a man", "a boy"]})
    figure = show_table(table, rows="prompt", columns="prompt")
    assert len(figure.axes) == 6


def test_long_prompts_are_wrapped_and_no_word_is_lost():
    table = sweep(draw, None, sampling=Sampling(num_images=2), vary={"prompt": ["a man", LONG]})
    figure = show_table(table, rows="prompt", columns="seed")
    wrapped = next(text for text in texts(figure) if text.startswith("indian"))
    assert "\n" in wrapped
    assert wrapped.split() == LONG.split()


def test_a_table_shows_the_error_of_a_cell_that_failed():
    with pytest.warns(UserWarning, match="1 of 2"):
        table = sweep(
            draw, None, sampling=Sampling(num_images=2), vary={"prompt": ["a man", "broken"]}
        )
    figure = show_table(table, rows="prompt", columns="seed")
    assert any("memory" in text for text in texts(figure))


def test_a_table_refuses_a_setting_that_was_not_varied():
    table = sweep(draw, None, vary={"prompt": ["a man"]})
    with pytest.raises(UsageError, match="'strength', expected one of prompt, seed"):
        show_table(table, rows="strength")


def test_a_curve_shows_the_median_the_band_and_how_many_seeds():
    values = np.array([[1.0, 2.0], [2.0, 3.0], [9.0, np.nan]])
    axes = show_curves([Curve([5, 10], values, "difference", "steps")]).axes[0]
    assert axes.lines[0].get_ydata().tolist() == [2.0, 2.5]
    assert len(axes.collections) == 1
    assert "3 seeds" in axes.get_title(loc="left")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("steps", "difference")


def test_one_seed_has_a_line_and_no_band():
    axes = show_curves([Curve(["none", "beard"], [[1.0, 2.0]], "seconds")]).axes[0]
    assert not axes.collections
    assert "1 seed" in axes.get_title(loc="left")


def test_the_axis_of_a_curve_starts_at_zero_where_nothing_is_negative():
    above, around = Curve([1, 2], [[40.0, 41.0]], "change"), Curve([1, 2], [[-1.0, 1.0]], "change")
    lowest = [axes.get_ylim()[0] for axes in show_curves([above, around]).axes]
    assert lowest[0] == 0 and lowest[1] < -1


def test_several_curves_share_a_panel_or_a_figure():
    by_style = {"anime": [[1.0, 2.0]], "pixel art": [[3.0, 4.0]]}
    figure = show_curves([Curve([1, 2], by_style, "colour"), Curve([1, 2], [[1, 2]], "seconds")])
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert (len(figure.axes), names) == (2, ["anime", "pixel art"])


def test_a_curve_says_what_shape_it_expected():
    with pytest.raises(UsageError, match=r"got shape \(3,\), expected \(seeds, 3\)"):
        show_curves([Curve([1, 2, 3], [1.0, 2.0, 3.0], "seconds")])


def test_a_figure_is_stored_in_few_bytes():
    data, kind = show_grid([noise(seed, (128, 128)) for seed in range(4)]).encoded()
    assert kind == "jpeg"
    assert Image.open(io.BytesIO(data)).format == "JPEG"
    data, kind = show_curves([Curve([1, 2], [[1.0, 2.0]], "seconds")]).encoded()
    assert kind == "png"
    assert len(data) < 20_000


def test_show_and_sweep_need_neither_torch_nor_pyplot():
    code = (
        "import sys, portraitlib.show, portraitlib.measuring.sweep, PIL.Image\n"
        "portraitlib.show.show_grid([PIL.Image.new('RGB', (8, 8))]).encoded()\n"
        "assert not {'torch', 'diffusers', 'matplotlib.pyplot'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
