"""Drawing under a condition: diffusers' pixels, no call in vain, steps in common shared exactly."""

from __future__ import annotations

import json
import warnings
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_generate import counting_calls, pixels

import portraitlib as pl
from portraitlib import denoise, gallery, model_files, models
from portraitlib.mini.controlnet import new_controlnet
from portraitlib.portrait import parameters_text

PROMPT = "portrait of a man, comic book style"
QUICK = pl.Sampling(seed=11, num_inference_steps=6, size_px=64, guidance_scale=3.0)
HALF = pl.Control(scale=0.8, start=0.3, end=0.7)


def write_controlnet(folder: Path, unet, seed: int) -> Path:
    """A ControlNet that does something: seeded numbers where training would begin from zeros."""
    controlnet = new_controlnet(unet)
    generator = torch.Generator().manual_seed(seed)
    for name, weights in controlnet.named_parameters():
        if name.startswith(("controlnet_", "controlnet_cond_embedding.conv_out")):
            weights.data = 0.1 * torch.randn(weights.shape, generator=generator)
    controlnet.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(mini, tmp_path_factory) -> list[Path]:
    home = tmp_path_factory.mktemp("controlnets")
    return [write_controlnet(home / str(seed), mini.pipeline.unet, seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def steered(mini, folders) -> pl.Model:
    """mini with a ControlNet as its own."""
    preset = replace(mini.preset, controlnet_source=str(folders[0]))
    return replace(mini, preset=preset, controlnets={})


@pytest.fixture(scope="module")
def photos() -> pl.PhotoSet:
    return pl.subject_photos(size_px=64)


@pytest.fixture(scope="module")
def photo(photos) -> pl.Photo:
    return photos[0]


@pytest.fixture(scope="module")
def edges(photo) -> pl.Condition:
    return pl.canny(photo)


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


def assert_same(portraits, theirs):
    for portrait, values in zip(portraits, theirs, strict=True):
        assert np.abs(pixels(portrait) - values).max() <= 1


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
    steered, folders, edges, control, guidance_scale
):
    sampling = replace(QUICK, num_images=2, guidance_scale=guidance_scale)
    ours = pl.control_to_image(steered, edges, PROMPT, sampling, control)
    theirs = diffusers_pixels(steered, folders[:1], [edges], sampling, [control])
    assert_same(ours, theirs)
    (free,) = pl.text_to_image(steered, PROMPT, replace(sampling, num_images=1))
    assert np.abs(pixels(ours[0]) - pixels(free)).mean() > 2  # it does something


def test_several_conditions_add_up_as_in_diffusers(steered, folders, photos, edges):
    other = pl.make_condition(photos[1], "soft edges")
    controls = [pl.Control(scale=0.9, end=0.7), pl.Control(scale=0.4, start=0.3)]
    ours = pl.control_to_image(steered, [edges, other], PROMPT, QUICK, controls, controlnet=folders)
    theirs = diffusers_pixels(steered, folders, [edges, other], QUICK, controls)
    assert_same(ours, theirs)
    recipe = ours[0].recipe
    assert recipe["controlnet_conditioning_scale"] == [0.9, 0.4]
    assert [each["kind"] for each in recipe["condition"]] == ["canny", "soft edges"]


def test_with_an_image_the_pixels_are_those_of_diffusers_too(steered, folders, photos, edges):
    sampling = replace(QUICK, num_images=2, num_inference_steps=10)
    control = pl.Control(scale=0.8, end=0.6)
    ours = pl.control_to_image(
        steered, edges, PROMPT, sampling, control, image=photos[2], strength=0.7
    )
    vae, processor = steered.pipeline.vae, steered.pipeline.image_processor
    with torch.no_grad():
        encoded = vae.encode(processor.preprocess(photos[2].image)).latent_dist.mode()
    theirs = diffusers_pixels(
        *(steered, folders[:1], [edges], sampling, [control]),
        image=encoded * vae.config.scaling_factor,
        strength=0.7,
    )
    assert_same(ours, theirs)


def test_a_scale_of_zero_draws_what_text_and_image_to_image_draw(steered, photo, edges):
    nothing = pl.Control(scale=0)
    (free,) = pl.text_to_image(steered, PROMPT, QUICK)
    (held,) = pl.control_to_image(steered, edges, PROMPT, QUICK, nothing)
    assert held.image == free.image
    (free,) = pl.image_to_image(steered, photo, PROMPT, QUICK, strength=0.5)
    (held,) = pl.control_to_image(steered, edges, PROMPT, QUICK, nothing, image=photo, strength=0.5)
    assert held.image == free.image


@pytest.mark.parametrize(
    "kind",
    ["EulerAncestralDiscrete", "DPMSolverMultistep", "HeunDiscrete"],
)
def test_samplers_that_remember_or_add_noise_draw_what_diffusers_draws(
    steered, folders, edges, kind, monkeypatch
):
    import diffusers

    config = dict(steered.pipeline.scheduler.config) | {"rescale_betas_zero_snr": False}
    scheduler = getattr(diffusers, f"{kind}Scheduler").from_config(config)
    monkeypatch.setattr(steered.pipeline, "scheduler", scheduler)
    sampling = replace(QUICK, num_images=2)
    controls = [pl.Control(end=0.5), pl.Control()]
    variants = pl.control_to_image_variants(steered, edges, PROMPT, sampling, controls)
    for control, portraits in zip(controls, variants, strict=True):
        theirs = diffusers_pixels(steered, folders[:1], [edges], sampling, [control])
        assert_same(portraits, theirs)


def test_the_same_seed_gives_the_same_pixels_and_a_batch_its_single_pictures(steered, edges):
    batch = pl.control_to_image(steered, edges, PROMPT, replace(QUICK, num_images=3))
    again = pl.control_to_image(steered, edges, PROMPT, replace(QUICK, num_images=3))
    assert [each.image for each in batch] == [each.image for each in again]
    for index, portrait in enumerate(batch):
        (alone,) = pl.control_to_image(steered, edges, PROMPT, replace(QUICK, seed=11 + index))
        assert portrait.recipe["seed"] == alone.recipe["seed"] == 11 + index
        assert np.abs(pixels(portrait) - pixels(alone)).max() <= 1


def test_half_precision_draws_nearly_the_same_picture(steered, photo, edges):
    # As on a GPU: everything in float16 but a VAE that would overflow.
    parts = ("text_encoder", "text_encoder_2", "unet", "vae")
    folder = Path(steered.preset.source)
    weights = model_files.check_folder(folder, parts)
    pipeline = models._assemble(folder, weights, torch.float16)
    fresh = {"prompts": OrderedDict(), "pictures": OrderedDict(), "controlnets": {}}
    halves = replace(steered, pipeline=pipeline, dtype=torch.float16, **fresh)
    for start in ({}, {"image": photo, "strength": 0.8}):
        for control in (pl.Control(end=0.6), pl.Control(scale=0.5, guess_mode=True)):
            (whole,) = pl.control_to_image(steered, edges, PROMPT, QUICK, control, **start)
            (half,) = pl.control_to_image(halves, edges, PROMPT, QUICK, control, **start)
            assert half.recipe["dtype"] == "float16"
            assert np.abs(pixels(whole) - pixels(half)).mean() < 3


# --- no call in vain -----------------------------------------------------------------------------


def test_nothing_runs_that_does_nothing(steered, photo, edges):
    fresh = replace(steered, prompts=OrderedDict(), pictures=OrderedDict())
    net, pipeline = pl.load_controlnet(steered), steered.pipeline
    done = []
    with (
        counting_calls(net.trunk) as controlled,
        counting_calls(net.embedding) as embedded,
        counting_calls(pipeline.unet) as denoised,
        counting_calls(pipeline.text_encoder) as read,
        counting_calls(pipeline.vae.encoder) as encoded,
        counting_calls(pipeline.vae.decoder) as decoded,
    ):
        pl.control_to_image(
            *(fresh, edges, PROMPT, replace(QUICK, num_inference_steps=10), HALF),
            image=photo,
            on_step=lambda *step: done.append(step),
        )
    assert controlled == [2] * 4  # steps 3 to 6 of 0 to 9, with and without the prompt
    assert denoised == [2] * 10
    assert embedded == [1]
    assert (len(read), len(encoded), len(decoded)) == (2, 1, 1)
    assert done == [(step, 10) for step in range(1, 11)]


def test_runs_that_differ_only_in_end_share_their_first_steps_exactly(steered, edges):
    sampling = replace(QUICK, num_inference_steps=30)
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
    assert (len(controlled), len(denoised)) == (30, 76)
    assert done == [(step, 76) for step in range(1, 77)]
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


def test_steps_can_stop_anywhere_and_go_on(steered, edges):
    from portraitlib import control

    run = control._prepare(steered, edges, PROMPT, QUICK, [HALF], None, 1.0, None)
    state, timesteps = control._start(run)
    drawing, plan = control._drawing(run), denoise.make_plan([HALF], len(timesteps))
    whole = denoise.denoise(drawing, state, timesteps, plan)
    middle = denoise.denoise(drawing, state, timesteps[:2], plan[:2])
    for _ in range(2):  # what was stopped can be continued more than once
        ends = denoise.denoise(drawing, middle, timesteps[2:], plan[2:])
        assert torch.equal(ends.latents, whole.latents)


# --- the control model ---------------------------------------------------------------------------


def test_a_control_model_is_loaded_once_and_remembered(mini, folders):
    fresh = replace(mini, controlnets={})
    first = pl.load_controlnet(fresh, folders[0])
    assert pl.load_controlnet(fresh, str(folders[0])) is first
    assert first.revision.startswith("sha256:")
    assert first.revision != pl.load_controlnet(fresh, folders[1]).revision


def change_config(folder: Path, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cross_attention_dim": 2048}, "another family than mini: cross_attention_dim is 2048"),
        ({"block_out_channels": [320, 640, 1280]}, "block_out_channels is \\[320, 640, 1280\\]"),
        ({"conditioning_embedding_out_channels": [16, 32]}, "pixels to a latent is 2"),
        ({"_class_name": "SD3ControlNetModel"}, "expected a ControlNetModel"),
    ],
)
def test_a_control_model_of_another_family_is_refused_before_running(
    mini, edges, tmp_path, changes, says
):
    folder = write_controlnet(tmp_path / "other", mini.pipeline.unet, 1)
    change_config(folder, **changes)
    fresh = replace(mini, controlnets={})
    with pytest.raises(pl.UsageError, match=says) as refusal:
        pl.control_to_image(fresh, edges, PROMPT, QUICK, controlnet=folder)
    assert "\n" not in str(refusal.value)


def test_missing_weights_and_odd_names_are_told_in_one_line(mini, edges, tmp_path):
    def refused(preset=None, controlnet=None) -> str:
        model = replace(mini, controlnets={}, preset=preset or mini.preset)
        with pytest.raises(pl.UsageError) as refusal:
            pl.control_to_image(model, edges, PROMPT, QUICK, controlnet=controlnet)
        assert "\n" not in str(refusal.value)
        return str(refusal.value)

    gone = replace(mini.preset, controlnet_source=str(tmp_path / "gone"))
    assert "install the package again, or train them" in refused(gone)
    assert "has no ControlNet of its own" in refused(replace(gone, controlnet_source=None))
    assert "expected a folder that exists or a hub id" in refused(controlnet="no such thing")
    assert "config.json is missing" in refused(controlnet=tmp_path)
    folder = write_controlnet(tmp_path / "pickled", mini.pipeline.unet, 1)
    for file in folder.glob("*.safetensors"):
        file.rename(file.with_suffix(".bin"))
    assert "is a pickle" in refused(controlnet=folder)


def test_a_control_model_that_waits_in_main_memory_goes_back_there(mini, folders, edges):
    # On a machine without a GPU the device is main memory too; what is tested is the way there.
    offloaded = replace(mini, offloaded=True, controlnets={})
    (portrait,) = pl.control_to_image(offloaded, edges, PROMPT, QUICK, controlnet=folders[0])
    (plain,) = pl.control_to_image(mini, edges, PROMPT, QUICK, controlnet=folders[0])
    assert portrait.image == plain.image


# --- conditions ----------------------------------------------------------------------------------


def test_a_condition_of_another_size_is_made_again_and_that_is_said(steered, photos):
    sampling = replace(QUICK, num_inference_steps=1, size_px=32)
    large = pl.canny(photos[0])
    small = pl.canny(photos[0], size_px=32)
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


def test_what_is_no_condition_is_refused_in_one_line(steered, photo, edges):
    black = Image.new("RGB", (64, 64))
    refused = {
        "black picture, expected edges": [black],
        "got Photo, expected what pl.canny": [photo],
        "got an empty list": [[]],
        "got None": [None],
        "control: got 2 for 1 conditions": [edges, PROMPT, QUICK, [HALF, HALF]],
        "control: got 0.7, expected Control": [edges, PROMPT, QUICK, 0.7],
    }
    for says, arguments in refused.items():
        with pytest.raises(pl.UsageError, match=says.replace("None", "NoneType")) as refusal:
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


# --- recipes, sliders ----------------------------------------------------------------------------


def test_the_recipe_has_diffusers_names_and_survives_the_file(steered, photo, edges, tmp_path):
    sampling = replace(QUICK, num_inference_steps=10)
    (portrait,) = pl.control_to_image(
        steered, edges, PROMPT, sampling, HALF, image=photo, strength=0.9
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
    assert "control 0.8" in gallery._caption(recipe)


@pytest.mark.parametrize("with_image", [False, True])
def test_rerunning_with_the_same_inputs_gives_the_same_pixels(
    steered, folders, photos, edges, with_image
):
    control = pl.Control(scale=0.8, end=0.6)
    start = {"image": photos[2], "strength": 0.8} if with_image else {}
    other = pl.make_condition(photos[1], "line drawing", line_px=1.5)
    drawn = [
        (edges, pl.control_to_image(steered, edges, PROMPT, QUICK, control, **start)),
        (
            [edges, other],
            pl.control_to_image(
                *(steered, [edges, other], PROMPT, QUICK, [control, pl.Control(guess_mode=True)]),
                controlnet=[None, folders[1]],
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


def test_rerunning_asks_for_the_condition_and_refuses_another(steered, photo, photos, edges):
    sampling = replace(QUICK, num_inference_steps=1)
    (held,) = pl.control_to_image(steered, edges, PROMPT, sampling)
    (free,) = pl.text_to_image(steered, PROMPT, sampling)
    refused = {
        "expected what steered the recipe": (held, steered),
        "condition: got another": (held, steered, None, pl.canny(photos[1])),
        "text_to_image is steered by none": (free, steered, None, edges),
        "this control_to_image starts from none": (held, steered, photo, edges),
    }
    for says, arguments in refused.items():
        with pytest.raises(pl.UsageError, match=says) as refusal:
            pl.rerun(*arguments)
        assert "\n" not in str(refusal.value)
    lacking = {name: value for name, value in held.recipe.items() if name != "controlnet"}
    with pytest.raises(pl.UsageError, match="'control_to_image' without controlnet"):
        pl.rerun(lacking, steered, None, edges)


def test_control_has_sliders_and_can_be_swept(steered, edges):
    pytest.importorskip("ipywidgets")
    from portraitlib.studio import explore

    made: list[pl.Portrait] = []
    sampling = replace(QUICK, num_inference_steps=2)
    box = explore(pl.control_to_image, steered, edges, PROMPT, sampling, HALF, made=made)
    controls = {getattr(child, "description", ""): child for child in box.children}
    labels = ("control scale", "control start", "control end")
    assert [controls[label].value for label in labels] == [0.8, 0.3, 0.7]
    controls["control start"].value, controls["control end"].value = 0.0, 1.0
    rows = [child for child in box.children if type(child).__name__ == "HBox"]
    rows[-1].children[0].click()
    assert made[0].recipe["control_guidance_end"] == 1.0
    table = pl.sweep(
        pl.control_to_image, steered, edges, PROMPT, sampling, vary={"scale": [0.5, 1.0]}
    )
    assert [p.recipe["controlnet_conditioning_scale"] for p in table.portraits] == [0.5, 1.0]


# --- sweeps --------------------------------------------------------------------------------------


def test_a_sweep_over_the_ends_shares_the_first_steps(steered, edges):
    sampling = replace(QUICK, num_inference_steps=30)
    ends = [0.25, 0.5, 0.75, 1.0]
    with (
        counting_calls(pl.load_controlnet(steered).trunk) as controlled,
        counting_calls(steered.pipeline.unet) as denoised,
    ):
        table = pl.sweep(pl.control_to_image, steered, edges, PROMPT, sampling, vary={"end": ends})
    assert (len(controlled), len(denoised)) == (30, 76)
    assert [p.recipe["control_guidance_end"] for p in table.portraits] == ends
    assert len({p.image.tobytes() for p in table.portraits}) == 4


def test_cells_of_a_sweep_have_the_pixels_of_single_calls(steered, edges):
    vary = {"start": [0.0, 0.5], "seed": [3, 5], "scale": [0.4, 0.8]}
    with counting_calls(steered.pipeline.unet) as denoised:
        table = pl.sweep(pl.control_to_image, steered, edges, PROMPT, QUICK, vary=vary)
    # A seed: two scales from the first step on, and three steps that both late starts share.
    assert len(denoised) == 2 * (6 + 6 + 3 + 3 + 3)
    for row in table.rows:
        control = pl.Control(scale=row.settings["scale"], start=row.settings["start"])
        sampling = replace(QUICK, seed=row.settings["seed"])
        (alone,) = pl.control_to_image(steered, edges, PROMPT, sampling, control)
        assert row.portraits[0].image == alone.image
        assert row.portraits[0].recipe | {"seconds": 0} == alone.recipe | {"seconds": 0}


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
