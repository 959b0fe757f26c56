"""What one photo is worth: people that nothing was tried on, by words and by a photo beside them.

    python -m recipes.first_mini.person_figures --people 5 --scales 0 0.7 1

prints a table for each scale: likeness (0: strangers of the same description, 1: other photos of
the person), in how many pictures a face is found, and the share of the words that are seen.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import portraitlib as pl

from .likeness import CHANGES, settled
from .looks import random_look
from .people import random_person, random_shot
from .world import draw

PEOPLE, SEEDS, SHOTS = 5, 3, 8
PHOTO_PX, FIRST_SEED = 256, 77
STYLES = {
    "photorealistic": "photorealistic",
    "comic book": "comic book style",
    "pencil sketch": "pencil sketch",
    "oil painting": "oil painting",
    "anime": "anime style",
    "pixel art": "pixel art",
    "animated": "animated",
}


def photos_of(number: int, first_seed: int = FIRST_SEED, shots: int = SHOTS) -> tuple[str, Any]:
    """Who it is, such as "woman", and photos of one person."""
    rng = np.random.default_rng((first_seed, number))
    look = random_look(rng, punk="no", mona_lisa="no", style="photorealistic")
    person = random_person(rng)
    with tempfile.TemporaryDirectory() as folder:
        for shot in range(shots):
            other = asdict(random_look(rng, who=look.who, punk="no", mona_lisa="no"))
            changed = {group: other[group] for group in CHANGES}
            words = settled(replace(look, **changed, style="photorealistic"))
            drawing = draw(person, words, random_shot(rng), size_px=PHOTO_PX)
            Image.fromarray(drawing.image).save(Path(folder) / f"{shot}.png")
        return look.who, pl.read_photos(folder, size_px=96)


def measure(people: int, scales: list[float], styles: list[str]) -> list[dict[str, Any]]:
    """A row for each picture."""
    model = pl.load_model("mini", device="cpu")
    sampling = pl.Sampling(seed=5, num_images=SEEDS)
    rows = []
    for number in range(people):
        who, photos = photos_of(number)
        one = replace(photos, photos=photos.photos[:1])
        others = replace(photos, photos=photos.photos[1:])
        for style in styles:
            prompt = f"portrait of a {who}, {STYLES[style]}"
            for scale in scales:
                person = pl.Likeness(one, scale) if scale else None
                portraits = pl.text_to_image(model, prompt, sampling, person=person)
                about = {"person": number, "style": style, "scale": scale}
                for row in pl.measure(portraits, others, prompt).rows:
                    rows.append({**about, **row})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Style by scale, in Markdown."""
    scales = sorted({row["scale"] for row in rows})
    lines = ["| style | " + " | ".join(f"scale {scale:g}" for scale in scales) + " |"]
    lines.append("|---" * (len(scales) + 1) + "|")
    for style in dict.fromkeys(row["style"] for row in rows):
        cells = [style]
        for scale in scales:
            here = [row for row in rows if (row["style"], row["scale"]) == (style, scale)]
            alike = [row["likeness"] for row in here if row["likeness"] is not None]
            seen = [row["prompt_seen"] for row in here if row["prompt_seen"] is not None]
            figures = f"{np.mean(alike):.2f}, {len(alike)} of {len(here)} faces, "
            cells.append(figures + f"{np.mean(seen):.0%} of words")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m recipes.first_mini.person_figures")
    parser.description = (__doc__ or "").split("\n")[0]
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--scales", type=float, nargs="+", default=[0.0, 0.7, 1.0])
    parser.add_argument("--styles", nargs="+", choices=list(STYLES), default=list(STYLES))
    options = parser.parse_args(arguments)
    print(table(measure(options.people, options.scales, options.styles)))


if __name__ == "__main__":
    main()
