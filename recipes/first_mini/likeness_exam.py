"""Examines the encoder of drawn faces on people that it has never seen, and sets its thresholds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from portraitlib.mini.judge import load_judge, read
from portraitlib.mini.likeness import WEIGHTS, LikenessEncoder, embed, load_likeness
from portraitlib.mini.words import STYLES

from .drawings import HELD_OUT
from .likeness import DRAWN_PX, SIBLINGS, People, draw_people, save_likeness, trained_likeness

PHOTO, DRAWN_STYLES = STYLES[0], STYLES[1:]
EXAM_STYLES = (PHOTO, PHOTO, *DRAWN_STYLES)
EXAM_FAMILIES = 63  # 504 people
LIMIT_FAMILIES = 50  # others, that the thresholds are set on
ROUNDS = 200  # of the bootstrap over people

# Quantiles that the thresholds are set at: of one person, and of two people of one description.
PERSON, STRANGERS = 0.98, 0.02


def points_of(encoder: LikenessEncoder, people: People) -> np.ndarray:
    """The points of all shots, (people, shots, 64), as in use: the judge finds the landmarks."""
    images = people.images.reshape(-1, DRAWN_PX, DRAWN_PX, 3)
    landmarks = read(load_judge()[0], images).landmarks
    return embed(encoder, images, landmarks).reshape(*people.images.shape[:2], -1)


def distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Euclidean distances of points of length 1, (n, 64) and (m, 64) to (n, m)."""
    return np.sqrt(np.clip(2 - 2 * one @ other.T, 0, None))


def auc(apart: np.ndarray, among: np.ndarray) -> float:
    """How often one person's two shots lie nearer than those of two people.

    apart: (people, people) distances, of one shot of each to another shot of each; among: the
    same shape, bool, which pairs of people to count. 1 is always, 0.5 is chance.
    """
    same = np.diag(apart)
    other = np.sort(apart[among & ~np.eye(len(apart), dtype=bool)])
    below = np.searchsorted(other, same, "left") + np.searchsorted(other, same, "right")
    return float(1 - below.mean() / (2 * len(other)))


def auc_row(apart: np.ndarray) -> dict[str, Any]:
    """`auc` among everybody, with its 95 % interval over people, and among people whom the same
    words describe."""
    count = len(apart)
    everybody = np.ones_like(apart, bool)
    family = np.arange(count) // SIBLINGS
    rng = np.random.default_rng(0)
    rounds = []
    for _ in range(ROUNDS):
        rows = rng.integers(count, size=count)
        # A person drawn twice is no stranger to himself.
        rounds.append(auc(apart[np.ix_(rows, rows)], rows[:, None] != rows))
    low, high = np.quantile(rounds, (0.025, 0.975))
    return {
        "auc": auc(apart, everybody),
        "interval": (float(low), float(high)),
        "people": count,
        "auc_same_words": auc(apart, family[:, None] == family),
    }


def examine(encoder: LikenessEncoder, people: People) -> dict[str, Any]:
    """How well the encoder tells people apart: photorealistic shots, and those against each
    drawn style. Shots of `people` are in the order of `EXAM_STYLES`."""
    points = points_of(encoder, people)
    return {
        style: auc_row(distances(points[:, 0], points[:, index]))
        for index, style in enumerate(EXAM_STYLES)
        if index
    }


def thresholds(points: np.ndarray) -> dict[str, float]:
    """`near` and `far` of `face.Encoder` from photorealistic shots, (people, shots, 64): what
    nearly all shots of one person keep to, and nearly all people of one description."""
    apart = distances(points[:, 0], points[:, 1])
    family = np.arange(len(points)) // SIBLINGS
    same = np.eye(len(points), dtype=bool)
    strangers = apart[(family[:, None] == family) & ~same]
    ends = np.quantile(apart[same], PERSON), np.quantile(strangers, STRANGERS)
    near, far = sorted(round(float(end), 2) for end in ends)
    return {"near": near, "far": far}


def exam_people(state: Path) -> People:
    """The people of the exam, drawn once and kept in `state`."""
    return draw_people(state / "exam.npz", EXAM_FAMILIES, HELD_OUT, EXAM_STYLES, rarely=0)


def say(exam: dict[str, Any]) -> None:
    """Print an exam, a line a style."""
    for style, row in exam.items():
        low, high = row["interval"]
        print(
            f"{style:16} AUC {row['auc']:.4f} ({low:.4f} to {high:.4f}), same words "
            f"{row['auc_same_words']:.4f}",
            flush=True,
        )


def pass_on(state: Path, folder: Path = WEIGHTS) -> dict[str, Any]:
    """Examine the encoder trained in `state`, set its thresholds, write it to the package."""
    note = json.loads((state / "note.json").read_text())
    save_likeness(trained_likeness(state), {}, folder)
    encoder, _ = load_likeness(folder)  # what is examined is what is shipped: 16 bits
    limits = draw_people(
        state / "limits.npz", LIMIT_FAMILIES, HELD_OUT + 1_000_000, (PHOTO, PHOTO), rarely=0
    )
    notes = {
        "steps": note["step"],
        "thresholds": thresholds(points_of(encoder, limits)),
        "exam": examine(encoder, exam_people(state)),
        "curve": note["curve"],
    }
    save_likeness(encoder, notes, folder)
    print("thresholds", notes["thresholds"])
    say(notes["exam"])
    return notes
