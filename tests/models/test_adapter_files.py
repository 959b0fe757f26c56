"""The file of an adapter is read by us and by others, and theirs by us."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from random_adapters import RECIPE, draw, make_lora, nearly_equal
from safetensors import safe_open
from safetensors.torch import save_file

import portraitlib as pl


@pytest.mark.parametrize("form", ["diffusers", "kohya"])
def test_a_file_gives_back_the_same_adapter(mini, lora, form, tmp_path):
    path = lora.save(tmp_path / "new folder" / "me.safetensors", form)
    opened = pl.Adapter.open(path)
    assert opened.hash == lora.hash
    for name in ("kind", "rank", "alpha", "base", "base_revision", "identifier", "recipe"):
        assert getattr(opened, name) == getattr(lora, name)
    assert opened.instance_prompt == "portrait of jrdnpl man"
    assert opened.sample == lora.sample
    assert all(torch.equal(opened.tensors[name], lora.tensors[name]) for name in lora.tensors)
    assert np.array_equal(draw(mini.with_adapter(opened)), draw(mini.with_adapter(lora)))
    again = opened.save(tmp_path / "again.safetensors", form)
    assert again.read_bytes() == path.read_bytes()
    assert [each.name for each in tmp_path.glob("**/*.part")] == []


def test_whole_weights_survive_their_file(full, tmp_path):
    opened = pl.Adapter.open(full.save(tmp_path / "tuned.safetensors"))
    assert (opened.kind, opened.hash) == ("full", full.hash)
    with pytest.raises(pl.UsageError, match="whole weights and no LoRA"):
        full.save(tmp_path / "tuned.safetensors", "kohya")


@pytest.mark.parametrize("text", [True, False])
def test_diffusers_own_loader_draws_the_same(mini, text, tmp_path, caplog):
    adapter = make_lora(mini, seed=3, text=text)  # alpha is half the rank
    theirs = pl.load_model("mini", "cpu")
    path = adapter.save(tmp_path / "me.safetensors")
    # diffusers 0.39 wants a folder and a name where the hub is out of reach.
    theirs.pipeline.load_lora_weights(path.parent, weight_name=path.name)
    drawn = draw(mini.with_adapter(adapter))
    # They add W x and B A x, we multiply by their sum: rounded in another order.
    assert nearly_equal(draw(theirs), drawn)
    assert np.abs(draw(mini) - drawn).mean() > 1
    assert not re.search("(missing|unexpected) keys", caplog.text)
    config = theirs.pipeline.unet.peft_config["default_0"]
    assert (config.r, config.lora_alpha) == (4, 2.0)


def test_a_file_of_diffusers_is_read_with_its_alpha(mini, tmp_path):
    from diffusers import StableDiffusionXLPipeline
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    theirs = pl.load_model("mini", "cpu")
    config = LoraConfig(r=4, lora_alpha=6, target_modules=["to_k", "to_q"], init_lora_weights=False)
    theirs.pipeline.unet.add_adapter(config)
    StableDiffusionXLPipeline.save_lora_weights(
        tmp_path,
        unet_lora_layers=get_peft_model_state_dict(theirs.pipeline.unet),
        unet_lora_adapter_metadata=theirs.pipeline.unet.peft_config["default"].to_dict(),
    )
    opened = pl.Adapter.open(tmp_path / "pytorch_lora_weights.safetensors")
    assert (opened.rank, opened.alpha, opened.base) == (4, 6.0, "")
    assert opened.identifier == "pytorch_lora_weights"
    assert nearly_equal(draw(mini.with_adapter(opened)), draw(theirs))


SPELLINGS = {
    "bare": ("down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_k.lora_{}.weight", "AB"),
    "peft's own": (
        "base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_k.lora_{}.weight",
        "AB",
    ),
    "diffusers once": (
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_k_lora.{}.weight",
        ("down", "up"),
    ),
    "diffusers later": (
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_k.lora.{}.weight",
        ("down", "up"),
    ),
    "kohya": (
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_k.lora_{}.weight",
        ("down", "up"),
    ),
    "kohya with blocks of diffusers": (
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_k.lora_{}.weight",
        ("down", "up"),
    ),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_usual_spelling_is_read(mini, spelling, tmp_path):
    pattern, ways = SPELLINGS[spelling]
    down, up = torch.ones(2, 192), torch.ones(64, 2)
    tensors = {pattern.format(way): each.half() for way, each in zip(ways, (down, up), strict=True)}
    save_file(tensors, tmp_path / "theirs.safetensors")
    opened = pl.Adapter.open(tmp_path / "theirs.safetensors")
    module = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_k"
    assert sorted(opened.tensors) == [f"{module}.lora_{role}.weight" for role in "AB"]
    assert (opened.rank, opened.alpha, opened.identifier) == (2, 2.0, "theirs")
    with pytest.raises(pl.UsageError, match=r"of another base than mini.*\(64, 192\)"):
        mini.with_adapter(opened)


def test_modules_of_other_ranks_and_alphas_keep_their_strength(mini, tmp_path):
    name = "mid_block_attentions_0_transformer_blocks_0_{}"
    rows, tensors = [("attn1_to_q", 2, 1.0), ("attn1_to_k", 2, 1.0), ("attn1_to_v", 3, 4.5)], {}
    for module, rank, alpha in rows:
        key = "lora_unet_" + name.format(module)
        tensors[f"{key}.lora_down.weight"] = torch.randn(rank, 192)
        tensors[f"{key}.lora_up.weight"] = torch.randn(192, rank)
        tensors[f"{key}.alpha"] = torch.tensor(alpha)
    save_file(tensors, tmp_path / "mixed.safetensors", {"ss_output_name": "someone"})
    opened = pl.Adapter.open(tmp_path / "mixed.safetensors")
    assert (opened.rank, opened.alpha, opened.identifier) == (2, 1.0, "someone")
    files = [opened.save(tmp_path / f"{form}.safetensors", form) for form in ("diffusers", "kohya")]
    theirs = pl.load_model("mini", "cpu")
    theirs.pipeline.load_lora_weights(tmp_path, weight_name=files[0].name)
    assert nearly_equal(draw(theirs), draw(mini.with_adapter(opened)))
    for each in [opened, *map(pl.Adapter.open, files)]:
        changed = dict(mini.with_adapter(each).pipeline.unet.named_parameters())
        for module, rank, alpha in rows:
            path = name.format(module).replace("_0_", ".0.").replace("mid_block_a", "mid_block.a")
            path = path.replace("attn1_", "attn1.") + ".weight"
            down, up = (
                tensors[f"lora_unet_{name.format(module)}.lora_{way}.weight"]
                for way in ("down", "up")
            )
            old = mini.pipeline.unet.get_parameter(path)
            assert torch.allclose(changed[path], old + alpha / rank * up @ down, atol=1e-4)


def test_the_metadata_says_what_other_programs_show(lora, tmp_path):
    with safe_open(lora.save(tmp_path / "me.safetensors", "kohya"), "pt") as file:
        metadata = file.metadata()
    assert metadata["modelspec.trigger_phrase"] == metadata["ss_output_name"] == "jrdnpl"
    assert (metadata["ss_network_dim"], metadata["ss_network_alpha"]) == ("4", "2.0")
    assert metadata["modelspec.architecture"] == "portraitlib/lora"  # no SDXL, and says so
    assert json.loads(metadata["portraitlib.recipe"]) == RECIPE
    assert metadata["sshs_model_hash"].startswith(lora.hash)
    wide = {
        "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight": (2, 2048),
        "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.lora_B.weight": (1280, 2),
    }
    sdxl = pl.Adapter("lora", {key: torch.ones(shape) for key, shape in wide.items()}, 2, 2.0)
    with safe_open(sdxl.save(tmp_path / "xl.safetensors"), "pt") as file:
        metadata = file.metadata()
    assert metadata["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
    assert metadata["ss_base_model_version"].startswith("sdxl_")  # what AUTOMATIC1111 looks for


def test_a_full_disk_leaves_the_old_file_whole(lora, unet_lora, tmp_path, largest_file):
    path = unet_lora.save(tmp_path / "me.safetensors")
    before = path.read_bytes()
    with largest_file(100_000), pytest.raises(pl.UsageError, match="cannot be written"):
        lora.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
