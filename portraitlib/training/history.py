"""How far a training is and what it has cost, earlier runs of it included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from portraitlib.cost import UNKNOWN, Cost, cost_of, money

SMOOTH = 0.05  # what one step counts in the smoothed loss


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


@dataclass
class History:
    """What is known of a training so far; it is in its checkpoints and in its adapter's recipe.

    step: steps done, of `total`.  loss: smoothed; None before the first.
    seconds: of training alone.  spent_s: device -> seconds of everything, encoding the photos,
        drawing a film strip and saving too.  peak_memory_gb: the most that was in use at a time.
    curve: (step, smoothed loss), every few steps.
    figures: what `watch` measured, with the step.
    """

    total: int
    step: int = 0
    loss: float | None = None
    seconds: float = 0.0
    spent_s: dict[str, float] = field(default_factory=dict)
    peak_memory_gb: float | None = None
    curve: list[list[float]] = field(default_factory=list)
    figures: list[dict[str, Any]] = field(default_factory=list)

    def add_losses(self, losses: Sequence[float]) -> None:
        """Go on by these steps."""
        for value in losses:
            self.loss = value if self.loss is None else self.loss + SMOOTH * (value - self.loss)
        self.step += len(losses)
        self.curve.append([self.step, round(self.loss or 0.0, 6)])

    def spend(self, cost: Cost, earlier_s: float) -> None:
        """Note what this run has cost, on a device that runs before it used for `earlier_s`."""
        self.spent_s[cost.device] = earlier_s + cost.seconds
        peaks = [peak for peak in (self.peak_memory_gb, cost.peak_memory_gb) if peak is not None]
        self.peak_memory_gb = max(peaks, default=None)

    @property
    def cost(self) -> Cost:
        """All that the training has cost so far."""
        return training_cost(asdict(self))

    @property
    def progress(self) -> Progress:
        """Where the training is; asked after the first step."""
        figures = self.figures[-1] if self.figures else {}
        return Progress(
            step=self.step,
            total=self.total,
            loss=self.loss or 0.0,
            seconds=self.seconds,
            seconds_left=self.seconds / self.step * (self.total - self.step),
            figures={k: v for k, v in figures.items() if k != "step" and v is not None},
            dollars=self.cost.dollars,
        )


def training_cost(recipe: Mapping[str, Any]) -> Cost:
    """What a training cost, by the recipe of its adapter.

    The making of class images does not count. Each device has its own rate.
    """
    spent_s = recipe.get("spent_s") or {UNKNOWN: recipe.get("seconds") or 0.0}
    first, *others = [cost_of(seconds, device) for device, seconds in spent_s.items()]
    total = sum(others, first)
    return Cost(total.seconds, total.device, total.dollars, recipe.get("peak_memory_gb"))
