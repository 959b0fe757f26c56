"""Hair of heads: cuts, chosen by words and by the person's numbers, grown as strands."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .heads import TEXTURE_PX, bank, uv_grid
from .strands import (
    Grid,
    Roots,
    bundle,
    curl,
    gather,
    in_locks,
    lay,
    skin_form,
    stray,
    take_roots,
    unit,
)
from .surface import PART, Strands, Surface

if TYPE_CHECKING:
    from .people import Head, Person
    from .words import Look

# sRGB between which hair_tone moves.
COLORS = {
    "black": ((16, 14, 14), (40, 31, 27)),
    "brown": ((54, 36, 24), (104, 72, 48)),
    "blond": ((146, 108, 64), (212, 178, 122)),
    "red": ((104, 44, 20), (166, 84, 42)),
    "gray": ((120, 118, 117), (206, 204, 202)),
}  # fmt: skip


def color(person: Person, look: Look) -> np.ndarray:
    """The colour of a person's hair, (3,) sRGB 0..255."""
    low, high = (np.array(c, np.float32) for c in COLORS[look.hair])
    return low + (high - low) * (person.hair_tone + 1) / 2


@lru_cache(maxsize=1)
def inside_hairline() -> np.ndarray:
    """How far within the hairline each texel of the head is, (h, w) float32, 1024ths of uv."""
    grid = uv_grid()
    u, v = grid[..., 0], grid[..., 1]
    a = np.abs(u - 0.325)
    soft = cv2.GaussianBlur(bank().hair, (0, 0), 4)
    soft = (soft + soft[:, np.clip(int(0.65 * TEXTURE_PX) - np.arange(soft.shape[1]), 0, None)]) / 2
    face = ((a / 0.185) ** 2 + ((v - 0.30) / 0.175) ** 2 < 1) & (a < 0.178)
    ears = (a > 0.198) & (a < 0.235) & (v > 0.25)
    sideburns = (a > 0.170) & (a <= 0.198) & (v > 0.2) & (v < 0.30)
    scalp = ((soft > 0.5) & ~face & (v < 0.40) | sideburns) & ~ears
    islands = ((u < 0.1) | (u > 0.55)) & ((v < 0.095) | (v > 0.40))
    # At a seam of the texture no hair ends: only bare skin is outside.
    bare = (~scalp | islands) & (bank().island > 0.5)
    within = cv2.distanceTransform((~bare).astype(np.uint8), cv2.DIST_L2, 5)
    without = cv2.distanceTransform(bare.astype(np.uint8), cv2.DIST_L2, 5)
    distance = np.where(np.hypot(a - 0.1835, v - 0.0575) < 0.056, -99, within - without)
    return cv2.GaussianBlur(distance.astype(np.float32), (0, 0), 2.5)


@dataclass(frozen=True)
class Cut:
    """How hair is cut and worn; lengths in metres."""

    top: float  # length on top
    sides: float  # length at the sides
    comb: str  # a row of COMBS
    strands: int = 15000
    steps: int = 8
    rise: float = 0.5  # how steeply it leaves the skin, 0..1
    height: float = 0.012  # how far the outermost lie off the skin
    weight: float = 0.08  # how soon it falls
    obey: float = 0.35  # how soon it takes the comb's way
    locks: int = 500
    gathered: float = 0.5  # how much of a lock ends in one point, 0..1
    radius: float = 0.0  # of curls
    pitch: float = 0.02  # of a turn
    frizz: float = 0.002


CUTS: dict[tuple[str, str], tuple[Cut, ...]] = {
    ("straight", "short"): (
        Cut(0.024, 0.011, "whorl", strands=26000, steps=5, rise=0.6, height=0.008, locks=1200),
        Cut(0.062, 0.020, "parted", strands=15000, rise=0.55, height=0.020, weight=0.05),
        Cut(0.066, 0.022, "back", strands=15000, rise=0.5, height=0.022, weight=0.02),
        Cut(0.052, 0.024, "forward", strands=15000, rise=0.5, height=0.016, weight=0.05),
        Cut(0.006, 0.004, "whorl", strands=26000, steps=3, rise=0.75, height=0.003, gathered=0.1),
    ),
    ("curly", "short"): (
        Cut(0.085, 0.050, "out", strands=9000, steps=22, rise=0.9, height=0.030, weight=0.06,
            obey=0.25, locks=420, gathered=0.45, radius=0.0055, pitch=0.024),
        Cut(0.080, 0.022, "out", strands=9000, steps=20, rise=0.8, height=0.026, weight=0.05,
            obey=0.25, locks=480, gathered=0.45, radius=0.0045, pitch=0.020),
        Cut(0.085, 0.070, "out", strands=11000, steps=22, rise=1.0, height=0.055, weight=0.0,
            obey=0.1, locks=1400, gathered=0.3, radius=0.0030, pitch=0.012, frizz=0.004),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Form:
    """Where combs find their way on a head."""

    scale: float  # of the head against the bank's mean
    crown: np.ndarray  # (3,) where the whorl is
    parting: float  # metres from the middle, to the person's left


def _side(points: np.ndarray, form: Form) -> np.ndarray:
    """How much a point is at the side or the back and not on top, (s, 1) 0..1."""
    return _smooth((0.150 * form.scale - points[:, 1:2]) / (0.035 * form.scale))


def _smooth(t: np.ndarray) -> np.ndarray:
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def _whorl(points: np.ndarray, form: Form) -> np.ndarray:
    away = points - form.crown
    around = np.cross(away, (0, 1, 0.6))
    return unit(unit(away) + 0.45 * unit(around)) + (0, -0.35, 0.15)


def _parted(points: np.ndarray, form: Form) -> np.ndarray:
    side = np.tanh((points[:, :1] - form.parting) / 0.004)
    top = unit(side * (1, 0.15, -0.35) + (0, 0, -0.12))
    down = np.array([0, -1, -0.35])
    return top + _side(points, form) * (down - top)


def _back(points: np.ndarray, form: Form) -> np.ndarray:
    top = unit(np.array([0, 0.12, -1]) + points * (1.5, 0, 0))
    down = np.array([0, -0.75, -0.8])
    return top + _side(points, form) * (down - top)


def _forward(points: np.ndarray, form: Form) -> np.ndarray:
    sweep = 0.5 if form.parting > 0 else -0.5
    top = unit(np.array([sweep, -0.15, 1]) + points * (1.0, 0, 0))
    down = np.array([0, -1, 0.25])
    behind = _smooth((form.crown[2] + 0.01 - points[:, 2:]) / 0.03)
    way = top + _side(points, form) * (down - top)
    return way + behind * (np.array([0, -1, -0.3]) - way)


def _out(points: np.ndarray, form: Form) -> np.ndarray:
    middle = np.array([0, 0.085, -0.02]) * form.scale
    return unit(points - middle) + (0, -0.1, 0)


COMBS = {"whorl": _whorl, "parted": _parted, "back": _back, "forward": _forward, "out": _out}


def choose(person: Person, look: Look) -> Cut:
    """A person's cut."""
    rng = np.random.default_rng((person.seed, 5))
    choices = CUTS.get((look.texture, look.length)) or CUTS[look.texture, "short"]
    return choices[int(rng.integers(len(choices)))]


def grow(person: Person, look: Look, head: Head, body: Surface) -> tuple[Strands, ...]:
    """The hair of a person's head; what is painted at its roots goes into the body's texture."""
    if look.texture == "bald":
        return ()
    rng = np.random.default_rng((person.seed, 6))
    cut_ = choose(person, look)
    form = _form(person, head, rng)
    line = inside_hairline() - 5 * person.hairline - _receding(look)
    density = _smooth((line + 2.5 * _noise(line.shape, 3.0, rng)) / 9)
    tone = color(person, look)
    _stain(body, density, tone, cut_)
    roots = take_roots(head.points, density, cut_.strands, rng)
    lines, locks = _lay(cut_, roots, form, line, skin_form(body), person, rng)
    return (bundle(lines, tints(tone, look, lines, locks, rng), PART["hair"], roots),)


def _form(person: Person, head: Head, rng: np.random.Generator) -> Form:
    scale = (head.landmarks["head_top"][1] - head.landmarks["chin"][1]) / 0.238
    crown = np.array([rng.choice((-1, 1)) * rng.uniform(0.004, 0.018), 0.165, -0.078]) * scale
    return Form(scale, crown, (0.042 * person.parting + rng.normal(0, 0.004)) * scale)


def _receding(look: Look) -> np.ndarray | float:
    """How much farther back the hairline is, (h, w) 1024ths of uv."""
    if look.age != "old" or look.who not in ("man", "boy"):
        return 0.0
    grid = uv_grid()
    a = np.abs(grid[..., 0] - 0.325)
    temples = np.exp(-(((a - 0.095) / 0.04) ** 2)) * (grid[..., 1] < 0.17)
    return (18 * temples + 6).astype(np.float32)


def _noise(shape: tuple[int, int], size: float, rng: np.random.Generator) -> np.ndarray:
    noise = cv2.GaussianBlur(rng.normal(size=shape).astype(np.float32), (0, 0), size)
    return noise / noise.std()


def _stain(body: Surface, density: np.ndarray, tone: np.ndarray, cut_: Cut) -> None:
    """Paint the skin between the roots, in place."""
    h, w = density.shape
    cover = 0.55 if cut_.top < 0.01 else 0.9
    grain = 1 + 0.25 * _noise(density.shape, 0.8, np.random.default_rng(1))
    amount = np.clip(density * grain, 0, 1)[..., None] * cover
    paint = body.material.color[:h, :w]
    paint[:] = np.clip(paint * (1 - amount) + 0.75 * tone * amount, 0, 255).astype(np.uint8)
    body.material.labels[:h, :w][density > 0.6] = PART["hair"]


def _lay(
    cut_: Cut,
    roots: Roots,
    form: Form,
    line: np.ndarray,
    skin: Grid,
    person: Person,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """The lines of a cut, (s, k, 3), and the lock that each is of, (s,)."""
    side = _side(roots.points, form)[:, 0]
    volume = 1 + 0.35 * person.hair_volume
    length = cut_.top + (cut_.sides - cut_.top) * side
    length = length * rng.uniform(0.75, 1.1, len(roots)) * (0.75 + 0.25 * volume)
    # At the nape and about the ears hair is shorn closer.
    place = (roots.uv * TEXTURE_PX).astype(int).T
    within = line[np.clip(place[1], 0, line.shape[0] - 1), np.clip(place[0], 0, line.shape[1] - 1)]
    length *= 1 - 0.55 * side * (1 - _smooth(within / 30))
    height = cut_.height * volume * rng.uniform(0.1, 1, len(roots)) * (1 - 0.55 * side)
    height *= 0.3 + 0.7 * _smooth(within / 30)
    comb = COMBS[cut_.comb]
    lines = lay(
        roots, skin, length, cut_.steps, lambda p: comb(p, form),
        rise=cut_.rise, height=height, obey=cut_.obey, weight=cut_.weight,
    )  # fmt: skip
    locks, centers = in_locks(roots, cut_.locks, rng)
    t = np.linspace(0, 1, cut_.steps + 1)
    lines = gather(lines, locks, centers, cut_.gathered * t**0.7)
    if cut_.radius:
        count = len(centers)
        radius = cut_.radius * rng.uniform(0.7, 1.3, count)[locks][:, None] * _smooth(t / 0.3)
        pitch = cut_.pitch * rng.uniform(0.75, 1.3, count)[locks]
        lines = curl(lines, locks, radius, pitch, rng)
    return stray(lines, cut_.frizz, rng), locks


def tints(
    tone: np.ndarray, look: Look, lines: np.ndarray, locks: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Colours of strands, (s, k, 3) float sRGB: no two alike, roots dark, tips light."""
    count, k, _ = lines.shape
    each = np.exp(rng.normal(0, 0.13, count) + rng.normal(0, 0.09, int(locks.max()) + 1)[locks])
    own = tone * each[:, None]
    if look.hair == "gray":
        own = own + rng.choice([-42, 0, 14], count, p=[0.25, 0.5, 0.25])[:, None]
    elif look.age == "old":
        own = np.where(rng.random((count, 1)) < 0.25, (170, 168, 166), own)
    run = np.linspace(0, 1, k)[None, :, None]
    return own[:, None] * (0.72 + 0.42 * run)
