"""SDXL's parts under the names that single files have, those of Stability AI's own code.

What `load_model` reads by diffusers' converter is written here, so that it can be tried without a
file of 7 GB from elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from portraitlib.models.kohya_keys import PLACES, RESNET

Tensors = dict[str, torch.Tensor]

# Inside a residual layer, and beside the blocks: what holds no matrix, so that no LoRA has it.
NORMS = {"norm1": "in_layers_0", "norm2": "out_layers_0"}
NORM_OUT = {"conv_norm_out": "out_0"}
VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}
OPENCLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def unet_name(name: str) -> str:
    """A tensor of the UNet, such as "mid_block.resnets.0.conv1.weight", as single files have it."""
    module, _, kind = name.rpartition(".")
    places = PLACES | NORM_OUT
    place = next(place for place in places if f"{module}.".startswith(f"{place}."))
    inside = module.removeprefix(place).removeprefix(".")
    inner = (RESNET | NORMS).get(inside)
    words = [_dotted(places[place]), _dotted(inner) if inner else inside, kind]
    return ".".join(filter(None, words))


def _dotted(name: str) -> str:
    """Kohya's "input_blocks_3_0_op" as sgm has it, "input_blocks.3.0.op"."""
    return re.sub(r"_(?=\d)|(?<=\d)_", ".", name)


def vae_name(name: str) -> str:
    """A tensor of the VAE as single files have it; four levels, counted from the finest."""
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"down_blocks\.(\d)\.resnets\.", r"down.\1.block.", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets\.", lambda m: f"up.{3 - int(m[1])}.block.", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{3 - int(m[1])}.upsample", name)
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    attention = re.fullmatch(r"(.+)\.mid_block\.attentions\.0\.(.+)\.(weight|bias)", name)
    if attention:
        return f"{attention[1]}.mid.attn_1.{VAE_ATTENTION[attention[2]]}.{attention[3]}"
    return name


def openclip_tensors(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """The second text encoder's tensors as OpenCLIP has them: query, key and value in one."""
    plain = {name.removeprefix("text_model."): values for name, values in tensors.items()}
    renamed: Tensors = {
        "token_embedding.weight": plain["embeddings.token_embedding.weight"],
        "positional_embedding": plain["embeddings.position_embedding.weight"],
        "ln_final.weight": plain["final_layer_norm.weight"],
        "ln_final.bias": plain["final_layer_norm.bias"],
        "text_projection": plain["text_projection.weight"].T.contiguous(),
    }
    for name, values in plain.items():
        layer = re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", name)
        if layer is None:
            continue
        home, module, kind = f"transformer.resblocks.{layer[1]}", layer[2], layer[3]
        if module == "self_attn.q_proj":
            rows = [plain[name.replace("q_proj", f"{role}_proj")] for role in "qkv"]
            renamed[f"{home}.attn.in_proj_{kind}"] = torch.cat(rows)
        elif module in OPENCLIP:
            renamed[f"{home}.{OPENCLIP[module]}.{kind}"] = values
    return renamed


def single_file_tensors(parts: Mapping[str, Mapping[str, torch.Tensor]]) -> Tensors:
    """The tensors of SDXL's four parts under the names of a single file.

    parts: "unet", "vae", "text_encoder", "text_encoder_2" -> tensors by diffusers' names.
    """
    tensors: Tensors = {}
    for name, values in parts["unet"].items():
        tensors[f"model.diffusion_model.{unet_name(name)}"] = values
    for name, values in parts["vae"].items():
        other = vae_name(name)
        flat = ".attn_1." in other and other.endswith(".weight") and values.dim() == 2
        tensors[f"first_stage_model.{other}"] = values[:, :, None, None] if flat else values
    for name, values in parts["text_encoder"].items():
        plain = name.removeprefix("text_model.")
        tensors[f"conditioner.embedders.0.transformer.text_model.{plain}"] = values
    for name, values in openclip_tensors(parts["text_encoder_2"]).items():
        tensors[f"conditioner.embedders.1.model.{name}"] = values
    return tensors
