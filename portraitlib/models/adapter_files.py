"""LoRA files: safetensors written whole, and read in whatever spelling their makers chose."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypedDict

import torch

from portraitlib.models.files import PICKLE_ENDINGS, open_safetensors
from portraitlib.models.kohya_keys import from_kohya
from portraitlib.portrait import whole_file
from portraitlib.settings import UsageError, check_record

PARTS = ("unet", "text_encoder", "text_encoder_2")
# Where diffusers keeps rank and alpha: one entry of the file's metadata, as JSON.
DIFFUSERS_METADATA = "lora_adapter_metadata"

SCALING = {"r": int, "lora_alpha": float, "alpha_pattern": dict[str, float], "use_rslora": bool}
Scaling = TypedDict(  # type: ignore[misc]
    "Scaling",
    {f"{part}.{name}": kind for part in PARTS for name, kind in SCALING.items()},
    total=False,
)

# What safetensors calls the number types that are written.
TYPES = {
    **{torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"},
    **{torch.uint8: "U8", torch.int64: "I64"},
}
# How the two matrices of a LoRA and its alpha are spelled: peft, kohya, and diffusers in the past.
ENDINGS = {
    **{f".lora_{a}{default}.weight": a for a in "AB" for default in ("", ".default")},
    **{f".lora_{way}.weight": a for a, way in (("A", "down"), ("B", "up"))},
    **{f".lora.{way}.weight": a for a, way in (("A", "down"), ("B", "up"))},
    **{f".lora_linear_layer.{way}.weight": a for a, way in (("A", "down"), ("B", "up"))},
    **{f"_lora.{way}.weight": a for a, way in (("A", "down"), ("B", "up"))},
    ".alpha": "alpha",
}
# Relatives of LoRA that add something else than a product of two matrices.
RELATIVES = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "hada_w": "LoHa",
    "lokr_w": "LoKr",
    "lora_mid": "a LoRA in three matrices (CP decomposition)",
    "oft_": "OFT",
    "on_input": "IA3",
    ".diff.": "whole differences",
    ".diff_b.": "whole differences",
}


def write_tensors(
    target: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file, whole or not at all; the same content is the same bytes.

    safetensors' own writer puts metadata in an order that changes from process to process.
    Raises UsageError if it cannot be written.
    """
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    begin = 0
    # Readers map the file: no number may lie across the places of its own size.
    names = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    for name in names:
        end = begin + tensors[name].nbytes
        kind, shape = TYPES[tensors[name].dtype], list(tensors[name].shape)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}
        begin = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data begins at a multiple of 8 bytes
    with whole_file(target) as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for name in names:
            file.write(_content(tensors[name]))


def content_digest(tensors: Mapping[str, torch.Tensor], *others: Any) -> str:
    """SHA-256 of names, shapes and float32 values, and of other plain values; 64 digits."""
    digest = hashlib.sha256(json.dumps(others).encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)}\n".encode())
        digest.update(_content(tensors[name].float()))
    return digest.hexdigest()


def _content(tensor: torch.Tensor) -> memoryview:
    """The bytes of a tensor."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def read_tensors(path: Path, mark: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of a safetensors file as float32, and its metadata.

    mark: the entry of the metadata that our own files have; others are told by their tensors'
        names before any is read: a whole model has 7 GB.
    Raises UsageError in one line for a file that is missing, a pickle, no whole safetensors, or
    no LoRA.
    """
    if path.suffix.lower() in PICKLE_ENDINGS:
        raise UsageError(
            f"{path}: {path.suffix} is a pickle, which can run code when it is loaded; expected "
            "a .safetensors; ask its maker for one, or convert it where you trust it"
        )
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise UsageError(f"{path}: {what}, expected a LoRA as .safetensors")
    with open_safetensors(path, "pt") as file:
        metadata = dict(file.metadata() or {})
        names = list(file.keys())
        strange = next((name for name in names if _read_key(name) is None), None)
        if mark not in metadata and strange is not None:
            raise UsageError(_why_not_read(path, strange, names))
        tensors = {name: file.get_tensor(name) for name in names}
    tensors = {name: values.float() for name, values in tensors.items()}
    broken = [name for name, values in tensors.items() if not values.isfinite().all()]
    if broken:
        raise UsageError(
            f"{path}: {len(broken)} of its {len(tensors)} tensors hold values that are not "
            f"numbers, such as {broken[0]}; train it again from the last good state"
        )
    return tensors, metadata


def find_matrices(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str],
    known: tuple[int, float] | None = None,
) -> tuple[dict[str, torch.Tensor], int, float]:
    """The LoRA among the tensors of a file of diffusers, peft or kohya, in one spelling.

    Gives "<part>.<module>.lora_A.weight" (rank, in, ...), ".lora_B.weight" (out, rank, ...), and
    rank and alpha of most modules. A module of another rank keeps it; if alpha / rank was another
    too, that is in its lora_B, so that this alpha / rank is right for all.
    known: its rank and alpha, where they need not be found out.
    Raises UsageError in one line where there is none, a half is missing, or ranks do not match.
    """
    modules: dict[str, dict[str, torch.Tensor]] = {}
    for key, values in tensors.items():
        place = _read_key(key)
        if place is None:
            raise UsageError(_why_not_read(path, key, tensors))
        modules.setdefault(place[0], {})[place[1]] = values
    for module, roles in modules.items():
        _check_pair(path, module, roles)
    if not modules:
        raise UsageError(f"{path}: holds no tensor, expected a LoRA")
    if known is None:
        scaling = json_entry(path, metadata, DIFFUSERS_METADATA, Scaling)
        known = _fold_alphas(path, modules, scaling)
    matrices = {
        f"{module}.lora_{role}.weight": modules[module][role]
        for module in sorted(modules)
        for role in "AB"
    }
    return matrices, *known


def _fold_alphas(
    path: Path, modules: Mapping[str, dict[str, torch.Tensor]], scaling: Mapping[str, Any]
) -> tuple[int, float]:
    """Rank and alpha of most modules; another alpha / rank of a module goes into its lora_B."""
    alphas = {module: _alpha(module, roles, scaling) for module, roles in modules.items()}
    counts = Counter((len(roles["A"]), alphas[module]) for module, roles in modules.items())
    (rank, alpha), _ = counts.most_common(1)[0]
    if alpha == 0:
        raise UsageError(f"{path}: its alpha is 0, so that it adds nothing; expected its rank")
    for module, roles in modules.items():
        factor = (alphas[module] / len(roles["A"])) / (alpha / rank)
        if factor != 1:
            roles["B"] = roles["B"] * factor
    return rank, alpha


def _read_key(key: str) -> tuple[str, str] | None:
    """The module that a key belongs to, and "A", "B" or "alpha"; None if it is no LoRA's key."""
    ending = next(filter(key.endswith, ENDINGS), None)
    if ending is None:
        return None
    name = key.removesuffix(ending)
    if "." not in name and name.startswith("lora_"):
        module = from_kohya(name)
        return None if module is None else (canonical(module), ENDINGS[ending])
    name = name.removeprefix("base_model.model.").replace(".processor", "")
    if name.split(".")[0] not in PARTS:
        name = f"unet.{name}"
    if name.startswith("text_encoder"):  # diffusers once lent them the names of its own attention
        name = re.sub(r"\.to_(q|k|v|out)$", r".\1_proj", name)
    elif name.endswith(".to_out"):
        name += ".0"
    return canonical(name), ENDINGS[ending]


def canonical(name: str) -> str:
    """A text encoder's module with "text_model." in it, as files have it.

    Newer versions of transformers have dropped that level from the first encoder.
    """
    part, _, path = name.partition(".")
    if part in PARTS[1:] and not path.startswith(("text_model.", "text_projection")):
        return f"{part}.text_model.{path}"
    return name


def _why_not_read(path: Path, key: str, names: Collection[str]) -> str:
    relative = next((RELATIVES[sign] for sign in RELATIVES if sign in f"{key}."), None)
    if relative:
        return f"{path}: {key} is of {relative}, which is not supported; expected a plain LoRA"
    if not any(map(_read_key, names)):
        return (
            f"{path}: no LoRA keys in it, but {len(names)} others such as {key}; expected a LoRA "
            "as diffusers or kohya write it; a whole model is loaded by load_model"
        )
    return f"{path}: {key} is no key of a LoRA for SDXL; expected keys like unet.*.lora_A.weight"


def _check_pair(path: Path, module: str, roles: Mapping[str, torch.Tensor]) -> None:
    """Raise UsageError unless both matrices are there and of one rank."""
    missing = [f"lora_{role}" for role in "AB" if role not in roles]
    if missing:
        raise UsageError(f"{path}: {module} lacks its {' and '.join(missing)}; get it again")
    first, second = tuple(roles["A"].shape), tuple(roles["B"].shape)
    if len(first) not in (2, 4) or len(first) != len(second) or first[0] != second[1]:
        raise UsageError(
            f"{path}: the rank of {module} does not match inside: lora_A is {first}, lora_B is "
            f"{second}, expected (rank, in) and (out, rank)"
        )


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, its tensors unread; raises UsageError as above."""
    with open_safetensors(path) as file:
        return dict(file.metadata() or {})


def json_entry(
    path: Path, metadata: Mapping[str, str], name: str, kind: Any = dict[str, Any]
) -> Any:
    """An entry of the metadata that holds a record as JSON; without entries if it is not there."""
    try:
        content = json.loads(metadata.get(name) or "{}")
    except (ValueError, RecursionError):
        raise UsageError(f"{path}: its {name} is not readable as JSON; get it again") from None
    return check_record(f"{path}: its {name}", content, kind)


def _alpha(module: str, roles: Mapping[str, torch.Tensor], scaling: Mapping[str, Any]) -> float:
    """A module's alpha: beside its matrices, by diffusers' metadata, else its rank."""
    rank = len(roles["A"])
    if "alpha" in roles:
        return float(roles["alpha"].reshape(-1)[0])
    part, _, path = module.partition(".")
    if f"{part}.lora_alpha" not in scaling:
        return float(rank)
    alpha = scaling[f"{part}.lora_alpha"]
    for pattern, other in (scaling.get(f"{part}.alpha_pattern") or {}).items():
        # peft reads these as the end of a name, or, after ^, as all of it.
        ending = pattern.removeprefix("^").removeprefix("text_model.")
        if path == ending or path.endswith(f".{ending}") and not pattern.startswith("^"):
            alpha = other
    return float(alpha) * (math.sqrt(rank) if scaling.get(f"{part}.use_rslora") else 1.0)
