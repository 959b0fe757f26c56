"""Places painted out of flat shapes: forest, jungle, beach, city and bubblegum, sharp and clean.

Drawn styles take them as they are; out of focus and lit they pass for photographs.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .canvas import Canvas, Color, hsv, mixed
from .leaves import frond, leaf, leaf_shape, monstera, placed


def _foliage(
    canvas: Canvas, rng: np.random.Generator, box: tuple[float, float, float, float], color: Color
) -> None:
    """A crown of overlapping clumps, lit from above; box: x, y of the middle, width, height."""
    x, y, width, height = box
    for layer, shade in enumerate((-0.30, -0.08, 0.22)):
        tone = mixed(color, (255, 255, 170) if shade > 0 else (0, 30, 40), abs(shade))
        spread = 1 - 0.22 * layer
        for _ in range(16):
            angle, far = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 1)) * spread / 2
            clump = rng.uniform(0.10, 0.2) * min(width, height)
            canvas.disc(
                x + far * width * np.cos(angle),
                y + far * height * np.sin(angle) - layer * 0.10 * height,
                clump,
                tone,
                rng.uniform(0.65, 0.9),
            )


def _trunk(
    canvas: Canvas, rng: np.random.Generator, x: float, width: float, color: Color, foot: float
) -> None:
    """A trunk from above the picture to its foot, lit from one side, with bark and a branch."""
    lean = rng.uniform(-0.03, 0.03)
    y = np.linspace(-0.05, foot, 12)
    t = np.linspace(0, 1, 12)
    middle = x + lean * t + 0.006 * np.sin(6 * t + rng.uniform(0, 6))
    half = width / 2 * (0.8 + 0.2 * t + 0.5 * np.clip(t - 0.9, 0, 1) * 6)
    left, right = np.stack([middle - half, y], 1), np.stack([middle + half, y], 1)
    canvas.fill(np.concatenate([left, right[::-1]]), color)
    inner = np.stack([middle + half * 0.1, y], 1)
    canvas.fill(np.concatenate([inner, right[::-1]]), mixed(color, (10, 10, 25), 0.35))
    if width > 0.03:
        for _ in range(int(width * 160)):
            start, at = rng.uniform(0, 0.9), rng.uniform(-0.8, 0.8)
            bark = np.stack([middle + half * at, y], 1)[int(start * 12) : int(start * 12) + 3]
            canvas.line(bark, mixed(color, (0, 0, 0), 0.45), 0.003)


def forest(canvas: Canvas, rng: np.random.Generator) -> None:
    """Trunks in three depths before a bright haze, crowns above, ferns below."""
    hue = rng.choice([95, 105, 115, 70, 42], p=[0.3, 0.25, 0.2, 0.15, 0.1])
    haze = hsv(hue - 25, rng.uniform(0.12, 0.3), rng.uniform(0.85, 1.0))
    bark = hsv(rng.uniform(18, 34), rng.uniform(0.3, 0.5), rng.uniform(0.28, 0.42))
    green = hsv(hue, rng.uniform(0.45, 0.7), rng.uniform(0.4, 0.62))
    canvas.sky(mixed(green, haze, 0.55), haze, 0, 0.7)
    canvas.sky(mixed(green, haze, 0.4), mixed(green, (40, 30, 0), 0.35), 0.66, 1)
    for depth, (count, width, fade) in enumerate(((14, 0.018, 0.66), (7, 0.04, 0.38))):
        for x in rng.uniform(0, 1, count):
            _trunk(canvas, rng, x, width * rng.uniform(0.7, 1.3), mixed(bark, haze, fade), 0.72)
        for x in np.linspace(0, 1, 6):
            box = (x + rng.uniform(-0.1, 0.1), rng.uniform(-0.02, 0.16 - 0.05 * depth), 0.34, 0.3)
            _foliage(canvas, rng, box, mixed(green, haze, fade * 0.8))
        for x in np.linspace(0, 1, 8):
            box = (x + rng.uniform(-0.06, 0.06), 0.7 + 0.07 * depth, 0.24, 0.12)
            _foliage(canvas, rng, box, mixed(green, haze, fade * 0.7))
    edges = [rng.uniform(-0.02, 0.17), rng.uniform(0.83, 1.02)]
    for x in edges + ([rng.uniform(0.2, 0.3)] if rng.random() < 0.4 else []):
        _trunk(canvas, rng, x, rng.uniform(0.07, 0.13), bark, 0.9)
    for x in np.linspace(-0.05, 1.05, 5):
        _foliage(canvas, rng, (x, rng.uniform(-0.06, 0.04), 0.36, 0.24), green)
    for _ in range(26):
        x, up = rng.uniform(0, 1), rng.uniform(-2.3, -0.8)
        tone = mixed(green, (220, 255, 120), rng.uniform(-0.2, 0.35))
        leaf(canvas, (x, 1.0, up, rng.uniform(0.1, 0.2)), tone, 0.13)


def jungle(canvas: Canvas, rng: np.random.Generator) -> None:
    """A wall of great leaves and fronds in deep greens, gaps of light, vines and flowers."""
    hue = rng.uniform(118, 158)
    deep = hsv(hue, 0.75, 0.16)
    glow = hsv(rng.uniform(65, 110), 0.45, 0.92)
    canvas.sky(mixed(deep, glow, 0.25), deep)
    for _ in range(9):
        gap = mixed(glow, deep, rng.uniform(0, 0.6))
        canvas.disc(rng.uniform(0, 1), rng.uniform(0, 0.5), rng.uniform(0.02, 0.09), gap)
    for layer, light in enumerate((0.10, 0.24, 0.40)):
        for _ in range(11 - 2 * layer):
            tone = mixed(
                deep, hsv(hue - rng.uniform(0, 45), 0.75, 0.85), light + rng.normal(0, 0.05)
            )
            x = rng.uniform(-0.05, 1.05)
            if layer == 2 and 0.25 < x < 0.75:
                x = x / 2 if rng.random() < 0.5 else 0.5 + x / 2
            y, heading = rng.uniform(-0.05, 0.85), rng.uniform(-np.pi, np.pi)
            kind = rng.choice(3, p=[0.4, 0.3, 0.3])
            paint: Callable[..., None] = (leaf, frond, monstera)[kind]
            paint(canvas, (x, y, heading, rng.uniform(0.26, 0.42) * (0.8 + 0.2 * layer)), tone)
        for x in rng.uniform(0, 1, 2):
            t = np.linspace(0, 1, 24)
            vine = np.stack([x + 0.025 * np.sin(7 * t + 6 * x), t * rng.uniform(0.4, 0.9)], 1)
            canvas.line(vine, mixed(deep, (120, 110, 50), 0.3 + light), 0.008)
    for corner, heading in ((-0.03, 0.45), (1.03, np.pi - 0.45)):
        bright = hsv(hue - rng.uniform(20, 45), 0.78, rng.uniform(0.55, 0.72))
        for turn in (-0.75, 0.1, 0.9):
            place = (corner, rng.uniform(-0.02, 0.25), heading + turn * np.sign(0.5 - corner), 0.42)
            frond(canvas, place, mixed(bright, deep, rng.uniform(0, 0.35)))
        low = (
            corner,
            rng.uniform(0.6, 0.85),
            -heading * 1.2 if corner < 0 else heading + 1.2,
            0.36,
        )
        monstera(canvas, low, mixed(bright, deep, rng.uniform(0, 0.2)))
    flower = hsv(rng.choice([2, 18, 48, 330]), 0.85, 0.95)
    for _ in range(rng.integers(2, 6)):
        x = rng.uniform(0.02, 0.3)
        x, y = (x if rng.random() < 0.5 else 1 - x), rng.uniform(0.1, 0.8)
        for turn in np.linspace(0, 2 * np.pi, 6)[:-1]:
            canvas.fill(placed(leaf_shape(0.3), x, y, turn, 0.035), flower)
        canvas.disc(x, y, 0.009, (250, 225, 120))


def _palm(canvas: Canvas, rng: np.random.Generator, x: float, top: float) -> None:
    """A palm tree leaning towards the middle, its crown at height `top`."""
    side = 1 if x < 0.5 else -1
    t = np.linspace(0, 1, 14)
    middle = np.stack([x - side * (0.10 - 0.14 * t**1.6), 0.85 + (top - 0.85) * t], 1)
    half = np.stack([0.018 - 0.008 * t, 0 * t], 1)
    bark = hsv(30, 0.38, rng.uniform(0.42, 0.58))
    canvas.fill(np.concatenate([middle - half, (middle + half)[::-1]]), bark)
    canvas.fill(np.concatenate([middle, (middle + half)[::-1]]), mixed(bark, (30, 10, 30), 0.35))
    green = hsv(rng.uniform(95, 135), 0.62, rng.uniform(0.4, 0.58))
    crown = middle[-1]
    for angle in (-2.8, -0.35, -2.2, -0.9, -1.6, 2.95, 0.2):
        turn, length = angle + rng.normal(0, 0.12), rng.uniform(0.22, 0.31)
        frond(canvas, (*crown, turn, length), mixed(green, (0, 30, 30), rng.uniform(0, 0.35)))


def clouds(
    canvas: Canvas, rng: np.random.Generator, horizon: float, light: Color, shade: Color
) -> None:
    """Heaped clouds with flat, shaded feet."""
    for _ in range(rng.integers(2, 5)):
        x, y, width = rng.uniform(0, 1), rng.uniform(0.06, horizon * 0.85), rng.uniform(0.14, 0.3)
        puffs = [(rng.uniform(-0.5, 0.5), rng.uniform(0.14, 0.24)) for _ in range(9)]
        for drop, tone in ((0.02, shade), (0.0, light)):
            for far, size in puffs:
                radius = width * size * (1.25 - abs(far) * 1.3)
                canvas.disc(x + far * width, y + drop - radius * 0.35, radius, tone, 0.72)


def beach(canvas: Canvas, rng: np.random.Generator) -> None:
    """Sky, sea in bands, foam, sand, and mostly a palm; by day or at sunset."""
    horizon = rng.uniform(0.42, 0.58)
    top, low, sea, sand, sunset = _beach_colors(rng)
    canvas.sky(top, low, 0, horizon)
    if sunset or rng.random() < 0.3:
        x, y = rng.uniform(0.06, 0.25), horizon - rng.uniform(0.08, 0.2)
        x = x if rng.random() < 0.5 else 1 - x
        canvas.disc(x, y, 0.055, mixed(low, (255, 250, 220), 0.4))
        canvas.disc(x, y, 0.038, (255, 250, 225))
    clouds(canvas, rng, horizon, mixed(low, (255, 255, 255), 0.75), mixed(top, low, 0.55))
    if rng.random() < 0.5:
        along = np.linspace(-0.1, 1.1, 24)
        hills = horizon - 0.045 * np.clip(np.sin(3.2 * along + rng.uniform(0, 6)), 0, 1)
        ridge = np.concatenate([np.stack([along, hills], 1), [[1.1, horizon], [-0.1, horizon]]])
        canvas.fill(ridge, mixed(mixed(sea, (60, 90, 70), 0.5), low, 0.35))
    _sea_and_sand(canvas, rng, horizon, sea, sand)
    if rng.random() < 0.8:
        _palm(canvas, rng, rng.choice([0.10, 0.90]) + rng.normal(0, 0.03), rng.uniform(0.1, 0.24))
    elif rng.random() < 0.7:
        _parasol(canvas, rng, rng.choice([0.14, 0.86]), horizon)


def _beach_colors(rng: np.random.Generator) -> tuple[Color, Color, Color, Color, bool]:
    """Colours of the sky above and at the horizon, of sea and sand; whether the sun sets."""
    if rng.random() < 0.28:
        top, low = hsv(rng.uniform(210, 290), 0.45, 0.6), hsv(rng.uniform(18, 38), 0.55, 1.0)
        return top, low, hsv(rng.uniform(215, 260), 0.42, 0.55), hsv(26, 0.42, 0.72), True
    blue = rng.uniform(196, 214)
    top, low = hsv(blue, rng.uniform(0.5, 0.75), 0.92), hsv(blue - 10, 0.16, 1.0)
    sea, sand = hsv(rng.uniform(178, 198), 0.72, 0.72), hsv(rng.uniform(36, 44), 0.3, 0.93)
    return top, low, sea, sand, False


def _sea_and_sand(
    canvas: Canvas, rng: np.random.Generator, horizon: float, sea: Color, sand: Color
) -> None:
    """Water in bands with glitter, a line of foam, wet and dry sand."""
    shore = horizon + rng.uniform(0.14, 0.22)
    shallow = mixed(sea, (190, 255, 235), 0.4)
    canvas.sky(mixed(sea, (10, 40, 110), 0.45), shallow, horizon, shore)
    for _ in range(40):
        y = horizon + (shore - horizon) * rng.uniform(0.03, 1) ** 1.3
        x, width = rng.uniform(0, 1), rng.uniform(0.02, 0.1)
        canvas.disc(x, y, width, mixed(sea, (255, 255, 255), rng.uniform(0.25, 0.75)), 0.04)
    canvas.sky(mixed(sand, (120, 90, 60), 0.25), sand, shore, 1)
    along = np.linspace(-0.05, 1.05, 40)
    edge = shore + 0.018 * np.sin(7 * along + rng.uniform(0, 6)) + 0.008 * np.sin(19 * along)
    wet = mixed(sand, (90, 70, 60), 0.3)
    for drop, tone in ((0.035, wet), (0.012, (255, 255, 255)), (-0.012, shallow)):
        above = [[1.05, shore - 0.03], [-0.05, shore - 0.03]]
        canvas.fill(np.concatenate([np.stack([along, edge + drop], 1), above]), tone)
    for _ in range(60):
        tone = mixed(sand, (90, 60, 40), rng.uniform(0.05, 0.25))
        x, y = rng.uniform(0, 1), rng.uniform(shore + 0.06, 1)
        canvas.disc(x, y, rng.uniform(0.01, 0.05), tone, 0.16)


def _parasol(canvas: Canvas, rng: np.random.Generator, x: float, y: float) -> None:
    """A striped parasol on the sand."""
    hue = rng.choice([2, 45, 200, 330])
    pole = np.array([[x, y - 0.08], [x + 0.012, y + 0.36]])
    canvas.line(pole, (235, 230, 220), 0.01)
    for i in range(6):
        angles = np.linspace(np.pi + i * np.pi / 6, np.pi + (i + 1) * np.pi / 6, 6)
        rim = np.stack([x + 0.17 * np.cos(angles), y + 0.13 * np.sin(angles)], 1)
        tone = hsv(hue, 0.8, 0.9) if i % 2 == 0 else (250, 246, 238)
        canvas.fill(np.concatenate([rim, [[x, y - 0.13]]]), tone)


def _facade(
    canvas: Canvas,
    rng: np.random.Generator,
    box: tuple[float, float, float, float],
    wall: Color,
    glass: tuple[Color, Color, float],
) -> None:
    """A building's front; box: left, top, right, bottom; glass: two colours, share of the first."""
    left, top, right, bottom = box
    canvas.fill(np.array([[left, top], [right, top], [right, bottom], [left, bottom]]), wall)
    columns = max(2, round((right - left) / 0.035))
    rows = max(3, round((bottom - top) / rng.uniform(0.045, 0.06)))
    ribbon = rng.random() < 0.3  # one band of glass a floor
    cell = (right - left) / columns
    for row in range(rows):
        y = top + (bottom - top) * (row + 0.3) / rows
        height = (bottom - top) / rows * 0.5
        for column in range(columns):
            x = left + cell * (column + (0 if ribbon else 0.22))
            wide = cell * (1 if ribbon else 0.56)
            tone = glass[0] if rng.random() < glass[2] else glass[1]
            pane = [[x, y], [x + wide, y], [x + wide, y + height], [x, y + height]]
            canvas.fill(np.array(pane), tone)
    side = right - cell * 0.3
    edge = np.array([[side, top], [right, top], [right, bottom], [side, bottom]])
    canvas.fill(edge, mixed(wall, (0, 0, 20), 0.35))


def city(canvas: Canvas, rng: np.random.Generator) -> None:
    """Skyline, towers and street fronts with windows; by day, at dusk or at night."""
    hour = int(rng.choice(3, p=[0.45, 0.3, 0.25]))  # day, dusk, night
    top, low, glass = _city_colors(rng, hour)
    canvas.sky(top, low, 0, 0.85)
    if hour == 0:
        clouds(canvas, rng, 0.4, (255, 255, 255), mixed(top, low, 0.7))
    for depth, (fade, rise) in enumerate(((0.62, 0.26), (0.36, 0.18))):
        x = -0.05
        while x < 1.05:
            width = rng.uniform(0.08, 0.15)
            away = 1 - abs(x + width / 2 - 0.5) * 2  # lower in the middle, where the head is
            roof = rng.uniform(0.05, 0.22) + rise * away + 0.08 * (1 - depth)
            hue, grey = rng.choice([18, 30, 205, 220]), rng.uniform(0.08, 0.35)
            wall = mixed(hsv(hue, grey, (0.75, 0.5, 0.24)[hour]), low, fade)
            panes = (mixed(glass[0], wall, fade * 0.5), mixed(glass[1], wall, fade), glass[2])
            _facade(canvas, rng, (x, roof, x + width * 0.97, 0.9), wall, panes)
            if rng.random() < 0.3:
                mast = np.array([[x + width / 2, roof], [x + width / 2, roof - 0.06]])
                canvas.line(mast, wall, 0.005)
            x += width
    for left in (True, False):
        width = rng.uniform(0.16, 0.24)
        hue, bright = rng.choice([8, 16, 28, 210]), (0.68, 0.45, 0.2)[hour]
        span = (-0.02, width) if left else (1 - width, 1.02)
        box = (span[0], rng.uniform(-0.1, 0.12), span[1], 0.95)
        _facade(canvas, rng, box, hsv(hue, rng.uniform(0.2, 0.55), bright), glass)
    ground = mixed(hsv(220, 0.08, (0.62, 0.36, 0.14)[hour]), low, 0.12)
    canvas.sky(ground, mixed(ground, (0, 0, 0), 0.25), 0.82, 1)
    if hour:
        _street_lights(canvas, rng)


def _city_colors(
    rng: np.random.Generator, hour: int
) -> tuple[Color, Color, tuple[Color, Color, float]]:
    """Colours of the sky above and below; of lit and dark glass, with the share of the lit."""
    if hour == 0:
        top, low = hsv(rng.uniform(200, 220), rng.uniform(0.2, 0.55), 0.9), hsv(205, 0.08, 0.98)
        return top, low, (hsv(205, 0.35, 0.88), hsv(212, 0.45, 0.42), 0.4)
    if hour == 1:
        top, low = hsv(rng.uniform(225, 280), 0.5, 0.52), hsv(rng.uniform(8, 32), 0.55, 0.98)
        return top, low, (hsv(44, 0.45, 1.0), hsv(235, 0.4, 0.3), 0.4)
    top, low = hsv(rng.uniform(220, 250), 0.65, 0.12), hsv(rng.uniform(225, 285), 0.5, 0.34)
    return top, low, (hsv(44, 0.5, 1.0), hsv(230, 0.5, 0.16), 0.42)


def _street_lights(canvas: Canvas, rng: np.random.Generator) -> None:
    """Lamps, shop fronts, head and tail lights."""
    for _ in range(26):
        hue = rng.choice([42, 36, 2, 190, 320], p=[0.45, 0.2, 0.2, 0.1, 0.05])
        y = 0.5 + 0.36 * rng.uniform(0, 1) ** 0.7
        tone = hsv(hue, rng.uniform(0.25, 0.75), 1.0)
        canvas.disc(rng.uniform(0, 1), y, rng.uniform(0.006, 0.013), tone)


def _bubble(canvas: Canvas, x: float, y: float, radius: float, color: Color, solid: bool) -> None:
    """A glossy ball of gum, or a soap bubble through which one sees."""
    size = canvas.size_px
    low = np.floor(np.array([x - radius, y - radius]) * size).astype(int).clip(0, size)
    high = np.ceil(np.array([x + radius, y + radius]) * size).astype(int).clip(0, size)
    if (high - low).min() <= 0:
        return
    column, row = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
    u, v = ((column + 0.5) / size - x) / radius, ((row + 0.5) / size - y) / radius
    far = np.hypot(u, v)
    cover = np.clip((1 - far) * radius * size, 0, 1)
    depth = np.sqrt(np.clip(1 - far**2, 0, 1))
    light = np.clip(-0.45 * u - 0.62 * v + 0.64 * depth, 0, 1)
    tone = np.array(color) * (0.62 + 0.45 * light)[..., None]
    tone += 70 * (np.clip(far - 0.72, 0, 1) / 0.28 * np.clip(v + 0.4, 0, 1))[..., None]
    gloss = np.clip(1.6 - np.hypot((u + 0.36) * 1.0, (v + 0.42) * 1.5) / 0.16, 0, 1)
    glint = np.clip(1.6 - np.hypot(u - 0.42, v - 0.5) / 0.09, 0, 1) * 0.6
    tone += (255 - tone) * np.maximum(gloss, glint)[..., None]
    if not solid:
        cover = cover * np.clip(0.22 + 0.75 * far**4 + gloss + glint, 0, 1)
    patch = canvas.pixels[low[1] : high[1], low[0] : high[0]]
    mix = cover[..., None]
    patch[:] = np.clip(patch * (1 - mix) + tone * mix, 0, 255).astype(np.uint8)


def bubblegum(canvas: Canvas, rng: np.random.Generator) -> None:
    """A pink wall, balls of gum and soap bubbles."""
    hue = rng.uniform(322, 344)
    canvas.sky(hsv(hue, rng.uniform(0.28, 0.42), 1.0), hsv(hue - 6, rng.uniform(0.42, 0.6), 0.97))
    if rng.random() < 0.35:
        for i in range(-3, 9):
            stripe = np.array([[i * 0.2, -0.1], [i * 0.2 + 0.1, -0.1], [i * 0.2 - 0.25, 1.1]])
            stripe = np.concatenate([stripe, [[i * 0.2 - 0.35, 1.1]]])
            canvas.fill(stripe, hsv(hue, 0.22, 1.0))
    tints = [hue, hue, hue - 14, hue + 14, 290, 190]
    for i in range(rng.integers(24, 38)):
        radius = rng.uniform(0.02, 0.075) + 0.07 * (rng.random() < 0.25)
        tint = rng.choice(tints, p=[0.3, 0.3, 0.14, 0.14, 0.06, 0.06])
        color = hsv(tint, rng.uniform(0.3, 0.62), 1)
        _bubble(canvas, rng.uniform(0, 1), rng.uniform(0, 1), radius, color, i % 3 > 0)


PAINTERS: dict[str, Callable[[Canvas, np.random.Generator], None]] = {
    "forest": forest,
    "jungle": jungle,
    "beach": beach,
    "city": city,
    "bubblegum": bubblegum,
}
