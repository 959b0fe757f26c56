"""The embedded model's own ControlNet: drawings follow the edges that they are given."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import portraitlib as pl
from portraitlib.models.presets import PRESETS
from recipes.first_mini.controlnet import WEIGHTS
from recipes.first_mini.drawings import HELD_OUT
from recipes.first_mini.figures import size_mb
from recipes.first_mini.world import random_drawing

SEEDS = range(HELD_OUT + 9_000_000, HELD_OUT + 9_000_006)
STEPS = pl.Sampling(seed=5, num_images=2, num_inference_steps=12)


@pytest.fixture(scope="module")
def people():
    """Six people that nothing was trained on, photorealistic."""
    plain = {"style": "photorealistic", "mood": "none", "punk": "no", "mona_lisa": "no"}
    return [Image.fromarray(random_drawing(s, size_px=96, **plain)[0].image) for s in SEEDS]


def kept(mini, person, prompt, scale):
    """How much of a person's edges the drawings keep, F1 within 2 px."""
    edges = pl.canny(person)
    drawn = pl.control_to_image(mini, edges, prompt, STEPS, pl.Control(scale=scale))
    measured = pl.measure(drawn, edges=edges.image, tolerance_px=2, prompt=prompt)
    return measured["edge_f1"].mean, measured["prompt_seen"].mean


@pytest.mark.slow
def test_edges_are_kept_in_every_style_and_the_words_too(mini, people):
    styles = ("photorealistic", "comic book style", "anime style", "oil painting", "animated")
    prompts = [f"portrait of a man, {style}" for style in (*styles, "pencil sketch")]
    pairs = list(zip(people, prompts, strict=True))
    free = [kept(mini, person, prompt, 0.0)[0] for person, prompt in pairs]
    held = [kept(mini, person, prompt, 1.0) for person, prompt in pairs]
    assert np.mean([f1 for f1, _ in held]) >= 0.65
    assert np.mean([f1 for f1, _ in held]) >= np.mean(free) + 0.15
    assert np.mean([kept(mini, *pair, 0.7)[1] for pair in pairs]) >= 0.85


def test_the_weights_are_the_presets_and_small():
    assert PRESETS["mini"].controlnet_source == str(WEIGHTS)
    assert size_mb(WEIGHTS) <= 12
    assert {path.suffix for path in WEIGHTS.iterdir()} == {".json", ".safetensors"}
