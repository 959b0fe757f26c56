"""Faces in drawn portraits: by the embedded model's judge, and its encoder of who is who."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from portraitlib.photos.faces.face import Face, aside


def find_in_drawing(image: Image.Image) -> list[Face]:
    """The face of a portrait of the embedded model's world; none if it is not coherent."""
    from portraitlib.mini.judge import LANDMARKS, coherent, limits_of, read, shipped_judge

    judge, notes = shipped_judge()
    reading = read(judge, _judged(image)[None])
    if not coherent(reading, limits_of(notes))[0]:
        return []
    places = reading.landmarks[0] * np.array(image.size)
    marks = {n: (float(x), float(y)) for n, (x, y) in zip(LANDMARKS, places, strict=True)}
    middle_x = (marks["left eye"][0] + marks["right eye"][0] + marks["chin"][0]) / 3
    eyes_y = (marks["left eye"][1] + marks["right eye"][1]) / 2
    chin_y, top_y = marks["chin"][1], marks["hair"][1]
    side = (chin_y - eyes_y) / 0.65
    box = (middle_x - side / 2, chin_y - side, middle_x + side / 2, chin_y)
    tall = chin_y - top_y
    head = (
        middle_x - 0.5 * tall, top_y - 0.06 * tall, middle_x + 0.5 * tall, chin_y + 0.03 * tall,
    )  # fmt: skip
    # A drawn head turns by moving eyes, nose and mouth before its outline.
    yaw = aside(marks, ["left eye", "right eye", "nose"], ["hair", "chin"])
    return [Face(box, head, marks, yaw)]


def _judged(image: Image.Image) -> np.ndarray:
    """The picture as the embedded model's judge and encoder see it, (96, 96, 3) uint8."""
    from portraitlib.mini.judge import SIZE_PX

    # Pillow's reduction: large pictures are quicker so than in the judge's own.
    return np.asarray(image.resize((SIZE_PX, SIZE_PX), Image.Resampling.BOX, reducing_gap=2.0))


def embed_drawn(pairs: Sequence[tuple[Image.Image, Face]]) -> np.ndarray:
    """(pairs, 64) by the encoder of the embedded model's world, for faces by `find_in_drawing`."""
    from portraitlib.mini.judge import LANDMARKS
    from portraitlib.mini.likeness import NUMBERS, embed, shipped_likeness

    if not pairs:
        return np.zeros((0, NUMBERS), np.float32)
    marks = [
        [np.divide(face.landmarks[name], image.size) for name in LANDMARKS] for image, face in pairs
    ]
    images = np.stack([_judged(image) for image, _ in pairs])
    return embed(shipped_likeness(), images, np.array(marks, np.float32))


def drawn_strangers(pictures: Sequence[Image.Image] = ()) -> np.ndarray:
    """(64, 64): people of the embedded model's world whom the words describe that the judge sees in
    most of the pictures; for no pictures anybody."""
    from portraitlib.mini.strangers import describe, strangers

    return strangers(describe(np.stack([_judged(p) for p in pictures])) if len(pictures) else ())
