"""The judge: it reads drawn portraits that it never saw, and knows what is no face."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from portraitlib.mini.judge import (
    PERSON_NUMBERS,
    SIZE_PX,
    WEIGHTS,
    Judge,
    Limits,
    coherent,
    faults,
    limits_of,
    load_judge,
    read,
    to_judge,
)
from portraitlib.mini.visible import HIDDEN, named, visible, visible_codes
from portraitlib.mini.words import GROUPS, PHRASES, STYLES
from recipes.first_mini import exam, figures
from recipes.first_mini.drawings import Drawings, draw_many, read_drawings
from recipes.first_mini.judge import train_judge, trained_judge
from recipes.first_mini.looks import caption, random_look
from recipes.first_mini.spoil import WAYS_TO_BREAK, soften

UNSEEN = exam.EXAM_SEED + 1_000_000  # neither trained, nor examined, nor set limits on


@pytest.fixture(scope="module")
def judge() -> Judge:
    return load_judge()[0]


@pytest.fixture(scope="module")
def notes() -> dict:
    return load_judge()[1]


@pytest.fixture(scope="module")
def limits(notes) -> Limits:
    return limits_of(notes)


@pytest.fixture(scope="module")
def drawn() -> Drawings:
    return draw_many(UNSEEN, 240, SIZE_PX, {})


@pytest.fixture(scope="module")
def table(judge, drawn) -> dict:
    return exam.attribute_table(drawn.looks, read(judge, drawn.images))


# Reading drawn portraits -------------------------------------------------------------------


def test_the_judge_passed_its_exam(notes):
    assert notes["exam"]["attributes"]["mean"] >= 0.97
    assert notes["exam"]["coherent"] >= 0.99
    assert min(notes["exam"]["attributes"]["styles"].values()) >= 0.95


def test_it_reads_portraits_that_it_never_saw(table):
    assert table["mean"] >= 0.965
    assert min(table["styles"].values()) >= 0.93


@pytest.mark.parametrize("group", ["style", "who", "glasses", "pimple", "place", "punk"])
def test_it_sees_what_prompts_ask_for(table, group):
    assert table["groups"][group] >= 0.93


def test_it_reads_them_when_they_are_as_soft_as_generated_ones(judge, drawn):
    pictures, places = to_judge(drawn.images), torch.from_numpy(drawn.landmarks)
    soft, _ = soften(pictures, places, np.random.default_rng(0))
    images = ((soft + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    assert exam.attribute_table(drawn.looks, read(judge, images))["mean"] >= 0.93


def test_it_reads_larger_pictures(judge):
    large = draw_many(UNSEEN + 1000, 60, 128, {})
    assert exam.attribute_table(large.looks, read(judge, large.images))["mean"] >= 0.93


def test_it_finds_the_landmarks(judge, drawn):
    away = np.abs(read(judge, drawn.images).landmarks - drawn.landmarks)
    assert away[:, :4].mean() < 0.01  # of the picture: one pixel of a hundred
    assert away.mean() < 0.02


def test_it_reads_who_somebody_is(judge):
    drawn = draw_many(UNSEEN + 2000, 120, SIZE_PX, {"style": "photorealistic", "mona_lisa": "no"})
    r2 = exam.people_table(drawn, read(judge, drawn.images))["photorealistic"]
    assert sum(value >= figures.READABLE_R2 for value in r2.values()) >= 8
    assert set(r2) == set(PERSON_NUMBERS)


# Faces and what is none --------------------------------------------------------------------


def test_drawn_portraits_are_coherent(judge, drawn, limits):
    assert coherent(read(judge, drawn.images), limits).mean() >= 0.98


# Two halves that happen to fit are the hardest.
HARD = {"mixed halves": 0.75, "missing feature": 0.9}


@pytest.mark.parametrize("way", WAYS_TO_BREAK)
def test_broken_portraits_are_not(judge, drawn, limits, way):
    refused = exam.broken_table(judge, exam.first(drawn, 120), limits, (way,))[way]
    assert refused >= HARD.get(way, 0.95)


def test_a_fault_is_named(judge, drawn, limits):
    picture = drawn.images[:1].copy()
    x, y = (drawn.landmarks[0, 0] * SIZE_PX).astype(int)
    picture[0, y - 9 : y + 9, x - 9 : x + 9] = picture[0, y + 12, x]
    assert "no left eye" in faults(read(judge, picture), limits)[0]


# What captions say and pictures show -------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("smiling man, comic book style", "expression smiling, who man, style comic book"),
        ("portrait of jrdnpl man, formal", "who man, clothing suit"),
        ("a woman, long hair, red hair", "who woman, length long, hair red"),
        ("70 year old man, trimmed beard", "age old, who man, beard trimmed"),
        ("Mona Lisa", "mona_lisa yes"),
        ("an astronaut on a horse", ""),
    ],
)
def test_what_a_caption_names(text, said):
    assert named(text) == dict(part.split(" ", 1) for part in said.split(", ") if part)


def test_captions_name_nothing_but_what_is_there():
    for seed in range(300):
        rng = np.random.default_rng(seed)
        look = random_look(rng)
        said = named(caption(look, rng, drop=0.0))
        assert said == {group: getattr(look, group) for group in said}
        assert set(said) >= {"who"} or look.mona_lisa == "yes"


def test_what_hides_what():
    look = dict.fromkeys(GROUPS, "") | {"style": "pencil sketch", "who": "girl", "punk": "yes"}
    look |= {"texture": "straight", "mona_lisa": "no", "mood": "none"}
    shown = visible(look)
    assert not any(shown[group] for group in ("hair", "skin", "length", "beard", "age"))
    assert all(shown[group] for group in ("style", "who", "glasses", "place"))
    assert {rule.group for rule in HIDDEN} <= set(PHRASES)


def test_codes_are_hidden_as_looks_are(drawn):
    shown = visible_codes(drawn.looks)
    for i in range(40):
        assert visible(vars(drawn.look(i))) == dict(zip(GROUPS, shown[i], strict=True))


# Figures -----------------------------------------------------------------------------------


def test_drawn_portraits_obey_their_captions(judge, drawn):
    texts = [caption(drawn.look(i), np.random.default_rng(i)) for i in range(len(drawn))]
    obeyed = figures.obedience(figures.ask(texts, read(judge, drawn.images)))
    low, high = obeyed["all"]["interval"]
    assert low <= obeyed["all"]["share"] <= high
    assert obeyed["all"]["share"] >= 0.96
    assert set(obeyed["styles"]) == set(STYLES)


def test_portraits_for_other_captions_do_not(judge, drawn):
    texts = [caption(drawn.look(i), np.random.default_rng(i)) for i in range(len(drawn))]
    swapped = figures.ask(texts[1:] + texts[:1], read(judge, drawn.images))
    assert figures.obedience(swapped)["all"]["share"] < 0.5


def test_the_worlds_own_portraits_vary_as_the_world_does(judge, notes):
    people = figures.world_people(judge, SIZE_PX, 120)
    assert 0.8 <= figures.variety(notes, people[:60], people[60:])["mean"] <= 1.2
    one_person = np.repeat(people[:1], 16, axis=0)
    assert figures.variety(notes, one_person, people)["mean"] < 0.01


def test_an_interval_covers_and_narrows():
    rng = np.random.default_rng(1)
    right = (rng.random(400) < 0.8).astype(float)
    low, high = figures.interval(right, np.ones(400))
    assert low < 0.8 < high
    assert high - low < 0.1
    few_low, few_high = figures.interval(right[:20], np.ones(20))
    assert few_high - few_low > high - low


# Weights and training ----------------------------------------------------------------------


def test_the_judge_is_small_and_safe():
    files = {path.name: path.stat().st_size for path in WEIGHTS.iterdir()}
    assert set(files) == {"judge.safetensors", "judge.json"}
    assert sum(files.values()) < 3e6


def test_a_missing_judge_is_said_in_one_line(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no judge here; install the package again"):
        load_judge(tmp_path)


def test_training_goes_on_from_where_it_was(tmp_path: Path):
    drawn = draw_many(0, 8, SIZE_PX, {})
    train_judge(tmp_path, drawn, 1)
    train_judge(tmp_path, drawn, 2)
    note = json.loads((tmp_path / "note.json").read_text())
    assert note["step"] == 2
    assert [row["step"] for row in note["curve"]] == [0, 1]
    assert isinstance(trained_judge(tmp_path), Judge)


def test_drawings_elsewhere_are_said_in_one_line(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no drawings here"):
        read_drawings(tmp_path)
