"""Where a model's files are, and whether they can be loaded: known before anything slow happens.

A model is a folder as diffusers writes it, one subfolder a part. A hub id becomes such a folder
in the hub's cache. Knows no torch.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from portraitlib.portrait import read_json
from portraitlib.settings import UsageError

# The parts of an SDXL pipeline and the classes they are made of.
PART_CLASSES: dict[str, tuple[str, ...]] = {
    "scheduler": (),  # any of diffusers
    "tokenizer": ("CLIPTokenizer", "CLIPTokenizerFast"),
    "tokenizer_2": ("CLIPTokenizer", "CLIPTokenizerFast"),
    "text_encoder": ("CLIPTextModel",),
    "text_encoder_2": ("CLIPTextModelWithProjection",),
    "unet": ("UNet2DConditionModel",),
    "vae": ("AutoencoderKL",),
}
# part -> the stems that its weight files may have; "" is a folder that holds one part alone, like
# a VAE's or one of transformers' models.
WEIGHT_STEMS: dict[str, tuple[str, ...]] = {
    "text_encoder": ("model",),
    "text_encoder_2": ("model",),
    "unet": ("diffusion_pytorch_model",),
    "vae": ("diffusion_pytorch_model",),
    "": ("diffusion_pytorch_model", "model"),
}
PICKLE_ENDINGS = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
# Taken where there is one: half the download, and the same weights on every device.
VARIANT = "fp16"
HUB_TIMEOUT_S = 10.0


class UNetConfig(TypedDict, total=False):
    """What is asked of a UNet's config.json, which holds much more."""

    addition_embed_type: str | None
    in_channels: int
    out_channels: int
    sample_size: int


class VaeConfig(TypedDict, total=False):
    """What is asked of a VAE's config.json."""

    block_out_channels: list[int]
    force_upcast: bool


@dataclass(frozen=True)
class Weights:
    """Where the weights of one part are: a folder, and the variant and names of its files."""

    folder: Path
    variant: str | None
    files: tuple[str, ...]

    @property
    def stored_bytes(self) -> int:
        return sum((self.folder / name).stat().st_size for name in self.files)


def choose_weights(where: str, names: Iterable[str], part: str) -> tuple[str | None, list[str]]:
    """The variant ("fp16" or None) and the names of a part's weight files, from a listing.

    Raises UsageError for a part without safetensors, and names the pickles in its place.
    """
    names = sorted(names)
    home = f"{part}/" if part else ""
    stem = home + rf"({'|'.join(WEIGHT_STEMS[part])})"
    shard = r"(-\d+-of-\d+)?"
    for variant, ending in ((VARIANT, rf"(\.{VARIANT}{shard}|{shard}\.{VARIANT})"), (None, shard)):
        files = [n for n in names if re.fullmatch(rf"{stem}{ending}\.safetensors", n)]
        if files:
            return variant, files
    raise UsageError(_why_no_weights(where, names, part, home + WEIGHT_STEMS[part][0]))


def _why_no_weights(where: str, names: list[str], part: str, stem: str) -> str:
    inside = [n for n in names if n.startswith(f"{part}/")] if part else names
    pickles = [n for n in inside if n.endswith(PICKLE_ENDINGS)]
    if pickles:
        return (
            f"{where}: {pickles[0]} is a pickle, which can run code when it is loaded; expected "
            "safetensors; convert it where you trust it, by diffusers' "
            "pipeline.save_pretrained(folder, safe_serialization=True)"
        )
    return f"{where}: {stem}.safetensors is missing"


def check_listing(where: str, names: Iterable[str]) -> None:
    """Raise UsageError unless the names look like a diffusers folder."""
    names = sorted(names)
    if "model_index.json" in names:
        return
    top = [name for name in names if "/" not in name]
    pickles = [name for name in top if name.endswith(PICKLE_ENDINGS)]
    single = [name for name in top if name.endswith(".safetensors")]
    if pickles:
        reason = f"{pickles[0]} is a pickle, which can run code when it is loaded"
    elif single:
        reason = f"{single[0]} is a single file: name it, not its folder, if it is a whole model"
    else:
        reason = "model_index.json is missing"
    raise UsageError(
        f"{where}: {reason}; expected a diffusers folder with model_index.json and the parts "
        f"{', '.join(PART_CLASSES)}, weights as safetensors"
    )


def check_shape(folder: Path) -> None:
    """Raise UsageError unless the configs in the folder describe an SDXL text-to-image model."""
    index = read_json(folder / "model_index.json", dict[str, Any])
    for part, classes in PART_CLASSES.items():
        entry = index.get(part)
        name = entry[-1] if isinstance(entry, list) and entry else entry
        named_right = name in classes if classes else str(name).endswith("Scheduler")
        if not named_right:
            raise UsageError(
                f"{folder}: model_index.json, of {index.get('_class_name')}, has {name} as {part}, "
                f"expected {' or '.join(classes) or 'a scheduler of diffusers'}: not an SDXL model"
            )
    unet = read_json(folder / "unet" / "config.json", UNetConfig)
    if unet.get("addition_embed_type") != "text_time":
        raise UsageError(
            f"{folder}: unet/config.json has addition_embed_type="
            f"{unet.get('addition_embed_type')!r}, expected 'text_time': not an SDXL model"
        )
    if unet.get("in_channels") != unet.get("out_channels"):
        raise UsageError(
            f"{folder}: its UNet takes {unet.get('in_channels')} channels and gives "
            f"{unet.get('out_channels')}, expected the same number: it is made for inpainting or "
            "editing, not for drawing from words"
        )


def list_folder(folder: Path) -> list[str]:
    """The names of the files in the folder and in its subfolders, with forward slashes."""
    return [
        path.relative_to(folder).as_posix()
        for pattern in ("*", "*/*")
        for path in folder.glob(pattern)
        if path.is_file()
    ]


def check_folder(folder: Path, parts: Iterable[str]) -> dict[str, Weights]:
    """Check a model's folder in full; return where the weights of its parts are.

    parts: ("",) for a folder that holds one part alone.
    Raises UsageError naming what is missing, pickled, cut short, or not SDXL.
    """
    names = list_folder(folder)
    parts = tuple(parts)
    if parts == ("",):
        read_json(folder / "config.json", dict[str, Any])
    else:
        check_listing(str(folder), names)
        check_shape(folder)
    weights = {}
    for part in parts:
        variant, files = choose_weights(str(folder), names, part)
        for name in files:
            check_safetensors(folder / name)
        inside = tuple(name.rpartition("/")[2] for name in files)
        weights[part] = Weights(folder / part, variant, inside)
    return weights


def check_safetensors(path: Path) -> dict[str, list[int]]:
    """The shapes of the tensors in a safetensors file; raises UsageError if it is none, or cut."""
    with open_safetensors(path) as file:
        return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118


@contextmanager
def open_safetensors(path: Path, framework: str = "numpy") -> Iterator[Any]:
    """A safetensors file, as `safe_open` gives it; what is wrong with it in one line."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework=framework) as file:
            yield file
    except (SafetensorError, OSError) as problem:
        raise UsageError(
            f"{path}: not a whole safetensors file ({problem}); get it again from where it came"
        ) from problem


def content_revision(folder: Path, weights: Weights | None = None) -> str:
    """What a local model is called in recipes: a hash of its file, or of its weights and configs.

    weights: those of the one part that the folder holds alone.
    """
    if folder.is_file():
        with open(folder, "rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()[:32]}"
    digest = hashlib.sha256()
    if weights is not None:
        names = ["config.json", *weights.files]
    else:
        parts = (n for n in list_folder(folder) if n.split("/")[0] in PART_CLASSES)
        names = ["model_index.json", *parts]
    for name in sorted(names):
        with open(folder / name, "rb") as file:
            digest.update(f"{name}\n".encode())
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return "sha256:" + digest.hexdigest()[:32]


def fetch_from_hub(
    source: str, revision: str | None, parts: Iterable[str]
) -> tuple[Path, dict[str, Weights]]:
    """The folder of a hub model in the local cache, downloaded first if it is not there yet.

    Only configs, tokenizers and the chosen safetensors are downloaded, and the weights only
    after names and configs were checked. parts: as for `check_folder`.
    Raises UsageError in one line when the hub cannot be reached or does not have the model.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    parts = tuple(parts)
    known = "config.json" if parts == ("",) else "model_index.json"
    cached = try_to_load_from_cache(source, known, revision=revision)
    if isinstance(cached, str):
        try:
            return Path(cached).parent, check_folder(Path(cached).parent, parts)
        except UsageError:
            pass  # an unfinished download, or an unusable model: the hub's listing will tell
    if constants.HF_HUB_OFFLINE:
        raise UsageError(
            f"{source}: not, or not wholly, in the local cache, and HF_HUB_OFFLINE forbids the "
            "network; unset it and load the model once, or use the model in the package: "
            'load_model("mini")'
        )
    try:
        folder = _download(source, revision, parts)
    except UsageError:
        raise
    except Exception as problem:  # the hub's client raises a dozen kinds
        raise UsageError(_why_not_fetched(source, revision, problem)) from problem
    return folder, check_folder(folder, parts)


def fetch_file(source: str, name: str, sha256: str, revision: str | None = None) -> Path:
    """One file of a hub repository, from the local cache or downloaded, with this very content.

    Raises UsageError in one line when the hub cannot be reached or has something else there.
    """
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(source, name, revision=revision)
    if not isinstance(cached, str):
        if constants.HF_HUB_OFFLINE:
            raise UsageError(
                f"{source}: {name} is not in the local cache, and HF_HUB_OFFLINE forbids the "
                "network; unset it once"
            )
        try:
            cached = hf_hub_download(source, name, revision=revision, etag_timeout=HUB_TIMEOUT_S)
        except Exception as problem:  # the hub's client raises a dozen kinds
            raise UsageError(_why_not_fetched(source, revision, problem)) from problem
    digest = hashlib.sha256(Path(cached).read_bytes()).hexdigest()
    if digest != sha256:
        raise UsageError(
            f"{source}: {name} has another content than the one that was pinned (SHA-256 "
            f"{digest[:12]}..., expected {sha256[:12]}...); delete {cached} and try again"
        )
    return Path(cached)


def _download(source: str, revision: str | None, parts: tuple[str, ...]) -> Path:
    """Configs first, then, if they are those of an SDXL model, the weights."""
    from huggingface_hub import HfApi, snapshot_download

    listing = HfApi().model_info(
        source, revision=revision, timeout=HUB_TIMEOUT_S, files_metadata=True
    )
    sizes = {file.rfilename: file.size or 0 for file in listing.siblings or []}
    names = list(sizes)
    whole = parts != ("",)
    if whole:
        check_listing(source, names)
    weights = [name for part in parts for name in choose_weights(source, names, part)[1]]
    configs = [name for name in names if _is_config(name, whole)]
    folder = Path(snapshot_download(source, revision=revision, allow_patterns=configs))
    if whole:
        check_shape(folder)
    gigabytes = sum(sizes[name] for name in weights) / 1e9
    note = f"{source}: {gigabytes:.2g} GB to download; what is broken off goes on the next time"
    print(note, file=sys.stderr)  # where the bars go
    snapshot_download(source, revision=revision, allow_patterns=weights)
    return folder


def _is_config(name: str, whole: bool) -> bool:
    folder, _, file = name.rpartition("/")
    return file.endswith((".json", ".txt")) and (folder == "" or whole and folder in PART_CLASSES)


def _why_not_fetched(source: str, revision: str | None, problem: Exception) -> str:
    from huggingface_hub import errors

    if isinstance(problem, errors.GatedRepoError):
        reason = "its owner asks you to accept terms: do so on its page, then run `hf auth login`"
    elif isinstance(problem, errors.RepositoryNotFoundError):
        reason = "the hub has no such public model; check the spelling, or run `hf auth login`"
    elif isinstance(problem, errors.RevisionNotFoundError):
        reason = f"the hub has no revision {revision!r} of it"
    elif isinstance(problem, OSError) and problem.errno is not None:
        reason = f"it cannot be stored ({problem.strerror})"
    else:
        first_line = (str(problem).strip() or type(problem).__name__).splitlines()[0]
        reason = (
            f"not in the local cache, and downloading it failed ({first_line}); connect to the "
            'network and try again, or use the model in the package: load_model("mini")'
        )
    return f"{source}: {reason}"
