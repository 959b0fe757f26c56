"""A LoRA from the hub that makes a model fast: fetched, put on to draw, never in what is learnt.

The real one has 787 MB. Here a hub on this machine serves one with random numbers under names and
shapes as it has them, beside a small model at SDXL's address.
"""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from hubs import Hub, run_apart
from safetensors.torch import save_file

import portraitlib as pl
from portraitlib.models.presets import HYPER_8, PRESETS

# What the fresh process begins with: the model, the LoRA's own row but for what the file holds.
FAST = """
import json, warnings
from dataclasses import replace
import numpy as np
import portraitlib as pl
from portraitlib.models.presets import HYPER_8, PRESETS
warnings.simplefilter("ignore")
model = pl.load_model("sdxl", "cpu")
speeds = {{"hyper8": replace(HYPER_8, sha256={sha256!r})}}
model = replace(model, preset=replace(model.preset, speeds=speeds, size_px=64))
classes, fast, prompt = {cache!r}, pl.Sampling(seed=3, speed="hyper8"), "portrait of a man, smiling"
def same(one, other):
    return np.array_equal(np.asarray(one.image), np.asarray(other.image))
"""
DRAWN = """
(drawn,) = pl.text_to_image(model, prompt, fast)
(plain,) = pl.text_to_image(model, prompt, pl.Sampling(seed=3, num_inference_steps=8))
from huggingface_hub import hf_hub_download
from diffusers import DDIMScheduler
file = hf_hub_download(HYPER_8.source, HYPER_8.file, revision=HYPER_8.revision)
by_hand = model.with_adapter(pl.Adapter.open(file))
config = by_hand.pipeline.scheduler.config
by_hand.pipeline.scheduler = DDIMScheduler.from_config(
    config, timestep_spacing="trailing", clip_sample=False)  # as SDXL's own config has it
# Without guidance, which enlarges what rounding does.
weak = replace(fast, guidance_scale=1.0, num_inference_steps=8)
(ours,) = pl.text_to_image(model, prompt, weak)
(ddim,) = pl.text_to_image(by_hand, prompt, replace(weak, speed=None))
apart = np.abs(np.asarray(ddim.image, int) - np.asarray(ours.image, int))
me = pl.Adapter("lora", {name: 0.5 * value for name, value in
    pl.Adapter.open(file).tensors.items() if "attn1" in name}, 2, 2.0, identifier="jrdnpl")
mine = model.with_adapter(me, 0.8)
(of_me,) = pl.text_to_image(mine, prompt, fast)
print(json.dumps({
    "recipe": {name: drawn.recipe[name] for name in (
        "speed", "speed_lora", "num_inference_steps", "guidance_scale", "scheduler", "adapter")},
    "like plain": same(drawn, plain),
    "from the authors' way": float(apart.mean()),
    "kept": model.at_speed("hyper8") is model.at_speed("hyper8"),
    "drawn again": same(pl.rerun(drawn, model), drawn),
    "of me": [row["identifier"] for row in of_me.recipe["adapter"]],
    "like anybody": same(of_me, drawn),
    "of me again": same(pl.rerun(of_me, mine), of_me),
    "the model stays": same(pl.text_to_image(model, prompt, replace(fast, speed=None,
        num_inference_steps=8))[0], plain),
    "chosen": pl.text_to_image(model, prompt, replace(fast, num_inference_steps=2))[0]
        .recipe["num_inference_steps"],
}))
"""
EVERYWHERE = """
from PIL import Image
photo = Image.fromarray(np.random.default_rng(0).integers(255, size=(64, 64, 3), dtype="uint8"))
mask = Image.new("L", (64, 64)); mask.paste(255, (20, 20, 40, 40))
edges = pl.canny(photo)
of_mini = PRESETS["mini"].controlnet_source
steered = replace(model, preset=replace(
    model.preset, controlnet_source=of_mini, controlnet_revision=None))
formed = []
calls = {
    "image_to_image": lambda s: pl.image_to_image(model, photo, prompt, s, strength=0.5,
                                                  on_preview=formed.append),
    "inpaint": lambda s: pl.inpaint(model, photo, mask, prompt, s),
    "control_to_image": lambda s: pl.control_to_image(steered, edges, prompt, s),
}
drawn = {name: (call(fast)[0], call(replace(fast, speed=None, num_inference_steps=8))[0])
         for name, call in calls.items()}
given = {"image_to_image": {"image": photo}, "inpaint": {"image": photo, "mask": mask}}
both = {"speed": [None, "hyper8"]}
table = pl.sweep(pl.text_to_image, model, prompt, pl.Sampling(seed=3), vary=both)
classes = pl.make_class_images(model, prompt, 2, fast, cache=classes, allow_no_face=True)
print(json.dumps({
    "differ": {name: not same(*pair) for name, pair in drawn.items()},
    "again": {name: same(pl.rerun(drawn[name][0], model, **more), drawn[name][0])
              for name, more in given.items()},
    "formed": len(formed),
    "swept": [(p.recipe["speed"], p.recipe["num_inference_steps"]) for p in table.portraits],
    "classes": [len(classes), "8 steps" in classes.source],
}))
"""


def like_theirs(model) -> dict[str, torch.Tensor]:
    """Random matrices for all layers of a UNet, with diffusers' names in kohya's spelling."""
    generator, tensors = torch.Generator().manual_seed(5), {}
    for name, module in model.pipeline.unet.named_modules():
        if not isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            continue
        rows, columns, *window = module.weight.shape
        spread = 0.03 / (columns * len(window) + 1) ** 0.5
        down = spread * torch.randn(2, columns, *window, generator=generator)
        up = torch.randn(rows, 2, *[1 for _ in window], generator=generator)
        theirs = f"lora_unet_{name.replace('.', '_')}"
        tensors |= {f"{theirs}.lora_down.weight": down, f"{theirs}.lora_up.weight": up}
        tensors[f"{theirs}.alpha"] = torch.tensor(1.0)
    return tensors


@pytest.fixture(scope="module")
def lora_file(mini, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hyper")
    save_file(like_theirs(mini), folder / HYPER_8.file)
    return folder / HYPER_8.file


@pytest.fixture
def ask_apart(hub, lora_file, tmp_path):
    """Runs code in a fresh process that may ask the hub of this machine for model and LoRA."""
    Hub.repositories[HYPER_8.source] = (HYPER_8.revision, lora_file.parent)
    sha256 = hashlib.sha256(lora_file.read_bytes()).hexdigest()

    def ask(code: str) -> dict:
        begun = FAST.format(sha256=sha256, cache=str(tmp_path / "classes"))
        return json.loads(run_apart(begun + code, tmp_path / "cache", hub))

    return ask


@pytest.mark.slow
def test_a_model_with_a_fast_lora_draws_in_its_steps_and_stays_as_it_was(ask_apart):
    told = ask_apart(DRAWN)
    assert told.pop("recipe") == {
        "speed": "hyper8",
        "speed_lora": HYPER_8.name,
        "num_inference_steps": 8,
        "guidance_scale": 5.0,
        "scheduler": "EulerDiscreteScheduler",
        "adapter": None,
    }
    assert told.pop("from the authors' way") < 0.5  # of 255 levels
    assert told.pop("of me") == ["jrdnpl"] and told.pop("chosen") == 2
    assert not told.pop("like plain") and not told.pop("like anybody")
    assert all(told.values()), told


@pytest.mark.slow
def test_whatever_draws_can_be_fast(ask_apart):
    told = ask_apart(EVERYWHERE)
    assert all(told["differ"].values()) and all(told["again"].values()), told
    assert told["formed"] == 2 * 4  # half of 8 steps, with the LoRA and without
    assert told["swept"] == [[None, 25], ["hyper8", 8]]
    assert told["classes"] == [2, True]


def test_a_file_of_that_form_is_opened(mini, lora_file):
    adapter = pl.Adapter.open(lora_file)
    assert (adapter.rank, adapter.alpha) == (2, 1.0)
    assert mini.with_adapter(adapter).adapters


def test_a_model_without_such_a_lora_says_so_in_one_line(mini):
    fast = pl.Sampling(speed="hyper8")
    for draw in (pl.text_to_image, pl.make_class_images):
        with pytest.raises(pl.UsageError, match="speed: got 'hyper8', .*mini fast, expected None"):
            draw(mini, "a man", sampling=fast)
    with pytest.raises(pl.UsageError, match="got 'warp', expected one of hyper8"):
        pl.Sampling(speed="warp")


def test_the_lora_is_pinned_and_belongs_to_sdxl_alone():
    assert len(HYPER_8.revision) == 40 and len(HYPER_8.sha256) == 64
    assert {name for name, preset in PRESETS.items() if preset.speeds} == {"sdxl"}
