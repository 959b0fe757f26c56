"""Clothes: which garment a person wears, and its paint on the body's texture."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from .cuts import Cut, cut, noise, wearers
from .heads import TEXTURE_PX
from .words import Look


@dataclass(frozen=True)
class Garment:
    """What is worn: a cut, how it ends at the neck, and its colours."""

    kind: str  # of `cuts.DONORS`
    sex: str
    neck: str  # of NECKS
    colors: tuple[tuple[float, float, float], ...]  # sRGB 0..255: main, second, third
    pattern: str = "plain"
    fleece: bool = False
    sleeves: str = "short"  # none, short, long
    ring: str = ""  # rib, band, hood: what is sewn to the neckline
    stethoscope: bool = False


# Where a garment ends on a body whose arms are stretched out; metres, the head's joint at 0:
# depth in front, half of the width, the shape's exponent (1 is a V), height at sides and back.
NECKS = {
    "crew": (-0.140, 0.074, 2.2, -0.092, -0.088),
    "wide crew": (-0.150, 0.084, 2.2, -0.095, -0.092),
    "vee": (-0.185, 0.076, 1.1, -0.092, -0.088),
    "scarf": (-0.175, 0.090, 2.0, -0.095, -0.090),
    "hood": (-0.158, 0.084, 1.3, -0.094, -0.092),
    "scoop": (-0.152, 0.108, 2.4, -0.092, -0.110),
    "square": (-0.150, 0.110, 6.0, -0.092, -0.120),
    "deep vee": (-0.182, 0.110, 1.15, -0.092, -0.110),
    "gathered": (-0.205, 0.122, 3.2, -0.092, -0.130),
    "straps": (-0.152, 9.0, 2.0, -0.152, -0.200),
}
NEUTRALS = ((242, 241, 238), (34, 34, 37), (128, 130, 134), (176, 178, 180), (36, 44, 66))
SUITS = (
    *((38, 42, 54), (30, 30, 33), (62, 66, 74), (44, 58, 92), (84, 68, 56), (104, 108, 114)),
    *((52, 40, 44), (36, 58, 56), (128, 112, 90)),
)
BLAZERS = (*SUITS, (120, 36, 48), (34, 88, 92), (160, 138, 108), (88, 62, 110))
SHIRTS = ((238, 240, 244), (238, 240, 244), (196, 212, 234), (236, 214, 220), (214, 226, 214))
SCRUBS = ((78, 118, 178), (60, 138, 140), (92, 96, 150), (120, 60, 84), (54, 60, 74))
# How uniforms are dyed: factors of red, green, blue and of the contrast.
CAMOUFLAGE = ((1, 1, 1, 1.0), (0.78, 0.92, 0.60, 1.35), (1.30, 1.12, 0.86, 1.0))


def garment(seed: int, look: Look, sex: str, wear: int = 0) -> Garment:
    """Choose what is worn: follows from the words and the seed; `wear` changes clothes."""
    rng = np.random.default_rng((seed, 7, wear))
    main, second, third = (_color(rng) for _ in range(3))
    word = look.clothing
    if look.mona_lisa == "yes":
        colors = ((52, 44, 34), (96, 74, 36), (60, 52, 40))
        return Garment("dress", "F", "gathered", colors, sleeves="long", ring="band")
    if word == "t-shirt":
        pattern = str(rng.choice(["plain", "stripes", "print", "ringer", "raglan"],
                                 p=[0.4, 0.2, 0.16, 0.12, 0.12]))  # fmt: skip
        neck = "crew" if sex == "M" or rng.random() < 0.6 else "wide crew"
        return Garment("shirt", sex, neck, (main, second, third), pattern, ring="band")
    if word == "sweatshirt":
        hood = rng.random() < 0.85
        neck, ring = ("hood", "hood") if hood else ("crew", "rib")
        pattern = "plain" if rng.random() < 0.75 else "raglan"
        return Garment(
            "shirt", sex, neck, (main, main, _lighter(main)), pattern, True, "long", ring
        )
    if word == "dress":
        neck = str(rng.choice(["scoop", "square", "deep vee", "straps"]))
        pattern = str(rng.choice(["plain", "dots", "flowers", "stripes"], p=[0.5, 0.18, 0.2, 0.12]))
        main = _color(rng, neutral=0.12)
        return Garment("dress", "F", neck, (main, _lighter(main), third), pattern, sleeves="none")
    if word == "suit":
        shades = SUITS if sex == "M" else BLAZERS
        first, shirt = shades[rng.integers(len(shades))], SHIRTS[rng.integers(len(SHIRTS))]
        inner = shirt if sex == "M" or rng.random() < 0.85 else second
        # A woman's blazer with lapels is cut as a coat is.
        kind = "coat" if sex == "F" and rng.random() < 0.7 else "suit"
        return Garment(kind, sex, "", (first, inner, _color(rng, neutral=0.15)))
    if word == "uniform":
        dye = CAMOUFLAGE[rng.integers(len(CAMOUFLAGE))]
        return Garment("uniform", sex, "", (dye[:3],), str(dye[3]))
    scrubs = SCRUBS[rng.integers(len(SCRUBS))]
    return Garment("coat", sex, "", ((244, 245, 247), scrubs, main), stethoscope=True)


def wearer(seed: int, worn: Garment) -> tuple[str, str]:
    """Whose body wears a garment, and its outfit."""
    outfit, names = wearers(worn.kind, worn.sex)
    return str(np.random.default_rng((seed, 2)).choice(names)), outfit


def _color(rng: np.random.Generator, neutral: float = 0.32) -> tuple[float, float, float]:
    """A colour that cloth has, sRGB 0..255."""
    hue, deep, strong = rng.random(3)
    if rng.random() < neutral:
        return NEUTRALS[rng.integers(len(NEUTRALS))]
    value = 0.28 + 0.58 * deep
    rgb = colorsys.hsv_to_rgb(hue, 0.40 + 0.42 * strong - 0.12 * deep, value)
    return tuple(255 * c for c in rgb)


def _lighter(color: tuple[float, float, float]) -> tuple[float, float, float]:
    return tuple(255 - (255 - c) * 0.35 for c in color)


def smooth(t: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, an S between."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def neckline(rest: np.ndarray, neck: str) -> np.ndarray:
    """How far points (n, 3) lie above a garment's edge at the neck, (n,) metres."""
    depth, width, power, side, behind = NECKS[neck]
    x, y, z = rest.T
    t = np.abs(x) / width
    rise = (side - depth) * t**power
    front = depth + np.minimum(rise, 0.5)
    slope = (side - depth) * power * np.maximum(t, 1e-3) ** (power - 1) / width
    back = behind + 0.02 * (t**2 - 1) + 0.02
    ahead = smooth((z + 0.075) / 0.035)
    above = y - (ahead * front + (1 - ahead) * back)
    return above / np.sqrt(1 + (ahead * np.minimum(slope, 8)) ** 2)


def bare(rest: np.ndarray, worn: Garment) -> np.ndarray:
    """How far points lie outside a painted garment, (n,) metres, negative where it is."""
    x, y, z = rest.T
    outside = neckline(rest, worn.neck)
    if worn.neck == "straps":
        strap = np.abs(np.abs(x) - 0.088) - 0.0085
        outside = np.minimum(outside, strap)
    if worn.sleeves == "none":
        hole = np.abs(x) - (0.142 + 0.062 * smooth((-0.115 - y) / 0.11))
        outside = np.maximum(outside, hole)
    if worn.sleeves == "short":
        outside = np.maximum(outside, np.abs(x) - 0.335)
    return outside


def paint(
    worn: Garment, tone: np.ndarray, skin: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The texture of a body in a garment: its color (1024, 1024, 3) float32 sRGB 0..255, where
    cloth is (1024, 1024) 0..1, and its relief (1024, 1024, 3) float32.

    tone: (3,) linear colour of the cheeks.  skin: (3,) what the neck's skin is of it.
    """
    of = cut(worn.kind, worn.sex)
    color = of.color.astype(np.float32)
    relief = _relief(worn.kind, worn.sex, worn.fleece).astype(np.float32)
    if worn.neck:
        outside = bare(of.rest, worn)
        there = smooth(0.5 - outside / 0.0025)
        rgb = _painted(of, worn, outside)
    else:
        there = of.cloth.reshape(-1)[of.texel]
        rgb = _dyed(of, worn)
    blotches = 1 + 0.05 * of.noise[0] + 0.03 * of.noise[1]
    flesh = tone * skin * np.stack([np.ones_like(blotches), blotches**1.5, blotches**1.6], 1)
    flesh = srgb(flesh * (1 + 0.025 * of.noise[2])[:, None])
    flat = color.reshape(-1, 3)
    flat[of.texel] = flesh + (rgb - flesh) * there[:, None]
    cloth = np.zeros(TEXTURE_PX * TEXTURE_PX, np.float32)
    cloth[of.texel] = there
    plain = relief.reshape(-1, 3)
    plain[of.texel] += (1 - there)[:, None] * ((128, 128, 255) - plain[of.texel])
    return color, cloth.reshape(TEXTURE_PX, TEXTURE_PX), relief


def srgb(linear: np.ndarray) -> np.ndarray:
    """Light 0..1 as sRGB, 0..255 float32."""
    c = np.clip(linear, 0, 1)
    return (255 * np.where(c <= 0.0031308, 12.92 * c, 1.055 * c ** (1 / 2.4) - 0.055)).astype(
        np.float32
    )


def _painted(of: Cut, worn: Garment, outside: np.ndarray) -> np.ndarray:
    """Colours of texels of a garment that is painted whole, (k, 3) sRGB 0..255."""
    x, y, z = of.rest.T
    main, second, third = (np.array(c, np.float32) for c in worn.colors)
    rgb = np.repeat(main[None], len(x), 0)

    def lay(color: np.ndarray, where: np.ndarray) -> None:
        rgb[:] += np.clip(where, 0, 1)[:, None] * (color - rgb)

    if worn.pattern == "stripes":
        along = np.where(np.abs(x) > 0.19, np.abs(x), y)
        lay(second, 0.5 + 12 * (np.abs((along / 0.034) % 1 - 0.5) - 0.28))
    if worn.pattern in ("raglan", "ringer"):
        seam = np.abs(x) - 0.075 - 0.9 * np.maximum(-0.10 - y, 0)
        sleeve = seam if worn.pattern == "raglan" else np.abs(x) - 0.318
        lay(third if worn.fleece else second, sleeve / 0.002)
        lay(main * 0.72, 1 - np.abs(seam) / 0.0015 if worn.pattern == "raglan" else 0 * x)
    if worn.pattern == "dots":
        at = np.stack([x, y], 1) / 0.026
        at[:, 0] += 0.5 * (np.floor(at[:, 1]) % 2)
        lay(second, (0.30 - np.linalg.norm(at % 1 - 0.5, axis=1)) / 0.06)
    if worn.pattern == "flowers":
        bloom = _flowers(worn.kind, worn.sex)
        lay(second, (bloom - 0.28) / 0.08)
        lay(third, (bloom - 0.55) / 0.08)
        lay(main * 0.6, (-0.42 - bloom) / 0.08)
    if worn.pattern == "print":
        chest = (z > 0) * np.clip((0.085 - np.hypot(x, 0.8 * (y + 0.315))) / 0.002, 0, 1)
        inner = np.clip((0.06 - np.hypot(x + 0.02, 0.8 * (y + 0.30))) / 0.002, 0, 1)
        lay(second, chest)
        lay(third, chest * inner)
    if worn.ring in ("rib", "band"):
        edge = second if worn.pattern in ("ringer", "raglan") else main
        lay(edge * 0.94, (outside + 0.017) / 0.0015)
        lay(main * 0.55, 0.7 * (1 - np.abs(outside + 0.018) / 0.0016))
    if worn.sleeves == "none":
        lay(main * 0.7, 0.6 * (1 - np.abs(outside + 0.005) / 0.0015))
    coarse, middle, fine = of.noise
    folds = (
        of.shade**0.7 if not worn.fleece else of.shade**0.4 * (1 + 0.05 * coarse + 0.04 * middle)
    )
    grain = (0.07 if worn.fleece else 0.03) * fine
    return rgb * (folds * (1 + grain))[:, None]


@lru_cache(maxsize=4)
def _flowers(kind: str, sex: str) -> np.ndarray:
    rest = cut(kind, sex).rest
    return noise(rest, 0.022, 5) * 0.8 + 0.45 * noise(rest, 0.009, 6)


def _dyed(of: Cut, worn: Garment) -> np.ndarray:
    """Colours of texels of a garment as its donors wear it, dyed, (k, 3) sRGB 0..255."""
    rgb = of.color.reshape(-1, 3)[of.texel].astype(np.float32)
    value, x, y = rgb.mean(1), of.rest[:, 0], of.rest[:, 1]
    blue = (rgb[:, 2] - rgb[:, 0]) / (value + 12)
    grain = (1 + 0.04 * of.noise[2])[:, None]
    if worn.kind == "uniform":
        mean = rgb[of.cloth.reshape(-1)[of.texel] > 0.9].mean(0)
        return np.clip((mean + (rgb - mean) * float(worn.pattern)) * worn.colors[0], 0, 255)
    main, inner, third = (np.array(c, np.float32) for c in worn.colors)
    if worn.kind == "coat":
        white = smooth((value - 150) / 40) * smooth((0.16 - blue) / 0.06)
        under = inner * np.clip(value / 90, 0.35, 1.25)[:, None]
        if not worn.stethoscope:  # a blazer: without its badge and pen
            white = np.maximum(white, (np.abs(x) > 0.06) & (y < -0.2))
            jacket = main * np.clip(value / 205, 0.5, 1.12)[:, None]
            return (under + white[:, None] * (jacket - under)) * grain
        badge = (np.abs(rgb - rgb.mean(1, keepdims=True)).max(1) > 20) & (np.abs(x) > 0.05)
        keep = np.maximum(white, badge & (y < -0.25) & (np.abs(x) > 0.06))[:, None]
        return (under + keep * (rgb * 1.06 - under)) * grain
    if worn.sex == "F":
        blouse = smooth((value - 42) / 22)
        jacket = main * np.clip(value / 18, 0.55, 1.5)[:, None]
        under = inner * np.clip(value / 82, 0.6, 1.25)[:, None]
        return (jacket + blouse[:, None] * (under - jacket)) * grain
    middle = np.abs(x) < 0.05
    shirt = smooth((value - 120) / 50)
    tie = middle * smooth((blue - 0.42) / 0.15) * smooth((value - 48) / 12) * (1 - shirt)
    stripe = shirt * middle * smooth((blue - 0.05) / 0.06) * (y < -0.155)
    jacket = main * np.clip(value / 42, 0.4, 1.9)[:, None]
    rgb = jacket + shirt[:, None] * (inner * np.clip(value / 225, 0.5, 1.06)[:, None] - jacket)
    rgb += tie[:, None] * (third * np.clip(value / 75, 0.6, 1.5)[:, None] - rgb)
    rgb += stripe[:, None] * (np.array(_lighter(worn.colors[2])) - rgb)
    return rgb * grain


@lru_cache(maxsize=16)
def _relief(kind: str, sex: str, fleece: bool) -> np.ndarray:
    """The relief of a cut, (1024, 1024, 3) uint8: fleece has soft folds and a nap."""
    of = cut(kind, sex)
    relief = of.relief.astype(np.float32)
    relief[..., :2] += (0.35 if not fleece else 0.65) * (128 - relief[..., :2])
    if fleece:
        height = np.zeros(TEXTURE_PX * TEXTURE_PX, np.float32)
        folds = noise(of.rest * (1, 1.8, 1), 0.045, 8)
        height[of.texel] = 9.0 * (1 - np.abs(folds)) + 0.55 * of.noise[2]
        height = cv2.GaussianBlur(height.reshape(TEXTURE_PX, TEXTURE_PX), (0, 0), 0.8)
        slope_y, slope_x = np.gradient(height)
        inside = np.zeros(TEXTURE_PX * TEXTURE_PX, np.float32)
        inside[of.texel] = 1
        inside = cv2.erode(inside.reshape(TEXTURE_PX, TEXTURE_PX), np.ones((5, 5)))
        relief[..., 0] -= 127 * 0.55 * np.clip(slope_x, -1, 1) * inside
        relief[..., 1] += 127 * 0.55 * np.clip(slope_y, -1, 1) * inside
    return np.clip(relief, 0, 255).astype(np.uint8)
