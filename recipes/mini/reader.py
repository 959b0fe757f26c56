"""Trains the reader on a drawn set: faces found, words seen, people told apart, broken ones known.

    python -m recipes.mini.reader --set DIR --state DIR --minutes 60 [--reconstructions]

The set may grow meanwhile. With `--device cuda` its pictures are read beside the training and held
on the GPU, where they are also cut, broken and softened. With `--reconstructions` a part of the
pictures has been through the frozen autoencoder, as all have that the model draws.
`recipes.mini.reader_exam` writes the averaged weights as they are shipped, with limits beside them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from .reader_network import (
    CELLS,
    LANDMARKS,
    PERSON_NUMBERS,
    SIZE_PX,
    VALUES,
    Reader,
    cut_faces,
)
from .reader_people import People, Samples
from .spoil import break_pictures, soften
from .training import Muon, Run, averaged, options_of, train
from .visible import visible_codes


class Size(NamedTuple):
    """What a batch is made of: more people are more to tell apart, broken ones are no faces."""

    people: int
    shots: int
    broken: int


SIZES = {"cpu": Size(12, 3, 10), "cuda": Size(64, 4, 64)}
RATES = {"cpu": 2e-3, "cuda": 4e-3}  # a larger batch is surer of its way
PLAIN = 0.3  # the share of pictures that are not turned, scaled and shifted
SMALL = 0.4  # the share of batches at 128 px, as the model draws at both sizes
JITTER = 0.006  # by how much a landmark is missed when a face is cut out, in shares of the picture
TEMPERATURE = 0.08
MIRRORED = [LANDMARKS.index(n) for n in (
    *("right eye", "left eye", "nose", "right mouth", "left mouth", "chin"),
    *("right ear", "left ear", "head top"),
)]  # fmt: skip


# --- What is learnt from -------------------------------------------------------------------------


def moved(samples: Samples, side: int, rng: np.random.Generator) -> Samples:
    """The pictures a little turned, scaled, shifted and some people mirrored, `side` px each."""
    count = len(samples.pictures)
    plain = rng.random(count) < PLAIN
    scale = np.where(plain, 1, rng.uniform(0.86, 1.15, count))  # above 1 shows more
    angle = np.where(plain, 0, rng.normal(0, 0.07, count))
    shift = np.where(plain[:, None], 0, rng.uniform(-0.08, 0.08, (count, 2)))
    # All pictures of a person or none: a parting on the other side is somebody else's.
    mirror = rng.random(int(samples.people.max()) + 1)[samples.people.numpy()] < 0.5
    sign = np.where(mirror, -1.0, 1.0)
    a, b = scale * np.cos(angle), scale * np.sin(angle)
    turn = torch.from_numpy(np.stack([a * sign, -b, b * sign, a], 1).reshape(-1, 2, 2)).float()
    offset = torch.from_numpy(shift).float()
    theta = torch.cat([turn, offset[..., None]], 2).to(samples.pictures.device)
    grid = F.affine_grid(theta, [count, 3, side, side], align_corners=False)
    pictures = F.grid_sample(samples.pictures, grid, padding_mode="reflection", align_corners=False)
    places = 2 * samples.landmarks - 1 - offset[:, None]
    landmarks = (places @ torch.linalg.inv(turn).transpose(1, 2) + 1) / 2
    swap = torch.from_numpy(mirror)
    landmarks[swap] = landmarks[swap][:, MIRRORED]
    numbers = samples.numbers.clone()
    numbers[swap, PERSON_NUMBERS.index("parting")] *= -1
    return Samples(pictures, landmarks, samples.codes, numbers, samples.people, samples.renders)


# --- What is learnt ------------------------------------------------------------------------------


def wanted_maps(landmarks: torch.Tensor) -> torch.Tensor:
    """A soft spot of 1 at each landmark, (n, 9, 32, 32)."""
    centre = (torch.arange(CELLS, device=landmarks.device) + 0.5) / CELLS
    x = (centre - landmarks[..., 0, None]) * CELLS
    y = (centre - landmarks[..., 1, None]) * CELLS
    return torch.exp(-(x[..., None, :] ** 2 + y[..., :, None] ** 2) / (2 * 1.1**2))


def words_loss(values: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Cross entropy over what a portrait of each look shows, all groups alike."""
    shown = torch.from_numpy(visible_codes(codes.numpy())).to(values.device)
    codes = codes.to(values.device)
    groups = [
        F.cross_entropy(logits, codes[:, i], reduction="none", label_smoothing=0.02)
        for i, logits in enumerate(values.float().split(VALUES, 1))
    ]
    return (torch.stack(groups, 1) * shown).sum() / shown.sum()


def maps_loss(maps: torch.Tensor, landmarks: torch.Tensor, left: torch.Tensor) -> torch.Tensor:
    """Of finding landmarks where they are, and nothing where there is none left."""
    spots = wanted_maps(landmarks.to(maps.device))
    # A spot covers one cell in a hundred: its cells count more, whether its feature is left or not.
    error = F.binary_cross_entropy_with_logits(
        maps.float(), spots * left.to(maps.device)[..., None, None], reduction="none"
    )
    return (error * (1 + 40 * spots)).mean()


def people_loss(points: torch.Tensor, samples: Samples) -> torch.Tensor:
    """Each picture is to say which others show the same person (Khosla et al. 2020).

    Pictures of one render have one pose and light: to know these again teaches nothing.
    """
    people, renders = samples.people, samples.renders
    same = people[:, None] == people
    twins = same & (renders[:, None] == renders)
    twins, others = twins.to(points.device), (same & ~twins).to(points.device)
    near = (points @ points.T / TEMPERATURE).masked_fill(twins, -torch.inf).log_softmax(1)
    # Not picked by the mask: how many there are would have to be waited for.
    return -near.masked_fill(~others, 0).sum() / others.sum()


class Batch(NamedTuple):
    """Pictures and the faces in them, (n, 3, 128, 128), the first `whole` of them unbroken."""

    samples: Samples
    whole: int
    pictures: torch.Tensor
    faces: torch.Tensor
    left: torch.Tensor  # which landmarks are where they were, (n, 9)


def batch_of(people: People, size: Size, rng: np.random.Generator) -> Batch:
    """Pictures of some people and broken ones of others, moved and softened."""
    chosen = people.choose(rng, size.people, size.shots)
    whole = len(chosen)
    others = people.choose(rng, size.broken, 1)
    side = SIZE_PX if rng.random() < SMALL else 2 * SIZE_PX
    samples = moved(people.samples(chosen + others, rng), side, rng)
    broken, still = break_pictures(samples.pictures[whole:], samples.landmarks[whole:], None, rng)
    left = torch.cat([torch.ones(whole, len(LANDMARKS), dtype=torch.bool), still])
    left &= ((samples.landmarks > 0) & (samples.landmarks < 1)).all(2)
    pictures = soften(torch.cat([samples.pictures[:whole], broken]), rng)
    missed = rng.normal(0, JITTER, samples.landmarks.shape).astype(np.float32)
    faces = cut_faces(pictures, samples.landmarks + torch.from_numpy(missed))
    if side > SIZE_PX:
        pictures = F.avg_pool2d(pictures, side // SIZE_PX)
    return Batch(samples, whole, pictures, faces, left)


def batch_losses(
    reader: Reader, people: People, rng: np.random.Generator
) -> tuple[torch.Tensor, int, dict[str, torch.Tensor]]:
    """The loss of one batch, its size and the figures."""
    kind = people.held.device.type
    with torch.no_grad(), torch.autocast(kind, enabled=False):
        samples, whole, pictures, faces, left = batch_of(people, SIZES[kind], rng)
    found = reader(pictures, faces)
    of_whole = Samples(*(part[:whole] for part in vars(samples).values()))
    with torch.autocast(kind, enabled=False):
        words = words_loss(found.values[:whole], of_whole.codes)
        numbers = F.mse_loss(found.numbers[:whole].float(), of_whole.numbers.to(found.maps.device))
        maps = maps_loss(found.maps, samples.landmarks, left)
        is_whole = (torch.arange(len(pictures), device=pictures.device) < whole).float()
        broke = F.binary_cross_entropy_with_logits(found.whole.float(), is_whole)
        told = people_loss(found.points[:whole], of_whole)
        loss = 2 * words + 2 * numbers + 4 * maps + broke + 0.5 * told
    figures = {"words": words, "numbers": numbers, "maps": maps, "whole": broke, "people": told}
    return loss, len(pictures), {"loss": loss, **figures}


def train_reader(run: Run, people: People) -> None:
    """Train for the run's minutes, going on from the state in its folder."""
    torch.manual_seed(0)
    reader = Reader().to(run.device)
    on_gpu = run.device != "cpu"
    ends = ("trunk.stem", "values", "numbers", "whole", "point", "maps.1")
    optimizer = Muon(
        reader, ends, bfloat16=on_gpu, lr=run.rate, betas=(0.9, 0.98), weight_decay=0.02
    )

    def losses(step: int) -> tuple[torch.Tensor, int, dict[str, torch.Tensor]]:
        if step % (25 if on_gpu else 100) == 0 or not people.shards:
            people.read_more()
        torch.manual_seed(step)
        return batch_losses(reader, people, np.random.default_rng((2, step)))

    train(run, reader, optimizer, losses)


# --- Passing it on -------------------------------------------------------------------------------


def remake(people: People, folder: Path, target: Path, every: int = 4) -> None:
    """Every fourth shard's pictures through the frozen autoencoder, kept in `target`."""
    from .autoencoder import frozen, through

    vae, _ = frozen(folder)
    target.mkdir(parents=True, exist_ok=True)
    for shard in people.shards[::every]:
        path = target / f"{shard.folder.name}.npy"
        if not path.exists():
            np.save(path.with_suffix(".part.npy"), through(vae, shard.images))
            path.with_suffix(".part.npy").rename(path)
            print(f"remade shard {shard.folder.name}", flush=True)


def trained_reader(folder: Path) -> Reader:
    """The averaged reader of the state in `folder`."""
    reader = Reader()
    averaged(folder, reader)
    return reader


def save_reader(reader: Reader, notes: dict[str, Any], folder: Path) -> None:
    """Write the weights as 16-bit safetensors, and what is known of the reader as JSON."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        key: (value.half() if value.is_floating_point() else value).contiguous()
        for key, value in reader.state_dict().items()
    }
    save_file(tensors, folder / "reader.safetensors.part")
    (folder / "reader.part").write_text(json.dumps(notes, indent=1) + "\n")
    (folder / "reader.safetensors.part").rename(folder / "reader.safetensors")
    (folder / "reader.part").rename(folder / "reader.json")


def main(arguments: list[str] | None = None) -> None:
    parser = options_of("reader", __doc__)
    parser.add_argument("--set", type=Path, required=True, help="a drawn set, which may grow")
    parser.add_argument("--rate", type=float, help="of learning")
    parser.add_argument("--reconstructions", action="store_true", help="see above")
    options = parser.parse_args(arguments)
    from .autoencoder import FROZEN

    if options.reconstructions and options.device != "cpu":
        parser.error("--reconstructions: got --device cuda; they are read from disk on a cpu only")
    torch.set_num_threads(options.threads)
    remade = options.state / "reconstructions" if options.reconstructions else None
    hold = None if options.device == "cpu" else torch.device(options.device)
    people = People(options.set, remade, hold)
    if remade is not None:
        people.read_more()
        remake(people, options.state / FROZEN, remade)
    folder = options.state / "reader"
    rate = options.rate or RATES[torch.device(options.device).type]
    run = Run(
        *(folder, options.minutes, rate, options.settle, not options.float32, 0.998),
        device=options.device,
    )
    train_reader(run, people)


if __name__ == "__main__":
    main()
