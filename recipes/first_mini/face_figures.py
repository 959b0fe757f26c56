"""Measures how well the embedded model learns a face, on people that nothing else was tried on.

    python -m recipes.first_mini.face_figures

trains each of five held-out people three times with class images and once without, by default
settings, and writes the figures into the model card; half an hour on two cores. Trainings are kept
among the project's runs: stopped, it goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import portraitlib as pl

from .card import FACES, write_card
from .subject import photos_of

PEOPLE, TRAININGS = 5, 3
FIRST_SEED = 41_000_000  # of the people: a seed of its own for each
PICTURES = 16
CLASS_IMAGES = 48
INSTANCE_PROMPT, CLASS_PROMPT = "portrait of jrdnpl man", "portrait of a man"
# What `subject.FACE` says of each of them, in words.
IN_WORDS = "portrait of a man, young man, indian, curly hair, black hair, trimmed beard, glasses"


def measure_person(model: pl.Model, classes: pl.ClassImages, number: int) -> dict[str, Any]:
    """One person: likeness by words alone, by each training, and what becomes of the class."""
    photos = photos_of(FIRST_SEED + number)
    held_out = photos_of(FIRST_SEED + number, held_out=True)
    sampling = pl.Sampling(seed=1000 * number, num_images=PICTURES)
    others = pl.Sampling(seed=1000 * number + 500, num_images=PICTURES)
    untouched = pl.text_to_image(model, CLASS_PROMPT, others)

    def likeness(taught: pl.Model, prompt: str) -> dict[str, Any]:
        found = pl.measure(pl.text_to_image(taught, prompt, sampling), photos=held_out)["likeness"]
        return {"likeness": found.mean, "faces": found.count / PICTURES}

    def drift(taught: pl.Model) -> float | None:
        men = pl.text_to_image(taught, CLASS_PROMPT, sampling)
        return pl.measure(men, reference=untouched, encoder="mini")["drift"].mean

    rows = []
    for seed in range(TRAININGS):
        settings = pl.DreamBooth(instance_prompt=INSTANCE_PROMPT, seed=seed)
        adapter = pl.train_dreambooth(model, photos, settings, classes)
        taught = model.with_adapter(adapter)
        row = likeness(taught, INSTANCE_PROMPT) | {"drift": drift(taught)}
        rows.append(row | {"seconds": adapter.recipe["seconds"]})
        print(number, seed, row, flush=True)
    settings = pl.DreamBooth(instance_prompt=INSTANCE_PROMPT)
    without = model.with_adapter(pl.train_dreambooth(model, photos, settings))
    return {
        "by_words": likeness(model, IN_WORDS),
        "with_class_images": rows,
        "without": likeness(without, INSTANCE_PROMPT) | {"drift": drift(without)},
    }


def summarise(people: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over trainings, medians and ranges over all: what the card says."""
    trained = [row for person in people for row in person["with_class_images"]]
    return {
        "people": people,
        "trainings": len(trained),
        "likeness": statistics.mean(row["likeness"] for row in trained),
        "least_likeness": min(row["likeness"] for row in trained),
        "faces": statistics.mean(row["faces"] for row in trained),
        "by_words": statistics.mean(person["by_words"]["likeness"] for person in people),
        "drift_with": statistics.mean(row["drift"] for row in trained),
        "drift_without": statistics.mean(person["without"]["drift"] for person in people),
        "likeness_without": statistics.mean(person["without"]["likeness"] for person in people),
        "seconds": statistics.median(row["seconds"] for row in trained),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--out", type=Path, help="a file, in place of the model card")
    chosen = parser.parse_args()
    model = pl.load_model("mini")
    classes = pl.make_class_images(model, "portrait of a man, photorealistic", CLASS_IMAGES)
    people = [measure_person(model, classes, number) for number in range(chosen.people)]
    figures = summarise(people)
    (chosen.out or FACES).write_text(json.dumps(figures, indent=1) + "\n")
    if chosen.out is None:
        write_card()


if __name__ == "__main__":
    main()
