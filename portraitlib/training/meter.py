"""How far a training is and what it has cost, earlier runs of it included.

It is kept in the training's history, and so in its checkpoints and in the recipe of its adapter:
`spent_s` is device -> seconds, `peak_memory_gb` the most memory that was in use at a time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portraitlib.cost import UNKNOWN, Budget, BudgetSpent, Cost, cost_of, money
from portraitlib.device import device_name, peak_memory_gb


@dataclass(frozen=True)
class Progress:
    """Where a training is.

    loss: smoothed over about 20 steps.  seconds: of training so far, earlier runs included.
    seconds_left: at the pace so far.  figures: what `watch` last measured.
    dollars: all that the training has cost so far; None if no rate of the device is known.
    """

    step: int
    total: int
    loss: float
    seconds: float
    seconds_left: float
    figures: Mapping[str, float]
    dollars: float | None = None

    def __str__(self) -> str:
        seen = "".join(f", {name} {value:.2f}" for name, value in self.figures.items())
        cost = "" if self.dollars is None else f", {money(self.dollars)}"
        return (
            f"step {self.step} of {self.total}, loss {self.loss:.4f}, {self.seconds:.0f} s, "
            f"{self.seconds_left:.0f} s left{cost}{seen}"
        )


def progress_of(history: Mapping[str, Any]) -> Progress:
    """Where the training is that has this history."""
    done, total, seconds = history["step"], history["total"], history["seconds"]
    figures = history["figures"][-1] if history["figures"] else {}
    return Progress(
        *(done, total, history["loss"], seconds, seconds / done * (total - done)),
        {name: value for name, value in figures.items() if name != "step" and value is not None},
        training_cost(history).dollars,
    )


def training_cost(history: Mapping[str, Any]) -> Cost:
    """What a training cost, by its history or the recipe of its adapter.

    Every second counts, those of encoding photos, drawing a film strip and saving too; the making
    of class images does not. Each device has its own rate.
    """
    spent_s = history.get("spent_s") or {UNKNOWN: history.get("seconds") or 0.0}
    first, *others = [cost_of(seconds, device) for device, seconds in spent_s.items()]
    total = sum(others, first)
    return Cost(total.seconds, total.device, total.dollars, history.get("peak_memory_gb"))


class TrainingMeter:
    """Keeps in a history what its training costs, while `with meter:` lasts.

    device: a torch.device.  folder: of the run, for messages.  budget: of the whole training.
    Raises UsageError for a budget in dollars if no rate of the device is known.
    """

    def __init__(
        self, history: dict[str, Any], device: Any, folder: Path, budget: Budget | None
    ) -> None:
        self.history, self.folder, self.budget = history, folder, budget or Budget()
        self._device, self._name = device, device_name(device)
        if "spent_s" not in history:  # begun by a portraitlib that did not count all of them
            history |= {"spent_s": {}, "peak_memory_gb": None}
            if history["seconds"]:
                history["spent_s"][self._name] = history["seconds"]
        self._before_s = history["spent_s"].setdefault(self._name, 0.0)

    def __enter__(self) -> TrainingMeter:
        self._start_s = time.perf_counter()
        return self

    def __exit__(self, *problem: object) -> None:
        self.note()

    def note(self) -> None:
        """Bring the history up to date."""
        now_s = time.perf_counter()
        self.history["spent_s"][self._name] = self._before_s + now_s - self._start_s
        peaks = (self.history["peak_memory_gb"], peak_memory_gb(self._device))
        self.history["peak_memory_gb"] = max((p for p in peaks if p is not None), default=None)

    def why_spent(self) -> str | None:
        """Why the training may not go on, in words; None if it may."""
        try:
            self.budget.check(training_cost(self.history))
        except BudgetSpent as problem:
            return str(problem)
        return None

    def spent(self, why: str) -> BudgetSpent:
        """The error that stops a training whose step is saved; it says how to go on."""
        step, total = self.history["step"], self.history["total"]
        return BudgetSpent(
            f"{why}; step {step} of {total} is saved in {self.folder}; "
            "run the same again with a larger budget to go on from there"
        )
