"""Where a draughtsman puts lines, and ink lines whose width varies."""

from __future__ import annotations

import cv2
import numpy as np

from ..ages import CHILDREN
from ..buffers import BEARD, BROWS, CLOTHES, EYES, FACE, GLASSES, HAIR, LIPS, Buffers
from ..words import Look
from .eyes import face_scale
from .surface import LUMA, blemishes, blur, of_parts, smoothstep


def _bytes(value: np.ndarray) -> np.ndarray:
    return (np.clip(value, 0, 1) * 255).astype(np.uint8)


def _edges(picture: np.ndarray, low: float, high: float) -> np.ndarray:
    """Canny's thin edges of a picture 0..1, as bool."""
    return cv2.Canny(_bytes(picture), low, high, L2gradient=True) > 0


def outline(buffers: Buffers) -> np.ndarray:
    """The border between the person and the place, thin, bool."""
    return _edges(blur(buffers.alpha, 1.5), 80, 160)


def borders(buffers: Buffers) -> np.ndarray:
    """Borders between hair, skin, clothes and glasses, thin, bool."""
    groups = np.zeros(buffers.parts.shape, np.float32)
    for level, parts in ((0.25, (HAIR,)), (0.6, (CLOTHES,)), (1.0, (GLASSES,))):
        groups += level * of_parts(buffers, *parts)
    groups = cv2.medianBlur(_bytes(groups), 7)
    return cv2.Canny(cv2.GaussianBlur(groups, (0, 0), 1.0), 20, 40) > 0


def creases(buffers: Buffers, strength: float = 1.0) -> np.ndarray:
    """Folds and steps of the form: nostrils, lids, jaw, collars, thin, bool."""
    depth = np.where(np.isfinite(buffers.depth), buffers.depth, np.nan)
    far = np.nanpercentile(depth, 95) if np.isfinite(depth).any() else 1.0
    depth = np.nan_to_num(depth, nan=far)
    steps = _edges(np.clip((far - blur(depth.astype(np.float32), 1.0)) / 0.5, 0, 1), 14, 30)
    form = blur(buffers.normal, 2.0) * 0.5 + 0.5
    folds = cv2.Canny(_bytes(form), 70 / strength, 150 / strength, L2gradient=True) > 0
    # Hair has lines of its own.
    bald = of_parts(buffers, HAIR, BEARD) == 0
    return (steps | folds) & bald & (buffers.alpha > 0.9)


def details(buffers: Buffers, low: float = 40, high: float = 90) -> np.ndarray:
    """Edges of the texture: lids, brows, prints, seams, thin, bool."""
    smooth = cv2.bilateralFilter(buffers.albedo, 7, 0.12, 4)
    return _edges(blur(smooth @ LUMA, 1.0), low, high) & (buffers.alpha > 0.95)


def features(buffers: Buffers) -> np.ndarray:
    """How dark the drawing of eyes, brows, nostrils and mouth is, (height, width) 0..1.

    An extended difference of Gaussians of the texture (Winnemoeller and others 2012), for faces.
    """
    tone = np.log(blur(buffers.albedo @ LUMA, 0.8) + 0.05)
    narrow, wide = blur(tone, 1.6), blur(tone, 4.5)
    dark = smoothstep(wide - narrow, 0.07, 0.26)
    face = of_parts(buffers, FACE, BROWS, EYES, LIPS, BEARD)
    return dark * blur(face, 1.0)


def ink(edges: np.ndarray, half_width_px: np.ndarray | float) -> np.ndarray:
    """Lines drawn along thin edges (bool) with a half width that varies, (height, width) 0..1."""
    if not edges.any():
        return np.zeros(edges.shape, np.float32)
    distance, label = cv2.distanceTransformWithLabels(
        (~edges).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    widths = np.broadcast_to(np.asarray(half_width_px, np.float32), edges.shape)
    table = np.zeros(int(label.max()) + 1, np.float32)
    table[label[edges]] = widths[edges]
    return np.clip(table[label] - distance + 0.5, 0, 1)


def without_specks(edges: np.ndarray, least_px: int) -> np.ndarray:
    """Thin edges (bool) without pieces of fewer pixels than least_px."""
    count, label, stats, _ = cv2.connectedComponentsWithStats(
        edges.astype(np.uint8), connectivity=8
    )
    keep = stats[:, cv2.CC_STAT_AREA] >= least_px
    keep[0] = False
    return keep[label]


def pressure(buffers: Buffers, rng: np.random.Generator, low: float, high: float) -> np.ndarray:
    """Half widths in pixels: heavier away from the light and below, and as the hand goes."""
    light = buffers.light / (np.linalg.norm(buffers.light) + 1e-6)
    facing = blur(buffers.normal, 3) @ light.astype(np.float32)
    height, width = facing.shape
    coarse = rng.normal(0, 1, (12, 12)).astype(np.float32)
    hand = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    share = np.clip(0.55 - 0.6 * facing + 0.18 * hand, 0, 1)
    return (low + (high - low) * share).astype(np.float32)


def curls(mask: np.ndarray, radius_px: float, rng: np.random.Generator) -> np.ndarray:
    """Open rings spread over curly hair (mask, 0 or 1), (height, width) 0..1."""
    layer = np.zeros(mask.shape, np.uint8)
    step = 2.6 * radius_px
    rows, columns = np.mgrid[0 : mask.shape[0] : step, 0 : mask.shape[1] : step]
    points = np.stack([columns.ravel(), rows.ravel()], 1)
    points = points + rng.uniform(-0.45, 0.45, points.shape) * step
    sizes = radius_px * rng.uniform(0.6, 1.15, len(points))
    angles = rng.uniform(0, 360, (len(points), 2))
    for (x, y), size, (start, turn) in zip(points, sizes, angles, strict=True):
        if mask[min(int(max(y, 0)), mask.shape[0] - 1), min(int(max(x, 0)), mask.shape[1] - 1)]:
            center, axes = (round(x * 16), round(y * 16)), (round(size * 16), round(size * 12))
            cv2.ellipse(layer, center, axes, turn, start, start + 235, 255, 1, cv2.LINE_AA, 4)
    return layer.astype(np.float32) / 255 * blur(mask, 1.0)


def wear(buffers: Buffers, look: Look) -> np.ndarray:
    """What a few strokes say of years and dimples, (height, width) 0..1.

    Folds from the nose to the mouth and lines below the eyes from forty on, arcs beside the mouth
    for dimples.
    """
    layer = np.zeros(buffers.parts.shape, np.uint8)
    marks = {name: np.asarray(point, float) for name, point in buffers.landmarks.items()}
    scale, eyes = face_scale(buffers), (marks["left_eye"], marks["right_eye"])
    corners = (marks["mouth_left"], marks["mouth_right"])
    middle = (corners[0] + corners[1]) / 2
    down = middle - (eyes[0] + eyes[1]) / 2
    down = down / (np.linalg.norm(down) + 1e-6) * scale

    def stroke(points: list[np.ndarray], value: float) -> None:
        start, bend, end = points
        t = np.linspace(0, 1, 9)[:, None]
        path = start * (1 - t) ** 2 + 2 * bend * t * (1 - t) + end * t**2
        fixed = [np.round(path * 16).astype(np.int32)]
        width = max(2, round(0.026 * scale))
        cv2.polylines(layer, fixed, False, round(255 * value), width, cv2.LINE_AA, 4)

    aged = look.age != "young" and look.who not in CHILDREN
    deep = 1.0 if look.age == "old" else 0.6 if look.who == "man" else 0.45
    for eye, corner in zip(eyes, corners, strict=True):
        out = corner - middle
        if look.dimples == "yes":
            spot = corner + 0.42 * out - 0.04 * down
            stroke([spot - 0.10 * down, spot + 0.22 * out, spot + 0.10 * down], 1.0)
        if aged:
            wing, foot = marks["nose"] + 0.62 * out, corner + 0.22 * out - 0.06 * down
            stroke([wing, wing + 0.35 * (foot - wing) + 0.16 * out, foot], deep)
            low = eye + 0.30 * down
            stroke(
                [low - 0.32 * out, low + 0.07 * down, low + 0.32 * out - 0.02 * down], 0.55 * deep
            )
    return blur(layer.astype(np.float32) / 255 * of_parts(buffers, FACE), 0.7)


def spots(buffers: Buffers) -> np.ndarray:
    """Rings about pimples, (height, width) 0..1."""
    return ink(_edges(blur(blemishes(buffers), 1.0), 60, 120), 0.8)
