"""Tells the people of the embedded world apart, in every style: an encoder of drawn faces.

    python -m portraitlib.mini.likeness --state runs/mini

draws people, trains the encoder, examines it on people that it has never seen, and writes weights,
thresholds and exam to `weights_likeness`. It goes on from what `state` holds.

A face becomes a point on a sphere: two shots of one person lie near each other, those of two
people far apart. Learnt by telling each shot of a batch which others show the same person
(Khosla et al. 2020, https://arxiv.org/abs/2004.11362), among people whom the same words describe.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .people import PERSON_NUMBERS, Person, random_person, random_shot
from .spoil import soften
from .training import Average, Muon, load_state, train_small
from .words import STYLES, Look, random_look
from .world import LANDMARKS, draw

WEIGHTS = Path(__file__).parent / "weights_likeness"
DRAWN_PX = 96
FACE_PX = 64  # of the aligned face that the encoder sees
NUMBERS = 64  # of the point that a face becomes
WIDTHS = (32, 64, 128)  # at 32, 16 and 8 cells a side

# Where the landmarks of an average face lie in the aligned one, in 0..1, as in `world.LANDMARKS`.
CANONICAL = ((0.353, 0.489), (0.647, 0.489), (0.5, 0.642), (0.5, 0.761), (0.5, 0.107), (0.5, 0.917))
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


# People --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class People:
    """Shots of people: images (people, shots, 96, 96, 3) uint8; landmarks (people, shots, 6, 2)
    in 0..1; people (people, 22), their numbers. Shots 0 and 1 are photorealistic. Each `SIBLINGS`
    people in a row are described by the same words."""

    images: np.ndarray
    landmarks: np.ndarray
    people: np.ndarray


def _shot_of(look: Look, style: str, rng: np.random.Generator, rarely: float) -> Look:
    """The words of one shot of somebody: place, clothes and so on anew, the rest mostly kept."""
    other = asdict(random_look(rng, who=look.who))
    groups = [*CHANGES, *(g for g in CHANGES_RARELY if rng.random() < rarely)]
    changed = replace(look, **{group: other[group] for group in groups}, style=style)
    if style != "oil painting" and changed.mood == "impressionist":  # a way to paint in oil
        changed = replace(changed, mood="none")
    return changed


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
) -> People:  # fmt: skip
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


# Alignment -----------------------------------------------------------------------------------


def align(images: torch.Tensor, landmarks: torch.Tensor) -> torch.Tensor:
    """Turn, shift and scale faces so that their landmarks lie where an average face has them.

    images: (n, 3, height, width); landmarks: (n, 6, 2) in 0..1. Returns (n, 3, 64, 64). The map is
    the similarity of least squares (Umeyama 1991), so that proportions stay as they are.
    """
    wanted = torch.tensor(CANONICAL)
    middle, at = wanted.mean(0), landmarks.mean(1)
    away, there = wanted - middle, landmarks - at[:, None]  # from the aligned face to the picture
    size = away.square().sum()
    a = (there * away).sum((1, 2)) / size
    b = (there[..., 1] * away[:, 0] - there[..., 0] * away[:, 1]).sum(1) / size
    turn = torch.stack([torch.stack([a, -b], 1), torch.stack([b, a], 1)], 1)  # (n, 2, 2)
    shift = at - (turn @ middle[:, None])[..., 0]
    # grid_sample counts from -1 to 1, both ways: 0..1 is u = (x + 1) / 2.
    half = torch.full((2,), 0.5)
    offset = 2 * (shift + (turn @ half[:, None])[..., 0]) - 1
    matrix = torch.cat([turn, offset[..., None]], 2)
    grid = F.affine_grid(matrix, [len(images), 3, FACE_PX, FACE_PX], align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


# The network ---------------------------------------------------------------------------------


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.SiLU(inplace=True),
    )


class LikenessEncoder(nn.Module):
    """(batch, 3, 64, 64) aligned faces in -1..1 to (batch, 64) of length 1.

    `features` are what the point is made of; in training the person's numbers are read off them
    as well, which says what to look at long before the people could.
    """

    def __init__(self) -> None:
        super().__init__()
        a, b, c = WIDTHS
        self.body = nn.Sequential(
            _conv(12, a), _conv(a, b, 2), _Residual(b), _conv(b, c, 2), _Residual(c)
        )
        self.places = nn.Conv2d(c, 24, 1)
        self.trunk = nn.Sequential(
            nn.Linear(24 * 64 + c, 256), nn.LayerNorm(256), nn.SiLU(), nn.Dropout(0.1)
        )
        self.point = nn.Linear(256, NUMBERS)
        self.numbers = nn.Linear(256, len(PERSON_NUMBERS))

    def features(self, faces: torch.Tensor) -> torch.Tensor:
        body = self.body(F.pixel_unshuffle(faces, 2))
        return self.trunk(torch.cat([self.places(body).flatten(1), body.mean((2, 3))], 1))

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.point(self.features(faces)), dim=1)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _conv(width, width), _conv(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(self.first(x))


# Training ------------------------------------------------------------------------------------


def _to_tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


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
    images = _to_tensor(people.images[rows[:, None], shots].reshape(-1, DRAWN_PX, DRAWN_PX, 3))
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
    return _ready(encoder)


def _ready(encoder: LikenessEncoder) -> LikenessEncoder:
    return encoder.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


# Use -----------------------------------------------------------------------------------------


@torch.no_grad()
def embed(
    encoder: LikenessEncoder, images: np.ndarray, landmarks: np.ndarray, batch: int = 64
) -> np.ndarray:
    """Faces to points, (n, 64) float32 of length 1.

    images: (n, height, width, 3) uint8; landmarks: (n, 6, 2) in 0..1 of the picture.
    """
    rows = [np.zeros((0, NUMBERS), np.float32)]
    for start in range(0, len(images), batch):
        places = torch.from_numpy(np.asarray(landmarks[start : start + batch], np.float32))
        faces = align(_to_tensor(np.array(images[start : start + batch])), places)
        rows.append(encoder(faces.contiguous(memory_format=torch.channels_last)).numpy())
    return np.concatenate(rows)


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


def load_likeness(folder: Path = WEIGHTS) -> tuple[LikenessEncoder, dict[str, Any]]:
    """The trained encoder, ready to embed, and its notes (thresholds, exam, curve)."""
    from safetensors.torch import load_file

    if not (folder / "likeness.safetensors").exists():
        raise FileNotFoundError(f"{folder}: no encoder; run python -m portraitlib.mini.likeness")
    encoder = LikenessEncoder()
    tensors = load_file(folder / "likeness.safetensors")
    plain = {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
    encoder.load_state_dict(plain, strict=False)
    notes = json.loads((folder / "likeness.json").read_text())
    return _ready(encoder), notes


@cache
def shipped_likeness() -> LikenessEncoder:
    """The encoder of the package's own weights, loaded once."""
    return load_likeness()[0]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m portraitlib.mini.likeness")
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
