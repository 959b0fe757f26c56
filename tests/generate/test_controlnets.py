"""The models that read conditions: loaded once, and refused in one line where they do not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from steering import PROMPT, QUICK, write_controlnet

import portraitlib as pl


def test_a_control_model_is_loaded_once_and_remembered(mini, controlnets):
    fresh = replace(mini, controlnets={})
    first = pl.load_controlnet(fresh, controlnets[0])
    assert pl.load_controlnet(fresh, str(controlnets[0])) is first
    assert first.revision.startswith("sha256:")
    assert first.revision != pl.load_controlnet(fresh, controlnets[1]).revision


def change_config(folder: Path, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cross_attention_dim": 2048}, "another family than mini: cross_attention_dim is 2048"),
        ({"block_out_channels": [320, 640, 1280]}, "block_out_channels is \\[320, 640, 1280\\]"),
        ({"conditioning_embedding_out_channels": [16, 32]}, "pixels to a latent is 2"),
        ({"_class_name": "SD3ControlNetModel"}, "expected a ControlNetModel"),
    ],
)
def test_a_control_model_of_another_family_is_refused_before_running(
    mini, edges, tmp_path, changes, says
):
    folder = write_controlnet(tmp_path / "other", mini.pipeline.unet, 1)
    change_config(folder, **changes)
    fresh = replace(mini, controlnets={})
    with pytest.raises(pl.UsageError, match=says) as refusal:
        pl.control_to_image(fresh, edges, PROMPT, QUICK, controlnet=folder)
    assert "\n" not in str(refusal.value)


def test_missing_weights_and_odd_names_are_told_in_one_line(mini, edges, tmp_path):
    def refused(preset=None, controlnet=None, known=False) -> str:
        remembered = mini.controlnets if known else {}
        model = replace(mini, controlnets=remembered, preset=preset or mini.preset)
        with pytest.raises(pl.UsageError) as refusal:
            pl.control_to_image(model, edges, PROMPT, QUICK, controlnet=controlnet)
        assert "\n" not in str(refusal.value)
        return str(refusal.value)

    gone = replace(mini.preset, controlnet_source=str(tmp_path / "gone"))
    assert "install the package again, or train them" in refused(gone)
    assert "has no ControlNet of its own" in refused(replace(gone, controlnet_source=None))
    assert "expected a folder that exists or a hub id" in refused(controlnet="no such thing")
    pl.load_controlnet(mini)  # what is remembered under no name is not taken for an empty one
    assert "expected a folder that exists or a hub id" in refused(controlnet="", known=True)
    assert "config.json is missing" in refused(controlnet=tmp_path)
    folder = write_controlnet(tmp_path / "pickled", mini.pipeline.unet, 1)
    for file in folder.glob("*.safetensors"):
        file.rename(file.with_suffix(".bin"))
    assert "is a pickle" in refused(controlnet=folder)


def test_a_control_model_that_waits_in_main_memory_goes_back_there(mini, controlnets, edges):
    # On a machine without a GPU the device is main memory too; what is tested is the way there.
    offloaded = replace(mini, offloaded=True, controlnets={})
    (portrait,) = pl.control_to_image(offloaded, edges, PROMPT, QUICK, controlnet=controlnets[0])
    (plain,) = pl.control_to_image(mini, edges, PROMPT, QUICK, controlnet=controlnets[0])
    assert portrait.image == plain.image
