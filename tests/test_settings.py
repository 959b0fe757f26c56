"""Settings refuse what cannot work, in one line that helps, and importing stays light."""

import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest

import portraitlib as pl
from portraitlib.settings import RANGES, check_number


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_inference_steps", 0),
        ("num_inference_steps", 1_000_000),
        ("num_inference_steps", 2.5),
        ("num_inference_steps", "25"),
        ("guidance_scale", float("nan")),
        ("guidance_scale", float("inf")),
        ("guidance_scale", -1),
        ("guidance_scale", "high"),
        ("size_px", 130),
        ("size_px", 0),
        ("size_px", 8192),
        ("seed", -1),
        ("seed", 2**32),
        ("seed", 10**400),
        ("seed", None),
        ("seed", True),
        ("num_images", 0),
        ("num_images", 257),
        ("num_images", float("nan")),
        ("negative_prompt", None),
        ("negative_prompt", ["blurry"]),
    ],
)
def test_a_value_that_cannot_work_is_refused_in_one_helpful_line(name, value):
    with pytest.raises(pl.UsageError) as refusal:
        pl.Sampling(**{name: value})
    message = str(refusal.value)
    assert "\n" not in message
    assert f"Sampling.{name}" in message
    assert repr(value) in message
    assert "expected" in message and "try" in message


def test_the_ends_of_every_range_are_allowed():
    sampled = {setting.name for setting in fields(pl.Sampling)}
    for name, allowed in RANGES.items():
        for value in (allowed.low, allowed.high, allowed.example):
            assert check_number("settings", name, value, allowed) == value
            if name in sampled:
                assert getattr(pl.Sampling(**{name: value}), name) == value


def test_the_seeds_of_a_batch_must_all_fit():
    with pytest.raises(pl.UsageError, match="num_images=2"):
        pl.Sampling(seed=2**32 - 1, num_images=2)


def test_numpy_numbers_become_plain_numbers():
    sampling = pl.Sampling(seed=np.int64(3), guidance_scale=np.float32(4), size_px=128.0)
    assert type(sampling.seed) is int
    assert type(sampling.guidance_scale) is float
    assert type(sampling.size_px) is int


def test_unset_values_wait_for_the_model():
    sampling = pl.Sampling()
    assert sampling.num_inference_steps is sampling.guidance_scale is sampling.size_px is None


def test_importing_is_light_and_loads_no_torch():
    check = (
        "import sys, time; start = time.process_time(); import portraitlib;"
        "seconds = time.process_time() - start;"
        "heavy = {'torch', 'diffusers', 'transformers', 'numpy', 'PIL', 'matplotlib'};"
        "print(sorted(heavy & set(sys.modules)), seconds);"
        "assert not heavy & set(sys.modules); assert seconds < 0.3"
    )
    finished = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_unknown_names_are_ordinary_attribute_errors():
    with pytest.raises(AttributeError, match="load_modle"):
        _ = pl.load_modle


def test_every_exported_name_is_there():
    for name in pl.__all__:
        assert getattr(pl, name) is not None
    assert set(pl.__all__) <= set(dir(pl))


def test_a_function_keeps_its_name_when_the_module_of_that_name_is_imported():
    check = (
        "import portraitlib.measuring.sweep, portraitlib as pl;"
        "from portraitlib.measuring.sweep import SweepTable;"
        "assert not hasattr(pl.sweep, '__path__') and callable(pl.sweep);"
        "assert pl.SweepTable is SweepTable"
    )
    finished = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
