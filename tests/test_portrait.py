"""A portrait's file holds its pixels and recipe, for us and for other tools, or is not there."""

import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

import portraitlib as pl
from portraitlib.portrait import parameters_text

RECIPE = {
    "prompt": "portrait of a man, curly hair",
    "negative_prompt": "blurry, dark",
    "seed": 7,
    "num_inference_steps": 25,
    "guidance_scale": 5.0,
    "size_px": 16,
    "scheduler": "EulerDiscreteScheduler",
    "model": "mini",
    "adapter": None,
    "versions": {"portraitlib": "0.1.0"},
    "seconds": 0.25,
}
HARD_PROMPTS = [
    "a man, curly hair: red, (glasses:1.2) \\(no\\)",
    'a man called "Jo", he said: "hi, Steps: 3"',
    "first line\nsecond line, with commas\n\nSteps: 9, Sampler: DDIM, CFG scale: 1, Seed: 2",
    "a man. Negative prompt: nothing\nNegative prompt: nor this",
    "ein Mädchen, 微笑, 🙂, <lora:me:0.8>",
    'ends in a quote"',
]


@pytest.fixture
def portrait():
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return pl.Portrait(Image.fromarray(pixels), RECIPE)


def test_a_file_gives_back_the_same_pixels_and_recipe(portrait, tmp_path):
    path = portrait.save(tmp_path / "new folder" / "one.png")
    assert pl.Portrait.open(path) == portrait
    again = pl.Portrait.open(path).save(tmp_path / "two.png")
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("prompt", [*HARD_PROMPTS, "a lone surrogate \udc80 and a nul \0"])
def test_any_prompt_survives_the_round_trip(portrait, tmp_path, prompt):
    recipe = {**RECIPE, "prompt": prompt, "negative_prompt": prompt}
    path = pl.Portrait(portrait.image, recipe).save(tmp_path / "hard.png")
    assert pl.Portrait.open(path).recipe == recipe


def test_the_parameters_text_is_automatic1111s():
    assert parameters_text(RECIPE) == (
        "portrait of a man, curly hair\n"
        "Negative prompt: blurry, dark\n"
        "Steps: 25, Sampler: Euler, CFG scale: 5, Seed: 7, Size: 16x16, Model: mini, "
        "Version: portraitlib 0.1.0"
    )


@pytest.mark.parametrize("prompt", HARD_PROMPTS)
def test_an_independent_reader_finds_prompt_and_settings(portrait, tmp_path, prompt):
    sd_parsers = pytest.importorskip("sd_parsers")
    recipe = {**RECIPE, "prompt": prompt, "negative_prompt": "dark: " + prompt}
    path = pl.Portrait(portrait.image, recipe).save(tmp_path / "a1111.png")

    read = sd_parsers.ParserManager().parse(path)

    # The reader's own marker inside a prompt is the one thing that has to be spelt otherwise.
    spelt = prompt.replace("Negative prompt:", "Negative prompt :")
    assert [found.value for found in read.prompts] == [spelt]
    assert [found.value for found in read.negative_prompts] == ["dark: " + spelt]
    (sampler,) = read.samplers
    assert sampler.name == "Euler"
    assert sampler.parameters["steps"] == "25"
    assert sampler.parameters["cfg_scale"] == "5"
    assert sampler.parameters["seed"] == "7"
    assert sampler.model.name == "mini"
    assert read.metadata["Size"] == "16x16"


def test_the_file_is_marked_as_made_by_a_trained_model(portrait, tmp_path):
    with Image.open(portrait.save(tmp_path / "marked.png")) as opened:
        packet = ElementTree.fromstring(opened.text["XML:com.adobe.xmp"])
    tag = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
    assert packet.find(f".//{tag}").text.endswith("/digitalsourcetype/trainedAlgorithmicMedia")


def test_a_picture_of_another_tool_is_named_as_such(portrait, tmp_path):
    portrait.image.save(tmp_path / "bare.png")
    with pytest.raises(pl.UsageError, match="no portraitlib recipe"):
        pl.Portrait.open(tmp_path / "bare.png")


def test_a_file_that_is_no_whole_png_is_one_clear_line(portrait, tmp_path):
    whole = portrait.png_bytes()
    portrait.image.save(tmp_path / "photo.jpg")
    contents = {
        "empty.png": b"",
        "text.png": b"this is no picture",
        "renamed.png": (tmp_path / "photo.jpg").read_bytes(),
        "damaged.png": whole[:900] + bytes(50) + whole[950:],
        **{f"cut{size}.png": whole[:size] for size in range(8, len(whole) - 12, 37)},
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for name in [*contents, "missing.png", "."]:
        with pytest.raises(pl.UsageError) as refusal:
            pl.Portrait.open(tmp_path / name)
        assert "\n" not in str(refusal.value)
        assert name in str(refusal.value) or name == "."


@pytest.mark.parametrize("name", ["one.jpg", "one.webp", "one", ".png"])
def test_only_png_is_written(portrait, tmp_path, name):
    with pytest.raises(pl.UsageError, match=r"\.png"):
        portrait.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written_one_line_says_so(portrait, tmp_path):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder.png").mkdir()
    places = [tmp_path / "file" / "x.png", tmp_path / "folder.png", tmp_path / ("x" * 300 + ".png")]
    if sys.platform == "linux":
        places.append("/proc/x.png")  # read-only for everybody, root too
    for place in places:
        with pytest.raises(pl.UsageError) as refusal:
            portrait.save(place)
        assert "\n" not in str(refusal.value) and "cannot be written" in str(refusal.value)
    assert sorted(found.name for found in tmp_path.iterdir()) == ["file", "folder.png"]


def test_a_full_disk_leaves_the_old_file_whole(portrait, tmp_path, largest_file):
    path = portrait.save(tmp_path / "kept.png")
    before = path.read_bytes()
    larger = pl.Portrait(portrait.image.resize((256, 256)), {"prompt": "larger"})
    with largest_file(1000), pytest.raises(pl.UsageError, match="cannot be written"):
        larger.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_portrait_shows_itself_in_a_notebook(portrait):
    assert portrait._repr_png_().startswith(b"\x89PNG")
