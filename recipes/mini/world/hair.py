"""Hair of heads: cuts, chosen by words and by the person's numbers, grown as strands."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from .combs import COMBS, Form, head_scale, side, smooth
from .haircuts import DYES, Cut, choose, sized
from .heads import TEXTURE_PX, bank, uv_grid
from .strands import (
    Grid,
    Roots,
    bundle,
    curl,
    cut,
    finer,
    gather,
    in_locks,
    lay,
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


def grow(person: Person, look: Look, head: Head, body: Surface, skin: Grid) -> tuple[Strands, ...]:
    """The hair of a person's head; what is painted at its roots goes into the body's texture."""
    if look.texture == "bald":
        return ()
    rng = np.random.default_rng((person.seed, 6))
    cut_ = choose(person, look)
    form = _form(person, head, cut_.bun > 0, rng)
    shaven = look.punk == "yes" or cut_.top < 0.01
    cut_ = sized(cut_, form.scale)
    within = inside_hairline() - 5 * person.hairline - _receding(look)
    density = smooth((within + 2.5 * _noise(within.shape, 3.0, rng)) / 9)
    tone = color(person, look)
    # Beyond the seams of the texture too, but not where these lie at the foot of the neck.
    stained = density * (uv_grid()[..., 1] < 0.43)
    stain(body, stained, tone, 0.5 if shaven else 0.9, PART["hair"])
    roots = take_roots(head.points, density, cut_.strands, rng)
    if look.punk == "yes":
        roots = _crest(roots, form, rng)
        tone = np.array(DYES[int(rng.integers(len(DYES)))], np.float32)
    lines, locks = _lay(cut_, roots, form, within, skin, person, rng)
    found = [
        bundle(
            lines,
            tints(tone, look, lines, locks, rng),
            PART["hair"],
            width=cut_.width,
            **weights(lines),
        )
    ]
    if cut_.tail or cut_.bun:
        lines, locks = (_tail if cut_.tail else _bun)(cut_, form, skin, rng)
        tinted = tints(tone, look, lines, locks, rng)
        found.append(bundle(lines, tinted, PART["hair"], **weights(lines)))
    return tuple(found)


def _form(person: Person, head: Head, bun: bool, rng: np.random.Generator) -> Form:
    scale = head_scale(head)
    return Form(
        scale=scale,
        crown=np.array([rng.choice((-1, 1)) * rng.uniform(0.004, 0.018), 0.165, -0.078]) * scale,
        parting=(0.042 * person.parting + rng.normal(0, 0.004)) * scale,
        tie=np.array((0, 0.182, -0.075) if bun else (0, rng.uniform(0.09, 0.13), -0.114)) * scale,
        behind=float(rng.choice((0.0, 0.5, 1.0))),
    )


def _crest(roots: Roots, form: Form, rng: np.random.Generator) -> Roots:
    """Those in a stripe over the middle of the head."""
    half = rng.uniform(0.0105, 0.018) * form.scale
    x, y, z = roots.points.T
    return roots[(np.abs(x) < half) & ((y > 0.045 * form.scale) | (z < 0))]


def weights(lines: np.ndarray) -> dict[str, np.ndarray]:
    """How much strands (s, k, 3) move with head and neck: what lies on the shoulders stays."""
    y = lines[..., 1]
    head = smooth((y + 0.17) / 0.13).astype(np.float32)
    neck = ((1 - head) * smooth((y + 0.27) / 0.13)).astype(np.float32)
    return {"head": head, "neck": neck}


def _receding(look: Look) -> np.ndarray | float:
    """How much farther back the hairline is, (h, w) 1024ths of uv."""
    if look.age != "old" or look.who not in ("man", "boy"):
        return 0.0
    grid = uv_grid()
    a = np.abs(grid[..., 0] - 0.325)
    temples = np.exp(-(((a - 0.095) / 0.04) ** 2)) * (grid[..., 1] < 0.17)
    return (18 * temples + 6).astype(np.float32)


def _noise(shape: tuple[int, ...], size: float, rng: np.random.Generator) -> np.ndarray:
    noise = cv2.GaussianBlur(rng.normal(size=shape).astype(np.float32), (0, 0), size)
    return noise / noise.std()


def stain(body: Surface, density: np.ndarray, tone: np.ndarray, cover: float, label: int) -> None:
    """Paint the skin between roots, in place; density (h, w) and cover 0..1."""
    h, w = density.shape
    grain = 1 + 0.25 * _noise(density.shape, 0.8, np.random.default_rng(1))
    amount = np.clip(density * grain, 0, 1)[..., None] * cover
    paint = body.material.color[:h, :w]
    paint[:] = np.clip(paint * (1 - amount) + 0.75 * tone * amount, 0, 255).astype(np.uint8)
    body.material.labels[:h, :w][density > 0.6] = label


def _lay(
    cut_: Cut,
    roots: Roots,
    form: Form,
    within: np.ndarray,
    skin: Grid,
    person: Person,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """The lines of a cut, (s, k, 3), and the lock that each is of, (s,)."""
    aside = side(roots.points, form)[:, 0]
    volume = 1 + 0.35 * person.hair_volume
    length = cut_.top + (cut_.sides - cut_.top) * aside
    length = length * rng.uniform(0.75, 1.1, len(roots)) * (0.75 + 0.25 * volume)
    x, y = (roots.uv * TEXTURE_PX).astype(int).T
    h, w = within.shape
    inner = smooth(within[np.clip(y, 0, h - 1), np.clip(x, 0, w - 1)] / 30)
    length *= 1 - cut_.shorn * aside * (1 - inner)
    height = cut_.height * volume * rng.uniform(0.1, 1, len(roots))
    height *= (1 - (0.55 if cut_.shorn else 0.25) * aside) * (0.3 + 0.7 * inner)
    comb = COMBS[cut_.comb]
    how = {
        "rise": cut_.rise,
        "height": height,
        "obey": cut_.obey,
        "weight": cut_.weight,
        "hug": cut_.hug,
    }
    lines = lay(roots, skin, length, cut_.steps, lambda p: comb(p, form), **how)
    if cut_.comb == "hanging":
        lines = _off_face(lines, form, rng)
    if cut_.fringe:
        lines = _fringe(cut_, lines, roots, form, skin, rng)
    lines = _trim(cut_, lines, form, rng)
    locks, centers = in_locks(roots, cut_.locks, rng)
    if cut_.points:
        lines = finer(lines, cut_.points)
    t = np.linspace(0, 1, lines.shape[1])
    lines = gather(lines, locks, centers, cut_.gathered * t ** (0.4 if cut_.radius else 0.7))
    if cut_.radius:
        count = len(centers)
        starts = smooth(t / 0.3)
        radius = cut_.radius * rng.uniform(0.7, 1.3, count)[locks][:, None] * starts
        pitch = cut_.pitch * rng.uniform(0.75, 1.3, count)[locks]
        lines = curl(lines, locks, radius, pitch, rng)
    lines = stray(lines, cut_.frizz, rng)
    if cut_.comb == "hanging":
        seen = ~_astray(lines, form, 0.06 if cut_.fringe else 0.105)
        lines, locks = lines[seen], locks[seen]
    return lines, locks


def _astray(lines: np.ndarray, form: Form, below: float) -> np.ndarray:
    """Which strands cross eyes, cheeks or mouth after all, (s,) bool."""
    x, y, z = np.moveaxis(lines / form.scale, -1, 0)
    face = (np.abs(x) < 0.066) & (y < below) & (y > -0.075) & (z > 0.035)
    return face.any(1)


def _off_face(lines: np.ndarray, form: Form, rng: np.random.Generator) -> np.ndarray:
    """Hold strands back from eyes, cheeks and mouth."""
    x, y, z = np.moveaxis(lines / form.scale, -1, 0)
    before = smooth((z - 0.015) / 0.03) * smooth((0.128 - y) / 0.03)
    half = np.interp(y, (-0.12, -0.06, 0.0, 0.06, 0.12), (0.05, 0.056, 0.068, 0.074, 0.074))
    half = half + rng.uniform(-0.003, 0.012, (len(lines), 1))
    left = np.sign(x.mean(1, keepdims=True) + 1e-6)
    moved = x + left * before * np.clip(half - left * x, 0, None)
    return np.stack([moved * form.scale, lines[..., 1], lines[..., 2]], -1).astype(np.float32)


def _trim(cut_: Cut, lines: np.ndarray, form: Form, rng: np.random.Generator) -> np.ndarray:
    """Cut strands off below a level, or where they are tied."""
    if cut_.comb == "tied":
        far = np.linalg.norm(lines - form.tie, axis=-1)
        beyond = far < 0.009 * form.scale
    elif cut_.level is not None:
        level = cut_.level * form.scale - rng.exponential(0.009, len(lines)) * form.scale
        beyond = lines[..., 1] < level[:, None]
    else:
        return lines
    ends = np.where(beyond.any(1), beyond.argmax(1), lines.shape[1] - 1)
    return cut(lines, np.maximum(ends, 2) / (lines.shape[1] - 1))


def _fringe(
    cut_: Cut, lines: np.ndarray, roots: Roots, form: Form, skin: Grid, rng: np.random.Generator
) -> np.ndarray:
    """Let what grows above the forehead fall into it."""
    a = np.abs(roots.uv[:, 0] - 0.325)
    front = (roots.points[:, 2] > 0.02 * form.scale) & (a < 0.115) & (roots.uv[:, 1] < 0.18)
    chosen = np.flatnonzero(front)
    length = cut_.fringe * rng.uniform(0.85, 1.05, len(chosen))
    comb = COMBS["forward"]
    fallen = lay(
        roots[chosen], skin, length, cut_.steps, lambda p: comb(p, form),
        rise=0.45, height=0.0075 * form.scale * rng.uniform(0.3, 1, len(chosen)), weight=0.06,
    )  # fmt: skip
    lines = lines.copy()
    lines[chosen] = fallen
    return lines


def _tail(
    cut_: Cut, form: Form, skin: Grid, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A tail from where hair is tied: its lines (s, k, 3), and the lock of each (s,)."""
    count = 2600
    disc = rng.normal(size=(count, 3)) * (0.006, 0.006, 0.003)
    way = unit(np.array([0, 0.35, -1]) + 18 * disc)
    zero = np.zeros((count, 3), int)
    roots = Roots((form.tie + disc).astype(np.float32), way, zero[:, :2], zero, zero)
    length = cut_.tail * rng.uniform(0.75, 1.0, count)
    shoulder = np.array([0.085 * rng.choice((-1, 1)), -0.07, 0.0]) * form.scale

    def comb(points: np.ndarray) -> np.ndarray:
        # Over a shoulder, where it is seen.
        below = smooth((shoulder[1] + 0.06 - points[:, 1:2]) / 0.05)
        ahead = unit(shoulder + (0, 0, -0.05) - points)
        return ahead + below * (np.array([0, -1, 0.45]) - ahead)

    lines = lay(
        roots, skin, length, 20, comb, rise=1.0, height=0.014, obey=0.4, weight=0.05,
    )  # fmt: skip
    locks, centers = in_locks(roots, 30, rng)
    t = np.linspace(0, 1, 21)
    return stray(gather(lines, locks, centers, 0.5 * t), 0.004, rng), locks


def _bun(
    cut_: Cut, form: Form, skin: Grid, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Hair wound up where it is tied: its lines (s, k, 3), and the lock of each (s,)."""
    count, k = 2600, 14
    axis = unit(np.array([0, 0.9, -0.5]))
    right = np.array([1.0, 0, 0])
    up = np.cross(axis, right)
    locks = rng.integers(0, 36, count)
    start = (rng.uniform(0, 2 * np.pi, 36)[locks] + rng.normal(0, 0.25, count))[:, None]
    angle = start + np.linspace(0, 2.4, k)
    band = np.clip(rng.uniform(-1, 1, 36)[locks] + rng.normal(0, 0.12, count), -1, 1)
    tilt = band[:, None] * 1.15 + 0.35 * np.sin(angle * 1.5 + locks[:, None])
    radius = cut_.bun * rng.uniform(0.86, 1.0, (count, 1))
    out = np.cos(tilt)[..., None] * (
        np.cos(angle)[..., None] * right + np.sin(angle)[..., None] * up
    )
    out = out + 0.8 * np.sin(tilt)[..., None] * axis
    center = form.tie + axis * 0.55 * cut_.bun
    return stray((center + radius[..., None] * out).astype(np.float32), 0.002, rng), locks


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
