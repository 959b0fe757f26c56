"""Which step of a training to keep: the likeness that is worth having, at a bounded drift."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from portraitlib.measuring import intervals
from portraitlib.settings import UsageError
from portraitlib.training.film import Film, Frame

# Of what 19 in 20 random halves of the untouched model's pictures differ by. On the embedded model,
# with 8 pictures: a training that holds the class stays below 0.8 of it, one that lets the class
# become the person passes 2 within 100 steps.
DRIFT_FLOORS = 1.5
LEAST_FACES = 0.5  # share of the pictures in which one is found
HARDLY_ALIKE = 0.3  # of the way from strangers to the person
MOST_LOSS = 0.1  # of the way from strangers to the person: more is never called noise


def propose(film: Film, most_drift: float | None = None) -> Frame:
    """The step to keep, and why (`reason`): the best likeness that leaves the class as it was.

    Of the steps whose drift is at most `most_drift` it is the earliest that is as alike as the best
    of them, up to the noise: the 95 % interval of the difference, seed by seed, holds 0, and it is
    below 0.1. Later ones have learnt no more of the face and more of the photos.
    most_drift: in spreads of the untouched model's pictures; None for one and a half times what
        chance makes of two halves of those. If every step drifts more, the one that drifts least of
        those with most of the likeness is proposed.
    Steps that show a face in fewer than half of the pictures do not count if others do.
    Raises UsageError if no likeness was measured.
    """
    if most_drift is not None and not (
        isinstance(most_drift, int | float) and not isinstance(most_drift, bool) and most_drift >= 0
    ):
        raise UsageError(f"most_drift: got {most_drift!r}, expected a number from 0; try 0.5")
    known = [frame for frame in film if "likeness" in frame.figures]
    known = [frame for frame in known if frame.step] or known
    known = [frame for frame in known if frame.figures.get("faces", 1.0) >= LEAST_FACES] or known
    if not known:
        raise UsageError(
            f"{film.folder}: no likeness was measured in this training; try film_strip(prompt, "
            "photos=...) with photos that are not trained on"
        )
    if most_drift is None and film.drift_floor is not None:
        most_drift = DRIFT_FLOORS * film.drift_floor
    limit = math.inf if most_drift is None else float(most_drift)
    held = [frame for frame in known if frame.figures.get("drift", 0.0) <= limit]
    if not held:
        return _least_drifted(known, limit)
    best = max(held, key=_alike)
    chosen = next(frame for frame in held if frame is best or _as_alike(frame, best))
    return replace(chosen, reason=_why(chosen, best, known, limit))


def _alike(frame: Frame) -> float:
    return frame.figures["likeness"]


def _as_alike(frame: Frame, best: Frame) -> bool:
    """Is it no less alike than the best one, as far as the seeds can tell?"""
    lost = _alike(best) - _alike(frame)
    shared = sorted(frame.likeness.keys() & best.likeness.keys())
    apart = np.array([best.likeness[seed] - frame.likeness[seed] for seed in shared])
    interval = intervals.mean_interval(apart)
    return lost <= MOST_LOSS and (interval is None or interval[0] <= 0)


def _least_drifted(known: Sequence[Frame], limit: float) -> Frame:
    best = max(known, key=_alike)
    near = [frame for frame in known if _alike(frame) >= 0.8 * _alike(best)]
    chosen = min(near, key=lambda frame: frame.figures["drift"])
    reason = (
        f"step {chosen.step}: every step has drifted more than {limit:.2f}, this one least "
        f"({chosen.figures['drift']:.2f}) of those with most of the likeness "
        f"({_alike(chosen):.2f}; best {_alike(best):.2f}); class images would hold the class"
    )
    return replace(chosen, reason=reason)


def _why(chosen: Frame, best: Frame, known: Sequence[Frame], limit: float) -> str:
    if chosen is best:
        text = f"step {chosen.step}: the most alike ({_alike(chosen):.2f})"
    else:
        text = (
            f"step {chosen.step}: as alike ({_alike(chosen):.2f}) as the best ({_alike(best):.2f} "
            f"at step {best.step}), up to the noise, and the earliest such"
        )
    if _alike(best) < HARDLY_ALIKE:
        text += ", hardly so yet: try more steps or a higher rate"
    drift = chosen.figures.get("drift")
    if drift is None:
        return f"{text}; drift was not measured"
    if math.isinf(limit):
        return f"{text}; drift {drift:.2f}"
    text += f", with a drift of {drift:.2f}, at most {limit:.2f} wanted"
    most = max(known, key=_alike)
    if most.figures.get("drift", 0.0) > limit and _alike(most) > _alike(best):
        text += f"; step {most.step} is more alike ({_alike(most):.2f}) but drifted further"
    return text
