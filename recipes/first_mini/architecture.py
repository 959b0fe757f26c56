"""The parts of the embedded model: SDXL's own classes, at less than a 200th of its size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SIZE_PX = 96
LATENT_CHANNELS = 4  # diffusers' inpainting accepts 4 or 9 only
CONTEXT_TOKENS = 77

TEXT_WIDTHS = (64, 128)
TEXT_LAYERS = (2, 3)
TIME_WIDTH = 32  # of each of the six size and crop numbers

VAE: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": LATENT_CHANNELS,
    "down_block_types": ("DownEncoderBlock2D",) * 3,
    "up_block_types": ("UpDecoderBlock2D",) * 3,
    "block_out_channels": (16, 32, 64),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "sample_size": SIZE_PX,
    "mid_block_add_attention": True,
}

UNET: dict[str, Any] = {
    "sample_size": SIZE_PX // 4,
    "in_channels": LATENT_CHANNELS,
    "out_channels": LATENT_CHANNELS,
    "down_block_types": ("DownBlock2D", *("CrossAttnDownBlock2D",) * 3),
    "up_block_types": (*("CrossAttnUpBlock2D",) * 3, "UpBlock2D"),
    "block_out_channels": (32, 64, 128, 192),
    "layers_per_block": 1,
    "transformer_layers_per_block": 1,
    "attention_head_dim": (1, 2, 4, 6),  # heads at each level, as in SDXL's own configuration
    "norm_num_groups": 16,
    "cross_attention_dim": sum(TEXT_WIDTHS),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": TIME_WIDTH,
    "projection_class_embeddings_input_dim": TEXT_WIDTHS[1] + 6 * TIME_WIDTH,
}

SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.0005,
    "beta_end": 0.008,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}


def new_tokenizer(words: list[str]) -> Any:
    """Return a CLIP tokenizer in which each of `words` is one token.

    Any other text falls apart into known pieces, down to single bytes, so that a made-up
    identifier such as "jrdnpl" can be written and means nothing yet.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        min_frequency=1,
        end_of_word_suffix="</w>",
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizers.Whitespace()
    learner.train_from_iterator(words * 2, trainer)
    merges = [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*alphabet, *(letter + "</w>" for letter in alphabet), *("".join(m) for m in merges)]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[special] = len(vocabulary)
    return CLIPTokenizer(
        vocab=vocabulary, merges=merges, model_max_length=CONTEXT_TOKENS, pad_token="<|endoftext|>"
    )


def new_text_encoders(tokenizer: Any) -> tuple[Any, Any]:
    """Return the two CLIP text encoders, untrained."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    configs = [
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=width // 32,
            max_position_embeddings=CONTEXT_TOKENS,
            projection_dim=TEXT_WIDTHS[1],
            hidden_act="gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        for width, layers in zip(TEXT_WIDTHS, TEXT_LAYERS, strict=True)
    ]
    return CLIPTextModel(configs[0]), CLIPTextModelWithProjection(configs[1])


def new_autoencoder() -> Any:
    """Return the autoencoder, untrained.

    (batch, 3, height, width) in -1..1 to latents (batch, 4, height/4, width/4) and back.
    """
    from diffusers import AutoencoderKL

    return AutoencoderKL(**VAE)


def new_unet() -> Any:
    """Return the denoising network, untrained."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(**UNET)


def new_scheduler() -> Any:
    """Return the scheduler: Euler, v-prediction, down to no signal at all at the first step."""
    from diffusers import EulerDiscreteScheduler

    return EulerDiscreteScheduler(**SCHEDULER)


def save_pipeline(parts: dict[str, Any], folder: Path) -> None:
    """Write the parts as a folder that `StableDiffusionXLPipeline.from_pretrained` reads.

    `parts` has unet, vae, text_encoder, text_encoder_2, tokenizer, scheduler. Weights are stored
    as 16-bit safetensors.
    """
    import torch
    from diffusers import StableDiffusionXLPipeline

    pipeline = StableDiffusionXLPipeline(
        **parts,
        tokenizer_2=parts["tokenizer"],
        force_zeros_for_empty_prompt=False,
        add_watermarker=False,
    )
    pipeline.to(dtype=torch.float16)
    pipeline.save_pretrained(folder, safe_serialization=True)
