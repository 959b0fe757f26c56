"""What every training of the recipe shares: Muon, averaged weights, state on disk, the loop."""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

STATE = "PORTRAITLIB_STATE"
SAY_S, SAVE_S, SHEET_S = 60.0, 240.0, 900.0  # between two lines, two saved states, two sheets


def orthogonal(matrix: torch.Tensor, rounds: int = 5) -> torch.Tensor:
    """The matrix with its singular values brought near 1, by Newton and Schulz's iteration."""
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = x / (x.norm() + 1e-7)
    for _ in range(rounds):
        square = x @ x.T
        x = 3.4445 * x + torch.addmm(square, square, square, beta=-4.7750, alpha=2.0315) @ x
    return x if wide else x.T


class Muon(torch.optim.AdamW):
    """Muon (Jordan et al. 2024) for the matrices of a network, AdamW for the rest.

    A step goes equally far along every direction of a matrix, so that rare words move the weights
    as much as common ones do. A convolution is a matrix with a row for each of its outputs. Scaled
    as by Liu et al. (2025), so that one rate serves both.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        ends: tuple[str, ...],
        *,
        bfloat16: bool = False,
        **settings: Any,
    ) -> None:
        """`ends`: how the names of layers begin that touch data, not features; AdamW has them."""
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        matrices = [p for name, p in named if p.ndim > 1 and not name.startswith(ends)]
        rest = [p for name, p in named if p.ndim == 1 or name.startswith(ends)]
        groups = [{"params": matrices, "muon": True}, {"params": rest, "muon": False}]
        super().__init__(groups, fused=True, **settings)
        self.dtype = torch.bfloat16 if bfloat16 else torch.float32

    def __setstate__(self, state: dict[str, Any]) -> None:
        # AdamW's own looks for its counters in every parameter's state.
        torch.optim.Optimizer.__setstate__(self, state)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        group = self.param_groups[0]
        for p in group["params"]:
            if p.grad is None:
                continue
            momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
            momentum.mul_(0.95).add_(p.grad)
            matrix = p.grad.add(momentum, alpha=0.95).flatten(1)
            update = orthogonal(matrix.to(self.dtype)).reshape(p.shape)
            p.mul_(1 - group["lr"] * group["weight_decay"])
            p.add_(update.to(p), alpha=-group["lr"] * 0.2 * max(matrix.shape) ** 0.5)
            p.grad = None
        return super().step(closure)


@dataclass
class Average:
    """An exponential moving average of a module's weights, slow only once it has seen enough."""

    module: torch.nn.Module
    decay: float = 0.999
    steps: int = 0
    weights: dict[str, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.weights:
            self.weights = {k: v.detach().clone() for k, v in self.module.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        state = self.module.state_dict()
        names = [k for k, v in self.weights.items() if v.is_floating_point()]
        torch._foreach_lerp_([self.weights[k] for k in names], [state[k] for k in names], 1 - keep)

    @contextmanager
    def in_place(self) -> Any:
        """Lend the averaged weights to the module, and take them back."""
        own = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
        was_training = self.module.training
        self.module.load_state_dict(self.weights)
        self.module.eval()
        try:
            with torch.no_grad():
                yield self.module
        finally:
            self.module.load_state_dict(own)
            self.module.train(was_training)


def save_state(
    folder: Path, module: torch.nn.Module, average: Average, optimizer: Any, note: dict[str, Any]
) -> None:
    """Write weights, average, optimizer and, last, a note: only a whole state has one."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"module.{k}": v for k, v in module.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.weights.items()}
    for i, entry in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{k}": torch.as_tensor(v) for k, v in entry.items()}
    tensors = {k: v.detach().contiguous().cpu().clone() for k, v in tensors.items()}
    name = f"state-{note['step']:07d}.safetensors"
    save_file(tensors, folder / (name + ".part"))
    (folder / (name + ".part")).rename(folder / name)
    note = {**note, "average_steps": average.steps, "file": name}
    (folder / "note.part").write_text(json.dumps(note))
    (folder / "note.part").rename(folder / "note.json")
    for old in folder.glob("state-*.safetensors"):
        if old.name != name:
            old.unlink()


def load_state(
    folder: Path, module: torch.nn.Module, average: Average, optimizer: Any | None
) -> dict[str, Any]:
    """Read the last whole state into the parts, if there is one; return its note or {}.

    Without an optimizer, its share of the state is passed over.
    """
    from safetensors.torch import load_file

    if not (folder / "note.json").exists():
        return {}
    note = json.loads((folder / "note.json").read_text())
    tensors = load_file(folder / note["file"])

    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    module.load_state_dict(part("module."))
    places = {k: v.device for k, v in module.state_dict().items()}
    average.weights = {k: v.to(places[k]) for k, v in part("average.").items()}
    average.steps = note["average_steps"]
    entries: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in part("optimizer.").items():
        index, name = key.split(".", 1)
        entries.setdefault(int(index), {})[name] = value
    if optimizer is not None and entries:
        optimizer.load_state_dict({**optimizer.state_dict(), "state": entries})
    return note


def averaged(folder: Path, module: torch.nn.Module) -> dict[str, Any]:
    """Load the averaged weights of the state in `folder` into `module`, ready for use.

    Returns the state's note. Raises FileNotFoundError where there is no state.
    """
    average = Average(module)
    note = load_state(folder, module, average, None)
    if not note:
        raise FileNotFoundError(f"{folder}: no state of a training here; run its stage first")
    module.load_state_dict(average.weights)
    module.eval().requires_grad_(False)
    return note


@dataclass(frozen=True)
class Run:
    """How long and how fast a training goes on.

    rate: of learning, after 100 steps of warming up; `settle`: bring it down to 2 % by the end of
    the minutes, for a set of weights that is to be used; without, the rate stays, and the training
    can go on from there. steps: stop there, whatever the minutes.
    """

    folder: Path
    minutes: float
    rate: float
    settle: bool = False
    bfloat16: bool = True
    average: float = 0.999
    steps: int = 10**9
    device: str = "cpu"
    say_s: float = SAY_S

    def rate_at(self, step: int, elapsed_s: float) -> float:
        up = min(1.0, (step + 1) / 100)
        if not self.settle:
            return self.rate * up
        left = 1 - min(1.0, elapsed_s / (60 * self.minutes))
        return self.rate * up * (0.02 + 0.98 * 0.5 * (1 - math.cos(math.pi * left)))


Losses = Callable[[int], tuple[torch.Tensor, int, dict[str, torch.Tensor]]]


def train(
    run: Run,
    module: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    losses: Losses,
    on_sheet: Callable[[int], None] | None = None,
) -> None:
    """Train for the run's minutes, going on from the state in its folder.

    losses: step -> the loss, the number of samples in it and the figures to show; all that is
    random in it follows from the step, so that a training that was stopped goes on as it would
    have. on_sheet: called with the step every quarter of an hour, the averaged weights in place.
    A first SIGTERM or Ctrl-C saves and stops.
    """
    torch.set_flush_denormal(True)
    average = Average(module, run.average)
    note = load_state(run.folder, module, average, optimizer)
    log = Log(run.folder.name, note.get("step", 0), note.get("samples", 0), note.get("curve", []))
    log.say_s = run.say_s
    began = time.monotonic()
    saved = drawn = began
    until = began + 60 * run.minutes
    with _noted_signals() as stop:
        while time.monotonic() < until and log.step < run.steps and not stop:
            for group in optimizer.param_groups:
                scale = group.get("rate_scale", 1.0)
                group["lr"] = scale * run.rate_at(log.step, time.monotonic() - began)
            with torch.autocast(run.device, torch.bfloat16, enabled=run.bfloat16):
                loss, samples, figures = losses(log.step)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            average.update()
            log(samples, {**figures, "norm": norm})
            now = time.monotonic()
            if now - saved > SAVE_S:
                saved = now
                save_state(run.folder, module, average, optimizer, log.note())
            if on_sheet and now - drawn > SHEET_S:
                drawn = now
                with average.in_place():
                    on_sheet(log.step)
        save_state(run.folder, module, average, optimizer, log.note())
    if on_sheet:
        with average.in_place():
            on_sheet(log.step)


@contextmanager
def _noted_signals() -> Iterator[list[int]]:
    """A list that is empty until the process is asked to end; a second time breaks off."""
    asked: list[int] = []

    def ask(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class Log:
    """A line a minute with the means since the last one, and the curve of them."""

    name: str
    step: int
    samples: int
    curve: list[dict[str, float]]
    say_s: float = SAY_S
    _seen: dict[str, list[torch.Tensor]] = field(default_factory=dict)
    _samples: int = 0
    _since: float = field(default_factory=time.monotonic)

    def __call__(self, samples: int, figures: dict[str, torch.Tensor]) -> None:
        self.step, self.samples = self.step + 1, self.samples + samples
        self._samples += samples
        for key, value in figures.items():  # not every step has every figure
            self._seen.setdefault(key, []).append(value.detach().float())
        passed = time.monotonic() - self._since
        if passed < self.say_s:
            return
        means = {k: round(float(torch.stack(v).mean()), 4) for k, v in self._seen.items()}
        said = "  ".join(f"{k} {v:.4f}" for k, v in means.items())
        rate = self._samples / passed
        print(
            f"{self.name} step {self.step} ({self.samples} samples)  {said}  {rate:.1f}/s",
            flush=True,
        )
        self.curve.append({"step": self.step, "samples": self.samples, **means})
        self._seen, self._samples, self._since = {}, 0, time.monotonic()

    def note(self) -> dict[str, Any]:
        return {"step": self.step, "samples": self.samples, "curve": self.curve}


def options_of(stage: str, description: str | None) -> argparse.ArgumentParser:
    """A parser with what all stages are told: where the state is kept and for how long to run."""
    parser = argparse.ArgumentParser(
        prog=f"python -m recipes.mini.{stage}", description=(description or "").split("\n")[0]
    )
    parser.add_argument(
        "--state",
        type=Path,
        default=os.environ.get(STATE),
        required=STATE not in os.environ,
        help=f"the folder where trainings are kept; default: ${STATE}",
    )
    parser.add_argument("--minutes", type=float, default=30.0, help="how long to train")
    parser.add_argument("--settle", action="store_true", help="let the rate sink to the end")
    parser.add_argument("--threads", type=int, default=1, help="of the processor")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--float32", action="store_true", help="no bfloat16 (see `lscpu`)")
    return parser
