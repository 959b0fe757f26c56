"""Prompt fidelity: what was asked for and is there is seen, what is not there is not."""

from __future__ import annotations

import threading
from http.server import ThreadingHTTPServer

import numpy as np
import pytest
import torch
from hubs import Hub, run_apart
from PIL import Image

import portraitlib as pl
from portraitlib.measuring import fidelity
from portraitlib.models.load import CLIP_REVISION, CLIP_SOURCE
from recipes.first_mini.looks import Look
from recipes.first_mini.people import Person, random_shot
from recipes.first_mini.world import draw, random_drawing

ASKED = "portrait of a man, curly hair, glasses, in jungle, comic book style"
LOOK = {"who": "man", "texture": "curly", "glasses": "yes", "place": "jungle"}
OTHER = {"who": "woman", "texture": "straight", "glasses": "no", "place": "beach"}


def drawings(count: int, **look: str) -> list[Image.Image]:
    plain = {"mood": "none", "punk": "no", "mona_lisa": "no", "style": "comic book"}
    seeds = range(71_000, 71_000 + count)
    pictures = [random_drawing(seed, size_px=96, **plain | look)[0].image for seed in seeds]
    return [Image.fromarray(picture) for picture in pictures]


def shots(count: int = 8, **numbers: float) -> list[Image.Image]:
    """Photos of one drawn man, who is in the middle of the world but for these numbers."""
    rng = np.random.default_rng(5)
    look = Look(texture="straight", length="short")
    drawn = [draw(Person(**numbers), look, random_shot(rng), size_px=96) for _ in range(count)]
    return [Image.fromarray(each.image) for each in drawn]


# --- the judge of the embedded model -------------------------------------------------------------


def judged(pictures: list[Image.Image], prompt: str):
    return fidelity.judge_drawn(fidelity.read_drawn(pictures), [prompt] * len(pictures))


def test_what_a_drawn_portrait_was_drawn_with_is_seen():
    rows, _ = judged(drawings(8, **LOOK), ASKED)
    shares = [row["prompt_seen"] for row in rows]
    assert np.mean(shares) > 0.9
    wanted = {f"{group}: {value}" for group, value in LOOK.items()} | {"style: comic book"}
    assert set(rows[0]["seen"]) == wanted
    assert {row["fidelity_by"] for row in rows} == {"mini's judge"}


def test_what_was_asked_for_and_not_drawn_is_not_seen():
    rows, scales = judged(drawings(8, **OTHER), ASKED)
    floor, ceiling = scales["prompt_seen"]
    assert 0.1 < floor < 0.5 < 0.9 < ceiling
    seen = [row["seen"] for row in rows]
    assert np.mean([each["style: comic book"] for each in seen]) > 0.9
    for group, value in LOOK.items():
        assert np.mean([each[f"{group}: {value}"] for each in seen]) < 0.2


def test_what_a_picture_cannot_show_is_no_failure():
    sketch = drawings(1, style="pencil sketch")
    (row,), _ = judged(sketch, "pencil sketch, black hair")
    assert set(row["seen"]) == {"style: pencil sketch"}


def test_words_that_nobody_knows_are_refused_and_the_identifier_is_not():
    with pytest.raises(pl.UsageError, match="in which mini's judge knows no word"):
        judged(drawings(1), "zebra")
    (row,), _ = judged(drawings(1, **LOOK), "portrait of jrdnpl man")
    assert set(row["seen"]) == {"who: man"}


def test_people_drawn_with_large_ears_or_bushy_hair_are_read_as_such():
    people = {"ear_size": {"ear_size": 0.8}, "hair_volume": {"hair_volume": 0.8}, "": {}}
    means = {
        name: pl.measure(shots(**numbers), model="mini", features=True).figures
        for name, numbers in people.items()
    }
    for name in fidelity.FEATURES:
        others = [means[each][name].mean for each in people if each != name]
        assert means[name][name].mean > max(others) + 0.25, name
        assert means[name][name].by == "mini's judge"


# --- CLIP ----------------------------------------------------------------------------------------


def test_clips_cosines_are_those_of_the_whole_network(tiny_clip):
    pictures = [picture.crop((0, 0, 96, 64)) for picture in drawings(3)]
    phrases = ["in jungle", "curly hair, wearing suit"]
    pixels = np.stack([np.asarray(picture.crop((16, 0, 80, 64))) for picture in pictures]) / 255
    values = (pixels - np.array(tiny_clip.mean)) / np.array(tiny_clip.deviation)
    tokens = tiny_clip.tokenizer(phrases, padding=True, return_tensors="pt")
    with torch.no_grad():
        whole = tiny_clip.network(
            pixel_values=torch.from_numpy(values).permute(0, 3, 1, 2).float(), **tokens
        )
    cosines = (whole.image_embeds @ whole.text_embeds.T).numpy()
    own = fidelity.embed_pictures(pictures, tiny_clip) @ fidelity._embed_texts(tiny_clip, phrases).T
    assert np.allclose(own, cosines, atol=1e-5)


def test_clip_is_asked_for_features_by_two_phrases_each(tiny_clip):
    pictures = drawings(2)
    seen = fidelity.embed_pictures(pictures, tiny_clip)
    rows = fidelity.features_by_clip(seen, tiny_clip)
    little, lot = fidelity._embed_texts(tiny_clip, fidelity.FEATURES["ear_size"])
    wanted = seen @ (lot - little)
    assert [row["ear_size"] for row in rows] == pytest.approx(wanted.tolist(), abs=1e-4)
    assert {*rows[0]} == {*fidelity.FEATURES, "features_by"}
    assert rows[0]["features_by"] == "tiny clip"


def test_clip_is_asked_phrase_by_phrase_beside_unrelated_ones(tiny_clip):
    prompt = "portrait of a man,  curly hair, in jungle,"
    seen = fidelity.embed_pictures(drawings(2), tiny_clip)
    (row, _), scales = fidelity.judge_by_clip(seen, [prompt] * 2, tiny_clip)
    assert list(row["seen"]) == ["portrait of a man", "curly hair", "in jungle"]
    assert row["prompt_seen"] == np.mean(list(row["seen"].values()))
    assert -1 <= row["prompt_cosine"] <= 1 and row["fidelity_by"] == "tiny clip"
    assert scales["prompt_seen"] == (pytest.approx(0.1), None)
    unrelated = fidelity.unrelated_phrases(prompt)
    assert "in a forest" not in unrelated and "bald" in unrelated and len(unrelated) > 20


@pytest.mark.slow
def test_clip_is_loaded_from_the_hub_at_its_pin_and_safetensors_only(clip_folder, tmp_path):
    Hub.repositories, Hub.asked = {CLIP_SOURCE: (CLIP_REVISION, clip_folder)}, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    code = """
from PIL import Image
import portraitlib as pl
portraits = [pl.Portrait(Image.new("RGB", (64, 80), "red"), {"model": "sdxl", "seed": 1})]
measured = pl.measure(portraits, prompt="a red square, curly hair")
row = measured.rows[0]
print(row["fidelity_by"], sorted(row["seen"]), measured["prompt_cosine"].by)
"""
    endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        expected = "CLIP ViT-L/14 ['a red square', 'curly hair'] CLIP ViT-L/14"
        assert run_apart(code, tmp_path / "cache", endpoint) == expected
        assert run_apart(code, tmp_path / "cache", "http://127.0.0.1:9", "1") == expected
    finally:
        server.shutdown()
        server.server_close()
    downloads = [line for line in Hub.asked if "/resolve/" in line]
    assert all(f"/resolve/{CLIP_REVISION}/" in line for line in downloads)
    assert any(line.endswith("model.safetensors") for line in downloads)
    assert not [line for line in downloads if line.endswith(".bin")]


def test_without_clips_weights_one_line_says_so(tmp_path):
    code = """
from PIL import Image
import portraitlib as pl
try:
    pl.measure([pl.Portrait(Image.new("RGB", (64, 64)), {"model": "sdxl"})], prompt="a man")
except pl.UsageError as refusal:
    print(refusal)
"""
    told = run_apart(code, tmp_path / "cache", "http://127.0.0.1:9", offline="1")
    assert told.startswith(CLIP_SOURCE) and "\n" not in told
