"""The figures of the embedded model: what it draws, as the judge reads it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from portraitlib.mini.asked import Asked, ask
from portraitlib.mini.judge import (
    PERSON_NUMBERS,
    Judge,
    faults,
    limits_of,
    load_judge,
    read,
)
from portraitlib.mini.visible import named
from portraitlib.mini.words import GROUPS, PHRASES, STYLES
from portraitlib.places import PACKAGE

from .drawings import HELD_OUT
from .looks import ALWAYS_SAID, Look, caption, random_look
from .people import random_person, random_shot
from .world import draw

COHERENCE_PICTURES = 200
OBEDIENCE_PICTURES = 500
VARIETY_PICTURES = 64
STEPS = 25  # of all figures that are stored; the preset has gone down to 12 since
VARIETY_PROMPT = "portrait of a man"
WORLD_PICTURES = 400  # drawn for the same words, to compare with
CAPTION_SEED = HELD_OUT + 6_000_000
UNSAID = 0.54  # how often captions that say next to nothing leave a word out
READABLE_R2 = 0.5  # a number of the person counts from here on: 1 is read exactly, 0 is not seen
BATCH = 16
ENOUGH = 8  # readings that a share must rest on to be called the worst

Interval = tuple[float, float]


def interval(right: np.ndarray, asked: np.ndarray, rounds: int = 1000) -> Interval:
    """The 95 % interval of sum(right) / sum(asked), by drawing pictures anew (bootstrap).

    right, asked: (pictures,): what was right and what was asked in each.
    """
    rows = np.random.default_rng(0).integers(len(right), size=(rounds, len(right)))
    shares = right[rows].sum(1) / np.maximum(asked[rows].sum(1), 1)
    low, high = np.quantile(shares, (0.025, 0.975))
    return float(low), float(high)


def _share(right: np.ndarray, asked: np.ndarray) -> dict[str, Any]:
    """A share, what it rests on and how sure it is."""
    return {
        "share": float(right.sum() / max(asked.sum(), 1)),
        "count": int(asked.sum()),
        "interval": interval(right, asked),
    }


# Making pictures -----------------------------------------------------------------------------


def generate(
    model: Any,
    prompts: list[str],
    first_seed: int,
    *,
    num_inference_steps: int = STEPS,
    edges: list[Image.Image] | None = None,
    scale: float = 1.0,
) -> np.ndarray:
    """Draw one picture a prompt, (n, size, size, 3) uint8; picture i from the noise of seed + i.

    edges: one condition a prompt, which the embedded ControlNet holds to, as hard as `scale`.
    The guidance is the embedded model's own.
    """
    from portraitlib.device import seeded_generators, seeded_noise
    from portraitlib.models.presets import PRESETS

    pipeline = model.pipeline if edges is None else _steered(model)
    preset = PRESETS["mini"]
    cells, channels = pipeline.unet.config.sample_size, pipeline.unet.config.in_channels
    pictures = []
    for start in range(0, len(prompts), BATCH):
        some = slice(start, start + BATCH)
        generators = seeded_generators(first_seed + start, len(prompts[some]))
        held = {"image": edges[some], "controlnet_conditioning_scale": scale} if edges else {}
        pixels = pipeline(
            prompt=prompts[some],
            num_inference_steps=num_inference_steps,
            guidance_scale=preset.guidance_scale,
            latents=seeded_noise(generators, (channels, cells, cells), model.device, model.dtype),
            output_type="np",
            **held,
        ).images
        pictures.append((pixels * 255).round().astype(np.uint8))
        print(f"  {start + len(prompts[some])}/{len(prompts)} pictures", flush=True)
    return np.concatenate(pictures)


def _steered(model: Any) -> Any:
    """diffusers' own pipeline with the embedded ControlNet: one prompt and one condition each."""
    from diffusers import ControlNetModel

    from portraitlib.models.load import sibling_pipeline

    from .controlnet import WEIGHTS

    controlnet = ControlNetModel.from_pretrained(WEIGHTS, torch_dtype=model.dtype).to(model.device)
    return sibling_pipeline(model, "StableDiffusionXLControlNetPipeline", controlnet=controlnet)


def world_captions(first_seed: int, count: int) -> tuple[list[str], list[Look]]:
    """Captions of the world that no training used, and the looks they are of."""
    captions, looks = [], []
    for seed in range(first_seed, first_seed + count):
        rng = np.random.default_rng(seed)
        looks.append(random_look(rng))
        captions.append(caption(looks[-1], rng))
    return captions, looks


def _drawn(looks: list[Look], rng: np.random.Generator, size_px: int) -> np.ndarray:
    """The world's own portraits of these looks, of anybody, (n, size, size, 3) uint8."""
    return np.stack(
        [draw(random_person(rng), look, random_shot(rng), size_px=size_px).image for look in looks]
    )


# Coherence -----------------------------------------------------------------------------------


def coherence(judge: Judge, notes: dict[str, Any], images: np.ndarray) -> dict[str, Any]:
    """The share of pictures in which two eyes, nose, mouth and hair sit where they belong."""
    found = faults(read(judge, images), limits_of(notes))
    whole = np.array([not wrong for wrong in found], float)
    what = Counter(fault for picture in found for fault in picture)
    return {**_share(whole, np.ones(len(whole))), "faults": dict(what.most_common())}


# Obedience -----------------------------------------------------------------------------------


def share_of(asked: Asked, rows: np.ndarray) -> dict[str, Any]:
    """`_share` of the named rows, drawn anew by picture."""
    count = int(asked.picture.max()) + 1
    named = np.bincount(asked.picture[rows], minlength=count).astype(float)
    right = np.bincount(asked.picture[rows], asked.right[rows], minlength=count)
    held = named > 0
    return _share(right[held], named[held])


def obedience(asked: Asked) -> dict[str, Any]:
    """Shares of what captions name that the judge sees: `all`, `mean` over groups, and by group,
    style, value and style-and-group."""
    every = np.ones(len(asked.right), bool)

    def table(
        column: np.ndarray, names: tuple[str, ...], rows: np.ndarray = every
    ) -> dict[str, Any]:
        return {
            n: share_of(asked, rows & (column == n)) for n in names if (rows & (column == n)).any()
        }

    groups = table(asked.group, GROUPS)
    styles = table(asked.style, STYLES)
    values = {g: table(asked.value, tuple(PHRASES[g]), asked.group == g) for g in groups}
    cells = {s: table(asked.group, GROUPS, asked.style == s) for s in styles}
    sure = {**groups, **styles}
    worst = min((n for n in sure if sure[n]["count"] >= ENOUGH), key=lambda n: sure[n]["share"])
    return {
        "all": share_of(asked, every),
        "pictures": int(asked.picture.max()) + 1,
        "mean_of_groups": float(np.mean([row["share"] for row in groups.values()])),
        "worst": {"what": worst, **sure[worst]},
        "groups": groups,
        "styles": styles,
        "values": values,
        "styles_groups": cells,
    }


# Variety -------------------------------------------------------------------------------------


def looks_said_so(text: str, count: int, rng: np.random.Generator) -> list[Look]:
    """Looks as the world has them among the portraits whose whole caption is `text`.

    What a caption leaves unsaid is more often what has no words: no glasses rather than glasses.
    """
    said = named(text)
    fixed = {"style": STYLES[0], "mood": "none", "punk": "no", "mona_lisa": "no", **said}
    looks: list[Look] = []
    while len(looks) < count:
        look = random_look(rng, **fixed)
        open_groups = [g for g in PHRASES if g not in said and g not in ALWAYS_SAID]
        mentioned = sum(
            bool(PHRASES[g][getattr(look, g)]) for g in open_groups if not all(PHRASES[g].values())
        )
        if rng.random() < UNSAID**mentioned:
            looks.append(look)
    return looks


def world_people(judge: Judge, size_px: int, count: int = WORLD_PICTURES) -> np.ndarray:
    """The judge's readings of people that the world draws for `VARIETY_PROMPT`, (count, 22)."""
    rng = np.random.default_rng(CAPTION_SEED)
    looks = looks_said_so(VARIETY_PROMPT, count, rng)
    return read(judge, _drawn(looks, rng, size_px)).people


def variety(notes: dict[str, Any], people: np.ndarray, world: np.ndarray) -> dict[str, Any]:
    """How far the people in pictures of one prompt spread, beside the world's own.

    people, world: (n, 22), what the judge reads in the pictures and in drawn portraits. For each
    number that it can read in this style: the standard deviation of the one over that of the
    other. `mean` is the mean of the ratios.
    """
    r2 = notes["exam"]["people_r2"][STYLES[0]]
    readable = [i for i, name in enumerate(PERSON_NUMBERS) if r2[name] >= READABLE_R2]
    beside = world[:, readable].std(0, ddof=1)
    ratios = people[:, readable].std(0, ddof=1) / beside
    rows = np.random.default_rng(0).integers(len(people), size=(500, len(people)))
    # People drawn anew repeat: their variance falls short by one in all of them, once more.
    once_more = np.sqrt(len(people) / (len(people) - 1))
    spread = once_more * people[rows][:, :, readable].std(1, ddof=1) / beside
    low, high = np.quantile(spread.mean(1), (0.025, 0.975))
    return {
        "mean": float(ratios.mean()),
        "interval": (float(low), float(high)),
        "count": len(people),
        "numbers": {PERSON_NUMBERS[i]: float(v) for i, v in zip(readable, ratios, strict=True)},
        "unreadable": [name for i, name in enumerate(PERSON_NUMBERS) if i not in readable],
    }


# All of them ---------------------------------------------------------------------------------


def size_mb(*folders: Path) -> float:
    """The size of all files in the folders, in MB (10**6 bytes)."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files) / 1e6


def drawn_obedience(
    judge: Judge, captions: list[str], looks: list[Look], size_px: int
) -> dict[str, Any]:
    """`obedience` of the world's own portraits for the captions: the most that can be read."""
    rng = np.random.default_rng(CAPTION_SEED + 1)
    return obedience(ask(captions, read(judge, _drawn(looks, rng, size_px))))


def measure_mini(folder: Path, *, share: float = 1.0, autoencoder: bool = True) -> dict[str, Any]:
    """Measure the pipeline in `folder`: coherence, obedience, variety, size, autoencoder.

    share: of the pictures to measure on; 0.1 is a quick look. The same folder gives the same
    figures: captions, seeds and intervals are fixed.
    """
    from portraitlib.models.load import load_model

    model = load_model(folder, "cpu")
    judge, notes = load_judge()
    counts = (COHERENCE_PICTURES, OBEDIENCE_PICTURES, VARIETY_PICTURES)
    some, many, one_prompt = (max(ENOUGH, round(share * count)) for count in counts)
    print("coherence", flush=True)
    captions, _ = world_captions(CAPTION_SEED + 100_000, some)
    whole = coherence(judge, notes, generate(model, captions, 0))
    print("obedience", flush=True)
    captions, looks = world_captions(CAPTION_SEED, many)
    pictures = generate(model, captions, 10_000)
    size_px = pictures.shape[1]
    obeyed = obedience(ask(captions, read(judge, pictures)))
    print("variety", flush=True)
    people = read(judge, generate(model, [VARIETY_PROMPT] * one_prompt, 20_000)).people
    spread = variety(notes, people, world_people(judge, size_px))
    figures: dict[str, Any] = {
        "size_px": size_px,
        "coherence": whole,
        "obedience": obeyed,
        "obedience_drawn": drawn_obedience(judge, captions, looks, size_px),
        "variety": spread,
        "weights_mb": size_mb(folder, *(PACKAGE / "mini").glob("weights_*")),
    }
    if autoencoder:
        from .autoencoder import autoencoder_figures

        figures["autoencoder_psnr_db"] = autoencoder_figures(model.pipeline.vae)
    return figures


def summary(figures: dict[str, Any]) -> str:
    """The figures in a few lines."""

    def percent(row: dict[str, Any]) -> str:
        low, high = row["interval"]
        return f"{row['share']:.1%} ({low:.1%} to {high:.1%}, {row['count']})"

    obeyed, spread = figures["obedience"], figures["variety"]
    lines = [
        f"coherence  {percent(figures['coherence'])}  {figures['coherence']['faults']}",
        f"obedience  {percent(obeyed['all'])}, mean of groups {obeyed['mean_of_groups']:.1%}, "
        f"worst {obeyed['worst']['what']} {percent(obeyed['worst'])}",
        f"  of drawn portraits {percent(figures['obedience_drawn']['all'])}",
    ]
    for kind in ("styles", "groups"):
        lines += [f"  {name}: {percent(row)}" for name, row in obeyed[kind].items()]
    low, high = spread["interval"]
    lines.append(f"variety  {spread['mean']:.2f} ({low:.2f} to {high:.2f}, {spread['count']})")
    if "autoencoder_psnr_db" in figures:
        psnr = figures["autoencoder_psnr_db"]
        lines.append("autoencoder  " + "  ".join(f"{k} {v:.1f} dB" for k, v in psnr.items()))
    lines.append(f"weights  {figures['weights_mb']:.1f} MB")
    return "\n".join(lines)
