"""One portrait of the world: person, look, shot and style become a picture and its truth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from . import shots, styles
from .buffers import LANDMARKS, Buffers
from .people import Body, Person, build
from .places import Place, place
from .render import Drawn, Renderer
from .shots import Shot
from .words import Look

SIZE_PX, TRUTH_PX = 256, 128
NEAR_M, FAR_M = 0.8, 2.6  # depths from white to black
# The person's left is the picture's right.
MARKS = dict(
    zip(
        LANDMARKS,
        ("eye_right", "eye_left", "nose", "mouth_right", "mouth_left", "chin")
        + ("ear_right", "ear_left", "head_top"),
        strict=True,
    )
)
# Styles whose faces are moved: large eyes. All others are drawn from one and the same render.
MOVED = ("anime", "animated")


@dataclass(frozen=True)
class Portrait:
    """A picture and what is exactly known of it."""

    image: np.ndarray  # (256, 256, 3) uint8 sRGB
    parts: np.ndarray  # (128, 128) uint8 of `surface.PARTS`
    depth: np.ndarray  # (128, 128) uint8, 0 far or nothing, 255 near
    landmarks: np.ndarray  # (9, 2) float32, 0..1 of the picture, in the order of `LANDMARKS`


@dataclass(frozen=True)
class Taken:
    """One shot as rendered, ready for any style that does not move the face."""

    buffers: Buffers
    kind: str  # of the place
    seed: tuple[int, ...]  # of the place
    light: Place


def take(renderer: Renderer, body: Body, look: Look, shot: Shot, seed: tuple[int, ...]) -> Taken:
    """Render a shot. The seed chooses the place, whose light falls on the person."""
    light = place(look.place, np.random.default_rng(seed), renderer.size_px)
    shot = shots.composed(look, shot)
    posed, marks = shots.pose(body, look, shot)
    camera = shots.camera(shot, body)
    lamps, rest = shots.lights(light, shot)
    drawn = renderer.draw(posed, camera, lamps, rest)
    points = camera.project(np.stack([marks[MARKS[n]] for n in LANDMARKS]), renderer.size_px)
    key = lamps[0].direction.astype(np.float32)
    return Taken(_buffers(drawn, points, key), look.place, seed, light)


def _buffers(drawn: Drawn, points: np.ndarray, key: np.ndarray) -> Buffers:
    landmarks = {n: (float(x), float(y)) for n, (x, y) in zip(LANDMARKS, points, strict=True)}
    same = ("color", "albedo", "alpha", "normal", "depth", "parts", "flow")
    return Buffers(**{f: getattr(drawn, f) for f in same}, landmarks=landmarks, light=key)


def paint(taken: Taken, look: Look, rng: np.random.Generator) -> Portrait:
    """A shot in the look's style."""
    behind = taken.light
    if look.style in styles.DRAWN:
        size = behind.image.shape[0]
        drawn = place(taken.kind, np.random.default_rng(taken.seed), size, drawn=True)
        behind = replace(behind, image=drawn.image)
    image = styles.apply(look.style, taken.buffers, behind, look, rng)
    return Portrait(image, *truth(taken.buffers))


def truth(buffers: Buffers) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parts (128, 128), depth (128, 128) and landmarks (9, 2) of a shot."""
    step = buffers.parts.shape[0] // TRUTH_PX
    parts = buffers.parts[step // 2 :: step, step // 2 :: step]
    near = np.clip((FAR_M - buffers.depth) / (FAR_M - NEAR_M), 0, 1) * 255
    depth = cv2.resize(near.astype(np.uint8), (TRUTH_PX, TRUTH_PX), interpolation=cv2.INTER_AREA)
    size = buffers.parts.shape[0]
    landmarks = np.array([buffers.landmarks[n] for n in LANDMARKS], np.float32) / size
    return parts, depth, landmarks


def draw(
    renderer: Renderer, person: Person, look: Look, shot: Shot, seed: int
) -> tuple[Portrait, Body]:
    """Draw one portrait from nothing. The same arguments give the same pixels."""
    body = build(person, look)
    taken = take(renderer, body, look, shot, (seed, 1))
    return paint(taken, look, np.random.default_rng((seed, 2))), body
