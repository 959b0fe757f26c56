"""People of the world: the numbers that make a face this face, and the surfaces made from them."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from functools import lru_cache

import cv2
import numpy as np

from . import beard, features, glasses, hair
from .bodies import worn
from .heads import (
    FACE_RADIUS,
    FACE_UV,
    SMALL,
    TEXTURE_PX,
    bank,
    files,
    head_crop,
    scene,
    uv_grid,
)
from .surface import EYE, HARD, PART, SKIN, Material, Strands, Surface
from .words import Look


@dataclass(frozen=True)
class Person:
    """What makes a face this face: numbers from -1 to 1, 0 is the middle of the world.

    They act within what the words say: `hair_tone` makes brown hair a lighter or darker brown.
    `seed` chooses the heads that this face is mixed from.
    """

    seed: int = 0
    face_width: float = 0.0
    face_length: float = 0.0
    jaw: float = 0.0  # -1 tapered, 1 square
    chin: float = 0.0  # -1 short, 1 long
    cheeks: float = 0.0  # -1 hollow, 1 full
    skin_tone: float = 0.0  # -1 darker, 1 lighter
    skin_warmth: float = 0.0
    eye_spacing: float = 0.0
    eye_size: float = 0.0
    eye_slant: float = 0.0
    eye_color: float = 0.0  # -1 dark brown, 0 green, 1 blue
    brow_height: float = 0.0
    brow_thickness: float = 0.0
    nose_length: float = 0.0
    nose_width: float = 0.0
    nose_bridge: float = 0.0  # -1 snub, 1 hooked
    mouth_width: float = 0.0
    lip_fullness: float = 0.0
    ear_size: float = 0.0
    hair_tone: float = 0.0
    hairline: float = 0.0  # -1 low, 1 high
    hair_volume: float = 0.0
    parting: float = 0.0  # -1 on the left, 1 on the right

    def numbers(self) -> np.ndarray:
        """The numbers as an array, (23,), -1 to 1."""
        return np.array(astuple(self)[1:], dtype=np.float32)


PERSON_NUMBERS = tuple(f.name for f in fields(Person))[1:]


def random_person(rng: np.random.Generator) -> Person:
    """Draw a person: each number uniform in -1..1."""
    seed = int(rng.integers(2**31))
    return Person(seed, *(float(x) for x in rng.uniform(-1, 1, len(PERSON_NUMBERS))))


@dataclass(frozen=True)
class Head:
    """A bald head in the bank's topology, what hair, beards and glasses are made on."""

    points: np.ndarray  # (n, 3) float32 metres, the head's joint at 0
    landmarks: dict[str, np.ndarray]  # name -> (3,), see features.SPOTS, and eye_left, eye_right
    # Triangles, uv and weights are the bank's own: bank().triangles, .uv, .head, .neck.


@dataclass(frozen=True)
class Body:
    """A person dressed, in the rest pose: surfaces, and what moves them."""

    surfaces: tuple[Surface, ...]
    strands: tuple[Strands, ...]  # hair, brows, beard
    neck: np.ndarray  # (3,) the neck's joint; the head's joint is 0
    eyes: np.ndarray  # (2, 3) centres of the person's left and right eye
    head: Head
    head_index: np.ndarray  # (k,) points of the first surface that follow the bank's head
    bank_index: np.ndarray  # (k,) the bank's point of each
    head_weight: np.ndarray  # (k,) how much it follows


# sRGB of cheeks between which skin_tone moves, by what words say.
TONES = {
    "light": ((214, 164, 138), (240, 203, 180)),
    "tan": ((184, 132, 102), (214, 166, 134)),
    "indian": ((138, 90, 62), (176, 122, 90)),
    "dark": ((70, 44, 34), (118, 78, 58)),
}
# Which heads a face is mixed from, by what words say of the skin.
KIN = {
    "light": ("White", "Asian", "MENA", "X_MENA"),
    "tan": ("Hispanic", "MENA", "Asian", "AIAN", "X_AIAN", "X_MENA", "White"),
    "indian": ("MENA", "Hispanic", "AIAN", "X_AIAN", "NHPI", "X_NHPI", "X_MENA"),
    "dark": ("Black", "NHPI", "X_NHPI"),
}
SCALPS = {
    "light": ("White_F_1", "White_F_3"),
    "tan": ("Hispanic_F_3", "Asian_F_2", "Asian_F_3"),
    "indian": ("Hispanic_F_3", "X_NHPI_F_3"),
    "dark": ("Black_F_2", "Black_M_2"),
}
OUTFIT = {  # file of the wardrobe, by what words say; the rest is painted, see clothes.py
    "t-shirt": "Casual", "sweatshirt": "Casual", "suit": "Busi", "dress": "Casual",
    "doctor's coat": "Medi", "uniform": "Milit",
}  # fmt: skip


def sex(look: Look) -> str:
    """F or M, as the bank's names have it."""
    return "F" if look.who in ("woman", "girl") else "M"


def donors(person: Person, look: Look) -> tuple[np.ndarray, np.ndarray]:
    """Which heads a face is mixed from: rows of the bank and their weights, (2..3,) each."""
    rng = np.random.default_rng((person.seed, 1))
    names = bank().names
    fits = [
        i
        for i, name in enumerate(names)
        if name.rsplit("_", 2)[0] in KIN[look.skin] and name.rsplit("_", 2)[1] == sex(look)
    ]
    count = min(len(fits), int(rng.integers(2, 4)))
    chosen = rng.choice(fits, count, replace=False)
    weights = rng.dirichlet(np.full(count, 1.2))
    return chosen[np.argsort(-weights)], np.sort(weights)[::-1]


def mixed_head(person: Person, look: Look) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Points of a head, (n, 3), and of its small meshes, all features moved; the bank's frame."""
    heads = bank()
    rows, weights = donors(person, look)
    same_sex = [i for i, n in enumerate(heads.names) if n.rsplit("_", 2)[1] == sex(look)]
    gain = 1.12  # between two faces lies an average one: a step beyond keeps people apart

    def mix(shapes: np.ndarray) -> np.ndarray:
        mean = shapes[same_sex].mean(0)
        return mean + gain * np.tensordot(weights, shapes[rows] - mean, 1)

    points = mix(heads.shapes)
    bare = np.median(heads.shapes[heads.bald], 0)  # some who wear wigs have hair beneath
    scalp = _scalp()[:, None]
    points = points * (1 - scalp) + bare * scalp
    return features.move(points, {s: mix(heads.small[s]) for s in SMALL}, person, look)


@lru_cache(maxsize=1)
def _scalp() -> np.ndarray:
    """How much each point of the head is scalp, (n,) 0..1: there all take a bald form."""
    heads = bank()
    # Blurred within the head's part of the texture alone, up to its edges.
    soft, share = (
        cv2.GaussianBlur(m, (0, 0), 18) for m in (heads.hair * heads.island, heads.island)
    )
    soft = soft / np.maximum(share, 1e-3)
    x, y = (heads.uv * TEXTURE_PX).astype(int).T
    h, w = soft.shape
    inside = (x < w) & (y < h)
    value = soft[np.clip(y, 0, h - 1), np.clip(x, 0, w - 1)] * inside
    away = np.linalg.norm((heads.uv - FACE_UV) / (0.15, 0.19), axis=1)
    high = heads.shapes.mean(0)[:, 1] > -0.02
    return np.clip((value - 0.35) / 0.3, 0, 1) * np.clip((away - 0.9) / 0.2, 0, 1) * high


def build(person: Person, look: Look) -> Body:
    """The surfaces of a person in a look, in the rest pose with the arms down."""
    points, small = mixed_head(person, look)
    rng = np.random.default_rng((person.seed, 2))
    wearer, outfit = wardrobe(look, rng)
    own = worn(wearer, outfit)
    # The head takes the size of the body that it sits on.
    points, small = points / own.scale, {k: v / own.scale for k, v in small.items()}
    positions, followed = own.positions.copy(), points[own.bank_index]
    weight = _smooth((followed[:, 1] + 0.135) / 0.05)
    positions[own.near] += weight[:, None] * (followed - positions[own.near])
    material = paint(person, look, wearer, outfit)
    body = Surface(
        *("body", positions, own.uv, own.triangles, own.head, own.neck, material),
        welds=own.welds,
    )
    surfaces = [body]
    for name, p in small.items():
        surfaces.append(_small_surface(name, p, material))
    eyes = np.stack([small[s].mean(0) for s in ("h_L_eye", "h_R_eye")])
    head = Head(points.astype(np.float32), features.landmarks(points, eyes))
    surfaces += glasses.wear(person, look, head) + glasses.studs(person, look, head)
    strands = hair.grow(person, look, head, body) + beard.grow(person, look, head, body)
    return Body(
        surfaces=tuple(surfaces),
        strands=strands,
        neck=own.neck_joint,
        eyes=eyes,
        head_index=own.near,
        bank_index=own.bank_index,
        head_weight=weight / own.scale,
        head=head,
    )


def wardrobe(look: Look, rng: np.random.Generator) -> tuple[str, str]:
    """Whose clothes are worn, and which of them."""
    outfit = OUTFIT[look.clothing]
    worn_by = [n for n, o in files().items() if outfit in o and n.rsplit("_", 2)[1] == sex(look)]
    # Hands and chest are the wearer's: of like skin, so that little is left to recolour.
    kin = [n for n in worn_by if n.rsplit("_", 2)[0] in KIN[look.skin]]
    return str(rng.choice(kin or worn_by)), outfit


def _smooth(t: np.ndarray) -> np.ndarray:
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def _small_surface(name: str, points: np.ndarray, skin: Material) -> Surface:
    """An eye, a tear gland or a row of teeth, textured from the same picture as the skin."""
    ones = np.ones(len(points), np.float32)
    kind, label = (EYE, "eyes") if "eye" in name else (HARD, "mouth")
    shine = {"roughness": 0.08, "specular": 1.0} if kind == EYE else {"roughness": 0.3}
    material = Material(kind, skin.color, labels=PART[label], **shine)
    uv, triangles = bank().small_uv[name], bank().small_triangles[name]
    return Surface(name, points.astype(np.float32), uv, triangles, ones, 0 * ones, material)


def _linear(srgb: np.ndarray) -> np.ndarray:
    c = srgb / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4).astype(np.float32)


def _srgb(linear: np.ndarray) -> np.ndarray:
    c = np.clip(linear, 0, 1)
    return (255 * np.where(c <= 0.0031308, 12.92 * c, 1.055 * c ** (1 / 2.4) - 0.055)).astype(
        np.float32
    )


CHEEK_UV = (0.24, 0.32)


@lru_cache(maxsize=64)
def relative_skin(row: int) -> np.ndarray:
    """A head's texture divided by the colour of its cheeks, (h, w, 3) float32, linear light."""
    skin = _linear(bank().skins[row].astype(np.float32))
    grid = uv_grid()
    cheek = np.linalg.norm(grid - CHEEK_UV, axis=-1) < 0.03
    cheek |= np.linalg.norm(grid - (0.65 - CHEEK_UV[0], CHEEK_UV[1]), axis=-1) < 0.03
    return skin / np.median(skin[cheek], 0)


def paint(person: Person, look: Look, wearer: str, outfit: str) -> Material:
    """The skin and the clothes of a person: one texture, its relief and its labels."""
    heads = bank()
    rows, weights = donors(person, look)
    rng = np.random.default_rng((person.seed, 3))
    grid = uv_grid()
    away = np.linalg.norm(grid - FACE_UV, axis=-1)
    face = _smooth((FACE_RADIUS - away) / 0.035)[..., None]
    scalp = relative_skin(heads.index(str(rng.choice(SCALPS[look.skin]))))
    mixed = sum(w * relative_skin(r) for r, w in zip(rows, weights, strict=True))
    # Mixing blurs: pores and brows come from the head that counts most.
    detail = relative_skin(rows[0]) / np.maximum(
        cv2.GaussianBlur(relative_skin(rows[0]), (0, 0), 3), 0.02
    )
    mixed = cv2.GaussianBlur(mixed, (0, 0), 3) * np.clip(detail, 0.5, 1.6)
    # Hair that hangs into a forehead gives way to skin.
    fringe = _smooth((0.62 - mixed.mean(-1)) / 0.2) * _smooth((0.165 - grid[..., 1]) / 0.02)
    face = face * (1 - fringe[..., None])
    low, high = (np.array(c, np.float32) for c in TONES[look.skin])
    tone = low + (high - low) * (person.skin_tone + 1) / 2
    tone = tone * (1 + person.skin_warmth * np.array([0.025, 0, -0.045], np.float32))
    skin = _srgb(_linear(tone) * (scalp * (1 - face) + mixed * face))
    clothes, body, relief = _wardrobe_texture(wearer, outfit)
    h, w = away.shape
    color = body.astype(np.float32)
    own_tone = _tone(wearer)
    chest = np.exp(
        -(
            (
                np.abs(
                    color / (color.mean(-1, keepdims=True) + 1) - own_tone / own_tone.mean()
                ).sum(-1)
                / 0.17
            )
            ** 2
        )
    )
    chest *= np.exp(-(((color.mean(-1) / own_tone.mean() - 1) / 0.6) ** 2))
    recolored = _srgb(_linear(color) / _linear(own_tone) * _linear(tone))
    color += chest[..., None] * (recolored - color)
    # Clothes that show the wearer's own skin are none.
    clothes = clothes * (1 - np.clip(2 * chest[:h, :w], 0, 1))
    own = (heads.island * (1 - clothes))[..., None]
    color[:h, :w] += own * (skin - color[:h, :w])
    features.paint_eyes(color, person, look)
    relief = relief.astype(np.float32)
    own_relief = sum(
        wt * heads.reliefs[r].astype(np.float32) for r, wt in zip(rows, weights, strict=True)
    )
    smooth = heads.reliefs[heads.index(SCALPS["tan"][0])].astype(np.float32)
    relief[:h, :w] += own * (smooth * (1 - face) + own_relief * face - relief[:h, :w])
    return Material(
        SKIN,
        np.clip(color, 0, 255).astype(np.uint8),
        np.clip(relief, 0, 255).astype(np.uint8),
        _labels(clothes, chest),
        roughness=0.46,
        specular=0.75,
    )


@lru_cache(maxsize=64)
def _tone(name: str) -> np.ndarray:
    skin = bank().skins[bank().index(name)].astype(np.float32)
    return np.median(skin[np.linalg.norm(uv_grid() - CHEEK_UV, axis=-1) < 0.03], 0)


@lru_cache(maxsize=4)
def _wardrobe_texture(wearer: str, outfit: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where a wearer's head texture is clothes, (h, w) 0..1; the whole texture and its relief."""
    own = scene(wearer, outfit)
    color, relief = (
        np.asarray(p.resize((TEXTURE_PX, TEXTURE_PX))) for p in (own.colors[0], own.normal_maps[0])
    )
    skin = bank().skins[bank().index(wearer)].astype(np.float32)
    crop = head_crop(own.colors[0]).astype(np.float32)
    grid = uv_grid()
    changed = np.abs(crop - skin).max(-1) > 22
    # A band at the foot of the neck is clothes in every outfit: there the skin's colour decides.
    tone = _tone(wearer)
    strange = np.abs(crop / (crop.mean(-1, keepdims=True) + 1) - tone / tone.mean()).sum(-1) > 0.22
    foot = grid[..., 1] > 0.47 - 0.09 * (np.abs(grid[..., 0] - 0.325) / 0.25) ** 2
    clothes = ((changed | strange) & foot).astype(np.float32)
    clothes = cv2.morphologyEx(clothes, cv2.MORPH_CLOSE, np.ones((9, 9)))
    clothes = cv2.morphologyEx(clothes, cv2.MORPH_OPEN, np.ones((5, 5)))
    clothes[:, : int(0.09 * TEXTURE_PX)] = 0  # the ears
    return cv2.GaussianBlur(clothes, (0, 0), 1.0), color, relief


def _labels(clothes: np.ndarray, chest: np.ndarray) -> np.ndarray:
    """Which part each texel is, (1024, 1024) uint8 of PARTS."""
    grid = uv_grid()
    u, v = grid[..., 0], grid[..., 1]
    h, w = u.shape
    labels = np.full((TEXTURE_PX, TEXTURE_PX), PART["clothes"], np.uint8)
    labels[chest > 0.5] = PART["neck"]
    head = np.full((h, w), PART["face"], np.uint8)
    jaw = 0.475 - 0.12 * (np.abs(u - 0.325) / 0.2) ** 2
    head[v > jaw] = PART["neck"]
    head[(u < 0.085) & (v > 0.3)] = PART["neck"]
    head[((u - 0.325) / 0.066) ** 2 + ((v - 0.355) / 0.024) ** 2 < 1] = PART["mouth"]
    brow = (
        (bank().hair > 0.3)
        & (v > 0.155)
        & (v < 0.202)
        & (np.abs(np.abs(u - 0.325) - 0.067) < 0.045)
    )
    head[brow] = PART["brows"]
    head[clothes > 0.5] = PART["clothes"]
    labels[:h, :w] = head
    return labels
