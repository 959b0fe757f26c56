"""What a step sees: all of it follows from seed and step, and nothing is frozen at the start."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from portraitlib.training.check import fill_training
from portraitlib.training.data import (
    Batch,
    TrainingData,
    encode_captions,
    encode_learning,
    prepare_data,
)

PARTS = ("latents", "noise", "times", "texts", "sizes", "weights", "of_class")


def prepared(model, photos, settings, class_images=None) -> TrainingData:
    return prepare_data(model, photos, fill_training(model, photos, settings), class_images)


@pytest.fixture(scope="module")
def data(mini, three_photos, two_men, quick) -> TrainingData:
    return prepared(mini, three_photos, quick(crop_jitter=0.1), two_men)


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in PARTS)


def whose(latents: torch.Tensor, data: TrainingData) -> tuple[str, int, int, int]:
    """Which picture a sample's latents are of, and the corner of its window."""
    found = []
    for half, pictures in (("photo", data.photos), ("class", data.prior)):
        margin = pictures.means.shape[-1] - data.window
        for index, mean in enumerate(pictures.means):
            for y in range(margin + 1):
                for x in range(margin + 1):
                    window = mean[:, y : y + data.window, x : x + data.window]
                    far = float((latents - window).abs().mean())
                    found.append((far, half, index, y, x))
    return min(found)[1:]


def test_a_step_follows_from_seed_and_step_alone(data, mini, three_photos, two_men, quick):
    settings = quick(train_batch_size=2, noise_offset=0.1, crop_jitter=0.1)
    forward = [data.batch(settings, step) for step in range(6)]
    torch.manual_seed(99)
    np.random.default_rng(99)
    again = prepared(mini, three_photos, settings, two_men)
    for step in (5, 0, 3):
        assert same(again.batch(settings, step), forward[step])
    assert not same(forward[0], forward[1])
    other = data.batch(replace(settings, seed=1), 0)
    assert not torch.equal(other.noise, forward[0].noise)
    assert not torch.equal(other.times, forward[0].times)


def test_every_epoch_sees_each_picture_once_in_a_new_order_with_new_crops(data, quick):
    settings = quick()
    seen = [data.batch(settings, step) for step in range(12)]
    photos = [whose(batch.latents[0], data) for batch in seen]
    epochs = [[index for _, index, *_ in photos[start : start + 3]] for start in range(0, 12, 3)]
    assert all(sorted(epoch) == [0, 1, 2] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert len({tuple(corner) for _, _, *corner in photos}) > 2
    others = [whose(batch.latents[1], data) for batch in seen]
    assert all(sorted(row[1] for row in others[i : i + 2]) == [0, 1] for i in range(0, 12, 2))
    assert {tuple(corner) for _, _, *corner in others} == {(0, 0)}  # class images are whole


def test_each_sample_has_its_own_caption_at_every_batch_size(data, three_photos, two_men, quick):
    for count in (1, 2, 4):
        batch = data.batch(quick(train_batch_size=count, caption_dropout=0.0), 3)
        assert batch.of_class.tolist() == [False] * count + [True] * count
        for row in range(2 * count):
            half, index, *_ = whose(batch.latents[row], data)
            assert half == ("class" if batch.of_class[row] else "photo")
            wanted = two_men.prompt if half == "class" else three_photos[index].caption
            assert data.captions[int(batch.texts[row])] == wanted
        assert float(batch.weights[:count].sum()) == pytest.approx(1)
        assert float(batch.weights[count:].sum()) == pytest.approx(1)


def test_latents_are_drawn_anew_from_what_the_vae_answers(data, quick):
    first = [data.batch(quick(), step) for step in range(0, 60)]
    shares = []
    for batch in first:
        half, index, y, x = whose(batch.latents[0], data)
        rows, columns = slice(y, y + data.window), slice(x, x + data.window)
        mean, spread = (
            each[index][:, rows, columns] for each in (data.photos.means, data.photos.spreads)
        )
        shares.append((batch.latents[0] - mean) / spread)
    together = torch.stack(shares)
    assert abs(float(together.mean())) < 0.01
    assert float(together.std()) == pytest.approx(1, abs=0.01)
    assert not torch.equal(shares[0], shares[1])
    noise = torch.cat([batch.noise for batch in first])
    assert float(noise.std()) == pytest.approx(1, abs=0.01)
    assert abs(float(noise.mean())) < 0.01


def test_noise_levels_are_spread_over_each_batch_and_all_occur(data, quick):
    settings = quick(train_batch_size=4)
    times = torch.stack([data.batch(settings, step).times for step in range(100)])
    for half in (times[:, :4], times[:, 4:]):
        assert (half.sort(1).values // 250 == torch.arange(4)).all()
    assert int(times.min()) < 10 and int(times.max()) > 990 and int(times.max()) < 1000


def test_captions_fall_away_and_noise_is_offset_as_often_and_as_far_as_asked(data, quick):
    settings = quick(train_batch_size=4, caption_dropout=0.3)
    texts = torch.cat([data.batch(settings, step).texts for step in range(100)])
    assert float((texts == len(data.captions)).float().mean()) == pytest.approx(0.3, abs=0.05)
    offset = quick(train_batch_size=4, noise_offset=0.5)
    noise = torch.cat([data.batch(offset, step).noise for step in range(50)])
    side = noise.shape[-1]
    expected = (0.5**2 + 1 / side**2) ** 0.5
    assert float(noise.mean((2, 3)).std()) == pytest.approx(expected, rel=0.1)


def test_sizes_and_crops_are_told_to_a_model_that_knows_them(mini, three_photos, two_men, quick):
    knowing = replace(mini, preset=replace(mini.preset, knows_sizes=True))
    data = prepared(knowing, three_photos, quick(crop_jitter=0.2), two_men)
    latent_px, side_px = 4, data.photos.means.shape[-1] * 4
    assert side_px == 116
    corners = set()
    for step in range(20):
        batch = data.batch(quick(), step)
        half, index, y, x = whose(batch.latents[0], data)
        photo = three_photos[index]
        top, left = photo.conditioning["crops_coords_top_left"]
        factor = side_px / photo.image.width
        expected = [192, 192, round(top * factor) + latent_px * y]
        expected += [round(left * factor) + latent_px * x, 96, 96]
        assert batch.sizes[0].tolist() == expected
        assert batch.sizes[1].tolist() == [96, 96, 0, 0, 96, 96]  # a class image's are its own
        corners.add((y, x))
    assert len(corners) > 10
    plain = prepared(mini, three_photos, quick(crop_jitter=0.2), two_men)
    assert plain.batch(quick(), 1).sizes.tolist() == [[96, 96, 0, 0, 96, 96]] * 2


def test_masks_are_cut_as_their_photos_are(data, quick):
    height, width = data.photos.means.shape[-2:]
    place = torch.arange(height * width).reshape(1, 1, height, width).float()
    masks = (place + 1000 * torch.arange(3).reshape(3, 1, 1, 1)) / 1e6
    masked = replace(data, photos=replace(data.photos, masks=masks))
    for step in range(4):
        batch = masked.batch(quick(), step)
        _, index, y, x = whose(batch.latents[0], data)
        rows, columns = slice(y, y + data.window), slice(x, x + data.window)
        assert torch.equal(batch.masks[0], masks[index][:, rows, columns])
        assert (batch.masks[1] == 1).all()
        assert same(batch, data.batch(quick(), step))


@pytest.mark.parametrize("zeros", [False, True])
def test_captions_are_encoded_alike_once_or_with_gradients(mini, three_photos, zeros):
    parts = {**mini.pipeline.components}
    pipeline = type(mini.pipeline)(
        **parts, force_zeros_for_empty_prompt=zeros, add_watermarker=False
    )
    model = replace(mini, pipeline=pipeline, prompts=type(mini.prompts)())
    too_long = " ".join(["curly"] * 100)
    captions = ("portrait of jrdnpl man", "portrait of a man", too_long)
    with pytest.warns(UserWarning, match="these words fall away: curly"):
        states, pooled = encode_captions(model, captions)
    assert len(states) == len(pooled) == 4
    assert bool((states[3] == 0).all()) == zeros
    texts = torch.tensor([3, 0, 0, 2, 1])
    got, got_pooled = encode_learning(model, captions, texts)
    assert torch.allclose(got, states[texts], atol=1e-5)
    assert torch.allclose(got_pooled, pooled[texts], atol=1e-5)
