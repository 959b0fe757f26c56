"""What is claimed of SDXL, counted on networks of its full size that hold no weights."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import sdxl_size
from portraitlib.cost import WORK
from portraitlib.models import load, presets, single_file

LATENT = (4, 128, 128)  # of a picture of 1024 px
MEASURED = Path(__file__).parent.parent.parent / "docs" / "measured.md"


@pytest.fixture(scope="module")
def networks() -> dict[str, nn.Module]:
    import diffusers

    made = {part: sdxl_size.make_part(single_file.CONFIGS, part) for part in sdxl_size.FILES}
    with torch.device("meta"):
        made["controlnet"] = diffusers.ControlNetModel.from_unet(
            made["unet"], load_weights_from_unet=False
        )
    return made


def empty(*shape: int) -> torch.Tensor:
    return torch.empty(*shape, device="meta")


def words(batch: int = 1) -> dict:
    more = {"text_embeds": empty(batch, 1280), "time_ids": empty(batch, 6)}
    return {"encoder_hidden_states": empty(batch, 77, 2048), "added_cond_kwargs": more}


def teraflops(compute: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        compute()
    return counter.get_total_flops() / 1e12


def test_the_configs_in_the_package_are_those_of_sdxl(networks):
    counts = {part: sum(p.numel() for p in made.parameters()) for part, made in networks.items()}
    # What the hub says of stabilityai/stable-diffusion-xl-base-1.0 and its canny ControlNet.
    assert counts == {
        "unet": 2_567_463_684,
        "vae": 83_653_863,
        "text_encoder": 123_060_480,
        "text_encoder_2": 694_659_840,
        "controlnet": 1_251_014_160,
    }


def test_the_memory_that_the_presets_ask_for_holds_the_weights(networks):
    counts = {part: sum(p.numel() for p in made.parameters()) for part, made in networks.items()}
    drawing_gb = 2 * (sum(counts.values()) - counts["controlnet"]) / 1e9
    assert drawing_gb == pytest.approx(load.SDXL_WEIGHTS_GB, rel=0.01)
    assert presets.PRESETS["sdxl"].gpu_memory_gb >= drawing_gb + 4  # a picture's decoding


def test_what_estimates_count_of_drawing_is_what_the_layers_compute(networks):
    work = WORK["sdxl"]
    moment = empty(1)
    with torch.no_grad():
        step = teraflops(lambda: networks["unet"](empty(1, *LATENT), moment, **words()))
        added = teraflops(
            lambda: networks["controlnet"](
                empty(1, *LATENT),
                moment,
                controlnet_cond=empty(1, 3, 1024, 1024),
                conditioning_scale=1.0,
                **words(),
            )
        )
        decoding = teraflops(lambda: networks["vae"].decode(empty(1, *LATENT)))
        encoding = teraflops(lambda: networks["vae"].encode(empty(1, 3, 1024, 1024)))
    assert work.step == pytest.approx(2 * step, rel=0.02)  # with guidance
    assert work.control == pytest.approx(added / step, rel=0.02)
    assert work.fixed == pytest.approx(decoding, rel=0.02)
    assert work.encode == pytest.approx(encoding, rel=0.02)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors that live at the same time, those of `weights` left out."""

    def __init__(self, weights: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.known = {values.untyped_storage()._cdata for values in weights}
        self.live = self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._add(tensor.untyped_storage())
        self.peak = max(self.peak, self.live)
        return made

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return

        def gone() -> None:
            self.live -= size
            self.known.discard(key)

        self.known.add(key)
        self.live += size
        weakref.finalize(storage, gone)


def peak_gb(network: nn.Module, compute: Callable[[], object]) -> float:
    with LiveBytes([*network.parameters(), *network.buffers()]) as counter:
        compute()
    return counter.peak / 1e9


def said_gb(row: str) -> float:
    """What docs/measured.md says of a row, in GB."""
    (number,) = re.findall(
        rf"^\| {re.escape(row)} \| ([\d.]+) GB \|", MEASURED.read_text(), re.MULTILINE
    )
    return float(number)


def attended(query, key, value, *args, **kwargs):
    """Attention as a GPU computes it, without a table of all pairs."""
    return query + (key.sum() + value.sum()) * 0 if query.requires_grad else torch.empty_like(query)


@pytest.mark.slow
def test_the_memory_of_a_gpu_that_is_said_is_what_the_layers_take(networks, monkeypatch):
    from peft import LoraConfig

    counts = {part: sum(p.numel() for p in made.parameters()) for part, made in networks.items()}
    weights_gb = 2 * (sum(counts.values()) - counts["controlnet"]) / 1e9
    monkeypatch.setattr(functional, "scaled_dot_product_attention", attended)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)  # what `empty` makes, as well
    try:
        unet = sdxl_size.make_part(single_file.CONFIGS, "unet").requires_grad_(False)
        vae = sdxl_size.make_part(single_file.CONFIGS, "vae")
        with torch.no_grad():
            step = peak_gb(unet, lambda: unet(empty(2, *LATENT), empty(1), **words(2)))
            decoding = peak_gb(vae, lambda: vae.decode(empty(1, *LATENT)))
        with torch.device("meta"):
            unet.add_adapter(LoraConfig(r=16, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
        unet.train().enable_gradient_checkpointing()
        learning = peak_gb(
            unet, lambda: unet(empty(1, *LATENT), empty(1), **words()).sample.sum().backward()
        )
    finally:
        torch.set_default_dtype(default)
    learnt = sum(p.numel() for p in unet.parameters() if p.requires_grad)
    drawing = weights_gb + max(step, decoding)
    assert said_gb("drawing a picture of 1024 px") == pytest.approx(drawing, rel=0.15)
    steered = drawing + 2 * counts["controlnet"] / 1e9
    assert said_gb("the same along edges") == pytest.approx(steered, rel=0.15)
    optimizer_gb = learnt * (4 + 4 + 8) / 1e9  # weights, gradients and two moments, in float32
    training = weights_gb + learning + optimizer_gb
    assert said_gb("a step of DreamBooth") == pytest.approx(training, rel=0.15)
    assert presets.PRESETS["sdxl"].gpu_memory_gb >= drawing  # with CUDA's own on top


@pytest.mark.slow
def test_what_estimates_count_of_training_is_what_the_layers_compute(networks):
    from peft import LoraConfig

    from portraitlib.models.presets import SDXL_TRAINING

    unet = networks["unet"].requires_grad_(False).train()
    attention = ["to_q", "to_k", "to_v", "to_out.0"]
    with torch.device("meta"):
        unet.add_adapter(LoraConfig(r=SDXL_TRAINING["rank"], target_modules=attention))
    assert SDXL_TRAINING["gradient_checkpointing"]
    unet.enable_gradient_checkpointing()

    def step() -> None:
        unet(empty(1, *LATENT), empty(1), **words()).sample.sum().backward()

    assert WORK["sdxl"].training == pytest.approx(teraflops(step), rel=0.02)


@pytest.mark.slow
def test_what_is_run_at_full_size_runs_on_few_channels(tmp_path, monkeypatch):
    monkeypatch.setattr(single_file, "CONFIGS", single_file.CONFIGS)  # it takes others meanwhile
    sdxl_size.build(tmp_path, small=True)
    rows: list[dict] = []
    for run in sdxl_size.RUNS.values():
        run(tmp_path, 64, rows, "whole")
    done = {row["what"] for row in rows}
    assert {"text_to_image", "inpaint", "control_to_image", "save the adapter for kohya"} <= done
    assert all(row["seconds"] >= 0 and row["peak_gb"] > 0 for row in rows)
