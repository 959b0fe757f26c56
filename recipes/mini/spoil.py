"""Spoils portraits: a little, as generated pictures are, or so that no face is left.

A reader that only ever saw clean drawings would mistake a soft edge for something else, and could
not know what a broken face is. Pictures are (n, 3, side, side) float32 in -1..1 on any device,
landmarks (n, 9, 2) float32 in 0..1 of the picture, in the order of `reader_network.LANDMARKS`.
What is drawn by lot is drawn on the processor, so that nothing ever waits for a GPU.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from .jpeg import jpeg

Spoilt = tuple[torch.Tensor, np.ndarray]  # the pictures, and which landmarks stay, (n, 9)

EYES, NOSE, MOUTH, TOP = [0, 1], [2], [3, 4], [8]
RIGHT = (1, 2, 4, 5, 7, 8)  # of the nose's middle, which goes as well
INNER = EYES + NOSE + MOUTH
FEATURES = {"left eye": [0], "right eye": [1], "nose": NOSE, "mouth": MOUTH}
NAMES = tuple(FEATURES)
# How far a feature reaches from its middle, in distances from the eyes to the chin.
REACH = {"left eye": 0.30, "right eye": 0.30, "nose": 0.26, "mouth": 0.36}


# What generated pictures suffer from ---------------------------------------------------------


def soften(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Blur, noise, shifts of colour, JPEG's blocks: a little of some of them in each picture."""
    images, count = images.clone(), len(images)
    for effect, most, share in EFFECTS:
        rows = np.flatnonzero(rng.random(count) < share)
        if len(rows):
            chosen, at = _rows(images, rows)
            images[at] = chosen + _each(images, rng.random(len(rows)) * most) * effect(chosen, rng)
    gain = 1 + 0.05 * rng.standard_normal((count, 1, 1, 1))
    tint = 0.025 * rng.standard_normal((count, 3, 1, 1))
    tint = tint + 0.03 * rng.standard_normal((count, 1, 1, 1))
    images.mul_(_on(images, gain)).add_(_on(images, tint)).clamp_(-1, 1)
    rows = np.flatnonzero(rng.random(count) < 0.12)
    if len(rows):
        chosen, at = _rows(images, rows)
        images[at] = jpeg(chosen, rng.integers(40, 95, len(rows)))
    return images


def _on(images: torch.Tensor, numbers: np.ndarray) -> torch.Tensor:
    """The numbers as float32 where the pictures are."""
    return torch.from_numpy(np.asarray(numbers, np.float32)).to(images.device, non_blocking=True)


def _each(images: torch.Tensor, numbers: np.ndarray) -> torch.Tensor:
    """A number for each picture, (n, 1, 1, 1)."""
    return _on(images, numbers)[:, None, None, None]


def _rows(images: torch.Tensor, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    at = torch.from_numpy(rows).to(images.device, non_blocking=True)
    return images[at], at


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
    return _noise(images, rng, *images.shape)


def _rough(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Noise in spots of some pixels, as latents have it."""
    small = (*images.shape[:2], images.shape[2] // 4, images.shape[3] // 4)
    return F.interpolate(_noise(images, rng, *small), scale_factor=4, mode="bilinear")


# What is added, up to how much of it, and to which share of the pictures.
EFFECTS = (
    (_blur, 1.0, 0.3),
    (_coarse, 0.8, 0.25),
    (_sharp, 0.7, 0.15),
    (_fine, 0.06, 0.25),
    (_rough, 0.08, 0.3),
)


def _noise(images: torch.Tensor, rng: np.random.Generator, *shape: int) -> torch.Tensor:
    dice = torch.Generator(images.device).manual_seed(int(rng.integers(2**62)))
    return torch.randn(shape, generator=dice, device=images.device)


# Places in a face ----------------------------------------------------------------------------


def _tall(places: np.ndarray) -> np.ndarray:
    """From the middle between the eyes to the chin, (n,) in 0..1 of the picture."""
    return np.maximum(0.08, np.hypot(*(places[:, 5] - places[:, :2].mean(1)).T))


def _feature(places: np.ndarray, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The middles of some of the `NAMES`, (n, 2), and how far they reach, (n,), in 0..1."""
    middles = np.stack([places[:, index].mean(1) for index in FEATURES.values()], 1)
    reach = np.array([REACH[name] for name in NAMES])
    return middles[np.arange(len(places)), which], reach[which] * _tall(places)


def _without(which: np.ndarray) -> np.ndarray:
    """All landmarks, (n, 9), but those of some of the `NAMES`."""
    gone = np.zeros((len(NAMES), 9), bool)
    for i, index in enumerate(FEATURES.values()):
        gone[i, index] = True
    return ~gone[which]


def _line(images: torch.Tensor) -> torch.Tensor:
    side = images.shape[-1]
    return (torch.arange(side, device=images.device) + 0.5) / side


def _disc(
    images: torch.Tensor, at: np.ndarray, reach: np.ndarray, squeeze: float | np.ndarray = 1.0
) -> torch.Tensor:
    """1 within `reach` of a place, falling to 0 over its last fifth, (n, 1, side, side)."""
    line, reaches = _line(images), _each(images, reach)
    x = line[None, None, None, :] - _each(images, at[:, 0])
    y = line[None, None, :, None] - _each(images, at[:, 1])
    y = y / _each(images, np.broadcast_to(squeeze, reach.shape).copy())
    return ((reaches - (x.square() + y.square()).sqrt()) / (0.2 * reaches)).clamp(0, 1)


def _moved(
    images: torch.Tensor, from_: np.ndarray, to: np.ndarray, zoom: np.ndarray | float = 1.0
) -> torch.Tensor:
    """The pictures so shifted that what is at `from_` is at `to`, `zoom` times as large there."""
    scale = np.broadcast_to(1 / np.asarray(zoom), len(images))[:, None]
    offset = 2 * (from_ - scale * to) + scale - 1
    matrix = np.concatenate([scale[..., None] * np.eye(2), offset[..., None]], 2)
    grid = F.affine_grid(_on(images, matrix), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _around(
    images: torch.Tensor, at: np.ndarray, reach: np.ndarray, mask: torch.Tensor
) -> torch.Tensor:
    """The mean colour of a ring around places, (n, 3, 1, 1)."""
    ring = (_disc(images, at, 1.35 * reach, 0.8) - mask).clamp(min=0)
    total = ring.sum((2, 3), keepdim=True).clamp(min=1)
    return (images * ring).sum((2, 3), keepdim=True) / total


def _spots(images: torch.Tensor, cells: np.ndarray) -> torch.Tensor:
    """The pictures as soft spots of colour, so many a side in each."""
    side, out = images.shape[-1], torch.empty_like(images)
    for count in np.unique(cells):
        chosen, at = _rows(images, np.flatnonzero(cells == count))
        spots = F.interpolate(chosen, (int(count), int(count)), mode="area")
        out[at] = F.interpolate(spots, (side, side), mode="bicubic")
    return out


# What leaves no face -------------------------------------------------------------------------


def missing_feature(images: torch.Tensor, places: np.ndarray, rng: np.random.Generator) -> Spoilt:
    """An eye, the nose or the mouth vanishes under the skin around it."""
    count = len(images)
    which = rng.choice(4, count, p=[0.3, 0.3, 0.15, 0.25])
    at, reach = _feature(places, which)
    squeeze = np.where(which == NAMES.index("nose"), 1.0, 0.75)
    mask = _disc(images, at, reach * rng.uniform(0.95, 1.2, count), squeeze)
    # The cheek's skin is laid over it, or the mean colour around it.
    aside = np.stack([0.1 * np.sign(at[:, 0] - places[:, 2, 0] + 1e-6), np.full(count, 0.45)], 1)
    up = np.stack([rng.choice([-1, 1], count) * 0.55, np.full(count, -0.35)], 1)
    outward = np.where((which == NAMES.index("mouth"))[:, None], up, aside)
    skin = _moved(images, np.clip(at + outward * _tall(places)[:, None], 0, 1), at)
    over = torch.where(
        _each(images, rng.random(count) < 0.5) > 0, skin, _around(images, at, reach, mask)
    )
    return images + mask * (over - images), _without(which)


def displaced_feature(images: torch.Tensor, places: np.ndarray, rng: np.random.Generator) -> Spoilt:
    """An eye or the mouth sits where it does not belong, or there is one too many of it."""
    count = len(images)
    which = rng.choice([0, 1, 3], count)
    at, reach = _feature(places, which)
    angle, far = rng.uniform(0, 2 * np.pi, count), rng.uniform(0.28, 0.5, count) * _tall(places)
    to = np.clip(at + far[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1), 0.05, 0.95)
    moved = _moved(images, at, to)
    gone = rng.random(count) < 0.5
    mask = _disc(images, at, reach, 0.75)
    painted = mask * (_around(images, at, reach, mask) - images)
    images = images + _each(images, gone) * painted
    return images + _disc(images, to, reach, 0.75) * (moved - images), np.where(
        gone[:, None], _without(which), True
    )


def unequal_eyes(images: torch.Tensor, places: np.ndarray, rng: np.random.Generator) -> Spoilt:
    """One eye is half or twice as large as the other."""
    count = len(images)
    at, reach = _feature(places, rng.integers(2, size=count))
    small, large = rng.uniform(0.3, 0.5, count), rng.uniform(1.8, 2.4, count)
    zoomed = _moved(images, at, at, np.where(rng.random(count) < 0.5, small, large))
    mask = _disc(images, at, 0.9 * reach, 0.8)
    return images + mask * (zoomed - images), np.ones((count, 9), bool)


def smeared_feature(images: torch.Tensor, places: np.ndarray, rng: np.random.Generator) -> Spoilt:
    """Eyes, mouth or the whole face are soft spots of colour: what an unsure model draws."""
    count, tall = len(images), _tall(places)
    kinds = (  # what is smeared, how far it reaches, how flat it is
        *((EYES, 0.6, 0.6), ([0], 0.30, 0.9), ([1], 0.30, 0.9)),
        *((MOUTH, 0.38, 0.9), (INNER, 1.0, 0.9)),
    )
    kind = rng.choice(5, count, p=[0.25, 0.125, 0.125, 0.25, 0.25])
    left = np.ones((count, 9), bool)
    at, reach, squeeze = places[:, 2].copy(), tall.copy(), np.ones(count)
    for i, k in enumerate(kind):
        gone, far, squeeze[i] = kinds[k]
        left[i, gone] = False
        reach[i] *= far
        if gone != INNER:
            at[i] = places[i, gone].mean(0)
    # Two or three spots to a face's height.
    cells = np.maximum(3, np.round(rng.uniform(2.0, 3.4, count) / tall)).astype(int)
    return images + _disc(images, at, reach, squeeze) * (_spots(images, cells) - images), left


def bald_patch(images: torch.Tensor, places: np.ndarray, rng: np.random.Generator) -> Spoilt:
    """All above the brows is background: a head without its top."""
    left = np.ones((len(images), 9), bool)
    left[:, TOP] = False
    low = places[:, :2, 1].mean(1) - 0.22 * _tall(places)
    mask = ((_each(images, low) - _line(images)[None, None, :, None]) * 30).clamp(0, 1)
    edge = max(1, images.shape[-1] // 10)
    corners = torch.cat([images[:, :, :edge, :edge], images[:, :, :edge, -edge:]], 3)
    return images + mask * (corners.mean((2, 3), keepdim=True) - images), left


def shuffled_features(images: torch.Tensor, places: np.ndarray, rng: np.random.Generator) -> Spoilt:
    """Eyes, nose and mouth change places."""
    orders = np.array([(2, 3, 0, 1), (3, 2, 1, 0), (2, 0, 3, 1), (3, 2, 0, 1)])
    order, out = orders[rng.integers(4, size=len(images))], images
    for to in range(4):
        at, reach = _feature(places, np.full(len(images), to))
        there, _ = _feature(places, order[:, to])
        out = out + _disc(images, at, 0.95 * reach) * (_moved(images, there, at) - out)
    left = np.ones((len(images), 9), bool)
    left[:, INNER] = False
    return out, left


def swapped_patches(images: torch.Tensor, places: np.ndarray, rng: np.random.Generator) -> Spoilt:
    """The picture is cut into 3x3 or 4x4 tiles, and all of them change places."""
    out, side, across = images.clone(), images.shape[-1], rng.integers(3, 5, len(images))
    for a in np.unique(across):
        chosen, at = _rows(images, np.flatnonzero(across == a))
        n, tile = len(chosen), side // a
        used = a * tile
        source = np.empty((n, a * a), np.int64)
        for row in source:
            order = rng.permutation(a * a)
            row[order] = np.roll(order, 1)
        tiles = chosen[:, :, :used, :used].reshape(n, 3, a, tile, a, tile)
        tiles = tiles.permute(0, 2, 4, 1, 3, 5).reshape(n, a * a, 3, tile, tile)
        pick = torch.from_numpy(source).to(images.device)[:, :, None, None, None]
        tiles = tiles.gather(1, pick.expand_as(tiles)).reshape(n, a, a, 3, tile, tile)
        out[at, :, :used, :used] = tiles.permute(0, 3, 1, 4, 2, 5).reshape(n, 3, used, used)
    return out, np.zeros((len(images), 9), bool)


def melted(images: torch.Tensor, places: np.ndarray, rng: np.random.Generator) -> Spoilt:
    """The face runs, as if the paint were wet."""
    count, side = len(images), images.shape[-1]
    coarse = _on(images, rng.standard_normal((count, 2, 7, 7)))
    drift = F.interpolate(coarse, (side, side), mode="bicubic").permute(0, 2, 3, 1)
    line = 2 * _line(images) - 1
    straight = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)[None]
    grid = straight + _each(images, rng.uniform(0.11, 0.2, count)) * drift
    out = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return out, np.zeros((count, 9), bool)


def no_face(images: torch.Tensor, places: np.ndarray, rng: np.random.Generator) -> Spoilt:
    """Nothing but soft spots of colour, noise, or a picture upside down is left."""
    count = len(images)
    kind = _each(images, rng.random(count))
    noise = images.mean((1, 2, 3), keepdim=True) + 0.5 * _noise(images, rng, *images.shape)
    out = torch.where(kind < 0.4, images.flip(2), _spots(images, rng.integers(5, 11, count)))
    return torch.where(kind < 0.2, noise, out), np.zeros((count, 9), bool)


def mixed_halves(
    images: torch.Tensor, places: np.ndarray, others: torch.Tensor, rng: np.random.Generator
) -> Spoilt:
    """Two pictures are joined through the face: left and right, or upper and lower."""
    count, line = len(images), _line(images)
    aside = rng.random(count) < 0.6
    x = np.clip(places[:, 2, 0] + rng.uniform(-0.03, 0.03, count), 0.1, 0.9)
    y = np.clip(places[:, 2, 1] + rng.uniform(-0.25, 0.25, count) * _tall(places), 0.1, 0.9)
    left_half = line[None, None, None, :] < _each(images, x)
    upper = line[None, None, :, None] < _each(images, y)
    mine = torch.where(_each(images, aside) > 0, left_half, upper)
    stay = np.array([[i not in gone for i in range(9)] for gone in ((2, 3, 4, 5), RIGHT)])
    return torch.where(mine, images, others), stay[aside.astype(int)]


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

    The landmarks lie on the processor. Returns the pictures and, there too, which landmarks are
    still where they were, (n, 9) bool.
    """
    names = np.array(WAYS_TO_BREAK)
    how = rng.choice(names, len(images), p=ODDS / ODDS.sum()) if way is None else None
    broken, places = images.clone(), landmarks.numpy().astype(np.float64)
    left, others = np.ones((len(images), 9), bool), images.roll(-1, 0)
    for name in WAYS_TO_BREAK if how is not None else (way or "",):
        rows = np.arange(len(images)) if how is None else np.flatnonzero(how == name)
        if not len(rows):
            continue
        chosen, at = _rows(images, rows)
        if name == "mixed halves":
            broken[at], left[rows] = mixed_halves(chosen, places[rows], others[at], rng)
        else:
            broken[at], left[rows] = WAYS[name](chosen, places[rows], rng)
    return broken.clamp_(-1, 1), torch.from_numpy(left)
