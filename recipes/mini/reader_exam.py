"""Examines the reader on drawn portraits of people that it has never seen, and sets its limits.

    python -m recipes.mini.reader_exam --held-set DIR --state DIR --write FOLDER

The limits are set on every other person, the exam is of the rest.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .reader import save_reader, trained_reader
from .reader_network import (
    GROUPS,
    LANDMARKS,
    MEASURES,
    NEEDED,
    PERSON_NUMBERS,
    Limits,
    Reader,
    Reading,
    coherent,
    limits_of,
    load_reader,
    measure_faces,
    read,
    to_pictures,
)
from .reader_people import RENDERS, codes_of
from .sets import read_shards
from .spoil import WAYS_TO_BREAK, break_pictures
from .visible import visible_codes
from .world.words import PHRASES, STYLES

PHOTO = STYLES[0]
BROKEN_EACH = 100  # portraits that are broken, in each way
SAME_WORDS = ("who", "age", "skin", "texture", "length", "hair", "beard", "glasses")
ROUNDS = 100  # of the bootstrap over people
# Quantiles that the thresholds are set at: of one person, and of two people.
PERSON, STRANGERS = 0.98, 0.02


@dataclass(frozen=True)
class Drawn:
    """Drawn portraits and what is known of them.

    images: (n, 256, 256, 3) uint8.  codes: (n, groups).  numbers: (n, 23).  landmarks: (n, 9, 2).
    people, renders: (n,), who it is and which of their renders.
    """

    images: np.ndarray
    codes: np.ndarray
    numbers: np.ndarray
    landmarks: np.ndarray
    people: np.ndarray
    renders: np.ndarray

    def __len__(self) -> int:
        return len(self.people)

    def rows(self, chosen: np.ndarray) -> Drawn:
        return Drawn(*(column[chosen] for column in vars(self).values()))

    def style(self) -> np.ndarray:
        """The style of each, (n,) an index into `STYLES`."""
        return self.codes[:, GROUPS.index("style")]


def drawn_portraits(folder: Path, at_most: int = 10**9) -> Drawn:
    """The first portraits of a drawn set; all of a person are kept together."""
    columns: list[tuple[Any, ...]] = []
    for shard in read_shards(folder):
        if len(columns) >= at_most:
            break
        seen: dict[int, int] = {}
        for row, meta in enumerate(shard.meta):
            shot = seen[meta["person"]] = seen.get(meta["person"], -1) + 1
            known = (codes_of(meta["look"]), meta["numbers"], shard.landmarks[row])
            columns.append((shard.images[row], *known, meta["person"], RENDERS[shot]))
    return Drawn(*(np.array(column) for column in zip(*columns, strict=True)))


# --- Limits --------------------------------------------------------------------------------------


def set_limits(reading: Reading) -> Limits:
    """The limits that nearly every drawn portrait meets.

    Of each: what all but one in five hundred meet; ranges with a tenth of that again on each side.
    """
    least = np.quantile(reading.confidence, 0.002, axis=0)
    measures = measure_faces(reading.landmarks)
    low, high = np.quantile(measures, (0.002, 0.998), axis=0)
    room = 0.1 * (high - low)
    return Limits(
        whole=float(min(0.5, np.quantile(reading.whole, 0.002))),
        confidence={name: float(least[LANDMARKS.index(name)]) for name in NEEDED},
        ranges={
            name: (float(a), float(b))
            for name, a, b in zip(MEASURES, low - room, high + room, strict=True)
        },
    )


# --- What it reads -------------------------------------------------------------------------------


def words_table(drawn: Drawn, reading: Reading) -> dict[str, Any]:
    """How often the reader sees what is there, over what can be seen.

    Returns shares: `mean` over groups, `groups`, `styles` (mean over groups within each),
    `styles_groups`, `values` (group to value to share), `mistaken` (the commonest mistakes).
    """
    shown, right = visible_codes(drawn.codes), drawn.codes == reading.looks

    def over_groups(rows: np.ndarray) -> dict[str, float]:
        return {
            group: float(right[rows & shown[:, i], i].mean())
            for i, group in enumerate(GROUPS)
            if (rows & shown[:, i]).any()
        }

    groups = over_groups(np.ones(len(drawn), bool))
    values: dict[str, dict[str, float]] = {}
    mistakes: list[tuple[float, str]] = []
    for i, group in enumerate(GROUPS):
        names = list(PHRASES[group])
        for code, value in enumerate(names):
            rows = shown[:, i] & (drawn.codes[:, i] == code)
            if not rows.any():
                continue
            values.setdefault(group, {})[value] = float(right[rows, i].mean())
            seen = np.bincount(reading.looks[rows, i], minlength=len(names)) / rows.sum()
            seen[code] = 0
            mistakes.append((float(seen.max()), f"{group}: {value} read as {names[seen.argmax()]}"))
    styles = {s: over_groups(drawn.style() == i) for i, s in enumerate(STYLES)}
    return {
        "mean": float(np.mean(list(groups.values()))),
        "groups": groups,
        "styles": {s: float(np.mean(list(row.values()))) for s, row in styles.items() if row},
        "styles_groups": styles,
        "values": values,
        "mistaken": {what: how for how, what in sorted(mistakes, reverse=True)[:12]},
    }


def numbers_table(drawn: Drawn, reading: Reading) -> dict[str, dict[str, float]]:
    """R2 of each of a person's numbers, in each style: 1 is read exactly, 0 is not seen at all."""
    style, table = drawn.style(), {}
    for name, rows in [("all", style >= 0), *((s, style == i) for i, s in enumerate(STYLES))]:
        if len(np.unique(drawn.people[rows])) > 1:
            wanted, got = drawn.numbers[rows], reading.numbers[rows]
            r2 = 1 - ((wanted - got) ** 2).mean(0) / wanted.var(0)
            table[name] = {n: float(v) for n, v in zip(PERSON_NUMBERS, r2, strict=True)}
    return table


def broken_table(reader: Reader, drawn: Drawn, limits: Limits) -> dict[str, float]:
    """The share of portraits, broken in each of the `WAYS_TO_BREAK`, that are refused."""
    rng = np.random.default_rng(0)
    refused = {}
    for way in WAYS_TO_BREAK:
        some = drawn.rows(rng.permutation(len(drawn))[:BROKEN_EACH])
        places = torch.from_numpy(some.landmarks)
        broken, _ = break_pictures(to_pictures(some.images), places, way, rng)
        images = ((broken + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
        refused[way] = float(1 - coherent(read(reader, images), limits).mean())
    return refused


# --- Whom it knows -------------------------------------------------------------------------------


def distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Euclidean distances of points of length 1, (n, 96) and (m, 96) to (n, m)."""
    return np.sqrt(np.clip(2 - 2 * one @ other.T, 0, None))


def auc(apart: np.ndarray, among: np.ndarray) -> float:
    """How often one person's two shots lie nearer than those of two people.

    apart: (people, people) distances, of one shot of each to another shot of each; among: the
    same shape, bool, which pairs of people to count. 1 is always, 0.5 is chance.
    """
    same = np.diag(apart)
    other = np.sort(apart[among & ~np.eye(len(apart), dtype=bool)])
    if not len(other):
        return float("nan")
    below = np.searchsorted(other, same, "left") + np.searchsorted(other, same, "right")
    return float(1 - below.mean() / (2 * len(other)))


def pairs_of(drawn: Drawn, style: int) -> np.ndarray:
    """Rows (people, 2) of a photorealistic shot of each person and another render in `style`."""
    pairs = []
    for person in np.unique(drawn.people):
        mine = np.flatnonzero(drawn.people == person)
        photos = mine[drawn.style()[mine] == STYLES.index(PHOTO)]
        others = mine[drawn.style()[mine] == style]
        both = [(a, b) for a in photos for b in others if drawn.renders[a] != drawn.renders[b]]
        pairs += both[:1]
    return np.array(pairs, int).reshape(-1, 2)


def people_table(drawn: Drawn, points: np.ndarray) -> dict[str, dict[str, Any]]:
    """By style: `auc` of photographs against it, with its 95 % interval over people, among all
    people and among people whom the same words describe."""
    table = {}
    words = drawn.codes[:, [GROUPS.index(group) for group in SAME_WORDS]]
    for code, style in enumerate(STYLES):
        photos, others = pairs_of(drawn, code).T
        if len(photos) < 2:
            continue
        apart = distances(points[photos], points[others])
        same = np.equal(words[photos][:, None], words[photos]).astype(float)
        alike = same.mean(2) >= 0.85
        rng, rounds = np.random.default_rng(0), []
        for _ in range(ROUNDS):
            rows = rng.integers(len(photos), size=len(photos))
            # A person drawn twice is no stranger to himself.
            rounds.append(auc(apart[np.ix_(rows, rows)], rows[:, None] != rows))
        low, high = np.quantile(rounds, (0.025, 0.975))
        table[style] = {
            "auc": auc(apart, np.ones_like(apart, bool)),
            "interval": (float(low), float(high)),
            "people": len(photos),
            "auc_same_words": auc(apart, alike),
        }
    return table


def thresholds(drawn: Drawn, points: np.ndarray) -> dict[str, float]:
    """What nearly all photorealistic pairs of one person keep to, and nearly all of two people."""
    photos, others = pairs_of(drawn, STYLES.index(PHOTO)).T
    if len(photos) < 2:
        return {}
    apart = distances(points[photos], points[others])
    same = np.eye(len(apart), dtype=bool)
    ends = np.quantile(apart[same], PERSON), np.quantile(apart[~same], STRANGERS)
    near, far = sorted(round(float(end), 2) for end in ends)
    return {"near": near, "far": far}


# --- The exam ------------------------------------------------------------------------------------


def examine(reader: Reader, drawn: Drawn, limits: Limits) -> dict[str, Any]:
    """All that is known of how well the reader reads drawn portraits."""
    reading = read(reader, drawn.images)
    inside = np.all((drawn.landmarks > 0) & (drawn.landmarks < 1), axis=2)
    away = np.linalg.norm(reading.landmarks - drawn.landmarks, axis=2)
    return {
        "portraits": len(drawn),
        "people": len(np.unique(drawn.people)),
        "words": words_table(drawn, reading),
        "numbers_r2": numbers_table(drawn, reading),
        "landmark_error": {n: float(away[inside[:, i], i].mean()) for i, n in enumerate(LANDMARKS)},
        "coherent": float(coherent(reading, limits).mean()),
        "broken_refused": broken_table(reader, drawn, limits),
        "identity": people_table(drawn, reading.points),
    }


def pass_on(state: Path, held_set: Path, folder: Path, at_most: int) -> dict[str, Any]:
    """Set the limits of the reader trained in `state`, examine it, write it to `folder`."""
    note = json.loads((state / "note.json").read_text())
    save_reader(trained_reader(state), {"limits": None}, folder)
    reader, _ = load_reader(folder)  # what is examined is what is shipped: 16 bits
    drawn = drawn_portraits(held_set, at_most)
    number = np.unique(drawn.people, return_inverse=True)[1]
    first, second = (drawn.rows(number % 2 == half) for half in (0, 1))
    reading = read(reader, first.images)
    limits = set_limits(reading)
    notes = {
        "steps": note["step"],
        "samples": note["samples"],
        "limits": vars(limits),
        "thresholds": thresholds(first, reading.points),
        "exam": examine(reader, second, limits),
        "curve": note["curve"],
    }
    save_reader(reader, notes, folder)
    return notes


def said(exam: dict[str, Any]) -> str:
    """The exam in some lines."""
    words, r2 = exam["words"], exam["numbers_r2"]["all"]
    lines = [
        f"{exam['portraits']} portraits of {exam['people']} people: words {words['mean']:.3f}, "
        f"numbers R2 {np.mean(list(r2.values())):.2f}, coherent {exam['coherent']:.3f}",
        "broken, refused: " + "  ".join(f"{w} {s:.2f}" for w, s in exam["broken_refused"].items()),
        "landmarks off: " + "  ".join(f"{n} {v:.3f}" for n, v in exam["landmark_error"].items()),
        "styles: " + "  ".join(f"{s} {v:.2f}" for s, v in words["styles"].items()),
        "mistaken: " + "; ".join(f"{w} {v:.2f}" for w, v in words["mistaken"].items()),
        "numbers: " + "  ".join(f"{n} {v:.2f}" for n, v in r2.items()),
    ]
    for group, value in words["groups"].items():
        each = "  ".join(f"{v} {s:.2f}" for v, s in words["values"][group].items())
        lines.append(f"  {group} {value:.3f}: {each}")
    for style, row in exam["identity"].items():
        low, high = row["interval"]
        lines.append(
            f"  known in {style}: AUC {row['auc']:.4f} ({low:.4f} to {high:.4f}, {row['people']} "
            f"people), same words {row['auc_same_words']:.4f}"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m recipes.mini.reader_exam")
    parser.description = (__doc__ or "").split("\n")[0]
    parser.add_argument("--held-set", type=Path, required=True, help="people never trained on")
    parser.add_argument("--state", type=Path, help="where the reader was trained")
    parser.add_argument("--write", type=Path, required=True, help="where it is written, or is")
    parser.add_argument("--portraits", type=int, default=4096, help="at most, limits and exam")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.state is None:
        reader, notes = load_reader(options.write)
        drawn = drawn_portraits(options.held_set, options.portraits)
        return print(said(examine(reader, drawn, limits_of(notes))))
    folder = options.state / "reader"
    print(said(pass_on(folder, options.held_set, options.write, options.portraits)["exam"]))


if __name__ == "__main__":
    main()
