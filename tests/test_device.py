"""Devices that are not here are refused by name; noise depends on the seed and nothing else."""

import pytest
import torch

import portraitlib as pl
from portraitlib import device as devices


def test_without_a_wish_the_best_device_is_taken():
    best = devices.pick_device()
    assert (best.type != "cpu") == devices.has_accelerator()
    assert devices.pick_device("cpu") == torch.device("cpu")
    assert devices.pick_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cpu:7", "", 3, "meta"])
def test_a_device_that_is_not_here_is_refused(name):
    with pytest.raises(pl.UsageError, match="expected one of cpu"):
        devices.pick_device(name)


def test_the_number_type_follows_the_device():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert devices.pick_dtype(cpu, "float16") == torch.float32
    assert devices.pick_dtype(cuda, "float16") == torch.float16
    assert devices.pick_dtype(cpu, "float16", "float32") == torch.float32
    assert devices.pick_dtype(cuda, "float16", "float32") == torch.float32
    for asked in ("float64", "float16", "bfloat16"):
        with pytest.raises(pl.UsageError, match=f"dtype: got '{asked}'.*float32"):
            devices.pick_dtype(cpu, "float16", asked)


def test_bfloat16_by_emulation_is_refused(monkeypatch):
    # Stands in for a T4, which says it has bfloat16 unless emulation is ruled out.
    monkeypatch.setattr(torch.cuda, "device", lambda device: torch.device("cpu"))
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation
    )
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    with pytest.raises(pl.UsageError, match="Tesla T4.*float16"):
        devices.pick_dtype(torch.device("cuda"), "float16", "bfloat16")


def test_noise_of_a_batch_is_the_noise_of_its_seeds():
    shape, cpu = (4, 8, 8), torch.device("cpu")
    batch = devices.seeded_noise(devices.seeded_generators(5, 3), shape, cpu, torch.float32)
    for index in range(3):
        alone = devices.seeded_generators(5 + index, 1)
        assert torch.equal(batch[index], devices.seeded_noise(alone, shape, cpu, torch.float32)[0])
    halves = devices.seeded_noise(devices.seeded_generators(5, 3), shape, cpu, torch.float16)
    assert torch.equal(halves, batch.half())


def test_each_process_of_a_launch_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    picked = []
    for place in ("0", "1", "2", "-1", ""):
        monkeypatch.setenv("LOCAL_RANK", place)
        picked.append(str(devices.pick_device()))
    assert picked == ["cuda:0", "cuda:1", "cuda:0", "cuda", "cuda"]
