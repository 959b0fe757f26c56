"""Measures the embedded model: all figures of what it draws, by one command.

    python -m recipes.mini.exam --pipeline DIR --reader DIR --held-set DIR --held-photos FILE.npy \\
        --yunet FILE.onnx --out figures.json [--share 0.1]

Captions, seeds and people are held out. The same folders give the same figures.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .autoencoder import held_pictures, psnr
from .obedience import ask, obedience, share
from .reader_exam import Drawn, drawn_portraits
from .reader_network import (
    GROUPS,
    PERSON_NUMBERS,
    Reader,
    faults,
    limits_of,
    load_reader,
    read,
)
from .sets import HELD_OUT
from .visible import named
from .witnesses import found_by_dlib, found_by_yunet, grids
from .world.words import ALWAYS_SAID, PHRASES, STYLES, Look, caption, random_look

# How many pictures, and the seeds of their captions; their noise begins at FIRST_NOISE.
COHERENCE, OBEDIENCE, VARIETY, PHOTOGRAPHS, PIXEL_ART = 200, 500, 64, 200, 50
FIRST_NOISE = {"coherence": 0, "obedience": 10_000, "variety": 20_000, "photorealistic": 30_000,
               "pixel art": 40_000}  # fmt: skip
CAPTION_SEED = HELD_OUT + 6_000_000
VARIETY_PROMPT = "portrait of a man"
UNSAID = 0.54  # how often captions that say next to nothing leave a word out
READABLE_R2 = 0.5  # a number of the person counts from here on: 1 is read exactly, 0 is not seen
STEPS, GUIDANCE, BATCH = 25, 2.5, 8


# --- Pictures ------------------------------------------------------------------------------------


def load_pipeline(folder: Path) -> Any:
    """The model as anybody loads it."""
    from diffusers import StableDiffusionXLPipeline

    pipeline = StableDiffusionXLPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(pipeline: Any, prompts: list[str], first_seed: int, size_px: int) -> np.ndarray:
    """Draw one picture a prompt, (n, size, size, 3) uint8; picture i from the noise of seed + i."""
    pictures = []
    for start in range(0, len(prompts), BATCH):
        some = prompts[start : start + BATCH]
        noise = [torch.Generator().manual_seed(first_seed + start + i) for i in range(len(some))]
        pixels = pipeline(
            some, height=size_px, width=size_px, num_inference_steps=STEPS,
            guidance_scale=GUIDANCE, generator=noise, output_type="np",
        ).images  # fmt: skip
        pictures.append((pixels * 255).round().astype(np.uint8))
        print(f"  {start + len(some)}/{len(prompts)} pictures", flush=True)
    return np.concatenate(pictures)


def captions_of(first_seed: int, count: int, **fixed: str) -> list[str]:
    """Captions of the world that no training used."""
    captions = []
    for seed in range(first_seed, first_seed + count):
        rng = np.random.default_rng(seed)
        captions.append(caption(random_look(rng, **fixed), rng))
    return captions


# --- Figures -------------------------------------------------------------------------------------


def coherence(reader: Reader, notes: dict[str, Any], images: np.ndarray) -> dict[str, Any]:
    """The share of pictures in which two eyes, nose, mouth and hair sit where they belong."""
    found = faults(read(reader, images), limits_of(notes))
    whole = np.array([not wrong for wrong in found])
    what = Counter(fault for picture in found for fault in picture)
    return {**share(whole), "faults": dict(what.most_common())}


def drawn_so(drawn: Drawn, text: str) -> tuple[np.ndarray, np.ndarray]:
    """The drawn portraits whose whole caption may be `text`: rows, and how likely it is of each.

    What a caption leaves unsaid is more often what has no words: no glasses rather than glasses.
    """
    said = named(text)
    fixed = {"style": STYLES[0], "mood": "none", "punk": "no", "mona_lisa": "no", **said}
    fits = np.ones(len(drawn), bool)
    for group, value in fixed.items():
        fits &= drawn.codes[:, GROUPS.index(group)] == list(PHRASES[group]).index(value)
    unsaid = [g for g in GROUPS if g not in said and g not in ALWAYS_SAID]
    words = np.zeros(len(drawn))
    for group in unsaid:
        phrases = list(PHRASES[group].values())
        if not all(phrases):
            codes = drawn.codes[:, GROUPS.index(group)]
            words += np.array([bool(phrase) for phrase in phrases])[codes]
    rows = np.flatnonzero(fits)
    return rows, UNSAID ** words[rows]


def spread(numbers: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The standard deviation of each column, (n, k) to (k,), rows weighted."""
    weights = np.ones(len(numbers)) if weights is None else weights
    share_ = weights / weights.sum()
    variance = (share_[:, None] * (numbers - share_ @ numbers) ** 2).sum(0)
    return np.sqrt(variance / (1 - (share_**2).sum()))


def variety(
    notes: dict[str, Any], reader: Reader, images: np.ndarray, drawn: Drawn
) -> dict[str, Any]:
    """How far the people in pictures of `VARIETY_PROMPT` spread, beside the world's own.

    For each number of a person that the reader can read in this style: the standard deviation in
    the pictures over that in drawn portraits. `mean` is the mean of the ratios; None where too few
    portraits were drawn so, or the reader reads no number well enough.
    """
    r2 = notes["exam"]["numbers_r2"][STYLES[0]]
    readable = [i for i, name in enumerate(PERSON_NUMBERS) if r2[name] >= READABLE_R2]
    rows, weights = drawn_so(drawn, VARIETY_PROMPT)
    if len(rows) < 2 or not readable:
        return {"mean": None, "beside": len(rows), "readable": len(readable)}
    beside = spread(read(reader, drawn.images[rows]).numbers[:, readable], weights)
    people = read(reader, images).numbers[:, readable]
    ratios = spread(people) / beside
    again = np.random.default_rng(0).integers(len(people), size=(500, len(people)))
    # People drawn anew repeat: their variance falls short by one in all of them, once more.
    once_more = np.sqrt(len(people) / (len(people) - 1))
    means = [float((once_more * spread(people[some]) / beside).mean()) for some in again]
    return {
        "mean": float(ratios.mean()),
        "interval": tuple(float(end) for end in np.quantile(means, (0.025, 0.975))),
        "count": len(people),
        "beside": len(rows),
        "numbers": {PERSON_NUMBERS[i]: float(v) for i, v in zip(readable, ratios, strict=True)},
    }


def faces_found(images: np.ndarray, yunet: Path | None) -> dict[str, Any]:
    """How many photorealistic portraits hold a face for finders that nobody here trained."""
    found = {"dlib": share(found_by_dlib(images))}
    return found | ({"yunet": share(found_by_yunet(images, yunet))} if yunet else {})


def size_mb(folder: Path) -> float:
    """The size of all files in a folder, in MB (10**6 bytes)."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures of the pipeline, by the reader, the witnesses and the pixels themselves."""
    pipeline, (reader, notes) = load_pipeline(options.pipeline), load_reader(options.reader)
    drawn = drawn_portraits(options.held_set)

    def pictures(what: str, prompts: list[str]) -> np.ndarray:
        print(what, flush=True)
        return draw(pipeline, prompts, FIRST_NOISE[what], options.size)

    def some(what: str, count: int, first: int, **fixed: str) -> tuple[list[str], np.ndarray]:
        captions = captions_of(CAPTION_SEED + first, max(8, round(options.share * count)), **fixed)
        return captions, pictures(what, captions)

    _, images = some("coherence", COHERENCE, 100_000)
    figures: dict[str, Any] = {
        "size_px": options.size,
        "coherence": coherence(reader, notes, images),
    }
    captions, images = some("obedience", OBEDIENCE, 0)
    figures["obedience"] = obedience(ask(captions, read(reader, images)))
    figures["obedience_drawn"] = drawn_obedience(reader, drawn)
    prompts = [VARIETY_PROMPT] * max(8, round(options.share * VARIETY))
    figures["variety"] = variety(notes, reader, pictures("variety", prompts), drawn)
    photo = {"style": STYLES[0], "mood": "none"}
    _, images = some("photorealistic", PHOTOGRAPHS, 200_000, **photo)
    figures["faces_found"] = faces_found(images, options.yunet)
    rows = drawn.style() == STYLES.index(STYLES[0])
    figures["faces_found_drawn"] = faces_found(drawn.images[rows][:PHOTOGRAPHS], options.yunet)
    _, images = some("pixel art", PIXEL_ART, 300_000, style="pixel art")
    figures["pixel_art_on_grid"] = grids(images)
    figures["identity_auc"] = notes["exam"]["identity"]
    held = held_pictures(options.held_set, options.held_photos, 24)
    figures["autoencoder_psnr_db"] = {n: psnr(pipeline.vae, held[n]) for n in held}
    figures["weights_mb"] = size_mb(options.pipeline) + size_mb(options.reader)
    return figures


def drawn_obedience(reader: Reader, drawn: Drawn, count: int = OBEDIENCE) -> dict[str, Any]:
    """`obedience` of the world's own portraits to captions of them: the most that can be read."""
    chosen = np.random.default_rng(0).permutation(len(drawn))[:count]
    captions = []
    for row in chosen:
        codes = zip(GROUPS, drawn.codes[row], strict=True)
        look = Look(**{group: list(PHRASES[group])[code] for group, code in codes})
        captions.append(caption(look, np.random.default_rng((CAPTION_SEED, int(row)))))
    return obedience(ask(captions, read(reader, drawn.images[chosen])))


def summary(figures: dict[str, Any]) -> str:
    """The figures in some lines."""

    def percent(row: dict[str, Any]) -> str:
        low, high = row["interval"]
        return f"{row['share']:.1%} ({low:.1%} to {high:.1%}, {row['count']})"

    obeyed, drawn, varied = (figures[n] for n in ("obedience", "obedience_drawn", "variety"))
    lines = [
        f"coherence  {percent(figures['coherence'])}  {figures['coherence']['faults']}",
        f"obedience  {percent(obeyed['all'])}; of drawn portraits {percent(drawn['all'])}",
        "variety  " + ", ".join(f"{k} {varied[k]}" for k in varied if k != "numbers"),
    ]
    for what in ("worst_word", "worst_group", "worst_style"):
        row = obeyed[what]
        lines.append(f"  {what.replace('_', ' ')} {row['what']}: {percent(row)}")
    for kind in ("styles", "groups"):
        lines += [f"  {name}: {percent(row)}" for name, row in obeyed[kind].items()]
    for name in ("faces_found", "faces_found_drawn"):
        lines += [f"{name}  {who} {percent(row)}" for who, row in figures[name].items()]
    lines += [
        f"known  {s} AUC {row['auc']:.4f}, same words {row['auc_same_words']:.4f}"
        for s, row in figures["identity_auc"].items()
    ]
    psnr_db = figures["autoencoder_psnr_db"]
    lines.append(f"pixel art on a grid  {figures['pixel_art_on_grid']}")
    lines.append("autoencoder  " + "  ".join(f"{k} {v:.1f} dB" for k, v in psnr_db.items()))
    return "\n".join([*lines, f"weights  {figures['weights_mb']:.1f} MB"])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m recipes.mini.exam")
    parser.description = (__doc__ or "").split("\n")[0]
    parser.add_argument("--pipeline", type=Path, required=True, help="the model's folder")
    parser.add_argument("--reader", type=Path, required=True, help="as reader_exam wrote it")
    parser.add_argument("--held-set", type=Path, required=True, help="people never trained on")
    parser.add_argument("--held-photos", type=Path, help="photographs never trained on, .npy")
    parser.add_argument("--yunet", type=Path, help="YuNet's file; without, dlib alone is asked")
    parser.add_argument("--size", type=int, default=256, help="of the pictures, px")
    parser.add_argument("--share", type=float, default=1.0, help="of the pictures to measure on")
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    figures = measure(options)
    print(summary(figures))
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
