"""Models in a single file, as other programs have them: told by their names, and loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import portraitlib as pl
from benchmarks.sdxl_size import FILES, make_part, random_weights, write_configs
from benchmarks.single_files import single_file_tensors
from portraitlib.models import files, single_file

EXPECTED = "expected an SDXL base model with its VAE and both text encoders"


@pytest.fixture(scope="module")
def configs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("small") / "sdxl"
    write_configs(folder, small=True)
    return folder


@pytest.fixture(scope="module")
def parts(configs) -> dict[str, torch.nn.Module]:
    torch.manual_seed(0)
    made = {}
    for part in FILES:
        network = made[part] = make_part(configs, part).to_empty(device="cpu")
        network.load_state_dict(random_weights(network))
    return made


@pytest.fixture(scope="module")
def tensors(parts) -> dict[str, torch.Tensor]:
    renamed = single_file_tensors({part: made.state_dict() for part, made in parts.items()})
    return {name: values.contiguous() for name, values in renamed.items()}


def saved(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    save_file(tensors, path)
    return path


def test_a_single_file_is_loaded_whole_in_silence_and_draws(
    parts, tensors, configs, tmp_path, monkeypatch, capfd
):
    path = saved(tmp_path / "civitai.safetensors", tensors)
    monkeypatch.setattr(single_file, "CONFIGS", configs)
    model = pl.load_model(path)
    assert capfd.readouterr().err == ""
    for part, made in parts.items():
        assert not getattr(model.pipeline, part).training
        loaded = getattr(model.pipeline, part).state_dict()
        assert set(loaded) == set(made.state_dict())
        for name, values in made.state_dict().items():
            assert torch.equal(values, loaded[name]), f"{part}.{name}"
    assert model.preset.size_px == 64 and model.preset.controlnet_source
    words = model.pipeline.tokenizer("a photo of a cat").input_ids
    assert words == [49406, 320, 1125, 539, 320, 2368, 49407]  # as OpenAI's own tokenizer
    assert model.pipeline.tokenizer_2.pad_token_id == 0
    sampling = pl.Sampling(num_inference_steps=1, size_px=64)
    (portrait,) = pl.text_to_image(model, "a man", sampling)
    assert portrait.image.size == (64, 64)
    assert portrait.recipe["model_revision"] == model.revision == files.content_revision(path)


def test_the_names_are_those_that_sgm_gives_its_modules(tensors):
    from sdxl_keys import sgm_shapes

    home = "model.diffusion_model."
    modules = {name.removeprefix(home).rpartition(".")[0] for name in tensors if home in name}
    counted = {name for name in sgm_shapes() if "transformer_blocks" not in name}
    assert counted <= modules, sorted(counted - modules)


REFUSED = {
    "lora_unet_input_blocks_4_1_proj_in.lora_down.weight": "a LoRA, which Adapter.open reads",
    "unet.mid_block.attentions.0.proj_in.lora_A.weight": "a LoRA, which Adapter.open reads",
    "controlnet_cond_embedding.conv_in.weight": "a ControlNet",
    "model.diffusion_model.double_blocks.0.img_attn.proj.weight": "a FLUX model",
    "model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight": "a Stable Diffusion 3 model",
    "cond_stage_model.transformer.text_model.final_layer_norm.bias": "a Stable Diffusion 1 model",
    "cond_stage_model.model.ln_final.bias": "a Stable Diffusion 2 model",
    "conditioner.embedders.0.model.ln_final.bias": "SDXL's refiner",
    "edm_mean": "predicts something else",
    "v_pred": "predicts something else",
    "down_blocks.0.resnets.0.norm1.bias": "one part of a model",
}


@pytest.mark.parametrize(("name", "what"), REFUSED.items(), ids=REFUSED)
def test_what_is_no_sdxl_model_is_told_by_its_names(name, what, tmp_path):
    path = saved(tmp_path / "other.safetensors", {name: torch.zeros(1)})
    with pytest.raises(pl.UsageError, match=f"{path}: is .*{what}.*; {EXPECTED}"):
        pl.load_model(path)


@pytest.mark.parametrize("part", single_file.PARTS)
def test_a_missing_part_is_named(tensors, part, tmp_path):
    beginning = single_file.PARTS[part]
    rest = {name: values for name, values in tensors.items() if not name.startswith(beginning)}
    with pytest.raises(pl.UsageError, match=f"has no {part} .*; {EXPECTED}"):
        pl.load_model(saved(tmp_path / "m.safetensors", rest))


@pytest.mark.parametrize("channels", [8, 9])
def test_a_model_for_inpainting_or_editing_is_refused(tensors, channels, tmp_path):
    other = tensors | {single_file.FIRST_LAYER: torch.zeros(32, channels, 3, 3)}
    with pytest.raises(pl.UsageError, match=f"takes {channels} channels, expected 4"):
        pl.load_model(saved(tmp_path / "m.safetensors", other))


def test_a_pickle_and_a_file_cut_short_are_refused(tensors, tmp_path):
    for name in ("model.ckpt", "model.pt"):
        (tmp_path / name).write_bytes(b"0")
        with pytest.raises(pl.UsageError, match=f"{name}: .* is a pickle.*convert"):
            pl.load_model(tmp_path / name)
    path = saved(tmp_path / "model.safetensors", tensors)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(pl.UsageError, match="not a whole safetensors file"):
        pl.load_model(path)


def test_a_folder_with_nothing_but_a_single_file_says_to_name_the_file(tensors, tmp_path):
    saved(tmp_path / "model.safetensors", tensors)
    with pytest.raises(pl.UsageError, match="model.safetensors is a single file: name it"):
        pl.load_model(tmp_path)


def test_weights_of_other_shapes_are_refused_in_one_line(tensors, tmp_path):
    path = saved(tmp_path / "small.safetensors", tensors)  # no configs of its size
    with pytest.raises(pl.UsageError, match="its weights are not SDXL's") as refusal:
        pl.load_model(path)
    assert "\n" not in str(refusal.value)
