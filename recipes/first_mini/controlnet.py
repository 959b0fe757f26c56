"""Trains the embedded model's ControlNet: canny edges of a portrait steer the denoising network.

    python -m recipes.first_mini.controlnet --state runs/mini

after the recipe, or from the shipped weights; it goes on from what `state` holds.
Zhang et al. 2023, https://arxiv.org/abs/2302.05543.
"""

from __future__ import annotations

import argparse
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from portraitlib.places import PACKAGE

from .architecture import SIZE_PX
from .denoiser import RATE, Part, train_denoiser
from .drawings import make_drawings, read_drawings
from .training import Average, Muon, load_state

WEIGHTS = PACKAGE / "mini" / "weights_controlnet"
STEPS = 1500
EMBEDDING_WIDTHS = (16, 32, 96)  # of the condition, at the picture's side, a half and a quarter
NEW_RATE = 4e-3  # of what starts from nothing: the zero convolutions and the condition's embedding
NO_EDGES = 0.1  # the share of conditions that are left empty


def new_controlnet(unet: Any) -> Any:
    """A ControlNet that starts as a copy of the first half of `unet` and changes nothing yet."""
    from diffusers import ControlNetModel

    return ControlNetModel.from_unet(
        unet, conditioning_embedding_out_channels=EMBEDDING_WIDTHS, load_weights_from_unet=True
    )


class Steered(nn.Module):
    """A frozen UNet with a ControlNet beside it, called like a UNet with a `condition` more."""

    def __init__(self, controlnet: Any, unet: Any) -> None:
        super().__init__()
        self.controlnet = controlnet
        self.unet = unet.requires_grad_(False)

    def forward(
        self,
        noisy: torch.Tensor,
        times: torch.Tensor,
        condition: torch.Tensor,
        **words: Any,
    ) -> Any:
        beside = self.controlnet(noisy, times, controlnet_cond=condition, **words)
        return self.unet(
            noisy,
            times,
            down_block_additional_residuals=beside.down_block_res_samples,
            mid_block_additional_residual=beside.mid_block_res_sample,
            **words,
        )


def canny_edges(images: np.ndarray) -> torch.Tensor:
    """Canny edges of drawn portraits as conditions, (n, 3, size, size) uint8, some left empty.

    The thresholds differ from picture to picture, as they will in use.
    """
    import cv2

    rng = np.random.default_rng(7)
    rows = []
    for image in images:
        low = rng.uniform(40, 120)
        edges = cv2.Canny(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), low, 2 * low)
        rows.append(edges * np.uint8(rng.random() >= NO_EDGES))
    return torch.from_numpy(np.stack(rows))[:, None].expand(-1, 3, -1, -1).contiguous()


def shipped_unet(weights: Path) -> Any:
    """The UNet of the pipeline in `weights`."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel.from_pretrained(weights / "unet", torch_dtype=torch.float32)


def _start(weights: Path) -> Any:
    return new_controlnet(shipped_unet(weights))


def _beside(weights: Path, controlnet: Any) -> Any:
    unet = shipped_unet(weights).to(controlnet.device, memory_format=torch.channels_last)
    return Steered(controlnet, unet)


def _optimizer(controlnet: Any) -> Muon:
    new = ("controlnet_", "controlnet_cond_embedding")
    ends = ("conv_in", "time_embedding", "add_embedding", *new)
    optimizer = Muon(controlnet, ends, lr=RATE, betas=(0.9, 0.99), weight_decay=0.01)
    # What starts from nothing has further to go: at the rate of the rest edges are not followed.
    fresh = {id(p) for name, p in controlnet.named_parameters() if name.startswith(new)}
    rest = optimizer.param_groups[1]
    own = [p for p in rest["params"] if id(p) in fresh]
    rest["params"] = [p for p in rest["params"] if id(p) not in fresh]
    optimizer.add_param_group({"params": own, "muon": False, "rate": NEW_RATE})
    return optimizer


def controlnet_part(weights: Path, conditions: torch.Tensor) -> Part:
    """The ControlNet as a `Part` to train beside the frozen UNet of `weights`."""
    start, beside = partial(_start, weights), partial(_beside, weights)
    return Part("controlnet", start, beside, _optimizer, conditions)


def write_controlnet(state: Path, weights: Path, folder: Path = WEIGHTS) -> None:
    """Write the averaged ControlNet of `state` as 16-bit safetensors for diffusers."""
    controlnet = _start(weights)
    average = Average(controlnet)
    if not load_state(state, controlnet, average, _optimizer(controlnet)):
        raise FileNotFoundError(f"{state}: no ControlNet here; train it first")
    controlnet.load_state_dict(average.weights)
    beside = folder.with_name(folder.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    controlnet.half().save_pretrained(beside, safe_serialization=True)
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)


def main(arguments: list[str] | None = None) -> None:
    from .recipe import WEIGHTS as PIPELINE
    from .recipe import encoded_drawings, start_from

    parser = argparse.ArgumentParser(prog="python -m recipes.first_mini.controlnet")
    parser.description = (__doc__ or "").split("\n")[0]
    parser.add_argument("--state", type=Path, default=Path("runs/mini"), help="where all is kept")
    parser.add_argument("--weights", type=Path, default=PIPELINE, help="the pipeline it steers")
    parser.add_argument("--drawings", type=int, default=12_000, help="how many to learn on")
    parser.add_argument("--steps", type=int, default=STEPS, help="of training, in all; 0: none")
    parser.add_argument("--processes", type=int, default=1, help="that share the steps")
    parser.add_argument("--device", default=None, help="default: cuda if there is one, else cpu")
    options = parser.parse_args(arguments)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    state = options.state / "controlnet"
    if options.steps:
        start_from(options.weights, options.state)  # what is not there yet
        make_drawings(options.state / "drawings", options.drawings, SIZE_PX)
        drawings = read_drawings(options.state / "drawings", options.drawings)
        encoded = encoded_drawings(options.state, drawings, device)
        part = controlnet_part(options.weights, canny_edges(drawings.images))
        train_denoiser(
            state, encoded, options.steps, part=part, device=device, processes=options.processes
        )
    write_controlnet(state, options.weights)
    print(f"wrote {WEIGHTS}", flush=True)


if __name__ == "__main__":
    main()
