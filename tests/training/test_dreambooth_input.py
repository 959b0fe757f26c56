"""What cannot be trained with is said in one clear line, before anything is computed."""

from __future__ import annotations

import importlib.util
import pickle
import warnings
from dataclasses import replace

import pytest
import torch

import portraitlib as pl
from portraitlib.models.adapters import Adapter
from portraitlib.training import dreambooth
from portraitlib.training.check import check_training
from portraitlib.training.class_set import ClassImages


@pytest.fixture
def no_work(monkeypatch):
    """Nothing may be computed or written."""

    def work(*given, **more):
        pytest.fail("work was done")

    for name in ("open_run", "tune", "prepare_data", "encode_captions", "start_accelerator"):
        monkeypatch.setattr(dreambooth, name, work)


def refusal(*given, **more) -> str:
    with pytest.raises(pl.UsageError) as refused:
        pl.train_dreambooth(*given, **more)
    said = str(refused.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_photos(mini, three_photos, no_work, count):
    few = replace(three_photos, photos=three_photos.photos[:count])
    assert refusal(mini, few) == (
        f"photos: got {count} that can be used, expected 2 or more, better 8 to 20; "
        "see photos.report"
    )


def test_things_of_another_kind(mini, three_photos, no_work):
    assert "try load_model('mini')" in refusal("mini", three_photos)
    assert "photos: got list, expected a PhotoSet; try read_photos" in refusal(
        mini, three_photos.images
    )
    assert "settings: got dict, expected DreamBooth(...)" in refusal(
        mini, three_photos, {"rank": 4}
    )
    assert "class_images: got list, expected ClassImages or None" in refusal(
        mini, three_photos, pl.DreamBooth(), three_photos.images
    )
    assert "watch_every: got 0, expected a whole number from 1" in refusal(
        mini, three_photos, watch_every=0
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rank": 0}, "rank: got 0, expected a whole number from 1 to 1024"),
        ({"rank": 4.5}, "rank: got 4.5"),
        ({"rank": 5000}, "rank: got 5000"),
        ({"alpha": 0}, "alpha: got 0"),
        ({"prior_loss_weight": -1}, "prior_loss_weight: got -1, expected a number from 0.0 to 100"),
        ({"prior_loss_weight": 1000}, "prior_loss_weight: got 1000"),
        ({"prior_loss_weight": float("nan")}, "prior_loss_weight: got nan"),
        ({"learning_rate": "fast"}, "learning_rate: got 'fast'"),
        ({"max_train_steps": 0}, "max_train_steps: got 0"),
        ({"seed": -1}, "seed: got -1"),
        ({"tune": "all"}, "tune: got 'all', expected one of lora, full"),
        ({"layers": "everything"}, "layers: got 'everything', expected one of attention"),
        ({"optimizer": "sgd"}, "optimizer: got 'sgd', expected one of adamw"),
        ({"lr_scheduler": "step"}, "lr_scheduler: got 'step'"),
        ({"precision": "float8"}, "precision: got 'float8', expected one of float32, float16"),
        ({"compile": 1}, "compile: got 1, expected True or False"),
        ({"instance_prompt": " "}, "instance_prompt: got ' ', expected words"),
        ({"class_prompt": 3}, "class_prompt: got 3, expected words"),
        ({"max_train_steps": 5, "num_train_epochs": 5}, "num_train_epochs=5, expected one of them"),
    ],
)
def test_settings_out_of_range(given, said):
    with pytest.raises(pl.UsageError) as refused:
        pl.DreamBooth(**given)
    assert said in str(refused.value)
    assert str(refused.value).startswith("DreamBooth") and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"tune": "full", "text_learning_rate": 1e-5},
            "text_learning_rate: got 1e-05 with tune='full', which trains the UNet alone",
        ),
        ({"precision": "float16"}, "DreamBooth.precision: got 'float16' on a CPU"),
        (
            {"class_prompt": "portrait of a woman"},
            "class prompt: none of the words of 'portrait of a woman' is in the instance prompt "
            "'portrait of jrdnpl man in a city', so it preserves another class; try one with woman",
        ),
        ({"class_prompt": "a photo"}, "none of the words of 'a photo' is in the instance prompt"),
    ],
)
def test_settings_that_do_not_fit_together(mini, three_photos, no_work, given, said):
    assert said in refusal(mini, three_photos, pl.DreamBooth(**given))


def test_class_images_that_do_not_fit(mini, three_photos, two_men, no_work):
    small = ClassImages("portrait of a man", two_men.resized(64).images, 64)
    assert refusal(mini, three_photos, pl.DreamBooth(), small) == (
        "class_images: got pictures of 64 px, expected 96 px, the size that mini draws; "
        "try class_images.resized(96)"
    )
    assert check_training(mini, three_photos, pl.DreamBooth(), small.resized(96))
    none = replace(two_men, images=())
    assert "class_images: got none" in refusal(mini, three_photos, pl.DreamBooth(), none)
    other = replace(two_men, prompt="portrait of a dog")
    assert "try one with dog in it" in refusal(mini, three_photos, pl.DreamBooth(), other)
    both = pl.DreamBooth(class_prompt="portrait of a man")
    assert "DreamBooth.class_prompt: given beside class_images" in refusal(
        mini, three_photos, both, two_men
    )


@pytest.mark.parametrize(
    ("optimizer", "package"), [("adamw8bit", "bitsandbytes"), ("prodigy", "prodigyopt")]
)
def test_an_optimizer_that_is_not_installed(
    mini, three_photos, no_work, monkeypatch, optimizer, package
):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == package else find(name)
    )
    assert refusal(mini, three_photos, pl.DreamBooth(optimizer=optimizer)) == (
        f"DreamBooth.optimizer: {optimizer!r} needs the package {package}; pip install {package}, "
        "or try 'adamw'"
    )


def named(photos, identifier: str, caption: str):
    renamed = tuple(replace(photo, caption=caption) for photo in photos)
    return replace(photos, photos=renamed, identifier=identifier)


def test_an_identifier_that_is_a_word_is_warned_of_with_the_reason(mini, three_photos):
    common = named(three_photos, "Curly", "portrait of Curly man")
    with pytest.warns(UserWarning) as told:
        check_training(mini, common, pl.DreamBooth(), None)
    (said,) = [str(each.message) for each in told]
    assert said == (
        "identifier: 'Curly' is a word that mini knows as one piece, so it brings a meaning of its "
        "own; try rare letters such as 'jrdnpl'"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_training(mini, three_photos, pl.DreamBooth(), None)


def test_an_identifier_that_no_prompt_has_is_warned_of(mini, three_photos):
    with pytest.warns(UserWarning, match="the identifier 'jrdnpl' is not in it; prompts will have"):
        check_training(mini, three_photos, pl.DreamBooth(instance_prompt="portrait of a man"), None)


def test_a_warning_points_at_whoever_started_the_training(mini, three_photos, quick, tmp_path):
    settings = quick(max_train_steps=1, instance_prompt="portrait of a man")
    with pytest.warns(UserWarning, match="identifier") as told:
        pl.train_dreambooth(mini, three_photos, settings, folder=tmp_path)
    assert {each.filename for each in told} == {__file__}


def test_a_lora_of_another_base_or_a_pickle_is_refused(mini, three_photos, quick, tmp_path):
    adapter = pl.train_dreambooth(
        mini, three_photos, quick(max_train_steps=1), folder=tmp_path / "run"
    )
    wider = {
        name: torch.cat([each, each], 1) if name.endswith("lora_A.weight") else each
        for name, each in adapter.tensors.items()
    }
    with pytest.raises(pl.UsageError, match="of another base than mini") as refused:
        mini.with_adapter(replace(adapter, tensors=wider))
    assert "\n" not in str(refused.value)
    with pytest.warns(UserWarning, match="trained on sdxl at .*, got mini at .*; likeness may"):
        mini.with_adapter(replace(adapter, base="sdxl", base_revision="462165984030d82259a1"))
    (tmp_path / "me.bin").write_bytes(pickle.dumps({"unet": 1}))
    with pytest.raises(pl.UsageError, match="is a pickle, which can run code") as refused:
        Adapter.open(tmp_path / "me.bin")
    assert "\n" not in str(refused.value)
