"""A mask beside a photo says what of it a training counts."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

import portraitlib as pl
from portraitlib.photos.files import list_photos
from portraitlib.training.check import fill_training
from portraitlib.training.data import prepare_data
from recipes.first_mini.subject import draw_shots

SIDE = 192  # of the shots


@pytest.fixture
def folder(tmp_path):
    """Three shots; the first has a mask whose left half is white."""
    for name, image in islice(draw_shots(), 3):
        image.save(tmp_path / name)
    half_mask().save(tmp_path / "jrdnpl-01-masklabel.png")
    return tmp_path


def half_mask(mode: str = "L") -> Image.Image:
    mask = Image.new("L", (SIDE, SIDE))
    mask.paste(255, (0, 0, SIDE // 2, SIDE))
    return mask.convert(mode)


def read(folder):
    return pl.read_photos(folder, size_px=96, finder="mini")


def test_a_mask_is_no_photo_and_is_cut_as_its_photo_was(folder):
    photos = read(folder)
    assert [photo.name for photo in photos] == [f"jrdnpl-0{n}.png" for n in (1, 2, 3)]
    first = photos[0]
    assert (first.mask.mode, first.mask.size) == ("L", first.image.size)
    left = np.asarray(first.mask)[48].tolist()
    edge = (SIDE / 2 - first.crop.left) * 96 / first.crop.side_px
    assert left.count(255) == pytest.approx(edge, abs=2) and left[0] == 255 and left[-1] == 0
    assert photos[1].mask is None
    assert "of the crop counts" in str(photos.report)


@pytest.mark.parametrize("mode", ["1", "RGB", "P"])
def test_masks_of_any_kind_of_pixels_are_read(folder, mode):
    expected = read(folder)[0].mask
    half_mask(mode).save(folder / "jrdnpl-01-masklabel.png")
    assert np.abs(np.asarray(read(folder)[0].mask, float) - np.asarray(expected)).max() <= 1


@pytest.mark.parametrize(
    "mask, told",
    [
        (half_mask().resize((100, 50)), "got 100x50 px, expected 192x192 px"),
        (Image.new("L", (SIDE, SIDE)), "white is what counts"),
        (None, "no picture by its content"),
    ],
)
def test_a_mask_that_cannot_be_used_is_said_and_the_photo_stays(folder, mask, told):
    path = folder / "jrdnpl-01-masklabel.png"
    mask.save(path) if mask else path.write_bytes(b"\x00\x01nothing")
    photos = read(folder)
    assert len(photos) == 3 and photos[0].mask is None
    assert any("its mask is not used" in text and told in text for text in photos[0].warnings)


def test_a_mask_without_its_photo_is_in_the_report(folder):
    half_mask().save(folder / "gone-masklabel.png")
    assert any("no photo is called gone" in str(item) for item in list_photos(folder)[1])


def test_a_training_counts_what_the_mask_shows(folder, mini):
    photos = read(folder)
    settings = pl.DreamBooth(class_prompt="portrait of a man", train_batch_size=3)
    data = prepare_data(mini, photos, fill_training(mini, photos, settings), None)
    masks = data.photos.masks
    assert masks.shape == (3, 1, *data.photos.means.shape[2:])
    assert masks[0, 0, :, 0].min() == 1 and masks[0, 0, :, -1].max() == 0
    assert torch.equal(masks[1:], torch.ones_like(masks[1:]))
    batch = data.batch(fill_training(mini, photos, settings), 0)
    shares = sorted(batch.masks.mean((1, 2, 3)).tolist())
    assert 0.3 < shares[0] < 0.7 and shares[1:] == [1.0] * 5  # the class half counts whole
    assert (
        prepare_data(
            mini, pl.subject_photos(), fill_training(mini, photos, settings), None
        ).photos.masks
        is None
    )


def test_another_mask_is_another_run(folder, mini, tmp_path):
    settings = pl.DreamBooth(max_train_steps=1, layers="attention", rank=4, train_batch_size=1)
    pl.train_dreambooth(mini, read(folder), settings, folder=tmp_path / "run")
    (folder / "jrdnpl-01-masklabel.png").unlink()
    with pytest.raises(pl.UsageError, match=r"^masks: "):
        pl.train_dreambooth(mini, read(folder), settings, folder=tmp_path / "run")
