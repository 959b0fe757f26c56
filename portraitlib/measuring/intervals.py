"""Means, spreads and distances between sets of points, and how sure they are of themselves.

Intervals are 95 % bootstrap intervals with fixed random numbers: the same points give the same
interval. Pictures of one seed are not independent, so it is seeds that are drawn anew.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from statistics import NormalDist

import numpy as np

ROUNDS = 2000
HALVES = 200  # random halvings of a reference set
CONFIDENCE = 0.95

Interval = tuple[float, float]


def tail(count: int) -> float:
    """The share to cut off at either end of `count` units' bootstrap values.

    Plain quantiles make the interval of few units too narrow; these are the expanded ones of
    https://arxiv.org/abs/1411.5279, section 4.1.3. `count` is 2 or more.
    """
    z, free = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2), count - 1
    # Student's t by the series about the normal (Abramowitz and Stegun, 26.7.5).
    t = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
    return NormalDist().cdf(-t * np.sqrt(count / free))


def quantiles(values: np.ndarray, count: int) -> Interval | None:
    """The interval from bootstrap values of so many units; None where none is finite."""
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, (tail(count), 1 - tail(count)))
    return float(low), float(high)


def drawn_anew(count: int, stream: int = 0) -> np.ndarray:
    """Which of so many units are drawn in each round, (rounds, count)."""
    return np.random.default_rng(stream).integers(count, size=(ROUNDS, count))


def _times_drawn(units: Sequence[Hashable], stream: int = 0) -> np.ndarray:
    """How often each row counts in each round, (rounds, rows): whole units are drawn anew."""
    names = list(dict.fromkeys(units))
    chosen = drawn_anew(len(names), stream)
    counts = np.zeros((ROUNDS, len(names)))
    np.add.at(counts, (np.arange(ROUNDS)[:, None], chosen), 1)
    return counts[:, [names.index(unit) for unit in units]]


def mean_interval(values: np.ndarray, units: Sequence[Hashable] | None = None) -> Interval | None:
    """The interval of the mean of (rows,) finite values; None with fewer than two units.

    units: what is drawn anew, one a row, like the seeds; None if each row stands alone.
    """
    units = range(len(values)) if units is None else units
    count = len(set(units))
    if count < 2:
        return None
    weights = _times_drawn(units)
    return quantiles(weights @ values / weights.sum(1), count)


def distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Euclidean distances between the rows of two arrays, (rows, other rows)."""
    rows = [np.linalg.norm(other - point, axis=1) for point in one]
    return np.array(rows, dtype=float).reshape(len(one), len(other))


def unit(points: np.ndarray) -> np.ndarray:
    """(rows, numbers) brought to length 1."""
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def _pair_mean(apart: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted means over pairs of two different rows, one a round; NaN where there is no pair."""
    total = weights.sum(1) ** 2 - (weights**2).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.einsum("ri,ri->r", weights @ apart, weights) / total


def spread(points: np.ndarray, units: Sequence[Hashable]) -> tuple[float, Interval | None]:
    """The mean distance between two different rows of (rows, numbers), and its interval.

    NaN with fewer than two rows.
    """
    if len(points) < 2:
        return float("nan"), None
    apart = distances(points, points)
    value = float(_pair_mean(apart, np.ones((1, len(points))))[0])
    count = len(set(units))
    if count < 2:
        return value, None
    return value, quantiles(_pair_mean(apart, _times_drawn(units)), count)


# --- from one set to another ---------------------------------------------------------------------


def _energy(
    across: np.ndarray, one: np.ndarray, other: np.ndarray, weights: np.ndarray, held: np.ndarray
) -> np.ndarray:
    """Energy distances over the spread of `other`, one a round; unbiased: 0 on average for equals.

    across, one, other: distances between and within the sets. weights, held: (rounds, rows) of
    the one and of the other. Pairs of `across` that are NaN do not count.
    """
    known = np.isfinite(across)
    counted = np.einsum("ri,rj,ij->r", weights, held, known, optimize=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        between = (
            np.einsum("ri,rj,ij->r", weights, held, np.where(known, across, 0), optimize=True)
            / counted
        )
        within = _pair_mean(other, held)
        return (2 * between - _pair_mean(one, weights) - within) / within


def drift(
    points: np.ndarray,
    reference: np.ndarray,
    units: Sequence[Hashable],
    reference_units: Sequence[Hashable],
) -> tuple[float, Interval | None]:
    """How far a set has moved from a reference, in spreads of the reference, and its interval.

    points, reference: (rows, numbers), two rows or more each, else NaN. It is the energy distance
    (https://doi.org/10.1002/wics.1375) over the mean distance within the reference: 0 on average
    if nothing moved, about 2 d if all moved by d spreads and d is large. Rows of the same unit,
    drawn from the same noise, are not compared across the sets.
    """
    if len(points) < 2 or len(reference) < 2:
        return float("nan"), None
    same = np.array([[unit == held for held in reference_units] for unit in units])
    across = distances(points, reference)
    if not same.all():
        across[same] = np.nan
    sets = across, distances(points, points), distances(reference, reference)
    every = np.ones((1, len(points))), np.ones((1, len(reference)))
    value = float(_energy(*sets, *every)[0])
    count = min(len(set(units)), len(set(reference_units)))
    if count < 2:
        return value, None
    rounds = _energy(*sets, _times_drawn(units, 1), _times_drawn(reference_units, 2))
    return value, quantiles(rounds, count)


def drift_by_chance(reference: np.ndarray) -> float | None:
    """What 19 in 20 random halves of a reference set have drifted from the other half, at most.

    reference: (rows, numbers); None with fewer than four rows.
    """
    if len(reference) < 4:
        return None
    rng = np.random.default_rng(0)
    order = rng.permuted(np.tile(np.arange(len(reference)), (HALVES, 1)), axis=1)
    half = len(reference) // 2
    one, other = (np.zeros((HALVES, len(reference))) for _ in range(2))
    np.put_along_axis(one, order[:, :half], 1, axis=1)
    np.put_along_axis(other, order[:, half : 2 * half], 1, axis=1)
    apart = distances(reference, reference)
    values = _energy(apart, apart, apart, one, other)
    values = values[np.isfinite(values)]
    return float(np.quantile(values, 0.95)) if len(values) else None
