"""Models by name: the table of presets, which says what differs between them."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from portraitlib.mini.words import taught_phrases
from portraitlib.models import single_file
from portraitlib.places import PACKAGE
from portraitlib.settings import UsageError, nearest

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]*\w")

# What others use for a LoRA of SDXL lies between 1e-4 and 3e-4, rank 4 and 32.
SDXL_TRAINING: Mapping[str, Any] = MappingProxyType(
    {"layers": "attention", "rank": 16, "learning_rate": 1e-4, "max_train_steps": 500}
    | {"train_batch_size": 1, "crop_jitter": 0.0625, "gradient_checkpointing": True}
)
# No crops for `mini`: cut out of latents, they are a decibel worse than encoded by themselves, and
# what it draws after that has lost its noses (likeness .52 in place of .79 after 100 steps).
MINI_TRAINING: Mapping[str, Any] = MappingProxyType(
    {"layers": "convolutions", "rank": 32, "learning_rate": 2e-3, "max_train_steps": 400}
    | {"train_batch_size": 4, "crop_jitter": 0.0, "gradient_checkpointing": False}
)


# What the notebooks' experiments take where a parameter of this name is None. With SDXL each of
# them ends within 90 minutes on a T4, as others have timed one; docs/colab.md has the minutes.
SDXL_EXPERIMENT: Mapping[str, Any] = MappingProxyType(
    {"size_px": 768, "num_images": 2, "num_class_images": 16, "watch_every": 125}
    | {"experiment_steps": 50, "num_trainings": 2, "first_steps": 25, "epoch_factors": [1, 4]}
    | {"class_image_counts": [16], "prior_loss_weights": [1.0], "several_train_steps": 175}
    | {"style_steps": 75, "adapter_scales": [0.6, 1.0], "control_scales": [0.0]}
)
MINI_EXPERIMENT: Mapping[str, Any] = MappingProxyType(
    {"size_px": None, "num_images": 8, "num_class_images": 48, "watch_every": 50}
    | {"experiment_steps": 200, "num_trainings": 3, "first_steps": 50}
    | {"epoch_factors": [1, 2, 4, 8], "class_image_counts": [6, 48]}
    | {"prior_loss_weights": [0.2, 1.0, 5.0], "several_train_steps": 400, "style_steps": 150}
    | {"adapter_scales": [0.4, 0.6, 0.8, 1.0, 1.2], "control_scales": [0.0, 0.7]}
)


class IpAdapterSource(NamedTuple):
    """Where the weights are by which a person's photos speak beside the words.

    hub: the id of a repository; None where `file` lies in the package.
    looks: what looks at the photos: "mini", its encoder of faces, or "clip", whose ViT-H lies in
        the folder `image_encoder` of the hub.
    scale: how loud they are by default.
    """

    name: str
    file: str
    looks: str
    scale: float
    hub: str | None = None
    revision: str | None = None
    image_encoder: str = ""


@dataclass(frozen=True)
class Speed:
    """A LoRA by which a model draws in few steps: where it is on the hub, and what it wants.

    sha256: of the file, in full.  num_inference_steps, guidance_scale: as in Preset.
    """

    source: str
    revision: str
    file: str
    sha256: str
    num_inference_steps: int
    guidance_scale: float

    @property
    def name(self) -> str:
        """What recipes call it."""
        return f"{self.source}@{self.revision}/{self.file}"


# https://arxiv.org/abs/2404.13686; the one that keeps guidance, of which its authors say 5 to 8.
HYPER_8 = Speed(
    source="ByteDance/Hyper-SD",
    revision="1a091a0ba26e5639d083c6377ba4f2bed5115ccc",
    file="Hyper-SDXL-8steps-CFG-lora.safetensors",
    sha256="55b51334c85061afff5eff7c550b61963c8b8607a5868bbe4f26db49374719b1",
    num_inference_steps=8,
    guidance_scale=5.0,
)


@dataclass(frozen=True)
class Preset:
    """What differs between models; everything else is the same code.

    source: a folder, or a hub id pinned to `revision`.
    size_px, num_inference_steps, guidance_scale: the defaults where Sampling has None; a size or
        a memory of 0 is filled from the model's own configs.
    gpu_dtype: number type on a GPU; on a CPU it is float32.
    gpu_memory_gb: free GPU memory (10**9 bytes) for one picture of size_px; with less, the parts
        wait in main memory and visit the GPU in turn.
    decode_one_by_one: decode the pictures of a batch singly, for the sake of memory.
    vae_source: a VAE to use in place of the model's own.
    controlnet_source: the ControlNet for canny edges that fits the model.
    ip_adapter: by which photos are part of the prompt; None if nobody says.
    speeds: by what LoRA it draws in few steps, where Sampling has a `speed`.
    finder: who looks for faces in its pictures, a name in `faces.FINDERS`; None asks all.
    words: what the model was taught to draw, group -> phrases; empty where nobody has a list.
    training: the defaults where DreamBooth has None.
    experiment: the notebooks' parameters where they have None, as much as there is time for.
    strangers: how many are drawn in a style, for where likeness is 0, before portraits are chosen.
    knows_sizes: was it taught pictures of several sizes and crops? Else it knows the whole picture
        of its own size alone, and is told nothing else.
    """

    name: str
    source: str
    revision: str | None
    size_px: int = 0
    num_inference_steps: int = 25
    guidance_scale: float = 5.0
    gpu_dtype: str = "float16"
    gpu_memory_gb: float = 0.0
    decode_one_by_one: bool = True
    vae_source: str | None = None
    vae_revision: str | None = None
    controlnet_source: str | None = None
    controlnet_revision: str | None = None
    ip_adapter: IpAdapterSource | None = None
    speeds: Mapping[str, Speed] = field(default_factory=dict, hash=False, repr=False)
    finder: str | None = None
    words: dict[str, tuple[str, ...]] = field(default_factory=dict, hash=False, repr=False)
    training: Mapping[str, Any] = field(
        default_factory=lambda: SDXL_TRAINING, hash=False, repr=False
    )
    experiment: Mapping[str, Any] = field(
        default_factory=lambda: SDXL_EXPERIMENT, hash=False, repr=False
    )
    strangers: int = 8
    knows_sizes: bool = True


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="mini",
            source=str(PACKAGE / "mini" / "weights"),
            revision=None,  # the hash of the weights in the package
            num_inference_steps=12,  # no worse than 25 (docs/measured.md)
            guidance_scale=2.0,
            gpu_dtype="float32",  # small enough; and the same pictures as on a CPU
            gpu_memory_gb=1.0,
            decode_one_by_one=False,
            controlnet_source=str(PACKAGE / "mini" / "weights_controlnet"),
            ip_adapter=IpAdapterSource(
                name="mini",
                file=str(PACKAGE / "mini" / "weights_ip_adapter" / "ip_adapter.safetensors"),
                looks="mini",
                scale=1.0,
            ),
            finder="mini",
            words=taught_phrases(),
            training=MINI_TRAINING,
            experiment=MINI_EXPERIMENT,
            strangers=24,
            knows_sizes=False,
        ),
        Preset(
            name="sdxl",
            source="stabilityai/stable-diffusion-xl-base-1.0",
            revision="462165984030d82259a11f4367a4eed129e94a7b",
            size_px=1024,
            gpu_memory_gb=11.0,  # weights 7.0, the rest for one picture's decoding
            # The original VAE overflows in float16.
            vae_source="madebyollin/sdxl-vae-fp16-fix",
            vae_revision="207b116dae70ace3637169f1ddd2434b91b3a8cd",
            controlnet_source="diffusers/controlnet-canny-sdxl-1.0",
            controlnet_revision="eb115a19a10d14909256db740ed109532ab1483c",
            ip_adapter=IpAdapterSource(
                name="h94/IP-Adapter Plus-Face",
                file="sdxl_models/ip-adapter-plus-face_sdxl_vit-h.safetensors",
                looks="clip",
                scale=0.7,
                hub="h94/IP-Adapter",  # Apache-2.0
                revision="018e402774aeeddd60609b4ecdb7e298259dc729",
                image_encoder="models/image_encoder",
            ),
            speeds=MappingProxyType({"hyper8": HYPER_8}),
        ),
    )
}


def find_preset(name: str, revision: str | None = None) -> Preset:
    """The preset for a name; for a folder or a hub id one that is filled once its files are there.

    A single file gets what goes with SDXL, but its own VAE. Raises UsageError for a name that is
    none of these, with the names that come near.
    """
    folder = Path(name).expanduser()
    for preset in PRESETS.values():
        if name in (preset.name, preset.source):
            if revision is not None and preset.revision is None:
                raise UsageError(f"revision: got {revision!r}, but {name} comes in the package")
            if preset.revision is None and not Path(preset.source).is_dir():
                raise UsageError(
                    f"{preset.source}: the weights of {preset.name} are missing; install the "
                    "package again, or train them: python -m recipes.first_mini.recipe"
                )
            return dataclasses.replace(preset, revision=revision or preset.revision)
    if name.strip() and os.path.isdir(folder):
        if revision is not None:
            raise UsageError(f"revision: got {revision!r}, but {name} is a folder: it has none")
        return Preset(name, str(folder), None)
    if os.path.isfile(folder):
        single_file.check_single_file(folder)
        return dataclasses.replace(
            PRESETS["sdxl"],
            name=name,
            source=str(folder),
            revision=None,
            gpu_memory_gb=0.0,
            vae_source=None,
            vae_revision=None,
        )
    if HUB_ID.fullmatch(name):
        return Preset(name, name, revision)
    raise UsageError(
        f"model: got {name!r}, {nearest(name, PRESETS)}; or try a hub id like "
        '"stabilityai/stable-diffusion-xl-base-1.0", or a folder that exists'
    )
