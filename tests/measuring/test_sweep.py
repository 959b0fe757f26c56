"""Sweeps: one thing varies, all else is held; failures are kept; mistakes are named at once."""

import dataclasses
import json
import sys

import numpy as np
import pytest
from PIL import Image

from portraitlib.measuring.sweep import sweep
from portraitlib.portrait import Portrait
from portraitlib.settings import Control, Sampling, UsageError

PRESET = Sampling()
CONTROL = Control()


def draw(model, prompt, sampling=PRESET, *, strength=0.5, on_step=None):
    """A generating function without a network: it keeps what it was called with."""
    if prompt == "broken":
        raise RuntimeError("out of\nmemory")
    held = dataclasses.asdict(sampling) | {"prompt": prompt, "strength": strength, "seconds": 0.1}
    seeds = range(sampling.seed, sampling.seed + sampling.num_images)
    return [Portrait(Image.new("RGB", (8, 8)), held | {"seed": seed}) for seed in seeds]


def recipes(table, *names):
    return [tuple(portrait.recipe[name] for name in names) for portrait in table.portraits]


def test_every_combination_runs_once_and_the_first_name_changes_slowest():
    table = sweep(
        draw,
        None,
        "a man",
        Sampling(seed=3),
        vary={"guidance_scale": [1.0, 5.0], "num_inference_steps": [5, 10]},
    )
    assert recipes(table, "guidance_scale", "num_inference_steps") == [
        (1.0, 5),
        (1.0, 10),
        (5.0, 5),
        (5.0, 10),
    ]


def test_everything_else_is_held_the_seed_too():
    sampling = Sampling(seed=3, num_images=2, negative_prompt="beard")
    table = sweep(
        draw, None, "a man", sampling, vary={"num_inference_steps": [5, 10]}, strength=0.7
    )
    assert (
        recipes(table, "seed", "negative_prompt", "strength")
        == [
            (3, "beard", 0.7),
            (4, "beard", 0.7),
        ]
        * 2
    )


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("prompt", ["a man", "a woman"]),
        ("strength", [0.2, 0.8]),
        ("seed", range(2)),
        ("negative_prompt", ["", "beard"]),
        ("guidance_scale", np.linspace(1, 7, 2)),
        ("num_inference_steps", np.arange(5, 7)),
    ],
)
def test_inputs_keywords_and_fields_of_settings_can_be_varied(name, values):
    inputs = [] if name == "prompt" else ["a man"]
    table = sweep(draw, None, *inputs, sampling=Sampling(seed=9), vary={name: values})
    assert [portrait.recipe[name] for portrait in table.portraits] == list(values)
    json.dumps([row.settings for row in table.rows])  # plain values, numpy's too


def test_a_sweep_works_without_naming_the_sampling():
    table = sweep(draw, None, "a man", vary={"seed": [0, 1]})
    assert recipes(table, "seed") == [(0,), (1,)]


def test_select_keeps_the_rows_asked_for_and_nothing_else():
    table = sweep(draw, None, vary={"prompt": ["a man", "a boy"], "seed": [0, 1]})
    chosen = table.select(prompt="a boy", seed=1)
    assert [row.settings for row in chosen.rows] == [{"prompt": "a boy", "seed": 1}]
    assert len(table.rows) == 4
    with pytest.raises(UsageError, match="expected one of the values swept: 0, 1"):
        table.select(seed=2)
    with pytest.raises(UsageError, match="did you mean seed"):
        table.select(seeds=1)


def test_a_table_cannot_be_changed():
    table = sweep(draw, None, "a man", vary={"seed": [0]})
    with pytest.raises(dataclasses.FrozenInstanceError):
        table.rows = ()
    with pytest.raises(dataclasses.FrozenInstanceError):
        table.rows[0].portraits = []


def test_a_failing_cell_is_reported_and_the_others_finish():
    with pytest.warns(UserWarning, match="1 of 3 failed: prompt='broken'.*out of memory"):
        table = sweep(draw, None, vary={"prompt": ["a man", "broken", "a boy"]})
    assert recipes(table, "prompt") == [("a man",), ("a boy",)]
    assert table.failures[0].error == "RuntimeError: out of memory"
    assert "1 failed" in repr(table)


def test_when_nothing_succeeds_the_first_failure_is_raised():
    with pytest.raises(RuntimeError, match="out of"):
        sweep(draw, None, vary={"prompt": ["broken"]})


def test_settings_out_of_range_are_refused_before_anything_runs():
    ran = []

    def watched(model, prompt, sampling=PRESET):
        ran.append(sampling)
        return draw(model, prompt, sampling)

    with pytest.raises(UsageError, match="num_inference_steps"):
        sweep(watched, None, "a man", vary={"num_inference_steps": [5, 0]})
    assert not ran


@pytest.mark.parametrize("strength", [0.0, 1.2, "high", None])
def test_arguments_out_of_range_are_refused_before_anything_runs(strength):
    with pytest.raises(UsageError, match="draw.strength: got .*expected a number from 0.001 to 1"):
        sweep(draw, None, "broken", vary={"strength": [0.5, strength]})


@pytest.mark.parametrize(
    ("vary", "says"),
    [
        ({}, "got nothing"),
        (["seed"], r"vary: got \['seed'\], expected e.g. {"),
        ({"num_inference_step": [5]}, "'num_inference_step': did you mean num_inference_steps"),
        ({"zebra": [5]}, "expected one of model, prompt, sampling, strength"),
        ({"seed": []}, "seed: got no values"),
        ({"seed": [0, 1, 0]}, "seed: got 0 twice"),
        ({"seed": 3}, r"seed: got 3, expected a list; try \[3\]"),
        ({"prompt": "a man"}, r"expected a list; try \['a man'\]"),
    ],
)
def test_mistakes_in_what_to_vary_are_named(vary, says):
    with pytest.raises(UsageError, match=says):
        sweep(draw, None, "a man", vary=vary)


def test_a_function_by_its_name_is_told():
    with pytest.raises(UsageError, match="function: got 'text_to_image', expected one such as"):
        sweep("text_to_image", None, "a man", vary={"seed": [0]})


def test_diffusers_names_are_answered_with_ours_and_a_condition_is_no_record():
    from portraitlib.generate.conditions import Condition

    def steer(model, condition, sampling=PRESET, control=CONTROL):
        raise AssertionError

    edges = Condition(Image.new("RGB", (8, 8)), "canny", {"low_threshold": 100.0})
    wrong = {
        "controlnet_conditioning_scale": "did you mean scale?",
        "control_guidance_end": "did you mean end?",
        "width": "did you mean size_px?",
        "kind": "unknown setting 'kind'",
    }
    for name, says in wrong.items():
        with pytest.raises(UsageError, match=says):
            sweep(steer, None, edges, vary={name: [1]})


def test_a_held_setting_with_an_unknown_name_is_named():
    with pytest.raises(UsageError, match="did you mean strength"):
        sweep(draw, None, "a man", vary={"seed": [0]}, strenght=0.5)
    with pytest.raises(UsageError, match="draw: missing prompt"):
        sweep(draw, None, vary={"seed": [0]})


def test_an_input_in_the_place_of_what_is_varied_is_named():
    with pytest.raises(UsageError, match="prompt is varied, yet got Sampling.*by its name"):
        sweep(draw, None, Sampling(seed=3), vary={"prompt": ["a man"]})
    table = sweep(draw, None, "held", Sampling(seed=3), vary={"prompt": ["a man"]})
    assert recipes(table, "prompt", "seed") == [("a man", 3)]


def test_progress_counts_the_combinations():
    seen = []
    sweep(draw, None, "a man", vary={"seed": [0, 1]}, on_step=lambda *step: seen.append(step))
    assert seen == [(1, 2), (2, 2)]


def test_seeds_that_follow_each_other_are_one_batch(mini):
    from drawing import counting_calls, pixels

    from portraitlib.generate.images import text_to_image

    quick = Sampling(num_inference_steps=2, size_px=64, guidance_scale=1.0)
    vary = {"seed": range(18), "prompt": ["a man", "a boy"]}
    with counting_calls(mini.pipeline.unet) as denoised:
        table = sweep(text_to_image, mini, sampling=quick, vary=vary)
    assert denoised == [16, 16, 2, 2] * 2  # no more than 16 in one batch
    for row in table.rows[::7]:
        one = dataclasses.replace(quick, seed=row.settings["seed"])
        (alone,) = text_to_image(mini, row.settings["prompt"], one)
        difference = np.abs(pixels(row.portraits[0]) - pixels(alone))
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3


def test_a_sweep_of_the_embedded_model_gives_the_pictures_of_single_calls(mini):
    from portraitlib.generate.images import text_to_image

    quick = Sampling(seed=5, num_inference_steps=2)
    table = sweep(text_to_image, mini, "a man", quick, vary={"guidance_scale": [1.0, 4.0]})
    for row in table.rows:
        (alone,) = text_to_image(mini, "a man", dataclasses.replace(quick, **row.settings))
        assert row.portraits[0].image.tobytes() == alone.image.tobytes()
    assert [row.settings["guidance_scale"] for row in table.rows] == [1.0, 4.0]


def test_a_long_sweep_says_how_long_it_will_take(monkeypatch):
    monkeypatch.setattr(sys.modules["portraitlib.measuring.sweep"], "LONG_S", 0.0)
    with pytest.warns(UserWarning, match="7 cells left: about 0.0 s to go") as warned:
        sweep(draw, None, "a man", vary={"seed": range(8)})
    assert len(warned) == 1
    assert warned[0].filename == __file__
