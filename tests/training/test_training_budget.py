"""What a training costs, and that it stops where its budget is used up."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_runs import SMALL

import portraitlib as pl
from portraitlib import cli, cost
from portraitlib.settings import check_record
from portraitlib.training.checkpoints import (
    History,
    Progress,
    list_checkpoints,
    newest_checkpoint,
)

NO_TIME = pl.Budget(seconds=1e-6)


@pytest.fixture
def rented(monkeypatch):
    """A processor that costs 36 dollars an hour: a cent a second."""
    monkeypatch.setitem(cost.RATES, "cpu", cost.Rate("cpu", 36.0, "2026-12-01", "nobody"))


def train(model, photos, settings, folder, **given):
    return pl.train_dreambooth(model, photos, settings, folder=folder, trackers=(), **given)


def test_a_spent_budget_stops_after_a_save_and_a_larger_one_goes_on_bit_for_bit(
    mini, three_photos, quick, tmp_path
):
    settings = quick(max_train_steps=4, save_every_steps=2)
    whole = train(mini, three_photos, settings, tmp_path / "whole")
    told = "the budget of 0.0 s is used up.*; step 2 of 4 is saved in .*stopped; run the same again"
    for _ in range(2):  # once at the save, once before the first step
        with pytest.raises(pl.BudgetSpent, match=told):
            train(mini, three_photos, settings, tmp_path / "stopped", budget=NO_TIME)
        assert list_checkpoints(tmp_path / "stopped") == (2,)
    went_on = train(
        mini, three_photos, settings, tmp_path / "stopped", budget=pl.Budget(seconds=1e6)
    )
    assert all(torch.equal(went_on.tensors[name], whole.tensors[name]) for name in whole.tensors)
    ready = train(mini, three_photos, settings, tmp_path / "stopped", budget=NO_TIME)
    assert ready.hash == whole.hash, "what is complete costs nothing more"


def test_it_is_asked_every_ten_steps_though_nothing_is_to_be_saved_there(
    mini, three_photos, quick, tmp_path
):
    settings = quick(max_train_steps=12, save_every_steps=100)
    with pytest.raises(pl.BudgetSpent, match="step 10 of 12 is saved"):
        train(mini, three_photos, settings, tmp_path, budget=NO_TIME)
    assert list_checkpoints(tmp_path) == (10,)


def test_the_last_step_is_the_end_whatever_it_cost(mini, three_photos, quick, tmp_path):
    adapter = train(mini, three_photos, quick(max_train_steps=1), tmp_path, budget=NO_TIME)
    assert adapter.recipe["step"] == 1


def test_dollars_are_seconds_at_the_rate_of_the_device_film_and_earlier_runs_included(
    mini, three_photos, quick, tmp_path, rented
):
    told: list[Progress] = []

    def stop(progress):
        told.append(progress)
        if progress.step == 2:
            raise RuntimeError("enough")

    settings = quick(max_train_steps=4, save_every_steps=2)
    with pytest.raises(RuntimeError, match="enough"):
        train(mini, three_photos, settings, tmp_path, on_step=stop)
    first_s = newest_checkpoint(tmp_path).state["history"]["spent_s"]["cpu"]
    adapter = train(mini, three_photos, settings, tmp_path, on_step=told.append)
    recipe = adapter.recipe
    total = check_record("recipe", recipe, History).cost
    assert total.seconds > first_s + (recipe["seconds"] - told[0].seconds)
    assert total.seconds > recipe["seconds"], "encoding and saving took time, too"
    assert recipe["dollars"] == total.dollars == pytest.approx(total.seconds * 0.01)
    assert (recipe["card"], total.device) == ("cpu", "cpu")
    assert 0.2 < recipe["peak_memory_gb"] < 20
    assert 0 < told[0].dollars < told[-1].dollars <= recipe["dollars"]
    assert pl.Adapter.open(tmp_path / "adapter.safetensors").recipe["dollars"] == recipe["dollars"]


def test_a_budget_in_dollars_stops_and_one_without_a_rate_is_refused_at_once(
    mini, three_photos, quick, tmp_path, rented, monkeypatch
):
    settings = quick(max_train_steps=4, save_every_steps=2)
    with pytest.raises(pl.BudgetSpent, match=r"the budget of \$0.001 is used up: .* on cpu"):
        train(mini, three_photos, settings, tmp_path / "run", budget=pl.Budget(dollars=0.001))
    monkeypatch.delitem(cost.RATES, "cpu")
    with pytest.raises(pl.UsageError, match="no rate is known of cpu"):
        train(mini, three_photos, settings, tmp_path / "none", budget=pl.Budget(dollars=1))
    assert not (tmp_path / "none").exists()


def test_progress_shows_dollars_where_a_rate_is_known():
    now = Progress(10, 100, 0.5, 20.0, 180.0, {"likeness": 0.42}, 0.034)
    assert str(now) == "step 10 of 100, loss 0.5000, 20 s, 180 s left, $0.034, likeness 0.42"
    assert "$" not in str(replace(now, dollars=None))


def test_each_device_has_its_own_rate():
    both = History(1, spent_s={"Tesla T4": 1800.0, "NVIDIA L4": 1800.0}).cost
    assert both.dollars == pytest.approx((0.119 + 0.171) / 2)
    assert both.device == "Tesla T4, NVIDIA L4"


# --- from a shell --------------------------------------------------------------------------------


def test_a_settings_file_has_a_budget_and_ends_with_3(tmp_path):
    path = tmp_path / "face.toml"
    path.write_text("budget_seconds = 1\n" + SMALL.format(steps=100_000))
    done = subprocess.run(
        [sys.executable, "-m", "portraitlib.cli", "train", path.name],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(pl.__file__).parent.parent)},
    )
    assert done.returncode == 3, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert re.search(r"the budget of 1.0 s is used up: .*step \d+ of 100000 is saved in", last)
    assert last.endswith("; to go on: raise its budget, then portraitlib train face.toml")
    assert list_checkpoints(tmp_path / "runs/face")


@pytest.mark.parametrize("line", ["budget_dollars = 0", "budget_seconds = -1"])
def test_a_budget_that_is_none_is_refused(line, tmp_path, capsys):
    path = tmp_path / "face.toml"
    path.write_text(f"photos = 'a'\n{line}\n")
    assert cli.main(["train", str(path)]) == 2
    assert "expected a" in capsys.readouterr().err
