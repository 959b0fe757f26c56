"""Oil painting: an underpainting, strokes from broad to fine along the form, paint in relief."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from ..buffers import BEARD, BROWS, CLOTHES, EYES, FACE, GLASSES, HAIR, LIPS, Buffers
from ..places import Place
from ..words import Look
from .grading import graded, lit
from .photo import film, metered
from .surface import blemishes, blur, halved, noise, of_parts, saturated, smoothstep

TURNS = 24  # directions of a brush
# Strokes of a layer: half length in pixels, width to length, how many at most, covering power.
LAYERS = {
    "none": ((30, 0.42, 420, 0.88), (17, 0.42, 1300, 0.9), (9, 0.45, 2600, 0.92)),
    "impressionist": ((26, 0.45, 420, 0.9), (15, 0.5, 1900, 0.96), (9, 0.55, 2200, 0.95)),
}


def apply(buffers: Buffers, place: Place, look: Look, rng: np.random.Generator) -> np.ndarray:
    """The shot painted over a toned ground in three layers of strokes, the last one on the face."""
    subject = composed(buffers, place, look.mood)
    flow = strokes_flow(buffers, subject, rng)
    fine = attention(buffers)
    layers = LAYERS.get(look.mood, LAYERS["none"])
    ground = (
        np.array([0.46, 0.34, 0.24])
        if look.mood != "impressionist"
        else np.array([0.80, 0.74, 0.62])
    )
    canvas = np.empty((*subject.shape[:2], 4), np.float32)
    washed = 0.4 * ground + 0.6 * blur(subject, 24)  # a thin first sketch over the ground
    canvas[..., :3] = washed * (1 + 0.05 * noise(rng, subject.shape[:2], 4))[..., None]
    canvas[..., 3] = 0.1
    for depth, layer in enumerate(layers):
        target = blur(subject, (9.0, 4.5, 2.0)[depth])
        need = np.abs(target - canvas[..., :3]).sum(-1)
        if depth == 2:
            need = need * (0.10 + fine)
        paint(canvas, target, flow, need, layer, depth, look.mood, rng)
    touched = finished(canvas, subject, fine, look.mood)
    return halved(graded(varnished(touched, canvas[..., 3], fine, rng), "none"), sharpen=0.3)


def composed(buffers: Buffers, place: Place, mood: str) -> np.ndarray:
    """What is painted, sRGB 0..1: the lit shot in a painter's colours."""
    color, image = lit(buffers, place, mood)
    alpha = buffers.alpha[..., None]
    if mood == "dramatic":  # a dark brown studio, whatever the place
        image = 0.45 * image + 0.02 * np.array([1.0, 0.72, 0.45])
        color = color * np.array([1.10, 0.98, 0.80])
    color = color * metered(color, buffers)
    picture = film(color + image * (1 - alpha), 1.05).astype(np.float32)
    if mood == "impressionist":
        warm = np.array([1.08, 1.02, 0.90], np.float32)
        shade = np.array([0.92, 0.96, 1.14], np.float32)
        share = smoothstep(picture.mean(-1), 0.25, 0.6)[..., None]
        picture = picture * (shade * (1 - share) + warm * share) * 0.86 + 0.12
        return np.clip(saturated(picture, 1.7), 0, 1)
    picture = saturated(picture, 2.0 if mood == "colorful" else 1.22)
    if mood != "dramatic":
        picture = picture * np.array([1.03, 1.0, 0.93], np.float32)
    return np.clip(picture, 0, 1)


def attention(buffers: Buffers) -> np.ndarray:
    """Where the painter takes the fine brush, (height, width) 0..1: features, face, hair."""
    features = blur(of_parts(buffers, EYES, BROWS, LIPS, GLASSES) + blemishes(buffers), 6) * 1.6
    face = blur(of_parts(buffers, FACE), 6) * 0.45
    rest = (
        blur(of_parts(buffers, HAIR, BEARD), 6) * 0.3 + blur(of_parts(buffers, CLOTHES), 6) * 0.08
    )
    return np.clip(features + face + rest, 0, 1)


def strokes_flow(buffers: Buffers, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Angles of strokes, (height, width) radians: of hair and form, along edges, else free."""
    grey = blur(picture.mean(-1), 2.0)
    x, y = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    xx, yy, xy = blur(x * x, 6), blur(y * y, 6), blur(x * y, 6)
    double = np.stack([yy - xx, -2 * xy], -1)  # of the edge's angle, cosine and sine
    free = 0.6 + 0.9 * noise(rng, grey.shape, 90)
    calm = np.stack([np.cos(2 * free), np.sin(2 * free)], -1) * 0.0015
    flow = blur(buffers.flow, 1.0)
    form = np.stack([flow[..., 0] ** 2 - flow[..., 1] ** 2, 2 * flow[..., 0] * flow[..., 1]], -1)
    weight = 0.02 * of_parts(buffers, HAIR) + 0.003 * of_parts(buffers, FACE, CLOTHES)
    total = blur(double + calm + form * weight[..., None], 3.0)
    return 0.5 * np.arctan2(total[..., 1], total[..., 0])


@cache
def brushes(half_length_px: int, slim: float) -> np.ndarray:
    """A brush in all directions: (TURNS, size, size, 2), cover 0..1 and height of its bristles."""
    reach = half_length_px + 2
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    bristles = np.random.default_rng(half_length_px).normal(0, 1, 64).astype(np.float32)
    turned = []
    for turn in range(TURNS):
        angle = np.pi * turn / TURNS
        u = (x * np.cos(angle) + y * np.sin(angle)) / half_length_px
        v = (y * np.cos(angle) - x * np.sin(angle)) / (half_length_px * slim)
        hair = np.interp(v * 1.0, np.linspace(-1.2, 1.2, 64), cv2.blur(bristles[None], (5, 1))[0])
        ragged = 1 + 0.16 * np.interp(v, np.linspace(-1.2, 1.2, 64), bristles)
        body = smoothstep(1 - np.abs(v), 0, 0.25) * smoothstep(ragged - np.abs(u) - 0.12, 0, 0.22)
        cover = body * np.clip(1 + 0.22 * hair - 0.25 * (u > 0.3) * np.abs(hair), 0, 1)
        ridge = body * (0.5 + 0.35 * hair + 0.6 * smoothstep(np.abs(v), 0.55, 0.9))
        turned.append(np.stack([cover, ridge], -1))
    return np.stack(turned).astype(np.float32)


def paint(
    canvas: np.ndarray,
    target: np.ndarray,
    angles: np.ndarray,
    need: np.ndarray,
    layer: tuple[int, float, int, float],
    depth: int,
    mood: str,
    rng: np.random.Generator,
) -> None:
    """Lay a layer of strokes on the canvas (height, width, 4: colour and height), in place."""
    half, slim, most, power = layer
    height, width = need.shape
    step = max(3, round(np.sqrt(height * width / most)))
    rows, columns = np.mgrid[step // 2 : height : step, step // 2 : width : step]
    points = np.stack([rows.ravel(), columns.ravel()], 1)
    points = (points + rng.uniform(-0.5, 0.5, points.shape) * step).astype(int)
    points = points.clip(0, [height - 1, width - 1])
    wanted = blur(need, step / 2)[points[:, 0], points[:, 1]] > (0.0, 0.06, 0.05)[depth]
    points = rng.permutation(points[wanted])
    colors = target[points[:, 0], points[:, 1]]
    spread = 0.085 if mood == "impressionist" else 0.028
    colors = colors * (1 + rng.normal(0, spread, (len(points), 1)))
    colors = np.clip(colors + rng.normal(0, spread * 0.55, colors.shape), 0, 1).astype(np.float32)
    turned = angles[points[:, 0], points[:, 1]] + rng.normal(0, 0.16, len(points))
    which = np.round(turned / np.pi * TURNS).astype(int) % TURNS
    brush = brushes(half, slim)
    reach = half + 2
    framed = cv2.copyMakeBorder(canvas, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
    size = 2 * reach + 1
    load = np.empty((len(points), 4), np.float32)
    load[:, :3], load[:, 3] = colors, 1
    for (row, column), turn, full in zip(points.tolist(), which.tolist(), load, strict=True):
        patch = framed[row : row + size, column : column + size]
        stamp = brush[turn]
        cover = stamp[..., :1] * power
        patch[..., :3] += (full[:3] - patch[..., :3]) * cover
        patch[..., 3:] += (stamp[..., 1:] - patch[..., 3:]) * cover
    canvas[:] = framed[reach:-reach, reach:-reach]


def finished(canvas: np.ndarray, subject: np.ndarray, fine: np.ndarray, mood: str) -> np.ndarray:
    """The last touches with a pointed brush: what makes a face a face comes back in part."""
    detail = blur(subject, 1.2) - blur(subject, 7.0)
    painted = canvas[..., :3]
    lost = detail - (blur(painted, 1.2) - blur(painted, 7.0))
    strength = 0.85 if mood != "impressionist" else 0.6
    return painted + lost * (smoothstep(fine, 0.1, 0.9) * strength)[..., None]


def varnished(
    picture: np.ndarray, height_map: np.ndarray, fine: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Paint's relief and the weave of the canvas in a light from the upper left, with gloss."""
    shape = height_map.shape
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    weave = 0.05 * (np.sin(x * 2 * np.pi / 5.0) + np.sin(y * 2 * np.pi / 5.0))
    relief = blur(height_map + weave + 0.05 * noise(rng, shape, 2.0), 0.8)
    slope = cv2.Sobel(relief, cv2.CV_32F, 1, 0) + cv2.Sobel(relief, cv2.CV_32F, 0, 1)
    # Faces are painted thinner.
    thick = 0.058 * (1 - 0.6 * smoothstep(fine, 0.05, 0.5))
    shade = np.clip(-slope * thick, -0.10, 0.13)[..., None]
    lit_paint = picture * (1 + 1.3 * shade) + 0.35 * np.clip(shade - 0.02, 0, 1)
    return np.clip(lit_paint, 0, 1)
