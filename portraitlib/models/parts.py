"""The parts of a model from its files: the only place that loads weights."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from portraitlib.models import files, single_file
from portraitlib.portrait import read_json
from portraitlib.settings import UsageError


def assemble(folder: Path, weights: dict[str, files.Weights], dtype: torch.dtype) -> Any:
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
        if dtype == torch.float16 and overflows_in_float16(weights["vae"].folder):
            dtypes["vae"] = torch.float32
        parts = {part: load_part(classes[part], weights[part], dtypes[part]) for part in classes}
        for part in ("tokenizer", "tokenizer_2"):
            parts[part] = load_tokenizer(folder / part)
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


def assemble_single_file(path: Path, dtype: torch.dtype) -> Any:
    """The pipeline from SDXL in a single file, on the CPU, and from the configs in the package."""
    configs = single_file.CONFIGS
    with quiet_loading():
        import diffusers

        try:
            pipeline = diffusers.StableDiffusionXLPipeline.from_single_file(
                str(path),
                config=str(configs),
                torch_dtype=dtype,
                local_files_only=True,
                tokenizer=load_tokenizer(configs / "tokenizer"),
                tokenizer_2=load_tokenizer(configs / "tokenizer", pad_token="!"),
                add_watermarker=False,
            )
        except (OSError, RuntimeError, ValueError) as problem:
            first_line = str(problem).strip().splitlines()[0]
            raise UsageError(f"{path}: its weights are not SDXL's ({first_line})") from problem
        if dtype == torch.float16 and overflows_in_float16(configs / "vae"):
            pipeline.vae.to(torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def overflows_in_float16(vae_folder: Path) -> bool:
    """Does a VAE's config ask for float32? SDXL's first one does; one that is silent may."""
    return bool(read_json(vae_folder / "config.json", files.VaeConfig).get("force_upcast", True))


def load_tokenizer(folder: Path, **changes: str) -> Any:
    """CLIP's tokenizer from its folder; `changes` such as pad_token="!"."""
    import transformers

    return transformers.CLIPTokenizer.from_pretrained(folder, local_files_only=True, **changes)


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
    """Hold back bars, and notices such as about torchvision, then let them come again.

    Importing diffusers makes it ask for image processors that this library does not use. The
    garbage collector rests meanwhile: walking over two thousand fresh modules again and again,
    it takes an eighth of the time and finds nothing.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        with ExitStack() as restored:
            restored.enter_context(_quiet("transformers"))
            restored.enter_context(_quiet("diffusers"))
            yield
    finally:
        if collecting:
            gc.enable()


@contextmanager
def _quiet(library: str) -> Iterator[None]:
    """Hold back the bars and notices of transformers or diffusers, which log alike."""
    logging = importlib.import_module(f"{library}.utils.logging")
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
