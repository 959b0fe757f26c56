"""Draws portraits: a person, what the words say, a shot and a style become a picture.

The same geometry is painted in every style, so that a face can be recognised across them, and the
exact edges, the matte and the landmarks of what was drawn come with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from portraitlib.mini.judge import LANDMARKS

from . import features, scenes
from .canvas import OVERSAMPLING, Canvas
from .face import landmarks, measure_face
from .looks import Look, caption, random_look
from .people import Person, Shot, random_person, random_shot
from .styles import STYLE_TABLE, Style, finish

FACE_AT = (0.5, 0.465)  # where the middle of the face is in a centred picture


@dataclass(frozen=True)
class Drawing:
    """A portrait and what is known of it.

    image: (size, size, 3) uint8; edges: (size, size) uint8, 255 on an outline; matte: (size, size)
    uint8, 255 on the person; landmarks: name to (x, y) in 0..1 of the picture.
    """

    image: np.ndarray
    edges: np.ndarray
    matte: np.ndarray
    landmarks: dict[str, tuple[float, float]]
    person: Person
    look: Look
    shot: Shot


def _frames(shot: Shot, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Affine maps from picture units about the face's middle to pixels: head and body."""
    zoom = 1.1 + 0.07 * shot.zoom  # the face fills half of the picture
    at = np.array(FACE_AT) + 0.03 * np.array([shot.shift_x, shot.shift_y])
    body = np.array([[zoom, 0, at[0]], [0, zoom, at[1] - 0.04]])  # a short neck shows the clothes
    angle = 0.13 * shot.tilt
    c, s = np.cos(angle), np.sin(angle)
    pivot = np.array([0.0, 0.33])  # the head tilts about the neck
    turn = np.array([[c, -s], [s, c]])
    head = np.concatenate([zoom * turn, (zoom * (pivot - turn @ pivot) + at)[:, None]], 1)
    return (head * size).astype(np.float32), (body * size).astype(np.float32)


def draw(person: Person, look: Look, shot: Shot, *, size_px: int = 128) -> Drawing:
    """Draw a portrait; the same arguments give the same pixels.

    `size_px` is a multiple of 32 (pixel art needs whole blocks).
    """
    if size_px < 32 or size_px % 32:
        raise ValueError(f"size_px: got {size_px}, expected a multiple of 32")
    style = STYLE_TABLE[look.style]
    size = size_px * OVERSAMPLING
    head, body = _frames(shot, size)
    canvas = Canvas(size=size, ink=style.ink, head=head, body=body)
    face = measure_face(_as_the_style_sees(person, style), look, shot, style)
    scenes.paint_background(canvas, look, shot, style)
    features.paint_person(canvas, face)
    image = cv2.resize(canvas.pixels, (size_px, size_px), interpolation=cv2.INTER_AREA)
    matte = cv2.resize(canvas.matte, (size_px, size_px), interpolation=cv2.INTER_AREA)
    edges = cv2.resize(canvas.edges, (size_px, size_px), interpolation=cv2.INTER_AREA)
    image = finish(image, matte, look, shot, style)
    places = canvas.to_pixels(landmarks(face), "head") / size
    return Drawing(
        image=(np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8),
        edges=np.where(edges > 60, 255, 0).astype(np.uint8),
        matte=matte,
        landmarks={n: (float(x), float(y)) for n, (x, y) in zip(LANDMARKS, places, strict=True)},
        person=person,
        look=look,
        shot=shot,
    )


def _as_the_style_sees(person: Person, style: Style) -> Person:
    """Some styles draw everybody alike: a typical anime face keeps little of who it is."""
    if style.keeps == 1:
        return person
    kept = {name: style.keeps * value for name, value in vars(person).items()}
    # Colours are kept by every style; only shapes become generic.
    for name in ("skin_tone", "skin_warmth", "eye_color", "hair_tone"):
        kept[name] = getattr(person, name)
    return replace(person, **kept)


def random_drawing(seed: int, *, size_px: int = 128, **fixed: str) -> tuple[Drawing, str]:
    """Draw the portrait number `seed` of the world and say it in words: (drawing, caption)."""
    rng = np.random.default_rng(seed)
    look = random_look(rng, **fixed)
    drawing = draw(random_person(rng), look, random_shot(rng), size_px=size_px)
    return drawing, caption(look, rng)
