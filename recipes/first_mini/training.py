"""What every training of the recipe shares: averaged weights, the rate, and state on disk."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist


def rate_at(step: int, steps: int, warmup: int = 100, decay: float = 0.3) -> float:
    """The learning rate's factor: up over `warmup` steps, flat, then to 2 % over the last `decay`.

    A flat middle lets a training be extended: only the end has to be run again.
    """
    up = min(1.0, (step + 1) / warmup)
    left = (steps - step) / max(1, decay * steps)
    return up * (0.02 + 0.98 * 0.5 * (1 - math.cos(math.pi * min(1.0, left))))


def orthogonal(matrix: torch.Tensor, rounds: int = 5) -> torch.Tensor:
    """The matrix with its singular values brought near 1, by Newton and Schulz's iteration."""
    x = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = x / (x.norm() + 1e-7)
    for _ in range(rounds):
        square = x @ x.T
        x = 3.4445 * x + torch.addmm(square, square, square, beta=-4.7750, alpha=2.0315) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T


class Muon(torch.optim.AdamW):
    """Muon (Jordan et al. 2024) for the matrices of a network, AdamW for the rest.

    A step goes equally far along every direction of a matrix, so that rare words move the weights
    as much as common ones do. A convolution is a matrix with a row for each of its outputs. Scaled
    as by Liu et al. (2025), so that one rate serves both. The processes of a training share out
    the work.
    """

    def __init__(self, module: torch.nn.Module, ends: tuple[str, ...], **settings: Any) -> None:
        """`ends`: how the names of layers begin that touch data, not features; AdamW has them."""
        named = list(module.named_parameters())
        matrices = [p for name, p in named if p.ndim > 1 and not name.startswith(ends)]
        rest = [p for name, p in named if p.ndim == 1 or name.startswith(ends)]
        groups = [{"params": matrices, "muon": True}, {"params": rest, "muon": False}]
        super().__init__(groups, fused=True, **settings)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # AdamW's own looks for its counters in every parameter's state.
        torch.optim.Optimizer.__setstate__(self, state)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        group = self.param_groups[0]
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        moved = [p for p in group["params"] if p.grad is not None]
        updates = [torch.zeros(p.shape, device=p.device) for p in moved]
        work = [0] * world
        for p, update in zip(moved, updates, strict=True):
            momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
            momentum.mul_(0.95).add_(p.grad)
            mine = work.index(min(work))
            work[mine] += p.numel() * min(len(p), p[0].numel())
            if mine == rank:
                matrix = p.grad.add(momentum, alpha=0.95).flatten(1)
                update.copy_(orthogonal(matrix).reshape(p.shape))
                update.mul_(0.2 * max(matrix.shape) ** 0.5)
            p.grad = None
        if world > 1:
            flat = torch.nn.utils.parameters_to_vector(updates)
            dist.all_reduce(flat)
            torch.nn.utils.vector_to_parameters(flat, updates)
        torch._foreach_mul_(moved, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(moved, updates, alpha=-group["lr"])
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
    note = {**note, "average_steps": average.steps}
    name = f"state-{note['step']:07d}.safetensors"
    save_file(tensors, folder / (name + ".part"))
    (folder / (name + ".part")).rename(folder / name)
    (folder / "note.part").write_text(json.dumps({**note, "file": name}))
    (folder / "note.part").rename(folder / "note.json")
    for old in folder.glob("state-*.safetensors"):
        if old.name != name:
            old.unlink()


def load_state(
    folder: Path, module: torch.nn.Module, average: Average, optimizer: Any
) -> dict[str, Any]:
    """Read the last whole state into the parts, if there is one; return its note or {}."""
    from safetensors.torch import load_file

    if not (folder / "note.json").exists():
        return {}
    note = json.loads((folder / "note.json").read_text())
    tensors = load_file(folder / note["file"])

    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    module.load_state_dict(part("module."))
    device = next(module.parameters()).device
    average.weights = {k: v.to(device) for k, v in part("average.").items()}
    average.steps = note["average_steps"]
    entries: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in part("optimizer.").items():
        index, name = key.split(".", 1)
        entries.setdefault(int(index), {})[name] = value
    whole = optimizer.state_dict()
    if entries:
        optimizer.load_state_dict({**whole, "state": entries})
    return note


@dataclass
class Progress:
    """One line every `every` seconds, and the curve of what was logged."""

    what: str
    steps: int
    every_s: float = 20.0
    curve: list[dict[str, float]] = field(default_factory=list)
    _started: float = field(default_factory=time.monotonic)
    _last: float = 0.0
    _first_step: int | None = None

    def __call__(self, step: int, **figures: float) -> None:
        now = time.monotonic()
        if self._first_step is None:
            self._first_step = step
        if now - self._last < self.every_s and step < self.steps - 1:
            return
        self._last = now
        rate = (now - self._started) / max(1, step - self._first_step)
        said = "  ".join(f"{k} {v:.4f}" for k, v in figures.items())
        left = (self.steps - step) * rate / 60
        print(
            f"{self.what} {step}/{self.steps}  {said}  {rate:.2f} s a step, {left:.0f} min left",
            flush=True,
        )
        self.curve.append({"step": step, **figures})


def train_small(
    folder: Path,
    name: str,
    module: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_of: Callable[[int], tuple[torch.Tensor, dict[str, float]]],
    steps: int,
    rate: float,
) -> None:
    """Train a small network for `steps` steps in all, going on from the state in `folder`.

    loss_of: step -> the loss and the figures to show; it follows from the step alone.
    """
    average = Average(module, 0.995)
    note = load_state(folder, module, average, optimizer)
    progress = Progress(name, steps, curve=note.get("curve", []))
    for step in range(note.get("step", 0), steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * rate_at(step, steps, decay=0.5)
        loss, figures = loss_of(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 2.0)
        optimizer.step()
        average.update()
        if step % 10 == 0 or step == steps - 1:
            progress(step, **figures)
        if step % 50 == 49 or step == steps - 1:
            note = {"step": step + 1, "curve": progress.curve}
            save_state(folder, module, average, optimizer, note)
