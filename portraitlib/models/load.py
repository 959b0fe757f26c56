"""Models by name, ready to draw."""

from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import torch

from portraitlib.device import free_memory_gb, has_accelerator, pick_device, pick_dtype
from portraitlib.models import files, single_file
from portraitlib.models.adapter_files import PARTS
from portraitlib.models.adapter_weights import Applied, changed_weights, check_base, copy_sharing
from portraitlib.models.adapters import Adapter
from portraitlib.models.parts import (
    assemble,
    assemble_single_file,
    load_part,
    load_tokenizer,
    overflows_in_float16,
    quiet_loading,
)
from portraitlib.models.presets import Preset, find_preset
from portraitlib.places import in_colab, once
from portraitlib.portrait import read_json
from portraitlib.settings import RANGES, UsageError, check_number

# The usual judge of whether a photograph shows what was asked (https://arxiv.org/abs/2104.08718).
CLIP_SOURCE = "openai/clip-vit-large-patch14"
CLIP_REVISION = "32bd64288804d66eefd0ccbe215aa642df71cc41"
SDXL_WEIGHTS_GB = 6.94  # 3.47 billion numbers of 16 bits


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded model. `str(model)` is the line to print: "mini on cpu, float32, jrdnpl at 0.8".

    pipeline: the diffusers StableDiffusionXLPipeline.
    revision: commit of the hub, or hash of a local folder's files.
    prompts, pictures: what was encoded last, filled by `generate`.
    ready_pictures: what was cut and resized last, filled by `generate`.
    controlnets, ip_adapters: those that were loaded for it, filled by `generate`.
    adapters: what was added to it, each with its scale. base: the model before that, or None.
    faster: the one that draws in few steps, filled by `at_speed`.
    """

    pipeline: Any = field(repr=False)
    name: str
    revision: str
    preset: Preset = field(repr=False)
    device: torch.device
    dtype: torch.dtype
    offloaded: bool = False
    prompts: OrderedDict[Any, Any] = field(default_factory=OrderedDict, repr=False)
    pictures: OrderedDict[str, torch.Tensor] = field(default_factory=OrderedDict, repr=False)
    ready_pictures: OrderedDict[Any, Any] = field(default_factory=OrderedDict, repr=False)
    controlnets: dict[str | None, Any] = field(default_factory=dict, repr=False)
    ip_adapters: dict[str | None, Any] = field(default_factory=dict, repr=False)
    adapters: tuple[Applied, ...] = ()
    base: Model | None = field(default=None, repr=False)
    faster: OrderedDict[str, Model] = field(default_factory=OrderedDict, repr=False)

    def __str__(self) -> str:
        named = [f"{adapter.name} at {scale:g}" for adapter, scale in self.adapters]
        text = ", ".join([f"{self.name} on {self.device}, {self.dtype_name}", *named])
        return text + ", parts waiting in main memory" if self.offloaded else text

    @property
    def dtype_name(self) -> str:
        """The number type as settings and recipes spell it, like "float16"."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def size_multiple_px(self) -> int:
        """Width and height must be multiples of this: 8, and the size of a latent pixel."""
        return math.lcm(8, self.pipeline.vae_scale_factor)

    @property
    def adapter_entries(self) -> list[dict[str, Any]] | None:
        """What recipes say of its adapters; None if it has none."""
        return [adapter.entry(scale) for adapter, scale in self.adapters] or None

    def at_size(self, size_px: int | None) -> Model:
        """The same model, drawing and learning at another size by default; None keeps the own.

        size_px: width and height in pixels; SDXL at 768 takes about half of the time that it does
        at 1024. Raises UsageError for one out of range.
        """
        if size_px is None:
            return self
        side_px = int(check_number("at_size", "size_px", size_px, RANGES["size_px"]))
        preset = dataclasses.replace(self.preset, size_px=side_px)
        base = self.base and self.base.at_size(side_px)
        return dataclasses.replace(self, preset=preset, base=base, faster=OrderedDict())

    def with_adapter(self, adapter: Adapter, scale: float = 1.0) -> Model:
        """This model with what an adapter has learnt; this one stays as it is.

        scale: -2 to 2, how much of it; 0 is the model without. Several adapters add up.
        The new model shares every tensor that no adapter changes, and draws as fast: the weights
        themselves are changed, in float32, then cast back.

        Warns of an adapter that was trained on another model. Raises UsageError for one that does
        not fit, and for a scale out of range. LoRA: https://arxiv.org/abs/2106.09685.
        """
        if not isinstance(adapter, Adapter):
            raise UsageError(
                f"adapter: got {adapter!r}, expected what train_dreambooth made, or "
                'Adapter.open("me.safetensors")'
            )
        scale = check_number("with_adapter", "scale", scale, RANGES["adapter_scale"])
        adapted = _adapted(self.base or self, (*self.adapters, (adapter, scale)))
        check_base(adapter, self.name, self.revision)
        return adapted

    def at_speed(self, speed: str | None) -> Model:
        """This model with the LoRA by which it draws in few steps, a name in its preset's `speeds`.

        It is made once, then remembered; its UNet takes memory of its own. None is this one. To
        recipes its adapters are this one's. Raises UsageError if the LoRA cannot be fetched.
        """
        return self if speed is None else once(self.faster, speed, 1, lambda: _faster(self, speed))


def _adapted(base: Model, adapters: tuple[Applied, ...]) -> Model:
    """A model without adapters, with some."""
    parts = {part: getattr(base.pipeline, part) for part in PARTS}
    changed = changed_weights(parts, adapters, base.name)
    if base.offloaded:  # the hooks that move a part belong to one pipeline, so all parts are new
        parts["vae"] = base.pipeline.vae
        changed = dict.fromkeys(parts, {}) | changed
    with quiet_loading():
        new_parts = {part: copy_sharing(parts[part], values) for part, values in changed.items()}
    pipeline = sibling_pipeline(base, type(base.pipeline).__name__, **new_parts)
    if base.offloaded:
        pipeline.enable_model_cpu_offload(device=base.device)
    other_words = any(changed.get(part) for part in PARTS if part != "unet")
    return dataclasses.replace(
        base,
        pipeline=pipeline,
        adapters=adapters,
        base=base,
        prompts=OrderedDict() if other_words else base.prompts,
        faster=OrderedDict(),
    )


def _faster(model: Model, speed: str) -> Model:
    """A model with the LoRA that makes it fast, on the steps that the LoRA was trained for.

    Its authors draw by DDIM with trailing steps. Euler's method takes the same steps, and ends at
    no noise at all.
    """
    row = model.preset.speeds[speed]
    lora = Adapter.open(files.fetch_file(row.source, row.file, row.sha256, row.revision))
    fast = _adapted(model.base or model, (*model.adapters, (lora, 1.0)))
    with quiet_loading():
        from diffusers import EulerDiscreteScheduler

    config = model.pipeline.scheduler.config
    trailing = EulerDiscreteScheduler.from_config(config, timestep_spacing="trailing")
    fast.pipeline.register_modules(scheduler=trailing)
    return dataclasses.replace(fast, adapters=model.adapters, base=model.base)


def load_model(
    name: str | Path | None = None,
    device: str | torch.device | None = None,
    *,
    dtype: str | None = None,
    revision: str | None = None,
) -> Model:
    """Load a model, ready to draw.

    name: a preset ("mini", "sdxl"), the hub id or the folder of an SDXL-shaped model, or SDXL in a
        single .safetensors; None takes "sdxl" where there is a GPU and "mini" where there is none.
    device: "cpu", "cuda", "cuda:1", "mps"; None takes the best there is.
    dtype: "float32", "float16" or "bfloat16"; None takes what suits model and device.
    revision: branch, tag or commit of a hub model; None takes the preset's pin, or "main".

    A hub model that is in the local cache is taken from there without asking the network.
    Raises UsageError in one line for an unknown name, a hub that cannot be reached, pickled
    weights, or a folder that is not an SDXL model, before anything is loaded.
    """
    chosen_device = pick_device(device)
    if name is None:
        name = _default_name(chosen_device)
    preset = find_preset(str(name), revision)
    local = Path(preset.source).exists()
    folder, weights = _find_files(preset)
    if not preset.size_px or not preset.gpu_memory_gb:
        preset = _fill_from_folder(preset, folder, weights)
    chosen_dtype = pick_dtype(chosen_device, preset.gpu_dtype, dtype)
    if weights:
        pipeline = assemble(folder, weights, chosen_dtype)
    else:
        pipeline = assemble_single_file(Path(preset.source), chosen_dtype)
    if preset.decode_one_by_one:
        pipeline.vae.enable_slicing()
    return Model(
        pipeline=pipeline,
        name=preset.name,
        revision=files.content_revision(Path(preset.source)) if local else folder.name,
        preset=preset,
        device=chosen_device,
        dtype=chosen_dtype,
        offloaded=_place(pipeline, chosen_device, preset.gpu_memory_gb),
    )


def _find_files(preset: Preset) -> tuple[Path, dict[str, files.Weights]]:
    """The folder of a preset's configs, and where the weights of its parts are.

    Of a single file, which holds all weights, the second is empty.
    """
    source = Path(preset.source)
    if source.is_file():
        return single_file.CONFIGS, {}
    parts = ["text_encoder", "text_encoder_2", "unet"]
    if not preset.vae_source:
        parts.append("vae")
    if source.is_dir():
        return source, files.check_folder(source, parts)
    folder, weights = files.fetch_from_hub(preset.source, preset.revision, parts)
    if preset.vae_source:
        _, vae = files.fetch_from_hub(preset.vae_source, preset.vae_revision, ("",))
        weights["vae"] = vae[""]
    return folder, weights


def _default_name(device: torch.device) -> str:
    """The model that a device can run; in a session of Colab without a GPU, how to get one."""
    if device.type != "cpu" and has_accelerator():
        return "sdxl"
    if in_colab():
        print(
            "This session has no GPU, so the embedded model draws. For SDXL: Runtime > Change "
            "runtime type > T4 GPU, then Runtime > Run all."
        )
    return "mini"


@dataclass(frozen=True, eq=False)
class Clip:
    """A CLIP network; pictures of `size_px`, `mean` and `deviation` of RGB in 0..1, go into it."""

    network: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    name: str
    revision: str
    device: torch.device
    size_px: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


class ClipColours(TypedDict):
    """How CLIP's pictures are prepared, as its preprocessor_config.json says."""

    image_mean: list[float]
    image_std: list[float]


def load_clip(
    source: str = CLIP_SOURCE,
    revision: str | None = CLIP_REVISION,
    device: str | torch.device | None = None,
) -> Clip:
    """Load a CLIP network, by default ViT-L/14 (1.7 GB), from the hub or its local cache.

    device: as for `load_model`. Raises UsageError in one line when it cannot be fetched.
    """
    chosen_device = pick_device(device)
    folder, weights = files.fetch_from_hub(source, revision, ("",))
    look = read_json(folder / "preprocessor_config.json", ClipColours)
    with quiet_loading():
        import transformers

        network = load_part(transformers.CLIPModel, weights[""], torch.float32)
        tokenizer = load_tokenizer(folder)
    return Clip(
        network=network.requires_grad_(False).to(chosen_device),
        tokenizer=tokenizer,
        name=source,
        revision=folder.name,
        device=chosen_device,
        size_px=network.config.vision_config.image_size,
        mean=tuple(look["image_mean"]),
        deviation=tuple(look["image_std"]),
    )


def _fill_from_folder(preset: Preset, folder: Path, weights: dict[str, files.Weights]) -> Preset:
    """The preset with the picture size, and if unknown the memory, that the model's files tell."""
    unet = read_json(folder / "unet" / "config.json", files.UNetConfig)
    vae = read_json(folder / "vae" / "config.json", files.VaeConfig)
    latent_px = 2 ** (len(vae["block_out_channels"]) - 1)
    size_px = unet["sample_size"] * latent_px
    # On a GPU the weights take 16 bits each; plain files mostly hold 32. Single files are SDXL's.
    weights_gb = sum(w.stored_bytes * (1 if w.variant else 0.5) for w in weights.values()) / 1e9
    weights_gb = weights_gb or SDXL_WEIGHTS_GB
    # Decoding one picture of 1024 px takes about 4 GB in 16 bits; other sizes as their area.
    decoding_gb = 8.0 if overflows_in_float16(folder / "vae") else 4.0
    memory_gb = round(weights_gb + decoding_gb * (size_px / 1024) ** 2, 1)
    return dataclasses.replace(
        preset, size_px=size_px, gpu_memory_gb=preset.gpu_memory_gb or memory_gb
    )


def _place(pipeline: Any, device: torch.device, needed_gb: float) -> bool:
    """Move the pipeline to its device; True if its parts had to stay in main memory."""
    free_gb = free_memory_gb(device)
    offload = free_gb is not None and free_gb < needed_gb
    if offload:
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.to(device)
    return offload


def sibling_pipeline(model: Model, kind: str, **more_parts: Any) -> Any:
    """Another diffusers pipeline of the model's own parts; no weights are loaded or copied.

    kind: the name of its class, such as "StableDiffusionXLImg2ImgPipeline".
    The scheduler alone is a new one with the same settings: it remembers its place in the steps.
    """
    with quiet_loading():
        import diffusers

        scheduler = model.pipeline.scheduler
        parts = {**model.pipeline.components, **more_parts}
        pipeline = getattr(diffusers, kind)(
            **parts | {"scheduler": type(scheduler).from_config(scheduler.config)},
            force_zeros_for_empty_prompt=model.pipeline.config.force_zeros_for_empty_prompt,
            add_watermarker=False,
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
