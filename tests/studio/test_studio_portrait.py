"""The studio's first tab: portraits to choose from, by one press, and its command."""

from __future__ import annotations

import shlex
import threading

import pytest

pytest.importorskip("ipywidgets")

import portraitlib as pl
from portraitlib.profile import search as searching
from portraitlib.settings import UsageError
from portraitlib.studio.app import Studio
from portraitlib.studio.portrait_panel import NO_FOLDER
from portraitlib.studio.recipes import TABS
from recipes.first_mini.subject import photos_of


@pytest.fixture
def studio(mini, tmp_path):
    studio = Studio(mini, pl.subject_photos(), None, tmp_path / "studio", made=[])
    choose(studio, "photorealistic")
    studio.portrait.form.write({"quick": True, "keep": 1})
    return studio


def choose(studio, *names):
    for name, box in studio.portrait.styles.items():
        box.value = name in names


def press(studio):
    studio.stage.action.click()
    studio.stage.worker.wait(300)
    return studio.stage.said


def command(studio) -> list[str]:
    return shlex.split(studio.command.value)


def folders(studio):
    return sorted(studio.folder.glob("portrait-*"))


# --- what comes of it ----------------------------------------------------------------------------


def test_one_press_hangs_what_is_worth_keeping_and_names_the_page(studio):
    assert studio.tab == next(iter(TABS)) == "portrait"
    assert studio.stage.action.description == "Make my portraits"
    said = press(studio)
    (home,) = folders(studio)
    assert (
        said.startswith("1 of ")
        and "portraits kept" in said
        and str(home) in said
        and "index.html" in said
    )
    assert (home / "index.html").is_file()
    ((path,), (portrait,)) = [*home.glob("portraits/*.png")], studio.made
    assert portrait.image.tobytes() == pl.Portrait.open(path).image.tobytes()
    assert studio.stage.chosen.recipe == portrait.recipe
    assert press(studio) == said and len(studio.gallery.thumbs) == 1, "nothing twice"


def test_it_is_what_make_portraits_makes(studio, mini, tmp_path):
    press(studio)
    done = pl.make_portraits(
        mini, pl.subject_photos(), ["photorealistic"], folder=tmp_path, keep=1, quick=True
    )
    (expected,) = done.portraits("photorealistic")
    assert studio.made[0].image.tobytes() == expected.image.tobytes()


def test_cancel_is_heard_and_the_same_again_goes_on(studio):
    choose(studio, "photorealistic", "comic book")
    drawn = threading.Event()

    def stop(change):
        if change["new"] > 0 and not drawn.is_set():
            drawn.set()
            studio.stage.cancel.click()

    studio.stage.bar.observe(stop, "value")
    assert press(studio) == "Cancelled." and drawn.is_set()
    assert len(studio.made) == 1, "what was kept by then hangs there"
    assert press(studio).startswith("2 of ")
    assert len(studio.made) == len(studio.gallery.thumbs) == 2


def test_a_budget_of_minutes_ends_with_what_there_is(studio):
    studio.portrait.form.write({"minutes": 0.1, "keep": 4})
    choose(studio, *studio.portrait.styles)
    said = press(studio)
    assert " portraits kept" in said and "the budget of 6.0 s is used up" in said


def test_a_style_that_never_comes_is_named(studio, monkeypatch):
    monkeypatch.setattr(searching, "MOST_EACH", 0)
    choose(studio, "comic book", "oil, dramatic")
    assert "fewer of oil, dramatic and comic book" in press(studio)


def test_other_photos_and_settings_have_folders_of_their_own(studio, mini):
    outputs = {command(studio)[-1]}
    studio.portrait.form.write({"who": "person"})
    outputs.add(command(studio)[-1])
    studio.portrait.form.write({"quick": False})
    outputs.add(command(studio)[-1])
    other = Studio(mini, photos_of(7), None, studio.folder, "photos")
    outputs.add(command(other)[-1])
    assert len(outputs) == 4
    choose(studio, "anime")
    studio.portrait.form.write({"keep": 9, "minutes": 5})
    assert command(studio)[-1] in outputs, "more of the same goes on where it was"


# --- what cannot be ------------------------------------------------------------------------------


def test_without_photos_it_is_one_line(mini, tmp_path):
    studio = Studio(mini, None, None, tmp_path)
    assert "No photos yet" in studio.portrait.report.value
    assert press(studio).startswith("photos: there are none yet; add ten")
    assert studio.command.value.startswith("# photos: there are none yet")


def test_without_a_style_or_a_class_word_it_is_one_line(studio):
    choose(studio)
    assert press(studio).startswith("styles: none is chosen")
    studio.portrait.form.write({"own_styles": "comic boook"})
    assert "did you mean" in press(studio)
    studio.portrait.form.write({"who": " "})
    assert press(studio).startswith("class word: got none")
    assert 'role="alert"' in studio.stage.line.value and not folders(studio)


def test_photographs_are_refused_by_a_model_of_a_drawn_world(mini, astronaut, tmp_path):
    from PIL import Image

    astronaut.resize((512, 512), Image.Resampling.LANCZOS).save(tmp_path / "me.png")
    photos = pl.read_photos(tmp_path, size_px=512)
    assert "photographs" in press(Studio(mini, photos, None, tmp_path / "studio"))


# --- what is said, and the command ---------------------------------------------------------------


def test_the_photos_are_shown_with_what_is_to_be_said_of_them(studio):
    assert "12 used" in studio.portrait.report.value
    assert len(studio.portrait.thumbs.children) == 12


def test_the_command_says_what_is_on_screen(studio):
    studio.portrait.form.write({"own_styles": "smiling, ink | a-b", "minutes": 5, "who": "woman"})
    program, what, *words = command(studio)
    assert (program, what) == ("portraitlib", "portrait")
    assert words[:6] == ["--model", "mini", "--who", "woman", "--keep", "1"]
    assert words[6:9] == ["--style=photorealistic", "--style=smiling, ink", "--style=a-b"]
    assert words[9:13] == ["--quick", "--minutes", "5", "--output"]
    studio.photos_dir = "my photos"
    choose(studio, *studio.portrait.styles)
    studio.portrait.form.write({"own_styles": None})
    assert command(studio)[2] == "my photos" and "--style" not in studio.command.value


def test_the_command_goes_on_in_the_studios_folder(studio):
    from portraitlib.cli import main

    press(studio)
    (home,) = folders(studio)
    before = {path: path.stat().st_mtime_ns for path in home.glob("drawn/*/*")}
    assert main(command(studio)[1:]) == 0
    assert {path: path.stat().st_mtime_ns for path in home.glob("drawn/*/*")} == before


def test_photos_without_a_folder_have_no_command(mini, tmp_path):
    assert Studio(mini, photos_of(7), None, tmp_path).command.value == NO_FOLDER


def test_a_screen_opens_the_tab_of_its_method(mini, tmp_path):
    from portraitlib.studio.recipes import Screen

    studio = Studio(mini, None, Screen(method="edges"), tmp_path)
    assert studio.tab == "edges" and studio.stage.action.description == "Generate"
    with pytest.raises(UsageError):
        studio.portrait.command("", False)
