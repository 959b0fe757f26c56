"""An adapter changes what it should and nothing else, and recipes tell of it."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawing import PROMPT, QUICK
from PIL import Image
from random_adapters import draw, nearly_equal

import portraitlib as pl

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
    with pytest.raises(pl.UsageError, match="adapter: expected array"):
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
