"""The names of modules as kohya's trainers write them, which AUTOMATIC1111 and ComfyUI load.

Their LoRA files name the modules of Stability AI's own code (sgm), which numbers the blocks of a
UNet straight through, with underscores for dots; diffusers counts blocks and layers apart. Knows
no torch.
"""

from __future__ import annotations

import re
from itertools import product

TEXT_PREFIXES = {"text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}
UNET_PREFIX = "lora_unet_"

# Where a module is, diffusers -> sgm. A block of diffusers takes three numbers: two layers, then
# what changes the size, as in SDXL. Programs that load the files count on it, whatever the model;
# so it is one rule for all.
NUMBERS = 3
MOST_BLOCKS = 8  # on the way down, and up; SDXL has three
PLACES = {
    "conv_in": "input_blocks_0_0",
    "conv_out": "out_2",
    "time_embedding.linear_1": "time_embed_0",
    "time_embedding.linear_2": "time_embed_2",
    "add_embedding.linear_1": "label_emb_0_0",
    "add_embedding.linear_2": "label_emb_0_2",
    "mid_block.resnets.0": "middle_block_0",
    "mid_block.attentions.0": "middle_block_1",
    "mid_block.resnets.1": "middle_block_2",
}
for _block in range(MOST_BLOCKS):  # before the layers, whose names begin alike
    _first = NUMBERS * _block
    PLACES[f"down_blocks.{_block}.downsamplers.0.conv"] = f"input_blocks_{_first + 3}_0_op"
    PLACES[f"up_blocks.{_block}.upsamplers.0.conv"] = f"output_blocks_{_first + 2}_2_conv"
for _block, _layer in product(range(MOST_BLOCKS), range(NUMBERS)):
    for _inner, _kind in enumerate(("resnets", "attentions")):
        _number = NUMBERS * _block + _layer
        PLACES[f"down_blocks.{_block}.{_kind}.{_layer}"] = f"input_blocks_{_number + 1}_{_inner}"
        PLACES[f"up_blocks.{_block}.{_kind}.{_layer}"] = f"output_blocks_{_number}_{_inner}"
# Inside a residual layer.
RESNET = {
    "conv1": "in_layers_2",
    "conv2": "out_layers_3",
    "time_emb_proj": "emb_layers_1",
    "conv_shortcut": "skip_connection",
}
OURS = {theirs: ours for ours, theirs in RESNET.items()}

# Names that hold an underscore of their own, where another underscore stands for a dot.
COMPOUND = (
    *("down_blocks", "mid_block", "up_blocks", "transformer_blocks", "proj_in", "proj_out"),
    *("to_q", "to_k", "to_v", "to_out", "time_emb_proj", "conv_shortcut", "conv_in", "conv_out"),
    *("time_embedding", "add_embedding", "linear_1", "linear_2", "token_embedding"),
    *("text_model", "self_attn", "q_proj", "k_proj", "v_proj", "out_proj", "text_projection"),
    *("position_embedding", "final_layer_norm", "layer_norm1", "layer_norm2"),
)
WORD = re.compile("|".join((*COMPOUND, "[^_]+")))


def to_kohya(module: str) -> str:
    """Kohya's name of a module, given with its part: "unet.mid_block.resnets.0.conv1".

    >>> to_kohya("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q")
    'lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q'
    >>> to_kohya("text_encoder.text_model.encoder.layers.0.self_attn.q_proj")
    'lora_te1_text_model_encoder_layers_0_self_attn_q_proj'
    """
    part, _, path = module.partition(".")
    if part in TEXT_PREFIXES:
        return TEXT_PREFIXES[part] + path.replace(".", "_")
    place = next((place for place in PLACES if f"{path}.".startswith(f"{place}.")), "")
    inside = path.removeprefix(place).removeprefix(".")
    words = [PLACES.get(place), RESNET.get(inside, inside.replace(".", "_"))]
    return UNET_PREFIX + "_".join(filter(None, words))


def from_kohya(name: str) -> str | None:
    """The module that kohya's name means, with its part; None for what is no such name.

    Names that kept diffusers' own blocks ("lora_unet_down_blocks_1_...") are read too.

    >>> from_kohya("lora_unet_middle_block_1_transformer_blocks_0_ff_net_0_proj")
    'unet.mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj'
    """
    if text := re.fullmatch(r"lora_te([12]?)_(.+)", name):
        return f"text_encoder{'_2' if text[1] == '2' else ''}.{_dotted(text[2])}"
    if not name.startswith(UNET_PREFIX):
        return None
    path = name.removeprefix(UNET_PREFIX)
    places = PLACES.items()
    place = next((place for place, theirs in places if f"{path}_".startswith(f"{theirs}_")), "")
    inside = path.removeprefix(PLACES.get(place, "")).removeprefix("_")
    return ".".join(filter(None, ["unet", place, OURS.get(inside, _dotted(inside))]))


def _dotted(path: str) -> str:
    return ".".join(WORD.findall(path))
