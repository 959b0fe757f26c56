"""The reader of portraits: how faces are cut out, broken, described and told apart."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from recipes.mini.jpeg import jpeg
from recipes.mini.obedience import ask, obedience
from recipes.mini.reader import (
    MIRRORED,
    batch_losses,
    moved,
    people_loss,
    save_reader,
)
from recipes.mini.reader_exam import auc, drawn_portraits, set_limits, words_table
from recipes.mini.reader_network import (
    GROUPS,
    LANDMARKS,
    PERSON_NUMBERS,
    SIZE_PX,
    UPRIGHT,
    Reader,
    Reading,
    coherent,
    cut_faces,
    find_peaks,
    load_reader,
    read,
)
from recipes.mini.reader_people import People, Samples, codes_of
from recipes.mini.spoil import WAYS_TO_BREAK, break_pictures, soften
from recipes.mini.visible import named, visible, visible_codes
from recipes.mini.witnesses import grids, on_grid
from recipes.mini.world.buffers import LANDMARKS as DRAWN_LANDMARKS
from recipes.mini.world.words import PHRASES, Look, random_look

# A face that looks straight ahead, in the order of `LANDMARKS`.
FACE = np.array(
    [(0.4, 0.45), (0.6, 0.45), (0.5, 0.56), (0.42, 0.68), (0.58, 0.68), (0.5, 0.8)]
    + [(0.3, 0.5), (0.7, 0.5), (0.5, 0.15)],
    np.float32,
)


def write_people(folder: Path, people: int = 3, pictures: int = 8) -> None:
    place, rng = folder / "00000", np.random.default_rng(0)
    place.mkdir(parents=True)
    count = people * pictures
    np.save(place / "images.npy", rng.integers(0, 256, (count, 256, 256, 3), np.uint8))
    np.save(place / "landmarks.npy", np.tile(FACE, (count, 1, 1)))
    lines = []
    for person in range(people):
        look = random_look(rng, style="photorealistic")
        for _ in range(pictures):
            line = {"person": person, "style": look.style, "look": vars(look)}
            lines.append(json.dumps(line | {"numbers": [person / people] * len(PERSON_NUMBERS)}))
    (place / "meta.jsonl").write_text("\n".join(lines) + "\n")


def test_the_reader_and_the_world_use_the_same_names_in_the_same_order() -> None:
    people = pytest.importorskip("recipes.mini.world.people")
    assert people.PERSON_NUMBERS == PERSON_NUMBERS
    plain = {"mouth_left": "left mouth", "mouth_right": "right mouth"}
    assert tuple(plain.get(n, n.replace("_", " ")) for n in DRAWN_LANDMARKS) == LANDMARKS


def test_a_face_is_cut_out_upright_however_it_lies() -> None:
    side, angle, scale = 256, 0.3, 0.7
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    marks = np.zeros((1, 9, 2), np.float32)
    for name, place in UPRIGHT.items():
        marks[0, LANDMARKS.index(name)] = turn @ (np.array(place) - 0.5) + (0.45, 0.55)
    picture = torch.zeros(1, 3, side, side)
    x, y = (marks[0, LANDMARKS.index("left eye")] * side).astype(int)
    picture[0, :, y - 3 : y + 4, x - 3 : x + 4] = 1
    face = cut_faces(picture, torch.from_numpy(marks))[0, 0]
    assert face.shape == (SIZE_PX, SIZE_PX)
    row, column = divmod(int(face.argmax()), SIZE_PX)
    wanted = np.array(UPRIGHT["left eye"]) * SIZE_PX
    assert np.hypot(column - wanted[0], row - wanted[1]) < 5


def test_peaks_are_found_between_cells() -> None:
    from recipes.mini.reader import wanted_maps

    places, confidence = find_peaks(wanted_maps(torch.from_numpy(FACE)[None]))
    assert torch.allclose(places[0], torch.from_numpy(FACE), atol=0.01)
    assert confidence.min() > 0.7


def test_moving_a_picture_moves_its_landmarks_along() -> None:
    picture = torch.full((1, 3, 256, 256), -1.0)
    x, y = (FACE[0] * 256).astype(int)
    picture[0, :, y - 4 : y + 4, x - 4 : x + 4] = 1
    one = torch.zeros(1, dtype=torch.int64)
    codes, numbers = torch.zeros(1, len(GROUPS)), torch.ones(1, len(PERSON_NUMBERS))
    samples = Samples(picture, torch.from_numpy(FACE)[None], codes, numbers, one, one)
    sides = set()
    for seed in range(12):
        after = moved(samples, 256, np.random.default_rng(seed))
        bright = torch.nonzero(after.pictures[0, 0] > 0).float().mean(0).flip(0) / 256
        nearest = (after.landmarks[0] - bright).norm(dim=1).argmin()
        assert (after.landmarks[0, nearest] - bright).norm() < 0.015
        sides.add(LANDMARKS[int(nearest)])
        mirrored = float(after.numbers[0, PERSON_NUMBERS.index("parting")]) == -1
        assert mirrored == (LANDMARKS[int(nearest)] == "right eye")
    assert sides == {"left eye", "right eye"}
    assert [MIRRORED[i] for i in MIRRORED] == list(range(len(LANDMARKS)))


def test_every_way_to_break_a_portrait_changes_it_and_says_what_is_left() -> None:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.random((4, 3, 64, 64), np.float32)) * 2 - 1
    places = torch.from_numpy(np.tile(FACE, (4, 1, 1)))
    for way in WAYS_TO_BREAK:
        broken, left = break_pictures(images, places, way, np.random.default_rng(1))
        assert broken.shape == images.shape and left.shape == (4, 9)
        assert (broken - images).abs().mean((1, 2, 3)).min() > 1e-3, way
    assert soften(images.clone(), rng).abs().max() <= 1


def test_jpeg_leaves_of_a_picture_what_a_file_would() -> None:
    cells = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    pixels = np.array(Image.fromarray(cells).resize((128, 128), Image.Resampling.BICUBIC))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=40)
    wanted = np.array(Image.open(file)).astype(float)
    picture = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
    got = ((jpeg(picture, np.array([40]))[0] + 1) * 127.5).permute(1, 2, 0).numpy()
    assert np.abs(got - wanted).mean() < 0.5 * np.abs(wanted - pixels).mean()


def test_pictures_are_held_as_they_lie_on_disk_whichever_shard_comes_first(tmp_path: Path) -> None:
    write_people(tmp_path / "drawn")
    (tmp_path / "set").mkdir()
    (tmp_path / "drawn" / "00000").rename(tmp_path / "set" / "00001")
    held, lying = (People(tmp_path / "set", hold=hold) for hold in (torch.device("cpu"), None))
    lying.read_more()
    write_people(tmp_path / "set", people=2)
    lying.read_more()
    while len(held) < len(lying):
        held.read_more()
    assert [len(people.people) for people in (held, lying)] == [5, 5]
    for people in (held, lying):
        places = people.samples([(p, 1) for p in range(5)], np.random.default_rng(0))
        for picture, (shard, rows) in zip(places.pictures, people.people, strict=True):
            pixels = ((picture + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
            assert (pixels == people.shards[shard].images[rows[1]]).all()


def test_people_are_told_apart_by_their_other_renders() -> None:
    people = torch.tensor([0, 0, 0, 1, 1, 1])
    renders = torch.tensor([0, 0, 1, 0, 1, 2])
    nothing = torch.zeros(6, 1)
    samples = Samples(nothing, nothing, nothing, nothing, people, renders)
    apart = torch.eye(2)[people]
    same = torch.eye(2)[torch.zeros(6, dtype=torch.int64)]
    assert people_loss(apart, samples) < people_loss(same, samples)
    assert torch.isfinite(people_loss(same, samples))


def test_a_batch_teaches_every_part_of_the_network(tmp_path: Path) -> None:
    write_people(tmp_path)
    people = People(tmp_path)
    people.read_more()
    torch.manual_seed(0)
    reader = Reader()
    loss, count, figures = batch_losses(reader, people, np.random.default_rng(0))
    loss.backward()
    assert count == 3 * 3 + 3 and all(torch.isfinite(value) for value in figures.values())
    assert all(p.grad is not None for p in reader.parameters())
    assert sum(p.numel() for p in reader.parameters()) <= 4e6


def test_a_reader_is_written_and_reads_pictures_of_any_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_reader(Reader(), {"limits": None}, tmp_path)
    assert (tmp_path / "reader.safetensors").stat().st_size < 8e6
    reader, _ = load_reader(tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (3, 300, 300, 3), np.uint8)
    reading = read(reader, images, batch=2)
    assert reading.looks.shape == (3, len(GROUPS)) and reading.points.shape == (3, 96)
    assert set(reading.shows(0)) == set(PHRASES)
    again = read(reader, images[1:2])
    assert np.allclose(reading.points[1], again.points[0], atol=1e-4)
    with pytest.raises(ValueError, match="no pictures"):
        read(reader, images[:0])
    with pytest.raises(FileNotFoundError, match="no reader here"):
        load_reader(tmp_path / "none")


def reading_of(codes: np.ndarray, whole: np.ndarray) -> Reading:
    count = len(codes)
    numbers, points = np.zeros((count, 23), np.float32), np.ones((count, 96)) / 96**0.5
    marks = np.tile(FACE, (count, 1, 1))
    return Reading(codes.astype(np.uint8), numbers, marks, np.ones((count, 9)), whole, points)


def test_broken_and_misplaced_faces_are_not_coherent() -> None:
    reading = reading_of(np.zeros((40, len(GROUPS))), np.linspace(0.9, 1, 40))
    limits = set_limits(reading)
    assert coherent(reading, limits).mean() > 0.9
    reading.whole[:3] = 0.01
    reading.landmarks[3, 0] = (0.9, 0.9)
    reading.confidence[4, LANDMARKS.index("nose")] = 0
    assert list(np.flatnonzero(~coherent(reading, limits))[:5]) == [0, 1, 2, 3, 4]


def test_obedience_counts_what_was_named_and_can_be_seen() -> None:
    looks = [Look(beard="full", style="pencil sketch"), Look(glasses="yes", punk="yes")]
    codes = np.array([codes_of(vars(look)) for look in looks])
    captions = ["a man, full beard, red hair, dimples, pencil sketch", "a man, punk, curly hair"]
    asked = ask(captions, reading_of(codes, np.ones(2)))
    named_groups = {(int(i), str(g)) for i, g in zip(asked.picture, asked.group, strict=True)}
    assert named_groups == {(0, "who"), (0, "beard"), (0, "style"), (1, "who"), (1, "punk")}
    assert asked.right.all() and obedience(asked)["all"]["share"] == 1


def test_what_cannot_be_seen_is_the_same_for_looks_and_for_codes() -> None:
    rng = np.random.default_rng(0)
    looks = [vars(random_look(rng)) for _ in range(300)]
    codes = visible_codes(np.array([codes_of(look) for look in looks]))
    assert [list(visible(look).values()) for look in looks] == codes.tolist()
    assert named("old woman, doctor's coat")["clothing"] == "doctor's coat"


def test_the_exam_reads_what_is_there(tmp_path: Path) -> None:
    write_people(tmp_path)
    drawn = drawn_portraits(tmp_path)
    assert len(drawn) == 24 and list(drawn.renders[:8]) == [0, 0, 1, 1, 2, 2, 3, 4]
    table = words_table(drawn, reading_of(drawn.codes, np.ones(24)))
    assert table["mean"] == 1
    near = np.array([[0.1, 0.9], [0.8, 0.2]])
    assert auc(near, np.ones((2, 2), bool)) == 1 and auc(1 - near, np.ones((2, 2), bool)) == 0


def test_edges_on_a_grid_are_told_from_edges_anywhere() -> None:
    rng = np.random.default_rng(0)
    cells = rng.integers(0, 256, (64, 64, 3), np.uint8)
    pixel_art = cells.repeat(4, 0).repeat(4, 1)
    anything = rng.integers(0, 256, (256, 256, 3), np.uint8)
    assert on_grid(pixel_art) == (pytest.approx(1.0), 4)
    assert on_grid(np.roll(pixel_art, (1, 2), (0, 1))) == (pytest.approx(1.0, abs=0.05), 4)
    assert on_grid(anything)[0] < 0.05
    assert grids(np.stack([pixel_art, anything]))["share"] == 0.5
