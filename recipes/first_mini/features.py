"""Paints the person, from back to front: the features of the face here, the rest beside."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas, Colour, ellipse, fill, smooth, stroke
from .clothes import paint_clothes, paint_folded_hands, paint_glasses, paint_studs
from .face import HAIR, IRIS, Face, between, blob, is_soft, light_on, mix, outline_of_head, scaled
from .hair import paint_back_hair, paint_beard, paint_front_hair


def paint_person(canvas: Canvas, face: Face) -> None:
    """Paint the person over the background, from back to front."""
    shade = light_on(canvas, face, face.half_width, face.chin)
    body_shade = light_on(canvas, face, 0.5, 0.9, "body")
    hair_shade = light_on(canvas, face, face.half_width * 1.25, face.top * 1.15)
    paint_back_hair(canvas, face, hair_shade)
    paint_clothes(canvas, face, body_shade)
    _ears(canvas, face, shade)
    fill(canvas, outline_of_head(face), face.skin, shade=shade)
    _form_of_the_face(canvas, face)
    paint_beard(canvas, face, shade)
    _mouth(canvas, face)
    _nose(canvas, face)
    for side in (-1, 1):
        _eye(canvas, face, side)
        _brow(canvas, face, side)
    _marks(canvas, face)
    paint_front_hair(canvas, face, hair_shade)
    if face.look.glasses == "yes":
        paint_glasses(canvas, face)
    if face.look.punk == "yes":
        paint_studs(canvas, face)
    if face.look.mona_lisa == "yes":
        paint_folded_hands(canvas, face, body_shade)


def _form_of_the_face(canvas: Canvas, face: Face) -> None:
    """Cheeks, sockets and the shadow of the hair: what makes a face round."""
    dark, red = scaled(face.skin, 0.55), mix(face.skin, (0.86, 0.25, 0.22), 0.55)
    blush = 0.30 if face.look.who in ("woman", "girl", "boy") else 0.18
    if not is_soft(canvas):
        blush *= 0.6
    for side in (-1, 1):
        blob(canvas, face, side * 0.60 * face.half_width, 0.085, 0.05, 0.035, red, blush, 3.0)
    if is_soft(canvas):
        for side in (-1, 1):
            blob(canvas, face, side * face.eye_x, face.eye_y - 0.012, 0.062, 0.038, dark, 0.38, 2.5)
        blob(canvas, face, 0, face.mouth_y + 0.042, 0.04, 0.010, dark, 0.32, 1.5)
        blob(
            canvas,
            face,
            0.3 * face.shot.light * face.half_width,
            -0.15,
            0.09,
            0.05,
            (1, 1, 1),
            0.13,
            5.0,
        )
    if face.look.jawline == "yes":
        # A strong jaw throws a shadow of its own along its edge.
        rim = outline_of_head(face, grow=-0.010)
        for side in (-1, 1):
            line = rim[(rim[:, 0] * side > 0) & (rim[:, 1] > 0.04) & (rim[:, 1] < 0.90 * face.chin)]
            line = line[np.argsort(line[:, 1])]
            stroke(
                canvas,
                line,
                3.2 * face.style.small,
                scaled(face.skin, 0.42),
                alpha=0.9,
                soft=0.6,
                edge=False,
            )
        stroke(
            canvas,
            face.turned(np.array([[0, face.chin - 0.042], [0, face.chin - 0.006]])),
            2.2 * face.style.small,
            dark,
            alpha=0.9,
            soft=0.5,
            edge=False,
        )


def _eye(canvas: Canvas, face: Face, side: int) -> None:
    w, h = face.eye_w, face.eye_h
    slant = 0.16 * face.person.eye_slant
    x0, y0 = side * face.eye_x, face.eye_y
    t = np.linspace(-1, 1, 9)
    lid = np.stack([w * t, -h * 1.05 * (1 - t**2) ** 0.75 - slant * w * t * side], 1)
    low = np.stack([w * t, h * 0.85 * (1 - t**2) ** 0.9 - slant * w * t * side], 1)
    at = np.array([x0, y0], np.float32)
    almond = face.turned(np.concatenate([lid, low[::-1][1:-1]]) + at)
    white = (0.97, 0.96, 0.95) if not is_soft(canvas) else (0.92, 0.90, 0.89)
    fill(canvas, almond, white, line=False)
    iris = between(IRIS, face.person.eye_color)
    r = (0.56 * w if face.style.eye_tall > 1.6 else min(0.58 * w, 1.02 * h)) * face.style.iris
    gaze = 0.12 * w * face.shot.yaw
    tall = max(1.0, 0.82 * h / r) if face.style.iris >= 1 else 1.0
    disc = ellipse(x0 + gaze, y0 - 0.04 * h, r, r * tall)
    disc[:, 1] = np.clip(disc[:, 1], y0 - h, y0 + 0.92 * h)
    fill(canvas, face.turned(disc), scaled(iris, 0.95), line=False, edge=False)
    fill(
        canvas,
        face.turned(ellipse(x0 + gaze, y0 - 0.02 * h, 0.5 * r, 0.5 * r * tall)),
        (0.03, 0.02, 0.03),
        line=False,
        edge=False,
    )
    glint = 0.34 * r
    fill(
        canvas,
        face.turned(ellipse(x0 + gaze - 0.38 * r, y0 - 0.42 * r * tall, glint, glint)),
        (1, 1, 1),
        line=False,
        edge=False,
    )
    lash = (0.07, 0.05, 0.05)
    heavy = 1.9 if face.look.who in ("woman", "girl") else 1.35
    if face.style.eye_tall > 1.3:
        heavy *= 1.25
    stroke(canvas, face.turned(lid + at), heavy, lash)
    if face.look.who in ("woman", "girl"):
        wing = np.array([[0.9, -0.15], [1.32, -0.75]]) * [w * side, h] + at
        stroke(canvas, face.turned(wing), 1.5, lash, edge=False)
    stroke(canvas, face.turned(low + at), 0.7, scaled(face.skin, 0.45), alpha=0.8)
    if is_soft(canvas):
        crease = lid * [1.05, 1.0] + at - [0, 0.5 * h + 0.006]
        stroke(
            canvas,
            face.turned(crease),
            0.8,
            scaled(face.skin, 0.5),
            alpha=0.6,
            soft=0.4,
            edge=False,
        )


def _brow(canvas: Canvas, face: Face, side: int) -> None:
    p = face.person
    y = face.eye_y - 1.1 * face.eye_h - 0.030 * (1 + 0.35 * p.brow_height)
    raise_ = 0.010 if face.look.expression == "smiling" else 0.0
    frown = 0.034 if face.look.expression == "serious" else 0.0
    arch = 0.012 * (1 + 0.8 * p.brow_arch)
    t = np.linspace(0, 1, 7)
    x = side * (face.eye_x - 1.05 * face.eye_w + 2.2 * face.eye_w * t)
    mid = y - raise_ - arch * np.sin(np.pi * (0.15 + 0.75 * t)) + frown * (1 - t) ** 1.5 + 0.006 * t
    thick = (
        0.0115 * (1 + 0.45 * p.brow_thickness) * (0.7 if face.look.who in ("woman", "girl") else 1)
    )
    half = thick * (1 - 0.55 * t)
    outline = np.concatenate([np.stack([x, mid - half], 1), np.stack([x, mid + half], 1)[::-1]])
    tone = scaled(HAIR[face.look.hair], 0.72)
    if face.look.hair == "gray":
        tone = (0.52, 0.52, 0.54)
    fill(
        canvas,
        face.turned(outline),
        tone,
        alpha=0.95,
        soft=0.25 if is_soft(canvas) else 0,
        line=False,
    )


def _nose(canvas: Canvas, face: Face) -> None:
    p, s = face.person, face.style.nose
    w = (
        0.030
        * (1 + 0.25 * p.nose_width)
        * s
        * (0.85 if face.look.who in ("boy", "girl", "woman") else 1)
    )
    y = face.nose_y
    dark = scaled(face.skin, 0.50)
    if is_soft(canvas):
        away = -1 if face.shot.light >= 0 else 1
        ridge = np.array(
            [[away * 0.016, face.eye_y + 0.005], [away * 0.016, 0.4 * y], [away * w * 0.85, y]]
        )
        stroke(
            canvas,
            face.turned(smooth(ridge, False), 1.15),
            2.6,
            dark,
            alpha=0.32,
            soft=1.3,
            edge=False,
        )
        blob(canvas, face, 0, y - 0.012, 0.40 * w, 0.014, (1, 0.97, 0.93), 0.34, 1.0)
        blob(canvas, face, 0, y + 0.014, 1.15 * w, 0.007, dark, 0.5, 0.9)
    under = np.array(
        [
            [-w, y - 0.012],
            [-w * 0.9, y + 0.006],
            [-0.35 * w, y + 0.008],
            [0, y + 0.014],
            [0.35 * w, y + 0.008],
            [w * 0.9, y + 0.006],
            [w, y - 0.012],
        ]
    )
    heavy = 1.0 if is_soft(canvas) else 1.25
    stroke(
        canvas,
        face.turned(smooth(under, False), 1.15),
        heavy,
        scaled(face.skin, 0.42),
        alpha=0.85,
        soft=0.25 if is_soft(canvas) else 0,
    )
    if s >= 0.8:
        for side in (-1, 1):
            fill(
                canvas,
                face.turned(ellipse(side * 0.48 * w, y + 0.006, 0.26 * w, 0.0055), 1.15),
                scaled(face.skin, 0.28),
                line=False,
                edge=False,
                alpha=0.9,
            )


def _mouth(canvas: Canvas, face: Face) -> None:
    p, w, y = face.person, face.mouth_w, face.mouth_y
    full = 1 + 0.40 * p.lip_fullness
    female = face.look.who in ("woman", "girl")
    lip = mix(face.skin, (0.72, 0.16, 0.20), 0.62 if female else 0.38)
    lip = scaled(lip, 0.92)
    t = np.linspace(-1, 1, 11)
    dark = scaled(mix(face.skin, (0.45, 0.08, 0.08), 0.6), 0.5)
    bow = 1 - t**2
    if face.look.expression == "smiling":
        w *= 1.22
        curve = 0.030 * t**2
        top = np.stack(
            [w * t, y - 0.012 - curve - 0.010 * full * bow + 0.004 * np.exp(-((t / 0.2) ** 2))], 1
        )
        inner = np.stack([w * 0.94 * t, y - 0.004 - curve], 1)
        gap = np.stack([w * 0.94 * t, y - 0.004 - curve + 0.036 * bow**0.8], 1)
        bottom = np.stack([w * t, y - 0.012 - curve + (0.043 + 0.014 * full) * bow**0.8], 1)
        fill(canvas, face.turned(np.concatenate([top, bottom[::-1]])), lip, line=False)
        fill(
            canvas,
            face.turned(np.concatenate([inner, gap[::-1]])),
            (0.98, 0.97, 0.95),
            line=False,
            edge=False,
        )
        stroke(canvas, face.turned(inner), 0.9, dark, edge=False)
        corner = 1.0
    else:
        sag = -0.028 if face.look.expression == "serious" else 0.004
        curve = sag * t**2
        notch = 0.006 * full * np.exp(-((t / 0.22) ** 2))
        thin = 0.72 if face.look.expression == "serious" else 1.0
        top = np.stack([w * t, y - curve - 0.019 * full * thin * bow**0.8 + notch], 1)
        bottom = np.stack([w * t, y - curve + 0.023 * full * thin * bow**0.8], 1)
        fill(
            canvas,
            face.turned(np.concatenate([top, bottom[::-1]])),
            lip,
            line=False,
            soft=0.2 if is_soft(canvas) else 0,
        )
        stroke(canvas, face.turned(np.stack([w * 1.04 * t, y - curve], 1)), 1.15, dark)
        corner = 0.0
    if canvas.ink.line_px:
        stroke(canvas, face.turned(top), 0.8, dark, edge=False)
        stroke(canvas, face.turned(bottom[2:-2]), 0.8, dark, alpha=0.8, edge=False)
    if corner:
        for side in (-1, 1):
            fold = np.array([[0.50, -0.085], [0.98, -0.045], [1.22, 0.0]]) * [side * w, 1] + [0, y]
            stroke(
                canvas,
                face.turned(smooth(fold, False)),
                0.9,
                scaled(face.skin, 0.6),
                alpha=0.55,
                soft=0.5,
                edge=False,
            )


def _marks(canvas: Canvas, face: Face) -> None:
    """Dimples, a pimple, and what age and mood leave in a face."""
    k, look = face.style.small, face.look
    dark = scaled(face.skin, 0.42)
    if look.dimples == "yes":
        for side in (-1, 1):
            x, y = side * (0.070 + 0.046), face.mouth_y - 0.030
            bend = np.array([[-0.008, -0.020], [0.007, -0.010], [0.007, 0.010], [-0.008, 0.020]])
            arc = bend * [side, 1] + [x, y]
            blob(canvas, face, x - side * 0.004, y, 0.009 * k, 0.015 * k, dark, 0.25, 1.0)
            stroke(canvas, face.turned(smooth(arc, False)), 1.7 * k, dark, alpha=0.9)
    if look.pimple == "yes":
        _pimple(canvas, face, dark)
    _age(canvas, face, dark)
    if look.expression == "serious":
        for side in (-1, 1):
            furrow = np.array([[0.011, -0.030], [0.014, -0.072]]) * [side, 1] + [0, face.eye_y]
            stroke(canvas, face.turned(furrow), 1.4 * k, dark, alpha=0.8, soft=0.2, edge=False)
    if look.who in ("boy", "girl"):
        freckle = scaled(face.skin, 0.55)
        for x, y in ((0.040, 0.058), (0.062, 0.066), (0.052, 0.080), (0.078, 0.079)):
            for side in (-1, 1):
                dot = ellipse(side * x, y, 0.0052 * k, 0.0052 * k)
                fill(canvas, face.turned(dot), freckle, alpha=0.75, line=False, edge=False)


def _pimple(canvas: Canvas, face: Face, dark: Colour) -> None:
    """Below the glasses and above a trimmed beard; its rim shows on dark skin and in graphite."""
    x, y = 0.112, 0.090
    r = 0.0225 * min(face.style.small, 1.3)
    blob(canvas, face, x, y, 1.5 * r, 1.5 * r, mix(face.skin, (0.9, 0.1, 0.1), 0.6), 0.7, 0.8)
    fill(canvas, face.turned(ellipse(x, y, 1.2 * r, 1.2 * r)), dark, line=False)
    fill(canvas, face.turned(ellipse(x, y, r, r)), (0.86, 0.10, 0.12), line=False)
    fill(
        canvas,
        face.turned(ellipse(x - 0.3 * r, y - 0.3 * r, 0.38 * r, 0.38 * r)),
        (1.0, 0.80, 0.74),
        line=False,
        edge=False,
    )


def _age(canvas: Canvas, face: Face, dark: Colour) -> None:
    """The lines of the old, the red cheeks of the young."""
    look, width = face.look, 1.25 * face.style.small
    if look.age == "old":
        lines = [
            np.array([[-0.085, -0.125], [0, -0.132], [0.085, -0.125]]),
            np.array([[-0.075, -0.100], [0, -0.106], [0.075, -0.100]]),
        ]
        for side in (-1, 1):
            lines.append(
                np.array([[side * 0.045, 0.088], [side * 0.078, 0.122], [side * 0.088, 0.160]])
            )
            bag = np.array([[-0.9, 1.3], [0, 2.1], [0.9, 1.4]]) * [face.eye_w, 0.021]
            lines.append(bag + [side * face.eye_x, face.eye_y])
        for line in lines:
            stroke(canvas, face.turned(smooth(line, False)), width, dark, alpha=0.72, soft=0.3)
    if look.age == "young" and look.who in ("man", "woman"):
        red = mix(face.skin, (0.97, 0.22, 0.24), 0.72)
        for side in (-1, 1):
            blob(canvas, face, side * 0.62 * face.half_width, 0.088, 0.044, 0.030, red, 0.8, 2.0)


def _ears(canvas: Canvas, face: Face, shade: np.ndarray) -> None:
    for side in (-1, 1):
        size = face.ear * (1 - 0.30 * side * face.shot.yaw)
        x = side * (face.half_width + 0.22 * size)
        y = face.eye_y + 0.035
        fill(
            canvas,
            ellipse(x, y, 0.55 * size, 1.12 * size, 0.18 * side),
            scaled(face.skin, 0.93),
            shade=np.maximum(shade, 0.72),
        )
        inner = ellipse(x + 0.06 * size * side, y, 0.28 * size, 0.66 * size, 0.18 * side)
        fill(canvas, inner, scaled(face.skin, 0.66), alpha=0.65, soft=0.3, line=False, edge=False)
