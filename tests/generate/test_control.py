"""Drawing under a condition: diffusers' pixels, no call in vain, recipes that can be rerun."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawing import pixels
from steering import HALF, PROMPT, QUICK, assert_same, counting_parts

import portraitlib as pl
from portraitlib.generate import denoise
from portraitlib.portrait import caption, parameters_text


def diffusers_pixels(mini, folders, conditions, sampling, controls, image=None, **more):
    """What diffusers' own pipelines draw of the same parts and the same noise."""
    import diffusers

    nets = [
        diffusers.ControlNetModel.from_pretrained(f, torch_dtype=torch.float32) for f in folders
    ]
    kind = "StableDiffusionXLControlNetPipeline"
    if image is not None:
        kind = "StableDiffusionXLControlNetImg2ImgPipeline"
        more |= {"image": image, "control_image": [c.image for c in conditions]}
    else:
        more |= {"image": [c.image for c in conditions]}
    if len(nets) == 1:
        more = {k: v[0] if isinstance(v, list) else v for k, v in more.items()}
    plain = getattr(diffusers, kind)(
        **mini.pipeline.components
        | {"scheduler": type(mini.pipeline.scheduler).from_config(mini.pipeline.scheduler.config)},
        controlnet=nets if len(nets) > 1 else nets[0],
        force_zeros_for_empty_prompt=False,
        add_watermarker=False,
    )
    plain.set_progress_bar_config(disable=True)
    one = len(nets) == 1
    scales, starts, ends = ([getattr(c, n) for c in controls] for n in ("scale", "start", "end"))
    drawn = plain(
        PROMPT,
        **more,
        num_inference_steps=sampling.num_inference_steps,
        guidance_scale=sampling.guidance_scale,
        num_images_per_prompt=sampling.num_images,
        controlnet_conditioning_scale=scales[0] if one else scales,
        control_guidance_start=starts[0] if one else starts,
        control_guidance_end=ends[0] if one else ends,
        guess_mode=controls[0].guess_mode,
        generator=[torch.Generator().manual_seed(11 + i) for i in range(sampling.num_images)],
        output_type="np",
    ).images
    return (drawn * 255).round().astype(int)


# --- the drawing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("control", "guidance_scale"),
    [
        (pl.Control(), 3.0),
        (HALF, 3.0),
        (pl.Control(scale=0.7), 1.0),
        (pl.Control(guess_mode=True), 3.0),
        (pl.Control(guess_mode=True, end=0.5), 0.0),
    ],
    ids=["whole", "part", "no guidance", "guess", "guess without guidance"],
)
def test_the_pixels_are_those_of_diffusers_own_pipeline(
    steered, controlnets, edges, control, guidance_scale
):
    sampling = replace(QUICK, num_images=2, guidance_scale=guidance_scale)
    ours = pl.control_to_image(steered, edges, PROMPT, sampling, control)
    theirs = diffusers_pixels(steered, controlnets[:1], [edges], sampling, [control])
    assert_same(ours, theirs)
    (free,) = pl.text_to_image(steered, PROMPT, replace(sampling, num_images=1))
    assert np.abs(pixels(ours[0]) - pixels(free)).mean() > 2  # it does something


def test_several_conditions_add_up_as_in_diffusers(steered, controlnets, shots, edges):
    other = pl.make_condition(shots[1], "soft edges")
    controls = [pl.Control(scale=0.9, end=0.7), pl.Control(scale=0.4, start=0.3)]
    ours = pl.control_to_image(
        steered, [edges, other], PROMPT, QUICK, controls, controlnet=controlnets
    )
    theirs = diffusers_pixels(steered, controlnets, [edges, other], QUICK, controls)
    assert_same(ours, theirs)
    recipe = ours[0].recipe
    assert recipe["controlnet_conditioning_scale"] == [0.9, 0.4]
    assert [each["kind"] for each in recipe["condition"]] == ["canny", "soft edges"]


def test_with_an_image_the_pixels_are_those_of_diffusers_too(steered, controlnets, shots, edges):
    sampling = replace(QUICK, num_images=2, num_inference_steps=10)
    control = pl.Control(scale=0.8, end=0.6)
    ours = pl.control_to_image(
        steered, edges, PROMPT, sampling, control, image=shots[2], strength=0.7
    )
    vae, processor = steered.pipeline.vae, steered.pipeline.image_processor
    with torch.no_grad():
        encoded = vae.encode(processor.preprocess(shots[2].image)).latent_dist.mode()
    theirs = diffusers_pixels(
        *(steered, controlnets[:1], [edges], sampling, [control]),
        image=encoded * vae.config.scaling_factor,
        strength=0.7,
    )
    assert_same(ours, theirs)


def test_a_scale_of_zero_draws_what_text_and_image_to_image_draw(steered, shots, edges):
    nothing = pl.Control(scale=0)
    (free,) = pl.text_to_image(steered, PROMPT, QUICK)
    (held,) = pl.control_to_image(steered, edges, PROMPT, QUICK, nothing)
    assert held.image == free.image
    (free,) = pl.image_to_image(steered, shots[0], PROMPT, QUICK, strength=0.5)
    (held,) = pl.control_to_image(
        steered, edges, PROMPT, QUICK, nothing, image=shots[0], strength=0.5
    )
    assert held.image == free.image


@pytest.mark.parametrize(
    "kind",
    ["EulerAncestralDiscrete", "DPMSolverMultistep", "HeunDiscrete"],
)
def test_samplers_that_remember_or_add_noise_draw_what_diffusers_draws(
    steered, controlnets, edges, kind, monkeypatch
):
    import diffusers

    config = dict(steered.pipeline.scheduler.config) | {"rescale_betas_zero_snr": False}
    scheduler = getattr(diffusers, f"{kind}Scheduler").from_config(config)
    monkeypatch.setattr(steered.pipeline, "scheduler", scheduler)
    sampling = replace(QUICK, num_images=2)
    controls = [pl.Control(end=0.5), pl.Control()]
    variants = pl.control_to_image_variants(steered, edges, PROMPT, sampling, controls)
    for control, portraits in zip(controls, variants, strict=True):
        theirs = diffusers_pixels(steered, controlnets[:1], [edges], sampling, [control])
        assert_same(portraits, theirs)


def test_the_same_seed_gives_the_same_pixels_and_a_batch_its_single_pictures(steered, edges):
    batch = pl.control_to_image(steered, edges, PROMPT, replace(QUICK, num_images=3))
    again = pl.control_to_image(steered, edges, PROMPT, replace(QUICK, num_images=3))
    assert [each.image for each in batch] == [each.image for each in again]
    for index, portrait in enumerate(batch):
        (alone,) = pl.control_to_image(steered, edges, PROMPT, replace(QUICK, seed=11 + index))
        assert portrait.recipe["seed"] == alone.recipe["seed"] == 11 + index
        assert np.abs(pixels(portrait) - pixels(alone)).max() <= 1


def test_half_precision_draws_nearly_the_same_picture(steered, halves, shots, edges):
    halves = replace(halves, preset=steered.preset, controlnets={})
    for start in ({}, {"image": shots[0], "strength": 0.8}):
        for control in (pl.Control(end=0.6), pl.Control(scale=0.5, guess_mode=True)):
            (whole,) = pl.control_to_image(steered, edges, PROMPT, QUICK, control, **start)
            (half,) = pl.control_to_image(halves, edges, PROMPT, QUICK, control, **start)
            assert half.recipe["dtype"] == "float16"
            assert np.abs(pixels(whole) - pixels(half)).mean() < 3


# --- no call in vain -----------------------------------------------------------------------------


def test_nothing_runs_that_does_nothing(steered, shots, edges):
    done = []
    with counting_parts(steered) as (fresh, calls):
        pl.control_to_image(
            *(fresh, edges, PROMPT, replace(QUICK, num_inference_steps=10), HALF),
            image=shots[0],
            on_step=lambda *step: done.append(step),
        )
    assert calls.controlled == [2] * 4  # steps 3 to 6 of 0 to 9, with and without the prompt
    assert calls.denoised == [2] * 10
    assert calls.embedded == [1]
    assert (len(calls.read), len(calls.encoded), len(calls.decoded)) == (2, 1, 1)
    assert done == [(step, 10) for step in range(1, 11)]


def test_steps_can_stop_anywhere_and_go_on(steered, edges):
    from portraitlib.generate import control

    run = control._prepare(steered, edges, PROMPT, QUICK, [HALF], None, 1.0, None, None)
    state, timesteps = control._start(run.order)
    drawing, plan = control._drawing(run), denoise.make_plan([HALF], len(timesteps))
    whole = denoise.denoise(drawing, state, timesteps, plan)
    middle = denoise.denoise(drawing, state, timesteps[:2], plan[:2])
    for _ in range(2):  # what was stopped can be continued more than once
        ends = denoise.denoise(drawing, middle, timesteps[2:], plan[2:])
        assert torch.equal(ends.latents, whole.latents)


# --- recipes -------------------------------------------------------------------------------------


def test_the_recipe_has_diffusers_names_and_survives_the_file(steered, shots, edges, tmp_path):
    sampling = replace(QUICK, num_inference_steps=10)
    (portrait,) = pl.control_to_image(
        steered, edges, PROMPT, sampling, HALF, image=shots[0], strength=0.9
    )
    recipe = portrait.recipe
    expected = {
        "function": "control_to_image",
        "controlnet_conditioning_scale": 0.8,
        "control_guidance_start": 0.3,
        "control_guidance_end": 0.7,
        "guess_mode": False,
        "condition": {"kind": "canny", "settings": edges.settings, "image": edges.hash},
        "controlnet_revision": pl.load_controlnet(steered).revision,
        "strength": 0.9,
    }
    assert {name: recipe[name] for name in expected} == expected
    assert json.loads(json.dumps(recipe)) == recipe
    assert pl.Portrait.open(portrait.save(tmp_path / "one.png")) == portrait
    low = edges.settings["low_threshold"]
    line = f"Weight: 0.8, Threshold A: {low}, Threshold B: {2 * low}, Guidance Start: 0.3"
    assert 'ControlNet 0: "Module: canny, Model: ' in parameters_text(recipe)
    assert line in parameters_text(recipe)
    assert "control 0.8" in caption(recipe)


@pytest.mark.parametrize("with_image", [False, True])
def test_rerunning_with_the_same_inputs_gives_the_same_pixels(
    steered, controlnets, shots, edges, with_image
):
    control = pl.Control(scale=0.8, end=0.6)
    start = {"image": shots[2], "strength": 0.8} if with_image else {}
    other = pl.make_condition(shots[1], "line drawing", line_px=1.5)
    drawn = [
        (edges, pl.control_to_image(steered, edges, PROMPT, QUICK, control, **start)),
        (
            [edges, other],
            pl.control_to_image(
                *(steered, [edges, other], PROMPT, QUICK, [control, pl.Control(guess_mode=True)]),
                controlnet=[None, controlnets[1]],
                **start,
            ),
        ),
    ]
    for condition, (portrait,) in drawn:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            again = pl.rerun(portrait, steered, start.get("image"), condition)
        assert again.image == portrait.image
        assert again.recipe | {"seconds": 0} == portrait.recipe | {"seconds": 0}


def test_rerunning_asks_for_the_condition_and_refuses_another(steered, shots, edges):
    sampling = replace(QUICK, num_inference_steps=1)
    (held,) = pl.control_to_image(steered, edges, PROMPT, sampling)
    (free,) = pl.text_to_image(steered, PROMPT, sampling)
    refused = {
        "expected what steered the recipe": (held, steered),
        "condition: got another": (held, steered, None, pl.canny(shots[1])),
        "condition: got one, but this text_to_image has none": (free, steered, None, edges),
        "image: got one, but this control_to_image has none": (held, steered, shots[0], edges),
    }
    for says, arguments in refused.items():
        with pytest.raises(pl.UsageError, match=says) as refusal:
            pl.rerun(*arguments)
        assert "\n" not in str(refusal.value)
    lacking = {name: value for name, value in held.recipe.items() if name != "controlnet"}
    with pytest.raises(pl.UsageError, match="'control_to_image' without controlnet"):
        pl.rerun(lacking, steered, None, edges)
