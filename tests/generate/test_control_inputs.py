"""What a condition and its settings may be, and what is said of those that do not fit."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageOps
from steering import HALF, PROMPT, QUICK

import portraitlib as pl


def test_a_condition_of_another_size_is_made_again_and_that_is_said(steered, shots):
    sampling = replace(QUICK, num_inference_steps=1, size_px=32)
    large = pl.canny(shots[0])
    small = pl.canny(shots[0], size_px=32)
    with pytest.warns(UserWarning, match="canny of 64 px, made again at 32 px; try size_px=32"):
        (portrait,) = pl.control_to_image(steered, large, PROMPT, sampling)
    assert portrait.recipe["condition"]["image"] == small.hash
    assert portrait.recipe["condition"]["settings"] == small.settings


@pytest.mark.parametrize("mode", ["L", "1", "RGB"])
def test_a_picture_is_taken_as_edges_and_made_to_fit(steered, edges, mode):
    sampling = replace(QUICK, num_inference_steps=1)
    other = edges.image.convert(mode)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        (portrait,) = pl.control_to_image(steered, other, PROMPT, sampling)
    assert portrait.recipe["condition"]["image"] == edges.hash
    said = [str(each.message) for each in told if each.category is UserWarning]
    assert said == (
        []
        if mode == "RGB"
        else ["condition: a picture, taken as ready-made edges: one channel was made three"]
    )
    thrice = other.resize((192, 200), Image.Resampling.NEAREST)
    with pytest.warns(UserWarning, match="192x200 px were made 64x64") as told:
        (portrait,) = pl.control_to_image(steered, thrice, PROMPT, sampling)
    assert __file__ in {each.filename for each in told}


@pytest.mark.parametrize("how", ["grey", "colour", "yes or no"])
def test_an_array_as_opencv_gives_it_is_taken_as_edges(steered, edges, how):
    colour = np.asarray(edges.image)
    array = {"grey": colour[..., 0], "colour": colour, "yes or no": colour[..., 0] > 0}[how]
    sampling = replace(QUICK, num_inference_steps=1)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        (portrait,) = pl.control_to_image(steered, array, PROMPT, sampling)
    assert portrait.recipe["condition"]["image"] == edges.hash
    said = [str(each.message) for each in told if each.category is UserWarning]
    assert len(said) == (how != "colour") and all("one channel was made three" in s for s in said)


@pytest.mark.parametrize(
    "array",
    [np.zeros((64, 64, 2), np.uint8), np.zeros((64, 64)), np.zeros((0, 64), np.uint8)],
    ids=["two channels", "floats", "nothing"],
)
def test_an_array_that_is_no_picture_is_refused_in_one_line(steered, array):
    with pytest.raises(pl.UsageError, match="condition: got an array .*; try pl.canny") as refusal:
        pl.control_to_image(steered, array, PROMPT, QUICK)
    assert "\n" not in str(refusal.value)


def test_a_photo_in_the_place_of_its_edges_is_said(steered, controlnets, shots, edges):
    sampling = replace(QUICK, num_inference_steps=1)
    says = "condition: not mostly black, as edges are; try pl.canny"
    for picture in (shots[0].image, ImageOps.invert(edges.image)):
        with pytest.warns(UserWarning, match=says) as told:
            pl.control_to_image(steered, picture, PROMPT, sampling)
        assert __file__ in {each.filename for each in told}
    with warnings.catch_warnings():  # another control model may want what it gets
        warnings.simplefilter("error", UserWarning)
        pl.control_to_image(
            steered, shots[0].image, PROMPT, sampling, controlnet=str(controlnets[0])
        )


def test_what_is_no_condition_is_refused_in_one_line(steered, shots, edges):
    black = Image.new("RGB", (64, 64))
    refused = {
        "black picture, expected edges": [black],
        "got Photo, expected what pl.canny": [shots[0]],
        "got an empty list": [[]],
        "condition: got NoneType": [None],
        "control: got 2 for 1 conditions": [edges, PROMPT, QUICK, [HALF, HALF]],
        "control: got 0.7, expected Control": [edges, PROMPT, QUICK, 0.7],
        "control: got None, expected Control": [edges, PROMPT, QUICK, None],
        "prompt: got Condition": [PROMPT, edges],
        "sampling: got Control": [edges, PROMPT, HALF],
    }
    for says, arguments in refused.items():
        with pytest.raises(pl.UsageError, match=says) as refusal:
            pl.control_to_image(steered, *(arguments + [PROMPT, QUICK][len(arguments) - 1 :]))
        assert "\n" not in str(refusal.value)
    with pytest.raises(pl.UsageError, match="got 0.5 without an image"):
        pl.control_to_image(steered, edges, PROMPT, QUICK, strength=0.5)
    with pytest.raises(pl.UsageError, match="got depth, but the model's own ControlNet reads edg"):
        pl.control_to_image(steered, replace(edges, kind="depth"), PROMPT, QUICK)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"scale": 2.5}, "Control.scale: got 2.5"),
        ({"start": 0.5, "end": 0.5}, "Control.start: got 0.5 with end=0.5, expected start before"),
        ({"start": 0.8, "end": 0.2}, "expected start before end"),
        ({"end": 1.1}, "Control.end: got 1.1"),
        ({"guess_mode": 1}, "Control.guess_mode: got 1, expected True or False"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, says):
    with pytest.raises(pl.UsageError, match=says) as refusal:
        pl.Control(**settings)
    assert "\n" not in str(refusal.value)


def test_a_condition_that_never_acts_is_said(steered, edges):
    says = "none of 6 steps lies wholly between start=0.9 and end=1.0"
    with pytest.warns(UserWarning, match=says) as told:
        pl.control_to_image(steered, edges, PROMPT, QUICK, pl.Control(start=0.9))
    assert __file__ in {each.filename for each in told}
