"""The networks of SDXL without weights, and their names elsewhere."""

from __future__ import annotations

import pytest
import torch
from torch import nn

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
