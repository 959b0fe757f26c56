"""Paints what the person wears: clothes and the neck in them, glasses, studs."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas, Colour, ellipse, fill, smooth, stroke
from .face import CLOTH, Face, between, is_soft, mix, scaled


def paint_clothes(canvas: Canvas, face: Face, shade: np.ndarray) -> None:
    look = face.look
    child = 0.72 if look.who in ("boy", "girl") else 0.93 if look.who == "woman" else 1.0
    cloth = between(CLOTH, face.shot.clothing_color)
    half = np.array(
        [
            [0.085, 0.335],
            [0.20 * child, 0.368],
            [0.40 * child, 0.415],
            [0.485 * child, 0.50],
            [0.52 * (0.84 if child < 0.9 else 1), 0.75],
        ]
    )
    shoulders = smooth(np.concatenate([half * [-1, 1], half[::-1]]), closed=False, rounds=2)
    neck_w = 0.098 if look.who == "man" else 0.080 if look.who == "woman" else 0.066
    neck = np.array([[-neck_w, 0.10], [neck_w, 0.10], [neck_w, 0.36], [0.0, 0.44], [-neck_w, 0.36]])
    paint = {"sweatshirt": _sweatshirt, "suit": _suit, "dress": _dress, "t-shirt": _t_shirt}
    if look.mona_lisa == "yes":
        cloth = (0.16, 0.15, 0.10)
    if look.clothing == "sweatshirt":
        hood = smooth(
            np.array(
                [[-0.20, 0.36], [-0.19, 0.25], [0, 0.20], [0.19, 0.25], [0.20, 0.36], [0, 0.42]]
            )
        )
        fill(canvas, hood, scaled(cloth, 0.62), frame="body", shade=shade)
    fill(canvas, neck, scaled(face.skin, 0.88), frame="body", shade=shade)
    if is_soft(canvas):
        throat = ellipse(0, 0.27, neck_w * 1.05, 0.055)
        fill(
            canvas,
            throat,
            scaled(face.skin, 0.40),
            frame="body",
            alpha=0.5,
            soft=2.5,
            line=False,
            edge=False,
        )
    paint[look.clothing](canvas, face, shoulders, cloth, shade)
    if look.punk == "yes":
        collar = np.array(
            [[-0.10, 0.345], [0, 0.362], [0.10, 0.345], [0.10, 0.375], [0, 0.395], [-0.10, 0.375]]
        )
        fill(canvas, collar, (0.06, 0.06, 0.07), frame="body")


def _garment(canvas: Canvas, outline: np.ndarray, colour: Colour, shade: np.ndarray) -> None:
    fill(canvas, outline, colour, frame="body", shade=shade)


def _t_shirt(
    canvas: Canvas, face: Face, shoulders: np.ndarray, cloth: Colour, shade: np.ndarray
) -> None:
    neckline = smooth(
        np.array([[0.115, 0.345], [0.08, 0.405], [0, 0.43], [-0.08, 0.405], [-0.115, 0.345]]), False
    )
    _garment(canvas, _with_neckline(shoulders, neckline), cloth, shade)
    stroke(canvas, neckline, 2.2, mix(cloth, (1, 1, 1), 0.45), frame="body", edge=False)


def _with_neckline(shoulders: np.ndarray, neckline: np.ndarray) -> np.ndarray:
    """The outline of a garment: up the left side, along the neckline, down the right side."""
    left = shoulders[: len(shoulders) // 2]
    right = shoulders[len(shoulders) // 2 :]
    return np.concatenate([left[::-1], neckline[::-1], right[::-1]])


def _sweatshirt(
    canvas: Canvas, face: Face, shoulders: np.ndarray, cloth: Colour, shade: np.ndarray
) -> None:
    neckline = smooth(
        np.array([[0.145, 0.34], [0.09, 0.415], [0, 0.455], [-0.09, 0.415], [-0.145, 0.34]]), False
    )
    _garment(canvas, _with_neckline(shoulders, neckline), cloth, shade)
    stroke(canvas, neckline, 3.6, scaled(cloth, 0.72), frame="body", edge=False)
    for side in (-1, 1):
        cord = np.array([[side * 0.055, 0.435], [side * 0.064, 0.47], [side * 0.058, 0.56]])
        stroke(canvas, smooth(cord, False), 2.0, (0.97, 0.97, 0.95), frame="body")


def _suit(
    canvas: Canvas, face: Face, shoulders: np.ndarray, cloth: Colour, shade: np.ndarray
) -> None:
    neckline = np.array([[0.10, 0.345], [0.05, 0.385], [0, 0.40], [-0.05, 0.385], [-0.10, 0.345]])
    _garment(canvas, _with_neckline(shoulders, neckline), (0.95, 0.95, 0.96), shade)
    tie = np.array([[-0.022, 0.395], [0.022, 0.395], [0.030, 0.60], [-0.030, 0.60]])
    fill(canvas, tie, scaled(cloth, 0.95), frame="body", shade=shade)
    jacket = mix((0.13, 0.15, 0.22), scaled(cloth, 0.3), 0.25)
    for side in (-1, 1):
        half = shoulders[: len(shoulders) // 2] if side < 0 else shoulders[len(shoulders) // 2 :]
        lapel = np.array([[side * 0.115, 0.345], [side * 0.10, 0.40], [side * 0.055, 0.60]])
        part = np.concatenate([lapel, [[side * 0.52, 0.75]], (half if side > 0 else half[::-1])])
        fill(canvas, part, jacket, frame="body", shade=shade)
        fold = np.array(
            [[0.115, 0.35], [0.175, 0.40], [0.15, 0.425], [0.17, 0.44], [0.075, 0.60]]
        ) * [side, 1]
        stroke(canvas, fold, 1.2, mix(jacket, (1, 1, 1), 0.25), frame="body", edge=False)


def _dress(
    canvas: Canvas, face: Face, shoulders: np.ndarray, cloth: Colour, shade: np.ndarray
) -> None:
    skin = np.concatenate([shoulders])
    _garment(canvas, skin[::-1], scaled(face.skin, 0.95), shade)
    half = np.array([[0.235, 0.375], [0.20, 0.44], [0.10, 0.475], [0.0, 0.46]])
    neckline = smooth(np.concatenate([half, (half * [-1, 1])[::-1][1:]]), False)
    strap = np.array([[0.30, 0.385], [0.42, 0.43], [0.50, 0.52], [0.52, 0.75]])
    outline = np.concatenate([neckline, strap * [-1, 1], strap[::-1]])
    _garment(canvas, outline, cloth, shade)
    stroke(canvas, neckline, 1.4, mix(cloth, (1, 1, 1), 0.4), frame="body", edge=False)


def paint_glasses(canvas: Canvas, face: Face) -> None:
    r = max(0.066, 1.25 * face.eye_w)
    tall = max(0.050, 1.15 * face.eye_h)
    x = max(face.eye_x, r + 0.010)
    frame = (0.06, 0.05, 0.07)
    width = 2.0 * min(face.style.small, 1.25)
    y = face.eye_y + 0.008
    for side in (-1, 1):
        t = np.linspace(0, 2 * np.pi, 33)
        c, s = np.cos(t), np.sin(t)
        rim = np.stack(
            [
                side * x + r * np.sign(c) * np.abs(c) ** 0.6,
                y + tall * np.sign(s) * np.abs(s) ** 0.6,
            ],
            1,
        )
        fill(canvas, face.turned(rim[:-1]), (1, 1, 1), alpha=0.10, line=False, edge=False)
        glare = np.array([[-0.55, -0.35], [-0.2, -0.75]]) * [r, tall] + [side * x, y]
        stroke(canvas, face.turned(glare), 1.2, (1, 1, 1), alpha=0.55, edge=False)
        stroke(canvas, face.turned(rim), width, frame)
        arm = np.array([[side * (x + r), y - 0.01], [side * (face.half_width + 0.005), y - 0.012]])
        stroke(canvas, np.concatenate([face.turned(arm[:1]), arm[1:]]), width, frame)
    stroke(
        canvas,
        face.turned(np.array([[-(x - r), y - 0.012], [0, y - 0.018], [x - r, y - 0.012]])),
        width,
        frame,
    )


def paint_studs(canvas: Canvas, face: Face) -> None:
    """What makes a punk beside the mohawk: dark eyes, an ear ring, a studded collar."""
    y = face.eye_y + 0.035 + face.ear
    for side in (-1, 1):
        stroke(
            canvas,
            ellipse(side * (face.half_width + 0.3 * face.ear), y + 0.012, 0.014, 0.018),
            1.6,
            (0.95, 0.85, 0.35),
        )
    for x in np.linspace(-0.09, 0.09, 5):
        fill(
            canvas,
            ellipse(float(x), 0.372 - 1.6 * float(x) ** 2, 0.011, 0.011),
            (0.92, 0.93, 0.97),
            frame="body",
            line=False,
        )


def paint_folded_hands(canvas: Canvas, face: Face, shade: np.ndarray) -> None:
    for x, y, turn in ((-0.09, 0.462, -0.15), (0.05, 0.452, 0.2)):
        fill(
            canvas,
            ellipse(x, y, 0.135, 0.036, turn),
            scaled(face.skin, 0.93),
            frame="body",
            shade=shade,
        )
