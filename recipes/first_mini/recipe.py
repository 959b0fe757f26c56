"""From nothing to the embedded model's weights: draw, train, write the pipeline.

    python -m recipes.first_mini.recipe --state runs/mini

Every stage saves its state there and goes on from it, so that the command can be stopped at any
time and given again; more steps than the last time train on. Hours on two cores, minutes on a GPU.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from portraitlib.places import PACKAGE

from .architecture import SIZE_PX, new_autoencoder, new_scheduler, new_unet, save_pipeline
from .autoencoder import autoencoder_figures, train_autoencoder, trained_autoencoder
from .denoiser import Encoded, encode_drawings, scaling_factor, train_denoiser, trained_unet
from .drawings import Drawings, make_drawings, read_drawings
from .text import TextPair, kept_tokenizer, train_text, trained_text
from .training import Average, save_state

WEIGHTS = PACKAGE / "mini" / "weights"
TRAINING = Path(__file__).parent / "card" / "training.json"  # steps and curves behind the weights
BEFORE = "before.json"  # a copy of it in a state that began at the shipped weights
STAGES = ("draw", "autoencoder", "text", "denoiser", "write")


def encoded_drawings(state: Path, drawings: Drawings, device: str) -> Encoded:
    """The drawings' latents and captions by the encoders in `state`, encoded once and kept."""
    from safetensors.torch import load_file, save_file

    path = state / f"encoded-{len(drawings)}.safetensors"
    newest = max((state / stage / "note.json").stat().st_mtime for stage in ("autoencoder", "text"))
    if path.exists() and path.stat().st_mtime > newest:
        return Encoded(**load_file(path))
    print(f"encoding {len(drawings)} drawings and their captions once", flush=True)
    vae = trained_autoencoder(state / "autoencoder").to(device)
    vae.register_to_config(scaling_factor=scaling_factor(vae, drawings))
    tokenizer, pair = trained_text(state / "text")
    encoded = encode_drawings(vae, tokenizer, pair.to(device), drawings)
    save_file({k: v.contiguous() for k, v in vars(encoded).items()}, path.with_suffix(".part"))
    path.with_suffix(".part").rename(path)
    return encoded


def write_pipeline(state: Path, folder: Path, scale: float) -> None:
    """Write the trained parts of `state` as a diffusers pipeline into `folder`, all or nothing."""
    vae, unet = trained_autoencoder(state / "autoencoder"), trained_unet(state / "denoiser")
    vae.register_to_config(scaling_factor=scale)
    tokenizer, pair = trained_text(state / "text")
    beside = folder.with_name(folder.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    parts = {
        "unet": unet,
        "vae": vae,
        "text_encoder": pair.first,
        "text_encoder_2": pair.second,
        "tokenizer": tokenizer,
        "scheduler": new_scheduler(),
    }
    save_pipeline(parts, beside)
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)


def start_from(weights: Path, state: Path) -> None:
    """Begin `state` at the shipped weights, so that training goes on from them."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    vae, unet = new_autoencoder(), new_unet()
    vae.load_state_dict(AutoencoderKL.from_pretrained(weights / "vae").float().state_dict())
    unet.load_state_dict(
        UNet2DConditionModel.from_pretrained(weights / "unet").float().state_dict()
    )
    place = state / "text" / "tokenizer"
    if not place.exists():
        shutil.copytree(weights / "tokenizer", place)
    pair = TextPair(kept_tokenizer(state / "text"))
    first = CLIPTextModel.from_pretrained(weights / "text_encoder").float()
    second = CLIPTextModelWithProjection.from_pretrained(weights / "text_encoder_2").float()
    pair.first.load_state_dict(first.state_dict())
    pair.second.load_state_dict(second.state_dict())
    if not (state / BEFORE).exists() and TRAINING.exists():
        shutil.copy(TRAINING, state / BEFORE)
    for stage, module in (("autoencoder", vae), ("text", pair), ("denoiser", unet)):
        if not (state / stage / "note.json").exists():
            optimizer = torch.optim.AdamW(module.parameters())
            save_state(state / stage, module, Average(module), optimizer, {"step": 0, "curve": []})


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m recipes.first_mini.recipe", description=__doc__
    )
    parser.add_argument("--state", type=Path, default=Path("runs/mini"), help="where all is kept")
    parser.add_argument(
        "--weights", type=Path, default=WEIGHTS, help="where the pipeline is written"
    )
    parser.add_argument("--drawings", type=int, default=24_000, help="how many portraits to draw")
    parser.add_argument("--autoencoder-steps", type=int, default=20_000)
    parser.add_argument("--decoder-steps", type=int, default=0, help="more steps, decoder only")
    parser.add_argument("--text-steps", type=int, default=1_500)
    parser.add_argument("--denoiser-steps", type=int, default=60_000)
    parser.add_argument("--processes", type=int, default=1, help="that share the denoiser's steps")
    parser.add_argument("--device", default=None, help="default: cuda if there is one, else cpu")
    parser.add_argument("--from-shipped", action="store_true", help="start at the shipped weights")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    options = parser.parse_args(arguments)
    run(options)


def run(options: argparse.Namespace) -> None:
    """Run the stages that `options` name, in order."""
    import torch

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    state: Path = options.state
    if options.from_shipped:
        start_from(options.weights, state)
    if "draw" in options.stages:
        make_drawings(
            state / "drawings",
            options.drawings,
            SIZE_PX,
            lambda done, all_: print(f"draw {done}/{all_} thousand", flush=True),
        )
    if "autoencoder" in options.stages:
        drawings = read_drawings(state / "drawings", options.drawings)
        train_autoencoder(state / "autoencoder", drawings, options.autoencoder_steps, device=device)
        if options.decoder_steps:
            train_autoencoder(
                state / "autoencoder",
                drawings,
                options.autoencoder_steps + options.decoder_steps,
                device=device,
                decoder_only=True,
            )
        vae = trained_autoencoder(state / "autoencoder").to(device)
        figures = autoencoder_figures(vae)
        print("PSNR, dB:", {k: round(v, 2) for k, v in figures.items()}, flush=True)
    if "text" in options.stages:
        train_text(state / "text", options.text_steps, device=device)
    if "denoiser" in options.stages:
        drawings = read_drawings(state / "drawings", options.drawings)
        train_denoiser(
            state / "denoiser",
            encoded_drawings(state, drawings, device),
            options.denoiser_steps,
            device=device,
            processes=1 if device != "cpu" else options.processes,
        )
    if "write" in options.stages:
        drawings = read_drawings(state / "drawings", options.drawings)
        scale = scaling_factor(trained_autoencoder(state / "autoencoder").to(device), drawings)
        write_pipeline(state, options.weights, scale)
        print(f"wrote {options.weights}", flush=True)


if __name__ == "__main__":
    main()
