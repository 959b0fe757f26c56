"""One update of the weights: each sample counts with its own prompt, size and weight."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from steps import close, gradients, loss_of, trainer_for

from portraitlib.training.data import Batch
from portraitlib.training.step import (
    _snr_weights,
    rate_share,
)


def encoded(model, caption: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A caption by itself, as diffusers' own pipeline encodes it."""
    with torch.no_grad():
        states, _, pooled, _ = model.pipeline.encode_prompt(
            caption, device=model.device, do_classifier_free_guidance=False
        )
    return states, pooled


def plain_loss(trainer, batch: Batch, settings, kind: str = "v_prediction") -> float:
    """The loss sample by sample, written out: no batch in which anything could be mixed up."""
    model, summed = trainer.model, 0.0
    captions = (*trainer.data.captions, "")
    for row in range(len(batch)):
        kept = float(model.pipeline.scheduler.alphas_cumprod[int(batch.times[row])])
        latent, noise = batch.latents[row : row + 1], batch.noise[row : row + 1]
        noisy = kept**0.5 * latent + (1 - kept) ** 0.5 * noise
        states, pooled = encoded(model, captions[int(batch.texts[row])])
        asked = {
            "encoder_hidden_states": states,
            "added_cond_kwargs": {"text_embeds": pooled, "time_ids": batch.sizes[row : row + 1]},
        }
        with torch.no_grad():
            got = trainer.tuned.parts["unet"](noisy, int(batch.times[row]), **asked).sample
            wanted = kept**0.5 * noise - (1 - kept) ** 0.5 * latent
            wanted = noise if kind == "epsilon" else wanted
            of_class = row >= len(batch) // 2 and trainer.data.prior is not None
            if of_class and settings.class_prompt:
                wanted = model.pipeline.unet(noisy, int(batch.times[row]), **asked).sample
        error = float((got - wanted).square().mean())
        if settings.snr_gamma:
            ratio = kept / (1 - kept)
            least = min(ratio, settings.snr_gamma)
            error *= least / ratio if kind == "epsilon" else least / (ratio + 1)
        summed += error * (settings.prior_loss_weight if of_class else 1.0)
    return summed / trainer.settings.train_batch_size


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("prior", ["none", "class images", "no images"])
def test_each_sample_counts_with_its_own_prompt_and_weight(
    mini, three_photos, two_men, quick, prior, count
):
    given = {"class_prompt": "portrait of a man"} if prior == "no images" else {}
    settings = quick(train_batch_size=count, prior_loss_weight=0.7, caption_dropout=0.2, **given)
    others = two_men if prior == "class images" else None
    trainer = trainer_for(mini, three_photos, settings, others)
    for step in range(2):
        batch = trainer.data.batch(trainer.settings, step)
        assert len(batch) == (count if prior == "none" else 2 * count)
        got = loss_of(trainer, batch)
        assert got == pytest.approx(plain_loss(trainer, batch, settings), rel=1e-4)


@pytest.mark.parametrize("kind", ["v_prediction", "epsilon"])
@pytest.mark.parametrize("gamma", [None, 5.0])
def test_the_loss_is_that_of_what_the_model_predicts(
    mini, three_photos, two_men, quick, kind, gamma
):
    scheduler = type(mini.pipeline.scheduler).from_config(
        mini.pipeline.scheduler.config, prediction_type=kind
    )
    parts = {**mini.pipeline.components, "scheduler": scheduler}
    other = replace(mini, pipeline=type(mini.pipeline)(**parts, add_watermarker=False))
    settings = quick(train_batch_size=2, snr_gamma=gamma)
    trainer = trainer_for(other, three_photos, settings, two_men)
    batch = trainer.data.batch(trainer.settings, 0)
    assert loss_of(trainer, batch) == pytest.approx(
        plain_loss(trainer, batch, settings, kind), rel=1e-4
    )
    weights = _snr_weights(other, settings, torch.tensor([0.0, 1e-9, 0.5, 0.999]))
    assert weights.isfinite().all()  # a scheduler may leave nothing of the picture


@pytest.mark.parametrize("prior", ["class images", "no images"])
def test_gradients_do_not_depend_on_how_many_pictures_go_in_at_once(
    mini, three_photos, two_men, quick, prior
):
    given = {"class_prompt": "portrait of a man"} if prior == "no images" else {}
    settings = quick(train_batch_size=2, **given)
    others = two_men if prior == "class images" else None
    trainer = trainer_for(mini, three_photos, settings, others)
    batch = trainer.data.batch(trainer.settings, 0)
    whole = gradients(trainer, batch, 4)
    for micro_batch_size in (1, 2, 3):
        assert close(gradients(trainer, batch, micro_batch_size), whole)


def test_gradient_checkpointing_gives_the_same_gradients(mini, three_photos, two_men, quick):
    plain, sparing = (
        trainer_for(
            *(mini, three_photos),
            quick(gradient_checkpointing=sparing, text_learning_rate=1e-4),
            two_men,
        )
        for sparing in (False, True)
    )
    batch = plain.data.batch(plain.settings, 0)
    assert close(gradients(sparing, batch, 2), gradients(plain, batch, 2))
    assert any(
        getattr(each, "gradient_checkpointing", False)
        for each in sparing.tuned.parts["text_encoder"].modules()
    )
    assert not any(
        getattr(each, "gradient_checkpointing", False) for each in mini.pipeline.unet.modules()
    )


def test_without_class_images_the_untouched_encoders_words_are_held(mini, three_photos, quick):
    settings = quick(class_prompt="portrait of a man", text_learning_rate=1e-4)
    trainer = trainer_for(mini, three_photos, settings)
    batch = trainer.data.batch(replace(trainer.settings, caption_dropout=0.0), 0)
    half = batch.part(slice(1, 2))
    states, pooled = encoded(mini, "portrait of a man")
    kept = float(mini.pipeline.scheduler.alphas_cumprod[int(half.times[0])])
    noisy = kept**0.5 * half.latents + (1 - kept) ** 0.5 * half.noise
    changed = trainer.tuned.model.pipeline
    with torch.no_grad():
        wanted = mini.pipeline.unet(
            *(noisy, half.times, states),
            added_cond_kwargs={"text_embeds": pooled, "time_ids": half.sizes},
        ).sample
        states, _, pooled, _ = changed.encode_prompt(
            "portrait of a man", do_classifier_free_guidance=False
        )
        got = changed.unet(
            *(noisy, half.times, states),
            added_cond_kwargs={"text_embeds": pooled, "time_ids": half.sizes},
        ).sample
        weight = _snr_weights(mini, settings, torch.tensor([kept]))
        expected = float(weight * (got - wanted).square().mean())
        assert loss_of(trainer, half) == pytest.approx(expected, rel=1e-4)
    assert expected > 0


def test_a_mask_says_what_counts_and_the_others_count_whole(mini, three_photos, two_men, quick):
    settings = quick(snr_gamma=None)
    trainer = trainer_for(mini, three_photos, settings, two_men)
    batch = trainer.data.batch(trainer.settings, 0)
    side = batch.latents.shape[-1]
    masks = torch.ones(2, 1, side, side)
    masks[0, :, :, side // 2 :] = 0
    got = loss_of(trainer, replace(batch, masks=masks))
    states, pooled = (each[batch.texts] for each in trainer.words)
    kept = trainer.kept[batch.times][:, None, None, None]
    noisy = kept.sqrt() * batch.latents + (1 - kept).sqrt() * batch.noise
    wanted = kept.sqrt() * batch.noise - (1 - kept).sqrt() * batch.latents
    with torch.no_grad():
        answer = trainer.network(
            *(noisy, batch.times, states),
            added_cond_kwargs={"text_embeds": pooled, "time_ids": batch.sizes},
        ).sample
    error = (answer - wanted).square()
    expected = error[0, :, :, : side // 2].mean() + error[1].mean()
    assert got == pytest.approx(float(expected), rel=1e-4)
    nothing = torch.zeros_like(masks)
    assert loss_of(trainer, replace(batch, masks=nothing)) == 0  # and no division by zero


def test_the_rate_warms_up_and_falls_by_its_schedule(quick):
    def rates(**given):
        settings = quick(max_train_steps=10, lr_warmup_steps=4, **given)
        return [rate_share(settings, step) for step in range(10)]

    assert rates(lr_scheduler="constant") == pytest.approx([0.2, 0.4, 0.6, 0.8] + [1.0] * 6)
    linear, cosine = rates(lr_scheduler="linear"), rates()
    assert linear[4] == cosine[4] == 1
    assert linear[4] - linear[5] == pytest.approx(linear[5] - linear[6])
    assert sorted(cosine[4:], reverse=True) == cosine[4:]
    assert 0 < cosine[-1] < linear[-1] < 0.3
    assert rate_share(quick(max_train_steps=3, lr_warmup_steps=20), 2) == pytest.approx(3 / 21)
