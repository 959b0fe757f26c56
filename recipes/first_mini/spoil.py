"""Spoils drawn portraits: a little, as generated pictures are, or so that no face is left.

A judge that only ever saw clean drawings would mistake a soft edge for something else, and could
not know what a broken face is. Pictures are (n, 3, height, width) float32 in -1..1, landmarks
(n, 6, 2) float32 in 0..1 of the picture, in the order of `world.LANDMARKS`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

Spoilt = tuple[torch.Tensor, np.ndarray]  # the picture, (3, h, w), and which landmarks are left

HAIR, CHIN = 4, 5
# How far a feature reaches from its landmark, as a share of the picture: eyes of the largest sort,
# nose, mouth, the top of the head, the chin.
REACH = (0.085, 0.085, 0.07, 0.10, 0.14, 0.08)


# What generated pictures suffer from ---------------------------------------------------------


def soften(
    images: torch.Tensor, landmarks: torch.Tensor, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Blur, noise, colour shifts and small shifts of each picture; landmarks move along."""
    count, _, height, width = images.shape
    images, landmarks = _shifted(images, landmarks, rng)
    blurred = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    coarse = F.interpolate(F.avg_pool2d(images, 2), scale_factor=2, mode="bilinear")
    rough = F.interpolate(
        torch.from_numpy(rng.standard_normal((count, 3, height // 4, width // 4), np.float32)),
        scale_factor=4,
        mode="bilinear",
    )
    fine = torch.from_numpy(rng.standard_normal((count, 3, height, width), np.float32))

    def amount(most: float, share: float) -> torch.Tensor:
        """0 for all but `share` of the pictures, up to `most` for those."""
        chosen = rng.random(count) < share
        return torch.from_numpy((chosen * rng.random(count) * most).astype(np.float32))[
            :, None, None, None
        ]

    images = images + amount(1.0, 0.5) * (blurred - images) + amount(0.8, 0.35) * (coarse - images)
    images = images + amount(0.7, 0.2) * (images - blurred)  # sharpened beyond what was drawn
    images = images + amount(0.06, 0.5) * fine + amount(0.08, 0.5) * rough
    gain = 1 + 0.05 * rng.standard_normal((count, 1, 1, 1))
    tint = 0.03 * rng.standard_normal((count, 3, 1, 1)) + 0.03 * rng.standard_normal(
        (count, 1, 1, 1)
    )
    images = images * torch.from_numpy(gain).float() + torch.from_numpy(tint).float()
    return images.clamp(-1, 1), landmarks


def _shifted(
    images: torch.Tensor, landmarks: torch.Tensor, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each picture moved by up to 3 pixels, its border repeated."""
    most = 3
    size = images.shape[-1]
    padded = F.pad(images, (most,) * 4, mode="replicate")
    moves = rng.integers(-most, most + 1, (len(images), 2))
    moved = [
        picture[:, most - y : most - y + size, most - x : most - x + size]
        for picture, (x, y) in zip(padded, moves, strict=True)
    ]
    return torch.stack(moved), landmarks + torch.from_numpy(moves[:, None] / size).float()


# What leaves no face -------------------------------------------------------------------------


def _disc(size: int, at: np.ndarray, reach: float, squeeze: float = 1.0) -> torch.Tensor:
    """1 within `reach` of a place, falling to 0 over the next few pixels, (size, size)."""
    line = (np.arange(size, dtype=np.float32) + 0.5) / size
    away = np.sqrt((line[None, :] - at[0]) ** 2 + ((line[:, None] - at[1]) / squeeze) ** 2)
    return torch.from_numpy(
        np.clip((1.25 * reach - away) / (0.25 * reach), 0, 1).astype(np.float32)
    )


def paint_over(
    image: torch.Tensor, landmarks: np.ndarray, which: int, rng: np.random.Generator
) -> Spoilt:
    """One feature vanishes under the colour around it (the hair under that of the background)."""
    size, left = image.shape[-1], np.ones(len(landmarks), bool)
    left[which] = False
    at, reach = landmarks[which], REACH[which] * rng.uniform(0.95, 1.2)
    if which == HAIR:
        low = landmarks[:2, 1].mean() - 0.02
        line = (torch.arange(size).float() + 0.5) / size
        mask = ((low - line) * 30).clamp(0, 1)[:, None].expand(size, size)
        colour = image[:, : size // 8, : size // 8].mean((1, 2))
    else:
        mask = _disc(size, at, reach, 0.8)
        ring = (_disc(size, at, 1.25 * reach, 0.8) - mask).clamp(min=0)
        colour = (image * ring).sum((1, 2)) / ring.sum().clamp(min=1)
    return image + mask * (colour[:, None, None] - image), left


def missing_eye(image: torch.Tensor, landmarks: np.ndarray, rng: np.random.Generator) -> Spoilt:
    """One of the eyes is painted over."""
    return paint_over(image, landmarks, int(rng.integers(2)), rng)


def missing_feature(image: torch.Tensor, landmarks: np.ndarray, rng: np.random.Generator) -> Spoilt:
    """Nose, mouth or the top of the head is painted over."""
    return paint_over(image, landmarks, int(rng.integers(2, 5)), rng)


def shuffled_features(
    image: torch.Tensor, landmarks: np.ndarray, rng: np.random.Generator
) -> Spoilt:
    """Eyes, nose and mouth change places."""
    size, out, left = image.shape[-1], image.clone(), np.ones(len(landmarks), bool)
    half = int(0.075 * size)
    order = np.array([(2, 3, 0, 1), (3, 2, 1, 0), (2, 0, 3, 1), (3, 2, 0, 1)][rng.integers(4)])
    corners = np.clip(np.round(landmarks[:4] * size).astype(int) - half, 0, size - 2 * half)
    for to, source in enumerate(order):
        (x, y), (u, v) = corners[to], corners[source]
        mask = _disc(2 * half, np.array([0.5, 0.5]), 0.40)
        patch = image[:, v : v + 2 * half, u : u + 2 * half]
        here = out[:, y : y + 2 * half, x : x + 2 * half]
        here += mask * (patch - here)
    left[:4] = False
    return out, left


def swapped_patches(image: torch.Tensor, landmarks: np.ndarray, rng: np.random.Generator) -> Spoilt:
    """The picture is cut into 3x3 or 4x4 tiles, and all of them change places."""
    size, out = image.shape[-1], image.clone()
    across = int(rng.integers(3, 5))
    tile = size // across
    order = rng.permutation(across**2)
    for to, source in zip(order, np.roll(order, 1), strict=True):
        y, x, v, u = to // across, to % across, source // across, source % across
        out[:, y * tile : (y + 1) * tile, x * tile : (x + 1) * tile] = image[
            :, v * tile : (v + 1) * tile, u * tile : (u + 1) * tile
        ]
    return out, np.zeros(len(landmarks), bool)


def melted(image: torch.Tensor, landmarks: np.ndarray, rng: np.random.Generator) -> Spoilt:
    """The face runs, as if the paint were wet."""
    size = image.shape[-1]
    coarse = torch.from_numpy(rng.standard_normal((1, 2, 7, 7), np.float32))
    drift = F.interpolate(coarse, (size, size), mode="bicubic").permute(0, 2, 3, 1)
    line = torch.linspace(-1 + 1 / size, 1 - 1 / size, size)
    straight = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1)[None]
    strength = float(rng.uniform(0.13, 0.2))
    out = F.grid_sample(
        image[None], straight + strength * drift, padding_mode="border", align_corners=False
    )
    return out[0], np.zeros(len(landmarks), bool)


def smeared(image: torch.Tensor, landmarks: np.ndarray, rng: np.random.Generator) -> Spoilt:
    """Nothing but soft spots of colour, or noise, is left."""
    size = image.shape[-1]
    if rng.random() < 0.2:
        noise = torch.from_numpy(rng.standard_normal(tuple(image.shape), np.float32))
        return (image.mean() + 0.5 * noise).clamp(-1, 1), np.zeros(len(landmarks), bool)
    small = int(rng.integers(6, 13))
    coarse = F.interpolate(image[None], (small, small), mode="area")
    return F.interpolate(coarse, (size, size), mode="bicubic")[0], np.zeros(len(landmarks), bool)


def mixed_halves(
    image: torch.Tensor, landmarks: np.ndarray, other: torch.Tensor, rng: np.random.Generator
) -> Spoilt:
    """Two pictures are joined through the face: left and right, or upper and lower."""
    size, left = image.shape[-1], np.ones(len(landmarks), bool)
    out = torch.roll(
        other, int(rng.integers(-size // 10, size // 10)), dims=int(rng.integers(1, 3))
    )
    if rng.random() < 0.6:
        seam = int(size * (landmarks[2, 0] + rng.uniform(-0.03, 0.03)))
        out[:, :, :seam] = image[:, :, :seam]
        left[[1, 2, 3, HAIR, CHIN]] = False
    else:
        seam = int(size * rng.uniform(landmarks[2, 1] - 0.06, landmarks[3, 1] - 0.03))
        out[:, :seam] = image[:, :seam]
        left[[2, 3, CHIN]] = False
    return out, left


WAYS: dict[str, Callable[[torch.Tensor, np.ndarray, np.random.Generator], Spoilt]] = {
    "missing eye": missing_eye,
    "missing feature": missing_feature,
    "shuffled features": shuffled_features,
    "swapped patches": swapped_patches,
    "melted": melted,
    "smeared": smeared,
}
WAYS_TO_BREAK = (*WAYS, "mixed halves")


def break_pictures(
    images: torch.Tensor, landmarks: torch.Tensor, way: str | None, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Break every picture in one of the `WAYS_TO_BREAK`, or in any of them.

    Returns the pictures and which landmarks are still where they were, (n, 6) bool.
    """
    rows = []
    for i, (image, places) in enumerate(zip(images, landmarks.numpy(), strict=True)):
        how = way or str(rng.choice(WAYS_TO_BREAK))
        if how == "mixed halves":
            rows.append(mixed_halves(image, places, images[(i + 1) % len(images)], rng))
        else:
            rows.append(WAYS[how](image, places, rng))
    return torch.stack([r[0] for r in rows]), torch.from_numpy(np.stack([r[1] for r in rows]))
