"""Sheets of pictures, to be looked at while something is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from .architecture import new_scheduler

PROMPTS = (
    "portrait of a man, short hair, brown hair, wearing suit, plain background",
    "a woman, dark skin, long hair, curly hair, smiling, in a forest",
    "portrait of old man, gray hair, full beard, glasses, in a city",
    "portrait of a girl, red hair, wearing t-shirt, on a beach",
    "portrait of a man, curly hair, trimmed beard, glasses, pencil sketch",
    "portrait of a woman, blond hair, comic book style",
    "portrait of a man, black hair, smiling, anime style",
    "portrait of a woman, brown hair, glasses, pixel art",
    "portrait of a man, full beard, oil painting, dramatic",
    "portrait of a boy, smiling, animated",
    "indian woman, long hair, wearing dress, bubblegum background",
    "portrait of a man, bald, serious, wearing doctor's coat",
    "a woman, punk, in a city",
    "mona lisa",
    "portrait of a woman, oil painting, impressionist",
    "portrait of a man, wearing uniform, in jungle",
)


def save_sheet(path: Path, *rows_of: np.ndarray, columns: int = 8) -> None:
    """Write pictures as one PNG, beside and renamed.

    rows_of: arrays (n, height, width, 3) uint8 of one shape; a row of the first, then the same
    places of the second below it, and so on.
    """
    bands = []
    for start in range(0, len(rows_of[0]), columns):
        for pictures in rows_of:
            row = pictures[start : start + columns]
            missing = columns - len(row)
            if missing and start:
                row = np.concatenate([row, np.zeros((missing, *row.shape[1:]), np.uint8)])
            bands.append(np.concatenate(list(row), axis=1))
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    Image.fromarray(np.concatenate(bands)).save(beside, "PNG")
    beside.rename(path)


def draw_sheet(path: Path, unet: Any, vae: Any, tokenizer: Any, pair: Any, size_px: int) -> None:
    """Draw `PROMPTS`, as the finished model will: 25 steps, guidance 2.5."""
    from diffusers import StableDiffusionXLPipeline

    pipeline = StableDiffusionXLPipeline(
        vae, pair.first, pair.second, tokenizer, tokenizer, unet, new_scheduler(),
        force_zeros_for_empty_prompt=False, add_watermarker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    rows = []
    for i in range(0, len(PROMPTS), 8):
        prompts = list(PROMPTS[i : i + 8])
        noise = [torch.Generator().manual_seed(k) for k in range(i, i + len(prompts))]
        with torch.autocast("cpu", torch.bfloat16):
            pictures = pipeline(
                prompts, height=size_px, width=size_px, num_inference_steps=25,
                guidance_scale=2.5, generator=noise, output_type="np",
            ).images  # fmt: skip
        rows.append((pictures * 255).round().astype(np.uint8))
    save_sheet(path, np.concatenate(rows))
