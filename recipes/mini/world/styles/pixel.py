"""Pixel art: a true grid of 64 cells, a palette of two dozen colours, features set cell by cell."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from ..buffers import BEARD, BROWS, CLOTHES, EYES, FACE, GLASSES, HAIR, LIPS, NECK, Buffers
from ..places import Place
from ..words import Look
from . import lines
from .comic import calm_light
from .eyes import face_scale, find_eyes
from .grading import graded, side_light
from .mouth import Mouth, bent, find_mouth
from .simplify import clean_shapes
from .surface import SIZE_PX, blemishes, brow_hairs, noise, of_parts, saturated, to_srgb

CELLS = 64
PERSON_COLORS, PLACE_COLORS, COLORS = 14, 8, 24  # the last of all together
BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) / 16 - 0.47
MATERIALS = ((FACE, NECK, EYES, LIPS, GLASSES, BROWS), (HAIR,), (BEARD,), (CLOTHES,))


def apply(buffers: Buffers, place: Place, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Material and tone of each cell, outline, features, palette; each cell 4 pixels wide."""
    buffers = clean_shapes(buffers, 4.0)
    cover = cells(buffers.alpha) > 0.5
    person, material = painted(buffers, look, rng)
    cv2.setRNGSeed(int(rng.integers(2**31)))
    grid = graded(scenery(place, look.mood), look.mood).astype(np.float32)
    colors = palette(grid[~cover], 3 if place.kind == "plain" else PLACE_COLORS)
    grid = nearest(dithered(grid, colors) if place.kind != "plain" else grid, colors)
    person = graded(person, look.mood).astype(np.float32)[cover]
    grid[cover] = nearest(person, palette(person, PERSON_COLORS))
    grid = outlined(grid, cover, material)
    grid = few_colors(features(grid, buffers, material, look), COLORS)
    pixels = (np.clip(grid, 0, 1) * 255 + 0.5).astype(np.uint8)
    return np.repeat(np.repeat(pixels, SIZE_PX // CELLS, 0), SIZE_PX // CELLS, 1)


def cells(image: np.ndarray) -> np.ndarray:
    """The mean of each cell, (64, 64, ...)."""
    return cv2.resize(image.astype(np.float32), (CELLS, CELLS), interpolation=cv2.INTER_AREA)


def painted(
    buffers: Buffers, look: Look, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The person's cells in three tones a material, (64, 64, 3), and which material each is of."""
    light = calm_light(buffers)
    if look.mood == "dramatic":
        light = light * side_light(buffers)
    share = np.stack([cells(of_parts(buffers, *parts)) for parts in MATERIALS])
    share[2] *= 1.4  # a thin beard is a beard
    material = np.where(cells(buffers.alpha) > 0.5, share.argmax(0), -1)
    tone = cells(light * buffers.alpha) / np.maximum(cells(buffers.alpha), 1e-3)
    color = np.zeros((CELLS, CELLS, 3), np.float32)
    for i, parts in enumerate(MATERIALS):
        mask = of_parts(buffers, *parts) if i else of_parts(buffers, FACE, NECK)
        weight = np.maximum(cells(mask), 1e-3)[..., None]
        own = cells(buffers.albedo * mask[..., None]) / weight
        if i < 3 and (mask > 0).any():
            own = 0.25 * own + 0.75 * np.median(buffers.albedo[mask > 0], 0)
        color = np.where((material == i)[..., None], own, color)
    color = np.clip(saturated(color, 1.35) * 1.08 + 0.02, 0, 1)
    dark, cool = material == 1, np.array([0.10, 0.10, 0.14], np.float32)
    color = np.where(dark[..., None], cool + color * (1 - cool), color)
    steps = np.where(material == 1, ranked(tone, material == 1), tone)
    if look.texture == "curly":  # curls of two or three cells
        steps = steps + 0.20 * dark * noise(rng, dark.shape, 1.7)
    shade = color * np.array([0.70, 0.58, 0.68], np.float32)
    deep = color * np.array([0.48, 0.38, 0.52], np.float32)
    high = np.clip(color * 1.22 + 0.05, 0, 1)
    bands = [steps < 0.38, steps < 0.70, steps > 1.22]
    return np.select([b[..., None] for b in bands], [deep, shade, high], color), material


def ranked(tone: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Tones of the hair spread so that all three steps occur, whatever its colour."""
    if mask.sum() < 12:
        return tone
    low, high = np.percentile(tone[mask], [15, 88])
    return 0.42 + 0.78 * (tone - low) / max(float(high - low), 0.05)


def scenery(place: Place, mood: str) -> np.ndarray:
    """The place's cells, (64, 64, 3)."""
    small = cells(to_srgb(place.image))
    return np.clip(saturated(small, 1.25) * (0.35 if mood == "dramatic" else 0.96), 0, 1)


def palette(colors: np.ndarray, count: int) -> np.ndarray:
    """The `count` colours (count, 3) that stand best for colours (n, 3), by k-means."""
    colors = np.ascontiguousarray(colors, np.float32)
    if len(colors) == 0:
        return np.zeros((1, 3), np.float32)
    count = min(count, len(np.unique((colors * 64).astype(int), axis=0)))
    stop = (cv2.TERM_CRITERIA_MAX_ITER + cv2.TERM_CRITERIA_EPS, 12, 1e-3)
    _, _, center = cv2.kmeans(colors, count, None, stop, 1, cv2.KMEANS_PP_CENTERS)
    return np.round(center * 31) / 31  # the coarse steps of an old screen


def nearest(image: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Each colour (..., 3) as the nearest of the palette (count, 3)."""
    far = ((image[..., None, :] - colors) ** 2).sum(-1)
    return colors[far.argmin(-1)]


def few_colors(grid: np.ndarray, count: int) -> np.ndarray:
    """The grid in at most `count` colours: the likest and rarest pairs become one."""
    colors, which, weight = np.unique(
        np.round(grid.reshape(-1, 3), 3), axis=0, return_inverse=True, return_counts=True
    )
    colors, which = colors.astype(np.float64), which.ravel()
    weight = np.sqrt(weight.astype(np.float64))
    alive = np.arange(len(colors))
    while len(alive) > count:
        far = ((colors[alive, None] - colors[alive]) ** 2).sum(-1)
        rare = np.minimum(weight[alive, None], weight[alive])
        cost = far * rare + 1e6 * np.eye(len(alive))
        first, second = np.unravel_index(cost.argmin(), cost.shape)
        keep, drop = alive[first], alive[second]
        if weight[drop] > weight[keep]:
            keep, drop = drop, keep
        which[which == drop] = keep
        weight[keep] = np.hypot(weight[keep], weight[drop])
        alive = alive[alive != drop]
    return colors[which].reshape(grid.shape).astype(np.float32)


def dithered(grid: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Calm gradients moved by an ordered pattern, so that neighbouring colours interlock."""
    flat = cv2.GaussianBlur(grid, (0, 0), 2.0)
    calm = np.abs(grid - flat).max(-1) < 0.03
    tiled = np.tile(BAYER, (CELLS // 4, CELLS // 4))
    apart = np.sqrt(((colors[:, None] - colors) ** 2).sum(-1) + 9 * np.eye(len(colors))).min()
    return grid + (tiled * calm)[..., None].astype(np.float32) * min(0.35 * float(apart), 0.05)


def outlined(grid: np.ndarray, cover: np.ndarray, material: np.ndarray) -> np.ndarray:
    """A dark line of one cell round the person, and a softer one between materials."""
    grid = grid.copy()
    framed = np.pad(cover, 1, mode="edge")
    inner = framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    rim = cover & ~inner
    grid[rim] = grid[rim] * 0.22 + np.array([0.03, 0.02, 0.05])
    padded = np.pad(material, 1, mode="edge")
    skin = material == 0
    under = skin & cover & ((padded[:-2, 1:-1] == 1) | (padded[1:-1, :-2] == 1))
    grid[under & ~rim] *= np.array([0.72, 0.60, 0.66])  # hair throws a shadow on the brow
    collar = (material == 3) & cover & ~rim & (padded[:-2, 1:-1] == 0)
    grid[collar] *= 0.45
    return grid


def features(grid: np.ndarray, buffers: Buffers, material: np.ndarray, look: Look) -> np.ndarray:
    """Brows, eyes, nose, mouth and glasses, cell by cell."""
    grid = grid.copy()
    cell = buffers.alpha.shape[0] / CELLS
    scale = face_scale(buffers) / cell  # cells between the eyes

    def put(column: float, row: float, color: np.ndarray) -> None:
        i, j = int(np.floor(row)), int(np.floor(column))
        if 0 <= i < CELLS and 0 <= j < CELLS:
            grid[i, j] = color

    skin = np.median(grid[material == 0], 0) if (material == 0).any() else np.array([0.8, 0.6, 0.5])
    line = skin * np.array([0.36, 0.26, 0.30])
    mask = brow_hairs(buffers) > 0.5
    brow = np.median(buffers.albedo[mask], 0) * 0.6 if mask.sum() > 20 else line * 0.7
    brow = brow * min(1.0, 0.42 * float(skin.mean()) / max(float(brow.mean()), 0.02))
    width = int(np.clip(round(0.40 * scale), 2, 5))
    tall = int(np.clip(round(0.23 * scale), 1, 3))
    for eye, outer in zip(find_eyes(buffers), (-1, 1), strict=True):
        column, row = eye.x / cell - width / 2 + 0.5, eye.y / cell - tall / 2 + 0.5
        shift = np.clip((eye.iris_x - eye.x) / cell, -0.9, 0.9)
        iris = np.clip(saturated(eye.color, 1.4) * 1.05, 0, 1) * 0.8
        wide = max(1, (width + 1) // 2)
        start = round((width - wide) / 2 + shift)
        for step in range(width):
            put(column + step, row - 1, line * 0.45)
            lift = -1.0 if 0 < step < width - 1 or outer * (step - width / 2) < 0 else -0.5
            put(column + step, row - 2 - round(0.08 * scale) + lift * 0.5, brow)
            for level in range(tall):
                inside = start <= step < start + wide
                white = np.array([0.95, 0.95, 0.97])
                put(column + step, row + level, iris if inside else white)
        put(column + start, row, np.array([0.08, 0.06, 0.09]))
        if wide > 1:
            put(column + start + wide - 1, row, np.array([0.08, 0.06, 0.09]))
    x, y = buffers.landmarks["nose"]
    side = -1 if buffers.light[0] >= 0 else 1
    for step, drop in ((0, 0), (side, 0), (side, -1)):
        put(x / cell + step, y / cell + drop, skin * np.array([0.74, 0.60, 0.60]))
    lips(put, bent(find_mouth(buffers), look.expression, 1.5 * scale * cell), cell, line)
    grid = worn(grid, buffers, material, look)
    frames = cells(of_parts(buffers, GLASSES)) > 0.16
    grid[frames] = np.array([0.10, 0.09, 0.12])
    return grid


def worn(grid: np.ndarray, buffers: Buffers, material: np.ndarray, look: Look) -> np.ndarray:
    """The grid with pimples, dimples and folds, each a few cells of a darker, redder skin."""
    spots = cells(blemishes(buffers))
    bumps = (spots > 0.35) | ((spots == spots.max()) & (spots > 0.2))
    lined = np.clip(cells(lines.wear(buffers, look)) * 3.2, 0, 0.8) * (material == 0)
    lined = np.where(lined > 0.4, lined, 0)[..., None]
    grid = grid * (1 - lined * np.array([0.38, 0.54, 0.50]))
    grid[bumps] = grid[bumps] * np.array([1.0, 0.45, 0.42])
    return grid


def lips(
    put: Callable[[float, float, np.ndarray], None], mouth: Mouth, cell: float, line: np.ndarray
) -> None:
    """The mouth: a dark line, teeth if they show, the lower lip below."""
    points = mouth.line / cell
    columns = np.arange(np.floor(points[0, 0]), np.floor(points[-1, 0]) + 1)
    rows = np.interp(columns + 0.5, points[:, 0], points[:, 1])
    teeth = int(np.clip(round(mouth.teeth / cell), 0, 2)) if mouth.teeth > 0.3 * cell else 0
    color = np.clip(saturated(mouth.color, 1.5) * np.array([1.0, 0.78, 0.8]), 0, 1)
    for i, (column, row) in enumerate(zip(columns, rows, strict=True)):
        edge = i in (0, len(columns) - 1)
        put(column, row, line if not edge else line * 0.9)
        if edge:
            continue
        for step in range(teeth):
            put(column, row + 1 + step, np.array([0.97, 0.96, 0.93]))
        put(column, row + 1 + teeth, color if not teeth else line)
