"""Examines the judge on drawn portraits that it has never seen, and sets its limits on others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from portraitlib.mini.judge import (
    MEASURES,
    NEEDED,
    PERSON_NUMBERS,
    SIZE_PX,
    WEIGHTS,
    Judge,
    Limits,
    Reading,
    coherent,
    load_judge,
    measure_faces,
    read,
    to_judge,
)
from portraitlib.mini.visible import visible_codes
from portraitlib.mini.words import GROUPS, PHRASES, STYLES

from .drawings import HELD_OUT, Drawings, draw_many
from .judge import save_judge, trained_judge
from .spoil import WAYS_TO_BREAK, break_pictures
from .world import LANDMARKS

LIMIT_SEED = HELD_OUT + 4_000_000  # of the drawn portraits that the limits are set on
EXAM_SEED = HELD_OUT + 5_000_000  # of those that the judge is examined on
BROKEN_EACH = 200  # portraits that are broken, in each way


def set_limits(judge: Judge, drawings: Drawings) -> Limits:
    """The limits that nearly every drawn portrait meets.

    Confidence: the least of all but one drawing in a thousand. Ranges: what all drawings but one
    in a thousand keep to on either side, and a fifth of that again.
    """
    reading = read(judge, drawings.images)
    least = np.quantile(reading.confidence, 0.001, axis=0)
    measures = measure_faces(reading.landmarks)
    low, high = np.quantile(measures, (0.001, 0.999), axis=0)
    room = 0.1 * (high - low)
    return Limits(
        confidence={name: float(least[LANDMARKS.index(name)]) for name in NEEDED},
        ranges={
            name: (float(a), float(b))
            for name, a, b in zip(MEASURES, low - room, high + room, strict=True)
        },
    )


def attribute_table(looks: np.ndarray, reading: Reading) -> dict[str, Any]:
    """How often the judge sees what is there, over what can be seen.

    looks: (n, groups), as in `Drawings.looks`. Returns shares: `mean` over groups, `groups`,
    `styles` (mean over groups within each), `values` (group to value to share), and `counts`.
    """
    shown, right = visible_codes(looks), looks == reading.looks
    style = looks[:, GROUPS.index("style")]

    def over_groups(rows: np.ndarray) -> dict[str, float]:
        return {
            group: float(right[rows & shown[:, i], i].mean())
            for i, group in enumerate(GROUPS)
            if (rows & shown[:, i]).any()
        }

    groups = over_groups(np.ones(len(looks), bool))
    values: dict[str, dict[str, float]] = {}
    counts: dict[str, dict[str, int]] = {}
    for i, group in enumerate(GROUPS):
        for code, value in enumerate(PHRASES[group]):
            rows = shown[:, i] & (looks[:, i] == code)
            if rows.any():
                values.setdefault(group, {})[value] = float(right[rows, i].mean())
                counts.setdefault(group, {})[value] = int(rows.sum())
    styles = {name: over_groups(style == i) for i, name in enumerate(STYLES) if (style == i).any()}
    return {
        "mean": float(np.mean(list(groups.values()))),
        "groups": groups,
        "styles": {name: float(np.mean(list(row.values()))) for name, row in styles.items()},
        "styles_groups": styles,
        "values": values,
        "counts": counts,
    }


def people_table(drawings: Drawings, reading: Reading) -> dict[str, dict[str, float]]:
    """R2 of each of a person's numbers, in each style: 1 is read exactly, 0 is not seen at all."""
    style = drawings.looks[:, GROUPS.index("style")]
    table = {}
    for name, rows in [("all", style >= 0), *((s, style == i) for i, s in enumerate(STYLES))]:
        if rows.sum() < 2:
            continue
        wanted, got = drawings.people[rows], reading.people[rows]
        r2 = 1 - ((wanted - got) ** 2).mean(0) / wanted.var(0)
        table[name] = {number: float(v) for number, v in zip(PERSON_NUMBERS, r2, strict=True)}
    return table


def broken_table(
    judge: Judge, drawings: Drawings, limits: Limits, ways: tuple[str, ...] = WAYS_TO_BREAK
) -> dict[str, float]:
    """The share of portraits, broken in each of the `WAYS_TO_BREAK`, that the judge refuses."""
    rng = np.random.default_rng(0)
    pictures, places = to_judge(drawings.images), torch.from_numpy(drawings.landmarks)
    refused = {}
    for way in ways:
        broken, _ = break_pictures(pictures, places, way, rng)
        images = ((broken.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
        refused[way] = float(1 - coherent(read(judge, images), limits).mean())
    return refused


def first(drawings: Drawings, count: int) -> Drawings:
    """The first `count` of some drawings."""
    return Drawings(*(column[:count] for column in vars(drawings).values()))


def examine(judge: Judge, drawings: Drawings, limits: Limits) -> dict[str, Any]:
    """All that is known of how well the judge reads drawn portraits."""
    reading = read(judge, drawings.images)
    away = np.abs(reading.landmarks - drawings.landmarks).mean((0, 2))
    return {
        "portraits": len(drawings),
        "attributes": attribute_table(drawings.looks, reading),
        "people_r2": people_table(drawings, reading),
        "landmark_error": {n: float(v) for n, v in zip(LANDMARKS, away, strict=True)},
        "coherent": float(coherent(reading, limits).mean()),
        "broken_refused": broken_table(judge, first(drawings, BROKEN_EACH), limits),
    }


def pass_on(state: Path, count: int, folder: Path = WEIGHTS) -> dict[str, Any]:
    """Set the limits of the judge trained in `state`, examine it, and write it to the package."""
    import json

    judge = trained_judge(state)
    note = json.loads((state / "note.json").read_text())
    save_judge(judge, {}, folder)
    judge, _ = load_judge(folder)  # what is examined is what is shipped: 16 bits
    limits = set_limits(judge, _drawn(state / f"limits-{count}.npz", LIMIT_SEED, count))
    exam = examine(judge, _drawn(state / f"exam-{count}.npz", EXAM_SEED, count), limits)
    notes = {
        "steps": note["step"], "limits": vars(limits), "exam": exam, "curve": note["curve"],
    }  # fmt: skip
    save_judge(judge, notes, folder)
    attributes = exam["attributes"]
    print(f"attributes {attributes['mean']:.4f}, coherent {exam['coherent']:.4f}, broken refused:")
    print("  ".join(f"{way} {share:.3f}" for way, share in exam["broken_refused"].items()))
    for group, share in attributes["groups"].items():
        said = "  ".join(f"{v} {s:.3f}" for v, s in attributes["values"][group].items())
        print(f"{group} {share:.4f}: {said}", flush=True)
    return notes


def _drawn(path: Path, first_seed: int, count: int) -> Drawings:
    """Held-out portraits, drawn once and kept in `path`."""
    if not path.exists():
        half = path.with_suffix(".part.npz")
        np.savez(half, **vars(draw_many(first_seed, count, SIZE_PX, {})))
        half.rename(path)
    kept = np.load(path)
    return Drawings(*(kept[name] for name in Drawings.__dataclass_fields__))
