"""Floors in a style, copying, and the eye held against the figure."""

from __future__ import annotations

import numpy as np
import pytest

import portraitlib as pl
from portraitlib.measuring import likeness
from portraitlib.measuring.blind import agreement, draw_cards, score_cards, write_answers
from portraitlib.photos.faces.find import ENCODERS

MINI = ENCODERS["mini"]


@pytest.fixture(scope="module")
def held_out() -> pl.PhotoSet:
    return pl.subject_photos(held_out=True)


@pytest.fixture(scope="module")
def others(mini, tmp_path_factory):
    """Pictures of eight other people."""
    sampling = pl.Sampling(num_inference_steps=12)
    cache = tmp_path_factory.mktemp("strangers")
    return pl.style_strangers(mini, "portrait of man", sampling, 8, cache=cache)


def test_strangers_that_are_given_are_the_floor(held_out, others):
    measured = pl.measure(others, held_out, strangers=others)
    assert np.median([row["likeness"] for row in measured.rows]) == pytest.approx(0, abs=1e-6)
    assert measured.scales["likeness"].floor_of == f"{len(others)} strangers given"
    assert f"likeness is 0 for {len(others)} strangers given, 1 for another photo" in str(measured)
    assert "64 strangers photographed" in str(pl.measure(others, held_out))


def test_drawings_of_the_person_can_be_the_ceiling(held_out):
    drawn = pl.subject_portrait("anime")
    (row,) = pl.measure([drawn], held_out, ceiling=[drawn]).rows
    assert row["likeness"] == pytest.approx(1)
    assert "1 for 1 given pictures of the person" in str(
        pl.measure([drawn], held_out, ceiling=[drawn])
    )


def test_a_styles_strangers_are_drawn_once_without_the_name(mini, lora, tmp_path):
    taught = mini.with_adapter(lora)
    sampling = pl.Sampling(num_inference_steps=4)
    drawing = []
    arguments = ("portrait of jrdnpl man, anime", sampling, 4)
    first = pl.style_strangers(
        taught, *arguments, cache=tmp_path, on_step=lambda *at: drawing.append(at)
    )
    (folder,) = tmp_path.iterdir()
    recipes = [pl.Portrait.open(path).recipe for path in folder.glob("*.png")]
    assert {recipe["prompt"] for recipe in recipes} == {"portrait of man, anime"}
    assert all(not recipe.get("adapters") and recipe["seed"] >= 2**31 for recipe in recipes)
    drawing.clear()
    other_seed = pl.Sampling(seed=7, num_images=3, num_inference_steps=4)
    again = pl.style_strangers(mini, "portrait of man, anime", other_seed, 4, cache=tmp_path)
    assert not drawing and [a.tobytes() for a in again] == [b.tobytes() for b in first]


# --- copying -------------------------------------------------------------------------------------


def test_a_photo_learnt_from_is_a_copy_and_one_held_out_is_none(held_out):
    learnt = pl.subject_photos()
    measured = pl.measure(learnt.images, held_out, learnt=learnt)
    assert [row["copying"] for row in measured.rows] == pytest.approx([1] * 12, abs=1e-3)
    assert [row["nearest_photo"] for row in measured.rows] == [photo.name for photo in learnt]
    back = pl.measure(held_out.images, held_out, learnt=learnt)
    assert [row["copying"] for row in back.rows] == pytest.approx([-1] * 6, abs=1e-3)
    scale = measured.scales["copying"]
    assert -0.2 < scale.floor < 0.2 and scale.ceiling == 1
    assert "copying" in measured.summary


def test_copying_is_the_formula_on_angles():
    def at(degrees):
        return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]) * 3

    copies = likeness.Copying(np.array([at(0), at(170)]) / 3, np.array([at(90)]) / 3, ("a", "b"))
    assert copies.measure(at(30)) == {
        "copying": pytest.approx((60 - 30) / 90),
        "nearest_photo": "a",
    }
    assert copies.measure(None) == {"copying": None, "nearest_photo": None}


# --- the eye -------------------------------------------------------------------------------------


def test_cards_are_half_and_half_in_an_order_of_the_seed(held_out, others):
    his = pl.subject_photos().images
    cards = draw_cards(his, others, 10, seed=3)
    assert [card.named for card in cards] != sorted(card.named for card in cards)
    assert sum(card.named for card in cards) == 5 == len({c.number for c in cards if c.named})
    assert cards == draw_cards(his, others, 10, seed=3) != draw_cards(his, others, 10, seed=4)
    scored = score_cards(cards, held_out, others)
    assert np.mean([card.likeness > 0.5 for card in scored if card.named]) == 1


def test_agreement_has_an_interval_and_leaves_out_cards_without_a_face():
    from portraitlib.measuring.blind import Card

    cards = [Card(True, i, None, 0.9, me=i < 8) for i in range(10)]
    assert "agree on 8 of 10 cards (" in agreement(cards)
    assert "right: the eye 8, the figure 10" in agreement(cards)
    assert "1 without a face" in agreement([*cards, Card(True, 10, None, None, me=True)])
    assert agreement([Card(True, 0)]) == "no card has a face"


def test_answers_are_kept_and_none_is_replaced(tmp_path, others):
    cards = draw_cards(others, others, 4)
    first, second = (write_answers(tmp_path, cards[:n]) for n in (4, 2))
    assert (first.name, second.name) == ("answers.json", "answers-2.json")
    assert [len(each) for each in pl.read_answers(tmp_path)] == [4, 2]
    assert pl.read_answers(tmp_path)[0][1].number == cards[1].number
    first.write_text('{"form": 1, "cards": 3}')
    with pytest.raises(pl.UsageError, match="answers.json"):
        pl.read_answers(tmp_path)


# --- mistakes ------------------------------------------------------------------------------------


def test_mistakes_are_told_in_one_line(held_out, others):
    his, blank = pl.subject_photos(), others[0].resize((96, 96)).point(lambda _: 90)
    for arguments, says in (
        ({"photos": held_out, "strangers": [blank] * 5}, "strangers: got 0 with a face of 5"),
        ({"photos": held_out, "strangers": "them"}, "strangers: got str, expected a list"),
        ({"photos": held_out, "ceiling": [blank]}, "ceiling: got 0 with a face of 1"),
        ({"photos": held_out, "learnt": [blank]}, "learnt: got list, expected a PhotoSet"),
        ({"photos": held_out, "learnt": held_out}, "held-out-01.png is among the photos"),
        ({"learnt": his}, "photos: got none"),
    ):
        with pytest.raises(pl.UsageError, match=says) as refusal:
            pl.measure(others, **arguments)
        assert "\n" not in str(refusal.value)
    with pytest.raises(pl.UsageError, match="strangers: got 0, expected at least 1"):
        draw_cards(others, [])
