"""An optimizer's memory by way of a checkpoint, bit for bit."""

from __future__ import annotations

import copy

import pytest
import torch

from portraitlib.settings import UsageError
from portraitlib.training.checkpoints import (
    load_optimizer,
    newest_checkpoint,
    open_run,
    optimizer_tensors,
    save_checkpoint,
)

NAMES = ["first.weight", "first.bias", "second"]


def parameters() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 4), (4,), (2, 2, 3, 3))
    return [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]


def train(trained: list[torch.nn.Parameter], optimizer: torch.optim.Optimizer, steps: range):
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for each in trained:
            each.grad = torch.randn(each.shape, generator=generator).to(each.dtype)
        optimizer.step()


def eight_bit(trained):
    bitsandbytes = pytest.importorskip("bitsandbytes")
    return bitsandbytes.optim.AdamW8bit(trained, min_8bit_size=1)


def prodigy(trained):
    return pytest.importorskip("prodigyopt").Prodigy(trained, use_bias_correction=True)


OPTIMIZERS = {
    "AdamW": lambda trained: torch.optim.AdamW(trained, lr=1e-2),
    "two groups": lambda trained: torch.optim.AdamW(
        [{"params": trained[:2], "lr": 1e-3}, {"params": trained[2:]}], amsgrad=True
    ),
    "fused": lambda trained: torch.optim.AdamW(trained, fused=True),
    "8-bit": eight_bit,
    "Prodigy": prodigy,
    "rate as a tensor": lambda trained: torch.optim.AdamW(
        trained, lr=torch.tensor(1e-2), foreach=False
    ),
    "momentum, not begun": lambda trained: torch.optim.SGD(trained, lr=1e-2, momentum=0.9),
}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_training_goes_on_as_if_it_had_not_been_interrupted(tmp_path, kind):
    trained = parameters()
    optimizer = OPTIMIZERS[kind](trained)
    train(trained, optimizer, range(0 if "not begun" in kind else 5))
    remembered, state = optimizer_tensors(optimizer, NAMES)
    weights = dict(zip(NAMES, trained, strict=True))
    with open_run(tmp_path, {}):
        save_checkpoint(tmp_path, 5, {**remembered, **weights}, {"optimizer": state})
    train(trained, optimizer, range(5, 12))

    found = newest_checkpoint(tmp_path)
    again = parameters()
    for name, each in zip(NAMES, again, strict=True):
        each.data.copy_(found.tensors[name])
    restored = OPTIMIZERS[kind](again)
    load_optimizer(restored, NAMES, found.tensors, found.state["optimizer"])
    before = copy.deepcopy(found.tensors)
    train(again, restored, range(5, 12))

    assert all(torch.equal(*pair) for pair in zip(trained, again, strict=True))
    expected, expected_state = optimizer_tensors(optimizer, NAMES)
    got, got_state = optimizer_tensors(restored, NAMES)
    assert got_state == expected_state
    assert got.keys() == expected.keys()
    for name in got:
        assert got[name].dtype == expected[name].dtype
        assert torch.equal(got[name], expected[name]), name
    assert all(torch.equal(before[name], found.tensors[name]) for name in before)


def test_other_parameters_are_refused_by_name():
    trained = parameters()
    optimizer = torch.optim.AdamW(trained)
    train(trained, optimizer, range(2))
    tensors, state = optimizer_tensors(optimizer, NAMES)
    with pytest.raises(UsageError, match=r"parameters: got \['a', 'b', 'c'\]"):
        load_optimizer(optimizer, ["a", "b", "c"], tensors, state)
    assert optimizer.state[trained[2]]["step"] == 2
