"""Sliders: they start at what is held, act on a press, leave nothing in a stored notebook."""

import dataclasses
import io
from types import SimpleNamespace

import nbformat
import pytest
from PIL import Image

from portraitlib.measuring.blind import read_answers
from portraitlib.photos.subject import subject_photos
from portraitlib.portrait import Portrait
from portraitlib.settings import Sampling, UsageError

widgets = pytest.importorskip("ipywidgets")
nbclient = pytest.importorskip("nbclient")

from arrivals import arrive  # noqa: E402

from portraitlib.studio.explore import ask, explore  # noqa: E402
from portraitlib.studio.uploads import FilePlace  # noqa: E402

PRESET = SimpleNamespace(preset=SimpleNamespace(num_inference_steps=25, guidance_scale=5.0))
DEFAULT = Sampling()


def draw(model, prompt, sampling=DEFAULT, *, strength=0.5, on_step=None):
    if prompt == "broken":
        raise UsageError("prompt: got 'broken' <b>")
    on_step(1, 1)
    recipe = dataclasses.asdict(sampling) | {"prompt": prompt, "strength": strength}
    return [Portrait(Image.new("RGB", (8, 8), "red"), recipe | {"seconds": 0.5})]


def controls(box):
    """Label -> the widget that has the value, of each setting."""
    rows = [child.children[0] for child in box.children if "pl-setting" in child._dom_classes]
    return {row.children[0].description: row.children[0] for row in rows}


def press(box):
    rows = (child for child in box.children if isinstance(child, widgets.HBox))
    next(row.children[0] for row in rows if isinstance(row.children[0], widgets.Button)).click()


def shown(box):
    return next(child for child in box.children if isinstance(child, widgets.Image))


def said(box):
    return [child for child in box.children if isinstance(child, widgets.HTML)][1].value


def test_controls_start_at_the_held_values_and_else_at_the_presets():
    box = explore(draw, PRESET, "a man", Sampling(seed=4821, guidance_scale=3.5), strength=0.3)
    values = {name: control.value for name, control in controls(box).items()}
    assert values == {
        "prompt": "a man",
        "negative prompt": "",
        "steps": 25,
        "guidance": 3.5,
        "strength": 0.3,
        "seed": 4821,
        "pictures": 1,
    }


def test_only_what_the_function_knows_has_a_control():
    def plain(model, prompt, sampling=DEFAULT):
        return []

    assert "strength" not in controls(explore(plain, PRESET, "a man"))


def test_nothing_is_made_before_the_button_is_pressed():
    made = []
    box = explore(draw, PRESET, "a man", made=made)
    assert not made
    assert shown(box).value == b""


def test_a_press_makes_a_picture_with_the_values_of_the_controls():
    made = []
    box = explore(draw, PRESET, "a man", Sampling(seed=3), made=made)
    controls(box)["steps"].value = 7
    controls(box)["prompt"].value = "a woman"
    press(box)
    assert [made[0].recipe[name] for name in ("prompt", "num_inference_steps", "seed")] == [
        "a woman",
        7,
        3,
    ]
    assert shown(box).format == "jpeg"
    assert Image.open(io.BytesIO(shown(box).value)).format == "JPEG"
    assert said(box) == "seed 3 · 7 steps · guidance 5 · strength 0.5 · 0.5 s"


def test_a_mistake_is_told_in_one_line_and_the_next_press_works():
    box = explore(draw, PRESET, "broken")
    press(box)
    assert said(box) == "<b>prompt: got &#x27;broken&#x27; &lt;b&gt;</b>"
    controls(box)["prompt"].value = "a man"
    press(box)
    assert shown(box).value


# --- a picture of the reader's -------------------------------------------------------------------


def redraw(model, image, prompt, sampling=DEFAULT, *, strength=0.6):
    recipe = dataclasses.asdict(sampling) | {"strength": strength, "seconds": 0.5}
    return [Portrait(image, recipe)]


def png(picture):
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def upload_row(box):
    rows = (child for child in box.children if isinstance(child, widgets.HBox))
    return next(row.children for row in rows if isinstance(row.children[0], FilePlace))


def upload(box, content):
    arrive(upload_row(box)[0], ("me.png", content))


def test_an_uploaded_picture_takes_the_place_of_the_one_given():
    made = []
    box = explore(redraw, PRESET, Image.new("RGB", (300, 200), "red"), "a man", made=made)
    thumbnail = upload_row(box)[1]
    assert Image.open(io.BytesIO(thumbnail.value)).size == (96, 64)
    press(box)
    upload(box, png(Image.new("RGBA", (30, 20), "blue")))
    red, green, blue = Image.open(io.BytesIO(thumbnail.value)).getpixel((0, 0))
    assert blue > 250 and red + green < 10
    press(box)
    assert [portrait.image.getpixel((0, 0)) for portrait in made] == [(255, 0, 0), (0, 0, 255)]


def test_an_upload_that_is_no_picture_is_told_in_one_line_and_changes_nothing():
    made = []
    box = explore(redraw, PRESET, Image.new("RGB", (8, 8), "red"), "a man", made=made)
    upload(box, b"no picture <b>")
    assert said(box).startswith("<b>me.png: no picture by its content") and "\n" not in said(box)
    press(box)
    assert made[0].image.getpixel((0, 0)) == (255, 0, 0)
    assert said(box).startswith("seed 0")


def test_a_function_without_an_image_has_no_upload_and_no_image_yet_is_no_mistake():
    without = explore(draw, PRESET, "a man")
    assert [type(child) for child in without.children].count(widgets.HBox) == 1
    later = explore(redraw, PRESET, None, "a man")
    assert upload_row(later)[1].value == b""


CELL = """
from types import SimpleNamespace
from PIL import Image
from portraitlib.portrait import Portrait
from portraitlib.show import show_grid
from portraitlib.studio.explore import explore

def draw(model, prompt):
    raise AssertionError("nobody pressed the button")

explore(draw, SimpleNamespace(), "a man")
"""


def test_a_notebook_without_a_reader_stores_the_figure_and_no_widget():
    figure = "show_grid([Image.new('RGB', (8, 8), 'red')])"
    cells = [nbformat.v4.new_code_cell(source) for source in (CELL, figure)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, kernel_name="python3", timeout=300).execute()
    assert "widgets" not in notebook.metadata
    kinds = [sorted(output.data) for cell in notebook.cells for output in cell.outputs]
    assert kinds == [["text/markdown", "text/plain"], ["image/jpeg", "text/plain"]]


def test_a_live_notebook_gets_the_sliders():
    from jupyter_client.manager import start_new_kernel

    manager, client = start_new_kernel(startup_timeout=300, kernel_name="python3")
    try:
        data = []
        client.execute_interactive(
            CELL,
            allow_stdin=True,
            timeout=300,
            output_hook=lambda message: data.append(message["content"].get("data", {})),
        )
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert any("application/vnd.jupyter.widget-view+json" in each for each in data)


def test_the_thresholds_of_edges_have_sliders_and_edges_have_no_recipe_to_tell():
    def edges_of(model, image, low_threshold=100, high_threshold=200):
        pixels = Image.new("RGB", (8, 8), (int(low_threshold), int(high_threshold) % 256, 0))
        return [Portrait(pixels)]

    box = explore(edges_of, PRESET, Image.new("RGB", (8, 8)))
    assert {"low threshold", "high threshold"} <= set(controls(box))
    controls(box)["low threshold"].value = 50
    press(box)
    assert shown(box).value and said(box) == ""


# --- cards to answer -----------------------------------------------------------------------------


def cards_of(box):
    """The two buttons, the card and what is said."""
    _, _, card, row, line = box.children
    return row.children, card, line


def test_cards_are_answered_without_scores_and_the_answers_are_kept(tmp_path):
    his, held_out = subject_photos().images, subject_photos(held_out=True)
    strangers = [Image.effect_noise((96, 96), 40 + i).convert("RGB") for i in range(3)]
    for times in (1, 2):
        box = ask(held_out, his, strangers, count=6, folder=tmp_path)
        (me, not_me), card, line = cards_of(box)
        seen = set()
        for number in range(6):
            assert line.value == f"{number + 1} of 6" and not me.disabled
            seen.add(card.value)
            (me if number % 2 else not_me).click()
        assert len(seen) == 6 and me.disabled and not_me.disabled
        assert "agree on" in line.value and "3 without a face" in line.value
        me.click()
        answers = read_answers(tmp_path)
        assert len(answers) == times
        assert [each.me for each in answers[-1]] == [False, True] * 3
        assert sum(each.named for each in answers[-1]) == 3


def test_a_folder_that_refuses_is_told_after_the_last_card(tmp_path):
    (tmp_path / "file").write_text("in the way")
    his = subject_photos().images
    box = ask(subject_photos(held_out=True), his, his, count=2, folder=tmp_path / "file" / "in")
    (me, _), _, line = cards_of(box)
    me.click()
    me.click()
    assert "agree on" in line.value and "cannot be written" in line.value


def test_without_a_reader_the_cards_are_a_figure_at_once(monkeypatch):
    monkeypatch.setattr("portraitlib.studio.explore.reader_present", lambda: False)
    his = subject_photos().images
    figure = ask(subject_photos(held_out=True), his, his[:3], count=6)
    assert figure.encoded()[1] == "jpeg" and len(figure.axes) == 6
