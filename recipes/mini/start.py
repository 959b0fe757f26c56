"""Begins a state from weights that were written, so that trainings go on from there.

    python -m recipes.mini.start --weights recipes/mini/weights --state DIR

The averaged weights are kept. What optimizers knew is not: they find it again in some hundred
steps.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from typing import Any

from .architecture import new_autoencoder, new_unet
from .autoencoder import FROZEN
from .denoiser import Taught
from .reader_network import Reader
from .text import TextPair, kept_tokenizer
from .training import STATE, Average, save_state

READER = "reader/reader.safetensors"


class _Fresh:
    """An optimizer that knows nothing yet."""

    def state_dict(self) -> dict[str, Any]:
        return {"state": {}}


def begin(weights: Path, state: Path) -> None:
    """Write a state for each stage whose weights are there and that has no state yet."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from safetensors.torch import load_file
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    def keep(name: str, module: Any) -> None:
        if not (state / name / "note.json").exists():
            save_state(state / name, module.float(), Average(module), _Fresh(), {"step": 0})

    vae = new_autoencoder()
    vae.load_state_dict(AutoencoderKL.from_pretrained(weights / "vae").state_dict())
    keep("autoencoder", vae)
    if not (state / FROZEN).exists():
        vae.save_pretrained(state / FROZEN, safe_serialization=True)
    taught = Taught(new_unet())
    taught.unet.load_state_dict(UNet2DConditionModel.from_pretrained(weights / "unet").state_dict())
    keep("denoiser", taught)
    if not (state / "text" / "tokenizer").exists():
        shutil.copytree(weights / "tokenizer", state / "text" / "tokenizer")
    pair = TextPair(kept_tokenizer(state / "text"))
    first = CLIPTextModel.from_pretrained(weights / "text_encoder")
    second = CLIPTextModelWithProjection.from_pretrained(weights / "text_encoder_2")
    pair.first.load_state_dict(first.state_dict())
    pair.second.load_state_dict(second.state_dict())
    keep("text", pair)
    if (weights / READER).exists():
        reader = Reader()
        reader.load_state_dict(load_file(weights / READER))
        keep("reader", reader)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m recipes.mini.start")
    parser.description = (__doc__ or "").split("\n")[0]
    kept = os.environ.get(STATE)
    parser.add_argument("--state", type=Path, default=kept, required=kept is None)
    parser.add_argument("--weights", type=Path, default=Path("recipes/mini/weights"))
    options = parser.parse_args(arguments)
    begin(options.weights, options.state)


if __name__ == "__main__":
    main()
