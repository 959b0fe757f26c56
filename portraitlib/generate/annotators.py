"""Depth and pose in a picture, by models of transformers from the hub.

What goes in and comes out is prepared here: transformers' own processors want torchvision.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
import torch

from portraitlib.device import pick_device
from portraitlib.models import files
from portraitlib.models.parts import load_part, quiet_loading

# The mean and spread of ImageNet's colours, which all of these models were trained on.
MEAN = np.array((0.485, 0.456, 0.406), np.float32)
SPREAD = np.array((0.229, 0.224, 0.225), np.float32)

# Limbs between the 18 joints of OpenPose, in the order of their colours: neck to shoulders, arms,
# legs, head. https://arxiv.org/abs/1812.08008
LIMBS = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11)),
    *((11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),
)
# Which of COCO's 17 joints is each of OpenPose's; -1, the neck, lies between the shoulders.
FROM_COCO = (0, -1, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
SURE = 0.3  # a joint that the model believes in less is not drawn


@dataclass(frozen=True)
class Annotator:
    """A model and how a picture goes through it.

    read: (model, RGB array) -> array of 8 bits. licence: of the weights.
    """

    source: str
    revision: str
    class_name: str
    licence: str
    read: Callable[[Any, np.ndarray], np.ndarray]


def annotate(picture: np.ndarray, kind: str) -> tuple[np.ndarray, dict[str, str]]:
    """What the model of a kind sees in an RGB picture, at its size, and which model that was.

    Raises UsageError in one line where the model is not in the cache and the hub is out of reach.
    """
    annotator = ANNOTATORS[kind]
    with torch.no_grad():
        seen = annotator.read(_load(kind), picture)
    return seen, {"model": f"{annotator.source}@{annotator.revision}"}


@cache
def _load(kind: str) -> Any:
    annotator = ANNOTATORS[kind]
    source = annotator.source, annotator.revision
    _, weights = files.fetch_from_hub(*source, ("",))
    with quiet_loading():
        import transformers

        kind_of_model = getattr(transformers, annotator.class_name)
        return load_part(kind_of_model, weights[""], torch.float32).to(pick_device())


def _through(model: Any, picture: np.ndarray, size: tuple[int, int]) -> Any:
    """What the model answers to a picture made (width, height)."""
    scaled = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC).astype(np.float32) / 255
    values = torch.from_numpy((scaled - MEAN) / SPREAD).permute(2, 0, 1)[None]
    return model(pixel_values=values.to(model.device))


def _depth(model: Any, picture: np.ndarray) -> np.ndarray:
    """Near is white, far is black. https://arxiv.org/abs/2406.09414"""
    near = _through(model, picture, (518, 518)).predicted_depth[0].float().cpu().numpy()
    near = cv2.resize(near, picture.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    reach = float(near.max() - near.min())
    return (255 * (near - near.min()) / (reach or 1.0)).round().astype(np.uint8)


def _pose(model: Any, picture: np.ndarray) -> np.ndarray:
    """Joints and limbs of one person as OpenPose draws them. https://arxiv.org/abs/2204.12484"""
    side = picture.shape[0]
    # The model looks at upright pictures of 192 x 256; black above and below a square one.
    bar = side // 6
    upright = cv2.copyMakeBorder(picture, bar, bar, 0, 0, cv2.BORDER_CONSTANT)
    maps = _through(model, upright, (192, 256)).heatmaps[0].float().cpu().numpy()
    height, width = maps.shape[1:]
    best = maps.reshape(len(maps), -1).argmax(1)
    scale = np.array([side / width, (side + 2 * bar) / height])
    places = (np.stack([best % width, best // width], 1) + 0.5) * scale - (0, bar)
    sure = maps.reshape(len(maps), -1).max(1) >= SURE
    places = np.stack([places[coco] if coco >= 0 else places[5:7].mean(0) for coco in FROM_COCO])
    sure = [bool(sure[coco] if coco >= 0 else sure[5:7].all()) for coco in FROM_COCO]
    return _skeleton(places.round().astype(int).tolist(), sure, side)


def _skeleton(joints: list[list[int]], sure: list[bool], side: int) -> np.ndarray:
    """Limbs at six tenths of their colour, joints on top; the hues go round the circle."""
    hues = [colorsys.hsv_to_rgb(index / 18, 1, 1) for index in range(18)]
    colours = [tuple(round(255 * part) for part in hue) for hue in hues]
    canvas = np.zeros((side, side, 3), np.uint8)
    thick = max(round(side / 128), 1)
    for (one, other), colour in zip(LIMBS, colours, strict=False):
        if sure[one] and sure[other]:
            cv2.line(canvas, joints[one], joints[other], colour, 2 * thick, cv2.LINE_AA)
    canvas = (canvas * 0.6).astype(np.uint8)
    for joint, colour, certain in zip(joints, colours, sure, strict=True):
        if certain:
            cv2.circle(canvas, joint, thick, colour, -1, cv2.LINE_AA)
    return canvas


ANNOTATORS = {
    "depth": Annotator(
        source="depth-anything/Depth-Anything-V2-Small-hf",
        revision="5426e4f0f36572d16453bbda7a8389317b1bef99",
        class_name="DepthAnythingForDepthEstimation",
        licence="Apache-2.0",
        read=_depth,
    ),
    "pose": Annotator(
        source="usyd-community/vitpose-base-simple",
        revision="a93ac0c67e0b7e2c55287d21d4c460c8f3c54d45",
        class_name="VitPoseForPoseEstimation",
        licence="Apache-2.0",
        read=_pose,
    ),
}
