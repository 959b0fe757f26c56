"""Says what a portrait shows: one small network that has learnt on drawn portraits only.

It looks twice. In the picture it finds where the features of the face are; then it looks at the
face itself, turned upright and cut out of the picture at whatever size that has. From both it says
which value of each group of `PHRASES` is shown, the numbers of the person, and whether the face
is whole; from the face alone comes a point on a sphere, near for two pictures of one person, in
whatever styles, and far for those of two.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .world.words import PHRASES

SIZE_PX = 128  # of the picture and of the face, as the network sees them
LARGEST_PX = 256  # larger pictures are reduced to this before a face is cut out of them
CELLS = SIZE_PX // 4  # of the maps that landmarks are found on
WIDTHS = (32, 48, 96, 192)  # at 64, 32, 16 and 8 cells a side
SEEN = 256  # numbers that a look at a picture becomes
POINT = 96  # numbers of the point that a face becomes
GROUPS = tuple(PHRASES)
VALUES = tuple(len(PHRASES[group]) for group in GROUPS)
# Left and right are the picture's. The order of a drawn set's landmarks.
LANDMARKS = (
    *("left eye", "right eye", "nose", "left mouth", "right mouth", "chin"),
    *("left ear", "right ear", "head top"),
)
# Where these lie in a face that was cut out, 0..1: the others may be hidden, or another's.
UPRIGHT = {
    "left eye": (0.32, 0.30),
    "right eye": (0.68, 0.30),
    "nose": (0.50, 0.52),
    "left mouth": (0.33, 0.73),
    "right mouth": (0.67, 0.73),
    "chin": (0.50, 0.94),
}
# What tells the people of the world apart, each from -1 to 1: the fields of `people.Person`.
PERSON_NUMBERS = (
    *("face_width", "face_length", "jaw", "chin", "cheeks", "skin_tone", "skin_warmth"),
    *("eye_spacing", "eye_size", "eye_slant", "eye_color", "brow_height", "brow_thickness"),
    *("nose_length", "nose_width", "nose_bridge", "mouth_width", "lip_fullness", "ear_size"),
    *("hair_tone", "hairline", "hair_volume", "parting"),
)


# --- The network ---------------------------------------------------------------------------------


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.SiLU(inplace=True),
    )


class Residual(nn.Module):
    """Two convolutions beside a straight way through."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _conv(width, width), _conv(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(self.first(x))


class Trunk(nn.Module):
    """(n, 3, 128, 128) to features (n, 48, 32, 32), (n, 96, 16, 16) and (n, 192, 8, 8)."""

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = WIDTHS
        self.stem = _conv(12, a)  # sees 2x2 pixels as one cell of twelve numbers
        self.fine = nn.Sequential(_conv(a, b, 2), Residual(b))
        self.middle = nn.Sequential(_conv(b, c, 2), Residual(c))
        self.coarse = nn.Sequential(_conv(c, d, 2), Residual(d), Residual(d))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        cells = F.pixel_unshuffle(images, 2)
        if cells.is_cuda:  # where convolutions are faster with the channels last
            cells = cells.contiguous(memory_format=torch.channels_last)
        fine = self.fine(self.stem(cells))
        middle = self.middle(fine)
        return fine, middle, self.coarse(middle)


class Summary(nn.Module):
    """Features of the trunk to (n, 256): what is where, and small things wherever they are."""

    def __init__(self) -> None:
        super().__init__()
        _, _, c, d = WIDTHS
        self.places, self.marks = nn.Conv2d(d, 40, 1), nn.Conv2d(c, 64, 1)
        cells = (SIZE_PX // 16) ** 2
        self.seen = nn.Sequential(
            nn.Linear(40 * cells + 64 + d, SEEN), nn.LayerNorm(SEEN), nn.SiLU(), nn.Dropout(0.1)
        )

    def forward(self, middle: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        where, marks = self.places(coarse).flatten(1), self.marks(middle).amax((2, 3))
        return self.seen(torch.cat([where, marks, coarse.mean((2, 3))], 1))


class Found(NamedTuple):
    """What the network gives for n pictures, all logits but the numbers and the points.

    maps: (n, 9, 32, 32), of the `LANDMARKS`.  values: (n, sum of `VALUES`).  numbers: (n, 23),
    -1 to 1.  whole: (n,).  points: (n, 96) of length 1.
    """

    maps: torch.Tensor
    values: torch.Tensor
    numbers: torch.Tensor
    whole: torch.Tensor
    points: torch.Tensor


class Reader(nn.Module):
    """Pictures and the faces in them, both (n, 3, 128, 128) in -1..1, to what they show."""

    def __init__(self) -> None:
        super().__init__()
        _, b, c, d = WIDTHS
        self.trunk = Trunk()
        self.up = nn.ModuleList([nn.Conv2d(width, 32, 1) for width in (d, c, b)])
        last = nn.Conv2d(32, len(LANDMARKS), 1)
        nn.init.constant_(last.get_parameter("bias"), -4.0)  # almost every cell is empty
        self.maps = nn.Sequential(_conv(32, 32), last)
        self.picture, self.face = Summary(), Summary()
        self.values = nn.Linear(2 * SEEN, sum(VALUES))
        self.numbers = nn.Linear(2 * SEEN, len(PERSON_NUMBERS))
        self.whole = nn.Linear(2 * SEEN, 1)
        # Clothes stay the same as long as faces do, and are nothing to know somebody by.
        self.point = nn.Linear(SEEN, POINT)

    def marks(self, features: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Features of pictures to maps of the landmarks, (n, 9, 32, 32), logits."""
        fine, middle, coarse = features
        up = F.interpolate(self.up[0](coarse), scale_factor=2) + self.up[1](middle)
        return self.maps(F.silu(F.interpolate(up, scale_factor=2) + self.up[2](fine)))

    def tell(
        self, picture: tuple[torch.Tensor, ...], face: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, ...]:
        """Features of pictures and of faces to the values, numbers, whole, points of `Found`."""
        of_face = self.face(*face[1:])
        both = torch.cat([self.picture(*picture[1:]), of_face], 1)
        points = F.normalize(self.point(of_face).float(), dim=1)
        return self.values(both), self.numbers(both), self.whole(both)[:, 0], points

    def forward(self, pictures: torch.Tensor, faces: torch.Tensor) -> Found:
        # One batch of both, so that normalisation learns the statistics of both.
        features = self.trunk(torch.cat([pictures, faces]))
        picture, face = zip(*(level.split(len(pictures)) for level in features), strict=True)
        return Found(self.marks(picture), *self.tell(picture, face))


# --- Reading pictures ----------------------------------------------------------------------------


def cut_faces(pictures: torch.Tensor, landmarks: torch.Tensor) -> torch.Tensor:
    """Turn, shift and scale faces so that their features lie where `UPRIGHT` has them.

    pictures: (n, 3, side, side); landmarks: (n, 9, 2) in 0..1. Returns (n, 3, 128, 128). The map
    is the similarity of least squares (Umeyama 1991), so that proportions stay as they are.
    """
    used = [LANDMARKS.index(name) for name in UPRIGHT]
    wanted = torch.tensor(list(UPRIGHT.values()), device=landmarks.device)
    places = landmarks[:, used]
    middle, at = wanted.mean(0), places.mean(1)
    away, there = wanted - middle, places - at[:, None]  # from the face to the picture
    size = away.square().sum()
    a = (there * away).sum((1, 2)) / size
    b = (there[..., 1] * away[:, 0] - there[..., 0] * away[:, 1]).sum(1) / size
    turn = torch.stack([torch.stack([a, -b], 1), torch.stack([b, a], 1)], 1)  # (n, 2, 2)
    shift = at - (turn @ middle[:, None])[..., 0]
    # grid_sample counts from -1 to 1, both ways: 0..1 is u = (x + 1) / 2.
    offset = 2 * (shift + turn.sum(2) / 2) - 1
    shape = [len(pictures), 3, SIZE_PX, SIZE_PX]
    theta = torch.cat([turn, offset[..., None]], 2).to(pictures.device)
    grid = F.affine_grid(theta, shape, align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def find_peaks(maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where each map is highest, to a fraction of a cell, and how high: (n, 9, 2) and (n, 9)."""
    confidence, at = maps.flatten(2).max(2)
    cells = maps.shape[-1]
    centre = (torch.arange(cells, device=maps.device) + 0.5) / cells
    x, y = centre[at % cells], centre[at // cells]
    # The mean of the cells about the peak: the rest of the map has no say.
    near_x = (centre - x[..., None]).abs() * cells < 2.5
    near_y = (centre - y[..., None]).abs() * cells < 2.5
    spot = maps * near_x[..., None, :] * near_y[..., :, None]
    total = spot.sum((2, 3)).clamp(min=1e-6)
    places = torch.stack([(spot.sum(2) * centre).sum(2), (spot.sum(3) * centre).sum(2)], 2)
    return places / total[..., None], confidence


@dataclass(frozen=True)
class Reading:
    """What the reader sees in n pictures.

    looks: (n, groups) uint8, indices into the values of each group of `PHRASES`.  numbers:
    (n, 23), -1 to 1.  landmarks: (n, 9, 2) in 0..1 of the picture.  confidence: (n, 9), 0 to 1.
    whole: (n,), how sure it is of an unbroken face, 0 to 1.  points: (n, 96) of length 1.
    """

    looks: np.ndarray
    numbers: np.ndarray
    landmarks: np.ndarray
    confidence: np.ndarray
    whole: np.ndarray
    points: np.ndarray

    def shows(self, index: int) -> dict[str, str]:
        """Which value of each group picture `index` shows."""
        codes = zip(GROUPS, self.looks[index], strict=True)
        return {group: list(PHRASES[group])[code] for group, code in codes}


def to_pictures(images: np.ndarray) -> torch.Tensor:
    """(n, side, side, 3) uint8 to (n, 3, side, side) float32 in -1..1, at most 256 px."""
    pictures = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
    return _resized(pictures, LARGEST_PX) if pictures.shape[-1] > LARGEST_PX else pictures


def _resized(pictures: torch.Tensor, side: int) -> torch.Tensor:
    if pictures.shape[-2:] == (side, side):
        return pictures
    return F.interpolate(pictures, (side, side), mode="bilinear", antialias=True)


@torch.no_grad()
def read(reader: Reader, images: np.ndarray, batch: int = 32) -> Reading:
    """Read square pictures, (n, side, side, 3) uint8, best of 128 or 256 px."""
    rows: list[tuple[np.ndarray, ...]] = []
    for start in range(0, len(images), batch):
        pictures = to_pictures(images[start : start + batch])
        picture = reader.trunk(_resized(pictures, SIZE_PX))
        landmarks, confidence = find_peaks(reader.marks(picture).sigmoid())
        face = reader.trunk(cut_faces(pictures, landmarks))
        values, numbers, whole, points = reader.tell(picture, face)
        looks = torch.stack([logits.argmax(1) for logits in values.split(VALUES, 1)], 1).byte()
        rows.append(
            tuple(
                part.numpy()
                for part in (looks, numbers, landmarks, confidence, whole.sigmoid(), points)
            )
        )
    if not rows:
        raise ValueError("read: got no pictures, expected at least one")
    return Reading(*(np.concatenate(column) for column in zip(*rows, strict=True)))


# --- Coherence -----------------------------------------------------------------------------------

NEEDED = ("left eye", "right eye", "nose", "left mouth", "right mouth", "head top")
MEASURES = (
    *("eye distance", "eye tilt", "face across", "face down", "nose across", "nose down"),
    *("mouth across", "mouth down", "head across", "head up"),
)


@dataclass(frozen=True)
class Limits:
    """What a portrait has to meet to count as coherent, set on drawn portraits that are held out.

    whole: how sure the reader is at least; confidence: the least, by landmark; ranges: lowest and
    highest, by each of `MEASURES`.
    """

    whole: float
    confidence: dict[str, float]
    ranges: dict[str, tuple[float, float]]


def measure_faces(landmarks: np.ndarray) -> np.ndarray:
    """How the features of faces lie, (n, 9, 2) in 0..1 to (n, 10), the `MEASURES` of each.

    Eye distance and the place of the face in the picture's size, tilt in radians, the rest in
    heights of the face, turned with the head: eyes come near each other where it turns away.
    """
    left, right, nose, *mouth, chin = (landmarks[:, i] for i in range(6))
    between, lips, top = (left + right) / 2, (mouth[0] + mouth[1]) / 2, landmarks[:, 8]
    across = right - left
    along = across / np.maximum(np.hypot(*across.T), 1e-3)[:, None]
    down = np.stack([-along[:, 1], along[:, 0]], 1)
    tall = np.maximum(np.hypot(*(chin - between).T), 1e-3)
    tilt = np.arctan2(across[:, 1], across[:, 0])
    columns = [np.hypot(*across.T), tilt, between[:, 0], between[:, 1]]
    for place, sign in ((nose, 1), (lips, 1), (top, -1)):  # the top of the head is above
        away = (place - between) / tall[:, None]
        columns += [(away * along).sum(1), sign * (away * down).sum(1)]
    return np.stack(columns, 1)


def faults(reading: Reading, limits: Limits) -> list[list[str]]:
    """What is missing or out of place in each picture's face; empty lists where nothing is."""
    measures = measure_faces(reading.landmarks)
    found = []
    for i, face in enumerate(measures):
        broken = ["broken"] if reading.whole[i] < limits.whole else []
        missing = [
            f"no {name}"
            for name in NEEDED
            if reading.confidence[i, LANDMARKS.index(name)] < limits.confidence[name]
        ]
        ranges = (limits.ranges[name] for name in MEASURES)
        misplaced = [
            name
            for name, value, (low, high) in zip(MEASURES, face, ranges, strict=True)
            if not low <= value <= high
        ]
        found.append(broken + missing + misplaced)
    return found


def coherent(reading: Reading, limits: Limits) -> np.ndarray:
    """Which pictures have two eyes, nose, mouth and hair where they belong, (n,) bool."""
    return np.array([not found for found in faults(reading, limits)])


# --- Weights -------------------------------------------------------------------------------------


def load_reader(folder: Path) -> tuple[Reader, dict[str, Any]]:
    """The trained reader, ready to read, and its notes (limits, thresholds, the exam's results)."""
    from safetensors.torch import load_file

    if not (folder / "reader.safetensors").exists():
        raise FileNotFoundError(f"{folder}: no reader here; got no reader.safetensors")
    tensors = load_file(folder / "reader.safetensors")
    reader = Reader()
    reader.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
    )
    reader.eval().requires_grad_(False)
    return reader, json.loads((folder / "reader.json").read_text())


def limits_of(notes: dict[str, Any]) -> Limits:
    """The limits that a reader's notes hold."""
    limits = notes["limits"]
    ranges = {name: (low, high) for name, (low, high) in limits["ranges"].items()}
    return Limits(limits["whole"], limits["confidence"], ranges)
