"""The figures of what edges do: sitters that nothing was trained on, words, means over people."""

from __future__ import annotations

import json

import numpy as np
import pytest

from portraitlib.mini.judge import load_judge
from portraitlib.mini.likeness import load_likeness
from portraitlib.mini.visible import named
from portraitlib.mini.words import STYLES
from recipes.first_mini import card
from recipes.first_mini import control_figures as figures
from recipes.first_mini.card_text import write_text
from recipes.first_mini.looks import Look


def test_the_same_number_is_the_same_sitter_and_another_another():
    one, again, other = figures.sitter(3), figures.sitter(3), figures.sitter(4)
    assert one.edges == again.edges and np.array_equal(one.photos, again.photos)
    assert np.array_equal(one.drawn, again.drawn) and one.prompts == again.prompts
    assert one.edges != other.edges and not np.array_equal(one.drawn, other.drawn)
    assert one.photos.shape == (figures.PHOTOS, 96, 96, 3)
    assert [named(prompt)["style"] for prompt in one.prompts] == list(STYLES[1:])


def test_the_words_say_who_it_is_and_what_no_line_says():
    look = Look(style="pixel art", skin="indian", hair="black", glasses="yes", mood="dramatic")
    asked = figures.ask_for(look)
    assert asked == "portrait of a man, indian, black hair, pixel art, dramatic"
    bald = Look(style="anime", texture="bald", hair="gray")
    assert figures.ask_for(bald) == "portrait of a man, anime style"


def test_the_worlds_own_drawings_keep_their_edges_and_are_the_person():
    people = [figures.sitter(number) for number in range(2)]
    drawn = np.stack([person.drawn for person in people])
    kept = {px: figures.edges_kept(people, drawn, px) for px in (1, 2)}
    assert kept[1].shape == (2, 6) and (kept[1] <= kept[2]).all()
    assert kept[2].mean() > figures.edges_kept(people, drawn[::-1], 2).mean() + 0.1
    likeness = figures.likeness_of(people, {"own": drawn, "other": drawn[::-1]})
    assert np.nanmean(likeness["own"]) > 0.5 > np.nanmean(likeness["other"]) + 0.2


def test_a_mean_over_people_leaves_out_what_is_no_number():
    values = np.array([[1.0, np.nan], [0.0, 0.5]] * 10)
    row = figures.mean(values)
    assert (row["mean"], row["count"]) == (0.5, 30)
    low, high = row["interval"]
    assert low < 0.5 < high
    assert figures.mean(np.full((3, 2), np.nan)) == {"mean": None, "interval": None, "count": 0}


def test_the_card_says_what_is_stored():
    paths = (card.FIGURES, card.TRAINING, card.CONTROL, card.FACES)
    figures, training, *sections = (json.loads(path.read_text()) for path in paths)
    text = write_text(figures, training, load_judge()[1], load_likeness()[1], *sections)
    assert card.CARD.read_text() == text


@pytest.mark.slow
def test_edges_are_kept_and_words_seen_as_the_card_says(mini):
    measured = figures.measure_control(mini, 2)
    stored = json.loads(card.CONTROL.read_text())
    for arm in ("0", "1"):
        found, said = (each["edges"][arm]["2 px"]["all"]["mean"] for each in (measured, stored))
        assert found == pytest.approx(said, abs=0.12)
    assert measured["words"]["0.7"]["all"]["all"]["mean"] >= 0.85
    assert measured["likeness_gained"]["1"]["all"]["mean"] > 0
