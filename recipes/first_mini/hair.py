"""Paints hair: behind the neck, on the head, on the chin, and the mohawk of a punk."""

from __future__ import annotations

import numpy as np

from .canvas import Canvas, ellipse, fill, smooth, stroke
from .face import HAIR, Face, blob, is_soft, mix, outline_of_head, scaled


def _curls(
    points: np.ndarray, centre: tuple[float, float], amount: float, count: int
) -> np.ndarray:
    """Push an outline in and out into `count` rounded bumps around `centre`."""
    d = points - np.array(centre)
    angle = np.arctan2(d[:, 1], d[:, 0])
    return np.array(centre) + d * (1 + amount * np.abs(np.sin(count * angle / 2)))[:, None]


def paint_back_hair(canvas: Canvas, face: Face, shade: np.ndarray) -> None:
    """Long hair behind the neck and on the shoulders."""
    if face.look.length != "long" or face.look.texture == "bald" or face.look.punk == "yes":
        return
    a, top = face.half_width, face.top
    wide = a + 0.050 + 0.022 * face.volume
    half = np.array(
        [
            [0.0, -top - 0.05],
            [0.6 * wide, -top - 0.02],
            [0.98 * wide, -0.6 * top],
            [1.05 * wide, 0.0],
            [1.10 * wide, 0.22],
            [1.06 * wide, 0.40],
            [0.62 * wide, 0.46],
        ]
    )
    outline = smooth(np.concatenate([half, (half * [-1, 1])[::-1][:-1]]), rounds=4)
    if face.look.texture == "curly":
        outline = _curls(outline, (0, 0.05), 0.075, 22)
    fill(canvas, outline, scaled(face.hair, 0.70), shade=shade)
    _strands(canvas, face, wide)


def _strands(canvas: Canvas, face: Face, wide: float) -> None:
    light = mix(scaled(face.hair, 0.70), (1, 1, 1), 0.14)
    for side in (-1, 1):
        for k in (0.80, 0.95):
            x = side * wide * k
            y = np.linspace(-0.05, 0.40, 16)
            wave = 0.014 * np.sin(y * 46) if face.look.texture == "curly" else 0 * y
            stroke(canvas, np.stack([x + wave, y], 1), 1.4, light, alpha=0.8, soft=0.3, edge=False)


def paint_front_hair(canvas: Canvas, face: Face, shade: np.ndarray) -> None:
    if face.look.punk == "yes":
        _mohawk(canvas, face, shade)
    elif face.look.texture == "bald":
        blob(
            canvas,
            face,
            0.25 * face.shot.light * face.half_width,
            -0.72 * face.top,
            0.07,
            0.035,
            (1, 1, 1),
            0.38,
            2.5,
        )
    else:
        _cap(canvas, face, shade)


def _cap(canvas: Canvas, face: Face, shade: np.ndarray) -> None:
    """The hair on the head: from temple to temple over the crown, down to the hairline."""
    a, top = face.half_width, face.top
    curly, long = face.look.texture == "curly", face.look.length == "long"
    rise = (0.062 if curly else 0.036) * face.volume + 0.010
    side = (0.040 if curly else 0.016) * face.volume + 0.006
    end = 0.02 if not long else 0.10
    t = np.linspace(np.pi, 2 * np.pi, 41)
    outer = np.stack(
        [(a + side) * np.sign(np.cos(t)) * np.abs(np.cos(t)) ** 0.86, (top + rise) * np.sin(t)], 1
    )
    outer = np.concatenate([[[-(a + side * 0.6), end]], outer, [[a + side * 0.6, end]]])
    line = -0.62 * top - 0.035 * face.person.hairline
    if face.look.age == "old" and face.look.who == "man":
        line -= 0.022
    part = 0.34 * face.person.parting * a
    inner = np.array(
        [
            [0.925 * a, end],
            [0.90 * a, -0.30 * top],
            [0.72 * a, line + 0.010],
            [0.40 * a, line - 0.006],
            [part, line - 0.030],
            [-0.40 * a, line - 0.006],
            [-0.72 * a, line + 0.010],
            [-0.90 * a, -0.30 * top],
            [-0.925 * a, end],
        ]
    )
    inner = (
        inner[:4].tolist()
        + [[part + 0.02, line - 0.03], [part - 0.02, line - 0.03]]
        + inner[5:].tolist()
    )
    lower = smooth(np.array(inner), closed=False, rounds=3)
    if curly:
        outer = _curls(smooth(outer, False, 2), (0, 0), 0.095, 18)
        bump = 0.014 * np.abs(np.sin(np.linspace(0, 7 * np.pi, len(lower))))
        lower = lower + np.stack([0 * bump, bump], 1)
    outline = np.concatenate([outer, lower])
    if is_soft(canvas):
        shadow = outline + [0.012 * -np.sign(face.shot.light or 1), 0.020]
        x, y = canvas.grid()
        inside = ((x / a) ** 2 + (y / (top * 1.02)) ** 2 < 1).astype(np.float32)
        del x, y
        _shadow(canvas, shadow, face, inside)
    fill(canvas, outline, face.hair, shade=shade, soft=0.3 if is_soft(canvas) else 0)
    _hair_texture(canvas, face, rise)


def _shadow(canvas: Canvas, outline: np.ndarray, face: Face, inside: np.ndarray) -> None:
    """What the hair takes from the light on the forehead; nothing outside the head."""
    before = canvas.pixels.copy()
    fill(
        canvas,
        outline,
        scaled(face.skin, 0.45),
        alpha=0.40,
        soft=2.0,
        line=False,
        edge=False,
        person=False,
    )
    canvas.pixels[:] = before + inside[..., None] * (canvas.pixels - before)


def _hair_texture(canvas: Canvas, face: Face, rise: float) -> None:
    """Curls, or strands that run from the parting, and the shine on them."""
    a, top, look = face.half_width, face.top, face.look
    light, dark = mix(face.hair, (1, 1, 1), 0.26), scaled(face.hair, 0.55)
    if look.texture == "curly":
        for i, angle in enumerate(np.linspace(np.pi * 1.04, np.pi * 1.96, 9)):
            for ring, k in enumerate((0.84, 1.03)):
                turn = angle + 0.08 * (ring - 0.5) * 2
                x = (a + 0.01) * k * np.cos(turn)
                y = (top + 0.4 * rise) * k * np.sin(turn) * 0.98
                arc = ellipse(float(x), float(y), 0.021, 0.021, 0.9 * i, 14)[:10]
                stroke(
                    canvas,
                    arc,
                    1.5,
                    light if (i + ring) % 2 else dark,
                    alpha=0.75,
                    soft=0.25,
                    edge=False,
                )
        return
    part = 0.34 * face.person.parting * a
    for k in (-0.85, -0.6, -0.35, 0.35, 0.6, 0.85):
        strand = np.array(
            [
                [part, -top - 0.5 * rise],
                [part + 0.6 * k * a, -top * 0.98],
                [k * 1.02 * a, -0.62 * top],
            ]
        )
        stroke(
            canvas,
            smooth(strand, False),
            1.3,
            light if k * (face.shot.light or 1) > 0 else dark,
            alpha=0.55,
            soft=0.4,
            edge=False,
        )
    t = np.linspace(1.25 * np.pi, 1.75 * np.pi, 12)
    shine = np.stack(
        [0.72 * a * np.cos(t) + 0.2 * face.shot.light * a, -0.05 + 0.90 * top * np.sin(t)], 1
    )
    stroke(
        canvas,
        shine,
        2.4,
        mix(face.hair, (1, 1, 1), 0.5),
        alpha=0.35,
        soft=1.0 if is_soft(canvas) else 0.3,
        edge=False,
    )


def _mohawk(canvas: Canvas, face: Face, shade: np.ndarray) -> None:
    a, top = face.half_width, face.top
    t = np.linspace(np.pi * 1.06, np.pi * 1.94, 30)
    shaved = np.stack([(a + 0.004) * np.cos(t), (top + 0.004) * np.sin(t)], 1)
    inner = np.array(
        [
            [0.88 * a, -0.36 * top],
            [0.5 * a, -0.62 * top],
            [0, -0.66 * top],
            [-0.5 * a, -0.62 * top],
            [-0.88 * a, -0.36 * top],
        ]
    )
    stubble = mix(face.skin, HAIR[face.look.hair], 0.5)
    fill(
        canvas,
        np.concatenate([shaved, smooth(inner, False)]),
        stubble,
        shade=shade,
        alpha=0.8,
        line=False,
        edge=False,
        soft=0.5,
    )
    tips = []
    for i, x in enumerate(np.linspace(-0.105, 0.105, 8)):
        height = top + (0.135 if i % 2 else 0.055) * (1 - 8 * x**2) * (
            0.85 + 0.3 * face.volume / 1.45
        )
        tips.append([1.25 * x if i % 2 else x, -height])
    base = [[0.085, -0.60 * top], [0.0, -0.54 * top], [-0.085, -0.60 * top]]
    fill(canvas, np.array(tips + base), face.hair, shade=np.maximum(shade, 0.85))
    for x in (-0.05, 0.0, 0.05):
        spike = np.array([[0.8 * x, -0.66 * top], [1.2 * x, -top - 0.06]])
        stroke(canvas, spike, 1.5, mix(face.hair, (1, 1, 1), 0.45), alpha=0.7, soft=0.3, edge=False)


def paint_beard(canvas: Canvas, face: Face, shade: np.ndarray) -> None:
    if face.look.beard == "none":
        return
    full = face.look.beard == "full"
    outer = outline_of_head(face, grow=0.022 if full else 0.001)
    a, chin = face.half_width, face.chin
    low = outer[(outer[:, 1] > 0.03)]
    low = low[np.argsort(-np.arctan2(low[:, 1], low[:, 0]) % (2 * np.pi))]
    low = low[np.argsort(np.arctan2(low[:, 1], low[:, 0]))]
    if full:
        low[:, 1] += 0.055 * np.clip((low[:, 1] - 0.5 * chin) / (0.5 * chin), 0, 1)
    # Inner border from the left ear over the cheek, above the lip, to the right ear.
    cheek = 0.128 if not full else 0.112
    lip = face.mouth_y - (0.040 if not full else 0.046)
    inner = np.array(
        [
            [-0.90 * a, 0.03],
            [-0.76 * a, cheek],
            [-0.46 * a, cheek + 0.012],
            [-0.030, lip + 0.004],
            [0, lip + 0.010],
            [0.030, lip + 0.004],
            [0.46 * a, cheek + 0.012],
            [0.76 * a, cheek],
            [0.90 * a, 0.03],
        ]
    )
    inner = face.turned(smooth(inner, closed=False, rounds=2))
    outline = np.concatenate([inner, low])
    tone = HAIR[face.look.hair] if face.look.punk == "yes" else face.hair
    tone = mix(tone, face.skin, 0.0 if full else 0.12)
    fill(
        canvas,
        outline,
        scaled(tone, 0.95),
        shade=shade,
        alpha=1.0 if full else 0.80,
        soft=0.55 if is_soft(canvas) else 0.0,
        line=full,
    )
    if full:
        light = mix(tone, (1, 1, 1), 0.16)
        for x in (-0.11, -0.065, -0.02, 0.02, 0.065, 0.11):
            lock = np.array(
                [[x, face.mouth_y + 0.045], [x * 0.95, chin - 0.01], [x * 0.8, chin + 0.045]]
            )
            stroke(canvas, smooth(lock, False), 1.1, light, alpha=0.6, soft=0.3, edge=False)
