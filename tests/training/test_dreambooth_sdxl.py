"""A LoRA of full-size SDXL: where it sits, how large it is, and what other programs call it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import pytest
import torch
from sdxl_keys import UNET, sgm_shapes

import portraitlib as pl
from portraitlib.models.adapters import Adapter, lora_modules
from portraitlib.models.kohya_keys import from_kohya, to_kohya
from portraitlib.models.presets import PRESETS
from portraitlib.training.check import fill_training
from portraitlib.training.networks import tune

# Width of a level and how many transformer blocks there are of it: 4 + 2 * 2 + 3 * 2 of 640 wide,
# and of 1280 wide 10 each in two layers down, one in the middle and three up.
BLOCKS = {640: (2 + 3) * 2, 1280: (2 + 1 + 3) * 10}
WORD, RANK = 2048, 16


@pytest.fixture(scope="module")
def model(mini, sdxl) -> pl.Model:
    """SDXL by its shapes alone, with everything of it that weighs nothing."""
    pipeline = type(mini.pipeline)(**{**mini.pipeline.components, **sdxl}, add_watermarker=False)
    meta = torch.device("meta")
    return replace(mini, pipeline=pipeline, preset=PRESETS["sdxl"], device=meta, name="sdxl")


def attention_size(width: int) -> int:
    """Numbers in a LoRA of one block's two attentions: each matrix has rank * (in + out)."""
    own = 4 * 2 * width
    across = 2 * 2 * width + 2 * (WORD + width)  # its keys and values are of the words
    return RANK * (own + across)


def feed_forward_size(width: int) -> int:
    return RANK * ((width + 8 * width) + (4 * width + width))


def test_the_architecture_is_the_one_that_is_counted(model):
    widths = Counter(
        module.norm1.normalized_shape[0]
        for name, module in model.pipeline.unet.named_modules()
        if re.search(r"transformer_blocks\.\d+$", name)
    )
    assert widths == BLOCKS
    assert UNET["cross_attention_dim"] == WORD
    assert sum(each.numel() for each in model.pipeline.unet.parameters()) == 2_567_463_684


@pytest.mark.parametrize(
    ("layers", "modules", "expected"),
    [("attention", 560, 23_224_320), ("feed_forward", 700, 41_861_120)],
)
def test_a_lora_of_sdxl_has_the_right_size(model, three_photos, layers, modules, expected):
    settings = fill_training(model, three_photos, pl.DreamBooth(layers=layers))
    assert (settings.rank, settings.alpha, settings.gradient_checkpointing) == (RANK, RANK, True)
    tuned = tune(model, settings)
    size = sum(each.numel() for each in tuned.weights.values())
    counted = sum(count * attention_size(width) for width, count in BLOCKS.items())
    if layers == "feed_forward":
        counted += sum(count * feed_forward_size(width) for width, count in BLOCKS.items())
    print(f"{layers}: {len(tuned.weights) // 2} modules, {size:,} parameters")
    assert size == counted == expected
    assert len(tuned.weights) == 2 * modules
    assert all(each.dtype == torch.float32 for each in tuned.weights.values())
    frozen = {id(each) for each in model.pipeline.unet.parameters()}
    assert frozen <= {id(each) for each in tuned.parts["unet"].parameters()}  # no copy of it


@pytest.mark.parametrize("layers", ["attention", "feed_forward", "convolutions"])
def test_every_module_has_a_name_in_other_programs(model, three_photos, layers):
    settings = replace(pl.DreamBooth(layers=layers, rank=1), text_learning_rate=1e-5)
    tuned = tune(model, fill_training(model, three_photos, settings))
    empty = {name: torch.zeros(each.shape) for name, each in tuned.weights.items()}
    adapter = Adapter("lora", empty, 1, 1.0, base="sdxl")
    named = {each: to_kohya(each) for each in lora_modules(adapter.tensors)}
    assert len(set(named.values())) == len(named) == len(tuned.weights) // 2
    assert all(from_kohya(name) == module for module, name in named.items())
    shapes = {"lora_unet_" + k.replace(".", "_"): shape for k, shape in sgm_shapes().items()}
    for module, name in named.items():
        if not module.startswith("unet."):
            assert re.match(r"lora_te[12]_text_model_encoder_layers_\d+_self_attn_\w+_proj$", name)
            continue
        down, up = (adapter.tensors[f"{module}.lora_{role}.weight"].shape for role in "AB")
        assert (up[0], *down[1:]) == shapes[name], module
    texts = [module for module in named if module.startswith("text")]
    assert len(texts) == 4 * (12 + 32)
