"""The film of a training: drawn and measured on the way, read back, and a step proposed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

import portraitlib as pl
from portraitlib.training.film import Film, Frame

PROMPT, CLASS = "portrait of jrdnpl man", "portrait of a man"
SMALL = {"layers": "attention", "rank": 4, "train_batch_size": 1, "learning_rate": 1e-3}
QUICK = pl.Sampling(seed=5, num_images=2, num_inference_steps=4)


@pytest.fixture(scope="module")
def photos():
    shown, held_out = pl.subject_photos(), pl.subject_photos(held_out=True)
    return (dataclasses.replace(shown, photos=shown.photos[:2]), held_out)


@pytest.fixture(scope="module")
def strip(photos):
    return pl.film_strip(PROMPT, photos[1], class_prompt=CLASS, sampling=QUICK)


@pytest.fixture(scope="module")
def run(mini, photos, strip, tmp_path_factory):
    """The folder of a training of four steps, watched after every second one."""
    folder = tmp_path_factory.mktemp("run")
    settings = pl.DreamBooth(max_train_steps=4, **SMALL)
    pl.train_dreambooth(mini, photos[0], settings, folder=folder, watch=strip, watch_every=2)
    return folder


def test_a_film_has_the_pictures_figures_and_adapters_of_its_steps(run):
    film = pl.read_film(run)
    assert [frame.step for frame in film] == [0, 2, 4] and film.total == 4
    for frame in film:
        assert [each.recipe["seed"] for each in frame.portraits] == [5, 6]
        assert {each.recipe["prompt"] for each in frame.portraits} == {PROMPT}
        assert len(frame.of_class) == 8
        assert {"likeness", "faces", "prompt_seen", "drift"} <= set(frame.figures)
        assert all(isinstance(value, float) for value in frame.figures.values())
        assert np.mean(list(frame.likeness.values())) == pytest.approx(frame.figures["likeness"])
    assert [step for step, _ in film.curve][-1] == 4
    assert film.drift_floor > 0


def test_the_first_frame_is_the_untouched_model_and_has_not_drifted(run, mini):
    first = pl.read_film(run)[0]
    (alone, _) = pl.text_to_image(mini, PROMPT, QUICK)
    assert np.abs(np.asarray(alone.image, int) - np.asarray(first.portraits[0].image)).max() <= 1
    assert first.figures["drift"] == pytest.approx(0, abs=1e-6)


def test_a_frame_opens_its_adapter(run):
    film = pl.read_film(run)
    assert film[2].adapter.hash == pl.Adapter.open(run / "adapter.safetensors").hash
    assert film[1].adapter.hash != film[2].adapter.hash
    assert film[1].adapter.recipe["step"] == 2


def test_a_picture_of_a_film_is_not_drawn_again_as_if_the_model_were_untouched(run, mini):
    with pytest.raises(pl.UsageError, match="film_strip"):
        pl.rerun(pl.read_film(run)[2].portraits[0], mini)


def test_a_run_that_goes_on_measures_drift_from_the_untouched_model(mini, photos, run, tmp_path):
    settings = pl.DreamBooth(max_train_steps=4, save_every_steps=2, **SMALL)
    asked = {"class_prompt": CLASS, "sampling": QUICK}
    first = pl.film_strip(PROMPT, photos[1], **asked)

    def stop(model, step):
        if step == 2:
            raise KeyboardInterrupt
        return first(model, step)

    with pytest.raises(KeyboardInterrupt):
        pl.train_dreambooth(mini, photos[0], settings, folder=tmp_path, watch=stop, watch_every=2)
    again = pl.film_strip(PROMPT, photos[1], **asked)
    pl.train_dreambooth(mini, photos[0], settings, folder=tmp_path, watch=again, watch_every=2)
    whole, gone_on = pl.read_film(run), pl.read_film(tmp_path)
    assert [frame.step for frame in gone_on] == [0, 2, 4]
    assert gone_on[2].figures == pytest.approx(whole[2].figures, abs=1e-3)


def test_a_film_is_shown_a_column_a_step_and_with_its_curves(run):
    film = pl.read_film(run)
    texts = [text.get_text() for text in pl.show_film(film).texts]
    assert any("step 4," in text.replace("\n", " ") for text in texts)
    plain = {text.replace("\n", " ") for text in texts}
    assert {f"{prompt}, seed {seed}" for prompt in (PROMPT, CLASS) for seed in (5, 6)} <= plain
    labels = [axes.get_ylabel() for axes in pl.show_training(film).axes]
    assert labels[0] == "loss, smoothed" and "drift of the class" in labels


def test_a_prompt_that_no_judge_knows_is_drawn_all_the_same(mini):
    watch = pl.film_strip("jrdnpl", sampling=QUICK)
    with pytest.warns(UserWarning, match="prompt fidelity is not measured"):
        portraits, figures = watch(mini, 0)
    assert len(portraits) == 2 and figures == {}


MISTAKES = {
    "no prompt": ((" ",), {}, "prompt: got ' '"),
    "a class prompt that is no text": ((PROMPT,), {"class_prompt": 3}, "class_prompt: got 3"),
    "a folder for photos": ((PROMPT, "photos/"), {}, "photos: got str"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_cannot_be_filmed_is_told_before_the_training(name):
    arguments, more, told = MISTAKES[name]
    with pytest.raises(pl.UsageError, match=told.replace("(", r"\(")):
        pl.film_strip(*arguments, **more)


def test_a_folder_without_frames_is_told(tmp_path):
    with pytest.raises(pl.UsageError, match="no frames of a training there"):
        pl.read_film(tmp_path)


# --- the proposal --------------------------------------------------------------------------------


def film_of(tmp_path, rows, floor=0.18) -> Film:
    """A film of steps with these likenesses a seed, and this drift."""
    frames = []
    for step, values, drift in rows:
        image = Image.new("RGB", (8, 8))
        drawn = tuple(
            pl.Portrait(image, {"seed": seed, "measured": {"likeness": value}})
            for seed, value in enumerate(values)
        )
        of_class = (pl.Portrait(image, {"measured": {"drift_floor": floor}}),)
        figures = {"likeness": float(np.mean(values))}
        figures |= {} if drift is None else {"drift": drift}
        frames.append(Frame(step, drawn, of_class, figures, tmp_path / f"{step}"))
    return Film(tmp_path, tuple(frames), (), 400)


LEARNING = [
    (0, [0.0, 0.1, 0.0, 0.1], 0.0),
    (100, [0.6, 0.4, 0.7, 0.5], 0.1),
    (200, [0.90, 0.84, 0.92, 0.88], 0.2),
    (300, [0.89, 0.91, 0.90, 0.89], 0.25),
    (400, [0.95, 0.96, 0.97, 0.95], 0.9),
]


def test_the_earliest_step_as_alike_as_the_best_within_the_drift_is_proposed(tmp_path):
    chosen = pl.propose(film_of(tmp_path, LEARNING))
    assert chosen.step == 200
    assert "as alike (0.89) as the best (0.90 at step 300)" in chosen.reason
    assert "drift of 0.20, at most 0.27 wanted" in chosen.reason
    assert "step 400 is more alike (0.96) but drifted further" in chosen.reason


def test_without_a_known_floor_no_drift_is_too_much(tmp_path):
    chosen = pl.propose(film_of(tmp_path, LEARNING, floor=None))
    assert chosen.step == 400 and chosen.reason.startswith("step 400: the most alike (0.96)")


def test_where_every_step_drifts_too_far_the_reason_says_so(tmp_path):
    rows = [(100, [0.9, 0.8], 2.0), (200, [0.9, 0.95], 3.0)]
    chosen = pl.propose(film_of(tmp_path, rows))
    assert chosen.step == 100 and "every step has drifted more than 0.27" in chosen.reason


def test_a_step_with_hardly_a_face_is_not_proposed(tmp_path):
    film = film_of(tmp_path, [(100, [0.5, 0.6], 0.1), (200, [0.9, 0.9], 0.1)])
    film[1].figures["faces"] = 0.25
    assert pl.propose(film).step == 100


def test_without_drift_the_likeness_alone_decides(tmp_path):
    rows = [(step, values, None) for step, values, _ in LEARNING]
    chosen = pl.propose(film_of(tmp_path, rows, floor=None))
    assert chosen.step == 400 and chosen.reason.endswith("drift was not measured")


def test_without_likeness_there_is_nothing_to_propose(tmp_path):
    frame = Frame(1, (), (), {"drift": 0.1}, tmp_path / "1")
    with pytest.raises(pl.UsageError, match="no likeness was measured"):
        pl.propose(Film(tmp_path, (frame,), (), 1))
