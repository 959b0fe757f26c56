"""What every training of the recipe shares: averaged weights, the rate, and state on disk."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch


def rate_at(step: int, steps: int, warmup: int = 100, decay: float = 0.3) -> float:
    """The learning rate's factor: up over `warmup` steps, flat, then to 2 % over the last `decay`.

    A flat middle lets a training be extended: only the end has to be run again.
    """
    up = min(1.0, (step + 1) / warmup)
    left = (steps - step) / max(1, decay * steps)
    return up * (0.02 + 0.98 * 0.5 * (1 - math.cos(math.pi * min(1.0, left))))


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
