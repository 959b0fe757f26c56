"""Inpainting: the region is drawn, all else keeps its bits, and recipes draw the same again."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import portraitlib as pl
from portraitlib.generate.rerun import rerun
from portraitlib.photos.subject import subject_portrait

PROMPT = "portrait of a man, formal, in a city, comic book style"
QUICK = pl.Sampling(seed=5, num_images=2, num_inference_steps=6)


@pytest.fixture(scope="module")
def portrait() -> Image.Image:
    return subject_portrait("comic book", ear_size=5)


def box(left, top, right, bottom, size=(96, 96)) -> np.ndarray:
    mask = np.zeros(size[::-1], bool)
    mask[top:bottom, left:right] = True
    return mask


def differences(one, other) -> np.ndarray:
    return np.abs(np.asarray(one, int) - np.asarray(other, int)).max(2)


def test_the_region_is_drawn_anew_and_all_else_keeps_its_bits(mini, portrait):
    mask = box(30, 55, 60, 75)
    made = pl.inpaint(mini, portrait, mask, PROMPT, QUICK)
    assert len(made) == 2 and made[0].image.size == (96, 96)
    for each in made:
        changed = differences(each.image, portrait)
        assert not changed[~mask].any()
        assert (changed[mask] > 8).mean() > 0.3
    assert differences(made[0].image, made[1].image)[mask].any(), "another seed, another region"


def test_the_region_comes_to_fit_what_lies_around_it(mini, portrait):
    """Its border is less of a jump than if another portrait's region were pasted in."""
    mask = box(8, 20, 88, 50)
    fitted = pl.inpaint(mini, portrait, mask, PROMPT, pl.Sampling(num_images=4), feather=0)
    others = pl.text_to_image(mini, PROMPT, pl.Sampling(num_images=4))
    alone = [np.where(mask[..., None], each.image, portrait) for each in others]

    def jump(pictures):
        pixels = np.stack([np.asarray(each, int) for each in pictures])
        return np.abs(pixels[:, 49, 8:88] - pixels[:, 50, 8:88]).mean()

    assert jump([each.image for each in fitted]) < 0.75 * jump(alone)


def test_strength_is_how_much_of_it_is_drawn_anew(mini, portrait):
    mask = box(30, 55, 60, 75)
    little, much = (
        np.mean(
            [
                differences(each.image, portrait)[mask].mean()
                for each in pl.inpaint(mini, portrait, mask, PROMPT, QUICK, strength=strength)
            ]
        )
        for strength in (0.2, 1.0)
    )
    assert little < 0.6 * much


def test_a_picture_of_another_size_is_mended_at_its_own(mini, portrait):
    wide = portrait.resize((192, 192), Image.Resampling.LANCZOS).crop((0, 0, 192, 150))
    mask = box(70, 90, 120, 130, wide.size)
    (made,) = pl.inpaint(mini, wide, mask, PROMPT, pl.Sampling(num_images=1))
    assert made.image.size == (192, 150)
    changed = differences(made.image, wide)
    assert not changed[~mask].any() and changed[mask].any()


def test_one_picture_is_that_of_its_seed_in_a_batch(mini, portrait):
    mask = box(30, 55, 60, 75)
    batch = pl.inpaint(mini, portrait, mask, PROMPT, QUICK)
    alone = pl.inpaint(mini, portrait, mask, PROMPT, pl.Sampling(seed=6, num_inference_steps=6))
    assert differences(batch[1].image, alone[0].image).max() <= 2


def test_steps_and_previews_are_told_and_the_picture_is_encoded_once(mini, portrait, monkeypatch):
    steps, previews = [], []
    mask = box(30, 55, 60, 75)
    told = pl.inpaint(
        mini, portrait, mask, PROMPT, QUICK,
        on_step=lambda *step: steps.append(step), on_preview=previews.append,
    )  # fmt: skip
    assert steps == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]
    assert [each.step for each in previews] == [1, 2, 3, 4, 5]
    monkeypatch.setattr(mini.pipeline.vae, "encode", pytest.fail)
    again = pl.inpaint(mini, portrait, mask, PROMPT, QUICK)
    assert [each.image.tobytes() for each in again] == [each.image.tobytes() for each in told]


def test_a_recipe_draws_the_same_again(mini, portrait, tmp_path):
    mask = pl.select_region(portrait, (78, 46), radius=0.18)
    made = pl.inpaint(mini, portrait, mask, PROMPT, QUICK, strength=0.7, feather=0.05)
    opened = pl.Portrait.open(made[1].save(tmp_path / "mended.png"))
    again = rerun(opened, mini, image=portrait, mask=mask)
    assert again.image.tobytes() == made[1].image.tobytes()
    with pytest.raises(pl.UsageError, match="^mask: got another"):
        rerun(opened, mini, image=portrait, mask=box(0, 0, 9, 9))
    with pytest.raises(pl.UsageError, match="^mask: got none, expected the region"):
        rerun(opened, mini, image=portrait)
    with pytest.raises(pl.UsageError, match="^image: got another"):
        rerun(opened, mini, image=subject_portrait(), mask=mask)
    drawn = pl.text_to_image(mini, PROMPT, QUICK)[0]
    with pytest.raises(pl.UsageError, match="^mask: got one, but this text_to_image has none"):
        rerun(drawn, mini, mask=mask)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"mask": np.zeros((96, 96))}, "^mask: got nothing but black"),
        ({"mask": np.ones((9, 9))}, r"^mask: got shape \(9, 9\)"),
        ({"prompt": " "}, "^prompt: "),
        ({"strength": 0.01}, "leaves none to run"),
        ({"strength": 2}, "^inpaint.strength: "),
        ({"feather": -1}, "^inpaint.feather: "),
        ({"image": None}, "^image: got None"),
    ],
)
def test_mistakes_are_told_in_one_line(mini, portrait, arguments, says):
    given = {"image": portrait, "mask": box(1, 1, 9, 9), "prompt": PROMPT} | arguments
    with pytest.raises(pl.UsageError, match=says) as told:
        pl.inpaint(mini, sampling=QUICK, **given)
    assert "\n" not in str(told.value)


def test_the_subject_can_be_drawn_as_somebody_else():
    assert differences(subject_portrait(ear_size=5), subject_portrait()).any()
    assert subject_portrait(size_px=64).size == (64, 64)
    for wrong in ({"style": "cubist"}, {"nose": 1}):
        with pytest.raises(pl.UsageError, match="^subject_portrait: "):
            subject_portrait(**wrong)
