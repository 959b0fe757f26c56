"""A training: what it leaves untouched, how often it asks the networks, and how it goes on."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from threading import Event, Thread

import numpy as np
import pytest
import torch

import portraitlib as pl
from portraitlib.models.adapters import Adapter
from portraitlib.training.checkpoints import list_checkpoints, newest_checkpoint, open_run
from portraitlib.training.step import update

PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")


def train(model, photos, settings, folder, class_images=None, **given) -> Adapter:
    return pl.train_dreambooth(model, photos, settings, class_images, folder=folder, **given)


@contextmanager
def counted():
    """How many pictures or captions go through each network, and how often it is called."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    counts: Counter[str] = Counter()
    inside: list[str] = []
    methods = {
        (AutoencoderKL, "encode"): "vae",
        (UNet2DConditionModel, "forward"): "unet",
        (CLIPTextModel, "forward"): "text_encoder",
        (CLIPTextModelWithProjection, "forward"): "text_encoder_2",
    }
    with pytest.MonkeyPatch.context() as patch:
        for (kind, name), label in methods.items():
            original = getattr(kind, name)

            def call(self, *args, original=original, label=label, **more):
                if not inside:  # the second text encoder holds another of the first one's kind
                    counts[label] += 1
                    counts[f"{label} rows"] += len(args[0] if args else more["input_ids"])
                inside.append(label)
                try:
                    return original(self, *args, **more)
                finally:
                    inside.pop()

            patch.setattr(kind, name, call)
        yield counts


def same(one: Adapter, other: Adapter) -> bool:
    return one.tensors.keys() == other.tensors.keys() and all(
        torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors
    )


# --- the model -----------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [{}, {"tune": "full"}, {"text_learning_rate": 1e-2}])
def test_the_model_stays_as_it_is(mini, three_photos, two_men, quick, tmp_path, given):
    sampling = pl.Sampling(seed=3, num_inference_steps=2)
    prompt = "portrait of jrdnpl man"
    parts = {name: getattr(mini.pipeline, name) for name in PARTS}
    before = np.array(pl.text_to_image(mini, prompt, sampling)[0].image)
    weights = {name: {k: v.clone() for k, v in parts[name].state_dict().items()} for name in PARTS}
    settings = quick(learning_rate=0.05, lr_warmup_steps=0, gradient_checkpointing=True, **given)
    adapter = train(mini, three_photos, settings, tmp_path, two_men)
    for name in PARTS:
        now = parts[name].state_dict()
        assert getattr(mini.pipeline, name) is parts[name]
        assert now.keys() == weights[name].keys()
        assert all(torch.equal(now[key], weights[name][key]) for key in now)
        assert not parts[name].training
    assert np.array_equal(np.array(pl.text_to_image(mini, prompt, sampling)[0].image), before)
    taught = mini.with_adapter(adapter)
    after = np.array(pl.text_to_image(taught, prompt, sampling)[0].image)
    assert np.abs(after.astype(int) - before).max() > 5


def test_a_watcher_draws_with_the_weights_as_they_are(mini, three_photos, quick, tmp_path):
    sampling = pl.Sampling(seed=3, num_inference_steps=2)
    seen = []

    def watch(model, step):
        portraits = pl.text_to_image(model, "portrait of jrdnpl man", sampling)
        seen.append((step, np.array(portraits[0].image)))
        return portraits, {"likeness": step / 10}

    settings = quick(learning_rate=0.05, lr_warmup_steps=0, text_learning_rate=0.01)
    adapter = train(mini, three_photos, settings, tmp_path, watch=watch, watch_every=2)
    assert [step for step, _ in seen] == [0, 2, 3]
    plain = pl.text_to_image(mini, "portrait of jrdnpl man", sampling)[0].image
    assert np.array_equal(seen[0][1], np.array(plain))  # a LoRA begins as no change
    taught = pl.text_to_image(mini.with_adapter(adapter), "portrait of jrdnpl man", sampling)
    assert np.abs(seen[-1][1].astype(int) - np.array(taught[0].image)).max() <= 2
    assert not np.array_equal(seen[1][1], seen[0][1])
    kept = [Adapter.open(path) for path in sorted((tmp_path / "adapters").iterdir())]
    assert same(kept[-1], adapter) and not same(kept[1], adapter)
    assert kept[-1].sample is not None
    assert [row["step"] for row in adapter.recipe["figures"]] == [0, 2, 3]


def test_a_model_whose_parts_wait_in_main_memory_is_trained_alike(
    mini, three_photos, two_men, quick, tmp_path
):
    waiting = pl.load_model("mini", "cpu")
    waiting.pipeline.enable_model_cpu_offload(device="cpu")
    waiting = replace(waiting, offloaded=True)
    hooks = {name: getattr(waiting.pipeline, name)._hf_hook for name in PARTS}
    drawn = []

    def watch(model, step):
        assert not any(hasattr(getattr(model.pipeline, name), "_hf_hook") for name in PARTS)
        drawn.append(step)
        return pl.text_to_image(model, "a man", pl.Sampling(num_inference_steps=1)), {}

    settings = quick(class_prompt="portrait of a man", max_train_steps=2)
    got = train(waiting, three_photos, settings, tmp_path / "waiting", watch=watch)
    assert drawn == [0, 2]
    assert same(got, train(mini, three_photos, settings, tmp_path / "plain"))
    assert all(getattr(waiting.pipeline, name)._hf_hook is hook for name, hook in hooks.items())


# --- how often -----------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", ["none", "class images", "no images"])
def test_pictures_and_captions_are_encoded_once_and_a_step_is_one_forward(
    three_photos, two_men, quick, tmp_path, prior
):
    model = pl.load_model("mini", device="cpu")  # nothing of it is encoded yet
    given = {"class_prompt": "portrait of a man"} if prior == "no images" else {}
    settings = quick(max_train_steps=4, train_batch_size=2, **given)
    others = two_men if prior == "class images" else None
    with counted() as counts:
        train(model, three_photos, settings, tmp_path, others)
    captions = 3 + (prior != "none")
    assert counts["vae rows"] == 3 + 2 * (prior == "class images")
    assert counts["text_encoder rows"] == counts["text_encoder_2 rows"] == captions + 1
    held = 4 if prior == "no images" else 0  # the untouched model's, of the class half alone
    assert counts["unet"] == 4 + held
    assert counts["unet rows"] == 4 * (2 if prior == "none" else 4) + 2 * held


def test_nothing_is_asked_of_the_device_between_two_readings_of_the_loss(
    mini, three_photos, two_men, quick, tmp_path, monkeypatch
):
    asked: Counter[int] = Counter()
    step = [-1]

    def counting(name):
        original = getattr(torch.Tensor, name)

        def ask(self, *args):
            asked[step[0]] += 1
            return original(self, *args)

        return ask

    def noted(trainer, number):
        step[0] = number
        loss = update(trainer, number)
        step[0] = -1
        return loss

    for name in ("item", "tolist", "__bool__", "__float__", "numpy", "cpu"):
        monkeypatch.setattr(torch.Tensor, name, counting(name))
    monkeypatch.setattr("portraitlib.training.dreambooth.update", noted)
    train(mini, three_photos, quick(max_train_steps=4), tmp_path, two_men)
    assert asked[-1]
    assert sum(asked[number] for number in range(4)) == 0


def test_a_run_that_is_complete_is_not_trained_again(mini, three_photos, quick, tmp_path):
    first = train(mini, three_photos, quick(), tmp_path)
    bytes_before = (tmp_path / "adapter.safetensors").read_bytes()
    told = []
    with counted() as counts:
        again = train(mini, three_photos, quick(), tmp_path, on_step=told.append)
    assert not counts and not told
    assert same(again, first) and again.hash == first.hash
    assert (tmp_path / "adapter.safetensors").read_bytes() == bytes_before
    (tmp_path / "adapter.safetensors").unlink()
    train(mini, three_photos, quick(), tmp_path)
    assert same(Adapter.open(tmp_path / "adapter.safetensors"), first)


def test_a_run_without_a_folder_is_found_by_its_content(
    mini, three_photos, quick, tmp_path, monkeypatch
):
    monkeypatch.setenv("PORTRAITLIB_CACHE", str(tmp_path))
    settings = quick(max_train_steps=1)
    first = pl.train_dreambooth(mini, three_photos, settings)
    with counted() as counts:
        assert same(pl.train_dreambooth(mini, three_photos, settings), first)
        # How it is computed is another question than what.
        sparing = replace(settings, gradient_checkpointing=True, micro_batch_size=1)
        assert same(pl.train_dreambooth(mini, three_photos, sparing), first)
    assert not counts
    pl.train_dreambooth(mini, three_photos, replace(settings, seed=1))
    assert len(list((tmp_path / "training").iterdir())) == 2


# --- stopped -------------------------------------------------------------------------------------


def stop_at(step: int):
    """Ctrl-C after so many steps, as a terminal sends it."""
    left = [step]

    def noted(trainer, number):
        loss = update(trainer, number)
        if number + 1 == left[0]:
            left[0] = 0
            os.kill(os.getpid(), signal.SIGINT)
        return loss

    return noted


@pytest.mark.parametrize("given", [{}, {"tune": "full", "learning_rate": 1e-4}, {"text": True}])
def test_ctrl_c_saves_and_the_same_again_goes_on_bit_for_bit(
    mini, three_photos, two_men, quick, tmp_path, monkeypatch, given
):
    given = {"text_learning_rate": 1e-3} if "text" in given else given
    settings = quick(max_train_steps=5, noise_offset=0.1, **given)
    whole = train(mini, three_photos, settings, tmp_path / "whole", two_men)
    for step in (1, 3):
        with monkeypatch.context() as patch:
            patch.setattr("portraitlib.training.dreambooth.update", stop_at(step))
            with pytest.raises(KeyboardInterrupt, match=f"stopped after step {step} of 5, saved"):
                train(mini, three_photos, settings, tmp_path / "stopped", two_men)
        assert list_checkpoints(tmp_path / "stopped")[-1] == step
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    told = []
    with counted() as counts:
        went_on = train(
            *(mini, three_photos, settings, tmp_path / "stopped", two_men), on_step=told.append
        )
    assert counts["unet"] == 2
    assert told[-1].step == told[-1].total == 5
    assert same(went_on, whole)
    assert went_on.recipe["loss"] == whole.recipe["loss"]
    ends = [newest_checkpoint(tmp_path / name).tensors for name in ("whole", "stopped")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_a_watcher_that_fails_costs_no_step_and_is_asked_again(mini, three_photos, quick, tmp_path):
    fails, seen = [True], []

    def watch(model, step):
        seen.append(step)
        if step == 2 and fails:
            raise RuntimeError("no such font")
        return [], {"likeness": 0.5}

    settings = quick(max_train_steps=4)
    with pytest.raises(RuntimeError, match="no such font"):
        train(mini, three_photos, settings, tmp_path, watch=watch, watch_every=2)
    assert list_checkpoints(tmp_path) == (2,)
    fails.clear()
    with counted() as counts:
        adapter = train(mini, three_photos, settings, tmp_path, watch=watch, watch_every=2)
    assert counts["unet"] == 2
    assert seen == [0, 2, 0, 2, 4]  # the second 0 is of the untouched model, to compare with
    assert [row["step"] for row in adapter.recipe["figures"]] == [0, 2, 4]


def test_what_was_learnt_outlives_whoever_is_told_of_it(mini, three_photos, quick, tmp_path):
    def stop(progress):
        raise RuntimeError(f"enough at {progress.step}")

    settings = quick(max_train_steps=20)
    with pytest.raises(RuntimeError, match="enough at 10"):
        train(mini, three_photos, settings, tmp_path, on_step=stop)
    assert list_checkpoints(tmp_path) == (10,)


def test_the_very_same_run_in_the_cache_is_waited_for_and_what_it_learnt_taken(
    mini, three_photos, quick, tmp_path, monkeypatch
):
    monkeypatch.setenv("PORTRAITLIB_CACHE", str(tmp_path))
    begun, hashes = Event(), []

    def first() -> None:
        adapter = pl.train_dreambooth(mini, three_photos, settings, on_step=lambda _: begun.set())
        hashes.append(adapter.hash)

    settings = quick(max_train_steps=40)
    with counted() as counts:
        other = Thread(target=first)
        other.start()
        assert begun.wait(60)
        with pytest.warns(UserWarning, match="another run is at work there; waiting for it"):
            adapter = pl.train_dreambooth(mini, three_photos, settings)
        other.join()
    assert hashes == [adapter.hash] and counts["unet"] == 40


def test_a_second_run_in_the_folder_is_refused(mini, three_photos, quick, tmp_path):
    refused = pytest.raises(pl.UsageError, match="another run is at work there, process")
    with open_run(tmp_path, {}), counted() as counts, refused:
        train(mini, three_photos, quick(), tmp_path)
    assert not counts
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "run.json"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"photos": True}, "photos: got"),
        ({"rank": 8}, "rank: got 8, expected 4"),
        ({"learning_rate": 1e-5}, "learning_rate: got 1e-05, expected 0.002"),
        ({"model": True}, "model_revision: got 'another', expected '"),
        ({"class": True}, "class_images: got '"),
        ({"instance_prompt": "portrait of jrdnpl man"}, "captions: got"),
    ],
)
def test_another_run_is_refused_by_name_before_anything_is_computed(
    mini, three_photos, two_men, quick, tmp_path, change, said
):
    train(mini, three_photos, quick(max_train_steps=1), tmp_path)
    before = json.dumps(sorted(path.name for path in tmp_path.rglob("*")))
    photos = replace(three_photos, photos=three_photos.photos[:2]) if "photos" in change else None
    model = replace(mini, revision="another") if "model" in change else mini
    settings = {k: v for k, v in change.items() if k not in ("photos", "model", "class")}
    with counted() as counts, pytest.raises(pl.UsageError) as refusal:
        train(
            *(model, photos or three_photos, quick(max_train_steps=1, **settings), tmp_path),
            two_men if "class" in change else None,
        )
    assert said in str(refusal.value) and "\n" not in str(refusal.value)
    assert "with which the run in" in str(refusal.value)
    assert not counts
    assert json.dumps(sorted(path.name for path in tmp_path.rglob("*"))) == before
