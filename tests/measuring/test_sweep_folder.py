"""A sweep on the disk: nothing finished is lost, nothing is computed twice, the page is safe."""

from __future__ import annotations

import copy
import json
import re
import sys
from dataclasses import asdict, replace
from html import escape
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

import portraitlib as pl
from portraitlib.measuring.sweep import sweep
from portraitlib.portrait import Portrait
from portraitlib.settings import Sampling, UsageError

PRESET = Sampling()
RAN: list[tuple[str, int, float]] = []
BROKEN: set[str] = set()
VARY = {"prompt": ["a man", "a boy"], "seed": [0, 1], "strength": [0.2, 0.8]}


def draw(model, prompt, sampling=PRESET, *, image=None, strength=0.5):
    """A generating function without a network, which remembers its calls."""
    RAN.append((prompt, sampling.seed, strength))
    if prompt in BROKEN:
        raise RuntimeError("out of <memory>")
    if prompt == "stop":
        raise KeyboardInterrupt
    held = asdict(sampling) | {"prompt": prompt, "strength": strength, "seconds": 0.1}
    colour = (len(prompt), sampling.seed, int(255 * strength))
    return [
        Portrait(Image.new("RGB", (8, 8), colour), held | {"seed": sampling.seed + index})
        for index in range(sampling.num_images)
    ]


@pytest.fixture(autouse=True)
def nothing_ran():
    RAN.clear()
    BROKEN.clear()


def shape(table):
    return [(row.settings, [(p.image.tobytes(), p.recipe) for p in row.portraits], row.error)
            for row in table.rows]  # fmt: skip


def test_the_same_sweep_again_computes_nothing_and_is_the_same_table(tmp_path):
    first = sweep(draw, None, vary=VARY, folder=tmp_path / "new" / "folder")
    assert len(RAN) == 8
    again = sweep(draw, None, vary=VARY, folder=tmp_path / "new" / "folder")
    assert len(RAN) == 8
    assert shape(again) == shape(first)


def test_a_sweep_that_was_stopped_goes_on_where_it_stood(tmp_path):
    vary = {"prompt": ["a man", "a boy", "stop"]}
    with pytest.raises(KeyboardInterrupt):
        sweep(draw, None, vary=vary, folder=tmp_path)
    written = json.loads((tmp_path / "sweep.json").read_text())
    assert [row["settings"]["prompt"] for row in written["rows"]] == ["a man", "a boy"]
    assert len(list(tmp_path.glob("*.png"))) == 2
    RAN.clear()
    table = sweep(draw, None, vary={"prompt": ["a man", "a boy", "an old man"]}, folder=tmp_path)
    assert RAN == [("an old man", 0, 0.5)]
    assert [p.recipe["prompt"] for p in table.portraits] == ["a man", "a boy", "an old man"]


def test_cells_that_failed_or_were_damaged_run_again(tmp_path):
    BROKEN.add("a boy")
    with pytest.warns(UserWarning, match="1 of 3 failed"):
        sweep(draw, None, vary={"prompt": ["a man", "a boy", "a child"]}, folder=tmp_path)
    rows = json.loads((tmp_path / "sweep.json").read_text())["rows"]
    assert rows[1]["error"] == "RuntimeError: out of <memory>"
    assert "out of &lt;memory&gt;" in (tmp_path / "index.html").read_text()
    (tmp_path / rows[2]["files"][0]).write_bytes(b"\x89PNG")
    RAN.clear()
    BROKEN.clear()
    table = sweep(draw, None, vary={"prompt": ["a man", "a boy", "a child"]}, folder=tmp_path)
    assert [prompt for prompt, *_ in RAN] == ["a boy", "a child"]
    assert not table.failures


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"sampling": Sampling(seed=5)}, "seed: 0, now 5"),
        ({"strength": 0.7}, "strength: 0.5, now 0.7"),
        ({"image": Image.new("RGB", (4, 4), "red")}, "image: null, now .*sha256"),
        ({"vary": {"prompt": ["a man"], "seed": [0]}}, 'seed: 0, now "varied"'),
    ],
)
def test_a_folder_of_another_sweep_is_refused(tmp_path, more, says):
    sweep(draw, None, vary={"prompt": ["a man"]}, folder=tmp_path)
    before = (tmp_path / "sweep.json").read_bytes()
    with pytest.raises(UsageError, match=f"holds another sweep .*{says}.*; try another folder"):
        sweep(draw, None, **{"vary": {"prompt": ["a man"]}, "folder": tmp_path, **more})
    assert (tmp_path / "sweep.json").read_bytes() == before
    assert len(RAN) == 1


def test_a_picture_is_known_by_its_content_not_its_name(tmp_path):
    for name, colour in (("one.png", "red"), ("two.png", "red"), ("three.png", "blue")):
        Image.new("RGB", (4, 4), colour).save(tmp_path / name)
    held = {"vary": {"seed": [0, 1]}, "folder": tmp_path / "sweep"}
    sweep(draw, None, "a man", image=Image.open(tmp_path / "one.png"), **held)
    sweep(draw, None, "a man", image=Image.open(tmp_path / "two.png"), **held)
    assert len(RAN) == 2
    with pytest.raises(UsageError, match="another sweep .image"):
        sweep(draw, None, "a man", image=Image.open(tmp_path / "three.png"), **held)
    held["folder"] = tmp_path / "by path"
    sweep(draw, None, "a man", image=tmp_path / "one.png", **held)
    sweep(draw, None, "a man", image=str(tmp_path / "two.png"), **held)
    assert len(RAN) == 4


def test_pictures_arrays_and_what_has_no_lasting_name(tmp_path):
    images = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    images.append(np.zeros((4, 4)))  # whatever the function takes
    sweep(draw, None, "a man", vary={"image": images}, folder=tmp_path)
    sweep(draw, None, "a man", vary={"image": [*map(copy.copy, images)]}, folder=tmp_path)
    assert len(RAN) == 3
    assert Page((tmp_path / "index.html").read_text()).tags.count("th") == 3
    with pytest.raises(UsageError, match="image: got <object.*another name in every run"):
        sweep(draw, None, "a man", image=object(), vary={"seed": [0]}, folder=tmp_path / "new")


def test_a_folder_that_takes_no_files_is_found_out_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be"):
        sweep(draw, None, vary=VARY, folder=tmp_path / "file")
    (tmp_path / "sweep.json").write_text("{")
    with pytest.raises(UsageError, match="sweep.json: cannot be read"):
        sweep(draw, None, vary=VARY, folder=tmp_path)
    assert not RAN


def test_a_saved_table_is_a_folder_that_a_sweep_goes_on_from(tmp_path):
    table = sweep(draw, None, vary={"seed": [0, 1], "prompt": ["a man"]})
    assert table.save(tmp_path) == tmp_path
    more = sweep(draw, None, vary={"seed": [0, 1, 2], "prompt": ["a man"]}, folder=tmp_path)
    assert len(RAN) == 3
    assert shape(more)[:2] == shape(table)
    with pytest.raises(UsageError, match="holds another sweep"):
        sweep(draw, None, vary={"seed": [0]}, prompt="a boy").save(tmp_path)


class Page(HTMLParser):
    """What a browser would load, and the text of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.text += data


def test_the_page_is_a_labelled_grid_that_needs_no_network_and_no_script(tmp_path):
    evil = '"><script>alert(1)</script><img src=https://evil.example/x onerror=alert(2)>'
    vary = {"strength": [0.2, 0.8], "prompt": ["a man", evil], "seed": [0, 1]}
    sweep(draw, None, vary=vary).save(tmp_path)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert page.tags.count("img") == 8
    assert page.tags.count("section") == 2  # the third axis
    assert evil in page.text
    assert all((tmp_path / link).is_file() for link in page.links)
    assert not re.search(r"(src|href)=.?http|url\(|@import", text.replace(escape(evil), ""))
    assert all(f"seed: {seed}" in page.text for seed in (0, 1))
    assert "strength: 0.2" in page.text


def test_scores_stand_under_the_pictures_and_in_the_json(tmp_path, mini):
    quick = Sampling(seed=5, num_images=2, num_inference_steps=2)
    vary = {"guidance_scale": [1.0, 4.0]}
    table = sweep(pl.text_to_image, mini, "a man", quick, vary=vary)
    scores = pl.measure(table)
    table.save(tmp_path, scores=scores)
    rows = json.loads((tmp_path / "sweep.json").read_text())["rows"]
    sharpness = [score["sharpness"] for row in rows for score in row["scores"]]
    assert sharpness == [row["sharpness"] for row in scores.rows]
    page = Page((tmp_path / "index.html").read_text())
    told = f"{sharpness[3]:.2f}" if sharpness[3] < 10 else f"{sharpness[3]:.1f}"
    assert page.tags.count("dd") == 8 and f"sharpness{told}" in page.text
    with pytest.raises(UsageError, match="scores: got 4 rows, expected those of"):
        table.select(guidance_scale=1.0).save(tmp_path / "part", scores=scores)
    again = sweep(pl.text_to_image, mini, "a man", quick, vary=vary, folder=tmp_path)
    assert shape(again) == shape(table)
    with pytest.raises(UsageError, match="another sweep .revision"):
        other = replace(mini, revision="sha256:0")
        sweep(pl.text_to_image, other, "a man", quick, vary=vary, folder=tmp_path)


def test_a_condition_is_named_by_what_it_was_made_with(tmp_path):
    picture = pl.subject_photos(size_px=64)[0]
    made = [pl.canny(picture, 50, 100), pl.canny(picture, 100, 200)]
    sweep(draw, None, "a man", vary={"image": made}, folder=tmp_path)
    page = Page((tmp_path / "index.html").read_text())
    assert "image: canny, low_threshold 50, high_threshold 100" in page.text
    assert "sha256" not in page.text


def test_a_long_sweep_says_how_long_it_will_take(monkeypatch, tmp_path):
    monkeypatch.setattr(sys.modules["portraitlib.measuring.sweep"], "LONG_S", 0.0)
    with pytest.warns(UserWarning, match="8 cells: about 0 min to go; with folder=") as told:
        sweep(draw, None, vary=VARY)
    assert len(told) == 1
    assert told[0].filename == __file__
