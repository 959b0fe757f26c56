"""Places and styles of the rendered world, on a ball with a face: no heads are needed."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # recipes are outside the package

from recipes.mini.world import buffers as b
from recipes.mini.world import scenery, styles
from recipes.mini.world.canvas import Canvas
from recipes.mini.world.places import Place, linear
from recipes.mini.world.words import Look

SIZE_PX = 512


@pytest.fixture(scope="module")
def ball() -> b.Buffers:
    """A ball of skin with hair on top, two eyes and a mouth, lit from the upper left."""
    y, x = np.mgrid[:SIZE_PX, :SIZE_PX].astype(np.float32)
    u, v = (x - 256) / 150, (y - 256) / 190
    z = np.sqrt(np.clip(1 - u**2 - v**2, 0, 1))
    seen = u**2 + v**2 < 1
    normal = np.stack([u, -v, z], -1) * seen[..., None]
    parts = np.where(seen, np.where(v < -0.5, b.HAIR, b.FACE), b.BACKGROUND).astype(np.uint8)
    albedo = np.where((parts == b.HAIR)[..., None], [0.2, 0.12, 0.08], [0.85, 0.65, 0.55])
    for center in (206, 306):
        parts[np.hypot((x - center) / 22, (y - 236) / 10) < 1] = b.EYES
        albedo[np.hypot((x - center) / 22, (y - 236) / 10) < 1] = 0.9
        albedo[np.hypot(x - center, y - 236) < 9] = [0.2, 0.3, 0.5]
    lips = np.hypot((x - 256) / 40, (y - 350) / 12) < 1
    parts[lips], albedo[lips] = b.LIPS, [0.7, 0.35, 0.35]
    light = np.array([-0.5, 0.5, 0.7]) / np.linalg.norm([0.5, 0.5, 0.7])
    shade = 0.3 + 0.8 * np.clip(normal @ light, 0, 1)
    flow = np.stack([np.zeros_like(u), np.ones_like(u)], -1) * seen[..., None]
    marks = zip(
        b.LANDMARKS,
        [(206, 236), (306, 236), (256, 290), (218, 350), (294, 350), (256, 446)]
        + [(106, 260), (406, 260), (256, 66)],
        strict=True,
    )
    return b.Buffers(
        color=(albedo**2.2 * (shade * seen)[..., None]).astype(np.float32),
        albedo=albedo.astype(np.float32),
        alpha=seen.astype(np.float32),
        normal=normal.astype(np.float32),
        depth=np.where(seen, 1.2 - 0.1 * z, np.inf).astype(np.float32),
        parts=parts,
        flow=flow.astype(np.float32),
        landmarks={name: (float(x), float(y)) for name, (x, y) in marks},
        light=light.astype(np.float32),
    )


def drawn_place(kind: str) -> Place:
    canvas = Canvas(SIZE_PX)
    scenery.PAINTERS[kind](canvas, np.random.default_rng(3))
    image = linear(canvas.pixels).astype(np.float32)
    return Place(kind, image, np.zeros((9, 3)), np.array([0.0, 0, 1]), np.ones(3))


@pytest.mark.parametrize("style", styles.STYLES)
@pytest.mark.parametrize("mood", ["none", "dramatic"])
def test_a_style_draws_the_same_picture_for_the_same_seed(style, mood, ball):
    look = Look(style=style, mood=mood, texture="curly")
    once, again, other = (
        styles.apply(style, ball, drawn_place("beach"), look, np.random.default_rng(seed))
        for seed in (0, 0, 1)
    )
    assert once.shape == (256, 256, 3) and once.dtype == np.uint8
    assert np.array_equal(once, again)
    assert style == "pixel art" or not np.array_equal(once, other)
    assert once[60:200, 90:170].std() > 8  # there is a face, not a wall


def test_pixel_art_has_one_grid_and_few_colours(ball):
    picture = styles.apply(
        "pixel art", ball, drawn_place("city"), Look(style="pixel art"), np.random.default_rng(0)
    )
    blocks = picture.reshape(64, 4, 64, 4, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) <= 24


@pytest.mark.parametrize("kind", scenery.PAINTERS)
def test_a_place_is_painted_anew_by_another_seed(kind):
    pictures = []
    for seed in (0, 0, 1):
        canvas = Canvas(128)
        scenery.PAINTERS[kind](canvas, np.random.default_rng(seed))
        pictures.append(canvas.pixels)
    assert np.array_equal(pictures[0], pictures[1])
    assert np.abs(pictures[0].astype(int) - pictures[2]).mean() > 4


@pytest.mark.parametrize("style", styles.STYLES)
def test_a_picture_without_a_person_is_drawn(style, ball):
    nobody = b.Buffers(
        **{**vars(ball), "alpha": ball.alpha * 0, "parts": ball.parts * 0, "color": ball.color * 0}
    )
    place = drawn_place("forest")
    picture = styles.apply(style, nobody, place, Look(style=style), np.random.default_rng(0))
    assert picture.std() > 5
