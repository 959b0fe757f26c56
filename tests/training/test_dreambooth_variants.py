"""What can be chosen in a training does what it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import portraitlib as pl
from portraitlib.device import computes_bfloat16
from portraitlib.models.adapters import Adapter, lora_modules
from portraitlib.settings import ATTENTION, CONVOLUTIONS, FEED_FORWARD
from portraitlib.training.check import check_training, fill_training
from portraitlib.training.checkpoints import newest_checkpoint

PROMPT = "portrait of jrdnpl man"


def train(model, photos, settings, folder, class_images=None, **given) -> Adapter:
    return pl.train_dreambooth(model, photos, settings, class_images, folder=folder, **given)


def draw(model) -> np.ndarray:
    portraits = pl.text_to_image(model, PROMPT, pl.Sampling(seed=1, num_inference_steps=3))
    return np.array(portraits[0].image).astype(int)


@pytest.fixture(scope="module")
def plain(mini, three_photos, quick, tmp_path_factory) -> Adapter:
    return train(mini, three_photos, quick(), tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize(
    ("layers", "kinds"),
    [("attention", ATTENTION), ("feed_forward", FEED_FORWARD), ("convolutions", CONVOLUTIONS)],
)
def test_a_lora_sits_in_the_layers_that_were_chosen(
    mini, three_photos, quick, tmp_path, layers, kinds
):
    settings = quick(layers=layers, max_train_steps=1, alpha=2)
    adapter = train(mini, three_photos, settings, tmp_path)
    modules = lora_modules(adapter.tensors)
    assert {kind for kind in kinds if any(each.endswith(f".{kind}") for each in modules)} == set(
        kinds
    )
    expected = {
        f"unet.{name}"
        for name, module in mini.pipeline.unet.named_modules()
        if name.endswith(tuple(f".{kind}" for kind in kinds)) and hasattr(module, "weight")
    }
    assert set(modules) == expected
    assert (adapter.kind, adapter.rank, adapter.alpha) == ("lora", 4, 2.0)
    assert all(len(adapter.tensors[f"{each}.lora_A.weight"]) == 4 for each in modules)
    opened = Adapter.open(adapter.save(tmp_path / "kohya.safetensors", form="kohya"))
    assert np.abs(draw(mini.with_adapter(opened)) - draw(mini.with_adapter(adapter))).max() <= 1


def test_the_recipe_says_all_that_made_it(mini, three_photos, two_men, quick, tmp_path):
    adapter = train(mini, three_photos, quick(), tmp_path, two_men)
    opened = Adapter.open(tmp_path / "adapter.safetensors")
    assert opened.hash == adapter.hash and opened.recipe == adapter.recipe
    assert (opened.base, opened.base_revision) == ("mini", mini.revision)
    assert opened.identifier == "jrdnpl"
    assert opened.instance_prompt == three_photos[0].caption
    recipe = opened.recipe
    assert recipe["step"] == recipe["total"] == recipe["max_train_steps"] == 3
    assert recipe["class_images"] == {"count": 2, "digest": two_men.digest}
    assert recipe["captions"] == three_photos.captions and len(recipe["photos"]) == 3
    assert recipe["curve"][-1] == [3, round(recipe["loss"], 6)]
    assert recipe["learning_rate"] == 2e-3 and recipe["versions"]["torch"]


def test_whole_weights_are_taught_and_only_they(mini, three_photos, quick, tmp_path):
    settings = quick(tune="full")
    assert fill_training(mini, three_photos, settings).learning_rate == pytest.approx(1e-4)
    adapter = train(mini, three_photos, settings, tmp_path)
    own = dict(mini.pipeline.unet.named_parameters())
    assert (adapter.kind, adapter.rank, adapter.alpha) == ("full", 0, 0.0)
    assert set(adapter.tensors) == {f"unet.{name}" for name in own}
    assert sum(not torch.equal(own[name[5:]], adapter.tensors[name]) for name in adapter.tensors)
    assert np.array_equal(draw(mini.with_adapter(adapter, scale=0)), draw(mini))
    opened = Adapter.open(tmp_path / "adapter.safetensors")
    assert np.array_equal(draw(mini.with_adapter(opened)), draw(mini.with_adapter(adapter)))


def test_text_encoders_learn_by_a_lora_of_their_own(mini, three_photos, two_men, quick, tmp_path):
    settings = quick(text_learning_rate=0.02, learning_rate=1e-8, lr_warmup_steps=0)
    adapter = train(mini, three_photos, settings, tmp_path, two_men)
    parts = {each.split(".")[0] for each in lora_modules(adapter.tensors)}
    assert parts == {"unet", "text_encoder", "text_encoder_2"}
    taught = mini.with_adapter(adapter)
    before, after = (
        model.pipeline.encode_prompt(PROMPT, do_classifier_free_guidance=False)
        for model in (mini, taught)
    )
    width = mini.pipeline.text_encoder.config.hidden_size
    for rows in (slice(0, width), slice(width, None)):  # of the first encoder and of the second
        moved = (before[0][..., rows] - after[0][..., rows]).abs().max()
        assert float(moved) > 0.01
    assert float((before[2] - after[2]).abs().max()) > 0.01
    assert np.abs(draw(taught) - draw(mini)).max() > 5
    kohya = Adapter.open(adapter.save(tmp_path / "kohya.safetensors", form="kohya"))
    assert kohya.tensors.keys() == adapter.tensors.keys()


@pytest.mark.parametrize(
    "given",
    [
        {"caption_dropout": 0.9},
        {"noise_offset": 0.5},
        {"lr_scheduler": "constant", "lr_warmup_steps": 0},
        {"lr_scheduler": "linear", "lr_warmup_steps": 0},
        {"snr_gamma": 5.0},
        {"seed": 1},
        {"weight_decay": 5.0},
        {"crop_jitter": 0.3},
        {"instance_prompt": "jrdnpl man on a beach"},
        {"class_prompt": "portrait of a man"},
        {"num_train_epochs": 2, "max_train_steps": None},
        {"train_batch_size": 2},
    ],
    ids=str,
)
def test_each_setting_changes_what_is_learnt(mini, three_photos, quick, tmp_path, plain, given):
    adapter = train(mini, three_photos, quick(**given), tmp_path)
    assert adapter.hash != plain.hash
    assert adapter.recipe["total"] == (6 if "num_train_epochs" in given else 3)


@pytest.mark.parametrize(
    "given", [{"gradient_checkpointing": True}, {"micro_batch_size": 1}], ids=str
)
def test_how_it_is_computed_changes_nothing_but_rounding(
    mini, three_photos, two_men, quick, how_far, tmp_path, given
):
    settings = quick(train_batch_size=2)
    whole = train(mini, three_photos, settings, tmp_path / "whole", two_men)
    other = train(mini, three_photos, replace(settings, **given), tmp_path / "other", two_men)
    assert how_far(other.tensors, whole.tensors) < 0.01


@pytest.mark.parametrize(("able", "expected"), [(True, "bfloat16"), (False, None)])
def test_fast_is_bfloat16_where_the_device_computes_it(
    mini, three_photos, quick, monkeypatch, able, expected
):
    monkeypatch.setattr("portraitlib.training.check.computes_bfloat16", lambda device: able)
    chosen = check_training(mini, three_photos, quick(precision="fast"), None)
    assert chosen.precision == expected
    if not able:
        with pytest.raises(pl.UsageError, match="DreamBooth.precision: got 'bfloat16' on a CPU"):
            check_training(mini, three_photos, quick(precision="bfloat16"), None)


def test_mixed_precision_learns_nearly_the_same(
    mini, three_photos, quick, how_far, tmp_path, plain
):
    if not computes_bfloat16(mini.device):
        pytest.skip("this device does not compute in bfloat16")
    mixed = train(mini, three_photos, quick(precision="fast"), tmp_path)
    assert mixed.recipe["precision"] == "bfloat16"
    assert mixed.recipe["loss"] == pytest.approx(plain.recipe["loss"], rel=0.05)
    assert 0 < how_far(mixed.tensors, plain.tensors) < 1


def test_epochs_are_counted_in_photos(mini, three_photos):
    def steps(**given) -> int:
        settings = pl.DreamBooth(num_train_epochs=10, **given)
        return fill_training(mini, three_photos, settings).max_train_steps

    assert steps(train_batch_size=1) == 30
    assert steps(train_batch_size=2) == 15
    assert steps() == 8  # the preset's batch of 4
    assert steps(train_batch_size=7) == 5


def test_a_model_that_predicts_the_noise_is_taught_too(mini, three_photos, quick, tmp_path):
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(beta_schedule="scaled_linear", rescale_betas_zero_snr=True)
    parts = {**mini.pipeline.components, "scheduler": scheduler}
    other = replace(mini, pipeline=type(mini.pipeline)(**parts, add_watermarker=False))
    adapter = train(other, three_photos, quick(), tmp_path)
    assert all(bool(each.isfinite().all()) for each in adapter.tensors.values())
    assert adapter.recipe["loss"] > 0


def test_a_face_is_taught_on_top_of_an_adapter(mini, three_photos, quick, tmp_path, plain):
    styled = mini.with_adapter(plain, 0.5)
    adapter = train(styled, three_photos, quick(), tmp_path)
    assert adapter.base == "mini"
    both = styled.with_adapter(adapter)
    assert [scale for _, scale in both.adapters] == [0.5, 1.0]
    draw(both)
    with pytest.raises(pl.UsageError, match="tune: got 'full' for mini on cpu, float32, jrdnpl"):
        train(styled, three_photos, quick(tune="full"), tmp_path / "full")


def test_tensorboard_shows_the_loss(mini, three_photos, quick, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def watch(model, step):
        return [], {"likeness": 0.25}

    settings = quick(max_train_steps=12)
    adapter = train(mini, three_photos, settings, tmp_path, watch=watch)
    (file,) = (tmp_path / "logs").rglob("events*")
    events = EventAccumulator(str(file.parent)).Reload()
    losses = {each.step: each.value for each in events.Scalars("loss")}
    assert losses == pytest.approx(dict(adapter.recipe["curve"]), rel=1e-4)
    assert [each.step for each in events.Scalars("likeness")] == [0, 12]
    train(mini, three_photos, settings, tmp_path / "none", trackers=())
    assert not (tmp_path / "none" / "logs").exists()


def test_a_tracker_that_is_unknown_or_missing_is_named(
    mini, three_photos, quick, tmp_path, monkeypatch
):
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", lambda: [])
    with pytest.raises(pl.UsageError, match="trackers: got 'wandb', which is not installed; pip"):
        train(mini, three_photos, quick(), tmp_path, trackers=("wandb",))
    with pytest.raises(pl.UsageError, match="trackers: got .'tensorbord'.: Unsupported logging"):
        train(mini, three_photos, quick(), tmp_path, trackers=("tensorbord",))
    assert not list(tmp_path.iterdir())


def test_progress_says_how_far_it_is(mini, three_photos, quick, tmp_path):
    told = []
    adapter = train(mini, three_photos, quick(max_train_steps=12), tmp_path, on_step=told.append)
    assert [each.step for each in told] == [10, 12]
    assert told[0].seconds_left > 0 and told[1].seconds_left == 0
    assert told[1].loss == adapter.recipe["loss"]
    assert str(told[0]).startswith("step 10 of 12, loss 0.")
    assert newest_checkpoint(tmp_path).state["history"]["seconds"] == told[1].seconds
