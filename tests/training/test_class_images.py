"""Class images: drawn once, kept by content, looked over, never trusted when damaged."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import portraitlib as pl
from portraitlib.training import class_images
from portraitlib.training.class_set import SPARE, Look, plan_set

PROMPT = "portrait of a man, photorealistic"
QUICK = pl.Sampling(num_inference_steps=8)


def make(model, folder, count=4, **more):
    return pl.make_class_images(model, PROMPT, count, QUICK, cache=folder, **more)


@pytest.fixture(scope="module")
def kept(mini, tmp_path_factory):
    """A cache with four class images."""
    folder = tmp_path_factory.mktemp("kept")
    make(mini, folder)
    return folder


@pytest.fixture
def cache(kept, tmp_path):
    """A copy of it that a test may spoil."""
    return shutil.copytree(kept, tmp_path / "cache")


def pictures(cache: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(cache.glob("*/*.png"))}


class Steps(list):
    """Collects what is reported; breaks off in the step `until` if there is one."""

    def __init__(self, until: int | None = None) -> None:
        self.until = until

    def __call__(self, done: int, total: int) -> None:
        self.append((done, total))
        if len(self) == self.until:
            raise KeyboardInterrupt


# --- what is drawn -------------------------------------------------------------------------------


def test_image_i_is_what_seed_plus_i_draws_without_loss(mini, cache):
    classes = make(mini, cache)
    alone = pl.text_to_image(mini, PROMPT, pl.Sampling(num_inference_steps=8, num_images=4))
    assert len(classes) == 4 and classes.names == ("seed 0", "seed 1", "seed 2", "seed 3")
    for image, portrait in zip(classes, alone, strict=True):
        assert image.mode == "RGB" and image.size == (classes.size_px,) * 2
        assert np.array_equal(image, portrait.image)


def test_without_steps_three_fifths_of_the_presets_are_taken(mini, tmp_path):
    assert pl.class_images_cost(mini, PROMPT, cache=tmp_path).steps == 15


def test_more_adds_only_what_is_missing_and_fewer_takes_the_first(mini, cache):
    four, before, steps = make(mini, cache), pictures(cache), Steps()
    six = make(mini, cache, 6, on_step=steps)
    assert six.drawn == 2 and steps == [(2 * step, 16) for step in range(1, 9)]
    assert before.items() <= pictures(cache).items() and len(pictures(cache)) == 6
    assert list(six)[:4] == list(four)

    steps.clear()
    two = make(mini, cache, 2, on_step=steps)
    assert list(two) == list(four)[:2] and two.drawn == 0 and steps == []


def test_seeds_that_overlap_are_shared(mini, cache):
    later = pl.Sampling(seed=2, num_inference_steps=8)
    assert pl.make_class_images(mini, PROMPT, 3, later, cache=cache).drawn == 1


@pytest.mark.parametrize(
    ("prompt", "settings"),
    [
        ("portrait of a woman, photorealistic", {}),
        (PROMPT, {"num_inference_steps": 9}),
        (PROMPT, {"guidance_scale": 3.0}),
        (PROMPT, {"negative_prompt": "beard"}),
        (PROMPT, {"size_px": 64}),
    ],
)
def test_another_prompt_or_setting_is_another_set(mini, cache, prompt, settings):
    sampling = pl.Sampling(**{"num_inference_steps": 8, **settings})
    assert pl.class_images_cost(mini, prompt, 4, sampling, cache=cache).missing == 4


def test_an_adapter_and_its_scale_make_another_set(mini, cache):
    folders = set()
    for applied in ((), (("ab", 0.5),), (("ab", 1.0),), (("cd", 0.5),)):
        model = dataclasses.replace(mini)
        adapters = tuple((SimpleNamespace(hash=text), scale) for text, scale in applied)
        object.__setattr__(model, "adapters", adapters)
        folders.add(class_images._folder(model, PROMPT, QUICK, cache))
    assert len(folders) == 4


def test_the_same_pictures_have_the_same_digest(mini, cache):
    four, three = make(mini, cache), make(mini, cache, 3)
    assert four.digest == make(mini, cache).digest != three.digest


def test_the_cache_lies_where_the_environment_says(mini, cache, monkeypatch):
    monkeypatch.setenv("PORTRAITLIB_CACHE", str(cache.parent))
    cache.rename(cache.parent / "class_images")
    assert pl.make_class_images(mini, PROMPT, 4, QUICK).drawn == 0


def test_a_smaller_batch_is_tried_when_memory_is_short(mini, tmp_path, monkeypatch):
    real, sizes = class_images.text_to_image, []

    def short(model, prompt, sampling, **more):
        sizes.append(sampling.num_images)
        if sampling.num_images > 2:
            raise pl.UsageError("out of memory") from RuntimeError("out of memory")
        return real(model, prompt, sampling, **more)

    monkeypatch.setattr(class_images, "text_to_image", short)
    assert len(make(mini, tmp_path)) == 4
    assert sizes == [4, 2, 2]


# --- what lies in the cache is not trusted -------------------------------------------------------


def test_a_picture_that_is_cut_short_is_drawn_anew_and_said(mini, cache):
    whole = make(mini, cache)
    path = sorted(cache.glob("*/*.png"))[1]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="drawn anew: seeds 1$"):
        again = make(mini, cache)
    assert again.drawn == 1 and "seeds 1" in again.report
    assert np.abs(np.subtract(whole[1], again[1], dtype=int)).max() <= 1  # drawn in another batch
    assert make(mini, cache).notes == ()


def test_a_picture_that_is_gone_is_drawn_anew_and_another_file_does_not_count(mini, cache):
    paths = sorted(cache.glob("*/*.png"))
    paths[1].write_bytes(b"text")
    paths[2].rename(paths[2].with_name("copy.png"))
    with pytest.warns(UserWarning, match="drawn anew: seeds 1$"):
        assert make(mini, cache).drawn == 2


def changed_recipe(path: Path, **entries) -> None:
    portrait = pl.Portrait.open(path)
    dataclasses.replace(portrait, recipe=portrait.recipe | entries).save(path)


def test_pictures_kept_by_version_0_1_are_used(mini, cache):
    for path in sorted(cache.glob("*/*.png")):  # named by a hash as well, looks in a list
        changed_recipe(path, look=None)
        path.rename(path.with_stem(f"{path.stem}-0a1b2c3d"))
    assert make(mini, cache).drawn == 0


def test_what_was_drawn_before_it_was_broken_off_is_used(mini, tmp_path, monkeypatch):
    monkeypatch.setattr(class_images, "most_images", lambda arguments: 2)
    with pytest.raises(KeyboardInterrupt):
        make(mini, tmp_path, on_step=Steps(until=12))  # in the second batch of 8 steps
    steps = Steps()
    classes = make(mini, tmp_path, on_step=steps)
    assert len(classes) == 4 and classes.drawn == 2 and steps[-1] == (16, 16)


TWICE = f"""
import sys
import portraitlib as pl
from portraitlib.training import class_images
class_images.most_images = lambda arguments: 1
model = pl.load_model("mini", device="cpu")
sampling = pl.Sampling(num_inference_steps=8)
made = pl.make_class_images(model, {PROMPT!r}, 3, sampling, cache=sys.argv[1])
print(made.digest)
"""


@pytest.mark.slow
def test_two_processes_at_once_do_not_spoil_each_other(mini, tmp_path):
    command = [sys.executable, "-c", TWICE, str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    digests = {process.communicate()[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    after = make(mini, tmp_path, 3)
    assert after.notes == () and digests == {f"{after.digest}\n"}


# --- looked over ---------------------------------------------------------------------------------


def look(number: int, head_share: float | None = 0.6) -> Look:
    bits = np.random.default_rng(number).integers(0, 256, 32, dtype=np.uint8)
    return Look(head_share, bits.tobytes().hex())


def test_the_next_seeds_take_the_place_of_what_is_dropped():
    looks = {7: look(7), 8: look(8, None), 9: look(9, 0.1), 10: look(7), 11: look(11)}
    plan = plan_set(looks, 7, 4, allow_no_face=False)
    assert plan.good == (7, 11) and plan.missing == (12, 13)
    kinds = {seed: kind for seed, (kind, _) in plan.dropped.items()}
    assert kinds == {8: "no face", 9: "small head", 10: "repeated"}
    assert plan.dropped[10][1] == "almost the same as seed 7"
    assert plan_set(looks, 7, 4, allow_no_face=True).good == (7, 8, 11)


def test_fewer_are_the_first_of_more():
    looks = {seed: look(seed, None if seed % 3 == 0 else 0.6) for seed in range(40)}
    assert plan_set(looks, 0, 5, False).good == plan_set(looks, 0, 20, False).good[:5]


def test_a_prompt_that_draws_no_face_ends_soon():
    looks = {seed: look(seed, None) for seed in range(99)}
    plan = plan_set(looks, 0, 50, False)
    assert plan.missing == plan.good == () and len(plan.dropped) == SPARE + 1


def test_pictures_without_a_face_are_replaced_and_shown(mini, tmp_path):
    hasty = pl.Sampling(num_inference_steps=2)
    classes = pl.make_class_images(mini, PROMPT, 4, hasty, cache=tmp_path)
    assert len(classes) == 4 and len(classes.dropped) >= 1
    dropped = classes.dropped[0]
    assert f"  {dropped.name}  dropped: no face found" in classes.report
    assert dropped.name not in classes.names and "dropped" in classes.summary
    figure = pl.show_class_images(classes)
    assert len(figure.axes) == 4 + len(classes.dropped)


def test_a_set_without_one_good_picture_is_refused(mini, tmp_path):
    hopeless = pl.Sampling(num_inference_steps=1)
    with pytest.raises(pl.UsageError, match="none of 9 of .* is good .no face found.; try"):
        pl.make_class_images(mini, PROMPT, 4, hopeless, cache=tmp_path)


def test_a_set_that_stays_short_says_so(mini, cache, monkeypatch):
    monkeypatch.setattr(class_images, "look_at", lambda image, finder: look(0, None))
    with pytest.warns(UserWarning, match="4 good ones of 17 drawn, 6 were asked for: 13 no face"):
        assert len(make(mini, cache, 6)) == 4


# --- what it costs -------------------------------------------------------------------------------


def test_the_cost_is_known_before(mini, cache, tmp_path):
    nothing = pl.class_images_cost(mini, PROMPT, 100, cache=tmp_path / "new")
    assert str(nothing) == "100 class images: 100 x 15 steps = 1500 steps to draw"
    assert nothing.seconds is None and not (tmp_path / "new").exists()
    some = pl.class_images_cost(mini, PROMPT, 6, QUICK, cache=cache)
    assert (some.missing, some.steps) == (2, 8) and some.seconds > 0
    assert str(some).startswith("6 class images: 4 are there, 2 x 8 steps = 16 steps to draw, ab")
    other = pl.class_images_cost(mini, "portrait of a woman", 6, QUICK, cache=cache)
    assert other.seconds == pytest.approx(3 * some.seconds)
    assert str(pl.class_images_cost(mini, PROMPT, 4, QUICK, cache=cache)).endswith("all are there")


# --- bad input -----------------------------------------------------------------------------------

REFUSED = {
    "none": ({"count": 0}, "count: got 0, expected a whole number from 1 to 1000"),
    "too many": ({"count": 1001}, "count: got 1001"),
    "a fraction": ({"count": 2.5}, "count: got 2.5"),
    "no words": ({"prompt": "  "}, "prompt: got '  '"),
    "no model": ({"model": "mini"}, "model: got 'mini'"),
    "seeds run out": ({"sampling": pl.Sampling(seed=2**32 - 1)}, "needs seeds up to"),
    "odd size": ({"sampling": pl.Sampling(size_px=4096 - 8), "model": None}, "model: got None"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_drawn_is_refused_in_one_line(mini, tmp_path, case):
    changed, words = REFUSED[case]
    arguments = {"model": mini, "prompt": PROMPT, "count": 4, "sampling": QUICK, **changed}
    for function in (pl.make_class_images, pl.class_images_cost):
        with pytest.raises(pl.UsageError) as refusal:
            function(*arguments.values(), cache=tmp_path)
        assert words in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_cache_that_cannot_be_written_to_is_refused_before_any_work(mini, tmp_path):
    (tmp_path / "file").write_text("in the way")
    places = [tmp_path / "file", tmp_path / "file" / "below"]
    if sys.platform == "linux":
        places.append(Path("/proc/portraitlib"))  # read-only for everybody, root too
    for place in places:
        steps = Steps()
        with pytest.raises(pl.UsageError, match="cannot be") as refusal:
            make(mini, place, on_step=steps)
        assert steps == [] and "\n" not in str(refusal.value)


def test_a_disk_that_fills_up_leaves_what_was_drawn(mini, cache, largest_file):
    with largest_file(5000), pytest.raises(pl.UsageError, match="cannot be written") as refusal:
        make(mini, cache, 6)
    assert "\n" not in str(refusal.value)
    assert make(mini, cache).drawn == 0


# --- one's own -----------------------------------------------------------------------------------


@pytest.fixture
def own(mini, kept, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    for name, image in zip("abcd", make(mini, kept), strict=True):
        image.save(folder / f"{name}.png")
    with Image.open(folder / "d.png") as image:
        image.resize((300, 300)).save(folder / "d.png")
        image.resize((200, 200)).save(folder / "e.jpg")
    Image.linear_gradient("L").resize((96, 96)).save(folder / "nobody.png")
    (folder / "text.png").write_text("not a picture")
    return folder


def test_ones_own_pictures_are_fitted_and_looked_over(own):
    classes = pl.read_class_images(own, PROMPT, 96, finder="mini")
    assert classes.names == ("a.png", "b.png", "c.png", "d.png")
    assert {image.size for image in classes} == {(96, 96)}
    kinds = {item.name: item.kind for item in classes.dropped}
    assert kinds == {"e.jpg": "repeated", "nobody.png": "no face", "text.png": "no picture"}
    assert "  note: d.png: 300x300 px made to fit" in classes.report
    assert classes.report.splitlines()[1] == f"read from {own}"
    with_all = pl.read_class_images(own, PROMPT, 96, finder="mini", allow_no_face=True)
    assert "nobody.png" in with_all.names
    assert len(pl.show_class_images(classes).axes) == 6


def test_class_images_of_another_size_are_made_to_fit_and_said(own):
    classes = pl.read_class_images(own, PROMPT, 96, finder="mini")
    larger = classes.resized(128)
    assert larger.size_px == larger[0].size[0] == 128 and classes.resized(96) is classes
    assert larger.notes[-1] == "made to fit: 96 px brought to 128 px"


def test_folders_that_are_no_class_images_are_refused_in_one_line(own, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "faceless").mkdir()
    shutil.copy(own / "nobody.png", tmp_path / "faceless")
    for folder, words in {
        "empty": "holds no pictures",
        "faceless": "none of 1 of .* is good .no face found",
        "missing": "no such folder",
    }.items():
        with pytest.raises(pl.UsageError, match=words) as refusal:
            pl.read_class_images(tmp_path / folder, PROMPT, 96, finder="mini")
        assert "\n" not in str(refusal.value)
    for prompt, size_px, finder in (("", 96, None), (PROMPT, 97, None), (PROMPT, 96, "eyes")):
        with pytest.raises(pl.UsageError, match="got"):
            pl.read_class_images(own, prompt, size_px, finder=finder)
