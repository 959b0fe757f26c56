"""The measures of a face: what a person's numbers and the words make of its geometry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .canvas import Canvas, Colour, ellipse, fill
from .looks import Look
from .people import Person, Shot
from .styles import Style

SKIN = {
    "light": (0.96, 0.81, 0.73),
    "tan": (0.89, 0.69, 0.56),
    "indian": (0.69, 0.47, 0.32),
    "dark": (0.46, 0.30, 0.21),
}
HAIR = {
    "black": (0.10, 0.085, 0.09),
    "brown": (0.36, 0.21, 0.11),
    "blond": (0.90, 0.72, 0.38),
    "red": (0.72, 0.27, 0.09),
    "gray": (0.70, 0.70, 0.72),
}
IRIS = ((0.24, 0.13, 0.07), (0.25, 0.45, 0.22), (0.22, 0.45, 0.75))
PUNK_HAIR = ((0.95, 0.10, 0.55), (0.10, 0.80, 0.35), (0.15, 0.45, 0.98))
CLOTH = ((0.72, 0.16, 0.18), (0.18, 0.36, 0.70), (0.16, 0.55, 0.42), (0.90, 0.68, 0.20))


@dataclass(frozen=True)
class Face:
    """Where everything is, in picture units about the middle of the face; y points down."""

    person: Person
    look: Look
    shot: Shot
    style: Style
    skin: Colour
    hair: Colour
    half_width: float
    top: float  # height of the skull above the middle
    chin: float
    jaw: float  # exponent of the lower outline: 2 is an ellipse, more is square
    eye_x: float
    eye_y: float
    eye_w: float
    eye_h: float
    nose_y: float
    mouth_y: float
    mouth_w: float
    ear: float
    volume: float

    def turned(self, points: np.ndarray, depth: float = 1.0) -> np.ndarray:
        """Move points on the face as it turns: those near the middle move most."""
        points = np.array(points, np.float32).reshape(-1, 2)
        u = np.clip(points[:, 0] / self.half_width, -1, 1)
        points[:, 0] += 0.24 * depth * self.shot.yaw * self.half_width * np.sqrt(1 - 0.9 * u**2)
        return points


def mix(one: Colour, other: Colour, t: float) -> Colour:
    r, g, b = (float((1 - t) * x + t * y) for x, y in zip(one, other, strict=True))
    return r, g, b


def scaled(colour: Colour, by: float) -> Colour:
    return tuple(float(np.clip(c * by, 0, 1)) for c in colour)  # type: ignore[return-value]


def between(colours: tuple[Colour, ...], at: float) -> Colour:
    """The colour at `at` (-1..1) along a row of colours."""
    x = (at + 1) / 2 * (len(colours) - 1)
    i = min(int(x), len(colours) - 2)
    return mix(colours[i], colours[i + 1], x - i)


def measure_face(p: Person, look: Look, shot: Shot, style: Style) -> Face:
    """Turn a person's numbers and the words into measures."""
    child = look.who in ("boy", "girl")
    female = look.who in ("woman", "girl")
    skin = scaled(SKIN[look.skin], 1 + 0.07 * p.skin_tone)
    skin = (skin[0], skin[1] * (1 - 0.03 * p.skin_warmth), skin[2] * (1 - 0.07 * p.skin_warmth))
    hair = scaled(HAIR[look.hair], 1 + 0.25 * p.hair_tone)
    if look.punk == "yes":
        hair = between(PUNK_HAIR, p.hair_tone)
    strong = 1.9 if look.jawline == "yes" else 0.0
    half_width = (
        0.215 * (1 + 0.10 * p.face_width) * (1.05 if child else 1) * (0.955 if female else 1)
    )
    chin = 0.268 * (1 + 0.09 * p.face_length + 0.05 * p.chin) * (0.91 if child else 1)
    jaw = 2.15 + 0.34 * p.jaw + strong - (0.16 if female else 0) - 0.35 * style.taper
    eye = (
        style.eye
        * (1 + 0.16 * p.eye_size)
        * ((1.26 if style.eye <= 1 else 1.08) if child else 1.0)
        * (1.06 if female else 1)
    )
    eye_y = -0.012 + (0.03 if child else 0) + 0.012 * (style.eye_tall - 1)
    old = 0.72 if look.age == "old" else 1.0
    return Face(
        person=p, look=look, shot=shot, style=style, skin=skin, hair=hair,
        half_width=half_width, top=0.262 * (1 + 0.05 * p.face_length), chin=chin, jaw=jaw,
        eye_x=0.096 * (1 + 0.13 * p.eye_spacing) * (0.5 + 0.5 * half_width / 0.215),
        eye_y=eye_y, eye_w=0.046 * eye, eye_h=0.0225 * eye * style.eye_tall * old,
        nose_y=0.088 * (1 + 0.16 * p.nose_length) * (0.85 if child else 1),
        mouth_y=0.166 * (0.97 if child else 1) * (0.6 + 0.4 * chin / 0.268),
        mouth_w=0.070 * (1 + 0.18 * p.mouth_width) * style.mouth * (0.85 if child else 1),
        ear=0.050 * (1 + 0.35 * p.ear_size), volume=1 + 0.45 * p.hair_volume,
    )  # fmt: skip


def landmarks(face: Face) -> np.ndarray:
    """Left eye, right eye, nose, mouth, hair (top of the head) and chin, (6, 2)."""
    inner = face.turned(
        np.array([
            [-face.eye_x, face.eye_y], [face.eye_x, face.eye_y],
            [0, face.nose_y], [0, face.mouth_y],
        ])
    )  # fmt: skip
    rim = np.array([[0, -face.top], [0.1 * face.shot.yaw * face.half_width, face.chin]])
    return np.concatenate([inner, rim])


def outline_of_head(face: Face, grow: float = 0.0, jaw: float = 0.0) -> np.ndarray:
    """The outline of the head: an ellipse above, a superellipse of exponent `jaw` below."""
    t = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    c, s = np.cos(t), np.sin(t)
    exponent = np.where(s > 0, 2 / (jaw or face.jaw), 2 / 2.25)
    height = np.where(s > 0, face.chin + grow, face.top + grow)
    x = (face.half_width + grow) * np.sign(c) * np.abs(c) ** exponent
    y = height * np.sign(s) * np.abs(s) ** np.where(s > 0, 0.93, 2 / 2.25)
    # The jaw narrows below the cheeks.
    narrow = 0.05 if face.look.jawline == "yes" else 0.16 + 0.16 * face.style.taper
    x *= np.where(s > 0, 1 - narrow * np.clip(y / face.chin, 0, 1) ** 1.5, 1)
    return np.stack([x, y], 1).astype(np.float32)


def light_on(canvas: Canvas, face: Face, rx: float, ry: float, frame: str = "head") -> np.ndarray:
    """How bright a rounded form about the middle is lit, (size, size), about 0.5 to 1.15."""
    x, y = canvas.grid(frame)
    u, v = x / rx, y / ry
    z = np.sqrt(np.clip(1 - 0.62 * (u**2 + v**2), 0.04, 1))
    strength = 1.7 if face.look.mood == "dramatic" else 1.0
    side = face.shot.light
    if face.look.mood == "dramatic":
        side = np.sign(side or 1.0) * max(abs(side), 0.6)
    lit = 0.42 * side * strength * u * 0.8 - 0.20 * v + 0.86 * z
    if canvas.ink.shading == "soft":
        return np.clip(0.36 + 0.72 * lit, 0.3, 1.18).astype(np.float32)
    dark = 0.66 if canvas.ink.shading == "bold" else 0.82
    # The border between the two tones is a few pixels soft, as a clean scan would have it.
    return (dark + (1.04 - dark) * np.clip((lit - 0.56) * 14, 0, 1)).astype(np.float32)


def is_soft(canvas: Canvas) -> bool:
    return canvas.ink.shading == "soft"


def blob(
    canvas: Canvas,
    face: Face,
    x: float,
    y: float,
    rx: float,
    ry: float,
    colour: Colour,
    alpha: float,
    soft: float,
) -> None:
    fill(
        canvas, face.turned(ellipse(x, y, rx, ry)), colour,
        alpha=alpha, soft=soft, line=False, edge=False,
    )  # fmt: skip
