"""An optimizer's memory by way of a checkpoint, bit for bit."""

from __future__ import annotations

import copy

import pytest
import torch

from portraitlib.settings import UsageError
from portraitlib.training.checkpoints import newest_checkpoint, open_run, save_checkpoint
from portraitlib.training.optimizer_state import load_optimizer, optimizer_tensors

NAMES = ["first.weight", "first.bias", "second"]


def parameters(dtype: torch.dtype = torch.float32) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 4), (4,), (2, 2, 3, 3))
    drawn = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
    drawn[2] = drawn[2].to(memory_format=torch.channels_last)
    return [torch.nn.Parameter(each) for each in drawn]


def train(trained: list[torch.nn.Parameter], optimizer: torch.optim.Optimizer, steps: range):
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for each in trained:
            each.grad = torch.randn(each.shape, generator=generator).to(each.dtype)
        optimizer.step()


class Peculiar(torch.optim.Optimizer):
    """Remembers as 8-bit and learning-rate-free optimizers do: bytes, numbers, tables, nesting."""

    def __init__(self, trained):
        super().__init__(trained, {"lr": 0.1, "d": 1e-6, "betas": (0.9, None), "history": [1.0]})

    def step(self, closure=None):
        for group in self.param_groups:
            group["d"] *= 1.1
            group["history"].append(group["d"])
            for each in group["params"]:
                kept = self.state[each]
                kept["count"] = kept.get("count", 0) + 1
                kept["codes"] = (each.grad * 50).to(torch.int8).view(torch.uint8)
                kept["scales"] = {"absmax": each.grad.abs().amax(), "blocks": [each.grad.sum(), 3]}
                kept["sum"] = kept.get("sum", 0.0) + each.grad.double()
                each.data -= group["d"] * kept["sum"].to(each.dtype)


OPTIMIZERS = {
    "AdamW": lambda trained: torch.optim.AdamW(trained, lr=1e-2),
    "two groups": lambda trained: torch.optim.AdamW(
        [{"params": trained[:2], "lr": 1e-3}, {"params": trained[2:]}], amsgrad=True
    ),
    "fused": lambda trained: torch.optim.AdamW(trained, fused=True),
    "rate as a tensor": lambda trained: torch.optim.AdamW(
        trained, lr=torch.tensor(1e-2), foreach=False
    ),
    "momentum, not begun": lambda trained: torch.optim.SGD(trained, lr=1e-2, momentum=0.9),
    "peculiar": Peculiar,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_training_goes_on_as_if_it_had_not_been_interrupted(tmp_path, kind, dtype):
    trained = parameters(dtype)
    optimizer = OPTIMIZERS[kind](trained)
    train(trained, optimizer, range(0 if "not begun" in kind else 5))
    remembered, state = optimizer_tensors(optimizer, NAMES)
    weights = dict(zip(NAMES, trained, strict=True))
    with open_run(tmp_path, {}) as run:
        save_checkpoint(run, 5, {**remembered, **weights}, {"optimizer": state})
    train(trained, optimizer, range(5, 12))

    found = newest_checkpoint(tmp_path)
    again = parameters(dtype)
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


def test_the_state_keeps_its_number_type_beside_weights_of_another():
    trained = parameters(torch.bfloat16)
    optimizer = Peculiar(trained)
    train(trained, optimizer, range(2))
    tensors, state = optimizer_tensors(optimizer, NAMES)
    load_optimizer(optimizer, NAMES, tensors, state)
    assert optimizer.state[trained[0]]["sum"].dtype == torch.float64
    assert optimizer.param_groups[0]["betas"] == (0.9, None)
    assert optimizer.state[trained[0]]["scales"]["blocks"][1] == 3


def test_another_optimizer_or_other_parameters_are_refused_by_name():
    trained = parameters()
    optimizer = torch.optim.AdamW(trained)
    train(trained, optimizer, range(2))
    tensors, state = optimizer_tensors(optimizer, NAMES)
    with pytest.raises(UsageError, match="optimizer: got SGD, expected AdamW"):
        load_optimizer(torch.optim.SGD(trained), NAMES, tensors, state)
    with pytest.raises(UsageError, match=r"parameters: got \['a', 'b', 'c'\]"):
        load_optimizer(optimizer, ["a", "b", "c"], tensors, state)
    with pytest.raises(UsageError, match="names: got 2, of which 1 differ; expected 3"):
        optimizer_tensors(optimizer, ["a", "a"])
    tensors.pop("optimizer/second/exp_avg")
    with pytest.raises(UsageError, match="no tensor 'optimizer/second/exp_avg'"):
        load_optimizer(optimizer, NAMES, tensors, state)
    assert optimizer.state[trained[2]]["step"] == 2
