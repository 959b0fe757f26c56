"""A person's photos in the studio: as part of the prompt, and to ask whether it is them."""

from __future__ import annotations

import io

import pytest

pytest.importorskip("ipywidgets")

from arrivals import arrive
from pressing import QUICK, draw

import portraitlib as pl
from portraitlib.studio.app import Studio


@pytest.mark.parametrize("tab", ["words", "photo", "edges"])
def test_photos_in_the_prompt_are_drawn_with_and_stand_in_the_recipe(studio, mini, photos, tab):
    studio.person.write({"photos_in_prompt": True, "person_scale": 0.8})
    assert "1 picture in" in draw(studio, tab)
    entry = studio.made[-1].recipe["person"]
    assert len(entry["photos"]) == len(photos) and entry["scale"] == 0.8
    assert "--photos_in_prompt" not in studio.command.value
    assert "-p photos_in_prompt True -p person_scale 0.8" in studio.command.value
    if tab == "words":
        sampling, person = studio.sampling.record(), pl.Likeness(photos, 0.8)
        (expected,) = pl.text_to_image(mini, QUICK.prompt, sampling, person=person)
        assert studio.made[-1].image.tobytes() == expected.image.tobytes()


def test_the_sliders_take_whether_photos_were_in_the_prompt(studio):
    draw(studio)
    studio.person.write({"photos_in_prompt": True, "person_scale": 0.5})
    draw(studio)
    silent, speaking = studio.gallery.history.entries
    for entry, spoke in ((silent, False), (speaking, True)):
        studio.person.write({"photos_in_prompt": not spoke, "person_scale": 0.7})
        studio.look_at(entry)
        studio.stage.to_sliders.click()
        assert studio.screen().person.photos_in_prompt == spoke
    assert studio.screen().person.person_scale == 0.5


def test_photos_in_the_prompt_start_at_the_models_own_scale_and_come_by_a_drop(mini, tmp_path):
    studio = Studio(mini, None, QUICK, tmp_path)
    assert studio.screen().person.person_scale == mini.preset.ip_adapter.scale
    studio.person.write({"photos_in_prompt": True})
    assert "there are none yet; add one" in draw(studio)
    buffer = io.BytesIO()
    pl.subject_portrait(size_px=192).save(buffer, format="PNG")
    arrive(studio.whose.drop, ("me.png", buffer.getvalue()))
    studio.stage.worker.wait(60)
    assert len(studio.whose.thumbs.children) == len(studio.train.thumbs.children) == 1
    assert "1 picture in" in draw(studio) and "photos_dir" in studio.command.value


# --- is it me ------------------------------------------------------------------------------------


def ask(studio):
    studio.is_it_me.button.click()
    studio.stage.worker.wait(300)
    return studio.stage.said


def test_is_it_me_asks_about_pictures_like_the_chosen_one_and_keeps_the_answers(studio):
    studio.take({"photos_in_prompt": True, "num_images": 2, "num_inference_steps": 8})
    draw(studio)
    studio.take({"num_images": 1})
    draw(studio)  # the first once more: the same seed is asked about once
    studio.take({"photos_in_prompt": False})
    draw(studio)
    studio.look_at(studio.gallery.history.entries[0])
    assert ask(studio).startswith("4 cards")
    box, close = studio.is_it_me.cards.children
    _, card, answers, line = box.children
    me, _ = answers.children
    seen = set()
    for number in range(4):
        assert line.value == f"{number + 1} of 4"
        seen.add(card.value)
        me.click()
    assert len(seen) == 4 and "eye and figure agree on" in line.value and me.disabled
    (kept,) = pl.read_answers(studio.folder / "answers")
    assert sorted(each.named for each in kept) == [False, False, True, True]
    assert len(studio.gallery.thumbs) == 4, "strangers do not hang in the gallery"
    close.click()
    assert not studio.is_it_me.cards.children


def test_what_cannot_be_asked_is_one_line(studio, mini, tmp_path):
    assert "draw some first" in ask(studio)
    draw(studio, "photo")
    assert "choose one that was drawn from words" in ask(studio)
    draw(studio)
    studio.stage.chosen.recipe["model"] = "another"
    assert "by another" in ask(studio)
    studio.photos = None
    assert "add yours to the prompt" in ask(studio) and not studio.is_it_me.cards.children
