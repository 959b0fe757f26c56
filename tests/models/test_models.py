"""A model is found by name, folder or hub id, and refused in one line where it cannot be used."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hubs import PARTS, Hub, as_variant, run_apart

import portraitlib as pl
from portraitlib.models import files as model_files
from portraitlib.models.presets import PRESETS


def rewrite(path: Path, content: str | bytes) -> None:
    """Replace a link by a file of its own."""
    path.unlink()
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def change_config(path: Path, **changes) -> None:
    rewrite(path, json.dumps({**json.loads(path.read_text()), **changes}))


def as_pickle(folder: Path) -> None:
    for file in (folder / "unet").glob("*.safetensors"):
        file.rename(file.with_suffix(".bin"))


def test_mini_says_what_it_is(mini):
    assert str(mini) == "mini on cpu, float32"
    assert mini.revision.startswith("sha256:")
    assert mini.preset.size_px == mini.pipeline.vae.config.sample_size
    assert mini.pipeline.unet.dtype == torch.float32


def test_the_default_is_mini_where_there_is_no_gpu(mini):
    assert pl.load_model(device="cpu").name == "mini"


@pytest.mark.parametrize(
    ("name", "near"),
    [("minni", "mini"), ("MINI", "mini"), ("sdlx", "sdxl"), ("sd-xl", "sdxl")],
)
def test_an_unknown_name_is_told_what_comes_near(name, near):
    with pytest.raises(pl.UsageError, match=f"did you mean {near}") as refusal:
        pl.load_model(name)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "name", ["", "no/such/folder", "/no/such", "./here", "a b/c", "../x", "x" * 500]
)
def test_what_is_no_name_at_all_is_refused(name):
    with pytest.raises(pl.UsageError, match="a hub id like"):
        pl.load_model(name)


def test_a_folder_is_a_model_with_defaults_from_its_configs(folder, mini):
    model = pl.load_model(folder)
    assert str(model) == f"{folder} on cpu, float32"
    assert model.revision == mini.revision  # the same files
    latent_px = model.pipeline.vae_scale_factor
    assert model.preset.size_px == model.pipeline.unet.config.sample_size * latent_px
    change_config(folder / "scheduler" / "scheduler_config.json", beta_end=0.013)
    assert model_files.content_revision(folder) != mini.revision


def test_the_fp16_variant_is_taken_where_it_is(folder):
    as_variant(folder, "fp16")
    assert pl.load_model(folder).pipeline.unet.dtype == torch.float32
    assert {w.variant for w in model_files.check_folder(folder, PARTS).values()} == {"fp16"}


def test_weights_in_several_files_are_all_taken():
    names = [f"unet/diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    others = ["unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.ema.safetensors"]
    assert model_files.choose_weights("here", names + others, "unet") == (None, names)
    halves = ["unet/diffusion_pytorch_model.fp16-00001-of-00001.safetensors"]
    assert model_files.choose_weights("here", names + halves, "unet") == ("fp16", halves)


BREAKAGES = {
    "no index": (lambda f: (f / "model_index.json").unlink(), "model_index.json is missing"),
    "index no JSON": (lambda f: rewrite(f / "model_index.json", "{"), "cannot be read as JSON"),
    "index a list": (lambda f: rewrite(f / "model_index.json", "[]"), "expected object"),
    "no unet": (lambda f: shutil.rmtree(f / "unet"), "config.json is missing"),
    "no weights": (
        lambda f: next((f / "vae").glob("*.safetensors")).unlink(),
        "vae/diffusion_pytorch_model.safetensors is missing",
    ),
    "pickles": (as_pickle, "unet/diffusion_pytorch_model.bin is a pickle"),
    "other variant": (lambda f: as_variant(f, "ema"), "model.safetensors is missing"),
    "cut short": (
        lambda f: rewrite(
            f / "unet" / "diffusion_pytorch_model.safetensors",
            (f / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()[:-1000],
        ),
        "not a whole safetensors file",
    ),
    "pointer of git-lfs": (
        lambda f: rewrite(
            f / "vae" / "diffusion_pytorch_model.safetensors",
            "version https://git-lfs.github.com/spec/v1\n",
        ),
        "not a whole safetensors file",
    ),
    "other pipeline": (
        lambda f: change_config(f / "model_index.json", text_encoder_2=[None, None]),
        "has None as text_encoder_2",
    ),
    "Stable Diffusion 1": (
        lambda f: change_config(
            f / "model_index.json", _class_name="StableDiffusionPipeline", tokenizer_2=None
        ),
        "of StableDiffusionPipeline, has None as tokenizer_2",
    ),
    "SDXL's refiner": (
        lambda f: change_config(
            f / "model_index.json",
            _class_name="StableDiffusionXLImg2ImgPipeline",
            text_encoder=[None, None],
        ),
        "of StableDiffusionXLImg2ImgPipeline, has None as text_encoder",
    ),
    "code of its own": (
        lambda f: change_config(f / "model_index.json", unet=["my_unet", "MyUNet"]),
        "has MyUNet as unet",
    ),
    "odd scheduler": (
        lambda f: change_config(f / "model_index.json", scheduler=["diffusers", "logging"]),
        "has logging as scheduler",
    ),
    "unknown scheduler": (
        lambda f: change_config(f / "model_index.json", scheduler=["diffusers", "NewScheduler"]),
        "has no NewScheduler",
    ),
    "older model": (
        lambda f: change_config(f / "unet" / "config.json", addition_embed_type=None),
        "not an SDXL model",
    ),
    "inpainting": (
        lambda f: change_config(f / "unet" / "config.json", in_channels=9),
        "inpainting",
    ),
    "other widths": (
        lambda f: change_config(f / "unet" / "config.json", cross_attention_dim=8),
        "do not fit",
    ),
    "more layers": (
        lambda f: change_config(f / "text_encoder" / "config.json", num_hidden_layers=30),
        "lack",
    ),
}


@pytest.mark.parametrize("breakage", BREAKAGES)
def test_a_folder_that_cannot_be_loaded_says_what_is_wrong(folder, breakage, capfd):
    damage, message = BREAKAGES[breakage]
    damage(folder)
    with pytest.raises(pl.UsageError, match=message) as refusal:
        pl.load_model(folder)
    assert "\n" not in str(refusal.value)
    assert str(folder) in str(refusal.value)
    assert capfd.readouterr().err == ""


def test_a_revision_of_something_that_has_none_is_refused(folder):
    for name in ("mini", folder):
        with pytest.raises(pl.UsageError, match="revision: got 'main'"):
            pl.load_model(name, revision="main")


def test_loading_is_silent_and_needs_no_torchvision():
    check = (
        "import sys, portraitlib as pl; model = pl.load_model('mini', 'cpu');"
        "pl.text_to_image(model, 'a man', pl.Sampling(num_inference_steps=1));"
        "assert 'torchvision' not in sys.modules"
    )
    finished = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")


LOAD_SDXL = """
import portraitlib as pl
model = pl.load_model("sdxl", "cpu")
portrait, = pl.text_to_image(model, "a man", pl.Sampling(num_inference_steps=1, size_px=64))
print(model.revision, portrait.recipe["vae"], portrait.image.size, model.pipeline.watermark)
"""
FETCH = """
from portraitlib.models import files as model_files
from portraitlib.settings import UsageError
parts = ("unet", "vae")
try:
    print(model_files.fetch_from_hub({source!r}, {revision!r}, parts)[0].name)
except UsageError as refusal:
    print("refused:", refusal)
"""


def test_sdxl_loads_pinned_safetensors_and_its_own_vae(hub, tmp_path):
    preset = PRESETS["sdxl"]
    expected = f"{preset.revision} {preset.vae_source}@{preset.vae_revision} (64, 64) None"
    assert run_apart(LOAD_SDXL, tmp_path / "cache", hub) == expected
    downloads = [line for line in Hub.asked if line.startswith("GET") and "/resolve/" in line]
    assert {line.split("/resolve/")[1].split("/")[0] for line in downloads} == {
        preset.revision,
        preset.vae_revision,
    }
    assert not [line for line in downloads if line.endswith((".bin", "big.safetensors"))]
    base_vae = f"GET /{preset.source}/resolve/{preset.revision}/vae/diffusion"
    assert not [line for line in downloads if line.startswith(base_vae)]

    Hub.asked.clear()  # what is in the cache is taken without asking
    assert run_apart(LOAD_SDXL, tmp_path / "cache", hub) == expected
    assert Hub.asked == []
    nowhere = "http://127.0.0.1:9"
    assert run_apart(LOAD_SDXL, tmp_path / "cache", nowhere, offline="1") == expected


STEER = """
import portraitlib as pl
model = pl.load_model("sdxl", "cpu")
net = pl.load_controlnet(model)
print(net.name, net.revision, pl.load_controlnet(model, "other/net@abc").revision)
"""


def test_the_pinned_control_model_is_loaded_as_safetensors(hub, tmp_path, mini):
    from recipes.first_mini.controlnet import new_controlnet

    preset, home = PRESETS["sdxl"], tmp_path / "net"
    new_controlnet(mini.pipeline.unet).save_pretrained(home)
    plain = home / "diffusion_pytorch_model.safetensors"
    plain.rename(plain.with_suffix(".fp16.safetensors"))
    for name in ("diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.bin"):
        (home / name).write_bytes(b"a pickle beside it")
    Hub.repositories[preset.controlnet_source] = (preset.controlnet_revision, home)
    Hub.repositories["other/net"] = ("abc", home)
    told = run_apart(STEER, tmp_path / "cache", hub)
    assert told == f"{preset.controlnet_source} {preset.controlnet_revision} abc"
    assert not [line for line in Hub.asked if line.endswith(".bin")]


def test_an_unfinished_download_is_finished(hub, tmp_path, folder):
    source, revision = PRESETS["sdxl"].source, PRESETS["sdxl"].revision
    code = FETCH.format(source=source, revision=revision)
    assert run_apart(code, tmp_path / "cache", hub) == revision
    (snapshot,) = (tmp_path / "cache").glob("hub/models--*/snapshots/*")
    (snapshot / "unet" / "diffusion_pytorch_model.fp16.safetensors").unlink()
    offline = run_apart(code, tmp_path / "cache", hub, offline="1")
    assert "not wholly, in the local cache" in offline
    assert run_apart(code, tmp_path / "cache", hub) == revision


def test_how_much_there_is_to_download_is_said_before(hub, tmp_path, folder):
    source, revision = PRESETS["sdxl"].source, PRESETS["sdxl"].revision
    code = "import sys; sys.stderr = sys.stdout\n" + FETCH.format(source=source, revision=revision)
    told = run_apart(code, tmp_path / "cache", hub)
    weights = [path for part in ("unet", "vae") for path in (folder / part).glob("*.fp16.*")]
    gigabytes = sum(path.stat().st_size for path in weights) / 1e9
    assert f"{source}: {gigabytes:.2g} GB to download" in told


def test_what_the_hub_cannot_give_is_refused_before_weights_are_loaded(hub, tmp_path, folder):
    source = PRESETS["sdxl"].source
    nobody = run_apart(FETCH.format(source="no/body", revision=None), tmp_path / "a", hub)
    assert nobody.startswith("refused: no/body: the hub has no such public model")

    change_config(folder / "unet" / "config.json", in_channels=9)
    odd = run_apart(FETCH.format(source=source, revision=None), tmp_path / "b", hub)
    assert odd.startswith("refused:") and "inpainting" in odd

    for file in (folder / "unet").glob("*.safetensors"):
        file.unlink()
    pickled = run_apart(FETCH.format(source=source, revision=None), tmp_path / "c", hub)
    assert pickled.startswith(f"refused: {source}: unet/diffusion_pytorch_model.bin is a pickle")
    assert not [line for line in Hub.asked if "/resolve/" in line and "safetensors" in line]


def test_without_the_network_one_line_comes_soon(tmp_path):
    silent = socket.create_server(("127.0.0.1", 0))  # accepts, and never answers
    code = FETCH.format(source="some/model", revision=None)
    for endpoint, offline in (
        ("http://127.0.0.1:9", "0"),
        ("http://127.0.0.1:9", "1"),
        (f"http://127.0.0.1:{silent.getsockname()[1]}", "0"),
    ):
        started_s = time.monotonic()
        told = run_apart(code, tmp_path / "cache", endpoint, offline)
        assert time.monotonic() - started_s < 30
        assert told.startswith("refused: some/model: not") and "in the local cache" in told
        assert "\n" not in told and 'load_model("mini")' in told
    silent.close()
