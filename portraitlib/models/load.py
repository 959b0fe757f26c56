"""Models by name: the table of presets, and the only place that loads weights."""

from __future__ import annotations

import dataclasses
import gc
import math
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import torch

from portraitlib.device import free_memory_gb, has_accelerator, pick_device, pick_dtype
from portraitlib.models import files
from portraitlib.models.adapter_files import PARTS
from portraitlib.models.adapter_weights import Applied, changed_weights, check_base, copy_sharing
from portraitlib.models.adapters import Adapter
from portraitlib.models.presets import Preset, find_preset
from portraitlib.portrait import read_json
from portraitlib.settings import RANGES, UsageError, check_number

# The usual judge of whether a photograph shows what was asked (https://arxiv.org/abs/2104.08718).
CLIP_SOURCE = "openai/clip-vit-large-patch14"
CLIP_REVISION = "32bd64288804d66eefd0ccbe215aa642df71cc41"


@dataclass(frozen=True, eq=False)
class Model:
    """A loaded model. `str(model)` is the line to print: "mini on cpu, float32, jrdnpl at 0.8".

    pipeline: the diffusers StableDiffusionXLPipeline.
    revision: commit of the hub, or hash of a local folder's files.
    prompts, pictures: what was encoded last, filled by `generate`.
    ready_pictures: what was cut and resized last, filled by `generate`.
    controlnets: those that were loaded for it, filled by `controlnets`.
    adapters: what was added to it, each with its scale. base: the model before that, or None.
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
    adapters: tuple[Applied, ...] = ()
    base: Model | None = field(default=None, repr=False)

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
    )


def load_model(
    name: str | Path | None = None,
    device: str | torch.device | None = None,
    *,
    dtype: str | None = None,
    revision: str | None = None,
) -> Model:
    """Load a model, ready to draw.

    name: a preset ("mini", "sdxl"), the hub id or the folder of an SDXL-shaped model; None takes
        "sdxl" where there is a GPU and "mini" where there is none.
    device: "cpu", "cuda", "cuda:1", "mps"; None takes the best there is.
    dtype: "float32", "float16" or "bfloat16"; None takes what suits model and device.
    revision: branch, tag or commit of a hub model; None takes the preset's pin, or "main".

    A hub model that is in the local cache is taken from there without asking the network.
    Raises UsageError in one line for an unknown name, a hub that cannot be reached, pickled
    weights, or a folder that is not an SDXL model, before anything is loaded.
    """
    chosen_device = pick_device(device)
    if name is None:
        name = "mini" if chosen_device.type == "cpu" or not has_accelerator() else "sdxl"
    preset = find_preset(str(name), revision)
    parts = {"text_encoder", "text_encoder_2", "unet", "vae"}
    if preset.vae_source:
        parts.remove("vae")
    local = Path(preset.source).is_dir()
    if local:
        folder = Path(preset.source)
        weights = files.check_folder(folder, parts)
    else:
        folder, weights = files.fetch_from_hub(preset.source, preset.revision, parts)
    if preset.vae_source:
        _, vae = files.fetch_from_hub(preset.vae_source, preset.vae_revision, ("",))
        weights["vae"] = vae[""]
    if not preset.size_px:
        preset = _fill_from_folder(preset, folder, weights)
    chosen_dtype = pick_dtype(chosen_device, preset.gpu_dtype, dtype)
    pipeline = _assemble(folder, weights, chosen_dtype)
    if preset.decode_one_by_one:
        pipeline.vae.enable_slicing()
    return Model(
        pipeline=pipeline,
        name=preset.name,
        revision=files.content_revision(folder) if local else folder.name,
        preset=preset,
        device=chosen_device,
        dtype=chosen_dtype,
        offloaded=_place(pipeline, chosen_device, preset.gpu_memory_gb),
    )


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
        tokenizer = transformers.CLIPTokenizer.from_pretrained(folder, local_files_only=True)
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
    # On a GPU the weights take 16 bits each; plain files mostly hold 32.
    weights_gb = sum(w.stored_bytes * (1 if w.variant else 0.5) for w in weights.values()) / 1e9
    # Decoding one picture of 1024 px takes about 4 GB in 16 bits; other sizes as their area.
    decoding_gb = 8.0 if _overflows_in_float16(weights["vae"].folder) else 4.0
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


def _assemble(folder: Path, weights: dict[str, files.Weights], dtype: torch.dtype) -> Any:
    """The pipeline from its parts, on the CPU; safetensors only, no code from the folder."""
    with quiet_loading():
        import diffusers
        import transformers

        classes = {
            "text_encoder": transformers.CLIPTextModel,
            "text_encoder_2": transformers.CLIPTextModelWithProjection,
            "unet": diffusers.UNet2DConditionModel,
            "vae": diffusers.AutoencoderKL,
        }
        dtypes = dict.fromkeys(classes, dtype)
        if dtype == torch.float16 and _overflows_in_float16(weights["vae"].folder):
            dtypes["vae"] = torch.float32
        parts = {part: load_part(classes[part], weights[part], dtypes[part]) for part in classes}
        for part in ("tokenizer", "tokenizer_2"):
            parts[part] = transformers.CLIPTokenizer.from_pretrained(
                folder / part, local_files_only=True
            )
        index = read_json(folder / "model_index.json", dict[str, Any])
        scheduler_class = getattr(diffusers, index["scheduler"][-1], None)
        if scheduler_class is None:
            raise UsageError(
                f"{folder}: diffusers {diffusers.__version__} has no {index['scheduler'][-1]}; "
                "try a newer diffusers"
            )
        parts["scheduler"] = scheduler_class.from_pretrained(
            folder / "scheduler", local_files_only=True
        )
        pipeline = diffusers.StableDiffusionXLPipeline(
            **parts,
            force_zeros_for_empty_prompt=index.get("force_zeros_for_empty_prompt", True),
            add_watermarker=False,
        )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


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


def _overflows_in_float16(vae_folder: Path) -> bool:
    """Does a VAE's config ask for float32? SDXL's first one does; one that is silent may."""
    return bool(read_json(vae_folder / "config.json", files.VaeConfig).get("force_upcast", True))


def load_part(part_class: Any, weights: files.Weights, dtype: torch.dtype) -> Any:
    """One part with all its weights; raises UsageError if the files lack some of them."""
    import diffusers

    # diffusers 0.39 knows only the old name of the argument; transformers 5 wants the new one.
    is_old = part_class.__module__.startswith("diffusers") and (
        diffusers.__version__.startswith("0.39.")
    )
    try:
        part, report = part_class.from_pretrained(
            weights.folder,
            variant=weights.variant,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **{"torch_dtype" if is_old else "dtype": dtype},
        )
    except (OSError, RuntimeError, ValueError) as problem:
        first_line = str(problem).strip().splitlines()[0]
        raise UsageError(
            f"{weights.folder}: its weights do not fit its config ({first_line})"
        ) from problem
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise UsageError(
            f"{weights.folder}: its weights lack {len(missing)} tensors, such as {missing[0]}; "
            "download the model again"
        )
    return part.eval()


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Hold back transformers' bars and its notices about torchvision, then restore both.

    Importing diffusers makes it ask for image processors that this library does not use. The
    garbage collector rests meanwhile: walking over two thousand fresh modules again and again,
    it takes an eighth of the time and finds nothing.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        from transformers.utils import logging

        level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if bars:
                logging.enable_progress_bar()
    finally:
        if collecting:
            gc.enable()
