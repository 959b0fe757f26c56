"""Spoils portraits: a little, as generated pictures are, or so that no face is left.

A reader that only ever saw clean drawings would mistake a soft edge for something else, and could
not know what a broken face is. Pictures are (n, 3, side, side) float32 in -1..1, landmarks
(n, 9, 2) float32 in 0..1 of the picture, in the order of `reader_network.LANDMARKS`.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

Spoilt = tuple[torch.Tensor, np.ndarray]  # the picture, (3, side, side), and which landmarks stay

EYES, NOSE, MOUTH, CHIN, EARS, TOP = [0, 1], [2], [3, 4], [5], [6, 7], [8]
INNER = EYES + NOSE + MOUTH
# How far a feature reaches from its middle, in distances from the eyes to the chin.
REACH = {"eye": 0.30, "nose": 0.26, "mouth": 0.36}


# What generated pictures suffer from ---------------------------------------------------------


def soften(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Blur, noise, shifts of colour, JPEG's blocks: a little of some of them in each picture."""
    images = images.clone()
    for effect, most, share in EFFECTS:
        rows = np.flatnonzero(rng.random(len(images)) < share)
        if len(rows):
            amount = torch.from_numpy((rng.random(len(rows)) * most).astype(np.float32))
            chosen = images[rows]
            images[rows] = chosen + amount[:, None, None, None] * effect(chosen, rng)
    count = len(images)
    gain = 1 + 0.05 * rng.standard_normal((count, 1, 1, 1))
    tint = 0.025 * rng.standard_normal((count, 3, 1, 1))
    tint = tint + 0.03 * rng.standard_normal((count, 1, 1, 1))
    images.mul_(torch.from_numpy(gain).float()).add_(torch.from_numpy(tint).float())
    return jpeg(images.clamp_(-1, 1), rng)


def _blur(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """What the mean of 3x3 pixels changes."""
    return F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1) - images


def _coarse(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """What half the resolution changes."""
    return F.interpolate(F.avg_pool2d(images, 2), scale_factor=2, mode="bilinear") - images


def _sharp(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Sharpened beyond what was drawn."""
    return -_blur(images, rng)


def _fine(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    return _noise(rng, images.shape)


def _rough(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Noise in spots of some pixels, as latents have it."""
    small = (*images.shape[:2], images.shape[2] // 4, images.shape[3] // 4)
    return F.interpolate(_noise(rng, small), scale_factor=4, mode="bilinear")


# What is added, up to how much of it, and to which share of the pictures.
EFFECTS = (
    (_blur, 1.0, 0.3),
    (_coarse, 0.8, 0.25),
    (_sharp, 0.7, 0.15),
    (_fine, 0.06, 0.25),
    (_rough, 0.08, 0.3),
)


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.from_numpy(rng.standard_normal(tuple(shape), np.float32))


def jpeg(images: torch.Tensor, rng: np.random.Generator, share: float = 0.12) -> torch.Tensor:
    """Some of the pictures through JPEG, as photographs and saved portraits are."""
    for i in np.flatnonzero(rng.random(len(images)) < share):
        pixels = ((images[i] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=int(rng.integers(40, 95)))
        with Image.open(file) as opened:
            again = torch.from_numpy(np.array(opened)).permute(2, 0, 1).float()
        images[i] = again / 127.5 - 1
    return images


# Places in a face ----------------------------------------------------------------------------


def _tall(places: np.ndarray) -> float:
    """From the middle between the eyes to the chin, in 0..1 of the picture."""
    return float(max(0.08, np.hypot(*(places[5] - places[:2].mean(0)))))


def _feature(places: np.ndarray, which: str) -> tuple[np.ndarray, float]:
    """The middle of an eye, the nose or the mouth, and how far it reaches, in 0..1."""
    kind = which.split()[-1]
    index = {"left eye": [0], "right eye": [1], "nose": NOSE, "mouth": MOUTH}[which]
    return places[index].mean(0), REACH[kind] * _tall(places)


def _disc(side: int, at: np.ndarray, reach: float, squeeze: float = 1.0) -> torch.Tensor:
    """1 within `reach` of a place, falling to 0 over its last fifth, (side, side)."""
    line = (np.arange(side, dtype=np.float32) + 0.5) / side
    away = np.sqrt((line[None, :] - at[0]) ** 2 + ((line[:, None] - at[1]) / squeeze) ** 2)
    return torch.from_numpy(np.clip((reach - away) / (0.2 * reach), 0, 1).astype(np.float32))


def _moved(image: torch.Tensor, from_: np.ndarray, to: np.ndarray, zoom: float = 1.0) -> Spoilt:
    """The picture so shifted that what is at `from_` is at `to`, `zoom` times as large there."""
    scale, side = 1 / zoom, image.shape[-1]
    offset = torch.from_numpy((2 * (from_ - scale * to) + scale - 1).astype(np.float32))
    matrix = torch.cat([scale * torch.eye(2), offset[:, None]], 1)
    grid = F.affine_grid(matrix[None], [1, 3, side, side], align_corners=False)
    moved = F.grid_sample(image[None], grid, padding_mode="border", align_corners=False)
    return moved[0], np.ones(9, bool)


# What leaves no face -------------------------------------------------------------------------


def missing_feature(image: torch.Tensor, places: np.ndarray, rng: np.random.Generator) -> Spoilt:
    """An eye, the nose or the mouth vanishes under the skin around it."""
    which = str(rng.choice(["left eye", "right eye", "nose", "mouth"], p=[0.3, 0.3, 0.15, 0.25]))
    left = np.ones(9, bool)
    left[{"left eye": [0], "right eye": [1], "nose": NOSE, "mouth": MOUTH}[which]] = False
    at, reach = _feature(places, which)
    side = image.shape[-1]
    mask = _disc(side, at, reach * rng.uniform(0.95, 1.2), 0.75 if which != "nose" else 1.0)
    if rng.random() < 0.5:  # the cheek's skin is laid over it
        outward = np.array([np.sign(at[0] - places[2, 0] + 1e-6) * 0.1, 0.45]) * _tall(places)
        if which == "mouth":
            outward = np.array([rng.choice([-1, 1]) * 0.55, -0.35]) * _tall(places)
        over, _ = _moved(image, np.clip(at + outward, 0, 1), at)
    else:
        ring = (_disc(side, at, 1.35 * reach, 0.8) - mask).clamp(min=0)
        colour = (image * ring).sum((1, 2)) / ring.sum().clamp(min=1)
        over = colour[:, None, None].expand_as(image)
    return image + mask * (over - image), left


def displaced_feature(image: torch.Tensor, places: np.ndarray, rng: np.random.Generator) -> Spoilt:
    """An eye or the mouth sits where it does not belong, or there is one too many of it."""
    which = str(rng.choice(["left eye", "right eye", "mouth"]))
    at, reach = _feature(places, which)
    angle = rng.uniform(0, 2 * np.pi)
    to = at + rng.uniform(0.28, 0.5) * _tall(places) * np.array([np.cos(angle), np.sin(angle)])
    to = np.clip(to, 0.05, 0.95)
    moved, left = _moved(image, at, to)
    if rng.random() < 0.5:
        image, left = _painted_over(image, places, which)
    return image + _disc(image.shape[-1], to, reach, 0.75) * (moved - image), left


def _painted_over(image: torch.Tensor, places: np.ndarray, which: str) -> Spoilt:
    at, reach = _feature(places, which)
    mask = _disc(image.shape[-1], at, reach, 0.75)
    ring = (_disc(image.shape[-1], at, 1.35 * reach, 0.8) - mask).clamp(min=0)
    colour = (image * ring).sum((1, 2)) / ring.sum().clamp(min=1)
    left = np.ones(9, bool)
    left[{"left eye": [0], "right eye": [1], "mouth": MOUTH}[which]] = False
    return image + mask * (colour[:, None, None] - image), left


def unequal_eyes(image: torch.Tensor, places: np.ndarray, rng: np.random.Generator) -> Spoilt:
    """One eye is half or twice as large as the other."""
    eye = int(rng.integers(2))
    reach = REACH["eye"] * _tall(places) * 0.9
    zoom = float(rng.choice([rng.uniform(0.3, 0.5), rng.uniform(1.8, 2.4)]))
    zoomed, left = _moved(image, places[eye], places[eye], zoom)
    return image + _disc(image.shape[-1], places[eye], reach, 0.8) * (zoomed - image), left


def smeared_feature(image: torch.Tensor, places: np.ndarray, rng: np.random.Generator) -> Spoilt:
    """Eyes, mouth or the whole face are soft spots of colour: what an unsure model draws."""
    side, left = image.shape[-1], np.ones(9, bool)
    kind = str(rng.choice(["eyes", "eye", "mouth", "face"]))
    tall = _tall(places)
    if kind == "face":
        at, reach, gone = places[2], 1.0 * tall, INNER
    elif kind == "eyes":
        at, reach, gone = places[:2].mean(0), 0.6 * tall, EYES
    elif kind == "eye":
        eye = int(rng.integers(2))
        at, reach, gone = places[eye], 0.30 * tall, [eye]
    else:
        at, reach, gone = places[MOUTH].mean(0), 0.38 * tall, MOUTH
    left[gone] = False
    cells = max(3, round(rng.uniform(2.0, 3.4) / tall))  # two or three spots to a face's height
    spots = F.interpolate(image[None], (cells, cells), mode="area")
    soft = F.interpolate(spots, (side, side), mode="bicubic")[0]
    return image + _disc(side, at, reach, 0.6 if kind == "eyes" else 0.9) * (soft - image), left


def bald_patch(image: torch.Tensor, places: np.ndarray, rng: np.random.Generator) -> Spoilt:
    """All above the brows is background: a head without its top."""
    side, left = image.shape[-1], np.ones(9, bool)
    left[TOP] = False
    low = places[:2, 1].mean() - 0.22 * _tall(places)
    line = (torch.arange(side).float() + 0.5) / side
    mask = ((low - line) * 30).clamp(0, 1)[:, None].expand(side, side)
    edge = max(1, side // 10)
    corners = torch.cat([image[:, :edge, :edge], image[:, :edge, -edge:]], 2).flatten(1)
    return image + mask * (corners.mean(1)[:, None, None] - image), left


def shuffled_features(image: torch.Tensor, places: np.ndarray, rng: np.random.Generator) -> Spoilt:
    """Eyes, nose and mouth change places."""
    names, left = ["left eye", "right eye", "nose", "mouth"], np.ones(9, bool)
    order = np.array([(2, 3, 0, 1), (3, 2, 1, 0), (2, 0, 3, 1), (3, 2, 0, 1)][rng.integers(4)])
    out = image
    for to, source in enumerate(order):
        (at, reach), (there, _) = _feature(places, names[to]), _feature(places, names[source])
        moved, _ = _moved(image, there, at)
        out = out + _disc(image.shape[-1], at, 0.95 * reach) * (moved - out)
    left[INNER] = False
    return out, left


def swapped_patches(image: torch.Tensor, places: np.ndarray, rng: np.random.Generator) -> Spoilt:
    """The picture is cut into 3x3 or 4x4 tiles, and all of them change places."""
    side, out = image.shape[-1], image.clone()
    across = int(rng.integers(3, 5))
    tile = side // across
    order = rng.permutation(across**2)
    for to, source in zip(order, np.roll(order, 1), strict=True):
        y, x, v, u = to // across, to % across, source // across, source % across
        out[:, y * tile : (y + 1) * tile, x * tile : (x + 1) * tile] = image[
            :, v * tile : (v + 1) * tile, u * tile : (u + 1) * tile
        ]
    return out, np.zeros(9, bool)


def melted(image: torch.Tensor, places: np.ndarray, rng: np.random.Generator) -> Spoilt:
    """The face runs, as if the paint were wet."""
    side = image.shape[-1]
    coarse = torch.from_numpy(rng.standard_normal((1, 2, 7, 7), np.float32))
    drift = F.interpolate(coarse, (side, side), mode="bicubic").permute(0, 2, 3, 1)
    line = torch.linspace(-1 + 1 / side, 1 - 1 / side, side)
    straight = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)[None]
    grid = straight + float(rng.uniform(0.11, 0.2)) * drift
    out = F.grid_sample(image[None], grid, padding_mode="border", align_corners=False)
    return out[0], np.zeros(9, bool)


def no_face(image: torch.Tensor, places: np.ndarray, rng: np.random.Generator) -> Spoilt:
    """Nothing but soft spots of colour, noise, or a picture upside down is left."""
    side, kind = image.shape[-1], rng.random()
    if kind < 0.2:
        noise = torch.from_numpy(rng.standard_normal(tuple(image.shape), np.float32))
        out = (image.mean() + 0.5 * noise).clamp(-1, 1)
    elif kind < 0.4:
        out = image.flip(1)
    else:
        cells = int(rng.integers(5, 11))
        spots = F.interpolate(image[None], (cells, cells), mode="area")
        out = F.interpolate(spots, (side, side), mode="bicubic")[0]
    return out, np.zeros(9, bool)


def mixed_halves(
    image: torch.Tensor, places: np.ndarray, other: torch.Tensor, rng: np.random.Generator
) -> Spoilt:
    """Two pictures are joined through the face: left and right, or upper and lower."""
    side, left, out = image.shape[-1], np.ones(9, bool), other.clone()
    if rng.random() < 0.6:
        seam = int(side * np.clip(places[2, 0] + rng.uniform(-0.03, 0.03), 0.1, 0.9))
        out[:, :, :seam] = image[:, :, :seam]
        left[[1, 2, 4, 5, 7, 8]] = False
    else:
        low = places[2, 1] + rng.uniform(-0.25, 0.25) * _tall(places)
        seam = int(side * np.clip(low, 0.1, 0.9))
        out[:, :seam] = image[:, :seam]
        left[[2, 3, 4, 5]] = False
    return out, left


WAYS: dict[str, Callable[[torch.Tensor, np.ndarray, np.random.Generator], Spoilt]] = {
    "missing feature": missing_feature,
    "displaced feature": displaced_feature,
    "unequal eyes": unequal_eyes,
    "smeared feature": smeared_feature,
    "bald patch": bald_patch,
    "shuffled features": shuffled_features,
    "swapped patches": swapped_patches,
    "melted": melted,
    "no face": no_face,
}
WAYS_TO_BREAK = (*WAYS, "mixed halves")
# What a nearly finished model does is shown more often than what none does.
ODDS = np.array([3, 2, 2, 3, 1, 1, 0.5, 2, 0.5, 1.5])


def break_pictures(
    images: torch.Tensor, landmarks: torch.Tensor, way: str | None, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Break every picture in one of the `WAYS_TO_BREAK`, or in any of them.

    Returns the pictures and which landmarks are still where they were, (n, 9) bool.
    """
    rows = []
    for i, (image, places) in enumerate(zip(images, landmarks.numpy(), strict=True)):
        how = way or str(rng.choice(WAYS_TO_BREAK, p=ODDS / ODDS.sum()))
        if how == "mixed halves":
            rows.append(mixed_halves(image, places, images[(i + 1) % len(images)], rng))
        else:
            rows.append(WAYS[how](image, places, rng))
    broken = torch.stack([row[0] for row in rows]).clamp(-1, 1)
    return broken, torch.from_numpy(np.stack([row[1] for row in rows]))
