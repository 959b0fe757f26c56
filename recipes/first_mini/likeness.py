"""Trains the encoder of drawn faces on people of the world, examines it and passes it on.

    python -m recipes.first_mini.likeness --state runs/mini

draws people, trains the encoder, examines it on people that it has never seen, and writes weights,
thresholds and exam to `weights_likeness`. It goes on from what `state` holds.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from portraitlib.mini.judge import LANDMARKS
from portraitlib.mini.likeness import (
    WEIGHTS,
    LikenessEncoder,
    align,
    load_likeness,
    ready,
    to_tensor,
)
from portraitlib.mini.words import STYLES

from .looks import Look, random_look
from .people import Person, random_person, random_shot
from .spoil import soften
from .training import Average, Muon, load_state, train_small
from .world import draw

DRAWN_PX = 96
JITTER = 0.008  # by how much a finder of faces misses a landmark, in shares of the picture
SIBLINGS = 8  # people whom the same words describe
FAMILIES = 400
SHOTS = 5  # of each: two photorealistic, three in drawn styles
BATCH_FAMILIES = 5
STEPS = 2000
RATE = 2e-3
TEMPERATURE = 0.08
# What a shot of a person changes, and what it changes now and then: beards grow, glasses come off.
CHANGES = ("expression", "dimples", "pimple", "clothing", "place", "mood")
CHANGES_RARELY = ("texture", "length", "hair", "beard", "glasses", "jawline")
RARELY = 0.15


@dataclass(frozen=True)
class People:
    """Shots of people: images (people, shots, 96, 96, 3) uint8; landmarks (people, shots, 6, 2)
    in 0..1; people (people, 22), their numbers. Shots 0 and 1 are photorealistic. Each `SIBLINGS`
    people in a row are described by the same words."""

    images: np.ndarray
    landmarks: np.ndarray
    people: np.ndarray


def settled(look: Look) -> Look:
    """A look whose mood goes with its style: impressionist is a way to paint in oil."""
    odd = look.style != "oil painting" and look.mood == "impressionist"
    return replace(look, mood="none") if odd else look


def _shot_of(look: Look, style: str, rng: np.random.Generator, rarely: float) -> Look:
    """The words of one shot of somebody: place, clothes and so on anew, the rest mostly kept."""
    other = asdict(random_look(rng, who=look.who))
    groups = [*CHANGES, *(g for g in CHANGES_RARELY if rng.random() < rarely)]
    return settled(replace(look, **{group: other[group] for group in groups}, style=style))


def _family(seed: int, styles: tuple[str, ...] | None, rarely: float) -> People:
    """Eight people of one description; `styles` of their shots, None for training's."""
    import cv2

    cv2.setNumThreads(1)
    rng = np.random.default_rng((5, seed))
    look = random_look(rng, punk="no", mona_lisa="no", style=STYLES[0])
    images, places, numbers = [], [], []
    for _ in range(SIBLINGS):
        person: Person = random_person(rng)
        chosen = styles or (STYLES[0], STYLES[0], *rng.choice(STYLES[1:], SHOTS - 2, replace=False))
        for style in chosen:
            words = _shot_of(look, str(style), rng, rarely)
            drawing = draw(person, words, random_shot(rng), size_px=DRAWN_PX)
            images.append(drawing.image)
            places.append([drawing.landmarks[name] for name in LANDMARKS])
        numbers.append(person.numbers())
    shape = (SIBLINGS, len(images) // SIBLINGS)
    return People(
        np.stack(images).reshape(*shape, DRAWN_PX, DRAWN_PX, 3),
        np.array(places, np.float32).reshape(*shape, len(LANDMARKS), 2),
        np.stack(numbers),
    )


def draw_people(
    path: Path, families: int, first: int = 0, styles: tuple[str, ...] | None = None,
    rarely: float = RARELY,
) -> People:  # fmt: skip  # fmt: skip
    """People drawn once, in parallel, and kept in `path`."""
    from concurrent.futures import ProcessPoolExecutor

    if not path.exists():
        print(f"drawing {families * SIBLINGS} people", flush=True)
        seeds = range(first, first + families)
        with ProcessPoolExecutor() as pool:
            parts = list(
                pool.map(_family, seeds, [styles] * families, [rarely] * families, chunksize=8)
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_suffix(".part.npz")
        whole: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in People.__dataclass_fields__
        }
        np.savez(half, **whole)
        half.rename(path)
    kept = np.load(path)
    return People(*(kept[name] for name in People.__dataclass_fields__))


def _loss(
    encoder: LikenessEncoder, people: People, rng: np.random.Generator
) -> tuple[torch.Tensor, dict[str, float]]:
    families = rng.choice(len(people.people) // SIBLINGS, BATCH_FAMILIES, replace=False)
    rows = (families[:, None] * SIBLINGS + np.arange(SIBLINGS)).ravel()
    # One photorealistic shot of each, and two of the rest: every style meets photographs.
    rest = np.argsort(rng.random((len(rows), SHOTS - 1)), axis=1)[:, :2]
    first = rng.integers(2, size=len(rows))
    others = np.where(rest >= first[:, None], rest + 1, rest)
    shots = np.concatenate([first[:, None], others], 1)
    images = to_tensor(people.images[rows[:, None], shots].reshape(-1, DRAWN_PX, DRAWN_PX, 3))
    places = people.landmarks[rows[:, None], shots].reshape(-1, len(LANDMARKS), 2)
    missed = places + rng.normal(0, JITTER, places.shape).astype(np.float32)
    images, landmarks = soften(images, torch.from_numpy(missed), rng)
    faces = align(images, landmarks).contiguous(memory_format=torch.channels_last)
    features = encoder.features(faces)
    points = F.normalize(encoder.point(features), dim=1)
    who = torch.arange(len(rows)).repeat_interleave(shots.shape[1])
    near = points @ points.T / TEMPERATURE
    itself = torch.eye(len(who), dtype=torch.bool)
    near = near.masked_fill(itself, -torch.inf)
    same = (who[:, None] == who) & ~itself
    told = -(near.log_softmax(1)[same]).mean()
    wanted = torch.from_numpy(people.people[rows]).repeat_interleave(shots.shape[1], 0)
    read = F.mse_loss(encoder.numbers(features), wanted)
    loss = told + 2.0 * read
    return loss, {"loss": loss.item(), "told": told.item(), "numbers": read.item()}


def _optimizer(encoder: nn.Module) -> Muon:
    ends = ("body.0", "point", "numbers")
    return Muon(encoder, ends, lr=RATE, betas=(0.9, 0.98), weight_decay=0.03)


def train_likeness(folder: Path, people: People, steps: int = STEPS) -> None:
    """Train for `steps` steps in all, going on from the state in `folder`."""
    torch.manual_seed(0)
    encoder = LikenessEncoder().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        return _loss(encoder, people, np.random.default_rng((6, step)))

    train_small(folder, "likeness", encoder, _optimizer(encoder), loss, steps, RATE)


def trained_likeness(folder: Path) -> LikenessEncoder:
    """The averaged encoder of the state in `folder`."""
    encoder = LikenessEncoder()
    average = Average(encoder)
    if not load_state(folder, encoder, average, _optimizer(encoder)):
        raise FileNotFoundError(f"{folder}: no encoder here; train it first")
    encoder.load_state_dict(average.weights)
    return ready(encoder)


def save_likeness(encoder: LikenessEncoder, notes: dict[str, Any], folder: Path = WEIGHTS) -> None:
    """Write the weights as 16-bit safetensors, and what is known of the encoder as JSON."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in encoder.state_dict().items()
        if not key.startswith("numbers")  # a help in training only
    }
    save_file(tensors, folder / "likeness.safetensors.part")
    (folder / "likeness.part").write_text(json.dumps(notes, indent=1) + "\n")
    (folder / "likeness.safetensors.part").rename(folder / "likeness.safetensors")
    (folder / "likeness.part").rename(folder / "likeness.json")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m recipes.first_mini.likeness")
    parser.description = (__doc__ or "").split("\n")[0]
    parser.add_argument("--state", type=Path, default=Path("runs/mini"), help="where all is kept")
    parser.add_argument("--families", type=int, default=FAMILIES, help="of 8 people, to learn on")
    parser.add_argument("--steps", type=int, default=STEPS, help="of training, in all; 0: none")
    parser.add_argument("--figures", action="store_true", help="examine the shipped one instead")
    options = parser.parse_args(arguments)
    from .likeness_exam import exam_people, examine, pass_on, say

    if options.figures:
        return say(examine(load_likeness()[0], exam_people(options.state / "likeness")))
    if options.steps:
        people = draw_people(
            options.state / "likeness" / f"people-{options.families}.npz", options.families
        )
        train_likeness(options.state / "likeness", people, options.steps)
    pass_on(options.state / "likeness")


if __name__ == "__main__":
    main()
