"""The trainings of the recipe: the optimizer, sharing the work, going on from a state."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from recipes.first_mini.denoiser import Encoded, face_weights, train_denoiser, trained_unet
from recipes.first_mini.recipe import WEIGHTS, start_from
from recipes.first_mini.text import trained_text
from recipes.first_mini.training import Muon, orthogonal


@pytest.mark.parametrize("shape", [(8, 24), (24, 8), (16, 16)])
def test_an_update_goes_equally_far_in_every_direction(shape):
    rank = min(shape)
    left, right = (torch.linalg.qr(torch.randn(n, rank)).Q for n in shape)
    # Most of the way goes along one direction, a hundredth of it along the last.
    matrix = left @ torch.logspace(0, -2, rank).diag() @ right.T
    moved = torch.linalg.svdvals(orthogonal(matrix))
    assert moved.min() > 0.5
    assert moved.max() < 1.3


def test_the_optimizer_learns_and_leaves_frozen_layers_alone():
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 32), torch.nn.SiLU(), torch.nn.Linear(32, 1))
    network[0].requires_grad_(False)
    frozen = network[0].weight.clone()
    optimizer = Muon(network, (), lr=1e-2, weight_decay=0.0)
    x = torch.randn(64, 4)
    y = x[:, :1] * x[:, 1:2]
    losses = []
    for _ in range(200):
        loss = (network(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    assert torch.equal(network[0].weight, frozen)


def test_errors_in_the_face_count_most():
    landmarks = np.array([[[0.4, 0.3], [0.6, 0.3], [0.5, 0.4], [0.5, 0.5], [0.5, 0.1], [0.5, 0.7]]])
    weights = face_weights(landmarks, 20)[0]
    row, column = divmod(int(weights.argmax()), 20)
    assert (row, column) in [(y, x) for y in (6, 7) for x in (9, 10)]  # among eyes, nose, mouth
    assert weights.mean().item() == pytest.approx(1)
    assert weights.max() > 5 * weights[0, 0]


def test_processes_share_a_training_and_it_goes_on_from_its_state(tmp_path):
    encoded = Encoded(
        means=torch.randn(6, 4, 8, 8).half(),
        spreads=torch.full((6, 4, 8, 8), 0.1).half(),
        states=torch.randn(6, 3, 77, 192).half(),
        pooled=torch.randn(6, 3, 128).half(),
        empty_states=torch.zeros(77, 192).half(),
        empty_pooled=torch.zeros(128).half(),
        weights=torch.ones(6, 8, 8).half(),
    )
    train_denoiser(tmp_path, encoded, 1, processes=2)
    first = load_file(next(tmp_path.glob("state-*")))
    train_denoiser(tmp_path, encoded, 2)
    note = json.loads((tmp_path / "note.json").read_text())
    second = load_file(tmp_path / note["file"])
    assert note["step"] == 2
    assert [path.name for path in tmp_path.glob("state-*")] == [note["file"]]
    moved = [k for k in first if k.startswith("module.") and not torch.equal(first[k], second[k])]
    assert len(moved) > 200
    assert any(key.endswith("momentum") for key in second)


def test_training_goes_on_from_the_shipped_weights(tmp_path):
    start_from(WEIGHTS, tmp_path)
    tokenizer, _ = trained_text(tmp_path / "text")
    shipped = json.loads((WEIGHTS / "tokenizer" / "tokenizer.json").read_text())
    assert tokenizer.get_vocab() == shipped["model"]["vocab"]
    weights = load_file(WEIGHTS / "unet" / "diffusion_pytorch_model.safetensors")
    name = "conv_in.weight"
    assert torch.equal(trained_unet(tmp_path / "denoiser").state_dict()[name].half(), weights[name])


def test_the_card_counts_the_steps_behind_the_weights_that_a_training_began_at(tmp_path):
    from recipes.first_mini.card import read_training
    from recipes.first_mini.recipe import BEFORE

    def note(steps: int, loss: float) -> dict:
        return {"steps": steps, "curve": [{"step": 0, "loss": 1.0}, {"step": steps, "loss": loss}]}

    before = {"denoiser": note(500, 0.5), "text": note(90, 0.1), "controlnet": note(70, 0.2)}
    (tmp_path / BEFORE).write_text(json.dumps(before))
    new = {"step": 100, "curve": [{"step": 0, "loss": 0.6}, {"step": 100, "loss": 0.4}]}
    for stage in ("denoiser", "controlnet"):
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "note.json").write_text(json.dumps(new))
    training = read_training(tmp_path)
    assert training["denoiser"]["steps"] == 600 and training["text"] == note(90, 0.1)
    assert training["controlnet"]["steps"] == 100  # it always begins at nothing
    assert [row["step"] for row in training["denoiser"]["curve"]] == [0, 500, 500, 600]
