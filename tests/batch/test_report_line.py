"""The line at the end of a notebook."""

from __future__ import annotations

import re
import sys
from types import ModuleType

import pytest
from PIL import Image

import portraitlib as pl
from portraitlib import cost, places


def save(folder, count=2, **recipe):
    picture = Image.new("RGB", (8, 8))
    portraits = [pl.Portrait(picture, {"device": "cpu", **recipe}) for _ in range(count)]
    return pl.save_results(folder, portraits, {"likeness": 0.5})


def test_it_says_what_was_made_where_how_long_it_took_and_what_comes_next(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    folder = save("runs/03_dreambooth")
    (folder / "jrdnpl.safetensors").write_bytes(b"")
    pl.report("runs/03_dreambooth", "04_class_images")
    assert re.fullmatch(
        r"03_dreambooth: 2 portraits, 1 figure and 1 adapter in runs/03_dreambooth, "
        r"[\d.]+ (s|min|h) after the kernel started, on cpu, \$0; next: 04_class_images\n",
        capsys.readouterr().out,
    )


def test_a_card_with_a_rate_has_a_price(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(cost.RATES, "t4", cost.Rate("T4", 3600.0, "2026-12-01", "nobody"))
    pl.report(save(tmp_path, count=1, device="cuda", card="Tesla T4"))
    told = capsys.readouterr().out
    assert re.search(r"1 portrait and 1 figure in .* on Tesla T4, \$\d+\.\d\d\n$", told)


def test_nothing_saved_is_a_mistake(tmp_path):
    with pytest.raises(pl.UsageError, match=r"results\.json"):
        pl.report(tmp_path)


def test_in_colab_it_warns_of_a_folder_that_will_be_lost(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "google.colab", ModuleType("google.colab"))
    monkeypatch.setattr(places, "CONTENT", tmp_path)
    monkeypatch.setattr(places, "DRIVE", tmp_path / "drive/MyDrive")
    monkeypatch.chdir(tmp_path)
    pl.report(save("runs/01_words"))
    assert "mount Drive" in capsys.readouterr().out
    (tmp_path / "drive/MyDrive").mkdir(parents=True)
    pl.report(save("runs/01_words"))
    told = capsys.readouterr().out
    assert "mount Drive" not in told and "drive/MyDrive/portraitlib/runs/01_words" in told
