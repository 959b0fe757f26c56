"""The names of modules as kohya's trainers write them, which AUTOMATIC1111 and ComfyUI load.

Their LoRA files name the modules of Stability AI's own code (sgm), which numbers the blocks of a
UNet straight through, with underscores for dots; diffusers counts blocks and layers apart. Knows
no torch.
"""

from __future__ import annotations

import re

# A block of diffusers takes three numbers: two layers, then what changes the size, as in SDXL.
# Programs that load the files count on it, whatever the model; so it is one rule for all.
NUMBERS = 3
TEXT_PREFIXES = {"text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}
UNET_PREFIX = "lora_unet_"

# Modules outside the numbered blocks, and inside their residual layers: diffusers -> sgm.
OUTSIDE = {
    "conv_in": "input_blocks_0_0",
    "conv_out": "out_2",
    "time_embedding.linear_1": "time_embed_0",
    "time_embedding.linear_2": "time_embed_2",
    "add_embedding.linear_1": "label_emb_0_0",
    "add_embedding.linear_2": "label_emb_0_2",
}
RESNET = {
    "conv1": "in_layers_2",
    "conv2": "out_layers_3",
    "time_emb_proj": "emb_layers_1",
    "conv_shortcut": "skip_connection",
}
INNER = {"resnets": "0", "attentions": "1"}

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
    return UNET_PREFIX + (OUTSIDE.get(path) or _numbered(path))


def _numbered(path: str) -> str:
    """The sgm name of a module in one of diffusers' blocks."""
    match path.split("."):
        case ["down_blocks", block, "downsamplers", "0", "conv"]:
            return f"input_blocks_{NUMBERS * int(block) + 3}_0_op"
        case ["up_blocks", block, "upsamplers", "0", "conv"]:
            return f"output_blocks_{NUMBERS * int(block) + 2}_2_conv"
        case ["down_blocks", block, ("resnets" | "attentions") as kind, layer, *rest]:
            number = 1 + NUMBERS * int(block) + int(layer)
            return f"input_blocks_{number}_{INNER[kind]}_{_inside(kind, rest)}"
        case ["up_blocks", block, ("resnets" | "attentions") as kind, layer, *rest]:
            number = NUMBERS * int(block) + int(layer)
            return f"output_blocks_{number}_{INNER[kind]}_{_inside(kind, rest)}"
        case ["mid_block", ("resnets" | "attentions") as kind, layer, *rest]:
            number = 1 if kind == "attentions" else 2 * int(layer)
            return f"middle_block_{number}_{_inside(kind, rest)}"
    return path.replace(".", "_")


def _inside(kind: str, rest: list[str]) -> str:
    if kind == "resnets" and rest[0] in RESNET:
        return "_".join([RESNET[rest[0]], *rest[1:]])
    return "_".join(rest)


def from_kohya(name: str) -> str | None:
    """The module that kohya's name means, with its part; None for what is no such name.

    Names that kept diffusers' own blocks ("lora_unet_down_blocks_1_...") are read too.

    >>> from_kohya("lora_unet_middle_block_1_transformer_blocks_0_ff_net_0_proj")
    'unet.mid_block.attentions.0.transformer_blocks.0.ff.net.0.proj'
    """
    for part, prefix in {**TEXT_PREFIXES, "text_encoder ": "lora_te_"}.items():
        if name.startswith(prefix):
            return f"{part.strip()}.{_dotted(name.removeprefix(prefix))}"
    if not name.startswith(UNET_PREFIX):
        return None
    path = name.removeprefix(UNET_PREFIX)
    outside = {theirs: ours for ours, theirs in OUTSIDE.items()}
    return "unet." + (outside.get(path) or _unnumbered(path))


def _unnumbered(path: str) -> str:
    """The diffusers name of a module that sgm numbers, or whose name only has underscores."""
    numbered = re.fullmatch(r"(input_blocks|output_blocks|middle_block)_(\d+)_(.+)", path)
    if numbered is None:
        return _dotted(path)
    side, number, rest = numbered[1], int(numbered[2]), numbered[3]
    if side == "middle_block":
        if number == 1:
            return f"mid_block.attentions.0.{_dotted(rest)}"
        return f"mid_block.resnets.{number // 2}.{_resnet(rest)}"
    down = side == "input_blocks"
    block, layer = divmod(number - 1 if down else number, NUMBERS)
    home = f"{'down' if down else 'up'}_blocks.{block}"
    inner, _, rest = rest.partition("_")
    if rest in ("op", "conv"):
        return f"{home}.{'downsamplers' if down else 'upsamplers'}.0.conv"
    if inner == INNER["attentions"]:
        return f"{home}.attentions.{layer}.{_dotted(rest)}"
    return f"{home}.resnets.{layer}.{_resnet(rest)}"


def _resnet(rest: str) -> str:
    return next((ours for ours, theirs in RESNET.items() if theirs == rest), _dotted(rest))


def _dotted(path: str) -> str:
    return ".".join(WORD.findall(path))
