"""Pencil sketch: strokes that follow the form and the tone, strands of hair, contours, paper."""

from __future__ import annotations

import cv2
import numpy as np

from ..buffers import BEARD, BROWS, EYES, FACE, GLASSES, HAIR, LIPS, NECK, Buffers
from ..places import Place
from ..words import Look
from . import lines
from .eyes import inked_eyes
from .grading import side_light
from .surface import (
    LUMA,
    blur,
    blur_within,
    halved,
    noise,
    of_parts,
    saturated,
    shading,
    smoothstep,
    to_srgb,
)


def apply(buffers: Buffers, place: Place, look: Look, rng: np.random.Generator) -> np.ndarray:
    """Hatching in up to three directions, hair along its growth, contours drawn twice, paper."""
    tone = drawn_tone(buffers, look.mood)
    graphite = hatched(buffers, tone, rng)
    behind = background(place, buffers, look.mood, rng)
    contour = np.maximum(contours(buffers, rng), lines.wear(buffers, look) * 0.4)
    contour = np.maximum(contour, lines.spots(buffers) * 0.75)
    rubbed = smudge(buffers, tone)
    dark = 1 - (1 - graphite) * (1 - contour) * (1 - behind) * (1 - rubbed)
    white = np.repeat((1 - dark)[..., None], 3, -1)
    dark = 1 - inked_eyes(white, buffers, np.full(3, 0.1))[..., 0]
    lead = np.array([0.13, 0.13, 0.15], np.float32)
    if look.mood == "colorful":  # crayons
        alpha = buffers.alpha[..., None]
        paint = buffers.albedo * alpha + to_srgb(place.image) * (1 - alpha)
        lead = np.clip(saturated(blur(paint, 3), 2.2) * 0.8, 0.02, 0.85)
        dark = dark + (1 - dark) * 0.35 * smoothstep(np.ptp(lead, axis=-1), 0.1, 0.5)
    return on_paper(dark, lead, rng)


def drawn_tone(buffers: Buffers, mood: str) -> np.ndarray:
    """How dark each place of the person is to be, (height, width) 0 paper .. 1 black."""
    light = shading(buffers)
    if mood == "dramatic":
        light = light * side_light(buffers) * 1.1
    skin = of_parts(buffers, FACE, NECK, LIPS, EYES, BROWS)
    paint = buffers.albedo @ LUMA
    typical = np.median(paint[skin > 0]) if (skin > 0).any() else 0.6
    # A draughtsman leaves skin to the paper, whatever its colour, and keeps a hint of it.
    local = np.where(skin > 0, paint / max(typical, 0.05) * (0.62 + 0.38 * typical), paint)
    local = np.where(of_parts(buffers, HAIR, BEARD) > 0, paint * 0.85 + 0.04, local)
    local = local * (1 - 0.22 * of_parts(buffers, LIPS))
    value = to_srgb(np.clip(local, 0, 1.2) ** 2.2 * np.clip(blur(light, 1.5), 0, 1.4) ** 1.25)
    tone = np.clip(1.10 - 1.12 * value, 0, 1)
    hair = of_parts(buffers, HAIR, BEARD) > 0
    if hair.any():  # sheen and shadow of the hair, whatever its colour
        rank = blur_within(light, hair.astype(np.float32), 2.0)
        low, high = np.percentile(rank[hair], [8, 94])
        sheen = np.clip((rank - low) / max(high - low, 0.05), 0, 1) - 0.5
        tone = np.where(hair, np.clip(tone * 1.1 - 0.75 * sheen * (0.3 + tone), 0.02, 1), tone)
    return (tone * buffers.alpha).astype(np.float32)


def smudge(buffers: Buffers, tone: np.ndarray) -> np.ndarray:
    """Graphite rubbed with a finger: the tone, soft and pale."""
    return np.clip(blur(tone, 3.0) - 0.12, 0, 1) * 0.34 * buffers.alpha


def directions(buffers: Buffers, turn_degrees: float) -> np.ndarray:
    """Unit directions of strokes that wrap the form, (height, width, 2), turned on the paper."""
    axis = np.array([0.55, 0.83, 0.10], np.float32)
    normal = blur(buffers.normal, 4.0)
    wrap = np.cross(normal, axis)[..., :2]
    wrap = np.stack([wrap[..., 0], -wrap[..., 1]], -1)
    turn = np.radians(turn_degrees)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]], np.float32)
    wrap = wrap @ matrix
    return wrap / (np.linalg.norm(wrap, axis=-1, keepdims=True) + 1e-6)


def hatched(buffers: Buffers, tone: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """All strokes of the person, (height, width) 0..1 of graphite."""
    hair = of_parts(buffers, HAIR, BEARD, BROWS)
    strands = buffers.flow
    paper = np.ones(tone.shape, np.float32)
    body = tone * (1 - hair)
    for turn, floor, gain in ((0, 0.10, 1.25), (62, 0.34, 1.15), (-38, 0.58, 1.1)):
        need = np.clip((body - floor) / (0.85 - floor), 0, 1)
        paper *= 1 - strokes(need, directions(buffers, turn), 15, 900, 0.42 * gain, rng)
        paper *= 1 - strokes(need, directions(buffers, turn + 7), 11, 900, 0.38 * gain, rng)
    need = np.clip((tone * hair - 0.05) * 1.15, 0, 1)
    for length, count in ((36, 1800), (26, 2800), (18, 2800)):
        paper *= 1 - strokes(need, strands, length, count, 0.62, rng)
    return 1 - paper


def strokes(
    need: np.ndarray,
    flow: np.ndarray,
    length_px: int,
    count: int,
    weight: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Tapered strokes along a flow where they are needed, (height, width) 0..1 of graphite.

    need: (height, width) 0..1, how likely and how heavy.  flow: (height, width, 2) directions.
    """
    height, width = need.shape
    chance = (need**0.8).ravel().astype(np.float64)
    total = chance.cumsum()
    layer = np.zeros(need.shape, np.uint8)
    if total[-1] < 50:
        return layer.astype(np.float32)
    count = int(count * min(1.0, 3.0 * total[-1] / need.size))
    seeds = np.searchsorted(total, rng.uniform(0, total[-1], count))
    start = np.stack([seeds % width, seeds // width], 1).astype(np.float32)
    paths = _traced(start, flow, length_px, rng)
    pressed = need.ravel()[seeds] * rng.uniform(0.65, 1.15, count)
    inside = need[
        paths[..., 1].round().astype(int).clip(0, height - 1),
        paths[..., 0].round().astype(int).clip(0, width - 1),
    ]
    pieces = np.round(paths * 16).astype(np.int32)
    steps = pieces.shape[1] - 1
    for step in range(steps):
        taper = np.sin(np.pi * (step + 0.7) / (steps + 0.4)) ** 0.6
        grey = pressed * taper * np.clip(inside[:, step] * 2.2, 0, 1) * weight
        level = np.clip(np.round(grey * 12), 0, 12).astype(int)
        for value in range(1, 13):
            chosen = pieces[level == value, step : step + 2]
            if len(chosen):
                cv2.polylines(layer, list(chosen), False, value * 21, 1, cv2.LINE_AA, 4)
    return layer.astype(np.float32) / 255


def _traced(
    start: np.ndarray, flow: np.ndarray, length_px: int, rng: np.random.Generator
) -> np.ndarray:
    """Paths from points (count, 2) along a flow, both ways, (count, 7, 2)."""
    height, width = flow.shape[:2]
    reach = length_px / 6 * rng.uniform(0.6, 1.3, (len(start), 1)).astype(np.float32)

    def walk(sign: float) -> list[np.ndarray]:
        point, heading, path = start, None, []
        for _ in range(3):
            column = point[:, 0].round().astype(int).clip(0, width - 1)
            row = point[:, 1].round().astype(int).clip(0, height - 1)
            step = flow[row, column] * sign
            if heading is not None:
                step = np.where((step * heading).sum(1, keepdims=True) < 0, -step, step)
            heading = step
            point = point + step * reach
            path.append(point)
        return path

    path = walk(-1)[::-1] + [start] + walk(1)
    return np.stack(path, 1) + rng.normal(0, 0.5, (len(start), 1, 2)).astype(np.float32)


def contours(buffers: Buffers, rng: np.random.Generator) -> np.ndarray:
    """Contours, borders, creases and features, each drawn twice with a little error."""
    width = lines.pressure(buffers, rng, 0.35, 1.25)
    edges = lines.outline(buffers) | lines.borders(buffers)
    inner = lines.without_specks(lines.creases(buffers), 16)
    cloth = lines.without_specks(lines.details(buffers), 24)
    bare = of_parts(buffers, FACE, HAIR, BROWS, LIPS, EYES) > 0
    once = np.maximum(lines.ink(edges, width) * 0.8, lines.ink(inner, width * 0.7) * 0.55)
    once = np.maximum(once, lines.ink(cloth & ~bare, 0.5) * 0.45)
    twice = wobbled(lines.ink(edges, width * 0.6) * 0.5, rng, 2.6)
    face = lines.features(buffers) * 0.85
    solid = blur(of_parts(buffers, GLASSES), 0.7) * 0.8
    grip = np.clip(0.85 + 0.2 * noise(rng, once.shape, 10), 0.3, 1)
    return np.clip(np.maximum.reduce([wobbled(once, rng, 0.8), twice, face, solid]) * grip, 0, 1)


def wobbled(layer: np.ndarray, rng: np.random.Generator, reach_px: float) -> np.ndarray:
    """A layer moved by a hand's unsteadiness."""
    height, width = layer.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x = x + reach_px * noise(rng, layer.shape, 60)
    y = y + reach_px * noise(rng, layer.shape, 60)
    return cv2.remap(layer.astype(np.float32), x, y, cv2.INTER_LINEAR)


def background(place: Place, buffers: Buffers, mood: str, rng: np.random.Generator) -> np.ndarray:
    """The place in a few pale strokes and lines that fade to the edge, (height, width) 0..1."""
    picture = to_srgb(place.image).astype(np.float32)
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    edge = np.minimum.reduce([x, width - x, y, height - y]) / width + 0.05 * noise(
        rng, (height, width), 50
    )
    fade = smoothstep(edge, -0.02, 0.16) * (1 - smoothstep(buffers.alpha, 0.3, 0.7))
    slant = np.broadcast_to(np.array([0.64, -0.77], np.float32), (height, width, 2))
    if place.kind == "plain":
        near = np.clip(blur(buffers.alpha, 40) * 1.6, 0, 1)
        if mood != "dramatic":
            return strokes(0.45 * near * fade, slant, 46, 1500, 0.3, rng) * fade
        first = strokes(np.maximum(near, 0.6) * fade, slant, 46, 5000, 0.5, rng)
        cross = strokes(near * fade, slant[..., ::-1], 40, 4000, 0.5, rng)
        return (1 - (1 - first) * (1 - cross)) * fade
    tone = np.clip(1.0 - picture @ LUMA, 0, 1)
    edges = cv2.Canny((blur(picture, 1.4) * 255).astype(np.uint8), 36, 90) > 0
    drawn = wobbled(lines.ink(lines.without_specks(edges, 26), 0.55), rng, 1.2) * 0.5
    hatch = strokes(np.clip(tone - 0.2, 0, 1) * fade, slant, 26, 3800, 0.34, rng)
    more = 1.5 if mood == "dramatic" else 1.0
    return np.clip(np.maximum(drawn, hatch * more) * fade, 0, 1)


def on_paper(dark: np.ndarray, lead: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A lead's colour on the tooth of a paper."""
    tooth = 0.55 * noise(rng, dark.shape, 2.0) + 0.45 * noise(rng, dark.shape, 5.0)
    grey = np.clip(dark * (1 + 0.20 * tooth * (1 - dark) * 1.6), 0, 0.95)[..., None]
    white = np.array([0.965, 0.955, 0.93]) * rng.uniform(0.97, 1.02)
    white = white + 0.012 * tooth[..., None]
    return halved(white * (1 - grey) + lead * grey, sharpen=0.3)
