"""People of the rendered world: ages as geometry, clothes by word. No heads are needed."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # recipes are outside the package

from recipes.mini.world.ages import aged
from recipes.mini.world.words import Look

# Where the bank's mean head has its landmarks, metres.
MARKS = {
    "nose": (0, 0.019, 0.117), "bridge": (0, 0.054, 0.096), "chin": (0, -0.057, 0.093),
    "mouth": (0, -0.016, 0.102), "mouth_right": (-0.028, -0.017, 0.088),
    "mouth_left": (0.028, -0.017, 0.088), "cheek_right": (-0.049, -0.003, 0.076),
    "cheek_left": (0.049, -0.003, 0.076), "brow_right": (-0.036, 0.072, 0.09),
    "brow_left": (0.036, 0.072, 0.09), "head_top": (0, 0.181, -0.028),
    "ear_left": (0.093, 0.045, -0.033), "ear_right": (-0.093, 0.045, -0.033),
    "eye_left": (0.032, 0.055, 0.075), "eye_right": (-0.032, 0.055, 0.075),
}  # fmt: skip
AT = {name: np.array(place, dtype=float) for name, place in MARKS.items()}
POINTS = np.stack(list(AT.values()))


def moved(**words: str) -> dict[str, np.ndarray]:
    """How far each landmark moves in a look."""
    return dict(zip(AT, aged(POINTS, AT, Look(**words)), strict=True))


@pytest.mark.parametrize("who", ["man", "woman"])
def test_adults_begin_what_the_old_have_further(who):
    d, old = moved(who=who, age="adult"), moved(who=who, age="old")
    for side in ("left", "right"):
        assert old[f"mouth_{side}"][1] < d[f"mouth_{side}"][1] < 0
        assert old[f"cheek_{side}"][2] < d[f"cheek_{side}"][2] < 0
        assert old[f"brow_{side}"][1] < d[f"brow_{side}"][1] < 0
    assert np.abs([d["nose"], d["chin"]]).max() < 1e-4  # bones stay


@pytest.mark.parametrize("who", ["boy", "girl"])
def test_children_have_short_faces_and_small_noses(who):
    d = moved(who=who)
    eyes = d["eye_left"][1]
    assert eyes < 0  # they sit lower on the head
    assert d["chin"][1] > eyes + 0.01
    assert d["nose"][2] < -0.004


def test_the_old_have_drooping_corners_and_long_noses():
    d = moved(who="woman", age="old")
    assert d["nose"][1] < -0.002
    assert d["mouth_left"][1] < 0 and d["mouth_right"][1] < 0
    assert d["ear_left"] == pytest.approx(d["ear_right"] * (-1, 1, 1), abs=1e-6)


def test_dimples_are_dents_beside_the_mouth():
    beside = AT["mouth_left"] + (0.015, 0.003, -0.010)
    dent = aged(beside[None], AT, Look(dimples="yes"))[0]
    assert dent[0] < -0.001 and dent[2] < -0.001


@pytest.fixture(scope="module")
def clothes():
    pytest.importorskip("meshoptimizer", reason="heads are read with it")
    from recipes.mini.world import clothes

    return clothes


def test_the_same_seed_wears_the_same(clothes):
    look = Look(clothing="t-shirt")
    assert clothes.garment(5, look, "M") == clothes.garment(5, look, "M")
    others = {clothes.garment(5, look, "M", wear=k).colors for k in range(4)}
    assert len(others) > 1


@pytest.mark.parametrize(
    ("word", "kind"),
    [("suit", "suit"), ("doctor's coat", "coat"), ("uniform", "uniform"), ("t-shirt", "shirt")],
)
def test_words_are_cuts(clothes, word, kind):
    assert clothes.garment(1, Look(clothing=word), "M").kind == kind


def test_necklines_end_below_the_throat(clothes):
    throat, chest = np.array([[0, -0.10, 0.04]]), np.array([[0, -0.30, 0.09]])
    for neck in clothes.NECKS:
        assert clothes.neckline(throat, neck) > 0 > clothes.neckline(chest, neck)
