"""The figures of the series in one form."""

from __future__ import annotations

import pytest
from PIL import Image

import portraitlib as pl
from portraitlib.measuring.scoreboard import read_scores, score, write_scores
from portraitlib.settings import UsageError


def test_figures_come_back_with_their_intervals_and_notebook(tmp_path):
    portraits = [
        pl.Portrait(Image.effect_noise((64, 64), 30 + 9 * seed), {"seed": seed})
        for seed in range(4)
    ]
    measured = pl.measure(portraits)
    rows = score(measured, "zero-shot", "anime", adapter_scale=0.5)
    write_scores(tmp_path / "03", "03_dreambooth", "mini on cpu", rows)
    write_scores(tmp_path / "04", "04_class_images", "mini on cpu", rows[:1])
    found = read_scores(tmp_path)
    assert len(found) == len(rows) + 1
    assert {row["notebook"] for row in found} == {"03_dreambooth", "04_class_images"}
    sharpness = next(row for row in found if row["figure"] == "sharpness")
    assert sharpness["mean"] == pytest.approx(measured["sharpness"].mean)
    assert (sharpness["low"], sharpness["high"]) == pytest.approx(measured["sharpness"].interval)
    assert sharpness["about"] == {"adapter_scale": 0.5} and sharpness["seeds"] == 4


def test_another_report_in_the_folder_is_passed_over_and_a_later_form_refused(tmp_path):
    (tmp_path / "report.json").write_text('{"notebooks": []}')
    assert read_scores(tmp_path) == []
    (tmp_path / "report.json").write_text('{"form": 2, "rows": []}')
    with pytest.raises(UsageError, match="got form 2, expected 1"):
        read_scores(tmp_path)


def test_a_damaged_report_is_named(tmp_path):
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(UsageError, match="report.json: cannot be read"):
        read_scores(tmp_path)
