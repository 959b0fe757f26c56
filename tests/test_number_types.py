"""What a GPU such as a T4 computes in, tried on the processor: each public call once in float16."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import portraitlib as pl

QUICK = pl.Sampling(seed=3, num_inference_steps=3)
PROMPT = "portrait of a man, curly hair, oil painting"


def shows_something(portrait: pl.Portrait) -> bool:
    return np.asarray(portrait.image).std() > 5  # no black picture of values that overflowed


def test_every_way_to_draw_gives_a_picture_and_says_its_number_type(halves, astronaut):
    edges = pl.canny(astronaut, size_px=halves.preset.size_px)
    ((drawn,), *others) = (
        pl.text_to_image(halves, PROMPT, QUICK),
        pl.image_to_image(halves, astronaut, PROMPT, QUICK, strength=0.6),
        pl.control_to_image(halves, edges, PROMPT, QUICK),
        pl.text_to_image(halves, PROMPT, QUICK, person=pl.subject_photos()),
    )
    mask = pl.select_region(drawn.image, point=(0.5, 0.5))
    others.append(pl.inpaint(halves, drawn.image, mask, PROMPT, QUICK))
    for portrait in (drawn, *(made for (made,) in others)):
        assert portrait.recipe["dtype"] == "float16" and shows_something(portrait)
    assert pl.rerun(drawn.recipe, halves).image.tobytes() == drawn.image.tobytes()


@pytest.mark.parametrize("text_learning_rate", [0.0, 1e-3])
def test_a_lora_learns_in_float32_over_weights_in_float16(
    halves, three_photos, quick, tmp_path, text_learning_rate
):
    before = {name: w.clone() for name, w in halves.pipeline.unet.state_dict().items()}
    settings = quick(max_train_steps=6, text_learning_rate=text_learning_rate)
    adapter = pl.train_dreambooth(halves, three_photos, settings, folder=tmp_path)
    learnt = [values for name, values in adapter.tensors.items() if name.endswith("lora_B.weight")]
    assert all(values.dtype == torch.float32 and values.isfinite().all() for values in learnt)
    assert any(values.abs().max() > 0 for values in learnt), "every update overflowed"
    after = halves.pipeline.unet.state_dict()
    assert all(torch.equal(after[name], values) for name, values in before.items())
    taught = halves.with_adapter(adapter)
    assert taught.pipeline.unet.dtype == torch.float16
    (portrait,) = pl.text_to_image(taught, PROMPT, QUICK)
    assert shows_something(portrait)


def test_class_images_in_float16_teach_beside_the_photos(halves, three_photos, quick, tmp_path):
    classes = pl.make_class_images(halves, "portrait of a man", count=3, cache=tmp_path / "class")
    settings = replace(quick(), max_train_steps=2)
    adapter = pl.train_dreambooth(halves, three_photos, settings, classes, folder=tmp_path / "run")
    assert all(values.isfinite().all() for values in adapter.tensors.values())
