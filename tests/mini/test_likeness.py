"""The encoder of drawn faces: who is who, in any style, wherever the face lies in the picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from portraitlib.mini.likeness import CANONICAL, FACE_PX, WEIGHTS, align, embed, load_likeness
from portraitlib.mini.strangers import STRANGERS, describe, strangers
from recipes.first_mini.drawings import HELD_OUT
from recipes.first_mini.figures import size_mb
from recipes.first_mini.likeness import SIBLINGS, draw_people
from recipes.first_mini.likeness_exam import PHOTO, auc, distances, points_of


@pytest.fixture(scope="module")
def encoder():
    return load_likeness()[0]


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """40 people nobody has seen: two photorealistic shots, one comic book, one anime."""
    path = tmp_path_factory.mktemp("people") / "people.npz"
    styles = (PHOTO, PHOTO, "comic book", "anime")
    return draw_people(path, 5, HELD_OUT + 2_000_000, styles, rarely=0)


@pytest.fixture(scope="module")
def points(encoder, people):
    return points_of(encoder, people)


def everybody(count: int) -> np.ndarray:
    return np.ones((count, count), bool)


def test_two_shots_of_one_person_lie_nearer_than_those_of_two_people(points):
    assert auc(distances(points[:, 0], points[:, 1]), everybody(len(points))) >= 0.99


def test_a_drawn_portrait_is_known_by_a_photorealistic_shot(points):
    assert auc(distances(points[:, 0], points[:, 2]), everybody(len(points))) >= 0.95


def test_people_of_one_description_are_told_apart(points):
    family = np.arange(len(points)) // SIBLINGS
    assert auc(distances(points[:, 0], points[:, 1]), family[:, None] == family) >= 0.9


def test_points_have_length_one_and_do_not_depend_on_the_batch(encoder, people):
    images, places = people.images[:6, 0], people.landmarks[:6, 0]
    together = embed(encoder, images, places)
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-4)
    alone = np.concatenate([embed(encoder, images[i, None], places[i, None]) for i in range(6)])
    assert np.abs(together - alone).max() < 1e-3
    assert embed(encoder, images[:0], places[:0]).shape == (0, together.shape[1])


@pytest.mark.parametrize("turn", [0.0, 0.3, -0.2])
@pytest.mark.parametrize("size", [0.5, 0.8])
def test_alignment_brings_landmarks_home(turn, size):
    cells = 256
    canonical = np.array(CANONICAL) - 0.5
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    places = size * canonical @ rotation.T + [0.52, 0.47]
    picture = np.zeros((1, 3, cells, cells), np.float32)
    for x, y in places:  # a dot at each landmark
        picture[0, :, round(y * cells - 0.5), round(x * cells - 0.5)] = 1
    blurred = torch.nn.functional.avg_pool2d(torch.from_numpy(picture), 7, 1, 3)
    face = align(blurred, torch.from_numpy(places[None].astype(np.float32)))[0, 0].numpy()
    for x, y in CANONICAL:
        row, column = round(y * FACE_PX - 0.5), round(x * FACE_PX - 0.5)
        near = face[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
        assert near.max() > 0.5 * face.max()


def test_a_wider_face_stays_wider_when_it_is_aligned():
    narrow, wide = np.array(CANONICAL), np.array(CANONICAL)
    wide[:2, 0] = 0.5 + 1.3 * (wide[:2, 0] - 0.5)
    stripes = torch.linspace(-1, 1, 96).expand(1, 3, 96, 96)
    seen = [
        align(stripes, torch.from_numpy(marks[None].astype(np.float32)))[0, 0, 32]
        for marks in (narrow, wide)
    ]
    spans = [float(row[-1] - row[0]) for row in seen]
    # The eyes alone are further apart: the frame hardly grows, so the difference can be seen.
    assert 1.0 <= spans[1] / spans[0] < 1.1


def test_strangers_fit_the_description_and_are_always_the_same(people, points):
    said = describe(people.images[:1, 0])
    others = strangers(said)
    assert others.shape == (STRANGERS, points.shape[2])
    assert others is strangers(said)
    same = distances(points[:1, 0], points[:1, 1])[0, 0]
    assert same < np.quantile(distances(points[:1, 0], others), 0.1)


def test_the_weights_are_small():
    assert size_mb(WEIGHTS) <= 6


def test_auc_of_known_distances():
    apart = np.array([[0.1, 0.9], [0.8, 0.2]])
    assert auc(apart, everybody(2)) == 1
    assert auc(1 - apart, everybody(2)) == 0
    assert auc(np.ones((3, 3)), everybody(3)) == 0.5
