"""What pictures and trainings cost: an estimate before, a meter meanwhile, dollars after.

The table of rates is meant to be edited: `RATES["t4"] = colab("T4", 1.3, date="2026-12-01")` in a
notebook, or a TOML file that the environment variable PORTRAITLIB_RATES names, with rows like

    ["rtx 4090"]
    card = "RTX 4090"
    dollars_per_hour = 0.34
    date = "2026-12-01"
    source = "a rented card"

Knows no torch: `device` is asked when a meter starts.
"""

from __future__ import annotations

import os
import re
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portraitlib.settings import UsageError

DOLLARS_PER_UNIT = 0.10  # Colab sells 100 compute units for 10 dollars, without discount
# What the post says it spent in Colab, with nothing to say on which card.
POST_DOLLARS = 3.46

UNKNOWN = "an unknown device"  # of what names none

MCCORMICK = "https://mccormickml.com/2024/04/23/colab-gpus-features-and-pricing/"


@dataclass(frozen=True)
class Rate:
    """What an hour of one device costs, when and where that was read.

    card: words of the name that the device gives itself, such as "A100 40GB".
    dollars_per_hour: the price of the session, not of the power.  date: ISO, when it was seen.
    teraflops: the most that it computes in a second, 10**12 multiplications or additions, in the
        number type that it is used with; None if not known, then nothing can be estimated.
    share: how much of that drawing by PyTorch alone reaches, from times that others have measured.
    """

    card: str
    dollars_per_hour: float
    date: str
    source: str
    teraflops: float | None = None
    share: float = 0.25


def colab(
    card: str,
    units_per_hour: float,
    *,
    date: str,
    teraflops: float | None = None,
    share: float = Rate.share,
) -> Rate:
    """The rate of a card in Colab, from the compute units that it uses up in an hour."""
    dollars = round(units_per_hour * DOLLARS_PER_UNIT, 4)
    return Rate(card, dollars, date, MCCORMICK, teraflops, share)


OWN_MACHINE = "a machine that is there anyway; its electricity is not counted"

# What training reaches of drawing: on a T4, 500 updates of 4 pictures each took an hour and a half,
# so 2.7 s for each picture (https://github.com/huggingface/diffusers/issues/4470).
TRAINING_SHARE = 0.53
CORE_TERAFLOPS = 0.16  # the most of one core: two of a cloud machine's were seen to reach 0.08

# Colab's units an hour as measured, not announced: they have fallen since 2023 (T4: 1.96).
RATES: dict[str, Rate] = {
    "cpu": Rate("cpu", 0.0, "2026-11-01", OWN_MACHINE, CORE_TERAFLOPS * (os.cpu_count() or 1)),
    "mps": Rate("mps", 0.0, "2026-11-01", OWN_MACHINE),
    "t4": colab("T4", 1.19, date="2026-03-10", teraflops=65, share=0.206),  # 26 s a picture
    "l4": colab("L4", 1.71, date="2026-03-10", teraflops=121),
    "a100": colab("A100", 5.40, date="2026-03-10", teraflops=312, share=0.35),
    "a100-80gb": colab("A100 80GB", 7.52, date="2026-03-10", teraflops=312, share=0.35),
    "g4": colab("RTX PRO 6000", 8.71, date="2026-03-10", teraflops=480),
}


def rates() -> dict[str, Rate]:
    """The table in force: `RATES`, and over it the rows of the file that PORTRAITLIB_RATES names.

    Raises UsageError if the file cannot be read or a row of it lacks a price.
    """
    chosen = os.environ.get("PORTRAITLIB_RATES")
    if not chosen:
        return dict(RATES)
    path = Path(chosen).expanduser()
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8"))
        given = {name: Rate(**row) for name, row in rows.items()}
        if not all(0 <= rate.dollars_per_hour < float("inf") for rate in given.values()):
            raise ValueError("dollars_per_hour is below 0 or without end")
    except (OSError, ValueError, TypeError) as problem:
        raise UsageError(
            f"{path} (PORTRAITLIB_RATES): cannot be read ({problem}); expected rows with card, "
            "dollars_per_hour, date, source, and teraflops if known"
        ) from None
    return RATES | given


def rate_of(device: str) -> Rate | None:
    """The rate of a device by the name it gives itself ("Tesla T4") or that of its row ("t4").

    None if the table has none. Of several rows the one with the most words in common is taken.
    """
    table = rates()
    if device in table:
        return table[device]
    words = _words(device)
    fitting = [rate for rate in table.values() if _words(rate.card) <= words]
    return max(fitting, key=lambda rate: len(_words(rate.card)), default=None)


def _words(name: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", name.lower()))


# --- what something cost -------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """What something cost, or is thought to.

    seconds: wall time.  device: the name that it gives itself, such as "cpu" or "Tesla T4".
    dollars: None if no rate of the device is known.
    peak_memory_gb: the most memory in use, 10**9 bytes: of the GPU's that torch had, on a CPU of
        the process; None if it was not measured.
    """

    seconds: float
    device: str
    dollars: float | None
    peak_memory_gb: float | None = None

    def __add__(self, other: Cost) -> Cost:
        """Both one after the other."""
        known = self.dollars is not None and other.dollars is not None
        peaks = [c.peak_memory_gb for c in (self, other) if c.peak_memory_gb is not None]
        devices = dict.fromkeys([*self.device.split(", "), *other.device.split(", ")])
        return Cost(
            self.seconds + other.seconds,
            ", ".join(devices),
            (self.dollars or 0) + (other.dollars or 0) if known else None,
            max(peaks, default=None),
        )

    def __str__(self) -> str:
        parts = [f"{duration(self.seconds)} on {self.device}"]
        if self.peak_memory_gb is not None:
            parts.append(f"{self.peak_memory_gb:.1f} GB")
        return ", ".join([*parts, money(self.dollars)])


def cost_of(seconds: float, device: str, peak_memory_gb: float | None = None) -> Cost:
    """The cost of some seconds on a device."""
    rate = rate_of(device)
    dollars = None if rate is None else seconds / 3600 * rate.dollars_per_hour
    return Cost(seconds, device, dollars, peak_memory_gb)


def duration(seconds: float) -> str:
    """Seconds in words, such as "12 s", "7 min" or "3.4 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def money(dollars: float | None) -> str:
    """Dollars in words; small sums keep two digits that say something."""
    if dollars is None:
        return "rate unknown"
    if dollars < 0.0001:
        return "less than $0.0001" if dollars else "$0"
    return f"${dollars:.2f}" if dollars >= 0.1 else f"${dollars:.2g}"


# --- meanwhile -----------------------------------------------------------------------------------


class Meter:
    """Measures what runs inside `with Meter() as meter:`; `meter.cost` says so far, or in all.

    device: "cpu", "cuda", ...; None for the one that would be chosen. Meters may be nested; the
    peak of memory is that of the process until then.
    Raises UsageError if the device is not here.
    """

    def __init__(self, device: Any = None) -> None:
        self._asked = device
        self._total: Cost | None = None

    def __enter__(self) -> Meter:
        from portraitlib.device import pick_device

        self._device = pick_device(self._asked)
        self._start_s = time.perf_counter()
        return self

    def __exit__(self, *problem: object) -> None:
        self._total = self.cost

    @property
    def cost(self) -> Cost:
        """The cost since the meter started, until now or until it stopped."""
        if self._total is not None:
            return self._total
        from portraitlib.device import device_name, peak_memory_gb

        seconds = time.perf_counter() - self._start_s
        return cost_of(seconds, device_name(self._device), peak_memory_gb(self._device))


class BudgetSpent(RuntimeError):
    """The budget is used up. Everything finished until then is kept; more money goes on there."""


@dataclass(frozen=True)
class Budget:
    """The most that something may cost, in dollars, in seconds, or both; None for no limit.

    A loop asks `budget.check(meter.cost)` where it can stop and go on later: after a checkpoint,
    before a run. Raises UsageError for a limit that is not above zero.
    """

    dollars: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("dollars", "seconds"):
            limit = getattr(self, name)
            if limit is not None and not limit > 0:
                raise UsageError(
                    f"Budget.{name}: got {limit!r}, expected a number above 0; try None: no limit"
                )

    def check(self, spent: Cost, coming: Cost | None = None) -> None:
        """Raise BudgetSpent if `spent`, with what is `coming` next, is beyond the budget.

        Raises UsageError if there is a limit in dollars and no rate of the device is known.
        """
        total = spent if coming is None else spent + coming
        if self.dollars is not None and total.dollars is None:
            raise UsageError(
                f"Budget.dollars: no rate is known of {total.device}; put one into the file that "
                "PORTRAITLIB_RATES names or portraitlib.cost.RATES, or try Budget(seconds=...)"
            )
        over = self.seconds is not None and total.seconds > self.seconds
        if over or (self.dollars is not None and (total.dollars or 0) > self.dollars):
            left = "" if coming is None else f", and what comes next takes about {coming}"
            raise BudgetSpent(f"the budget of {self} is used up: {spent}{left}")

    def __str__(self) -> str:
        limits = [] if self.dollars is None else [money(self.dollars)]
        limits += [] if self.seconds is None else [duration(self.seconds)]
        return " or ".join(limits) or "no limit"


# --- before --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """How much a model computes, 10**12 multiplications or additions each.

    step: a denoising step with guidance.  control: what a ControlNet adds, as a share of it.
    fixed: text and decoding of a picture.  encode: a photo into latents.
    training: one picture of a training step of an adapter, forward and backward, with what the
        preset has computed twice for the sake of memory.
    size_px: of the pictures for which that holds; other sizes go as their area.
    """

    step: float
    control: float
    fixed: float
    encode: float
    training: float
    size_px: int


# As torch.utils.flop_counter counts them.
WORK: dict[str, Work] = {
    "sdxl": Work(13.5, control=0.45, fixed=10.5, encode=4.9, training=19.3, size_px=1024),
    "mini": Work(0.00146, control=0.43, fixed=0.0014, encode=0.0007, training=0.0016, size_px=96),
}
STEP_S = 0.02  # no step takes less, whatever the card: the kernels have to be launched


def estimate(
    model: str,
    device: str,
    *,
    pictures: int = 0,
    num_inference_steps: int = 25,
    photos: int = 0,
    control: bool = False,
    training_steps: int = 0,
    training_batch: int = 2,
    size_px: int | None = None,
) -> Cost:
    """What pictures, a training or both will cost, right within a factor of two or so.

    model: "mini" or "sdxl".  device: the name of a row of `rates()` or of the device itself.
    pictures: to draw, with guidance.  photos: of these, how many start from a photo.
    control: whether a ControlNet steers them.
    training_steps, training_batch: of an adapter; pictures in a batch, class images included.
    size_px: width and height of all pictures; None for the model's own.

    Raises UsageError for a model whose work, or a device whose speed, is not in the tables.
    """
    if model not in WORK:
        raise UsageError(f"estimate: got model {model!r}, expected one of {', '.join(WORK)}")
    rate, work = rate_of(device), WORK[model]
    if rate is None or rate.teraflops is None:
        known = [name for name, row in rates().items() if row.teraflops is not None]
        raise UsageError(
            f"estimate: the speed of {device!r} is not known, expected one of {', '.join(known)}; "
            "try a row with teraflops in portraitlib.cost.RATES"
        )
    reached = rate.teraflops * rate.share / ((size_px or work.size_px) / work.size_px) ** 2
    step_s = max(STEP_S, work.step * (1 + work.control * control) / reached)
    seconds = pictures * (num_inference_steps * step_s + work.fixed / reached)
    seconds += photos * work.encode / reached
    seconds += training_steps * max(
        3 * STEP_S, training_batch * work.training / reached / TRAINING_SHARE
    )
    return cost_of(seconds, device)
