"""Several drawings under one condition: what they have in common is computed once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from drawing import counting_calls, pixels
from steering import HALF, PROMPT, QUICK, assert_same, counting_parts

import portraitlib as pl
from portraitlib.generate import denoise


def test_runs_that_differ_only_in_end_share_their_first_steps_exactly(steered, edges):
    sampling = replace(QUICK, num_inference_steps=12)
    controls = [pl.Control(end=end) for end in (0.25, 0.5, 0.75, 1.0)]
    done = []
    with (
        counting_calls(pl.load_controlnet(steered).trunk) as controlled,
        counting_calls(steered.pipeline.unet) as denoised,
    ):
        variants = pl.control_to_image_variants(
            *(steered, edges, PROMPT, sampling, controls),
            on_step=lambda *step: done.append(step),
        )
    assert (len(controlled), len(denoised)) == (12, 30)
    assert done == [(step, 30) for step in range(1, 31)]
    for control, (portrait,) in zip(controls, variants, strict=True):
        (alone,) = pl.control_to_image(steered, edges, PROMPT, sampling, control)
        assert portrait.image == alone.image
        assert portrait.recipe | {"seconds": 0} == alone.recipe | {"seconds": 0}
    assert len({portrait.image.tobytes() for (portrait,) in variants}) == 4


def test_variants_of_any_setting_share_what_they_have_in_common(steered, edges):
    sampling = replace(QUICK, num_inference_steps=10, num_images=2)
    controls = [
        pl.Control(scale=0.5, start=0.5),
        pl.Control(scale=1.0, start=0.5),
        pl.Control(scale=1.0, start=0.5, end=0.98),  # ends a step earlier
        pl.Control(scale=1.0, start=0.49),  # begins in the same step
    ]
    with counting_calls(steered.pipeline.unet) as denoised:
        variants = pl.control_to_image_variants(steered, edges, PROMPT, sampling, controls)
    assert len(denoised) == 5 + 2 * 5 + 1
    for control, portraits in zip(controls, variants, strict=True):
        alone = pl.control_to_image(steered, edges, PROMPT, sampling, control)
        assert [each.image for each in portraits] == [each.image for each in alone]


def test_a_sweep_over_the_ends_shares_the_first_steps(steered, edges):
    sampling = replace(QUICK, num_inference_steps=12)
    ends = [0.25, 0.5, 0.75, 1.0]
    with (
        counting_calls(pl.load_controlnet(steered).trunk) as controlled,
        counting_calls(steered.pipeline.unet) as denoised,
    ):
        table = pl.sweep(pl.control_to_image, steered, edges, PROMPT, sampling, vary={"end": ends})
    assert (len(controlled), len(denoised)) == (12, 30)
    assert [p.recipe["control_guidance_end"] for p in table.portraits] == ends
    assert len({p.image.tobytes() for p in table.portraits}) == 4


def test_cells_of_a_sweep_have_the_pixels_of_single_calls(steered, edges):
    vary = {"start": [0.0, 0.5], "seed": [3, 5], "scale": [0.4, 0.8]}
    with (
        counting_calls(pl.load_controlnet(steered).trunk) as controlled,
        counting_calls(steered.pipeline.unet) as denoised,
    ):
        table = pl.sweep(pl.control_to_image, steered, edges, PROMPT, QUICK, vary=vary)
    # In the first step that the edges act in, two scales ask the control model the same thing.
    assert len(controlled) == 2 * (6 + 5 + 3 + 2)
    # A seed: two scales from the first step on, and three steps that both late starts share.
    assert len(denoised) == 2 * (6 + 6 + 3 + 3 + 3)
    for row in table.rows:
        control = pl.Control(scale=row.settings["scale"], start=row.settings["start"])
        sampling = replace(QUICK, seed=row.settings["seed"])
        (alone,) = pl.control_to_image(steered, edges, PROMPT, sampling, control)
        assert row.portraits[0].image == alone.image
        assert row.portraits[0].recipe | {"seconds": 0} == alone.recipe | {"seconds": 0}


@pytest.mark.parametrize("guess_mode", [False, True])
def test_a_sweep_over_scales_asks_for_nothing_twice(steered, shots, edges, guess_mode):
    held = pl.Control(guess_mode=guess_mode)
    scales = [0.0, 0.5, 1.0, 1.5]
    done = []
    with counting_parts(steered) as (fresh, calls):
        table = pl.sweep(
            *(pl.control_to_image, fresh, edges, PROMPT, QUICK, held),
            vary={"scale": scales},
            image=shots[2],
            on_step=lambda *step: done.append(step),
        )
    assert (len(calls.embedded), len(calls.read)) == (1, 2)
    assert (len(calls.encoded), len(calls.decoded)) == (1, 4)
    assert (len(calls.controlled), len(calls.denoised)) == (3 * 6 - 2, 4 * 6)
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for scale, portrait in zip(scales, table.portraits, strict=True):
        control = replace(held, scale=scale)
        (alone,) = pl.control_to_image(steered, edges, PROMPT, QUICK, control, image=shots[2])
        assert portrait.image == alone.image


def test_a_condition_is_embedded_again_only_when_others_came_between(steered, shots):
    net = pl.load_controlnet(replace(steered, controlnets={}))
    pictures = [pl.canny(shot).image for shot in list(shots)[: denoise.CONDITIONS_KEPT + 1]]
    with counting_calls(net.embedding) as embedded:
        for picture in [*pictures, *pictures[1:], pictures[0]]:
            denoise.embed_condition(steered, net, picture)
    assert len(embedded) == len(pictures) + 1


def test_seeds_that_follow_each_other_are_one_batch_with_the_variants(steered, edges):
    vary = {"seed": [3, 5, 7, 20], "end": [0.5, 1.0]}
    sampling = replace(QUICK, num_images=2, guidance_scale=1.0)
    with (
        counting_calls(pl.load_controlnet(steered).trunk) as controlled,
        counting_calls(steered.pipeline.unet) as denoised,
    ):
        table = pl.sweep(pl.control_to_image, steered, edges, PROMPT, sampling, vary=vary)
    assert controlled == [6] * 6 + [2] * 6
    assert denoised == [6] * 9 + [2] * 9
    seeds = [portrait.recipe["seed"] for portrait in table.portraits]
    assert seeds == [3, 4, 3, 4, 5, 6, 5, 6, 7, 8, 7, 8, 20, 21, 20, 21]
    for row in table.rows:
        alone = pl.control_to_image(
            steered, edges, PROMPT,
            replace(sampling, seed=row.settings["seed"]), pl.Control(end=row.settings["end"]),
        )  # fmt: skip
        assert_same(row.portraits, [pixels(portrait) for portrait in alone])
    again = pl.rerun(table.rows[3].portraits[1], steered, condition=edges)
    assert again.image == table.rows[3].portraits[1].image


def test_a_cell_that_fails_among_some_drawn_together_fails_alone(steered, edges):
    controls = [pl.Control(), [pl.Control()] * 2, "strong"]
    with pytest.warns(UserWarning, match="2 of 3 failed.*for 1 conditions.*got 'strong'"):
        table = pl.sweep(
            pl.control_to_image, steered, edges, PROMPT, QUICK, vary={"control": controls}
        )
    assert [len(row.portraits) for row in table.rows] == [1, 0, 0]


def test_control_has_sliders_and_can_be_swept(steered, edges):
    pytest.importorskip("ipywidgets")
    from portraitlib.studio.explore import explore

    made: list[pl.Portrait] = []
    sampling = replace(QUICK, num_inference_steps=2)
    box = explore(pl.control_to_image, steered, edges, PROMPT, sampling, HALF, made=made)
    settings = [child for child in box.children if "pl-setting" in child._dom_classes]
    sliders = [setting.children[0].children[0] for setting in settings]
    controls = {slider.description: slider for slider in sliders}
    assert [controls[label].value for label in ("hold", "hold from", "hold to")] == [0.8, 0.3, 0.7]
    controls["hold from"].value, controls["hold to"].value = 0.0, 1.0
    rows = [child for child in box.children if type(child).__name__ == "HBox"]
    rows[-1].children[0].click()
    assert made[0].recipe["control_guidance_end"] == 1.0
    table = pl.sweep(
        pl.control_to_image, steered, edges, PROMPT, sampling, vary={"scale": [0.5, 1.0]}
    )
    assert [p.recipe["controlnet_conditioning_scale"] for p in table.portraits] == [0.5, 1.0]
