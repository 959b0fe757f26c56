"""Measuring: answers that are known in advance come out, and what is not known is no number."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image, ImageEnhance

import portraitlib as pl
from portraitlib.measuring import appearance, likeness
from portraitlib.measuring import intervals as estimates
from portraitlib.measuring.result import ROW_FIGURES
from portraitlib.photos.faces.find import ENCODERS
from portraitlib.photos.read import gather, prepare_photo
from recipes.first_mini.subject import draw_shots

BLANK = Image.new("RGB", (96, 96), (120, 120, 120))


@pytest.fixture(scope="module")
def noise() -> list[Image.Image]:
    """Eight pictures of coloured noise, soft enough to survive a reduction to 32 px."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 256, (8, 12, 12, 3), dtype=np.uint8)
    return [Image.fromarray(each).resize((96, 96), Image.Resampling.BICUBIC) for each in coarse]


@pytest.fixture(scope="module")
def person(astronaut) -> pl.PhotoSet:
    """Three photos of one person."""
    shots = {
        "straight": astronaut,
        "left": astronaut.rotate(12, Image.Resampling.BICUBIC),
        "far": astronaut.crop((60, 0, 420, 360)).rotate(-9, Image.Resampling.BICUBIC),
    }
    photos = [prepare_photo(f"{name}.png", shot, 256) for name, shot in shots.items()]
    return gather(photos, source="here", identifier="jrdnpl", size_px=256)


def changed(astronaut) -> list[Image.Image]:
    """The person again: flipped, darkened, halved and turned."""
    return [
        astronaut.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        ImageEnhance.Brightness(astronaut).enhance(0.5),
        astronaut.resize((256, 256)).resize((512, 512)),
        astronaut.rotate(15, Image.Resampling.BICUBIC),
    ]


def portrait(image: Image.Image, seed: int, **recipe) -> pl.Portrait:
    return pl.Portrait(image, {"seed": seed, "model": "mini", **recipe})


# --- likeness ------------------------------------------------------------------------------------


def test_the_same_person_is_near_the_ceiling(astronaut, person):
    measured = pl.measure(changed(astronaut), person)
    assert [row["face"] for row in measured.rows] == ["found"] * 4
    scale = measured.scales["distance"]
    for row in measured.rows:
        assert abs(row["distance"] - scale.ceiling) < abs(row["distance"] - scale.floor)
        assert row["likeness"] > 0.7 and row["strangers_less_alike"] == 1.0
        assert row["likeness_by"] == "dlib"


def test_strangers_are_about_the_floor(person):
    encoder = ENCODERS["dlib"]
    (photos, missing) = likeness.photo_points(person, encoder)
    yardstick = likeness.make_yardstick(photos, encoder)
    rows = [yardstick.measure(point) for point in encoder.strangers(())]
    assert missing == []
    assert abs(np.median([row["likeness"] for row in rows])) < 0.01
    assert 0.45 <= np.mean([row["strangers_less_alike"] for row in rows]) <= 0.5
    assert max(row["likeness"] for row in rows) < 0.6


def test_a_photo_measured_against_the_others_is_at_the_ceiling(person):
    encoder = ENCODERS["dlib"]
    points, _ = likeness.photo_points(person, encoder)
    yardstick = likeness.make_yardstick(points, encoder)
    apart = estimates.distances(points, points)
    assert yardstick.ceiling == np.median([np.median(np.delete(r, i)) for i, r in enumerate(apart)])
    assert yardstick.measure(points[0])["likeness"] > 1  # not cut off: nearer than another photo


def test_no_face_is_an_outcome_of_its_own_and_never_averaged(astronaut, person):
    alone = pl.measure([astronaut], person)
    beside = pl.measure([astronaut, BLANK], person)
    row = beside.rows[1]
    assert row["face"] == "no face found"
    assert row["likeness"] is row["distance"] is row["strangers_less_alike"] is None
    assert beside["likeness"].mean == alone["likeness"].mean
    assert (beside["likeness"].count, beside["likeness"].missing) == (1, 1)
    assert beside["colourfulness"].count == 2
    assert "no face found in 1 of 2" in beside.summary


def test_where_no_portrait_has_a_face_there_is_no_number(person):
    measured = pl.measure([BLANK, BLANK], person)
    assert measured["likeness"].mean is measured["likeness"].interval is None
    assert measured["diversity"].mean is None
    assert "nan" not in measured.summary


def test_with_one_photo_the_ceiling_and_the_likeness_are_unknown(astronaut, person):
    one = dataclasses.replace(person, photos=person.photos[:1])
    measured = pl.measure([astronaut], one)
    assert measured.rows[0]["likeness"] is None and measured.rows[0]["distance"] is not None
    assert measured.scales["distance"].ceiling is None
    assert "takes two photos" in measured.summary


def test_the_photos_kind_chooses_the_encoder_and_kinds_are_never_mixed(astronaut, person):
    drawn = pl.subject_photos(held_out=True)
    with_drawings = pl.measure(drawn.images, drawn)
    assert {row["likeness_by"] for row in with_drawings.rows} == {"mini"}
    assert pl.measure([astronaut], person).rows[0]["likeness_by"] == "dlib"
    # A photograph is nobody for the encoder of drawings, whoever else would find a face in it.
    assert pl.measure([astronaut], drawn).rows[0]["face"] == "no face found"
    with pytest.raises(pl.UsageError, match="no face in any of the 3 for the encoder 'mini'"):
        pl.measure([astronaut], person, encoder="mini")
    mixed = dataclasses.replace(person, photos=(*person.photos, *drawn.photos[:1]))
    with pytest.raises(pl.UsageError, match="drawn portraits and photographs.*cannot be compared"):
        pl.measure([astronaut], mixed)
    named = pl.measure([astronaut], mixed, encoder="dlib")
    assert named.rows[0]["likeness"] > 0.7


def test_the_drawn_subject_is_more_like_itself_than_strangers_are():
    drawn = pl.subject_photos(held_out=True)
    again = [image for _, image in draw_shots()][:6]
    other = [image for _, image in draw_shots(seed=77)][:6]
    own, strange = (pl.measure(images, drawn)["likeness"].mean for images in (again, other))
    assert own > strange


@pytest.mark.slow
def test_a_portrait_of_a_stranger_whom_the_same_words_describe_is_at_the_floor(mini):
    words = "portrait of a young indian man, curly hair, trimmed beard, glasses, jawline"
    strangers = pl.text_to_image(mini, words, pl.Sampling(seed=100, num_images=12))
    measured = pl.measure(strangers, pl.subject_photos(held_out=True))
    low, high = measured["likeness"].interval
    assert low <= 0.1 and high < 0.5 and abs(measured["likeness"].mean) < 0.25
    assert 0.3 < measured["strangers_less_alike"].mean < 0.7


# --- the set -------------------------------------------------------------------------------------


def test_one_picture_again_and_again_has_no_diversity(noise):
    same = pl.measure([noise[0]] * 4)["diversity"]
    different = pl.measure(noise)["diversity"]
    assert same.mean == 0 and same.by == "colours at 32 px"
    assert different.mean > 10 and different.interval[0] > 0
    black_and_white = [Image.new("RGB", (50, 50), colour) for colour in ("black", "white")]
    assert pl.measure(black_and_white)["diversity"].mean == pytest.approx(100, abs=0.1)


def test_faces_of_strangers_are_as_diverse_as_strangers(person):
    strangers = ENCODERS["dlib"].strangers(())
    unit, _ = estimates.spread(strangers, range(24))
    value, interval = estimates.spread(strangers / unit, range(24))
    assert value == pytest.approx(1) and interval[0] < 1 < interval[1]


def test_the_same_set_has_not_drifted_and_another_one_has(noise):
    reference = [portrait(picture, seed) for seed, picture in enumerate(noise)]
    unmoved = pl.measure(reference, reference=reference)["drift"]
    assert unmoved.mean == pytest.approx(0, abs=1e-9)
    assert unmoved.interval[0] <= 0 <= unmoved.interval[1]
    tinted = [portrait(Image.blend(p, Image.new("RGB", p.size, "red"), 0.6), 50 + i)
              for i, p in enumerate(noise)]  # fmt: skip
    moved = pl.measure(tinted, reference=reference)["drift"]
    assert moved.mean > moved.scale.floor and moved.interval[0] > 0


def test_drift_of_a_known_shift_is_known():
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(200, 8))
    far = reference + 1000.0
    spread, _ = estimates.spread(reference, range(200))
    value, _ = estimates.drift(far, reference, range(200, 400), range(200))
    assert value == pytest.approx(2 * np.sqrt(8) * 1000 / spread, rel=0.01)
    again = rng.normal(size=(200, 8))
    value, interval = estimates.drift(again, reference, range(200, 400), range(200))
    assert abs(value) < 0.02 and interval[0] < 0 < interval[1]


# --- how sure ------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [4, 8, 20])
def test_the_interval_covers_the_truth_in_about_19_of_20_sets(count):
    rng = np.random.default_rng(5)
    intervals = [estimates.mean_interval(rng.normal(size=count)) for _ in range(200)]
    covered = np.mean([low <= 0 <= high for low, high in intervals])
    assert 0.85 <= covered <= 0.99


def test_pictures_of_one_seed_are_not_taken_for_independent():
    values = np.repeat(np.random.default_rng(0).normal(size=6), 10)
    seeds = np.repeat(np.arange(6), 10).tolist()
    narrow, wide = (estimates.mean_interval(values, units) for units in (None, seeds))
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])
    assert estimates.mean_interval(values, [0] * 60) is None


def test_the_same_portraits_give_the_same_figures(noise):
    first, again = (pl.measure(noise, reference=noise) for _ in range(2))
    assert first.rows == again.rows and first.figures == again.figures
    assert first.summary == again.summary


# --- rows, records, texts ------------------------------------------------------------------------


def test_every_figure_stands_in_the_rows_and_the_text(mini):
    prompt = "portrait of a man, in jungle"
    sampling = pl.Sampling(num_images=4, num_inference_steps=4)
    portraits = pl.text_to_image(mini, prompt, sampling)
    edges = appearance.find_edges(portraits[0].image)
    measured = pl.measure(portraits, prompt=prompt, edges=edges, reference=portraits, features=True)
    assert [row["seed"] for row in measured.rows] == [0, 1, 2, 3]
    assert measured.rows[0]["fidelity_by"] == "mini's judge"
    names = [name for name in (*ROW_FIGURES, "diversity", "drift") if name in measured.figures]
    assert len(names) == len(measured.figures) >= 8
    for name in names:
        assert name in measured.summary
    assert measured.rows[0]["edge_f1"] == 1.0 and 0 <= measured.scales["edge_f1"].floor < 1
    assert measured.scales["prompt_seen"].floor < measured.scales["prompt_seen"].ceiling
    assert repr(measured) == measured.summary and "4 portraits, 4 seeds" in repr(measured)


def test_measure_stays_a_function_after_its_module_is_imported():
    import portraitlib.measuring.measure  # noqa: F401

    assert callable(pl.measure)


# --- sweeps --------------------------------------------------------------------------------------


def tint(model, prompt, sampling=pl.Sampling(), *, greyness=0.0):  # noqa: B008
    """A generating function: noise of a seed, greyer with greyness; some of it fails."""
    if greyness == 0.9:
        raise RuntimeError("no")
    made = []
    for seed in range(sampling.seed, sampling.seed + sampling.num_images):
        pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        picture = Image.fromarray(pixels).resize((64, 64))
        made.append(portrait(ImageEnhance.Color(picture).enhance(1 - greyness), seed))
    return made


def test_a_sweep_is_measured_by_setting():
    vary = {"greyness": [0.0, 0.5, 1.0]}
    table = pl.sweep(tint, None, "a man", pl.Sampling(seed=7, num_images=3), vary=vary)
    measured = pl.measure(table, model="sdxl")  # noise has no face: compared by colours
    assert [row["greyness"] for row in measured.rows] == [0.0] * 3 + [0.5] * 3 + [1.0] * 3
    assert (len(measured), measured["colourfulness"].seeds) == (9, 3)
    parts = measured.by("greyness")
    assert [len(part) for part in parts.values()] == [3, 3, 3]
    assert parts[0.0]["colourfulness"].mean > parts[0.5]["colourfulness"].mean
    assert parts[1.0]["colourfulness"].mean == 0
    seeds, values = measured.curve("colourfulness", over="greyness")
    assert seeds == [7, 8, 9] and values.shape == (3, 3) and (np.diff(values) < 0).all()
    seeds, values = measured.curve("diversity", over="greyness")
    assert seeds == ["all"] and values[0, 0] > values[0, 2] > 0
    assert values[0, 1] == parts[0.5]["diversity"].mean


def test_a_failed_combination_and_a_missing_face_are_gaps_in_a_curve(astronaut, person):
    vary = {"greyness": [0.0, 0.9]}
    with pytest.warns(UserWarning):
        table = pl.sweep(tint, None, "a man", pl.Sampling(num_images=2), vary=vary)
    measured = pl.measure(table, person)
    assert "1 of 2 combinations failed" in measured.summary
    assert list(measured.by("greyness")) == [0.0]
    assert np.isnan(measured.curve("likeness", over="greyness")[1]).all()
    _, values = measured.curve("sharpness", over="greyness")
    assert np.isfinite(values[:, 0]).all() and np.isnan(values[:, 1]).all()


def test_a_curve_over_one_setting_of_two_asks_to_select():
    vary = {"greyness": [0.0, 0.5], "guidance_scale": [1.0, 2.0]}
    measured = pl.measure(pl.sweep(tint, None, "a man", vary=vary))
    with pytest.raises(pl.UsageError, match="guidance_scale varies too; select one value"):
        measured.curve("sharpness", over="greyness")
    for name, over in (("sharpnes", "greyness"), ("sharpness", "greynesss")):
        with pytest.raises(pl.UsageError, match="expected one of"):
            measured.by("guidance_scale")[1.0].curve(name, over=over)
    assert measured.by("guidance_scale")[1.0].curve("sharpness", "greyness")[1].shape == (1, 2)


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"portraits": []}, "portraits: got 0, expected at least 1"),
        ({"portraits": BLANK}, r"got Image, expected a list.*try \[portrait\]"),
        ({"portraits": "faces/"}, "portraits: got str, expected a list"),
        ({"portraits": [np.zeros((9, 9))]}, "got ndarray among them"),
        ({"photos": [BLANK]}, "photos: got list, expected a PhotoSet; try pl.read_photos"),
        ({"edges": np.zeros((95, 96))}, r"edges: got shape \(95, 96\), expected \(96, 96\)"),
        ({"edges": np.zeros((96, 96))}, "edges: got nothing but black"),
        ({"edges": "edges.png"}, "edges: got"),
        (
            {"edges": np.ones((96, 96)), "portraits": [BLANK, BLANK.resize((64, 64))]},
            "64x64, 96x96",
        ),
        ({"tolerance_px": float("nan")}, "tolerance_px: got nan"),
        ({"tolerance_px": True}, "tolerance_px: got True"),
        ({"prompt": " , "}, "expected some words"),
        ({"prompt": ["a man", "a boy"]}, "prompt: got 2 for 1 portraits"),
        ({"prompt": 3}, "prompt: got 3, expected a text"),
        ({"prompt": "a man"}, 'do not say which model.*try model="mini"'),
        ({"model": "minni"}, "did you mean mini"),
        ({"model": 3}, "model: got int"),
        ({"encoder": "eyes"}, "encoder: got 'eyes', expected None or one of 'mini'"),
        ({"reference": [BLANK]}, "reference: got 1, expected at least 4"),
        ({"reference": [BLANK] * 4}, "reference: got one picture again and again"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, says):
    with pytest.raises(pl.UsageError, match=says) as refusal:
        pl.measure(**{"portraits": [BLANK], **arguments})
    assert "\n" not in str(refusal.value)


def test_portraits_of_models_with_different_judges_are_measured_apart():
    portraits = [portrait(BLANK, 0), portrait(BLANK, 1, model="sdxl")]
    with pytest.raises(pl.UsageError, match="made by mini, sdxl, whose judges differ"):
        pl.measure(portraits, prompt="a man")
