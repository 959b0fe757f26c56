"""The names in a kohya file are those of SDXL's modules, for every program that loads it."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

import portraitlib as pl
from portraitlib.kohya_keys import from_kohya, to_kohya

# The architecture of stabilityai/stable-diffusion-xl-base-1.0, built on the meta device.
UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (320, 640, 1280),
    "layers_per_block": 2,
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
TEXT = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
TEXT_2 = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32}
HEADS = {"num_attention_heads": 20, "projection_dim": 1280}


@pytest.fixture(scope="module")
def sdxl() -> dict[str, nn.Module]:
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    with torch.device("meta"):
        return {
            "unet": UNet2DConditionModel(**UNET),
            "text_encoder": CLIPTextModel(CLIPTextConfig(**TEXT, num_attention_heads=12)),
            "text_encoder_2": CLIPTextModelWithProjection(CLIPTextConfig(**TEXT_2, **HEADS)),
        }


def sgm_shapes() -> dict[str, tuple[int, ...]]:
    """Module -> shape of its weight in Stability AI's own SDXL UNet, counted out block by block.

    Blocks are numbered straight through. Each level has two (going up: three) residual layers, with
    a transformer behind each where the level has one; what halves the size is a block of its own,
    what doubles it stands last in the block before. Going up, what came down is put beside.
    """
    shapes: dict[str, tuple[int, ...]] = {"time_embed.0": (1280, 320), "time_embed.2": (1280, 1280)}
    shapes |= {"label_emb.0.0": (1280, 2816), "label_emb.0.2": (1280, 1280)}
    shapes |= {"input_blocks.0.0": (320, 4, 3, 3), "out.2": (4, 320, 3, 3)}
    widths, depths = (320, 640, 1280), (0, 2, 10)
    number, width, skipped = 1, 320, [320]
    for level in range(3):
        for _ in range(2):
            add_block(shapes, f"input_blocks.{number}", width, widths[level], depths[level])
            width = widths[level]
            skipped.append(width)
            number += 1
        if level < 2:
            shapes[f"input_blocks.{number}.0.op"] = (width, width, 3, 3)
            skipped.append(width)
            number += 1
    add_resnet(shapes, "middle_block.0", 1280, 1280)
    add_transformer(shapes, "middle_block.1", 1280, 10)
    add_resnet(shapes, "middle_block.2", 1280, 1280)
    number = 0
    for level in (2, 1, 0):
        for layer in range(3):
            home, wider = f"output_blocks.{number}", width + skipped.pop()
            add_block(shapes, home, wider, widths[level], depths[level])
            width = widths[level]
            if layer == 2 and level > 0:
                shapes[f"{home}.2.conv"] = (width, width, 3, 3)
            number += 1
    return shapes


def add_block(shapes: dict, home: str, width_in: int, width: int, depth: int) -> None:
    add_resnet(shapes, f"{home}.0", width_in, width)
    if depth:
        add_transformer(shapes, f"{home}.1", width, depth)


def add_resnet(shapes: dict, home: str, width_in: int, width: int) -> None:
    shapes[f"{home}.in_layers.2"] = (width, width_in, 3, 3)
    shapes[f"{home}.emb_layers.1"] = (width, 1280)
    shapes[f"{home}.out_layers.3"] = (width, width, 3, 3)
    if width_in != width:
        shapes[f"{home}.skip_connection"] = (width, width_in, 1, 1)


def add_transformer(shapes: dict, home: str, width: int, depth: int) -> None:
    shapes |= {f"{home}.proj_in": (width, width), f"{home}.proj_out": (width, width)}
    for block in range(depth):
        inside = f"{home}.transformer_blocks.{block}"
        for attention, seen in (("attn1", width), ("attn2", 2048)):
            shapes[f"{inside}.{attention}.to_q"] = (width, width)
            shapes[f"{inside}.{attention}.to_k"] = (width, seen)
            shapes[f"{inside}.{attention}.to_v"] = (width, seen)
            shapes[f"{inside}.{attention}.to_out.0"] = (width, width)
        shapes[f"{inside}.ff.net.0.proj"] = (8 * width, width)
        shapes[f"{inside}.ff.net.2"] = (width, 4 * width)


def weighted(sdxl: dict[str, nn.Module], *parts: str) -> dict[str, tuple[int, ...]]:
    """Module, with its part and as files have it -> the shape of its weight."""
    return {
        f"{part}.{'text_model.' if part == 'text_encoder' else ''}{name}".replace(
            "text_model.text_model.", "text_model."
        ): tuple(module.weight.shape)
        for part in parts
        for name, module in sdxl[part].named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }


def test_every_module_of_the_unet_has_the_name_and_shape_that_sgm_gives_it(sdxl):
    """AUTOMATIC1111 and ComfyUI: "lora_unet_" and the sgm name, dots as underscores."""
    theirs = {"lora_unet_" + name.replace(".", "_"): shape for name, shape in sgm_shapes().items()}
    ours = {to_kohya(module): shape for module, shape in weighted(sdxl, "unet").items()}
    assert ours == theirs
    assert len(ours) == len(weighted(sdxl, "unet"))  # one to one: no two have the same name


def test_every_layer_of_the_text_encoders_has_the_name_that_programs_look_for(sdxl):
    """ComfyUI: lora_te1_ or lora_te2_, text_model_encoder_layers_<n>_ and one of six names."""
    linear = ("self_attn_q_proj", "self_attn_k_proj", "self_attn_v_proj", "self_attn_out_proj")
    linear += ("mlp_fc1", "mlp_fc2")
    expected = {
        f"lora_te{which}_text_model_encoder_layers_{layer}_{name}"
        for which, layers in ((1, 12), (2, 32))
        for layer in range(layers)
        for name in linear
    } | {"lora_te2_text_projection"}
    assert {to_kohya(module) for module in weighted(sdxl, "text_encoder", "text_encoder_2")} == (
        expected
    )


def test_the_second_text_encoder_is_found_as_openclip_wrote_it(sdxl):
    """AUTOMATIC1111 takes q, k and v as thirds of one matrix, and calls the layers otherwise."""
    inside = {"self_attn_out_proj": "attn_out_proj", "mlp_fc1": "mlp_c_fc", "mlp_fc2": "mlp_c_proj"}
    inside |= {f"self_attn_{letter}_proj": "attn" for letter in "qkv"}
    found: dict[str, int] = {}
    for module in weighted(sdxl, "text_encoder_2"):
        name = re.fullmatch(r"lora_te2_text_model_encoder_layers_(\d+)_(.+)", to_kohya(module))
        if name:  # all but text_projection, which it leaves out
            place = f"1_model_transformer_resblocks_{name[1]}_{inside[name[2]]}"
            found[place] = found.get(place, 0) + 1
    layers = {"attn": 3, "attn_out_proj": 1, "mlp_c_fc": 1, "mlp_c_proj": 1}
    assert found == {
        f"1_model_transformer_resblocks_{layer}_{name}": count
        for layer in range(32)
        for name, count in layers.items()
    }


def test_every_name_means_one_module(sdxl):
    modules = weighted(sdxl, "unet", "text_encoder", "text_encoder_2")
    assert {module: from_kohya(to_kohya(module)) for module in modules} == {
        module: module for module in modules
    }
    plain = {  # as trainers on diffusers' own UNet write them
        f"lora_unet_{module.removeprefix('unet.').replace('.', '_')}": module
        for module in weighted(sdxl, "unet")
    }
    assert {name: from_kohya(name) for name in plain} == plain
    assert from_kohya("lora_te_text_model_encoder_layers_0_mlp_fc1") == (
        "text_encoder.text_model.encoder.layers.0.mlp.fc1"
    )
    assert from_kohya("lora_transformer_blocks_0_attn_to_q") is None


def test_diffusers_own_loader_maps_an_exported_file_back(sdxl, tmp_path):
    from diffusers import StableDiffusionXLPipeline
    from diffusers.utils.state_dict_utils import (
        convert_state_dict_to_diffusers,
        convert_state_dict_to_peft,
        convert_unet_state_dict_to_peft,
    )

    wanted = re.compile(r"attn[12]\.to_|\.ff\.net|self_attn|proj_(in|out)$")
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    shapes = weighted(sdxl, "unet", "text_encoder", "text_encoder_2")
    for module, (rows, columns, *_) in shapes.items():
        if wanted.search(module):
            tensors[f"{module}.lora_A.weight"] = torch.randn(1, columns, generator=generator)
            tensors[f"{module}.lora_B.weight"] = torch.randn(rows, 1, generator=generator)
    adapter = pl.Adapter("lora", tensors, 1, 0.5, base="sdxl", identifier="jrdnpl")
    path = adapter.save(tmp_path / "me.safetensors", "kohya")

    theirs, alphas = StableDiffusionXLPipeline.lora_state_dict(
        str(tmp_path), weight_name=path.name, unet_config=sdxl["unet"].config
    )

    assert set(alphas.values()) == {0.5}
    assert len(alphas) == len(tensors) / 2
    unet = {key: value for key, value in theirs.items() if key.startswith("unet.")}
    text = {key: value for key, value in theirs.items() if key not in unet}
    # The same two steps that load_lora_weights takes next.
    mapped = convert_unet_state_dict_to_peft(unet)
    mapped |= convert_state_dict_to_peft(convert_state_dict_to_diffusers(text))
    assert mapped.keys() == adapter.tensors.keys()
    assert all(torch.equal(mapped[key], value) for key, value in adapter.tensors.items())
    assert pl.Adapter.open(path).hash == adapter.hash
