"""Sliders: they start at what is held, act on a press, leave nothing in a stored notebook."""

import dataclasses
import io
from types import SimpleNamespace

import nbformat
import pytest
from PIL import Image

from portraitlib.portrait import Portrait
from portraitlib.settings import Sampling, UsageError

widgets = pytest.importorskip("ipywidgets")
nbclient = pytest.importorskip("nbclient")

from portraitlib.studio import explore  # noqa: E402

PRESET = SimpleNamespace(preset=SimpleNamespace(num_inference_steps=25, guidance_scale=5.0))
DEFAULT = Sampling()


def draw(model, prompt, sampling=DEFAULT, *, strength=0.5, on_step=None):
    if prompt == "broken":
        raise UsageError("prompt: got 'broken' <b>")
    on_step(1, 1)
    recipe = dataclasses.asdict(sampling) | {"prompt": prompt, "strength": strength}
    return [Portrait(Image.new("RGB", (8, 8), "red"), recipe | {"seconds": 0.5})]


def controls(box):
    return {child.description: child for child in box.children if getattr(child, "description", "")}


def press(box):
    next(child for child in box.children if isinstance(child, widgets.HBox)).children[0].click()


def shown(box):
    return next(child for child in box.children if isinstance(child, widgets.Image))


def said(box):
    return next(child for child in box.children if isinstance(child, widgets.HTML)).value


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
    assert said(box) == "seed 3; 7 steps; guidance 5.0; 0.5 s"


def test_a_mistake_is_told_in_one_line_and_the_next_press_works():
    box = explore(draw, PRESET, "broken")
    press(box)
    assert said(box) == "<b>prompt: got &#x27;broken&#x27; &lt;b&gt;</b>"
    controls(box)["prompt"].value = "a man"
    press(box)
    assert shown(box).value


CELL = """
from types import SimpleNamespace
from PIL import Image
from portraitlib.portrait import Portrait
from portraitlib.show import show_grid
from portraitlib.studio import explore

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
