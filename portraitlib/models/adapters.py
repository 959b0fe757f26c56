"""What a training adds to a model: the Adapter, its file, and what it does to a model's weights."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypedDict

import torch
from PIL import Image

from portraitlib.models.adapter_files import (
    DIFFUSERS_METADATA,
    PARTS,
    content_digest,
    find_matrices,
    json_entry,
    read_tensors,
    write_tensors,
)
from portraitlib.models.kohya_keys import to_kohya
from portraitlib.settings import UsageError, check_record

FORMS = ("diffusers", "kohya")
OWN = "portraitlib."  # how this library's own entries in a file's metadata begin
FORMAT = 1
COVERS = "ssmd_cover_images"  # the entry in which AUTOMATIC1111 and ComfyUI look for a picture
SAMPLE_PX = 256
SDXL_WIDTH = 2048  # of a word, as SDXL's two text encoders say it together


class Header(TypedDict):
    """This library's own entries in a file's metadata; numbers are written as texts."""

    format: int
    kind: Literal["lora", "full"]
    rank: int
    alpha: float
    base: str
    base_revision: str
    identifier: str
    instance_prompt: str
    hash: str


@dataclass(frozen=True, eq=False)
class Adapter:
    """What was learnt on top of a model, to be added by `model.with_adapter(adapter, scale)`.

    kind: "lora", whose weights are W + scale * alpha / rank * B @ A (https://arxiv.org/abs/2106.09685),
        or "full", whose weights lie between W and the tuned ones.
    tensors: float32 on the CPU. LoRA: "unet.<module>.lora_A.weight" (rank, in) and
        ".lora_B.weight" (out, rank), also of "text_encoder." and "text_encoder_2."; full:
        "unet.<parameter>".
    rank, alpha: of a LoRA. A module of another rank has the same alpha / rank.
    base, base_revision: the model that it was trained on; "" if nobody said.
    identifier: the word that means the person, such as "jrdnpl".
    recipe: everything that made it, as plain JSON values. sample: a picture drawn with it.

    Raises UsageError for tensors that are no such thing.
    """

    kind: str
    tensors: dict[str, torch.Tensor] = field(repr=False)
    rank: int
    alpha: float
    base: str = ""
    base_revision: str = ""
    identifier: str = ""
    instance_prompt: str = ""
    recipe: dict[str, Any] = field(default_factory=dict, repr=False)
    sample: Image.Image | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in ("lora", "full"):
            raise UsageError(f"Adapter.kind: got {self.kind!r}, expected 'lora' or 'full'")
        if self.kind == "lora":
            if not (isinstance(self.rank, int) and self.rank > 0):
                raise UsageError(f"Adapter.rank: got {self.rank!r}, expected 1 or more for a LoRA")
            where = Path(f"adapter {self.identifier}".strip())
            # Names as files have them: the text encoders' modules are called otherwise in memory.
            tensors, *_ = find_matrices(where, self.tensors, {}, (self.rank, self.alpha))
            object.__setattr__(self, "tensors", tensors)

    @property
    def name(self) -> str:
        """What it is called where a line is printed: its identifier, else its hash."""
        return self.identifier or self.hash[:8]

    @property
    def hash(self) -> str:
        """The content address of its weights, 16 hexadecimal digits, the same in every file."""
        return self._digest[:16]

    @cached_property
    def _digest(self) -> str:
        return content_digest(self.tensors, self.kind, self.rank, float(self.alpha))

    def entry(self, scale: float) -> dict[str, Any]:
        """What a recipe says of it."""
        named = {"identifier": self.identifier, "hash": self.hash, "kind": self.kind}
        return {**named, "scale": scale, "base": self.base}

    def save(self, path: str | os.PathLike[str], form: str = "diffusers") -> Path:
        """Write one .safetensors file, whole or not at all; return where it is.

        form: "diffusers", which `pipeline.load_lora_weights` reads, alpha included; or "kohya",
            whose keys AUTOMATIC1111 and ComfyUI load. `Adapter.open` gives the same from both.
        The metadata holds the recipe, the identifier and the sample, and what those programs show.
        Raises UsageError for another ending, what has no such form, or a file that cannot be
        written.
        """
        target = Path(path).expanduser()
        if target.suffix.lower() != ".safetensors":
            raise UsageError(
                f"{target}: got {target.suffix or 'no ending'}, expected .safetensors; "
                f"try {target.with_suffix('.safetensors')}"
            )
        if form not in FORMS:
            raise UsageError(f"form: got {form!r}, expected one of {', '.join(FORMS)}")
        if form == "kohya" and self.kind == "full":
            raise UsageError(
                f"form: got 'kohya' for {self.name}, which holds whole weights and no LoRA; "
                "try form='diffusers', or train a LoRA"
            )
        tensors = self._kohya_tensors() if form == "kohya" else self.tensors
        write_tensors(target, tensors, self._metadata(form))
        return target

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Adapter:
        """Read an adapter that `save` wrote, or a LoRA for SDXL that another program did.

        Of others' files rank is read from shapes, alpha from keys or metadata (else it is the
        rank), identifier from the trigger phrase or the file's name; what it was trained on is
        unknown and shows in shapes when it is applied.
        Raises UsageError in one line for a file that is missing, a pickle, damaged, without LoRA
        keys, of a relative of LoRA such as LoKr, or whose ranks do not match inside.
        """
        source = Path(path).expanduser()
        tensors, metadata = read_tensors(source, mark=OWN + "format")
        if OWN + "format" not in metadata:
            matrices = find_matrices(source, tensors, metadata)
            names = map(metadata.get, ("modelspec.trigger_phrase", "ss_output_name"))
            identifier = next(filter(None, names), source.stem)
            sample = _read_sample(metadata)
            return cls("lora", *matrices, identifier=identifier, sample=sample)
        return cls._open_ours(source, tensors, metadata)

    @classmethod
    def _open_ours(
        cls, source: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]
    ) -> Adapter:
        ours = {k.removeprefix(OWN): v for k, v in metadata.items() if k.startswith(OWN)}
        if ours["format"] != str(FORMAT):
            raise UsageError(
                f"{source}: an adapter in format {ours['format']}, expected {FORMAT}; "
                "try a newer portraitlib"
            )
        about: dict[str, Any] = {**check_record(f"{source}: its header", ours, Header, texts=True)}
        del about["format"]
        digest = about.pop("hash")
        if about["kind"] == "lora":
            known = about["rank"], about["alpha"]
            tensors, *_ = find_matrices(source, tensors, metadata, known)
        about["recipe"] = json_entry(source, metadata, OWN + "recipe")
        about["sample"] = _read_sample(metadata)
        adapter = cls(tensors=tensors, **about)
        if adapter._digest != digest:
            raise UsageError(
                f"{source}: its weights are not those that were saved (hash {adapter.hash}, "
                f"expected {digest[:16]}): damaged, or changed by another program; get it again"
            )
        return adapter

    def _kohya_tensors(self) -> dict[str, torch.Tensor]:
        tensors = {}
        for module in lora_modules(self.tensors):
            name = to_kohya(module)
            down, up = (self.tensors[f"{module}.lora_{role}.weight"] for role in "AB")
            tensors[f"{name}.lora_down.weight"], tensors[f"{name}.lora_up.weight"] = down, up
            tensors[f"{name}.alpha"] = torch.tensor(self.alpha / self.rank * len(down))
        if len(tensors) != 3 * len(lora_modules(self.tensors)):
            raise UsageError(f"form: two modules of {self.name} have one name in kohya's form")
        return tensors

    def _metadata(self, form: str) -> dict[str, str]:
        """What a file says of itself; all texts, as safetensors wants it."""
        words = [v.shape[1] for k, v in self.tensors.items() if "attn2.to_k.lora_A" in k]
        is_sdxl = set(words) == {SDXL_WIDTH} if words else self.base != "mini"
        makers = {"kohya": "Stability-AI/generative-models", "diffusers": "huggingface/diffusers"}
        entries: dict[str, Any] = {
            "format": "pt",
            OWN + "format": FORMAT,
            **{
                OWN + n: getattr(self, n)
                for n in Header.__annotations__
                if n not in ("format", "hash")
            },
            OWN + "recipe": json.dumps(self.recipe, sort_keys=True),
            OWN + "hash": self._digest,
            "modelspec.sai_model_spec": "1.0.0",
            "modelspec.architecture": "stable-diffusion-xl-v1-base" if is_sdxl else "portraitlib",
            "modelspec.implementation": f"https://github.com/{makers[form]}",
            "modelspec.title": self.name,
            "modelspec.trigger_phrase": self.identifier,
        }
        if self.kind == "lora":
            entries["modelspec.architecture"] += "/lora"
            entries |= {
                "ss_output_name": self.name,
                "ss_network_module": "networks.lora",
                "ss_network_dim": self.rank,
                "ss_network_alpha": float(self.alpha),
                "ss_base_model_version": "sdxl_base_v1-0" if is_sdxl else "portraitlib",
                "ss_sd_model_name": self.base,
                "sshs_model_hash": self._digest,  # AUTOMATIC1111 finds the file by it
            }
            if form == "diffusers":
                entries[DIFFUSERS_METADATA] = json.dumps(self._peft_settings())
        if self.sample is not None:
            entries[COVERS] = json.dumps([_sample_text(self.sample)])
        return {name: str(value) for name, value in entries.items()}

    def _peft_settings(self) -> dict[str, Any]:
        """What diffusers has to know to build the same LoRA, part by part."""
        settings: dict[str, Any] = {}
        for part in PARTS:
            ranks = {
                # As the end of a name it fits text encoders with "text_model." in it and without.
                module.removeprefix(f"{part}.").removeprefix("text_model."): len(
                    self.tensors[f"{module}.lora_A.weight"]
                )
                for module in lora_modules(self.tensors)
                if module.startswith(f"{part}.")
            }
            if not ranks:
                continue
            others = {module: rank for module, rank in ranks.items() if rank != self.rank}
            per_rank = self.alpha / self.rank
            settings[f"{part}.r"] = self.rank
            settings[f"{part}.lora_alpha"] = self.alpha
            settings[f"{part}.target_modules"] = list(ranks)
            settings[f"{part}.rank_pattern"] = others
            settings[f"{part}.alpha_pattern"] = {m: per_rank * r for m, r in others.items()}
        return settings


def lora_modules(tensors: Iterable[str]) -> list[str]:
    """The modules that a LoRA changes, each with its part, by the names of its tensors."""
    ending = ".lora_A.weight"
    return sorted(name.removesuffix(ending) for name in tensors if name.endswith(ending))


def _sample_text(sample: Image.Image) -> str:
    """A small PNG as base64."""
    small = sample.convert("RGB")
    small.thumbnail((SAMPLE_PX, SAMPLE_PX))
    buffer = io.BytesIO()
    small.save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _read_sample(metadata: Mapping[str, str]) -> Image.Image | None:
    """The first picture in the metadata; None if there is none that can be read."""
    try:
        content = base64.b64decode(json.loads(metadata[COVERS])[0])
        with Image.open(io.BytesIO(content)) as opened:
            return opened.convert("RGB")
    except Exception:  # only decoration, written by whoever
        return None
