"""`portraitlib train`: a settings file, its mistakes, and what comes of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
from PIL import Image
from small_runs import SMALL

import portraitlib as pl
from portraitlib import cli
from portraitlib.models.presets import PRESETS
from portraitlib.settings import CHOICES, RANGES
from portraitlib.training.command import (
    NUMBERS,
    TABLES,
    ClassTable,
    TopTable,
    example_file,
    read_training_file,
)


def written(folder: Path, text: str) -> Path:
    path = folder / "face.toml"
    path.write_text(text, encoding="utf-8")
    return path


# --- the file ------------------------------------------------------------------------------------


def test_a_file_is_read_with_folders_beside_it(tmp_path):
    text = 'photos = "mine"\nout = "run"\n[class_images]\nprompt = "a man"\nfolder = "men"\n'
    asked = read_training_file(written(tmp_path, text + "[dreambooth]\nsnr_gamma = 'none'\n"))
    assert asked.beside(asked.top.photos) == tmp_path / "mine" and asked.out == tmp_path / "run"
    assert asked.class_images == ClassTable("a man", 100, "men")
    assert asked.dreambooth == pl.DreamBooth(snr_gamma=None)
    assert asked.film is None and asked.top.model is None


def test_out_is_named_after_the_file_where_it_says_nothing(tmp_path):
    assert (
        read_training_file(written(tmp_path, SMALL.format(steps=1))).out == tmp_path / "runs/face"
    )


MISTAKES = {
    "no TOML": ("photos = ", "is no TOML"),
    "no photos": ("model = 'mini'", "photos: missing"),
    "an unknown key": ("photo = 'a'", "photo: no such key; did you mean photos?"),
    "an unknown table": ("photos='a'\n[dreamboot]", r"\[dreamboot\]: no such table; did you mean"),
    "an unknown setting": (
        "photos='a'\n[dreambooth]\nlearning_rat = 1e-4",
        r"\[dreambooth\] learning_rat: no such key; did you mean learning_rate",
    ),
    "a setting out of range": (
        "photos='a'\n[dreambooth]\nrank = 0",
        r"\[dreambooth\] rank: got 0, expected a whole number from 1",
    ),
    "two lengths": (
        "photos='a'\n[dreambooth]\nmax_train_steps=3\nnum_train_epochs=3",
        r"\[dreambooth\] got max_train_steps=3",
    ),
    "no class prompt": ("photos='a'\n[class_images]", r"\[class_images\] prompt: missing"),
    "two class prompts": (
        "photos='a'\n[class_images]\nprompt='a man'\n[dreambooth]\nclass_prompt='a man'",
        r"\[dreambooth\] class_prompt: given beside",
    ),
    "a number that is none": (
        "photos='a'\n[film]\nevery = 'often'",
        r"\[film\] every: got 'often', expected a whole number from 1",
    ),
    "a text that is none": ("photos = 3", "photos: expected str, got int"),
    "a key that is a table": ("[photos]", r"\[photos\]: no such table"),
    "trackers that are no list": (
        "photos='a'\ntrackers='tensorboard'",
        "trackers: expected array, got str",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_names_the_file_and_the_key(name, tmp_path, capsys):
    text, told = MISTAKES[name]
    path = written(tmp_path, text)
    assert cli.main(["train", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and re.search(f"{re.escape(str(path))}: {told}", error), error


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", None])
def test_a_file_that_cannot_be_read_is_told(content, tmp_path):
    path = tmp_path / "face.toml"
    if content:
        path.write_bytes(content)
    with pytest.raises(pl.UsageError, match="UTF-8" if content else "train --example > face.toml"):
        read_training_file(path)


# --- the example and the plan --------------------------------------------------------------------


@pytest.mark.parametrize("model", [None, "mini", "sdxl", "somebody/model"])
def test_the_example_can_be_trained_with(model, tmp_path):
    text = example_file(model)
    asked = read_training_file(written(tmp_path, text))
    assert asked.dreambooth == pl.DreamBooth() and asked.film and asked.class_images
    assert asked.top.model == (model or "mini")
    assert max(map(len, text.splitlines())) <= 100


def keys(record: type) -> list[str]:
    return [setting.name for setting in fields(record)]


def test_the_example_has_every_key_with_its_default_and_range():
    text = example_file()
    every = tomllib.loads(re.sub(r"^# (\w+ = )", r"\1", text, flags=re.M))
    top = {name: value for name, value in every.items() if not isinstance(value, dict)}
    assert list(top) == keys(TopTable)
    for name, record in TABLES.items():
        assert list(every[name]) == keys(record)
    plain = {k: None if value == "none" else value for k, value in every["dreambooth"].items()}
    defaults = {setting.name: setting.default for setting in fields(pl.DreamBooth)}
    assert plain == defaults | dict(PRESETS["mini"].training)
    words = " ".join(text.replace("\n# ", " ").split())
    for name in plain.keys() & RANGES.keys():
        assert str(RANGES[name]) in words, name
    for name in plain.keys() & CHOICES.keys():
        assert f"one of {', '.join(CHOICES[name])}" in words, name
    assert all(str(allowed) in words for allowed in NUMBERS.values())
    for name, value in PRESETS["sdxl"].training.items():
        written = str(value).lower() if isinstance(value, bool) else value
        written = f'"{written}"' if isinstance(written, str) and name == "layers" else written
        assert re.search(rf"default mini \S+, sdxl {written} {name} = ", words.replace(" # ", " "))


def test_the_plan_is_a_file_for_all_weights_of_sdxl(tmp_path, capsys):
    plan = tmp_path / "big.toml"
    assert cli.main(["train", "--plan", str(plan)]) == 0
    assert capsys.readouterr().out == f"{plan}\n"
    asked, text = read_training_file(plan), plan.read_text()
    assert (asked.top.model, asked.top.photos) == ("sdxl", "my_photos")
    assert asked.dreambooth.tune == "full" and asked.class_images and asked.film
    assert "accelerate launch" in text and "-m portraitlib.cli train big.toml" in text
    assert cli.main(["train", "--plan", str(plan)]) == 2, "what is there stays"
    assert "is there already" in capsys.readouterr().err


def test_no_file_is_a_mistake_that_says_how_to_get_one(capsys):
    assert cli.main(["train"]) == 2
    assert "portraitlib train --example" in capsys.readouterr().err


# --- a run ---------------------------------------------------------------------------------------


def test_a_training_from_a_file_tells_what_to_use_and_how(tmp_path, capsys):
    text = SMALL.format(steps=2) + "[film]\nevery = 2\nheld_out = 1\n"
    assert cli.main(["train", str(written(tmp_path, text)), "--out", str(tmp_path / "o")]) == 0
    out = capsys.readouterr().out
    plain, kohya = (tmp_path / "o" / f"jrdnpl{end}.safetensors" for end in ("", "-kohya"))
    assert pl.Adapter.open(plain).hash == pl.Adapter.open(kohya).hash
    for told in ("step 2 of 2", "proposed: step 2", str(plain), str(kohya), "with_adapter"):
        assert told in out
    assert {"film.png", "curves.png"} <= {path.name for path in (tmp_path / "o").iterdir()}
    assert Image.open(tmp_path / "o" / "film.png").width > 200


def test_what_cannot_be_trained_with_is_told_before_class_images_are_drawn(tmp_path, capsys):
    text = SMALL.format(steps=2) + '[class_images]\nprompt = "portrait of a woman"\ncount = 900\n'
    assert cli.main(["train", str(written(tmp_path, text))]) == 2
    told = capsys.readouterr()
    assert "none of the words" in told.err and "to draw" not in told.out


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(tmp_path):
    path = written(tmp_path, SMALL.format(steps=100_000))
    command = [sys.executable, "-m", "portraitlib.cli", "train", path.name]
    environment = {**os.environ, "PYTHONPATH": str(Path(pl.__file__).parent.parent)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout and process.stderr
        for line in process.stdout:
            if line.startswith("training in"):
                break
        while not list((tmp_path / "runs/face").glob("step-*")):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        errors = process.stderr.read()
        assert process.wait(60) == 130
    last = errors.strip().splitlines()[-1]
    assert re.search(r"stopped after step \d+ of 100000, saved in .*runs/face", last), errors
    assert last.endswith("to go on: portraitlib train face.toml")
