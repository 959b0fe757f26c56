"""The `portraitlib` command: mistakes are one line and exit code 2; the rest works."""

from __future__ import annotations

from pathlib import Path

import pytest

import portraitlib as pl
from portraitlib import cli

MISTAKES = {
    "no command": [],
    "an unknown command": ["paint"],
    "no prompt": ["generate"],
    "steps that are no number": ["generate", "a man", "--steps", "many"],
    "no steps": ["generate", "a man", "--steps", "0"],
    "a million steps": ["generate", "a man", "--steps", "1000000"],
    "guidance that is not a number": ["generate", "a man", "--guidance-scale", "nan"],
    "a size that is not divisible": ["generate", "a man", "--size-px", "100"],
    "no images": ["generate", "a man", "--num-images", "0"],
    "an unknown model": ["generate", "a man", "--model", "mimi"],
    "an empty prompt": ["generate", "  ", "--model", "mini"],
    "no folder of photos": ["photos", "missing"],
    "a sheet that is no png": ["photos", ".", "--output", "sheet.jpg"],
    "portraits of no folder": ["portrait", "missing", "--model", "mini"],
    "a slip in a style": ["portrait", "--model", "mini", "--style", "comci book"],
    "no portrait to keep": ["portrait", "--model", "mini", "--keep", "0"],
    "an adapter that is not there": ["portrait", "--model", "mini", "--adapter", "me.safetensors"],
    "no minutes": ["portrait", "--model", "mini", "--minutes", "-1"],
    "no portrait to draw again": ["portrait", "--model", "mini", "--again", "nothing.png"],
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(mistake, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        code = cli.main(MISTAKES[mistake])
    except SystemExit as stopped:  # argparse leaves this way
        code = stopped.code
    output = capsys.readouterr()
    told = [line for line in output.err.splitlines() if line.startswith("portraitlib")]
    assert code == 2 and len(told) == 1, output.err
    assert "Traceback" not in output.err and output.out == ""
    assert list(tmp_path.rglob("*")) == []


def test_a_folder_that_cannot_be_written_to_is_told_before_drawing(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    code = cli.main(["generate", "a man", "--model", "mini", "--output", str(tmp_path / "file/x")])
    error = capsys.readouterr().err
    assert code == 2 and "cannot be written to" in error and error.count("\n") == 1


def test_version_is_the_installed_one(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"portraitlib {pl.__version__}\n"


def test_generate_saves_portraits_and_prints_their_paths(capsys, tmp_path):
    command = ["generate", "A man, smiling!", "--model", "mini", "--steps", "2", "--seed", "5"]
    command += ["--num-images", "2", "--output", str(tmp_path / "out")]
    assert cli.main(command) == 0
    paths = capsys.readouterr().out.split()
    assert paths == [str(tmp_path / f"out/a-man-smiling-{seed}.png") for seed in (5, 6)]
    recipe = pl.Portrait.open(paths[1]).recipe
    assert (recipe["seed"], recipe["num_inference_steps"]) == (6, 2)
    assert cli.main(command) == 0
    assert "a-man-smiling-5-2.png" in capsys.readouterr().out, "earlier pictures are kept"


# --- portraits to choose from --------------------------------------------------------------------


def test_portraits_are_made_and_one_that_pleased_is_drawn_once_more(tmp_path, capsys):
    out = tmp_path / "portraits of me"
    asked = ["portrait", "--model", "mini", "--quick", "--style", "photorealistic", "--keep", "1"]
    assert cli.main([*asked, "--output", str(out)]) == 0
    said = capsys.readouterr().out
    assert "portraits kept, " in said and f"open {out / 'index.html'}" in said
    (kept,) = (out / "portraits").iterdir()
    again = ["portrait", "--model", "mini", "--again", str(kept), "--seed", "5"]
    assert cli.main([*again, "--output", str(out)]) == 0
    path = Path(capsys.readouterr().out.strip())
    assert pl.Portrait.open(path).recipe["seed"] == 5 and path.parent == out / "again"
    assert cli.main([*asked, "--output", str(out)]) == 0 and path.is_file()


def test_a_budget_that_is_spent_hands_over_and_says_so(tmp_path, capsys):
    asked = ["portrait", "--model", "mini", "--quick", "--minutes", "0.0001"]
    assert cli.main([*asked, "--output", str(tmp_path / "run")]) == 3
    told = capsys.readouterr()
    assert (tmp_path / "run" / "index.html").is_file() and "used up" in told.err
