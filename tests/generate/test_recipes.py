"""Recipes as they come from files: whatever stands in them, opening and rerunning say it in a line.

Hundreds of recipes with an entry changed, taken away or put in are opened and drawn again; all but
a few of the drawings stop before their first step.
"""

from __future__ import annotations

import copy
import json
import random
import warnings
from typing import Any

import pytest
from drawing import PROMPT
from PIL import Image, PngImagePlugin

import portraitlib as pl
from portraitlib.generate import rerun as module
from portraitlib.portrait import RECIPE_KEY

ROUNDS = 600  # 5,000 were tried when this was written
DRAWN = 10  # of them at least are drawn to the end
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 1.5, 5.0, 0.7, 1e308, float("nan"), float("inf")),
    *(2**32, 2**63, 10**400, "", "0", "sdxl", "~nobody", "a\0b", "\udc80", "cuda:9", "x" * 500),
    *([], [1], [None], ["a", "b"], {}, {"a": 1}, {"hash": "x"}, [{"hash": 1}], [[]], [{}]),
    *([{"identifier": "a", "hash": "b", "scale": 1.0}], [{"identifier": "a", "hash": "b"}]),
)


@pytest.fixture(scope="module")
def drawn(steered, shots, edges) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """A recipe of each function, and what it was drawn from."""
    least = pl.Sampling(seed=3, num_inference_steps=1, size_px=64)
    mask = Image.new("L", (64, 64))
    mask.paste(255, (20, 20, 40, 40))
    start = {"image": shots[0], "strength": 1.0}
    twice = [edges, pl.make_condition(shots[1], "soft edges")]
    portraits = [
        (pl.text_to_image(steered, PROMPT, least), {}),
        (pl.image_to_image(steered, prompt=PROMPT, sampling=least, **start), {"image": shots[0]}),
        (
            pl.inpaint(steered, shots[0], mask, PROMPT, least, strength=1.0),
            {"image": shots[0], "mask": mask},
        ),
        (
            pl.control_to_image(steered, edges, PROMPT, least, **start),
            {"image": shots[0], "condition": edges},
        ),
        (pl.control_to_image(steered, twice, PROMPT, least), {"condition": twice}),
    ]
    return [(portrait.recipe, given) for (portrait,), given in portraits]


def changed(recipe: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    """The recipe with one entry, or one inside it, replaced, removed or put in."""
    recipe = copy.deepcopy(recipe)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        inside: Any = recipe
        while True:
            keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
            key = dice.choice(keys) if keys else None
            deeper = key is not None and isinstance(inside[key], dict | list) and inside[key]
            if not deeper or dice.random() < 0.4:
                break
            inside = inside[key]
        if key is None or (isinstance(inside, dict) and dice.random() < 0.05):
            key = dice.choice(("extra", "mask", "image", "condition", "strength"))
            if isinstance(inside, list):
                inside.append(dice.choice(ODD))
                continue
        elif dice.random() < 0.1:
            del inside[key]
            continue
        inside[key] = copy.deepcopy(dice.choice(ODD))
    return recipe


def file_of(recipe: dict[str, Any], path: Any) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text(RECIPE_KEY, json.dumps(recipe))
    Image.new("RGB", (1, 1)).save(path, pnginfo=texts)


class Enough(Exception):
    """A drawing came as far as its first step."""


def test_a_recipe_changed_at_random_is_drawn_or_refused_in_one_line(
    steered, drawn, tmp_path, monkeypatch
):
    dice, outcomes = random.Random(20_261_126), {"refused": 0, "drawn": 0, "begun": 0}
    real = steered.pipeline.unet.forward

    def stop(*inputs, **more):
        if outcomes["drawn"] >= DRAWN or outcomes["begun"] % 20:
            raise Enough
        return real(*inputs, **more)

    monkeypatch.setattr(steered.pipeline.unet, "forward", stop)
    path = tmp_path / "one.png"
    for _ in range(ROUNDS):
        recipe, given = dice.choice(drawn)
        recipe = changed(recipe, dice)
        file_of(recipe, path)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                portrait = pl.Portrait.open(path)
                pl.rerun(portrait, steered if dice.random() < 0.9 else None, **given)
            outcomes["drawn"] += 1
        except pl.UsageError as problem:
            assert "\n" not in str(problem), recipe
            outcomes["refused"] += 1
        except Enough:
            outcomes["begun"] += 1
    assert min(outcomes.values()) >= DRAWN, outcomes


@pytest.mark.parametrize(
    ("entry", "value"),
    [("seed", None), ("versions", 1.5), ("adapter", [{"hash": "x"}]), ("condition", {"kind": 1})],
)
def test_what_an_entry_should_be_is_said_when_the_file_is_opened(drawn, tmp_path, entry, value):
    recipe = {**drawn[0][0], entry: value}
    file_of(recipe, tmp_path / "one.png")
    with pytest.raises(
        pl.UsageError, match=f"one.png: its recipe: {entry}.*(expected|lacks|missing)"
    ):
        pl.Portrait.open(tmp_path / "one.png")
    with pytest.raises(pl.UsageError, match=f"^recipe: {entry}"):
        module.rerun(recipe)
