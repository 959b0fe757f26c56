"""Starting from a picture: any picture is taken, diffusers' maths holds, nothing is done twice."""

from __future__ import annotations

import io
import json
import warnings
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawing import counting_calls, pixels
from PIL import Image

import portraitlib as pl
from portraitlib.generate import images
from portraitlib.models import load
from portraitlib.photos.crop import crop_head
from portraitlib.photos.faces.find import find_faces
from portraitlib.photos.pictures import open_picture, picture_hash, ready_picture
from portraitlib.portrait import caption, parameters_text

PROMPT = "portrait of a man, comic book style"
QUICK = pl.Sampling(seed=11, num_inference_steps=5, size_px=64)


@pytest.fixture(scope="module")
def photos() -> pl.PhotoSet:
    """Two drawn photos, 64 px: ready for QUICK."""
    return replace(whole := pl.subject_photos(size_px=64), photos=whole.photos[:2])


@pytest.fixture(scope="module")
def photo(photos) -> pl.Photo:
    return photos[0]


def distance(one, other) -> float:
    """Mean difference of two pictures, of 255 levels."""
    return float(np.abs(np.asarray(one, int) - np.asarray(other, int)).mean())


# --- the drawing ---------------------------------------------------------------------------------


def test_the_pixels_are_those_of_diffusers_own_pipeline(mini, photo):
    from diffusers import StableDiffusionXLImg2ImgPipeline

    plain = StableDiffusionXLImg2ImgPipeline(
        **mini.pipeline.components, force_zeros_for_empty_prompt=False, add_watermarker=False
    )
    plain.set_progress_bar_config(disable=True)
    vae = plain.vae
    with torch.no_grad():
        encoded = vae.encode(plain.image_processor.preprocess(photo.image)).latent_dist.mode()
    theirs = plain(
        PROMPT,
        image=encoded * vae.config.scaling_factor,
        strength=0.7,
        num_inference_steps=6,
        guidance_scale=3.0,
        num_images_per_prompt=2,
        generator=[torch.Generator().manual_seed(seed) for seed in (11, 12)],
        output_type="np",
    ).images
    sampling = replace(QUICK, num_images=2, num_inference_steps=6, guidance_scale=3.0)
    ours = pl.image_to_image(mini, photo, PROMPT, sampling, strength=0.7)
    for portrait, values in zip(ours, theirs, strict=True):
        assert np.abs(pixels(portrait) - (values * 255).round().astype(int)).max() <= 1


def test_more_strength_leaves_less_of_the_picture(mini, photo):
    far = [
        distance(pl.image_to_image(mini, photo, PROMPT, QUICK, strength=s)[0].image, photo.image)
        for s in (0.2, 0.6, 1.0)
    ]
    assert far[0] < far[1] < far[2]
    assert far[0] < 25


def test_full_strength_draws_what_text_to_image_draws_whatever_the_picture(mini, photos):
    # The noisiest step of the embedded model is noise but for 1/4096. Other schedules end before.
    (alone,) = pl.text_to_image(mini, PROMPT, QUICK)
    for picture in photos:
        (portrait,) = pl.image_to_image(mini, picture, PROMPT, QUICK, strength=1)
        assert np.abs(pixels(portrait) - pixels(alone)).max() <= 2


def test_the_same_seed_gives_the_same_pixels_and_text_to_image_is_not_disturbed(mini, photo):
    (before,) = pl.text_to_image(mini, PROMPT, QUICK)
    (first,) = pl.image_to_image(mini, photo, PROMPT, QUICK)
    (again,) = pl.image_to_image(mini, photo, PROMPT, QUICK)
    (other,) = pl.image_to_image(mini, photo, PROMPT, replace(QUICK, seed=12))
    (after,) = pl.text_to_image(mini, PROMPT, QUICK)
    assert first.image == again.image != other.image
    assert before.image == after.image


def test_a_batch_equals_its_single_pictures(mini, photo):
    with counting_calls(mini.pipeline.unet) as sizes:
        batch = pl.image_to_image(mini, photo, PROMPT, replace(QUICK, num_images=3))
    assert sizes == [6] * 3  # three pictures, with and without the prompt, 5 * 0.6 steps
    for index, portrait in enumerate(batch):
        (single,) = pl.image_to_image(mini, photo, PROMPT, replace(QUICK, seed=11 + index))
        assert portrait.recipe["seed"] == single.recipe["seed"] == 11 + index
        assert np.abs(pixels(portrait) - pixels(single)).max() <= 1


def test_only_the_steps_that_are_run_are_reported(mini, photo):
    done = []
    pl.image_to_image(mini, photo, PROMPT, QUICK, on_step=lambda *step: done.append(step))
    assert done == [(1, 3), (2, 3), (3, 3)]


def test_no_weights_are_loaded_twice(mini):
    sibling = load.sibling_pipeline(mini, "StableDiffusionXLImg2ImgPipeline")
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        assert getattr(sibling, part) is getattr(mini.pipeline, part)
    assert sibling.scheduler is not mini.pipeline.scheduler
    assert sibling.scheduler.config == mini.pipeline.scheduler.config


def test_a_sweep_over_strengths_encodes_picture_and_prompt_once(mini, photo):
    fresh = replace(mini, prompts=OrderedDict(), pictures=OrderedDict())
    strengths = [0.2, 0.6, 1.0]
    with (
        counting_calls(mini.pipeline.vae.encoder) as pictures,
        counting_calls(mini.pipeline.text_encoder) as texts,
    ):
        table = pl.sweep(
            pl.image_to_image, fresh, photo, PROMPT, QUICK, vary={"strength": strengths}
        )
    assert (len(pictures), len(texts)) == (1, 2)  # the prompt, and the empty negative prompt
    assert [portrait.recipe["strength"] for portrait in table.portraits] == strengths
    (alone,) = pl.image_to_image(mini, photo, PROMPT, QUICK, strength=0.6)
    assert table.portraits[1].image == alone.image


def test_a_sweep_looks_for_the_face_once(mini, astronaut, tmp_path, monkeypatch):
    looked = []

    def counted(picture):
        looked.append(picture.size)
        return find_faces(picture)

    monkeypatch.setattr("portraitlib.photos.pictures.find_faces", counted)
    fresh = replace(mini, ready_pictures=OrderedDict())
    wide, path = astronaut.crop((0, 0, 512, 400)), tmp_path / "wide.png"
    wide.save(path)
    for image in (wide, path):
        table = pl.sweep(
            pl.image_to_image, fresh, image, PROMPT, QUICK, vary={"strength": [0.2, 0.6, 1.0]}
        )
        (alone,) = pl.image_to_image(mini, wide, PROMPT, QUICK, strength=0.6)
        assert table.portraits[1].image == alone.image
        assert len(looked) == 2  # once for the sweep, once for the other model
        looked.clear()
        mini.ready_pictures.clear()
    wide.putpixel((0, 0), (255, 0, 0))  # another picture in the same place
    pl.image_to_image(fresh, wide, PROMPT, QUICK)
    assert len(looked) == 1


def test_a_model_keeps_only_the_last_pictures(mini):
    from portraitlib.generate import latents

    fresh = replace(mini, pictures=OrderedDict())
    for level in range(latents.PICTURES_KEPT + 3):
        latents.encode_picture(fresh, Image.new("RGB", (32, 32), (level, 0, 0)))
    assert len(fresh.pictures) == latents.PICTURES_KEPT


# --- any picture ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("L", (40, 40), 200),
        Image.new("RGBA", (500, 300), (255, 0, 0, 100)),
        Image.new("P", (64, 65)),
        Image.new("1", (90, 90)),
        Image.new("CMYK", (200, 100)),
        Image.fromarray(np.full((80, 60), 40_000, np.uint16)),
        Image.new("LA", (3, 1000)),
        Image.new("RGB", (1, 1)),
    ],
    ids=lambda picture: f"{picture.mode}-{picture.width}x{picture.height}",
)
@pytest.mark.filterwarnings("ignore:image. ")
def test_a_picture_of_any_mode_and_size_is_taken(mini, picture):
    (portrait,) = pl.image_to_image(
        mini, picture, PROMPT, replace(QUICK, num_inference_steps=1), strength=1
    )
    assert (portrait.image.mode, portrait.image.size) == ("RGB", (64, 64))


def test_transparent_parts_are_white_and_deep_grey_keeps_its_tone():
    clear, _ = ready_picture(Image.new("RGBA", (64, 64), (255, 0, 0, 0)), 64)
    assert clear.getcolors() == [(64 * 64, (255, 255, 255))]
    deep, _ = ready_picture(Image.fromarray(np.full((64, 64), 40_000, np.uint16)), 64)
    assert deep.getcolors() == [(64 * 64, (156, 156, 156))]


def test_a_photo_that_lies_on_its_side_is_turned_upright(astronaut, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    astronaut.transpose(Image.Transpose.ROTATE_90).save(buffer, "JPEG", exif=exif, quality=95)
    (tmp_path / "lying.jpg").write_bytes(buffer.getvalue())
    upright, _ = ready_picture(astronaut, 96)
    with Image.open(buffer) as lying:
        assert distance(ready_picture(lying, 96)[0], upright) < 6
    assert distance(ready_picture(tmp_path / "lying.jpg", 96)[0], upright) < 6
    assert distance(ready_picture(str(tmp_path / "lying.jpg"), 96)[0], upright) < 6


def test_what_has_the_size_stays_as_it_is_and_portraits_are_only_resized(photo):
    assert ready_picture(photo, 64) == (photo.image, [])
    assert ready_picture(photo.image, 64) == (photo.image, [])
    half = photo.image.resize((32, 32), Image.Resampling.LANCZOS)
    assert ready_picture(pl.Portrait(photo.image, {}), 32) == (half, [])
    assert ready_picture(photo, 32) == (half, [])


def test_a_photograph_is_cut_about_the_head(astronaut):
    wide = Image.new("RGB", (1400, 700), "gray")
    wide.paste(astronaut, (700, 100))
    square, notes = ready_picture(wide, 256)
    assert notes == []
    faces, _ = find_faces(wide)
    crop, _ = crop_head(wide.size, faces[0], 256)
    assert square == crop.cut(wide, 256)
    assert crop.left > 700


def test_what_a_reader_should_know_of_the_picture_is_told_in_one_line(mini, photo):
    quick = replace(QUICK, num_inference_steps=1)
    small = Image.new("RGB", (40, 30), "gray")
    with pytest.warns(UserWarning) as told:
        pl.image_to_image(mini, small, PROMPT, quick, strength=1)
    assert [str(each.message) for each in told if each.category is UserWarning] == [
        "image: no face found, so the largest square in the middle was taken; a square of 30 px "
        "was enlarged to 64 px and will look soft; try a larger picture"
    ]
    assert __file__ in {each.filename for each in told if each.category is UserWarning}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        pl.image_to_image(mini, photo, PROMPT, quick, strength=1)
        pl.image_to_image(mini, Image.new("RGB", (50, 50)), PROMPT, quick, strength=1)


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (
            None,
            "image: got NoneType, expected a PIL picture, the path of one, a Photo or a Portrait",
        ),
        (np.zeros((8, 8, 3)), "image: got ndarray, expected"),
        ("missing.png", "image missing.png: no such file"),
        (".", "not a file"),
        ("nul\0l.png", "image nul.*: (cannot be read|no such file)"),
        (__file__, "no picture by its content"),
        (Image.new("RGB", (0, 5)), "image: 0x5 pixels, expected at least one"),
        (Image.new("F", (5, 5), 7.0), "image: float pixels beyond 0..1"),
    ],
    ids=["None", "array", "missing", "folder", "nul", "text", "empty", "float"],
)
def test_what_is_no_picture_is_refused_in_one_line(mini, image, says):
    with pytest.raises(pl.UsageError, match=says) as refusal:
        pl.image_to_image(mini, image, PROMPT, QUICK)
    assert "\n" not in str(refusal.value)


def test_a_photo_without_a_crop_is_refused(photo):
    with pytest.raises(pl.UsageError, match="was left out and has no crop"):
        open_picture(replace(photo, image=None))


@pytest.mark.parametrize("strength", [0, 1.01, -0.5, float("nan"), "0.5", None, True])
def test_a_strength_that_is_no_share_is_refused(mini, photo, strength):
    with pytest.raises(pl.UsageError, match="strength: got .*expected a number from 0.001 to 1"):
        pl.image_to_image(mini, photo, PROMPT, QUICK, strength=strength)


def test_no_step_to_run_says_what_to_change_and_that_works(mini, photo):
    with pytest.raises(pl.UsageError, match="try strength=0.2 or num_inference_steps=11"):
        pl.image_to_image(mini, photo, PROMPT, QUICK, strength=0.1)
    assert pl.image_to_image(mini, photo, PROMPT, QUICK, strength=0.2)
    for steps in (1, 3, 7, 25, 49, 999, 1000):
        settings = replace(QUICK, num_inference_steps=steps)
        for strength in (0.001, 0.0099, 1 / 161, 0.3):
            try:
                images.check_strength(strength, settings)
            except pl.UsageError as refusal:
                advice = str(refusal).partition("try strength=")[2]
                share, more = advice.split(" or num_inference_steps=")
                images.check_strength(float(share), settings)
                images.check_strength(strength, replace(settings, num_inference_steps=int(more)))


# --- recipes -------------------------------------------------------------------------------------


def test_the_recipe_knows_the_picture_by_its_content_alone(mini, photo, tmp_path):
    path = tmp_path / "jane-doe.png"
    photo.image.save(path)
    (portrait,) = pl.image_to_image(mini, path, PROMPT, QUICK, strength=0.7)
    recipe = portrait.recipe
    assert (recipe["function"], recipe["strength"]) == ("image_to_image", 0.7)
    assert recipe["image"] == picture_hash(photo.image)
    assert recipe["image"].startswith("sha256:") and len(recipe["image"]) == 71
    assert "jane" not in json.dumps(recipe) and str(tmp_path) not in json.dumps(recipe)
    assert pl.Portrait.open(portrait.save(tmp_path / "one.png")) == portrait
    assert "Denoising strength: 0.7, Version:" in parameters_text(recipe)
    assert caption(recipe) == "seed 11 · 5 steps · guidance 2 · strength 0.7"


def test_rerunning_with_the_same_picture_gives_the_same_pixels(mini, photo, astronaut):
    sampling = replace(QUICK, num_images=2)
    for picture in (photo, astronaut):
        portrait = pl.image_to_image(mini, picture, PROMPT, sampling, strength=0.5)[1]
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            again = pl.rerun(portrait, mini, picture)
        assert again.image == portrait.image
        assert again.recipe | {"seconds": 0} == portrait.recipe | {"seconds": 0}


def test_rerunning_asks_for_the_picture_and_refuses_another(mini, photos):
    (portrait,) = pl.image_to_image(mini, photos[0], PROMPT, QUICK, strength=0.2)
    (plain,) = pl.text_to_image(mini, PROMPT, replace(QUICK, num_inference_steps=1))
    refused = {
        "expected the picture that the recipe started from": (portrait, mini),
        "image: got another": (portrait, mini, photos[1]),
        "image: got one, but this text_to_image has none": (plain, mini, photos[0]),
    }
    for says, arguments in refused.items():
        with pytest.raises(pl.UsageError, match=says) as refusal:
            pl.rerun(*arguments)
        assert "\n" not in str(refusal.value)
    lacking = {name: value for name, value in portrait.recipe.items() if name != "strength"}
    with pytest.raises(pl.UsageError, match="'image_to_image' without strength"):
        pl.rerun(lacking, mini, photos[0])
