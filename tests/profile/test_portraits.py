"""From photos to portraits that are worth keeping: what is kept, and what happens in between."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

import portraitlib as pl
from portraitlib.cost import Budget
from portraitlib.profile import search as searching
from portraitlib.profile.findings import LEAST_LIKENESS, SMALL, Finding, make_judge
from portraitlib.profile.handover import EXPORT_SIZES
from portraitlib.profile.mend import mend
from portraitlib.profile.styles import MOST_EDGES, MOST_SCALE, STYLES, Setting, find_styles, move

STYLE = ["photorealistic", "comic book"]


@pytest.fixture(scope="module")
def his():
    return pl.subject_photos()


@pytest.fixture(scope="module")
def made(mini, his, tmp_path_factory):
    """A whole run without a training, and what it said."""
    said: list = []
    folder = tmp_path_factory.mktemp("run") / "portraits"
    done = pl.make_portraits(
        mini, his, STYLE, folder=folder, keep=2, quick=True, on_step=said.append
    )
    return done, said


def drawn_seeds(folder) -> dict[str, list[int]]:
    """Style's folder -> the seeds that its search says were drawn."""
    return {
        path.parent.name: [
            row["seed"] for b in json.loads(path.read_text())["batches"] for row in b["drawn"]
        ]
        for path in folder.glob("drawn/*/search.json")
    }


@pytest.fixture
def drawings(monkeypatch) -> list[int]:
    """The seeds that are really drawn from now on."""
    seeds: list[int] = []

    def counted(draw):
        def wrapped(*given, **named):
            portraits = draw(*given, **named)
            seeds.extend(portrait.recipe["seed"] for portrait in portraits)
            return portraits

        return wrapped

    for name in ("text_to_image", "control_to_image"):
        monkeypatch.setattr(searching, name, counted(getattr(searching, name)))
    return seeds


# --- what is handed over -------------------------------------------------------------------------


def test_what_is_kept_is_the_person_in_the_style(made):
    done, _ = made
    assert list(done.kept) == STYLE
    for style, kept in done.kept.items():
        assert len(kept) == 2
        for drawn in kept:
            assert drawn.finding.good and drawn.finding.likeness >= LEAST_LIKENESS
            assert drawn.finding.low <= drawn.finding.likeness <= drawn.finding.high
        assert [p.recipe["seed"] for p in done.portraits(style)] == [d.seed for d in kept]


def test_the_judges_agree_with_measure(mini, his, made):
    done, _ = made
    portraits = done.portraits("comic book")
    words = "portrait of a man, smiling, comic book style"
    rows = pl.measure(portraits, replace(his, photos=his.photos[1:]), words).rows
    assert all(row["prompt_seen"] == 1 and row["face"] == "found" for row in rows)


def test_it_says_how_far_it_is(made):
    done, said = made
    assert said[0].step == 0 and "12 used" in str(said[0])
    assert [s.step for s in said] == sorted(s.step for s in said)
    assert said[-1].step == said[-1].total == 4
    assert "2 of 2 kept" in str(said[-1])


def test_the_page_shows_every_portrait_and_every_batch(made):
    done, _ = made
    page = done.page.read_text()
    files = sorted(path.name for path in (done.folder / "portraits").iterdir())
    assert len(files) == 4 and all(page.count(f"portraits/{name}") >= 3 for name in files)
    assert page.count('class="at"') == sum(len(search.batches) for search in done.searches)
    assert "likeness 0 is a stranger drawn in the style" in page
    assert str(done.folder) not in page  # it can be moved
    again = (done.folder / "README.txt").read_text()
    assert all(name in again for name in files)


def test_every_site_gets_its_size_and_no_metadata_but_the_mark(made):
    done, _ = made
    for path in (done.folder / "portraits").iterdir():
        for row in EXPORT_SIZES:
            file = (
                done.folder / "exports" / path.stem / f"{path.stem}-{row.site.lower()}{row.ending}"
            )
            content = file.read_bytes()
            assert len(content) <= row.most_bytes and b"trainedAlgorithmicMedia" in content
            with Image.open(file) as picture:
                assert (picture.format, picture.size) == (row.form, (row.size_px, row.size_px))
                assert not picture.getexif()
    page = done.page.read_text()
    assert "enlarged from 96 px" in page


# --- stopped and gone on -------------------------------------------------------------------------


def test_the_same_again_draws_nothing(mini, his, made, drawings):
    done, _ = made
    again = pl.make_portraits(mini, his, STYLE, folder=done.folder, keep=2, quick=True)
    assert drawings == [] and again.kept == done.kept


@pytest.mark.parametrize("where", ["after a batch", "while drawing", "between drawing and looking"])
def test_a_run_that_was_stopped_goes_on(mini, his, made, tmp_path, drawings, monkeypatch, where):
    done, _ = made
    given = {"folder": tmp_path / "run", "keep": 2, "quick": True}

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        words = {
            "after a batch": "comic book: .* kept",
            "while drawing": "comic book: drawing .* 2 ",
        }
        if where in words:
            given["on_step"] = lambda now: re.match(words[where], str(now)) and stop()
        else:
            patched.setattr(searching.Judge, "look", stop)
        pl.make_portraits(mini, his, STYLE, **given)
    assert drawings
    again = pl.make_portraits(mini, his, STYLE, **given | {"on_step": None})
    seeds = drawn_seeds(done.folder)
    assert drawn_seeds(tmp_path / "run") == seeds
    assert sorted(drawings) == sorted(s for style in seeds.values() for s in style)  # none twice
    assert {k: [d.file for d in v] for k, v in again.kept.items()} == {
        k: [d.file for d in v] for k, v in done.kept.items()
    }


def test_more_to_keep_goes_on_from_what_there_is(mini, his, tmp_path, drawings):
    given = {"folder": tmp_path / "run", "quick": True}
    first = pl.make_portraits(mini, his, STYLE[:1], keep=1, **given)
    count = len(drawings)
    more = pl.make_portraits(mini, his, STYLE[:1], keep=2, **given)
    assert more.kept["photorealistic"][: len(first.kept["photorealistic"])]
    assert more.kept["photorealistic"][0] == first.kept["photorealistic"][0]
    assert len(set(drawings)) == len(drawings) >= count
    fewer = pl.make_portraits(mini, his, STYLE[:1], keep=1, **given)
    assert len(list((tmp_path / "run" / "portraits").iterdir())) == 1
    assert len(list((tmp_path / "run" / "exports").iterdir())) == 1
    assert fewer.kept == first.kept


def test_the_folder_of_somebody_else_is_refused(mini, his, made):
    done, _ = made
    with pytest.raises(pl.UsageError, match="photos"):
        others = pl.subject_photos(held_out=True)
        pl.make_portraits(mini, others, STYLE, folder=done.folder, keep=2, quick=True)


def test_a_budget_hands_over_what_there_is(mini, his, tmp_path):
    done = pl.make_portraits(
        mini, his, STYLE, folder=tmp_path / "run", quick=True, budget=Budget(seconds=0.01)
    )
    assert "used up" in done.stopped and done.page.is_file()
    assert any("of 3 after" in note for note in done.notes)


def test_a_style_that_never_comes_is_given_up_and_said(mini, his, tmp_path, monkeypatch):
    monkeypatch.setattr(searching, "MOST_EACH", 2)
    monkeypatch.setattr(searching, "is_missing", searching.is_missing)
    low = [pl.Style("hidden", "smiling, long hair, curly hair, bald", scale=0.4)]
    monkeypatch.setattr("portraitlib.profile.make.find_styles", lambda names: low)
    done = pl.make_portraits(mini, his, folder=tmp_path / "run", keep=1, quick=True)
    assert not done.kept["hidden"]
    assert "0 of 1 after 2 drawn" in done.notes[-1] and "in 2" in done.notes[-1]
    assert "0 of 1 after 2 drawn" in done.page.read_text()


# --- a face that was taught ----------------------------------------------------------------------


def test_an_adapter_takes_the_place_of_a_training(mini, his, tmp_path, taught_briefly):
    done = pl.make_portraits(
        mini, his, ["photorealistic"], folder=tmp_path / "run", keep=1, adapter=taught_briefly
    )
    drawn = done.searches[0].drawn[0]
    recipe = pl.Portrait.open(tmp_path / "run" / drawn.file).recipe
    assert recipe["adapter"][0]["hash"] == taught_briefly.hash
    assert recipe["adapter"][0]["scale"] == STYLES["photorealistic"].scale
    assert done.learning is None and "jrdnpl" in done.searches[0].prompt
    again = (tmp_path / "run" / "README.txt").read_text()
    assert 'recipe["adapter"][0]["scale"]' in again and "person=" not in again
    first = tmp_path / "run" / "portraits" / "one.png"
    pl.Portrait.open(tmp_path / "run" / drawn.file).save(first)
    same = pl.draw_again(first, drawn.seed, model=mini)
    other = pl.draw_again(first, 77, model=mini)
    assert other.recipe["seed"] == 77 and other.recipe["adapter"] == recipe["adapter"]
    before = np.asarray(pl.Portrait.open(first).image, int)
    assert (np.abs(np.asarray(same.image, int) - before) > 8).mean() < 0.01  # alone, not in a batch
    assert np.abs(np.asarray(other.image, int) - before).mean() > 5
    (tmp_path / "run" / "face.safetensors").unlink()
    with pytest.raises(pl.UsageError, match="face.safetensors is missing"):
        pl.draw_again(first, 5, model=mini)


@pytest.fixture(scope="module")
def taught_briefly(mini, his, tmp_path_factory):
    settings = pl.DreamBooth(instance_prompt="portrait of jrdnpl man", max_train_steps=8)
    return pl.train_dreambooth(mini, his, settings, folder=tmp_path_factory.mktemp("training"))


def test_one_that_holds_to_a_photo_is_drawn_again_with_the_photo(mini, his, made):
    done, _ = made
    path = done.folder / done.kept["comic book"][0].file
    with pytest.raises(pl.UsageError, match="folder of the photos"):
        pl.draw_again(path, 5, model=mini)
    assert pl.draw_again(path, 5, his, mini).recipe["seed"] == 5


# --- refused before anything is spent ------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"keep": 0}, "from 1 to 100"),
        ({"styles": []}, "list of names or words"),
        ({"styles": "anime"}, "list of names"),
        ({"styles": ["comci book"]}, "did you mean comic book"),
        ({"styles": ["anime", "anime"]}, "twice"),
        ({"styles": ["!?"]}, "without a letter"),
        ({"styles": ["watercolour"]}, "knows no word"),
        ({"seed": -1}, "seed"),
    ],
)
def test_what_cannot_be_is_one_line(mini, his, tmp_path, wrong, message):
    with pytest.raises(pl.UsageError, match=message):
        pl.make_portraits(mini, his, folder=tmp_path / "run", **{"quick": True} | wrong)
    assert not (tmp_path / "run").exists()


def test_one_way_to_know_the_face_at_a_time(mini, his, tmp_path, taught_briefly):
    with pytest.raises(pl.UsageError, match="one of them"):
        pl.make_portraits(mini, his, folder=tmp_path, quick=True, adapter=taught_briefly)


def test_photos_of_many_people_are_refused(mini, his, tmp_path):
    rng = np.random.default_rng(0)
    crowd = [
        replace(photo, embedding=rng.normal(size=64).astype(np.float32)) for photo in his.photos
    ]
    with pytest.raises(pl.UsageError, match="different people"):
        pl.make_portraits(mini, replace(his, photos=tuple(crowd)), folder=tmp_path / "run")


def test_a_model_of_another_world_is_refused(mini, his, tmp_path):
    photographs = tuple(replace(photo, finder="dlib") for photo in his.photos)
    with pytest.raises(pl.UsageError, match="its own drawn world"):
        pl.make_portraits(mini, replace(his, photos=photographs), folder=tmp_path / "run")


def test_words_of_ones_own_are_a_style():
    own, known = find_styles(["wearing suit, pencil sketch", "anime"])
    assert (own.words, own.folder) == (own.name, "wearing-suit-pencil-sketch")
    assert known is STYLES["anime"]
    assert find_styles(None) == list(STYLES.values())


# --- how it moves --------------------------------------------------------------------------------


def test_the_scale_goes_up_for_likeness_and_down_for_style_by_smaller_steps():
    start = Setting(0.8)
    assert move(start, 1, 1) == move(start, 0, 0) == start
    up = move(start, unlike=2, unstyled=1)
    assert up.scale == pytest.approx(1.0) and up.edges == 0
    back = move(up, unlike=0, unstyled=1)
    assert up.scale > back.scale > start.scale  # half of the way back, in factors
    for _ in range(9):
        up = move(up, 3, 0)
    assert up.scale == MOST_SCALE and up.edges == MOST_EDGES
    down = move(up, 0, 3)
    assert down.scale == MOST_SCALE and down.edges < MOST_EDGES


# --- mended --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def his_judge(mini, his):
    prompt = "portrait of a man, smiling, photorealistic"
    others = pl.style_strangers(mini, prompt, count=24)
    return make_judge(mini, replace(his, photos=his.photos[1:]), prompt, others)


def test_a_face_that_is_small_is_drawn_again_larger(mini, his, his_judge):
    person = pl.Likeness(replace(his, photos=his.photos[:1]), 1.2)
    sampling = pl.Sampling(seed=1)
    drawn = pl.text_to_image(mini, "portrait of a man, smiling", sampling, person=person)[0]
    wide = Image.new("RGB", (384, 384), (120, 150, 180))
    wide.paste(drawn.image, (40, 200))
    found = Finding(False, faults=(SMALL,), places=(((40 + 48) / 384, (200 + 42) / 384, 0.12),))

    class Anyone:
        def look(self, pictures):
            return [Finding(True)]

    mended, after, count = mend(mini, pl.Portrait(wide, drawn.recipe), found, Anyone(), 3)
    assert after.good and count == 1
    changed = np.argwhere((np.asarray(mended.image) != np.asarray(wide)).any(2))
    (top, left), (bottom, right) = changed.min(0), changed.max(0)
    assert len(changed) > 500
    assert left >= 88 - 48 and right <= 88 + 48 and top >= 242 - 48 and bottom <= 242 + 48
    assert mended.recipe["mended"] == drawn.recipe and mended.recipe["function"] == "inpaint"


def test_a_feature_that_is_missing_is_found_and_drawn_again(mini, his, his_judge):
    photo = his[0].image
    face = his_judge.look([photo])[0]
    assert face.is_him
    spoilt = photo.copy()
    from portraitlib.photos.faces.find import find_faces

    marks = find_faces(photo, "mini")[0][0].landmarks
    x, y = marks["nose"]
    radius = 0.09 * photo.width
    skin = photo.getpixel((int(x), int(y - radius)))
    ImageDraw.Draw(spoilt).ellipse([x - radius, y - radius, x + radius, y + radius], fill=skin)
    found = his_judge.look([spoilt])[0]
    assert not found.good
    if found.places:  # the judge says where
        at = np.multiply(found.places[0][:2], photo.size)
        assert np.hypot(*(at - (x, y))) < 2.5 * radius


def test_what_lacks_the_style_is_not_mended(mini, his_judge):
    finding = Finding(True, lacking=("style: anime",), faults=(SMALL,), places=((0.5, 0.5, 0.1),))
    portrait = pl.Portrait(Image.new("RGB", (96, 96)), {})
    assert mend(mini, portrait, finding, his_judge, 0) == (portrait, finding, 0)


def test_a_photo_of_another_kind_is_left_out_and_said(mini, his, tmp_path):
    odd = (replace(his[0], finder="dlib"), *his.photos[1:])
    mixed = replace(his, photos=odd)
    done = pl.make_portraits(
        mini, mixed, ["photorealistic"], folder=tmp_path / "run", keep=1, quick=True
    )
    assert len(done.photos) == 11 and his[0].name in done.notes[0]


def test_photographs_are_judged_by_the_encoder_of_faces_and_clip(
    mini, astronaut, tiny_clip, tmp_path, monkeypatch
):
    """As for SDXL, but for its pictures: the judges are those of photographs."""
    monkeypatch.setattr("portraitlib.measuring.fidelity.default_clip", lambda: tiny_clip)
    astronaut.save(tmp_path / "one.png")
    photos = pl.read_photos(tmp_path, size_px=256)
    preset = replace(mini.preset, words={})
    judge = make_judge(replace(mini, preset=preset), photos, "smiling, oil painting", [])
    same, nobody = judge.look([photos[0].image, Image.new("RGB", (256, 256), "grey")])
    assert same.is_him and same.likeness is None  # one photo makes no scale
    assert nobody.faults == ("no face found",) and not nobody.is_him
    assert set(same.lacking) <= {"smiling", "oil painting"}
    assert "a stranger in a photograph" in judge.ends and "another photo" in judge.ends
