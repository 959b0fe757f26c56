"""What time, sun and make-up leave on a face: lines, spots, dimples, pimples, shadows of beards."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .ages import CHILDREN
from .clothes import smooth
from .cuts import head_places, noise
from .heads import TEXTURE_PX, uv_grid

if TYPE_CHECKING:
    from .people import Person
    from .words import Look

MIDDLE = 0.325  # u of the face's middle
# Lipsticks, as factors of the lips' own light.
LIPSTICKS = (
    *((1.0, 0.42, 0.42), (0.85, 0.45, 0.55), (1.1, 0.72, 0.70), (0.55, 0.22, 0.28)),
    (1.15, 0.60, 0.72),
)


@lru_cache(maxsize=1)
def _places() -> dict[str, np.ndarray]:
    """Masks of a head's texture that never change, each (h, w) float32."""
    grid = uv_grid()
    u, v = grid[..., 0], grid[..., 1]
    a = np.abs(u - MIDDLE)

    def spot(at_a: float, at_v: float, wide: float, high: float) -> np.ndarray:
        return np.exp(-(((a - at_a) / wide) ** 2) - ((v - at_v) / high) ** 2).astype(np.float32)

    jaw = 0.475 - 0.115 * (a / 0.2) ** 2
    beard = smooth((v - np.interp(a, (0, 0.06, 0.12, 0.2), (0.30, 0.315, 0.345, 0.29))) / 0.02)
    beard = beard * smooth((jaw + 0.02 - v) / 0.03) * smooth((0.2 - a) / 0.02)
    lips = smooth(1.4 - np.hypot(a / 0.066, (v - 0.361) / 0.029) * 1.4 / 0.98)
    place = head_places().reshape(-1, 3)
    shape = u.shape
    return {
        "a": a,
        "v": v,
        "side": np.sign(u - MIDDLE),
        "flush": spot(0.092, 0.300, 0.045, 0.042)
        + 0.75 * spot(0.0, 0.275, 0.03, 0.03)
        + 0.35 * spot(0.0, 0.43, 0.035, 0.02)
        + 0.8 * smooth((0.09 - u) / 0.01) * (v > 0.36),
        "forehead": spot(0.0, 0.13, 0.11, 0.04),
        "below_eyes": spot(0.066, 0.240, 0.030, 0.012),
        "sockets": spot(0.052, 0.202, 0.022, 0.012) + 0.6 * spot(0.085, 0.205, 0.03, 0.012),
        "lids": spot(0.070, 0.205, 0.032, 0.009),
        "beard": beard * (1 - lips),
        "lips": lips,
        "coarse": noise(place, 0.016, 11).reshape(shape),
        "fine": noise(place, 0.004, 12).reshape(shape),
        "freckles": noise(place, 0.0021, 13).reshape(shape),
        "spread": noise(place, 0.02, 14).reshape(shape),
    }


def marked(relative: np.ndarray, person: Person, look: Look) -> tuple[np.ndarray, np.ndarray]:
    """Mark a face: its texture against its cheeks (h, w, 3), linear light, is changed in place.

    Returns how high its marks stand, (h, w) float32 in texels, and how strong the donors' own
    relief is to stay, (h, w).
    """
    rng = np.random.default_rng((person.seed, 21))
    m = _places()
    height = np.zeros(relative.shape[:2], np.float32)
    child = look.who in CHILDREN
    female = look.who in ("woman", "girl")
    keep = np.full_like(
        height, 0.4 if child else {"young": 0.55, "adult": 1.1, "old": 1.25}[look.age]
    )
    if child or look.age == "young":
        _clear(relative, m, 0.85 if child else 0.6 if female else 0.5)
    _complexion(relative, m, look, rng)
    if not child and not female:
        _stubble(relative, m, look, rng)
    if child or look.mona_lisa == "yes" or (female and rng.random() < 0.25):
        _natural_lips(relative, m)
    elif female and rng.random() < 0.6:
        _make_up(relative, m, rng)
    if look.skin in ("light", "tan") and look.age != "old" and look.mona_lisa == "no":
        share = 0.65 if look.hair == "red" else 0.12 + 0.1 * child
        if rng.random() < share:
            _freckle(relative, m, rng)
    if look.age == "old" and not child:
        _wither(relative, height, m, look, rng)
    if look.age == "adult" and not child:
        _mature(relative, height, m, look)
    if look.dimples == "yes":
        _dimple(relative, height, m, 1.0 if look.expression == "smiling" else 0.55)
    if look.pimple == "yes":
        _pimple(relative, height, m, look, rng)
    return height, keep


def _tint(relative: np.ndarray, where: np.ndarray, factors) -> None:
    """Multiply a texture (h, w, 3) by factors where a mask (h, w) says, in place."""
    relative *= 1 + where[..., None] * (np.array(factors, np.float32) - 1)


def _varied(pattern: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One of four patterns from one: mirrored, turned inside out."""
    return rng.choice([-1, 1]) * (pattern[:, ::-1] if rng.random() < 0.5 else pattern)


def _clear(relative: np.ndarray, m: dict, share: float) -> None:
    """Take beards, moles and lines from a skin: it comes near the even colour of the cheeks."""
    even = cv2.GaussianBlur(relative, (0, 0), 14)
    value = even.mean(-1, keepdims=True)
    even = np.clip(value, 0.80, 1.06) * (0.6 * even / value + 0.4)
    calm = np.clip(relative / np.maximum(cv2.GaussianBlur(relative, (0, 0), 2.5), 0.02), 0.85, 1.15)
    eyes = np.exp(-(((m["a"] - 0.068) / 0.05) ** 2) - ((m["v"] - 0.205) / 0.035) ** 2)
    nostrils = np.exp(-((m["a"] / 0.05) ** 2) - ((m["v"] - 0.297) / 0.02) ** 2)
    own = np.maximum(np.maximum(1.3 * eyes, 1.4 * nostrils), m["lips"])
    where = (share * np.clip(1 - own, 0, 1))[..., None]
    relative += where * (even * calm - relative)


def _complexion(relative: np.ndarray, m: dict, look: Look, rng: np.random.Generator) -> None:
    """Red where blood is near, yellow on the forehead, darker about the eyes, mottled."""
    pale = {"light": 1.0, "tan": 0.8, "indian": 0.55, "dark": 0.4}[look.skin]
    child = look.who in CHILDREN
    fresh = {"young": 1.5, "adult": 0.7, "old": 1.0}[look.age]
    flush = pale * rng.uniform(0.25, 1.2) * (1.25 if child else fresh)
    _tint(relative, flush * np.clip(m["flush"], 0, 1), (1.03, 0.84, 0.84))
    if not child:
        relative *= np.float32({"young": 1.05, "adult": 0.97, "old": 1.0}[look.age])
    _tint(relative, m["forehead"], (1.0, 0.985, 0.93))
    tired = {"young": 0.15, "adult": 1.0, "old": 1.3}[look.age] * rng.uniform(0.4, 1.1)
    tired *= 0.3 if child else 1
    _tint(relative, tired * m["below_eyes"], (0.86, 0.80, 0.82))
    _tint(relative, 0.8 * np.clip(m["sockets"], 0, 1), (0.80, 0.74, 0.72))
    mottle = 1 + 0.035 * m["coarse"] + 0.025 * m["fine"]
    relative *= np.stack([np.sqrt(mottle), mottle, mottle], -1)


def _stubble(relative: np.ndarray, m: dict, look: Look, rng: np.random.Generator) -> None:
    """The shadow of a shaven beard, for some."""
    if rng.random() < 0.55 or look.age == "young":
        return
    dark = {"black": 0.62, "brown": 0.68, "gray": 0.85, "red": 0.84, "blond": 0.88}[look.hair]
    grain = 0.75 + 0.5 * (np.random.default_rng(4).random(relative.shape[:2], np.float32) > 0.55)
    share = rng.uniform(0.3, 0.9) * m["beard"] * grain
    cool = 1.06 if look.skin in ("light", "tan") else 1.0
    _tint(relative, share, (dark, dark * 1.02, dark * cool))


def _natural_lips(relative: np.ndarray, m: dict) -> None:
    """Lips a little redder than the skin, whatever paint the donor wears."""
    value = cv2.GaussianBlur(relative.mean(-1), (0, 0), 1.0)[..., None]
    lips = np.clip(0.35 + 0.6 * value, 0.3, 0.85) * np.array([1.08, 0.78, 0.80], np.float32)
    relative += 0.8 * m["lips"][..., None] * (lips - relative)


def _make_up(relative: np.ndarray, m: dict, rng: np.random.Generator) -> None:
    """Lipstick, and a shade on the lids."""
    value = relative.mean(-1, keepdims=True)
    stick = np.array(LIPSTICKS[rng.integers(len(LIPSTICKS))], np.float32)
    lips = np.clip(0.25 + value, 0.3, 1.0) * stick
    relative += rng.uniform(0.5, 0.85) * m["lips"][..., None] * (lips - relative)
    shade = ((0.55, 0.42, 0.40), (0.5, 0.46, 0.56), (0.72, 0.5, 0.5))[rng.integers(3)]
    _tint(relative, rng.uniform(0.2, 0.9) * m["lids"], shade)


def _freckle(relative: np.ndarray, m: dict, rng: np.random.Generator) -> None:
    """Freckles over nose and cheeks."""
    where = np.exp(-((m["a"] / 0.13) ** 2) - ((m["v"] - 0.275) / 0.05) ** 2)
    density = rng.uniform(0.16, 0.34)
    dots = smooth((_varied(m["freckles"], rng) - 0.62 + density * where) / 0.12)
    _tint(relative, dots * np.clip(1.5 * where, 0, 1) * rng.uniform(0.5, 0.9), (0.80, 0.60, 0.46))


def _strokes(lines: list[tuple], both: bool = True) -> np.ndarray:
    """Lines as a picture of a head's texture, (h, w) float32 0..1.

    lines: ((a, v), ...) of each, a from the face's middle to one side, its width in texels and
    its strength; they fade at their ends.  both: drawn on both sides.
    """
    grid = uv_grid()
    picture = np.zeros(grid.shape[:2], np.float32)
    for points, width, strength in lines:
        path = _curve(np.array(points, np.float32))
        t = np.linspace(0, 1, len(path) - 1)
        fade = np.clip(np.minimum(t, 1 - t) * 4.5, 0.05, 1) ** 0.7
        for sign in (1, -1) if both else (1,):
            at = np.stack([MIDDLE + sign * path[:, 0], path[:, 1]], 1) * TEXTURE_PX
            low = np.maximum(np.floor(at.min(0)).astype(int) - 6, 0)
            high = np.ceil(at.max(0)).astype(int) + 7
            piece = picture[low[1] : high[1], low[0] : high[0]]
            drawn = np.zeros(piece.shape, np.uint8)
            ends = np.rint(8 * (at - low)).astype(int).tolist()
            for p, q, f in zip(ends[:-1], ends[1:], fade.tolist(), strict=True):
                value = int(255 * strength * f)
                cv2.line(drawn, p, q, value, max(1, round(width * f)), cv2.LINE_AA, 3)
            np.maximum(piece, drawn / np.float32(255), out=piece)
    return picture


def _curve(points: np.ndarray) -> np.ndarray:
    """A smooth path of 24 points through some, (24, 2)."""
    t = np.linspace(0, 1, len(points))
    degree = min(len(points) - 1, 3)
    s = np.linspace(0, 1, 24)
    return np.stack([np.polyval(np.polyfit(t, c, degree), s) for c in points.T], 1)


def _wither(
    relative: np.ndarray, height: np.ndarray, m: dict, look: Look, rng: np.random.Generator
) -> None:
    """Seventy years: lines, bags, spots, pale lips, less colour."""
    deep = rng.uniform(0.8, 1.15)
    sharp, wide = _lines(rng)
    near = cv2.GaussianBlur(sharp, (0, 0), 1.1)
    about = cv2.GaussianBlur(wide, (0, 0), 5.0)
    height -= deep * (3.6 * near + 9.0 * about)
    # Crow's feet and the parchment of old skin.
    parched = 0.55 * m["fine"] + 0.45 * m["freckles"]
    height += deep * 0.85 * parched * np.clip(1.2 - m["lips"], 0, 1)
    dark = (0.52, 0.41, 0.38) if look.skin in ("light", "tan") else (0.46, 0.41, 0.40)
    _tint(relative, np.clip(deep * (0.95 * near + 0.6 * about), 0, 1), dark)
    _tint(relative, 0.5 * deep * m["below_eyes"], (0.84, 0.76, 0.78))
    grey = relative.mean(-1, keepdims=True)
    relative += 0.16 * (grey - relative)
    value = grey * np.array([1.0, 0.86, 0.84], np.float32)
    relative += 0.5 * m["lips"][..., None] * (value - relative)
    side = np.exp(-(((m["a"] - 0.14) / 0.05) ** 2) - ((m["v"] - 0.24) / 0.09) ** 2)
    where = np.maximum(side, 0.7 * m["forehead"])
    spots = smooth((_varied(m["spread"], rng) + 0.3 * m["fine"] - 0.42) / 0.14)
    _tint(relative, 0.75 * spots * where, (0.80, 0.68, 0.56))


def _mature(relative: np.ndarray, height: np.ndarray, m: dict, look: Look) -> None:
    """Forty years: faint lines on the forehead, folds beside the mouth, bags, coarser skin."""
    sharp, wide = _first_lines()
    deep = 1.0 if look.who == "man" else 0.75
    height -= deep * (2.4 * sharp + 6.0 * wide)
    height += (
        0.4 * deep * (0.55 * m["fine"] + 0.45 * m["freckles"]) * np.clip(1.2 - m["lips"], 0, 1)
    )
    dark = (0.56, 0.45, 0.42) if look.skin in ("light", "tan") else (0.48, 0.43, 0.42)
    _tint(relative, np.clip(deep * (0.8 * sharp + 0.62 * wide), 0, 1), dark)
    grey = relative.mean(-1, keepdims=True)
    relative += 0.07 * (grey - relative)


@lru_cache(maxsize=1)
def _first_lines() -> tuple[np.ndarray, np.ndarray]:
    """The lines of a face of forty: thin ones, broad folds, each (h, w) 0..1, softened."""
    fold = ((0.042, 0.286), (0.060, 0.309), (0.075, 0.336), (0.080, 0.358))
    bag = ((0.042, 0.227), (0.058, 0.242), (0.080, 0.241), (0.100, 0.228))
    sharp: list[tuple] = [(fold, 2, 0.5), (bag, 1, 0.45)]
    wide: list[tuple] = [(fold, 5, 0.6), (bag, 4, 0.45)]
    for v, reach in ((0.110, 0.075), (0.131, 0.09), (0.151, 0.07)):
        line = [(-reach, v + 0.005), (-0.04, v - 0.002), (0, v + 0.003), (0.04, v - 0.002)]
        line = [*line, (reach, v + 0.005)]
        sharp.append((line, 2, 0.6))
        wide.append((line, 4, 0.3))
    sharp.append((((0.013, 0.172), (0.011, 0.183), (0.013, 0.195)), 2, 0.55))
    for rise in (-0.008, 0.004, 0.016):  # crow's feet
        feet = (
            (0.110, 0.211 + 0.3 * rise),
            (0.122, 0.213 + 0.8 * rise),
            (0.134, 0.213 + 1.5 * rise),
        )
        sharp.append((feet, 2, 0.55))
    return (
        cv2.GaussianBlur(_strokes(sharp), (0, 0), 1.1),
        cv2.GaussianBlur(_strokes(wide), (0, 0), 4.5),
    )


def _lines(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The lines of an old face: thin and sharp ones, broad folds, each (h, w) 0..1."""

    def off(size: float = 0.004) -> float:
        return float(rng.uniform(-size, size))

    sharp, wide = [], []
    for v in (0.105, 0.122, 0.139, 0.155):
        v, reach = v + off(), 0.095 + off(0.02)
        line = [(-reach, v + 0.006), (-0.05, v - 0.003 + off(0.002)), (0, v + 0.003 + off(0.002)),
                (0.05, v - 0.003 + off(0.002)), (reach, v + 0.006)]  # fmt: skip
        sharp.append((line, 2, rng.uniform(0.55, 0.95)))
        wide.append((line, 5, 0.32))
    frown = [((0.013 + off(0.003), 0.168), (0.011, 0.182), (0.014, 0.198))]
    sharp += [(line, 2, rng.uniform(0.5, 0.9)) for line in frown]
    for k in range(6):  # crow's feet
        spread = (k - 2.0) * 0.012
        start = (0.108, 0.212 + 0.35 * spread)
        end = (0.137 + off(), 0.213 + 1.5 * spread + off())
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 0.002)
        sharp.append(((start, middle, end), 2, rng.uniform(0.5, 0.95)))
    bag = ((0.040, 0.226), (0.058, 0.244 + off(0.002)), (0.082, 0.243), (0.104, 0.228))
    wide.append((bag, 4, 0.75))
    sharp.append((bag, 1, 0.6))
    sharp.append((((0.045, 0.219), (0.066, 0.231), (0.098, 0.222)), 1, 0.6))
    fold = ((0.040, 0.283), (0.060, 0.308), (0.077 + off(), 0.338), (0.080 + off(), 0.366))
    wide.append((fold, 5, 0.95))
    sharp.append((fold, 2, 0.9))
    marionette = ((0.068, 0.366), (0.074 + off(), 0.388), (0.073 + off(), 0.414))
    wide.append((marionette, 4, 0.7))
    sharp.append((marionette, 2, 0.75))
    for a, v in ((0.115, 0.29), (0.098, 0.33)):
        cheek = ((a + off(), v), (a + 0.010 + off(), v + 0.035), (a + 0.003 + off(), v + 0.07))
        sharp.append((cheek, 1, 0.6))
    for a in (0.008, 0.020, 0.033, 0.046):  # about the lips
        sharp.append((((a, 0.318 + off()), (a * 1.04, 0.333)), 1, 0.55))
        sharp.append((((a, 0.391), (a * 1.05, 0.404 + off())), 1, 0.4))
    for v in (0.470, 0.492):  # the neck
        ring = (
            (-0.10, v - 0.03),
            (-0.04, v + off(0.002)),
            (0.04, v + off(0.002)),
            (0.10, v - 0.03),
        )
        wide.append((ring, 4, 0.6))
        sharp.append((ring, 2, 0.7))
    chin = ((-0.03, 0.410), (0, 0.404), (0.03, 0.410))
    wide.append((chin, 4, 0.4))
    return _strokes(sharp), _strokes(wide)


def _dimple(relative: np.ndarray, height: np.ndarray, m: dict, strength: float) -> None:
    """A dent beside each corner of the mouth."""
    bow = 0.094 + 0.10 * (m["v"] - 0.352) ** 2 / 0.02
    dent = np.exp(-(((m["a"] - bow) / 0.0075) ** 2) - ((m["v"] - 0.349) / 0.0135) ** 2)
    rim = np.exp(-(((m["a"] - bow - 0.013) / 0.009) ** 2) - ((m["v"] - 0.350) / 0.022) ** 2)
    height += strength * (4.0 * rim - 12.0 * dent)
    _tint(relative, strength * 0.9 * dent, (0.66, 0.58, 0.57))


def _pimple(
    relative: np.ndarray, height: np.ndarray, m: dict, look: Look, rng: np.random.Generator
) -> None:
    """A red spot with a light tip on each cheek, so that every turn of the head shows one."""
    red = {"light": (1.0, 0.36, 0.34), "tan": (1.05, 0.36, 0.34)}.get(look.skin, (1.6, 0.50, 0.46))
    if look.skin == "dark":
        red = (3.2, 1.0, 0.9)
    first = rng.choice([-1, 1])
    for side, grown in ((first, 1.0), (-first, 0.85)):
        a, v = rng.uniform(0.078, 0.105), rng.uniform(0.275, 0.322)
        away = np.hypot(m["a"] * m["side"] - side * a, m["v"] - v) * TEXTURE_PX
        size = grown * rng.uniform(12.5, 15.0)
        core, halo = np.exp(-((away / size) ** 4)), np.exp(-((away / (1.7 * size)) ** 2))
        _tint(relative, 0.5 * halo, (1.04, 0.72, 0.70))
        _tint(relative, 0.95 * core, red)
        _tint(relative, np.exp(-((away / (0.42 * size)) ** 4)), (1.2, 2.2, 1.8))
        height += 7.0 * np.exp(-((away / (1.1 * size)) ** 2))
