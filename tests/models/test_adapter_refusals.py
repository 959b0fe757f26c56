"""Adapters that cannot be used: damaged, of another kind, for another model."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import portraitlib as pl
from portraitlib.models.adapter_files import write_tensors

KEY = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora_{}.weight"
PAIR = {KEY.format("A"): torch.ones(2, 192), KEY.format("B"): torch.ones(192, 2)}


def _with(path: Path, tensors: dict, metadata: dict | None = None) -> Path:
    save_file(tensors, path, metadata)
    return path


def _cut(path: Path) -> Path:
    whole = _with(path, PAIR).read_bytes()
    path.write_bytes(whole[:-100])
    return path


def _pickle(path: Path) -> Path:
    torch.save(PAIR, path)
    return path


def _changed(path: Path) -> Path:
    pl.Adapter("lora", PAIR, 2, 2.0).save(path)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    return path


def _newer(path: Path) -> Path:
    write_tensors(path, PAIR, {"portraitlib.format": "2"})
    return path


BAD_FILES = {
    "missing": (lambda p: p, "no such file"),
    "a folder": (lambda p: p.parent, "a folder"),
    "a pickle": (lambda p: _pickle(p.with_suffix(".pt")), "is a pickle"),
    "a checkpoint": (lambda p: _pickle(p.with_suffix(".ckpt")), "is a pickle"),
    "a pickle in disguise": (_pickle, "not a whole safetensors file"),
    "cut short": (_cut, "not a whole safetensors file"),
    "one bit off": (_changed, "not those that were saved"),
    "no LoRA": (lambda p: _with(p, {"conv.weight": torch.ones(2, 2)}), "no LoRA keys in it"),
    "empty": (lambda p: _with(p, {}), "holds no tensor"),
    "a LoKr": (
        lambda p: _with(p, PAIR | {"lora_unet_a.lokr_w1": torch.ones(2, 2)}),
        "is of LoKr, which is not supported",
    ),
    "a DoRA": (
        lambda p: _with(p, PAIR | {"lora_unet_a.dora_scale": torch.ones(2, 2)}),
        "is of DoRA",
    ),
    "one half": (lambda p: _with(p, {KEY.format("A"): torch.ones(2, 192)}), "lacks its lora_B"),
    "two ranks": (
        lambda p: _with(p, PAIR | {KEY.format("B"): torch.ones(192, 3)}),
        r"the rank of unet\.mid_block.*does not match",
    ),
    "not numbers": (
        lambda p: _with(p, PAIR | {KEY.format("B"): torch.full((192, 2), torch.nan)}),
        "not numbers",
    ),
    "alpha 0": (
        lambda p: _with(p, PAIR | {KEY.format("A")[:-14] + ".alpha": torch.tensor(0.0)}),
        "its alpha is 0",
    ),
    "metadata cut": (
        lambda p: _with(p, PAIR, {"lora_adapter_metadata": "{"}),
        "not readable as JSON",
    ),
    "of the future": (_newer, "in format 2, expected 1"),
}


@pytest.mark.parametrize("reason", BAD_FILES)
def test_a_file_that_cannot_be_used_is_one_clear_line(reason, tmp_path):
    make, message = BAD_FILES[reason]
    path = make(tmp_path / "bad.safetensors")
    with pytest.raises(pl.UsageError, match=message) as refusal:
        pl.Adapter.open(path)
    assert "\n" not in str(refusal.value) and str(path) in str(refusal.value)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("model.diffusion_model.out.2.weight", "no LoRA keys.*load_model"),
        ("lora_unet_out_2.hada_w1_a", "LoHa.*not supported"),
        ("lora_unet_out_2.lokr_w1", "LoKr.*not supported"),
    ],
)
def test_others_files_are_told_by_names_before_a_value_is_read(key, message, tmp_path):
    values = {key: torch.full((4, 4), torch.nan)}  # which would be told if it were read
    with pytest.raises(pl.UsageError, match=message):
        pl.Adapter.open(_with(tmp_path / "other.safetensors", values))


def test_what_does_not_fit_the_model_is_refused_by_name(mini):
    other = {KEY.format("A"): torch.ones(2, 1280), KEY.format("B"): torch.ones(1280, 2)}
    wide = pl.Adapter("lora", other, 2, 2.0, base="sdxl", identifier="jrdnpl")
    with pytest.raises(pl.UsageError, match=r"trained on sdxl\): unet\.mid_block.*\(192, 192\)"):
        mini.with_adapter(wide)
    strange = {key.replace("mid_block", "mid_brick"): each for key, each in PAIR.items()}
    with pytest.raises(pl.UsageError, match="1 of its 1 keys match no module of mini"):
        mini.with_adapter(pl.Adapter("lora", strange, 2, 2.0))
    for scale in (-2.1, 2.1, float("nan"), "1", True, None):
        with pytest.raises(pl.UsageError, match="with_adapter.scale: got"):
            mini.with_adapter(pl.Adapter("lora", PAIR, 2, 2.0), scale)
    with pytest.raises(pl.UsageError, match="Adapter.open"):
        mini.with_adapter("me.safetensors")


def test_another_base_of_the_same_shapes_is_warned_of_or_refused(mini, full):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mini.with_adapter(pl.Adapter("lora", PAIR, 2, 2.0, "elsewhere/mini", mini.revision))
        mini.with_adapter(pl.Adapter("lora", PAIR, 2, 2.0))
    with pytest.warns(UserWarning, match="trained on mini at sha256:old, got mini at sha256:"):
        mini.with_adapter(pl.Adapter("lora", PAIR, 2, 2.0, "mini", "sha256:old"))
    with pytest.raises(pl.UsageError, match="whole weights fit their own base only"):
        mini.with_adapter(replace(full, base_revision="sha256:old"))


def test_a_record_that_is_no_adapter_is_refused(tmp_path):
    with pytest.raises(pl.UsageError, match="Adapter.kind"):
        pl.Adapter("dora", PAIR, 2, 2.0)
    with pytest.raises(pl.UsageError, match="Adapter.rank"):
        pl.Adapter("lora", PAIR, 0, 2.0)
    adapter = pl.Adapter("lora", PAIR, 2, 2.0)
    for name, form, message in (
        ("me.pt", "diffusers", "expected .safetensors"),
        ("me", "diffusers", "no ending"),
        ("me.safetensors", "a1111", "expected one of diffusers, kohya"),
    ):
        with pytest.raises(pl.UsageError, match=message):
            adapter.save(tmp_path / name, form)
    assert list(tmp_path.iterdir()) == []
