"""Shots: how a person was caught. Turns the head, moves the face, places camera and lights."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import nnls

from .heads import bank
from .people import Body
from .places import Place
from .render import Camera, Light, Posed, PosedStrands, pose_normals
from .surroundings import harmonics
from .words import Look


@dataclass(frozen=True)
class Shot:
    """How the person was caught: numbers from -1 to 1, 0 is straight, centred and evenly lit."""

    yaw: float = 0.0  # the head turned to the left or right of the picture
    pitch: float = 0.0  # down or up
    tilt: float = 0.0
    turn: float = 0.0  # of the shoulders
    gaze_x: float = 0.0  # beyond the turn of the head
    gaze_y: float = 0.0
    zoom: float = 0.0  # -1 chest, 1 face
    shift_x: float = 0.0
    shift_y: float = 0.0
    lens: float = 0.0  # -1 wide and near, 1 long and far
    light: float = 0.0  # where the light comes from: -1 left, 1 right
    height: float = 0.0  # how high
    softness: float = 0.0  # -1 a bare lamp, 1 a bright sky
    contrast: float = 0.0  # key against fill
    mouth: float = 0.0  # -1 closed, 1 open a little
    brows: float = 0.0
    lids: float = 0.0
    hue: float = 0.0  # of what is worn
    scene: float = 0.0  # moves what is behind the person


def random_shot(rng: np.random.Generator) -> Shot:
    """Draw a shot: mostly near the middle, so that the face is large and centred."""
    middle = rng.uniform(-1, 1, 10) * rng.uniform(0, 1, 10) ** 0.5
    return Shot(*(float(x) for x in (*middle, *rng.uniform(-1, 1, 9))))


# Weights of the bank's expressions, by what words say of the face.
EXPRESSIONS: dict[str, dict[str, float]] = {
    "neutral": {},
    "smiling": {
        "RsmileClose": 1.0, "LsmileClose": 1.0, "Rsquint": 0.10, "Lsquint": 0.10,
        "RlowLid": 0.15, "LlowLid": 0.15, "RlipCorner": 0.3, "LlipCorner": 0.3,
    },
    "laughing": {
        "RsmileOpen": 0.80, "LsmileOpen": 0.80, "RsmileClose": 0.2, "LsmileClose": 0.2,
        "Rsquint": 0.12, "Lsquint": 0.12, "RlowLid": 0.15, "LlowLid": 0.15, "MouthOpen": 0.06,
    },
    "serious": {
        "RbrowDown": 0.75, "LbrowDown": 0.75, "RRbrowDown": 0.45, "LLbrowDown": 0.45,
        "RmouthSad": 0.35, "LmouthSad": 0.35, "MPB_Up": 0.12, "Rsquint": 0.25, "Lsquint": 0.25,
    },
}  # fmt: skip


def expression(look: Look, shot: Shot) -> dict[str, float]:
    """Weights of the bank's expressions in a shot."""
    name = look.expression
    if name == "smiling" and shot.mouth > 0:
        name = "laughing"  # half of all smiles show teeth
    weights = dict(EXPRESSIONS[name])
    if look.mona_lisa == "yes":
        weights = {"RsmileClose": 0.30, "LsmileClose": 0.42, "LlipCorner": 0.2}
    strength = 1 + 0.2 * shot.mouth
    weights = {k: v * strength for k, v in weights.items()}
    raised = {"RbrowUp": 0.3, "LbrowUp": 0.3, "RRbrowUp": 0.2, "LLbrowUp": 0.2}
    if look.expression != "serious" and shot.brows > 0:
        weights |= {k: v * shot.brows for k, v in raised.items()}
    lids = ("ReyeClose", "LeyeClose") if shot.lids > 0 else ("ReyeOpen", "LeyeOpen")
    weights |= {k: (0.12 if shot.lids > 0 else 0.3) * abs(shot.lids) for k in lids}
    return weights


def composed(look: Look, shot: Shot) -> Shot:
    """A shot as a composition wants it: Mona Lisa sits turned to the left and looks at us."""
    if look.mona_lisa != "yes":
        return shot
    return replace(
        shot, yaw=-0.45 + 0.1 * shot.yaw, pitch=0.1 * shot.pitch, tilt=0.1 * shot.tilt,
        turn=-1.4 + 0.3 * shot.turn, gaze_x=0.15, gaze_y=0.0, zoom=-0.9 + 0.3 * shot.zoom,
        shift_x=0.3 * shot.shift_x, shift_y=-0.9, mouth=-0.5, brows=0.0, lids=0.4,
    )  # fmt: skip


def pose(
    body: Body, look: Look, shot: Shot
) -> tuple[list[Posed | PosedStrands], dict[str, np.ndarray]]:
    """The surfaces of a body in a shot, and its landmarks: name -> (3,) metres."""
    weights = expression(look, shot)
    heads = bank()
    offset = sum(
        (w * heads.expressions[k] for k, w in weights.items()), np.zeros_like(heads.uv[:1, :1])
    )
    jaw = sum((w * heads.jaw[k] for k, w in weights.items() if k in heads.jaw), np.zeros(3))
    yaw, pitch, roll = np.radians([32 * shot.yaw, 13 * shot.pitch, 11 * shot.tilt])
    turn = _turn(np.radians(16 * shot.turn + 6 * shot.yaw), 0, 0)
    neck = _turn(0.4 * yaw, 0.4 * pitch, 0.45 * roll)
    head = _turn(0.6 * yaw, 0.6 * pitch, 0.55 * roll)

    def place(points: np.ndarray, of_head: np.ndarray, of_neck: np.ndarray) -> np.ndarray:
        by_neck = (points - body.neck) @ neck.T + body.neck
        by_head = (points @ head.T - body.neck) @ neck.T + body.neck
        rest = 1 - of_head - of_neck
        placed = of_head[..., None] * by_head + of_neck[..., None] * by_neck
        placed += rest[..., None] * points
        return ((placed - body.neck) @ turn.T + body.neck).astype(np.float32)

    posed = []
    for surface in body.surfaces:
        points = surface.positions
        if surface.name == "body":
            points = points.copy()
            points[body.head_index] += body.head_weight[:, None] * offset[body.bank_index]
        elif surface.name == "h_TeethDown":
            points = points + jaw
        elif surface.name.endswith("_eye"):
            center = points.mean(0)
            gaze = _turn(
                np.radians(14 * shot.gaze_x - 18 * shot.yaw * 0.8),
                np.radians(8 * shot.gaze_y - 9 * shot.pitch),
                0,
            )
            points = (points - center) @ gaze.T + center
        moved = place(points, surface.head, surface.neck)
        posed.append(Posed(surface, moved, pose_normals(surface, moved)))
    gain = body.head_weight.max()
    for strands in body.strands:
        points = strands.points
        if strands.follows is not None:
            with_skin = (offset[strands.follows] * strands.shares[..., None]).sum(1)
            points = points + gain * with_skin[:, None]
        moved = place(points, strands.head, strands.neck)
        posed.append(PosedStrands(strands, moved, strands.normals @ (head.T @ neck.T @ turn.T)))
    one = np.ones(1)
    marks = {n: place(p[None], one, 0 * one)[0] for n, p in body.head.landmarks.items()}
    return posed, marks


def _turn(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """A rotation (3, 3): about y, then x, then z; radians."""
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (np.cos, np.sin))
    y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return y @ x @ z


def camera(shot: Shot, body: Body) -> Camera:
    """Where a shot is taken from; the head's joint is 0, so the eyes are at about 0.06 metres."""
    tops = [np.quantile(s.points[..., 1], 0.99) for s in body.strands]
    # High hair is in the picture too.
    over = float(np.clip(max(tops, default=0) - 0.17, 0, 0.13))
    height = 0.355 * 2 ** (-0.28 * shot.zoom) + 0.9 * over
    distance = 1.25 * 2 ** (0.8 * shot.lens)
    x, y = 0.10 * height * shot.shift_x, 0.07 * height * shot.shift_y
    return Camera(
        target=np.array([x, 0.024 + 0.5 * over + y, 0.03]), distance=distance, height=height
    )


# Directions of the dome, degrees: azimuth from the camera to the right, elevation.
DOME = (
    *((-80, 5), (-40, 50), (0, 8), (40, 50), (80, 5), (0, 85), (30, -30), (-30, -30)),
    *((150, 35), (-150, 35)),
)
SHADED = 0.75  # the share of what comes from all about that throws shadows


def lights(place: Place, shot: Shot) -> tuple[list[Light], np.ndarray]:
    """Sixteen lights that throw shadows, a soft key and a dome, and the rest as (9, 3) harmonics.

    The key stands where the place has it, moved by the shot; the dome's colours are those that
    come nearest the place's irradiance on all normals that a camera sees.
    """
    turn = np.radians(35 * shot.light)
    c, s = np.cos(turn), np.sin(turn)
    x, y, z = place.key_direction
    key = _unit(np.array([c * x + s * z, y + 0.15 * shot.height, c * z - s * x]))
    key = _unit(key + (0, 0, max(0.0, 0.25 - key[2])))
    spread = 0.05 + 0.16 * (shot.softness + 1) / 2
    color = place.key_color * 2 ** (0.3 * shot.contrast)
    found = []
    for i in range(6):
        jitter = spread * np.array([np.cos(np.pi * i / 3), np.sin(np.pi * i / 3), 0.0])
        found.append(Light(_unit(key + jitter), color / 6))
    dome = np.stack([_direction(*np.radians(d)) for d in DOME])
    normals = np.stack(
        [_direction(a, e) for a in np.linspace(-1.6, 1.6, 7) for e in (-0.9, -0.3, 0.3, 0.9)]
    )
    wanted = np.maximum(harmonics(normals) @ place.irradiance, 0) * SHADED
    reach = np.maximum(normals @ dome.T, 0)
    strength = np.stack([nnls(reach, wanted[:, k])[0] for k in range(3)], 1)
    found += [Light(d, strength[i]) for i, d in enumerate(dome)]
    return found, place.irradiance * (1 - SHADED)


def _direction(azimuth: float, elevation: float) -> np.ndarray:
    c = np.cos(elevation)
    return np.array([np.sin(azimuth) * c, np.sin(elevation), np.cos(azimuth) * c])


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v)
