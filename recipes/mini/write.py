"""Writes the trained parts as a pipeline that diffusers reads, all or nothing.

python -m recipes.mini.write --state DIR --weights DIR
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from .architecture import new_scheduler, new_unet, save_pipeline
from .autoencoder import FROZEN, frozen
from .denoiser import Taught
from .text import trained_text
from .training import STATE, averaged


def write_pipeline(state: Path, name: str, folder: Path) -> None:
    """Write the averaged parts of `state`, with the denoiser called `name`, into `folder`."""
    module = Taught(new_unet())
    averaged(state / name, module)
    tokenizer, pair = trained_text(state / "text")
    parts = {
        "unet": module.unet,
        "vae": frozen(state / FROZEN)[0],
        "text_encoder": pair.first,
        "text_encoder_2": pair.second,
        "tokenizer": tokenizer,
        "scheduler": new_scheduler(),
    }
    beside = folder.with_name(folder.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    save_pipeline(parts, beside)
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m recipes.mini.write")
    parser.description = (__doc__ or "").split("\n")[0]
    state = os.environ.get(STATE)
    parser.add_argument("--state", type=Path, default=state, required=state is None)
    parser.add_argument("--name", default="denoiser", help="the denoiser's folder in the state")
    parser.add_argument("--weights", type=Path, required=True, help="where the pipeline goes")
    options = parser.parse_args(arguments)
    write_pipeline(options.state, options.name, options.weights)


if __name__ == "__main__":
    main()
