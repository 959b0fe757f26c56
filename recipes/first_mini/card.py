"""Writes the model card: what the embedded model is, what it can do, and where it fails.

    python -m recipes.first_mini.card --state runs/mini

measures the pipeline, draws the card's pictures and writes `MODEL_CARD.md`; with `--keep` the
figures are those of the last time. What edges do is measured by `control_figures` alone, how a face
is learnt by `face_figures`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from portraitlib.mini.judge import load_judge
from portraitlib.mini.likeness import load_likeness
from portraitlib.mini.words import STYLES
from portraitlib.places import PACKAGE

from .card_text import SHEET, SHEET_SEED, STAGES, write_text
from .drawings import HELD_OUT, draw_many
from .figures import generate, measure_mini, summary
from .recipe import BEFORE

HERE = Path(__file__).parent
CARD, PICTURES = HERE / "MODEL_CARD.md", HERE / "card"
# What was measured and how it was trained, kept so that the text can be written again.
FIGURES, TRAINING = PICTURES / "figures.json", PICTURES / "training.json"
CONTROL = PICTURES / "control.json"
FACES = PICTURES / "faces.json"
FROM_NOTHING = ("judge", "controlnet")  # what never goes on from the shipped weights

# Pictures ------------------------------------------------------------------------------------


def tile(rows: list[np.ndarray], gap_px: int = 2) -> Image.Image:
    """Lay out rows of pictures, each (columns, height, width, 3) uint8, on white."""
    height, width = rows[0].shape[1:3]
    columns = max(len(row) for row in rows)
    sheet = np.full(
        (len(rows) * (height + gap_px) - gap_px, columns * (width + gap_px) - gap_px, 3),
        255,
        np.uint8,
    )
    for i, row in enumerate(rows):
        for k, picture in enumerate(row):
            y, x = i * (height + gap_px), k * (width + gap_px)
            sheet[y : y + height, x : x + width] = picture
    return Image.fromarray(sheet)


def draw_sheet(model: Any) -> Image.Image:
    """Six prompts by six seeds."""
    prompts = [prompt for prompt in SHEET for _ in range(6)]
    pictures = generate(model, prompts, SHEET_SEED)
    return tile(list(pictures.reshape(6, 6, *pictures.shape[1:])))


def draw_reconstructions(model: Any, size_px: int) -> Image.Image:
    """Held-out drawn portraits, one of each style and two rows, each above what the autoencoder
    keeps of it."""
    import torch

    from .autoencoder import to_tensor

    rows = []
    for offset in (0, 1):
        drawn = np.concatenate(
            [
                draw_many(HELD_OUT + 7_000_000 + offset, 1, size_px, {"style": style}).images
                for style in STYLES
            ]
        )
        with torch.no_grad():
            latents = model.pipeline.vae.encode(to_tensor(drawn)).latent_dist.mode()
            got = model.pipeline.vae.decode(latents).sample.clamp(-1, 1)
        rows += [drawn, ((got + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()]
    return tile(rows)


def draw_curves(training: dict[str, Any], path: Path) -> None:
    """The loss of each stage over its steps."""
    from matplotlib.figure import Figure

    stages = [stage for stage in STAGES if training.get(stage, {}).get("curve")]
    figure = Figure(figsize=(3.2 * len(stages), 2.4), dpi=80, layout="constrained")
    axes = figure.subplots(1, len(stages), squeeze=False)[0]
    for axis, stage in zip(axes, stages, strict=True):
        curve = training[stage]["curve"]
        axis.plot([row["step"] for row in curve], [row["loss"] for row in curve], linewidth=1)
        axis.set(title=stage, xlabel="step", yscale="log")
        if axis is axes[0]:
            axis.set_ylabel("loss")
    figure.savefig(path)


# What is known -------------------------------------------------------------------------------


def read_training(state: Path) -> dict[str, Any]:
    """Steps and curve of each stage that `state` holds, those behind the weights that it began at
    included; the number of drawings learnt on."""
    begun = state / BEFORE
    training: dict[str, Any] = json.loads(begun.read_text()) if begun.exists() else {}
    for stage in STAGES:
        note = state / stage / "note.json"
        if note.exists():
            whole = json.loads(note.read_text())
            nothing: dict[str, Any] = {"steps": 0, "curve": []}
            earlier = nothing if stage in FROM_NOTHING else training.get(stage, nothing)
            done = earlier["steps"]
            every = max(1, len(whole["curve"]) // 200)
            new = [{**row, "step": done + row["step"]} for row in whole["curve"][::every]]
            training[stage] = {"steps": done + whole["step"], "curve": earlier["curve"] + new}
    shards = list((state / "drawings").glob("[0-9]*.npz"))
    if shards:
        training["drawings"] = max(1000 * len(shards), training.get("drawings", 0))
    return training


def count_parameters(model: Any) -> dict[str, float]:
    """Millions of numbers in each part of the pipeline."""
    names = ("unet", "vae", "text_encoder", "text_encoder_2")
    return {
        name: sum(p.numel() for p in getattr(model.pipeline, name).parameters()) / 1e6
        for name in names
    }


# The command ---------------------------------------------------------------------------------


def make_card(weights: Path, state: Path, *, keep: bool, share: float = 1.0) -> None:
    """Measure, draw and write the card of the pipeline in `weights`."""
    from portraitlib.models.load import load_model

    PICTURES.mkdir(exist_ok=True)
    if keep:
        figures = json.loads(FIGURES.read_text())
    else:
        figures = measure_mini(weights, share=share)
        FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    print(summary(figures), flush=True)
    before = json.loads(TRAINING.read_text()) if TRAINING.exists() else {}
    model = load_model(weights, "cpu")
    training = {**before, **read_training(state), "parameters_million": count_parameters(model)}
    TRAINING.write_text(json.dumps(training) + "\n")
    draw_sheet(model).save(PICTURES / "sheet.png", optimize=True)
    draw_reconstructions(model, figures["size_px"]).save(
        PICTURES / "reconstructions.png", optimize=True
    )
    draw_curves(training, PICTURES / "curves.png")
    write_card()


def write_card() -> None:
    """Write the card's text from what is stored; nothing is measured or drawn."""
    figures, training = json.loads(FIGURES.read_text()), json.loads(TRAINING.read_text())
    control, faces = json.loads(CONTROL.read_text()), json.loads(FACES.read_text())
    judge, likeness = load_judge()[1], load_likeness()[1]
    CARD.write_text(write_text(figures, training, judge, likeness, control, faces))
    print(f"wrote {CARD}", flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m recipes.first_mini.card", description=__doc__)
    parser.add_argument("--state", type=Path, default=Path("runs/mini"), help="the recipe's state")
    parser.add_argument(
        "--weights", type=Path, default=PACKAGE / "mini" / "weights", help="the pipeline"
    )
    parser.add_argument("--keep", action="store_true", help="keep the figures of the last time")
    parser.add_argument(
        "--count", type=float, default=1.0, help="share of the pictures to measure on"
    )
    options = parser.parse_args(arguments)
    make_card(options.weights, options.state, keep=options.keep, share=options.count)


if __name__ == "__main__":
    main()
