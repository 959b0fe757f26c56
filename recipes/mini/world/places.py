"""What is behind the person, and the light that it gives: photographed or drawn."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from . import surroundings
from .canvas import Canvas, hsv
from .scenery import PAINTERS

KINDS = ("plain", "forest", "jungle", "beach", "city", "bubblegum")

# Panoramas that show a place, with the yaws (degrees) at which they do and the share of pictures.
VIEWS: dict[str, tuple[tuple[str, float, float, float], ...]] = {
    "forest": (("forest", -160, -20, 0.35), ("pmndrs_forest", -180, 180, 0.65)),
    "city": (
        ("city", -180, 180, 0.55),
        ("pmndrs_city", 0, 150, 0.25),
        ("pmndrs_sunset", -180, -60, 0.2),
    ),
}
PHOTOGRAPHED = {"forest": 0.7, "city": 0.5}  # the share of panoramas; the rest is painted
# Unevenness of a painted place as a photograph: (cells across, depth) of each octave.
MOTTLE: dict[str, tuple[tuple[int, float], ...]] = {
    "forest": ((5, 0.25), (24, 0.3), (80, 0.3)),
    "jungle": ((5, 0.3), (24, 0.3), (80, 0.25)),
    "beach": ((4, 0.06), (120, 0.02)),
    "city": ((4, 0.12), (120, 0.03)),
    "bubblegum": ((3, 0.05),),
}
GAIN = {"bubblegum": 1.5, "beach": 1.25}  # of the painted light: bright, airy places
# Panoramas that only light a place.
LIGHTS = {
    "forest": ("forest", "pmndrs_forest"),
    "jungle": ("forest", "pmndrs_forest"),
    "beach": ("pmndrs_sky", "pmndrs_park", "sunset", "pmndrs_venice"),
    "city": ("city", "pmndrs_city", "pmndrs_sunset", "pmndrs_esplanade"),
}


@dataclass(frozen=True)
class Place:
    """A background and its light, for one shot."""

    kind: str
    image: np.ndarray  # (height, width, 3) float32, linear light
    irradiance: np.ndarray  # (9, 3), see `surroundings.light_of`: a white surface's light
    key_direction: np.ndarray  # (3,) unit, camera space, to the key light
    key_color: np.ndarray  # (3,) what the key adds on a white surface that faces it


def place(kind: str, rng: np.random.Generator, size_px: int, *, drawn: bool = False) -> Place:
    """A place of a kind of KINDS: its picture, (size_px, size_px, 3), and what light it sheds.

    drawn: sharp flat shapes instead of a photograph out of focus.  A white surface before the
    camera comes to about 1 in all.  Raises ValueError for another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"place is {kind!r}, expected one of {', '.join(KINDS)}")
    seen_yaw: tuple[str, float] | None = None
    if kind == "plain":
        image = _wall(rng, size_px, drawn)
    elif not drawn and rng.random() < PHOTOGRAPHED.get(kind, 0):
        image, seen_yaw = _photograph(kind, rng, size_px)
    else:
        canvas = Canvas(size_px)
        PAINTERS[kind](canvas, rng)
        image = linear(canvas.pixels) if drawn else _out_of_focus(canvas.pixels, rng, kind)
    return Place(kind, image.astype(np.float32), *_light(kind, rng, seen_yaw))


def linear(pixels: np.ndarray) -> np.ndarray:
    """sRGB bytes or 0..1 as linear light 0..1, same shape."""
    value = pixels.astype(np.float32) / (255 if pixels.dtype == np.uint8 else 1)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _wall(rng: np.random.Generator, size_px: int, drawn: bool) -> np.ndarray:
    """A studio's paper wall: a colour, a gradient, a pool of light, a vignette."""
    grey = rng.random() < 0.4
    saturation = rng.uniform(0, 0.12) if grey else rng.uniform(0.25, 0.7)
    value = rng.choice([rng.uniform(0.12, 0.3), rng.uniform(0.4, 0.75), rng.uniform(0.8, 0.97)])
    color = linear(np.array(hsv(rng.uniform(0, 360), saturation, value)) / 255)
    x, y = np.meshgrid(*[np.linspace(-1, 1, size_px, dtype=np.float32)] * 2)
    pool = np.exp(-((x - rng.uniform(-0.6, 0.6)) ** 2 + (y - rng.uniform(-0.5, 0.3)) ** 2) / 0.9)
    slope = rng.uniform(-0.25, 0.25) * x + rng.uniform(-0.25, 0.15) * y
    depth = rng.uniform(0.0, 0.9)
    light = 1 + depth * (pool - 0.55) + slope * (0.3 if drawn else 1.0)
    if not drawn:
        mottle = cv2.resize(rng.normal(0, 1, (9, 9)).astype(np.float32), (size_px, size_px))
        light += mottle * rng.choice([0, 0, 0.05, 0.1])  # a painted backdrop
    return color * np.clip(light, 0.1, 2.2)[..., None]


def _photograph(
    kind: str, rng: np.random.Generator, size_px: int
) -> tuple[np.ndarray, tuple[str, float]]:
    """A crop of a panorama, out of focus; also which one and at what yaw."""
    views = VIEWS[kind]
    name, low, high, _ = views[rng.choice(len(views), p=[view[3] for view in views])]
    yaw = rng.uniform(low, high)
    panorama = surroundings.panoramas()[name]
    if rng.random() < 0.5:
        panorama, yaw = panorama[:, ::-1], -yaw
    half = size_px // 2
    view = surroundings.crop(panorama, yaw, rng.uniform(2, 14), rng.uniform(42, 72), half)
    view *= rng.uniform(0.22, 0.42) / (np.median(view) + 0.02)
    blurred = disc_blur(np.minimum(view, 12), half * rng.uniform(0.008, 0.022))
    return cv2.resize(blurred, (size_px, size_px), interpolation=cv2.INTER_CUBIC), (name, yaw)


def disc_blur(image: np.ndarray, radius_px: float) -> np.ndarray:
    """A lens's blur: the mean over a disc with a soft rim, so that bright points become discs."""
    reach = int(np.ceil(radius_px))
    x, y = np.meshgrid(*[np.arange(-reach, reach + 1)] * 2)
    disc = np.clip(radius_px + 0.5 - np.hypot(x, y), 0, 1).astype(np.float32)
    return cv2.filter2D(image, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT)


def _out_of_focus(pixels: np.ndarray, rng: np.random.Generator, kind: str) -> np.ndarray:
    """A painted place as a lens sees it far behind: uneven light, glare, blur, haze."""
    size_px = pixels.shape[0]
    half = size_px // 2
    light = linear(cv2.resize(pixels, (half, half), interpolation=cv2.INTER_AREA))
    for cells, depth in MOTTLE[kind]:
        noise = rng.normal(0, depth, (cells, cells)).astype(np.float32)
        light *= np.exp(cv2.resize(noise, (half, half), interpolation=cv2.INTER_CUBIC))[..., None]
    grey = light.mean(-1, keepdims=True)
    purity = rng.uniform(0.7, 1.0) if kind != "bubblegum" else 1.25  # paint is purer than most
    light = np.maximum(grey + (light - grey) * purity, 0)
    # Lamps, windows and glosses are far brighter than paint: out of focus they become discs.
    level = light.min(-1, keepdims=True) if kind == "bubblegum" else light.max(-1, keepdims=True)
    light *= GAIN.get(kind, 1.0)
    light *= 1 + (2.5 if kind == "city" else 0.8) * np.clip((level - 0.72) / 0.28, 0, 1) ** 2
    blurred = disc_blur(light, half * rng.uniform(0.010, 0.024))
    return cv2.resize(blurred, (size_px, size_px), interpolation=cv2.INTER_CUBIC).clip(0)


def _light(
    kind: str, rng: np.random.Generator, seen: tuple[str, float] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Irradiance, key direction and key colour, a white surface before the camera at about 1."""
    if kind not in LIGHTS:
        return _studio_light(kind, rng)
    name, yaw = seen or (rng.choice(LIGHTS[kind]), 0.0)
    panorama = surroundings.panoramas()[name]
    # A photographer turns people so that the light falls on their face: of some yaws the best.
    yaws = [yaw] if seen else rng.uniform(-180, 180, 5)
    lights = [surroundings.light_of(panorama, float(turn)) for turn in yaws]
    irradiance, direction, sun = max(lights, key=lambda light: light[1][2])
    direction = direction + (0.0, 0.15, max(0.0, 0.35 - direction[2]))  # a reflector in front
    direction /= np.linalg.norm(direction)
    front = surroundings.harmonics(np.array([0.0, 0.3, 0.954])) @ irradiance
    # White balance takes most of the cast away, as a camera does.
    irradiance = irradiance * (0.55 / (0.8 * front + 0.2 * front.mean()).clip(1e-3))
    color = sun / (sun.mean() + 1e-6) if sun.mean() > 0.02 else np.ones(3)
    color = (0.3 * color + 0.7) * np.array([1.03, 1.0, 0.97])
    return irradiance, direction, (color * rng.uniform(0.45, 0.95)).astype(np.float32)


def _studio_light(kind: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A key from above and one side, a soft fill, sometimes a rim light from behind."""
    side = rng.choice([-1, 1])
    turn, lift = np.radians(rng.uniform(15, 65)) * side, np.radians(rng.uniform(15, 45))
    direction = np.array([np.sin(turn) * np.cos(lift), np.sin(lift), np.cos(turn) * np.cos(lift)])
    warm = rng.uniform(-0.06, 0.08)
    key = np.array([1 + warm, 1, 1 - warm]) * rng.uniform(0.6, 1.05)
    towards, angle = surroundings.directions(16)
    fill = np.exp(4 * (towards @ (np.array([-side * 0.7, 0.1, 0.7]) / 0.995) - 1))
    rim = np.exp(10 * (towards @ (np.array([-side * 0.75, 0.25, -0.61])) - 1)) * rng.uniform(0, 3)
    glow = 0.28 + 0.5 * fill + rim + 0.15 * towards[..., 1]
    tint = np.array([1.04, 0.96, 1.0]) if kind == "bubblegum" else np.ones(3)
    panorama = (glow[..., None] * tint).astype(np.float32).clip(0)
    falloff = np.repeat([1.0, 2 / 3, 1 / 4], [1, 3, 5])[:, None]
    weights = surroundings.harmonics(towards) * angle[..., None]
    irradiance = np.einsum("hwc,hwk->kc", panorama, weights) * falloff
    return irradiance.astype(np.float32), direction, key.astype(np.float32)
