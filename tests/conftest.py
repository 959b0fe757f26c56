"""What several test files share: the embedded model, what steers it, a photograph, a notebook."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import v4
from PIL import Image

# How the embedded world draws is no part of the package, but of the repository.
sys.path.insert(0, str(Path(__file__).parent.parent))
# No test reaches for the network; set before any library reads it.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# A shell has what it starts in the background ignore Ctrl-C; tests that press it want it heard.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ("hubs", "sdxl_keys")  # their fixtures

PARAMETERS = """\
seed: int = 90  # picks the colour, 0 to 255
scale: float = 1.0  # of the number measured
names: list[str] = ["a"]  # nothing
output_dir: str = "runs/tiny"  # where results go
"""
SAVE = """\
import portraitlib as pl
from PIL import Image
recipe = {"prompt": "a <red> square", "seed": seed, "model": "none", "num_inference_steps": 4}
portraits = [pl.Portrait(Image.new("RGB", (8, 8), (seed, 0, 0)), recipe)]
pl.save_results(output_dir, {"Squares": portraits}, {"number (of things)": 3.5 * scale})
"""


@pytest.fixture(autouse=True)
def small_numbers() -> Iterator[None]:
    """Trainings have the processor flush numbers near nothing to zero; no other test wants that."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def mini():
    """The embedded model, loaded once."""
    import portraitlib as pl

    return pl.load_model("mini", device="cpu")


@pytest.fixture(scope="session")
def controlnets(mini, tmp_path_factory) -> list[Path]:
    """The folders of two ControlNets that differ."""
    from steering import write_controlnet

    home = tmp_path_factory.mktemp("controlnets")
    return [write_controlnet(home / str(seed), mini.pipeline.unet, seed) for seed in (1, 2)]


@pytest.fixture(scope="session")
def steered(mini, controlnets):
    """The embedded model with the first of these as its own."""
    preset = replace(mini.preset, controlnet_source=str(controlnets[0]))
    return replace(mini, preset=preset, controlnets={})


@pytest.fixture(scope="session")
def lora(mini):
    """A LoRA of the UNet and both text encoders, with all that an adapter can say of itself."""
    from random_adapters import RECIPE, make_lora

    sample = Image.linear_gradient("L").resize((96, 96)).convert("RGB")
    about = {"instance_prompt": "portrait of jrdnpl man", "recipe": RECIPE, "sample": sample}
    return make_lora(mini, text=True, **about)


@pytest.fixture(scope="session")
def unet_lora(mini):
    """Another, of the UNet alone."""
    from random_adapters import make_lora

    return make_lora(mini, seed=1)


@pytest.fixture(scope="session")
def full(mini):
    """Whole weights of the UNet, near those of the embedded model."""
    from random_adapters import make_full

    return make_full(mini)


@pytest.fixture(scope="session")
def shots():
    """Photos of the drawn subject, 64 x 64."""
    import portraitlib as pl

    return pl.subject_photos(size_px=64)


@pytest.fixture(scope="session")
def edges(shots):
    """The canny edges of the first of them."""
    import portraitlib as pl

    return pl.canny(shots[0])


@pytest.fixture(scope="session")
def astronaut() -> Image.Image:
    """A photograph of a person, 512 x 512, without strings (NASA, public domain)."""
    with Image.open(str(files("skimage") / "data" / "astronaut.png")) as opened:
        return Image.frombytes("RGB", opened.size, opened.convert("RGB").tobytes())


@pytest.fixture(scope="session")
def write_notebook() -> Callable[..., Path]:
    """A function that writes a small notebook with the given code cells after the parameters."""

    def write(path: Path, *cells: str, parameters: str = PARAMETERS) -> Path:
        notebook = v4.new_notebook()
        notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "P"}}
        notebook.metadata["language_info"] = {"name": "python"}
        opening = v4.new_markdown_cell("# 1. Squares\n\nWhy **squares** at all?\n\nMore words.")
        tagged = v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})
        code = [v4.new_code_cell(cell) for cell in cells or [SAVE]]
        notebook.cells = [opening, tagged, *code]
        nbformat.write(notebook, path)
        return path

    return write


@pytest.fixture()
def notebook(tmp_path, write_notebook) -> Path:
    """A notebook that draws a square in a moment, for batches."""
    from squares import DRAW, PARAMETERS

    return write_notebook(tmp_path / "01_tiny.ipynb", DRAW, parameters=PARAMETERS)


@pytest.fixture(scope="session")
def three_photos():
    """Three photos of the drawn subject, each with a caption of its own."""
    from dataclasses import replace

    import portraitlib as pl

    photos = pl.subject_photos(size_px=120)  # with a margin in which crops can move
    places = ("in a forest", "on a beach", "in a city")
    named = [
        replace(photo, caption=f"portrait of jrdnpl man {place}")
        for photo, place in zip(photos, places, strict=False)
    ]
    return replace(photos, photos=tuple(named))


@pytest.fixture(scope="session")
def two_men():
    """Two class images, drawn by the world and not by a model."""
    from portraitlib.training.class_set import ClassImages
    from recipes.first_mini.subject import photos_of

    others = [photos_of(seed).images[0] for seed in (5, 6)]
    return ClassImages("portrait of a man", tuple(others), 96)


@pytest.fixture(scope="session")
def quick() -> Callable[..., Any]:
    """A function that gives the settings of a training of a second or two."""
    import portraitlib as pl

    least = {"max_train_steps": 3, "train_batch_size": 1, "layers": "attention", "rank": 4}
    return lambda **settings: pl.DreamBooth(**{**least, **settings})


@pytest.fixture(scope="session")
def halves(mini):
    """`mini` in the number types of a GPU: all in float16 but a VAE that would overflow."""
    from collections import OrderedDict
    from dataclasses import replace

    import torch

    from portraitlib.models import files, parts

    folder = Path(mini.preset.source)
    weights = files.check_folder(folder, ("text_encoder", "text_encoder_2", "unet", "vae"))
    pipeline = parts.assemble(folder, weights, torch.float16)
    assert (pipeline.unet.dtype, pipeline.vae.dtype) == (torch.float16, torch.float32)
    fresh = {"prompts": OrderedDict(), "pictures": OrderedDict(), "controlnets": {}}
    fresh |= {"ip_adapters": {}, "faster": OrderedDict()}
    return replace(mini, pipeline=pipeline, dtype=torch.float16, **fresh)


@pytest.fixture(scope="session")
def largest_file() -> Callable[[int], AbstractContextManager[None]]:
    """A function: meanwhile no file grows beyond so many bytes, as on a disk that fills up.

    Writing fails half-way; the signal that comes with it is one that Python ignores.
    """
    resource = pytest.importorskip("resource", reason="limits of Unix")

    @contextmanager
    def limit(size_bytes: int) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit


@pytest.fixture(scope="session")
def how_far() -> Callable[..., float]:
    """A function that says how far two trainings came apart, as a share of what was learnt.

    Not weight by weight: AdamW moves one as far for a gradient that is all rounding.
    """

    def share(got: dict[str, Any], expected: dict[str, Any]) -> float:
        assert got.keys() == expected.keys()
        learnt = [name for name in got if name.endswith("lora_B.weight")]  # they begin as zero
        apart = sum(float((got[name] - expected[name]).square().sum()) for name in learnt)
        return (apart / sum(float(expected[name].square().sum()) for name in learnt)) ** 0.5

    return share


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory) -> Path:
    """A CLIP as the hub has it, tiny and untrained, with the embedded model's words."""
    import json

    import torch
    import transformers

    from portraitlib.models.presets import PRESETS

    folder = tmp_path_factory.mktemp("clip")
    source = Path(PRESETS["mini"].source) / "tokenizer"
    tokenizer = transformers.CLIPTokenizer.from_pretrained(source)
    width = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    config = transformers.CLIPConfig(
        text_config=width
        | {"num_attention_heads": 2, "vocab_size": len(tokenizer)}
        | {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id},
        vision_config=width | {"num_attention_heads": 2, "image_size": 64, "patch_size": 16},
        projection_dim=16,
    )
    torch.manual_seed(0)
    transformers.CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    look = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}
    (folder / "preprocessor_config.json").write_text(json.dumps(look))
    (folder / "pytorch_model.bin").write_bytes(b"a pickle beside it")
    return folder


@pytest.fixture(scope="session")
def tiny_clip(clip_folder):
    """That CLIP, loaded."""
    import torch
    import transformers

    from portraitlib.models.load import Clip

    return Clip(
        network=transformers.CLIPModel.from_pretrained(clip_folder).eval(),
        tokenizer=transformers.CLIPTokenizer.from_pretrained(clip_folder),
        name="tiny clip",
        revision="none",
        device=torch.device("cpu"),
        size_px=64,
        mean=(0.48, 0.46, 0.41),
        deviation=(0.27, 0.26, 0.28),
    )
