"""The models that read conditions: found by name, checked against the model that they steer."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portraitlib.models import files
from portraitlib.models.load import Model
from portraitlib.models.parts import load_part, quiet_loading
from portraitlib.models.presets import HUB_ID, PRESETS
from portraitlib.portrait import read_json
from portraitlib.settings import UsageError

# What a ControlNet's config must share with the UNet beside which it runs.
FAMILY = (
    "in_channels",
    "block_out_channels",
    "layers_per_block",
    "cross_attention_dim",
    "addition_embed_type",
    "projection_class_embeddings_input_dim",
)


@dataclass(frozen=True, eq=False)
class ControlNet:
    """A loaded diffusers ControlNetModel, in two parts because they run at different times.

    embedding: condition (1, 3, height, width) -> (1, width of the UNet, height/8, width/8), once.
    trunk: the rest; its own place for the embedding passes through what is embedded already.
    name: "mini", a hub id or a folder. revision: commit of the hub, or hash of the folder's files.
    embedded: the conditions that were embedded last, filled by `denoise`.
    """

    embedding: Any = field(repr=False)
    trunk: Any = field(repr=False)
    name: str
    revision: str
    embedded: OrderedDict[str, Any] = field(default_factory=OrderedDict, repr=False)


def load_controlnet(model: Model, source: str | Path | None = None) -> ControlNet:
    """The ControlNet that steers `model`; loaded once, then remembered by the model.

    source: a folder that diffusers wrote, a hub id, or "id@revision"; None takes the one of the
        model's preset, which reads canny edges.
    Raises UsageError in one line where there is none, its weights are missing, pickled or of a
    model of another family, before they are loaded.
    Zhang et al. 2023, https://arxiv.org/abs/2302.05543.
    """
    key = None if source is None else str(source)
    if key in model.controlnets:
        return model.controlnets[key]
    name, place, revision = _find(model, source)
    if Path(place).is_dir():
        folder = Path(place)
        weights = files.check_folder(folder, ("",))[""]
        revision = files.content_revision(folder, weights)
    else:
        folder, parts = files.fetch_from_hub(place, revision, ("",))
        weights, revision = parts[""], folder.name
    _check_family(model, folder, name)
    with quiet_loading():
        from diffusers import ControlNetModel
        from torch import nn

        trunk = load_part(ControlNetModel, weights, model.dtype).requires_grad_(False)
        embedding, trunk.controlnet_cond_embedding = trunk.controlnet_cond_embedding, nn.Identity()
    loaded = ControlNet(embedding, trunk, name, revision)
    if not model.offloaded:
        _move([loaded], model.device)
    model.controlnets[key] = loaded
    return loaded


def _find(model: Model, source: str | Path | None) -> tuple[str, str, str | None]:
    """The name for recipes, the folder or hub id, and the pinned revision of a ControlNet."""
    preset = model.preset
    if source is None:
        if preset.controlnet_source is None:
            near = PRESETS["sdxl"].controlnet_source
            raise UsageError(
                f"{model.name} has no ControlNet of its own; name one that was made for models "
                f'like it, such as controlnet="{near}"'
            )
        inside = preset.controlnet_revision is None
        if inside and not Path(preset.controlnet_source).is_dir():
            raise UsageError(
                f"{preset.controlnet_source}: the weights of {preset.name}'s ControlNet are "
                "missing; install the package again, or train them: "
                "python -m recipes.first_mini.controlnet"
            )
        name = preset.name if inside else preset.controlnet_source
        return name, preset.controlnet_source, preset.controlnet_revision
    place = str(source)
    if place.strip() and os.path.isdir(folder := os.path.expanduser(place)):
        return place, folder, None
    name, _, revision = place.partition("@")
    if not HUB_ID.fullmatch(name):
        raise UsageError(
            f"controlnet: got {place!r}, expected a folder that exists or a hub id such as "
            f'"{PRESETS["sdxl"].controlnet_source}"'
        )
    pins = {row.controlnet_source: row.controlnet_revision for row in PRESETS.values()}
    return name, name, revision or pins.get(name)


def _check_family(model: Model, folder: Path, name: str) -> None:
    """Raise UsageError unless the config in the folder fits beside the model's UNet."""
    config = read_json(folder / "config.json", dict[str, Any])
    kind = config.get("_class_name")
    if kind != "ControlNetModel":
        raise UsageError(f"{name}: its config says {kind}, expected a ControlNetModel of diffusers")
    unet, scale = model.pipeline.unet.config, model.pipeline.vae_scale_factor
    widths = config.get("conditioning_embedding_out_channels") or ()
    order = config.get("controlnet_conditioning_channel_order", "rgb")
    pairs = {key: (config.get(key), unet.get(key)) for key in FAMILY}
    pairs["pixels to a latent"] = (2 ** (len(widths) - 1) if widths else None, scale)
    pairs["channel order"] = (order, "rgb")
    for key, pair in pairs.items():
        # A config on disk has lists where a loaded one has tuples.
        theirs, ours = (list(v) if isinstance(v, list | tuple) else v for v in pair)
        if theirs != ours:
            raise UsageError(
                f"{name}: a ControlNet of another family than {model.name}: {key} is {theirs}, "
                f"expected {ours}; try one that was trained for {model.name}"
            )


@contextmanager
def on_the_device(model: Model, controlnets: Sequence[ControlNet]) -> Iterator[None]:
    """Bring ControlNets that wait in main memory to the device for a while."""
    if not model.offloaded:
        yield
        return
    _move(controlnets, model.device)
    try:
        yield
    finally:
        _move(controlnets, "cpu")


def _move(controlnets: Sequence[ControlNet], device: Any) -> None:
    for controlnet in controlnets:
        controlnet.embedding.to(device)
        controlnet.trunk.to(device)
