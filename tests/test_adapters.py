"""An adapter changes what it should and nothing else, and its file is read by us and by others."""

from __future__ import annotations

import json
import re
import resource
import signal
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

import portraitlib as pl
from portraitlib.adapter_files import write_tensors
from portraitlib.sweep_folder import label, plain

PROMPT = "portrait of a man, curly hair, smiling"
QUICK = pl.Sampling(seed=11, num_inference_steps=3, size_px=64)
TARGETS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2")
TEXT_TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj")
RECIPE = {"steps": 400, "photos": ["sha256:1", "sha256:2"], "seconds": 12.5}


def lora_tensors(model, seed: int, rank: int = 4, text: bool = False) -> dict[str, torch.Tensor]:
    """Random matrices under the names that peft gives, large enough to change a picture."""
    generator = torch.Generator().manual_seed(seed)
    parts = {"unet": TARGETS} | (
        {"text_encoder": TEXT_TARGETS, "text_encoder_2": TEXT_TARGETS} if text else {}
    )
    tensors = {}
    for part, targets in parts.items():
        for name, module in getattr(model.pipeline, part).named_modules():
            if name.endswith(targets):
                rows, columns = module.weight.shape
                down = torch.randn(rank, columns, generator=generator) / columns**0.5
                up = torch.randn(rows, rank, generator=generator) * 0.1
                tensors[f"{part}.{name}.lora_A.weight"] = down
                tensors[f"{part}.{name}.lora_B.weight"] = up
    return tensors


def make_lora(model, seed: int = 0, rank: int = 4, text: bool = False, **about) -> pl.Adapter:
    about = {"base": model.name, "base_revision": model.revision, "identifier": "jrdnpl"} | about
    return pl.Adapter("lora", lora_tensors(model, seed, rank, text), rank, 2.0, **about)


@pytest.fixture(scope="module")
def lora(mini) -> pl.Adapter:
    sample = Image.linear_gradient("L").resize((96, 96)).convert("RGB")
    about = {"instance_prompt": "portrait of jrdnpl man", "recipe": RECIPE, "sample": sample}
    return make_lora(mini, text=True, **about)


@pytest.fixture(scope="module")
def unet_lora(mini) -> pl.Adapter:
    return make_lora(mini, seed=1)


@pytest.fixture(scope="module")
def full(mini) -> pl.Adapter:
    generator = torch.Generator().manual_seed(7)
    weights = {
        f"unet.{name}": value + 0.01 * torch.randn(value.shape, generator=generator)
        for name, value in mini.pipeline.unet.state_dict().items()
    }
    return pl.Adapter("full", weights, 0, 0.0, "mini", mini.revision, "jrdnpl")


def draw(model, **settings) -> np.ndarray:
    (portrait,) = pl.text_to_image(model, PROMPT, replace(QUICK, **settings))
    return np.asarray(portrait.image).astype(int)


def nearly_equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Up to rounding: no channel value off by more than 1 of 255, fewer than 1 in 200 at all."""
    difference = np.abs(one - other)
    return difference.max() <= 1 and (difference > 0).mean() < 0.005


# --- on a model ----------------------------------------------------------------------------------


def test_an_adapter_makes_a_new_model_and_leaves_the_first_as_it_was(mini, lora):
    before = draw(mini)
    state = {name: value.clone() for name, value in mini.pipeline.unet.state_dict().items()}
    adapted = mini.with_adapter(lora, 0.8)
    assert str(adapted) == f"{mini}, jrdnpl at 0.8"
    assert adapted.adapters == ((lora, 0.8),) and mini.adapters == ()
    assert not np.array_equal(draw(adapted), before)
    assert np.array_equal(draw(mini), before)
    now = mini.pipeline.unet.state_dict()
    assert all(torch.equal(now[name], value) for name, value in state.items())
    assert type(adapted.pipeline.unet) is type(mini.pipeline.unet)
    assert not any("lora" in name for name, _ in adapted.pipeline.unet.named_modules())


def test_only_what_changes_takes_memory(mini, unet_lora):
    adapted = mini.with_adapter(unet_lora)
    touched = {key.split(".lora_")[0] for key in unet_lora.tensors}
    pairs = zip(
        mini.pipeline.unet.named_parameters(), adapted.pipeline.unet.parameters(), strict=True
    )
    for (name, ours), theirs in pairs:
        assert (ours is theirs) != (f"unet.{name}".removesuffix(".weight") in touched)
        assert ours.requires_grad == theirs.requires_grad
    for part in ("text_encoder", "text_encoder_2", "vae", "tokenizer"):
        assert getattr(adapted.pipeline, part) is getattr(mini.pipeline, part)
    assert adapted.prompts is mini.prompts  # the words mean what they meant


def test_the_weights_are_those_of_the_formula(mini, lora):
    adapted = mini.with_adapter(lora, 0.5)
    for part in ("unet", "text_encoder", "text_encoder_2"):
        old, new = (dict(getattr(m.pipeline, part).named_parameters()) for m in (mini, adapted))
        changed = [name for name in old if not torch.equal(old[name], new[name])]
        assert len(changed) == sum(key.startswith(f"{part}.") for key in lora.tensors) / 2
        name = changed[0]
        key = f"{part}.{name.removesuffix('.weight')}"
        if key + ".lora_A.weight" not in lora.tensors:
            key = key.replace(f"{part}.", f"{part}.text_model.")
        down, up = (lora.tensors[f"{key}.lora_{role}.weight"] for role in "AB")
        assert torch.allclose(new[name], old[name] + 0.5 * (2.0 / 4) * up @ down, atol=1e-6)


def test_words_are_encoded_anew_where_an_adapter_changes_the_encoders(mini, lora):
    adapted = mini.with_adapter(lora)
    assert adapted.prompts is not mini.prompts
    assert adapted.pictures is mini.pictures and adapted.controlnets is mini.controlnets
    assert not np.array_equal(draw(adapted), draw(mini))


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_scale_0_is_the_model_without(mini, kind, request):
    adapter = request.getfixturevalue(kind)
    assert np.array_equal(draw(mini.with_adapter(adapter, 0)), draw(mini))


def test_adapters_add_up_in_any_order(mini, lora, unet_lora, full):
    three = [(lora, 0.7), (unet_lora, -0.5), (full, 0.4)]
    one = other = mini
    for adapter, scale in three:
        one = one.with_adapter(adapter, scale)
    for adapter, scale in reversed(three):
        other = other.with_adapter(adapter, scale)
    assert nearly_equal(draw(one), draw(other))
    assert not nearly_equal(draw(one), draw(mini.with_adapter(lora, 0.7)))
    back = mini.with_adapter(lora, 0.7).with_adapter(lora, -0.7)
    assert nearly_equal(draw(back), draw(mini))


def test_whole_weights_lie_between_the_model_and_the_tuned_one(mini, full):
    old = dict(mini.pipeline.unet.named_parameters())
    tuned = mini.with_adapter(full).pipeline.unet.named_parameters()
    half = dict(mini.with_adapter(full, 0.5).pipeline.unet.named_parameters())
    for name, value in tuned:
        assert torch.equal(value, full.tensors[f"unet.{name}"])
        assert torch.allclose(half[name], (old[name] + value) / 2, atol=1e-6)


def test_a_condition_steers_a_model_with_an_adapter(mini, lora, astronaut):
    adapted = mini.with_adapter(lora)
    edges = pl.canny(astronaut, size_px=64)
    (with_adapter,) = pl.control_to_image(adapted, edges, PROMPT, QUICK)
    (without,) = pl.control_to_image(mini, edges, PROMPT, QUICK)
    assert with_adapter.image != without.image
    assert with_adapter.recipe["adapter"] == [lora.entry(1.0)]
    assert pl.rerun(with_adapter, adapted, condition=edges).image == with_adapter.image


def test_parts_that_wait_in_main_memory_get_hooks_of_their_own(lora):
    waiting = pl.load_model("mini", "cpu")
    expected = draw(waiting.with_adapter(lora))
    waiting.pipeline.enable_model_cpu_offload(device="cpu")
    waiting = replace(waiting, offloaded=True)
    hooks = {part: getattr(waiting.pipeline, part)._hf_hook for part in ("unet", "vae")}
    adapted = waiting.with_adapter(lora)
    for part, hook in hooks.items():
        old, new = getattr(waiting.pipeline, part), getattr(adapted.pipeline, part)
        assert old._hf_hook is hook
        assert new is not old and new._hf_hook is not hook
        assert next(new.parameters()) is next(old.parameters())
    assert np.array_equal(draw(adapted), expected)


# --- in recipes ----------------------------------------------------------------------------------


def test_a_recipe_names_its_adapters_and_only_runs_with_them(mini, lora, unet_lora, tmp_path):
    both = mini.with_adapter(lora, 0.8).with_adapter(unet_lora, 0.5)
    (portrait,) = pl.text_to_image(both, PROMPT, QUICK)
    kept = pl.Portrait.open(portrait.save(tmp_path / "two.png"))
    first, second = kept.recipe["adapter"]
    assert first == {
        "identifier": "jrdnpl",
        "hash": lora.hash,
        "kind": "lora",
        "scale": 0.8,
        "base": "mini",
    }
    assert (second["hash"], second["scale"]) == (unet_lora.hash, 0.5)
    assert pl.rerun(kept, both).image == portrait.image
    for wrong in (mini, mini.with_adapter(lora, 0.8), both.with_adapter(lora, 1), None):
        with pytest.raises(pl.UsageError, match="drawn with the adapter jrdnpl") as refusal:
            pl.rerun(kept, wrong)
        assert "\n" not in str(refusal.value)
    (bare,) = pl.text_to_image(mini, PROMPT, QUICK)
    with pytest.raises(pl.UsageError, match="drawn with no adapter"):
        pl.rerun(bare, both)
    with pytest.raises(pl.UsageError, match="expected a list"):
        pl.rerun({**bare.recipe, "adapter": "jrdnpl"}, both)


def test_another_tool_finds_the_adapter_and_all_else(mini, lora, full, tmp_path):
    sd_parsers = pytest.importorskip("sd_parsers")
    mixed = mini.with_adapter(lora, 0.8).with_adapter(full, 0.25)
    (portrait,) = pl.text_to_image(mixed, PROMPT, replace(QUICK, negative_prompt="beard"))
    path = portrait.save(tmp_path / "one.png")
    read = sd_parsers.ParserManager().parse(path)
    assert [found.value for found in read.prompts] == [f"{PROMPT} <lora:jrdnpl:0.8>"]
    assert [found.value for found in read.negative_prompts] == ["beard"]
    (sampler,) = read.samplers
    assert (sampler.parameters["seed"], sampler.parameters["steps"]) == ("11", "3")
    assert sampler.model.name == "mini + 0.25 jrdnpl"
    assert read.metadata["Size"] == "64x64"
    with Image.open(path) as opened:
        last = opened.text["parameters"].splitlines()[-1]
    # The web UI reads a quoted value as one; by this one it finds the file whatever its name.
    assert re.search(r'Lora hashes: "([^"]+)"', last)[1] == f"jrdnpl: {lora.hash[:12]}"


def test_a_sweep_tells_adapted_models_apart(mini, lora, unet_lora):
    models = [mini, mini.with_adapter(lora), mini.with_adapter(lora, 0.5)]
    models.append(mini.with_adapter(unet_lora))
    assert len({json.dumps(plain(model)) for model in models}) == 4
    assert [label(model) for model in models[:3]] == ["mini", "mini, jrdnpl 1", "mini, jrdnpl 0.5"]
    assert plain(lora) != plain(unet_lora)


# --- in files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["diffusers", "kohya"])
def test_a_file_gives_back_the_same_adapter(mini, lora, form, tmp_path):
    path = lora.save(tmp_path / "new folder" / "me.safetensors", form)
    opened = pl.Adapter.open(path)
    assert opened.hash == lora.hash
    for name in ("kind", "rank", "alpha", "base", "base_revision", "identifier", "recipe"):
        assert getattr(opened, name) == getattr(lora, name)
    assert opened.instance_prompt == "portrait of jrdnpl man"
    assert opened.sample == lora.sample
    assert all(torch.equal(opened.tensors[name], lora.tensors[name]) for name in lora.tensors)
    assert np.array_equal(draw(mini.with_adapter(opened)), draw(mini.with_adapter(lora)))
    again = opened.save(tmp_path / "again.safetensors", form)
    assert again.read_bytes() == path.read_bytes()
    assert [each.name for each in tmp_path.glob("**/*.part")] == []


def test_whole_weights_survive_their_file(full, tmp_path):
    opened = pl.Adapter.open(full.save(tmp_path / "tuned.safetensors"))
    assert (opened.kind, opened.hash) == ("full", full.hash)
    with pytest.raises(pl.UsageError, match="whole weights and no LoRA"):
        full.save(tmp_path / "tuned.safetensors", "kohya")


@pytest.mark.parametrize("text", [True, False])
def test_diffusers_own_loader_draws_the_same(mini, text, tmp_path, caplog):
    adapter = make_lora(mini, seed=3, text=text)  # alpha is half the rank
    theirs = pl.load_model("mini", "cpu")
    path = adapter.save(tmp_path / "me.safetensors")
    # diffusers 0.39 wants a folder and a name where the hub is out of reach.
    theirs.pipeline.load_lora_weights(path.parent, weight_name=path.name)
    drawn = draw(mini.with_adapter(adapter))
    # They add W x and B A x, we multiply by their sum: rounded in another order.
    assert nearly_equal(draw(theirs), drawn)
    assert np.abs(draw(mini) - drawn).mean() > 1
    assert not re.search("(missing|unexpected) keys", caplog.text)
    config = theirs.pipeline.unet.peft_config["default_0"]
    assert (config.r, config.lora_alpha) == (4, 2.0)


def test_a_file_of_diffusers_is_read_with_its_alpha(mini, tmp_path):
    from diffusers import StableDiffusionXLPipeline
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    theirs = pl.load_model("mini", "cpu")
    config = LoraConfig(r=4, lora_alpha=6, target_modules=["to_k", "to_q"], init_lora_weights=False)
    theirs.pipeline.unet.add_adapter(config)
    StableDiffusionXLPipeline.save_lora_weights(
        tmp_path,
        unet_lora_layers=get_peft_model_state_dict(theirs.pipeline.unet),
        unet_lora_adapter_metadata=theirs.pipeline.unet.peft_config["default"].to_dict(),
    )
    opened = pl.Adapter.open(tmp_path / "pytorch_lora_weights.safetensors")
    assert (opened.rank, opened.alpha, opened.base) == (4, 6.0, "")
    assert opened.identifier == "pytorch_lora_weights"
    assert nearly_equal(draw(mini.with_adapter(opened)), draw(theirs))


SPELLINGS = {
    "bare": ("down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_k.lora_{}.weight", "AB"),
    "peft's own": (
        "base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_k.lora_{}.weight",
        "AB",
    ),
    "diffusers once": (
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_k_lora.{}.weight",
        ("down", "up"),
    ),
    "diffusers later": (
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_k.lora.{}.weight",
        ("down", "up"),
    ),
    "kohya": (
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_k.lora_{}.weight",
        ("down", "up"),
    ),
    "kohya with blocks of diffusers": (
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_k.lora_{}.weight",
        ("down", "up"),
    ),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_usual_spelling_is_read(mini, spelling, tmp_path):
    pattern, ways = SPELLINGS[spelling]
    down, up = torch.ones(2, 192), torch.ones(64, 2)
    tensors = {pattern.format(way): each.half() for way, each in zip(ways, (down, up), strict=True)}
    save_file(tensors, tmp_path / "theirs.safetensors")
    opened = pl.Adapter.open(tmp_path / "theirs.safetensors")
    module = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_k"
    assert sorted(opened.tensors) == [f"{module}.lora_{role}.weight" for role in "AB"]
    assert (opened.rank, opened.alpha, opened.identifier) == (2, 2.0, "theirs")
    with pytest.raises(pl.UsageError, match=r"of another base than mini.*\(64, 192\)"):
        mini.with_adapter(opened)


def test_modules_of_other_ranks_and_alphas_keep_their_strength(mini, tmp_path):
    name = "mid_block_attentions_0_transformer_blocks_0_{}"
    rows, tensors = [("attn1_to_q", 2, 1.0), ("attn1_to_k", 2, 1.0), ("attn1_to_v", 3, 4.5)], {}
    for module, rank, alpha in rows:
        key = "lora_unet_" + name.format(module)
        tensors[f"{key}.lora_down.weight"] = torch.randn(rank, 192)
        tensors[f"{key}.lora_up.weight"] = torch.randn(192, rank)
        tensors[f"{key}.alpha"] = torch.tensor(alpha)
    save_file(tensors, tmp_path / "mixed.safetensors", {"ss_output_name": "someone"})
    opened = pl.Adapter.open(tmp_path / "mixed.safetensors")
    assert (opened.rank, opened.alpha, opened.identifier) == (2, 1.0, "someone")
    files = [opened.save(tmp_path / f"{form}.safetensors", form) for form in ("diffusers", "kohya")]
    theirs = pl.load_model("mini", "cpu")
    theirs.pipeline.load_lora_weights(tmp_path, weight_name=files[0].name)
    assert nearly_equal(draw(theirs), draw(mini.with_adapter(opened)))
    for each in [opened, *map(pl.Adapter.open, files)]:
        changed = dict(mini.with_adapter(each).pipeline.unet.named_parameters())
        for module, rank, alpha in rows:
            path = name.format(module).replace("_0_", ".0.").replace("mid_block_a", "mid_block.a")
            path = path.replace("attn1_", "attn1.") + ".weight"
            down, up = (
                tensors[f"lora_unet_{name.format(module)}.lora_{way}.weight"]
                for way in ("down", "up")
            )
            old = mini.pipeline.unet.get_parameter(path)
            assert torch.allclose(changed[path], old + alpha / rank * up @ down, atol=1e-4)


def test_the_metadata_says_what_other_programs_show(lora, tmp_path):
    with safe_open(lora.save(tmp_path / "me.safetensors", "kohya"), "pt") as file:
        metadata = file.metadata()
    assert metadata["modelspec.trigger_phrase"] == metadata["ss_output_name"] == "jrdnpl"
    assert (metadata["ss_network_dim"], metadata["ss_network_alpha"]) == ("4", "2.0")
    assert metadata["modelspec.architecture"] == "portraitlib/lora"  # no SDXL, and says so
    assert json.loads(metadata["portraitlib.recipe"]) == RECIPE
    assert metadata["sshs_model_hash"].startswith(lora.hash)
    wide = {
        "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight": (2, 2048),
        "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k.lora_B.weight": (1280, 2),
    }
    sdxl = pl.Adapter("lora", {key: torch.ones(shape) for key, shape in wide.items()}, 2, 2.0)
    with safe_open(sdxl.save(tmp_path / "xl.safetensors"), "pt") as file:
        metadata = file.metadata()
    assert metadata["modelspec.architecture"] == "stable-diffusion-xl-v1-base/lora"
    assert metadata["ss_base_model_version"].startswith("sdxl_")  # what AUTOMATIC1111 looks for


def test_a_full_disk_leaves_the_old_file_whole(lora, unet_lora, tmp_path):
    path = unet_lora.save(tmp_path / "me.safetensors")
    before = path.read_bytes()
    old_limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    old_signal = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, old_limits[1]))  # writing stops half way
    try:
        with pytest.raises(pl.UsageError, match="cannot be written"):
            lora.save(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limits)
        signal.signal(signal.SIGXFSZ, old_signal)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


# --- what cannot be used -------------------------------------------------------------------------

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
