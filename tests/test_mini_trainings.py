"""The trainings behind the embedded model: they go on as if they had never stopped."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from recipes.mini.autoencoder import freeze, frozen, to_pictures, to_tensor
from recipes.mini.denoiser import face_weights
from recipes.mini.latents import part_shares
from recipes.mini.sets import PARTS, pictures_of, read_shards
from recipes.mini.training import Average, Muon, Run, averaged, load_state, save_state, train


def write_shard(folder: Path, name: str, style: str = "anime", count: int = 3) -> None:
    place = folder / name
    place.mkdir(parents=True)
    rng = np.random.default_rng(int(name))
    np.save(place / "images.npy", rng.integers(0, 256, (count, 256, 256, 3), np.uint8))
    np.save(place / "parts.npy", rng.integers(0, len(PARTS), (count, 128, 128), np.uint8))
    lines = [{"seed": i, "person": i, "style": style, "look": {}} for i in range(count)]
    (place / "meta.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def small() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))


def learn(folder: Path, steps: int) -> dict[str, torch.Tensor]:
    module = small()

    def losses(step: int) -> tuple[torch.Tensor, int, dict[str, torch.Tensor]]:
        torch.manual_seed(step)
        loss = module(torch.randn(5, 4)).square().mean()
        return loss, 5, {"loss": loss}

    optimizer = Muon(module, ("2",), lr=1e-2, betas=(0.9, 0.99), weight_decay=0.01)
    train(Run(folder, 10, 1e-2, bfloat16=False, steps=steps), module, optimizer, losses)
    return module.state_dict()


def test_a_training_that_was_stopped_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole = learn(tmp_path / "whole", 12)
    learn(tmp_path / "halves", 5)
    halves = learn(tmp_path / "halves", 12)
    assert all(torch.equal(whole[k], halves[k]) for k in whole)
    notes = [json.loads((tmp_path / n / "note.json").read_text()) for n in ("whole", "halves")]
    assert [note["step"] for note in notes] == [12, 12]
    assert [note["samples"] for note in notes] == [60, 60]
    one, other = small(), small()
    averaged(tmp_path / "whole", one)
    averaged(tmp_path / "halves", other)
    same = zip(one.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)


def test_a_training_hands_back_the_signals_that_stop_it(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    learn(tmp_path, 1)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_a_state_that_was_cut_short_is_not_read(tmp_path: Path) -> None:
    module = small()
    average = Average(module)
    optimizer = torch.optim.AdamW(module.parameters())
    save_state(tmp_path, module, average, optimizer, {"step": 3})
    (tmp_path / "state-0000004.safetensors.part").write_bytes(b"half")
    assert load_state(tmp_path, module, average, optimizer)["step"] == 3


def test_no_state_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no state of a training here"):
        averaged(tmp_path / "none", small())


def test_a_set_grows_while_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no shards here"):
        read_shards(tmp_path)
    write_shard(tmp_path, "00000")
    first = read_shards(tmp_path)
    assert (len(first), len(first[0])) == (1, 3)
    write_shard(tmp_path, "00001", style="pixel art")
    (tmp_path / "00002.part").mkdir()  # is being written
    grown = read_shards(tmp_path, first)
    assert len(grown) == 2 and grown[0] is first[0]
    assert pictures_of(grown, "pixel art", 2).shape == (2, 256, 256, 3)
    assert len(pictures_of(grown, "comic book", 2)) == 0


def test_parts_become_shares_and_features_weigh_more() -> None:
    parts = np.full((1, 128, 128), PARTS.index("background"), np.uint8)
    parts[0, 40:80, 40:80] = PARTS.index("face")
    parts[0, 52:56, 48:56] = PARTS.index("eyes")
    shares = part_shares(parts).float() / 255
    assert shares.shape == (1, len(PARTS), 32, 32)
    assert torch.allclose(shares.sum(1), torch.ones(1, 32, 32), atol=0.01)
    weights = face_weights(shares, 4.0)
    assert weights.mean() == pytest.approx(1)
    eye, cheek, corner = weights[0, 13, 12], weights[0, 18, 18], weights[0, 0, 0]
    assert eye > 1.5 * cheek > 1.5 * corner
    assert torch.equal(face_weights(shares, 0.0), torch.ones(1, 32, 32))


def test_frozen_latents_have_unit_variance_and_the_pictures_stay(tmp_path: Path) -> None:
    from recipes.mini.architecture import new_autoencoder

    torch.manual_seed(0)
    vae = new_autoencoder()
    state = tmp_path / "autoencoder"
    save_state(state, vae, Average(vae), torch.optim.AdamW(vae.parameters()), {"step": 1})

    class OnePicture:
        pictures = np.random.default_rng(0).integers(0, 256, (300, 64, 64, 3), np.uint8)
        taken = 0

        def picture(self, rng: np.random.Generator) -> np.ndarray:
            self.taken += 1
            return self.pictures[self.taken - 1]

    freeze(state, tmp_path / "frozen", OnePicture())  # type: ignore[arg-type]
    after, name = frozen(tmp_path / "frozen")
    assert len(name) == 8
    with torch.no_grad():
        images = to_tensor(OnePicture.pictures[:256])
        latents = after.encode(images).latent_dist
        assert torch.allclose(latents.mean.mean((0, 2, 3)), torch.zeros(12), atol=1e-3)
        assert torch.allclose(latents.mean.std((0, 2, 3)), torch.ones(12), atol=1e-2)
        before = vae.eval().decode(vae.encode(images[:2]).latent_dist.mode()).sample
        assert torch.allclose(after.decode(latents.mode()[:2]).sample, before, atol=1e-3)


def test_pictures_survive_being_tensors() -> None:
    pictures = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    assert (to_pictures(to_tensor(pictures)) == pictures).all()
