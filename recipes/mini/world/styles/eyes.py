"""Where the eyes are and what they are like, for styles that draw them by hand."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from ..buffers import EYES, Buffers
from .surface import LUMA, blur, saturated


@dataclass(frozen=True)
class Eye:
    """One eye in the picture, in pixels."""

    x: float  # the middle of the opening
    y: float
    width: float  # of the opening
    height: float
    tilt: float  # radians, of the line between both eyes
    iris_x: float
    iris_y: float
    iris_radius: float
    color: np.ndarray  # (3,) sRGB 0..1 of the iris
    seen: bool  # whether the picture shows it, not hair or the far side of the nose


def face_scale(buffers: Buffers) -> float:
    """About the distance between the eyes seen from the front, in pixels, whatever the turn."""
    marks = {name: np.asarray(point, float) for name, point in buffers.landmarks.items()}
    eyes = (marks["left_eye"] + marks["right_eye"]) / 2
    mouth = (marks["mouth_left"] + marks["mouth_right"]) / 2
    across = float(np.linalg.norm(marks["right_eye"] - marks["left_eye"]))
    return max(across, 0.92 * float(np.linalg.norm(mouth - eyes)), 8.0)


def find_eyes(buffers: Buffers) -> list[Eye]:
    """Both eyes, the picture's left one first."""
    points = sorted([buffers.landmarks["left_eye"], buffers.landmarks["right_eye"]])
    (x0, y0), (x1, y1) = points
    tilt = float(np.arctan2(y1 - y0, x1 - x0))
    scale = face_scale(buffers)
    return [_eye(buffers, point, tilt, scale) for point in points]


def _eye(buffers: Buffers, point: tuple[float, float], tilt: float, scale: float) -> Eye:
    height, width = buffers.parts.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    near = np.hypot(x - point[0], y - point[1]) < 0.36 * scale
    mask = (buffers.parts == EYES) & near
    radius = 0.098 * scale
    if mask.sum() < 12:
        brown = np.array([0.3, 0.2, 0.12])
        return Eye(*point, 0.44 * scale, 0.12 * scale, tilt, *point, radius, brown, False)
    columns = np.percentile(x[mask], [1, 99])
    across = float(columns[1] - columns[0]) + 1
    middle = float(columns.mean()), float(y[mask].mean())
    tone = blur(buffers.albedo @ LUMA, 1.2)
    dark = np.where(mask, np.clip(np.percentile(tone[mask], 50) - tone, 0, None), 0) ** 2
    total = float(dark.sum())
    iris = middle
    if total > 1e-6:
        iris = float((dark * x).sum() / total), float((dark * y).sum() / total)
    ring = np.hypot(x - iris[0], y - iris[1])
    color = buffers.albedo[mask & (ring < radius) & (ring > 0.3 * radius)]
    tint = np.median(color, 0) if len(color) else np.array([0.3, 0.2, 0.12])
    tall = float(mask.sum()) / (np.pi / 4 * across)
    return Eye(*middle, across, tall, tilt, *iris, radius, saturated(tint, 1.5).clip(0.02, 1), True)


def wide_eyed(buffers: Buffers) -> Buffers:
    """The buffers with larger, rounder eyes, as far as the shape has not been given them yet."""
    scale, found = face_scale(buffers), find_eyes(buffers)
    height, width = buffers.parts.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    source_x, source_y = x.copy(), y.copy()
    reach = min(0.52 * scale, 0.55 * abs(found[1].x - found[0].x))
    for eye in found:
        if eye.seen and reach > 4:
            across = float(np.clip(0.60 * scale / eye.width, 1, 1.4))
            down = float(np.clip(0.30 * scale / eye.height, across, 1.65))
            far = np.hypot(x - eye.x, y - eye.y) / reach
            share = np.clip(1 - far**2, 0, 1) ** 1.5
            source_x += (x - eye.x) * (1 / across - 1) * share
            source_y += (y - eye.y) * (1 / down - 1) * share

    def moved(image: np.ndarray, how: int = cv2.INTER_LINEAR) -> np.ndarray:
        return cv2.remap(image, source_x, source_y, how, borderMode=cv2.BORDER_REPLICATE)

    return replace(
        buffers,
        color=moved(buffers.color),
        albedo=moved(buffers.albedo),
        normal=moved(buffers.normal),
        flow=moved(buffers.flow),
        parts=moved(buffers.parts, cv2.INTER_NEAREST),
    )


def disc(
    shape: tuple[int, int], x: float, y: float, radius: float, squash: float = 1.0
) -> np.ndarray:
    """A disc, or an ellipse `squash` times as high as wide, (height, width) 0..1, smooth edge."""
    canvas = np.zeros(shape, np.uint8)
    center = (round(x * 16), round(y * 16))
    axes = (round(radius * 16), round(radius * squash * 16))
    cv2.ellipse(canvas, center, axes, 0, 0, 360, 255, -1, cv2.LINE_AA, 4)
    return canvas.astype(np.float32) / 255


def laid_over(picture: np.ndarray, color: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """A colour (3,) or a picture laid over a picture where cover (height, width) is 1."""
    share = cover[..., None].astype(np.float32)
    return picture + (np.asarray(color, np.float32) - picture) * share


def window(eye: Eye, shape: tuple[int, int], reach: float = 1.0) -> tuple[slice, slice]:
    """The rows and columns about an eye, to `reach` of its width on each side."""
    size = reach * eye.width + 8
    rows = np.clip([eye.y - size, eye.y + size], 0, shape[0]).astype(int)
    columns = np.clip([eye.x - size, eye.x + size], 0, shape[1]).astype(int)
    return slice(*rows.tolist()), slice(*columns.tolist())


def inked_eyes(picture: np.ndarray, buffers: Buffers, ink: np.ndarray) -> np.ndarray:
    """The picture with eyes drawn in ink: white, iris with pupil and glint, a heavy upper lid."""
    picture = picture.astype(np.float32)
    for eye in find_eyes(buffers):
        if eye.seen:
            box = window(eye, buffers.parts.shape)
            opening = blur((buffers.parts[box] == EYES).astype(np.float32), 1.0)
            picture[box] = _inked_eye(picture[box], opening, eye, box, ink)
    return picture


def _inked_eye(
    patch: np.ndarray, opening: np.ndarray, eye: Eye, box: tuple[slice, slice], ink: np.ndarray
) -> np.ndarray:
    shape = opening.shape
    white = np.clip((opening - 0.3) * 2.5, 0, 1)
    lid = np.clip(np.roll(white, -3, 0) - white, 0, 1)
    lid = np.clip(lid + 0.5 * np.clip(np.roll(white, -5, 0) - white, 0, 1), 0, 1)
    x, y, radius = eye.iris_x - box[1].start, eye.iris_y - box[0].start, eye.iris_radius
    patch = laid_over(patch, np.array([0.96, 0.96, 0.97]), white)
    patch = laid_over(patch, ink, disc(shape, x, y, radius) * white)
    bright = np.clip(eye.color * 1.5 + 0.08, 0, 1)
    patch = laid_over(patch, bright, disc(shape, x, y, radius * 0.82) * white)
    patch = laid_over(patch, ink, disc(shape, x, y, radius * 0.46) * white)
    spark = disc(shape, x - 0.35 * radius, y - 0.4 * radius, radius * 0.3)
    patch = laid_over(patch, np.ones(3), spark * white)
    patch = laid_over(patch, ink, np.roll(lid, 4, 0) * white * 0.35)
    return laid_over(patch, ink, lid)
