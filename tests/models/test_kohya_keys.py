"""The names in a kohya file are those of SDXL's modules, for every program that loads it."""

from __future__ import annotations

import re

import torch
from sdxl_keys import sgm_shapes
from torch import nn

import portraitlib as pl
from portraitlib.models.kohya_keys import from_kohya, to_kohya


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
