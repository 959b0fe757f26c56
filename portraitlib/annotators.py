"""Depth, pose and regions of a picture, by models of transformers from the hub.

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

from portraitlib import model_files
from portraitlib.device import pick_device
from portraitlib.models import load_part, quiet_loading

# The mean and spread of ImageNet's colours, which all of these models were trained on.
MEAN = np.array((0.485, 0.456, 0.406), np.float32)
SPREAD = np.array((0.229, 0.224, 0.225), np.float32)

# The colours of the 150 regions of ADE20K, from wall to flag, as control models know them:
# https://arxiv.org/abs/1608.05442. The thirteenth, 96053d, is a person.
REGIONS = """
787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07 e005ff ebff07 96053d
787846 08ff33 ff0652 8fff8c ccff04 ff3307 cc4603 0066c8 3de6fa ff0633 0b66ff ff0747 ff09e0
0907e6 dcdcdc ff095c 7009ff 08ffd6 07ffe0 ffb806 0aff47 ff290a 07ffff e0ff08 6608ff ff3d06
ffc207 ff7a08 00ff14 ff0829 ff0599 0633ff eb0cff a09614 00a3ff 8c8c8c fa0a0f 14ff00 1fff00
ff1f00 ffe000 99ff00 0000ff ff4700 00ebff 00adff 1f00ff 0bc8c8 ff5200 00fff5 003dff 00ff70
00ff85 ff0000 ffa300 ff6600 c2ff00 008fff 33ff00 0052ff 00ff29 00ffad 0a00ff adff00 00ff99
ff5c00 ff00ff ff00f5 ff0066 ffad00 ff0014 ffb8b8 001fff 00ff3d 0047ff ff00cc 00ffc2 00ff52
000aff 0070ff 3300ff 00c2ff 007aff 00ffa3 ff9900 00ff0a ff7000 8fff00 5200ff a3ff00 ffeb00
08b8aa 8500ff 00ff5c b800ff ff001f 00b8ff 00d6ff ff0070 5cff00 00e0ff 70e0ff 46b8a0 a300ff
9900ff 47ff00 ff00a3 ffcc00 ff008f 00ffeb 85ff00 ff00eb f500ff ff007a fff500 0abed4 d6ff00
00ccff 1400ff ffff00 0099ff 0029ff 00ffcc 2900ff 29ff00 ad00ff 00f5ff 4700ff 7a00ff 00ffb8
005cff b8ff00 0085ff ffd600 19c2c2 66ff00 5c00ff
"""

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
    _, weights = model_files.fetch_from_hub(*source, ("",))
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


def _regions(model: Any, picture: np.ndarray) -> np.ndarray:
    """Each region in the colour of what it shows. https://arxiv.org/abs/2105.15203"""
    logits = _through(model, picture, (512, 512)).logits.float()
    size = picture.shape[:2]
    grown = torch.nn.functional.interpolate(logits, size, mode="bilinear", align_corners=False)
    colours = np.array([list(bytes.fromhex(colour)) for colour in REGIONS.split()], np.uint8)
    return colours[grown.argmax(1)[0].cpu().numpy()]


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
    "segmentation": Annotator(
        source="nvidia/segformer-b0-finetuned-ade-512-512",
        revision="489d5cd81a0b59fab9b7ea758d3548ebe99677da",
        class_name="SegformerForSemanticSegmentation",
        licence="NVIDIA's, for research and evaluation only",
        read=_regions,
    ),
}
