"""The screen as parameters, as a command, and back from PNGs of here and of AUTOMATIC1111."""

import io
import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from portraitlib.batch.notebook import check_parameters, parameters_of
from portraitlib.portrait import Portrait
from portraitlib.settings import Control, DreamBooth, Sampling, UsageError
from portraitlib.studio.dropped import read_dropped, read_parameters_text, settings_of_recipe
from portraitlib.studio.recipes import (
    Lines,
    Person,
    Screen,
    papermill_command,
    parameters_of_screen,
    screen_of_parameters,
    shown_parameters,
)

NOTEBOOK = Path(__file__).parent.parent.parent / "notebooks" / "09_studio.ipynb"
FULL = Screen(
    method="edges",
    prompt='it\'s "me",\nwith $HOME and \\ ünder ☺',
    sampling=Sampling(seed=7, num_images=2, guidance_scale=3.5, negative_prompt="--no, 5"),
    photo_file="/somewhere/a photo.png",
    lines=Lines(low_threshold=50.0),
    control=Control(scale=0.7, end=0.8, guess_mode=True),
    person=Person(photos_in_prompt=True, person_scale=0.9),
    adapters=(("me.safetensors", 0.8), ("style.safetensors", -0.5)),
    training=DreamBooth(max_train_steps=3, class_prompt="portrait of a man"),
    num_class_images=4,
    vary={"scale": [0.5, 1.0], "prompt": ["a, b", "c"]},
)


# --- parameters ----------------------------------------------------------------------------------


@pytest.mark.parametrize("screen", [Screen(), FULL])
def test_a_screen_comes_back_from_its_parameters(screen):
    assert screen_of_parameters(**parameters_of_screen(screen)) == screen
    assert screen_of_parameters(**shown_parameters(screen)) == screen


def test_the_notebook_has_a_parameter_for_all_that_is_on_screen():
    own = {"model_name", "photos_dir", "output_dir"}
    assert set(parameters_of(NOTEBOOK)) - own == set(parameters_of_screen(Screen()))
    check_parameters(NOTEBOOK, shown_parameters(FULL))


def test_unknown_settings_and_methods_are_refused_in_one_line():
    for wrong in ({"sed": 1}, {"method": "dance"}, {"vary": {"rank": [1]}}, {"strength": 3}):
        with pytest.raises(UsageError) as caught:
            screen_of_parameters(**wrong)
        assert "\n" not in str(caught.value)


def test_the_command_carries_any_text_through_a_shell(tmp_path):
    command = papermill_command(shown_parameters(FULL), "a notebook.ipynb", "mine.ipynb")
    program, notebook, output, *rest = shlex.split(command)
    assert (program, notebook, output) == ("papermill", "a notebook.ipynb", "mine.ipynb")
    assert read_by_papermill(rest) == shown_parameters(FULL)


def read_by_papermill(words: list[str]) -> dict:
    """The options as papermill's own command line reads them."""
    import yaml
    from papermill.cli import _resolve_type

    found = {}
    while words:
        if words[0] == "-y":
            found |= yaml.safe_load(words[1])
            words = words[2:]
            continue
        kind, name, value, *words = words
        found[name] = value if kind == "-r" else _resolve_type(value)
    return found


# --- pictures made here --------------------------------------------------------------------------

RECIPE = {
    "function": "control_to_image",
    "prompt": "a man",
    "negative_prompt": "hat",
    "seed": 12,
    "batch_seed": 10,
    "num_images": 4,
    "num_inference_steps": 9,
    "guidance_scale": 3.0,
    "size_px": 96,
    "scheduler": "EulerDiscreteScheduler",
    "controlnet_conditioning_scale": 0.7,
    "control_guidance_start": 0.1,
    "control_guidance_end": 0.9,
    "guess_mode": False,
    "controlnet": "mini",
    "condition": {
        "kind": "canny",
        "image": "sha256:0",
        "settings": {"low_threshold": 60.0, "high_threshold": 120.0},
    },
    "adapter": [{"identifier": "jrdnpl", "hash": "0" * 16, "scale": 0.8}],
}


def png(**texts: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()


def test_a_png_made_here_gives_its_own_settings():
    settings, notes = read_dropped(Portrait(Image.new("RGB", (8, 8)), RECIPE).png_bytes())
    screen = screen_of_parameters(**settings)
    assert screen.method == "edges" and screen.prompt == "a man"
    assert screen.sampling == Sampling(12, 1, 9, 3.0, 96, "hat")
    assert screen.control == Control(0.7, 0.1, 0.9)
    assert screen.lines == Lines(60.0, 120.0)
    assert any("jrdnpl at 0.8" in note for note in notes)


def test_a_png_drawn_with_photos_in_the_prompt_says_how_hard_they_held():
    person = {"photos": ["sha256:0"], "scale": 0.6, "start": 0.0, "end": 1.0}
    recipe = RECIPE | {"person": person | {"weights": "mini", "revision": "sha256:0"}}
    settings, notes = read_dropped(Portrait(Image.new("RGB", (8, 8)), recipe).png_bytes())
    assert screen_of_parameters(**settings).person == Person(True, 0.6)
    assert any("photos in the prompt" in note for note in notes)


def test_a_recipe_that_lost_its_json_is_read_from_the_other_text():
    portrait = Portrait(Image.new("RGB", (8, 8)), {**RECIPE, "adapter": None})
    with Image.open(io.BytesIO(portrait.png_bytes())) as opened:
        text = opened.info["parameters"]
    settings, _ = read_parameters_text(text)
    assert settings == settings_of_recipe(RECIPE)
    assert read_dropped(png(parameters=text))[0] == settings


@pytest.mark.parametrize("content", [b"no picture", png(), png(parameters="nothing here")])
def test_what_carries_no_settings_is_refused_in_one_line(content):
    with pytest.raises(UsageError) as caught:
        read_dropped(content)
    assert "\n" not in str(caught.value)


# --- AUTOMATIC1111's form ------------------------------------------------------------------------

PLAIN = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x512"
CANNY = (
    '"Module: canny, Model: control_canny [e3fe7712], Weight: 0.8, Resize Mode: Crop and Resize, '
    "Processor Res: 512, Threshold A: 100.0, Threshold B: 200.0, Guidance Start: 0.0, "
    'Guidance End: 0.9, Pixel Perfect: False, Control Mode: Balanced"'
)
BASE = {
    "method": "words",
    "prompt": "a man",
    "negative_prompt": "",
    "num_images": 1,
    "num_inference_steps": 20,
    "guidance_scale": 7.0,
    "seed": 5,
    "size_px": 512,
}
EDGES = {"method": "edges", "scale": 0.8, "start": 0.0, "end": 0.9, "guess_mode": False}
EDGES |= {"low_threshold": 100.0, "high_threshold": 200.0}
# Text -> what differs from BASE, and words of a note.
TEXTS = {
    "plain": (f"a man\n{PLAIN}", {}, "Euler a"),
    "negative": (
        f"a man\nNegative prompt: hat, glasses\n{PLAIN}, Model hash: 31e35c80fc, Model: sd_xl_base",
        {"negative_prompt": "hat, glasses"},
        "sd_xl_base",
    ),
    "lines": (
        f"a man,\nsmiling: very\nNegative prompt: hat\nand tie\n{PLAIN}",
        {"prompt": "a man,\nsmiling: very", "negative_prompt": "hat\nand tie"},
        "Euler",
    ),
    "lora": (
        f"a man <lora:jrdnpl:0.8> smiling\n{PLAIN}, Lora hashes: \"jrdnpl: 5f2b, a: 12\"",
        {"prompt": "a man smiling"},
        "jrdnpl at 0.8",
    ),
    "photo": (f"a man\n{PLAIN}, Denoising strength: 0.45, Mask blur: 4",
              {"method": "photo", "strength": 0.45}, "Euler"),
    "hires": (f"a man\n{PLAIN}, Denoising strength: 0.5, Hires upscale: 2, Hires steps: 10",
              {}, "two passes"),
    "canny": (f"a man\n{PLAIN}, ControlNet 0: {CANNY}, Version: v1.10.1", EDGES, "Euler"),
    "portrait format": (
        f"a man\n{PLAIN.replace('512x512', '832x1216')}, Schedule type: Karras",
        {"size_px": 1216},
        "832x1216",
    ),
    "quoted": (
        f'a man\n{PLAIN.replace("7", "4.5")}, Template: "a, b: c\\nd", Seed resize from: 0x0, '
        "Clip skip: 2, ENSD: 31337, Eta: 0.67",
        {"guidance_scale": 4.5},
        "Euler",
    ),
    "empty prompt": (f"Negative prompt: hat\n{PLAIN}", {"prompt": "", "negative_prompt": "hat"},
                     "Euler"),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_texts_of_automatic1111_are_read_whole(name):
    text, different, note = TEXTS[name]
    settings, notes = read_parameters_text(text)
    assert settings == {**BASE, **different}
    assert any(note in each for each in notes)
    screen_of_parameters(**{**settings, "prompt": settings["prompt"] or "a man"})


def test_a_setting_out_of_range_is_left_out_and_told():
    settings, notes = read_parameters_text(
        f"a man\n{PLAIN.replace('Seed: 5', 'Seed: 99999999999')}"
    )
    assert "seed" not in settings and any("seed" in note for note in notes)


def test_a_screen_with_another_method_forgets_what_it_does_not_use():
    words = shown_parameters(replace(FULL, method="words", vary={}, training=None))
    assert not {"scale", "low_threshold", "photo_file", "strength", "vary"} & set(words)
    assert json.dumps(words)


def test_photos_that_do_not_speak_are_no_part_of_the_command():
    silent = replace(FULL, person=Person(photos_in_prompt=False, person_scale=0.9))
    assert not {"photos_in_prompt", "person_scale"} & set(shown_parameters(silent))
    for wrong in ({"person_scale": 3}, {"photos_in_prompt": "yes"}):
        with pytest.raises(UsageError):
            screen_of_parameters(**wrong)
