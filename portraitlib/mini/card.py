"""Writes the model card: what the embedded model is, what it can do, and where it fails.

    python -m portraitlib.mini.card --state runs/mini

measures the pipeline, draws the card's pictures and writes `MODEL_CARD.md`; with `--keep` the
figures are those of the last time.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .drawings import HELD_OUT, draw_many
from .figures import generate, measure_mini, summary
from .judge import load_judge
from .visible import HIDDEN
from .words import STYLES

HERE = Path(__file__).parent
CARD, PICTURES = HERE / "MODEL_CARD.md", HERE / "card"
SHEET_SEED = 100
SHEET = (
    "portrait of a man, photorealistic",
    "indian boy with curly hair, jawline, trimmed beard, smiling, dimples, pimple on cheek, "
    "in a forest, pixel art, colorful, vibrant, cheerful",
    "smiling man, comic book style",
    "portrait of jrdnpl man, 20 year old man, wearing sweatshirt, bubblegum background, punk",
    "portrait of an old woman, glasses, in a city, oil painting, dramatic",
    "girl, long hair, red hair, on a beach, anime style",
)
STAGES = ("autoencoder", "text", "denoiser", "judge")
# What is asked of the model: (now, in the end), and how it is said.
GOALS = {
    "psnr": (27.0, 30.0, "autoencoder, held-out drawn portraits, PSNR", "{:.1f} dB"),
    "psnr_worst": (25.0, 28.0, "the same, worst style", "{:.1f} dB"),
    "coherence": (0.90, 0.99, "coherence", "{:.1%}"),
    "obedience": (0.85, 0.95, "obedience, over all attributes and styles", "{:.1%}"),
    "obedience_worst": (0.70, 0.85, "the same, worst attribute or style", "{:.1%}"),
    "variety": (0.60, 0.80, "variety", "{:.2f}"),
}
WEIGHTS_MB = 40.0


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
    """Steps and curve of each stage that `state` holds; the number of drawings learnt on."""
    training: dict[str, Any] = {}
    for stage in STAGES:
        note = state / stage / "note.json"
        if note.exists():
            whole = json.loads(note.read_text())
            every = max(1, len(whole["curve"]) // 200)
            training[stage] = {"steps": whole["step"], "curve": whole["curve"][::every]}
    shards = list((state / "drawings").glob("[0-9]*.npz"))
    if shards:
        training["drawings"] = 1000 * len(shards)
    return training


def count_parameters(model: Any) -> dict[str, float]:
    """Millions of numbers in each part of the pipeline."""
    names = ("unet", "vae", "text_encoder", "text_encoder_2")
    return {
        name: sum(p.numel() for p in getattr(model.pipeline, name).parameters()) / 1e6
        for name in names
    }


def reached(figures: dict[str, Any]) -> dict[str, float]:
    """The figures that the `GOALS` are about."""
    psnr = figures.get("autoencoder_psnr_db", {})
    found = {
        "coherence": figures["coherence"]["share"],
        "obedience": figures["obedience"]["all"]["share"],
        "obedience_worst": figures["obedience"]["worst"]["share"],
        "variety": figures["variety"]["mean"],
    }
    if psnr:
        found |= {"psnr": psnr["all"], "psnr_worst": min(psnr[style] for style in STYLES)}
    return found


# Text ----------------------------------------------------------------------------------------


def _percent(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    low, high = row["interval"]
    return f"{row['share']:.0%} ({low:.0%} to {high:.0%}, {row['count']})"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def goals_table(figures: dict[str, Any]) -> str:
    """What was measured beside what is wanted."""
    found, rows = reached(figures), []
    intervals = {
        "coherence": figures["coherence"]["interval"],
        "obedience": figures["obedience"]["all"]["interval"],
        "obedience_worst": figures["obedience"]["worst"]["interval"],
        "variety": figures["variety"]["interval"],
    }
    for key, (now, later, what, form) in GOALS.items():
        if key not in found:
            continue
        low_high = ""
        if key in intervals:
            low_high = " to ".join(form.format(end) for end in intervals[key])
        if key == "obedience_worst":
            what += f" ({figures['obedience']['worst']['what']})"
        rows.append([what, form.format(found[key]), low_high, f"≥ {form.format(now)}"])
        rows[-1].append(f"≥ {form.format(later)}")
    size = [f"≤ {WEIGHTS_MB:.0f} MB"] * 2
    rows.append(["all weights", f"{figures['weights_mb']:.1f} MB", "", *size])
    rows.append(["picture", f"{figures['size_px']} px", "", "≥ 96 px", "≥ 128 px"])
    return _table(["what", "measured", "95 % interval", "asked now", "asked in the end"], rows)


def obedience_table(figures: dict[str, Any]) -> str:
    """Every value of every group: generated pictures, and drawn ones for comparison."""
    made, drawn = figures["obedience"], figures["obedience_drawn"]
    rows = []
    for group, values in made["values"].items():
        rows.append([f"**{group}**", _percent(made["groups"][group]), ""])
        rows[-1][2] = _percent(drawn["groups"].get(group))
        for value, row in values.items():
            beside = drawn["values"].get(group, {}).get(value)
            rows.append([value, _percent(row), _percent(beside)])
    return _table(["attribute", "generated", "drawn"], rows)


def styles_table(figures: dict[str, Any]) -> str:
    """Each style: how often what is asked of pictures in it is seen."""
    made, drawn = figures["obedience"]["styles"], figures["obedience_drawn"]["styles"]
    rows = [[style, _percent(row), _percent(drawn.get(style))] for style, row in made.items()]
    return _table(["style", "generated", "drawn"], rows)


def judge_text(notes: dict[str, Any]) -> str:
    """How well the judge itself reads drawn portraits."""
    exam = notes["exam"]
    attributes, r2 = exam["attributes"], exam["people_r2"][STYLES[0]]
    weakest = sorted(
        (share, f"{group}: {value}")
        for group, values in attributes["values"].items()
        for value, share in values.items()
    )[:4]
    said = ", ".join(f"{what} {share:.1%}" for share, what in weakest)
    refused = ", ".join(f"{way} {share:.0%}" for way, share in exam["broken_refused"].items())
    hidden = "\n".join(
        f"- {rule.group}, where "
        + " and ".join(f"{g} is {' or '.join(v)}" for g, v in rule.where.items())
        + f": {rule.why}"
        for rule in HIDDEN
        if "mona_lisa" not in rule.where
    )
    numbers = ", ".join(f"{name} {value:.2f}" for name, value in r2.items())
    return f"""\
On {exam["portraits"]} held-out drawn portraits it names {attributes["mean"]:.1%} of the attributes
(mean over groups; by style {", ".join(f"{s} {v:.1%}" for s, v in attributes["styles"].items())};
weakest values: {said}). {exam["coherent"]:.1%} of them count as coherent; of drawn portraits that
were broken on purpose it refuses: {refused}.

It reads a person's numbers from a photorealistic portrait with these R²: {numbers}. Those
from 0.5 on enter *variety*.

Not asked, because no picture can show it:

{hidden}
- all but the composition in Mona Lisa."""


def write_text(figures: dict[str, Any], training: dict[str, Any], notes: dict[str, Any]) -> str:
    """The whole card, in Markdown."""
    parts = training.get("parameters_million", {})
    sizes = ", ".join(f"{name} {count:.2f} M" for name, count in parts.items())
    steps = ", ".join(
        f"{stage} {training[stage]['steps']:,} steps" for stage in STAGES if stage in training
    )
    sheet = "\n".join(f"{i}. {prompt}" for i, prompt in enumerate(SHEET, 1))
    return TEXT.format(
        size_px=figures["size_px"], sizes=sizes, steps=steps,
        drawings=f"{training.get('drawings', 0):,}", sheet=sheet, goals=goals_table(figures),
        styles=styles_table(figures), obedience=obedience_table(figures),
        whole_count=figures["coherence"]["count"],
        asked_count=figures["obedience"]["pictures"],
        variety_count=figures["variety"]["count"],
        judge=judge_text(notes), seed=SHEET_SEED, last_seed=SHEET_SEED + 35,
    )  # fmt: skip


TEXT = """\
# mini, the embedded model

A text-to-image model of Stable Diffusion XL's own classes at less than a 200th of its size, that
draws head-and-shoulders portraits of {size_px} px from words. It is there so that every experiment
of the notebooks runs, for real, on a laptop without a GPU or a network.

![Six prompts by six seeds](card/sheet.png)

Rows, with seeds {seed} to {last_seed}, none picked:

{sheet}

## What it is

`StableDiffusionXLPipeline.from_pretrained` reads its folder as it is. Parts:
{sizes}.
The scheduler is Euler with v-prediction, down to no signal at the first step. Every word of the
prompts in the notebooks is a token; any other text falls apart into letters, can be written, and
means nothing until it is taught.

## Data

{drawings} portraits, each drawn by `portraitlib.mini.world` from 22 numbers of a person, a look
in words, a shot and one of seven styles. No photograph and no picture by anybody else was used,
and nobody who exists is in them. Portraits and captions with seeds from 10,000,000 on were never
trained on; all figures below are of those.

## Training

{steps}. `python -m portraitlib.mini.recipe` does it again, from nothing or from these weights;
`python -m portraitlib.mini.judge` trains the judge.

![Loss of each stage](card/curves.png)

A jump up is where training went on with another loss or harder drawings (for the denoiser: errors
in the face count more since then); what stands before and after it cannot be compared.

What the autoencoder keeps: held-out drawn portraits, below each what comes back.

![Drawn portraits and their reconstructions](card/reconstructions.png)

## Figures

{goals}

- *Coherence*: the share of {whole_count} pictures, captions of the world, in which a landmark
  finder trained on drawn portraits finds two eyes, nose, mouth and the top of the head, each as
  clearly and where 999 of 1,000 drawn portraits have them.
- *Obedience*: of all that {asked_count} captions say and a picture can show, the share that the
  judge sees. The judge was trained on drawn portraits only. It names one value in each group, so
  guessing gets a half of a yes or no and a seventh of the styles.
- *Variety*: {variety_count} seeds of "portrait of a man"; the spread of each number of the
  person, as the judge reads it, over its spread in the world's own portraits for these words; the
  mean of the numbers that can be read.

Intervals are by bootstrap over pictures. Measured with 25 steps and the preset's guidance, fixed
captions and seeds: `python -m portraitlib.mini.judge --figures FOLDER` measures again.

### By style

Share of what is said that is seen (95 % interval, how often it was asked). *Drawn* is the same of
the world's own portraits for the same captions: what the judge can read at most.

{styles}

### By attribute

{obedience}

### The judge

{judge}

## Limits

It knows one composition (head and shoulders, from the front), seven styles, six places and the
words above, and nothing else: other words do nothing or something odd. Skin, age and sex are
coarse classes of a drawing program, not claims about people. Likeness, beauty and safety of a
large model's pictures cannot be judged from its own. Use it to learn and to test.

## Licence

MIT, weights and code alike.
"""


# The command ---------------------------------------------------------------------------------


def make_card(weights: Path, state: Path, *, keep: bool, share: float = 1.0) -> None:
    """Measure, draw and write the card of the pipeline in `weights`."""
    from portraitlib.models import load_model

    PICTURES.mkdir(exist_ok=True)
    figures_file, training_file = PICTURES / "figures.json", PICTURES / "training.json"
    if keep:
        figures = json.loads(figures_file.read_text())
    else:
        figures = measure_mini(weights, share=share)
        figures_file.write_text(json.dumps(figures, indent=1) + "\n")
    print(summary(figures), flush=True)
    before = json.loads(training_file.read_text()) if training_file.exists() else {}
    model = load_model(weights, "cpu")
    training = {**before, **read_training(state), "parameters_million": count_parameters(model)}
    training_file.write_text(json.dumps(training) + "\n")
    draw_sheet(model).save(PICTURES / "sheet.png", optimize=True)
    draw_reconstructions(model, figures["size_px"]).save(
        PICTURES / "reconstructions.png", optimize=True
    )
    draw_curves(training, PICTURES / "curves.png")
    CARD.write_text(write_text(figures, training, load_judge()[1]))
    print(f"wrote {CARD}", flush=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m portraitlib.mini.card", description=__doc__)
    parser.add_argument("--state", type=Path, default=Path("runs/mini"), help="the recipe's state")
    parser.add_argument("--weights", type=Path, default=HERE / "weights", help="the pipeline")
    parser.add_argument("--keep", action="store_true", help="keep the figures of the last time")
    parser.add_argument(
        "--count", type=float, default=1.0, help="share of the pictures to measure on"
    )
    options = parser.parse_args(arguments)
    make_card(options.weights, options.state, keep=options.keep, share=options.count)


if __name__ == "__main__":
    main()
