"""The studio as a whole: draws, stops, remembers, and is the same as its papermill command."""

from __future__ import annotations

import functools
import io
import itertools
import os
import shlex
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

pytest.importorskip("ipywidgets")

from arrivals import arrive, pieces_of
from pressing import QUICK, draw

import portraitlib as pl
from portraitlib.settings import Sampling, UsageError
from portraitlib.studio.app import Studio, open_studio
from portraitlib.studio.gallery import History, recipe_html
from portraitlib.studio.panels import read_values
from portraitlib.studio.recipes import screen_of_parameters
from portraitlib.studio.stage import Cancelled, Worker
from portraitlib.studio.uploads import FilePlace
from recipes.first_mini.subject import photos_of

ROOT = Path(__file__).parent.parent.parent

# --- drawing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("tab", ["words", "photo", "edges"])
def test_each_tab_draws_what_its_function_draws(studio, mini, photos, tab):
    assert "1 picture in" in draw(studio, tab)
    sampling = studio.sampling.record()
    given = {
        "words": lambda: pl.text_to_image(mini, QUICK.prompt, sampling),
        "photo": lambda: pl.image_to_image(mini, photos[0], QUICK.prompt, sampling, strength=0.6),
        "edges": lambda: pl.control_to_image(mini, pl.canny(photos[0]), QUICK.prompt, sampling),
    }
    (expected,) = given[tab]()
    assert studio.made[-1].image.tobytes() == expected.image.tobytes()
    assert studio.stage.chosen.recipe["prompt"] == QUICK.prompt
    assert studio.stage.picture.layout.display is None and studio.stage.picture.value


def test_a_mistake_becomes_one_line_and_the_next_press_works(studio):
    studio.control.write({"start": 0.9, "end": 0.1})
    assert "expected start before end" in draw(studio, "edges")
    assert 'role="alert"' in studio.stage.line.value
    studio.control.write({"start": 0.0, "end": 1.0})
    assert "1 picture" in draw(studio, "edges")
    studio.prompt.write("<img src=x onerror=alert(1)> ")
    draw(studio)
    assert "<img src=x" not in studio.stage.recipe.value + studio.stage.line.value


def test_cancel_stops_at_a_step_and_keeps_the_picture_before(studio):
    draw(studio)
    before = studio.stage.picture.value
    studio.sampling.write({"num_inference_steps": 500})
    drawing = threading.Event()
    studio.stage.bar.observe(lambda _: drawing.set(), "value")
    studio.generate()
    assert drawing.wait(60) and not studio.stage.cancel.disabled
    studio.stage.cancel.click()
    studio.stage.worker.wait(60)
    assert studio.stage.said == "Cancelled." and len(studio.made) == 1
    assert studio.stage.picture.value == before and studio.stage.action.disabled is False


def test_a_setting_that_changes_draws_anew_where_that_is_wanted(studio):
    draw(studio)
    studio.prompt.write("a woman")
    assert len(studio.made) == 1
    studio.stage.live.value = True
    studio.sampling.write({"seed": 5})
    studio.stage.worker.wait(60)
    assert [portrait.recipe["seed"] for portrait in studio.made] == [0, 5]


def test_a_locked_seed_stays_and_the_dice_are_new(studio):
    draw(studio)
    assert studio.sampling.record().seed == 0
    studio.dice.click()
    rolled = studio.sampling.record().seed
    assert rolled != 0
    studio.lock.value = False
    draw(studio)
    assert studio.made[-1].recipe["seed"] not in (0, rolled)


def test_a_sweep_is_a_grid_with_scores(studio):
    studio.turn_to("sweep")
    studio.sweep.method.value = "edges"
    studio.sweep.across.value, studio.sweep.across_values.value = "scale", "0.5, 1"
    studio.sweep.down.value, studio.sweep.down_values.value = "seed", "3, 4"
    assert "4 pictures" in draw(studio, "sweep")
    sheet = studio.sheet.value
    assert sheet.count("<img") == 4 and sheet.count("likeness") == 4 and sheet.count("words") == 4
    assert "edges 0." in sheet and "hold 0.5" in sheet and "seed 4" in sheet
    studio.sweep.across.value = "seed"
    assert "across and down" in draw(studio, "sweep")


def test_values_of_a_sweep_are_read_and_checked():
    assert read_values("num_inference_steps", "2, 8,") == [2, 8]
    assert read_values("prompt", "a man, smiling | a woman") == ["a man, smiling", "a woman"]
    for wrong in ("two", "0", " "):
        with pytest.raises(UsageError):
            read_values("num_inference_steps", wrong)


@pytest.mark.slow
def test_a_face_is_taught_and_gets_a_slider(studio):
    studio.train.form.write({"max_train_steps": 2, "rank": 4, "layers": "attention"})
    assert "1 picture" in draw(studio, "face")
    ((file, scale),) = studio.adapters.entries
    assert scale == 1.0 and pl.Adapter.open(file).identifier == "jrdnpl"
    setting, _ = studio.adapters.rows[file]
    setting.write(0.5)
    draw(studio)
    assert studio.made[-1].recipe["adapter"][0]["scale"] == 0.5


# --- the gallery ---------------------------------------------------------------------------------


def test_pictures_are_kept_and_a_new_studio_finds_them(studio, mini, photos):
    draw(studio)
    draw(studio, "photo")
    again = Studio(mini, photos, QUICK, studio.folder)
    assert len(again.gallery.thumbs) == 2
    assert again.stage.chosen.recipe["function"] == "image_to_image"
    again.gallery.zip.click()
    assert 'download="portraits.zip"' in again.gallery.link.value
    with zipfile.ZipFile(studio.folder / "portraits.zip") as packed:
        assert packed.namelist() == ["00001-seed-0.png", "00002-seed-0.png"]
        (studio.folder / "one.png").write_bytes(packed.read("00002-seed-0.png"))
    assert pl.Portrait.open(studio.folder / "one.png").recipe["strength"] == 0.6


def test_a_pressed_picture_is_shown_and_can_be_sent_on(studio):
    draw(studio)
    studio.sampling.write({"seed": 9})
    draw(studio)
    first = studio.gallery.wall.children[-1]
    first.children[1].click()
    assert studio.stage.chosen.recipe["seed"] == 0
    studio.stage.to_photo.click()
    assert studio.tab == "photo" and studio.photo.file == str(studio.stage.chosen.path.absolute())
    studio.stage.to_edges.click()
    assert studio.tab == "edges" and studio.photo.edges.value
    studio.stage.to_sliders.click()
    assert studio.tab == "words" and studio.sampling.record().seed == 0


def test_foreign_files_in_the_history_are_passed_over(tmp_path):
    (tmp_path / "00001-seed-0.png").write_bytes(b"broken")
    (tmp_path / "holiday.png").write_bytes(b"")
    history = History(tmp_path)
    assert history.entries == [] and history.number == 1


def test_a_recipe_with_nothing_in_it_is_no_trouble():
    assert "<table>" in recipe_html({}) and "&lt;b&gt;" in recipe_html({"prompt": "<b>"})


# --- files ---------------------------------------------------------------------------------------


def test_a_dropped_png_moves_the_sliders(studio, mini):
    (portrait,) = pl.text_to_image(mini, "a <woman>", Sampling(seed=77, num_inference_steps=2))
    arrive(studio.drop, ("made.png", portrait.png_bytes()))
    screen = studio.screen()
    assert (screen.prompt, screen.sampling.seed, screen.method) == ("a <woman>", 77, "words")
    assert screen.sampling.num_inference_steps == 2
    arrive(studio.drop, ("x.png", b"nothing"))
    assert studio.stage.said.startswith("x.png: ")


def test_an_uploaded_photo_becomes_a_file_that_the_command_names(studio, astronaut):
    buffer = io.BytesIO()
    astronaut.save(buffer, format="JPEG")
    studio.turn_to("photo")
    arrive(studio.photo.drop, ("me.jpg", buffer.getvalue()))
    assert Path(studio.photo.file).is_file() and studio.photo.file in studio.command.value
    arrive(studio.photo.drop, ("me.txt", b"words"))
    assert studio.stage.said.startswith("me.txt: ")
    studio.photo.thumbs.children[0].children[1].click()
    assert studio.photo.file == ""


def test_files_arrive_whole_in_pieces_and_the_same_again():
    taken, told = [], []
    place = FilePlace("or drop", taken.append, print, "Some files", multiple=True)
    place.send = told.append
    files = [("a.png", b"0123456789"), ("empty", b""), ("a.png", b"other")]
    for _ in range(2):
        arrive(place, *files, piece_bytes=4)
    assert taken == [files, files]
    assert len(told) == 2 * (3 + 1 + 2), "each piece is answered, or the next is not sent"


def test_two_drops_on_one_place_are_not_mixed():
    taken = []
    place = FilePlace("or drop", taken.append, print, "Some files", multiple=True)
    one = pieces_of([("one", b"aabb")], "first", 2)
    two = pieces_of([("two", b"ccdd")], "second", 2)
    for said, buffers in itertools.chain(*zip(one, two, strict=True)):
        place._handle_custom_msg(said, buffers)
    assert taken == [[("one", b"aabb")], [("two", b"ccdd")]]


def test_an_adapter_that_is_none_is_told(studio, tmp_path):
    arrive(studio.adapters.drop, ("../x.safetensors", b"nothing"))
    assert "x.safetensors" in studio.stage.said and not studio.adapters.rows
    assert not (studio.folder.parent / "x.safetensors").exists()


# --- the worker ----------------------------------------------------------------------------------


def test_a_job_that_comes_while_another_runs_takes_its_place():
    worker, ran, go = Worker(), [], threading.Event()

    def long():
        go.set()
        try:
            while True:
                worker.check()
        except Cancelled:
            ran.append("stopped")

    worker.start(long)
    assert go.wait(10)
    worker.start(lambda: ran.append("second"))
    worker.wait(10)
    assert ran == ["stopped", "second"]


# --- the same by papermill -----------------------------------------------------------------------


def run_command(command: str, folder: Path) -> list[bytes]:
    """Run what the studio says, in a shell's words; the pixels of what it saved."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    import torch

    environment["OMP_NUM_THREADS"] = str(torch.get_num_threads())
    done = subprocess.run(
        shlex.split(command), cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    files = sorted((folder / "runs" / "09_studio").glob("portrait-*.png"))
    return [pl.Portrait.open(file).image.tobytes() for file in files]


@pytest.mark.slow
@pytest.mark.parametrize("tab", ["words", "photo", "sweep"])
def test_the_copied_command_makes_the_same_pixels(studio, tmp_path, tab):
    draw(studio)
    studio.stage.to_photo.click()  # start from what was just drawn
    studio.take({"prompt": 'it\'s a "man", $HOME \\ 5', "negative_prompt": "hat", "seed": 4})
    studio.take({"strength": 0.8, "num_images": 2, "scale": 0.6})
    studio.take({"photos_in_prompt": tab != "photo", "person_scale": 0.9})
    if tab == "sweep":
        studio.turn_to(tab)
        studio.sweep.write("edges", {"scale": [0.4, 1.0]})
    studio.made.clear()
    assert "picture" in draw(studio, tab)
    pixels = [portrait.image.tobytes() for portrait in studio.made]
    assert run_command(studio.command.value, tmp_path) == pixels


# --- opening it ----------------------------------------------------------------------------------


def test_open_studio_gives_the_box_and_refuses_what_is_no_model(mini, tmp_path):
    box = open_studio(mini, folder=tmp_path / "new", screen=screen_of_parameters(seed=3))
    assert "pl-studio" in box._dom_classes and not (tmp_path / "new").exists()
    with pytest.raises(UsageError, match="expected a loaded model"):
        open_studio("mini")


def test_without_photos_the_tabs_say_what_is_missing(mini, tmp_path):
    studio = Studio(mini, None, QUICK, tmp_path)
    assert "there is none yet" in draw(studio, "photo")
    assert "ten or more" in draw(studio, "face")
    assert Image.new("RGB", (1, 1)).size and "1 picture" in draw(studio)


def test_photos_without_a_folder_are_named_by_files(mini, tmp_path):
    studio = Studio(mini, photos_of(7), QUICK, tmp_path)
    studio.turn_to("photo")
    assert studio.photo.file and studio.photo.file in studio.command.value
    studio.turn_to("face")
    assert "photos_dir" in studio.command.value and "papermill" not in studio.command.value


def test_a_picture_of_another_size_leaves_the_size_of_a_model_that_knows_one(studio):
    text = "a man\nSteps: 4, Sampler: Euler, CFG scale: 2, Seed: 1, Size: 512x512"
    info, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    info.add_text("parameters", text)
    Image.new("RGB", (8, 8)).save(buffer, format="PNG", pnginfo=info)
    arrive(studio.drop, ("x.png", buffer.getvalue()))
    assert studio.sampling.record().size_px == 96 and "draws 96 px, not 512" in studio.stage.said


# --- nothing twice -------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch):
    """How often a screen is built, edges are looked for, and a PNG of the history is read."""
    from PIL import PngImagePlugin

    from portraitlib.generate import conditions
    from portraitlib.studio import recipes

    counts = {"screens": 0, "edges": 0, "files": 0}

    def counting(name, call):
        @functools.wraps(call)
        def counter(*inputs, **more):
            counts[name] += 1
            return call(*inputs, **more)

        return counter

    build = recipes.Screen.__post_init__
    monkeypatch.setattr(recipes.Screen, "__post_init__", counting("screens", build))
    kind = conditions.KINDS["canny"]
    find = replace(kind, make=counting("edges", kind.make))
    monkeypatch.setitem(conditions.KINDS, "canny", find)
    read = PngImagePlugin.PngImageFile._open
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "_open", counting("files", read))
    return counts


def test_from_a_slider_to_its_picture_nothing_is_done_twice(studio, counted):
    studio.turn_to("edges")
    studio.stage.live.value = True
    for name, value, edges in (("guidance_scale", 3.0, 0), ("low_threshold", 20.0, 1)):
        counted.update(dict.fromkeys(counted, 0))
        form = studio.lines if name in studio.lines.settings else studio.sampling
        form.write({name: value})
        studio.stage.worker.wait(60)
        assert counted == {"screens": 1, "edges": edges, "files": 1}, name
    assert len(studio.made) == 2
