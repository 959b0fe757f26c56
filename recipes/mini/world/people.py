"""People of the world: the numbers that make a face this face, and the surfaces made from them."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields, replace
from functools import lru_cache

import cv2
import numpy as np

from . import beard, clothes, features, glasses, hair, sewing, skin
from .ages import BODY_SCALE
from .bodies import Worn, worn
from .heads import (
    FACE_UV,
    SMALL,
    TEXTURE_PX,
    bank,
)
from .strands import skin_form
from .surface import EYE, HARD, PART, Material, Strands, Surface
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


# Which heads a face is mixed from, by what words say of the skin.
KIN = {
    "light": ("White", "Asian", "MENA", "X_MENA"),
    "tan": ("Hispanic", "MENA", "Asian", "AIAN", "X_AIAN", "X_MENA", "White"),
    "indian": ("MENA", "Hispanic", "AIAN", "X_AIAN", "NHPI", "X_NHPI", "X_MENA"),
    "dark": ("Black", "NHPI", "X_NHPI"),
}


def sex(look: Look) -> str:
    """F or M, as the bank's names have it."""
    return "F" if look.who in ("woman", "girl") else "M"


def donors(person: Person, look: Look) -> tuple[np.ndarray, np.ndarray]:
    """Which heads a face is mixed from: rows of the bank and their weights, (2..3,) each."""
    rng = np.random.default_rng((person.seed, 1))
    names = bank().names
    kin = KIN[look.skin] if look.mona_lisa == "no" else ("White", "MENA")
    fits = [
        i
        for i, name in enumerate(names)
        if name.rsplit("_", 2)[0] in kin and name.rsplit("_", 2)[1] == sex(look)
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
    _, y, z = heads.shapes.mean(0).T
    high = y > -0.02
    nape = np.clip((-0.015 - z) / 0.02, 0, 1) * (y < 0.06)
    return (
        nape
        + (1 - nape)
        * np.clip((value - 0.35) / 0.3, 0, 1)
        * np.clip((away - 0.9) / 0.2, 0, 1)
        * high
    )


def build(person: Person, look: Look, wear: int = 0) -> Body:
    """The surfaces of a person in a look, in the rest pose with the arms down.

    wear: which of the clothes that the look's word allows, 0 and up.
    """
    person = _sitter(person, look)
    points, small = mixed_head(person, look)
    garment = clothes.garment(person.seed, look, sex(look), wear)
    wearer = clothes.wearer(person.seed, garment)
    own = worn(*wearer)
    # The head takes the size of the body that it sits on.
    points, small = points / own.scale, {k: v / own.scale for k, v in small.items()}
    positions, followed = _built(own, person, look), points[own.bank_index]
    weight = _smooth((followed[:, 1] + 0.148) / 0.085)
    # As high as the neck lie shoulders too: these are the body's.
    beside = _smooth((0.12 - np.abs(followed[:, 0])) / 0.035)
    weight *= np.where(followed[:, 1] > -0.05, 1, beside)
    positions[own.near] += weight[:, None] * (followed - positions[own.near])
    positions = sewing.thicken(positions, wearer, garment).astype(np.float32)
    material = skin.paint(person, look, *donors(person, look), garment)
    body = Surface(
        *("body", positions, own.uv, own.triangles, own.head, own.neck, material),
        welds=own.welds,
    )
    surfaces = [body, *sewing.sewn(positions, wearer, garment, person.seed)]
    for name, p in small.items():
        surfaces.append(_small_surface(name, p, material))
    eyes = np.stack([small[s].mean(0) for s in ("h_L_eye", "h_R_eye")])
    head = Head(points.astype(np.float32), features.landmarks(points, eyes))
    surfaces += glasses.wear(person, look, head) + glasses.studs(person, look, head)
    form = skin_form(body)
    strands = hair.grow(person, look, head, body, form)
    strands += beard.grow(person, look, head, body, form)
    if look.mona_lisa == "yes":  # who has none
        strands = tuple(s for s in strands if s.label != PART["brows"])
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


def _sitter(person: Person, look: Look) -> Person:
    """Mona Lisa's high forehead, dark eyes and parting, whoever sits for her."""
    if look.mona_lisa != "yes":
        return person
    return replace(
        *(person,), hairline=0.7, parting=0.0, eye_color=-0.7, cheeks=0.8, lip_fullness=-0.5,
        hair_tone=-0.4, skin_warmth=0.8, nose_bridge=0.2, nose_length=0.4, hair_volume=-0.6,
    )  # fmt: skip


def _built(own: Worn, person: Person, look: Look) -> np.ndarray:
    """Points of a body (n, 3) of a person's build: children's are small, some are broad."""
    rng = np.random.default_rng((person.seed, 9))
    size = BODY_SCALE[look.who] * rng.uniform(0.97, 1.04)
    broad = size * rng.uniform(0.94, 1.07)
    return own.neck_joint + (own.positions - own.neck_joint) * (broad, size, size)


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
