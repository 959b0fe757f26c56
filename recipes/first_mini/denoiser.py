"""Trains the denoising network on the latents of drawn portraits and the words for them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from .architecture import SIZE_PX, new_scheduler, new_unet
from .autoencoder import to_tensor
from .drawings import Drawings
from .looks import caption
from .text import TextPair, encode
from .training import Average, Muon, Progress, load_state, rate_at, save_state

RATE = 1e-3
BATCH = 24  # of each process
CAPTIONS_EACH = 3
NO_CAPTION = 0.1  # the share of samples whose caption is left out, for guidance
FACE = 5.0  # how much more an error between the eyes and the mouth counts than one at the rim


@dataclass(frozen=True)
class Encoded:
    """Drawings as the denoiser sees them, 16-bit.

    means and spreads of the scaled latents, (n, 4, height, width); states (n, captions, 77, 192)
    and pooled (n, captions, 128) of their captions, and the same of the empty caption; weights
    (n, height, width), how much an error counts there, 1 on average.
    """

    means: torch.Tensor
    spreads: torch.Tensor
    states: torch.Tensor
    pooled: torch.Tensor
    empty_states: torch.Tensor
    empty_pooled: torch.Tensor
    weights: torch.Tensor


@torch.no_grad()
def scaling_factor(vae: Any, drawings: Drawings) -> float:
    """One over the spread of the latents, so that the denoiser sees unit variance."""
    latents = vae.encode(to_tensor(drawings.images[:512]).to(vae.device)).latent_dist.mode()
    return float(1 / latents.std())


def face_weights(landmarks: np.ndarray, cells: int) -> torch.Tensor:
    """How much an error counts in each cell of a picture, (n, cells, cells), 1 on average.

    The features of a face are few of a picture's cells and decide whether it is one: around
    their middle an error counts 1 + `FACE` times as much, within about the distance of the eyes.
    landmarks: as in `Drawings`.
    """
    features = landmarks[:, :4]  # eyes, nose, mouth
    middle = features.mean(1)
    reach = np.linalg.norm(features[:, 0] - features[:, 1], axis=1)
    at = (np.arange(cells) + 0.5) / cells
    x, y = (at - middle[:, i, None] for i in (0, 1))
    away = (x[:, None, :] ** 2 + y[:, :, None] ** 2) / reach[:, None, None] ** 2
    weights = torch.from_numpy(1 + FACE * np.exp(-away))
    return weights / weights.mean((1, 2), keepdim=True)


@torch.no_grad()
def encode_drawings(vae: Any, tokenizer: Any, pair: TextPair, drawings: Drawings) -> Encoded:
    """Encode every picture once and `CAPTIONS_EACH` captions for it."""
    rows: list[list[torch.Tensor]] = [[], [], [], []]
    for start in range(0, len(drawings), 50):
        chunk = range(start, min(start + 50, len(drawings)))
        latent = vae.encode(
            to_tensor(drawings.images[start : chunk.stop]).to(vae.device)
        ).latent_dist
        texts = []
        for i in chunk:
            rng = np.random.default_rng((3, i))
            look = drawings.look(i)
            texts += [
                caption(look, rng, drop=float(rng.uniform(0, 0.6))) for _ in range(CAPTIONS_EACH)
            ]
        states, pooled = encode(tokenizer, pair, texts)
        scale = vae.config.scaling_factor
        parts = (
            latent.mean * scale,
            latent.std * scale,
            states.unflatten(0, (-1, CAPTIONS_EACH)),
            pooled.unflatten(0, (-1, CAPTIONS_EACH)),
        )
        for row, part in zip(rows, parts, strict=True):
            row.append(part.half().cpu())
    empty_states, empty_pooled = encode(tokenizer, pair, [""])
    means, spreads, states, pooled = (torch.cat(row) for row in rows)
    empty = (empty_states[0].half(), empty_pooled[0].half())
    weights = face_weights(drawings.landmarks, means.shape[-1]).half()
    return Encoded(means, spreads, states, pooled, *empty, weights)


@dataclass(frozen=True)
class Part:
    """What is trained: makes `module` anew, and `network`, the module inside what draws with it.

    conditions: (n, 3, size, size) uint8, a picture that steers each drawing; None for none.
    """

    name: str
    module: Callable[[], Any]
    network: Callable[[Any], Any]
    optimizer: Callable[[Any], torch.optim.Optimizer]
    conditions: torch.Tensor | None = None


def _unet_optimizer(unet: Any) -> Muon:
    ends = ("conv_in", "conv_out", "time_embedding", "add_embedding")
    return Muon(unet, ends, lr=RATE, betas=(0.9, 0.99), weight_decay=0.01)


def _itself(module: Any) -> Any:
    return module


DENOISER = Part("denoiser", new_unet, _itself, _unet_optimizer)


def train_denoiser(
    folder: Path,
    encoded: Encoded,
    steps: int,
    *,
    part: Part = DENOISER,
    device: str = "cpu",
    processes: int = 1,
) -> None:
    """Train for `steps` steps in all, going on from the state in `folder`.

    With several `processes`, one a core, each takes `BATCH` samples a step and their gradients are
    averaged: on two cores that is 1.4 times the samples of one process with two threads.
    """
    if processes == 1:
        return _train(folder, encoded, steps, part, device, 0, 1)
    with tempfile.TemporaryDirectory() as meeting:
        torch.multiprocessing.start_processes(
            _train_a_share, (folder, encoded, steps, part, device, processes, meeting), processes
        )


def _train_a_share(
    rank: int,
    folder: Path,
    encoded: Encoded,
    steps: int,
    part: Part,
    device: str,
    processes: int,
    meeting: str,
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}/here", rank=rank, world_size=processes
    )
    _train(folder, encoded, steps, part, device, rank, processes)
    dist.destroy_process_group()


def _train(
    folder: Path, encoded: Encoded, steps: int, part: Part, device: str, rank: int, processes: int
) -> None:
    """Train the share of process `rank`, the first of which keeps the state.

    v-prediction (Salimans and Ho 2022), weighted by the signal-to-noise ratio cut at 5 (Hang et
    al. 2023), on a schedule that ends in pure noise (Lin et al. 2023).
    """
    torch.manual_seed(0)
    torch.set_flush_denormal(True)  # noise meets weights that are nearly nothing
    module = part.module().to(device, memory_format=torch.channels_last)
    optimizer = part.optimizer(module)
    average = Average(module, 0.999)
    note = load_state(folder, module, average, optimizer)
    progress = Progress(part.name, steps, curve=note.get("curve", []))
    kept = new_scheduler().alphas_cumprod.to(device)
    network = part.network(module)
    network = DistributedDataParallel(network) if processes > 1 else network
    smooth = None
    for step in range(note.get("step", 0), steps):
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("rate", RATE) * rate_at(step, steps)
        loss = _loss(network, encoded, kept, step * processes + rank, device, part.conditions)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        if rank:
            continue
        average.update()
        value = loss.detach()
        smooth = value if smooth is None else smooth.lerp(value, 0.01)
        if step % 20 == 0 or step == steps - 1:
            progress(step, loss=smooth.item())
        if step % 500 == 499 or step == steps - 1:
            note = {"step": step + 1, "curve": progress.curve}
            save_state(folder, module, average, optimizer, note)


def under_noise(
    latents: torch.Tensor, noise: torch.Tensor, kept: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents under noise, and what the network is to say of them: v, in channels-last.

    kept: (n,), how much of the signal's power each sample keeps.
    """
    a = kept[:, None, None, None]
    noisy = (a.sqrt() * latents + (1 - a).sqrt() * noise).contiguous(
        memory_format=torch.channels_last
    )
    return noisy, a.sqrt() * noise - (1 - a).sqrt() * latents


def weighted_error(
    got: torch.Tensor, wanted: torch.Tensor, kept: torch.Tensor, where: torch.Tensor
) -> torch.Tensor:
    """The mean squared error, by the signal-to-noise ratio and by the place, (n, height, width)."""
    ratio = kept / (1 - kept)
    weight = ratio.clamp(max=5) / (ratio + 1) + 0.2
    error = ((got - wanted).square().mean(1) * where).mean((1, 2))
    return (error * weight).mean() / weight.mean()


def picture_sizes(count: int) -> torch.Tensor:
    """What the network is told of sizes and crops: whole pictures, (count, 6)."""
    return torch.tensor([[SIZE_PX, SIZE_PX, 0, 0, SIZE_PX, SIZE_PX]]).repeat(count, 1)


def _loss(
    network: Any,
    encoded: Encoded,
    kept: torch.Tensor,
    seed: int,
    device: str,
    conditions: torch.Tensor | None = None,
) -> torch.Tensor:
    rng = np.random.default_rng((4, seed))
    noise_rng = torch.Generator().manual_seed(seed)
    chosen = torch.from_numpy(rng.integers(len(encoded.means), size=BATCH))
    which = torch.from_numpy(rng.integers(CAPTIONS_EACH, size=BATCH))
    shape = (BATCH, *encoded.means.shape[1:])
    spread = torch.randn(shape, generator=noise_rng) * encoded.spreads[chosen].float()
    latents = (encoded.means[chosen].float() + spread).to(device)
    noise = torch.randn(shape, generator=noise_rng).to(device)
    states, pooled = encoded.states[chosen, which], encoded.pooled[chosen, which]
    silent = torch.from_numpy(rng.random(BATCH) < NO_CAPTION)
    states[silent], pooled[silent] = encoded.empty_states, encoded.empty_pooled
    # One time step in each part of the range: the same spread in every batch.
    times = torch.from_numpy(((np.arange(BATCH) + rng.random(BATCH)) / BATCH * 1000).astype(int))
    times = times.to(device)
    noisy, wanted = under_noise(latents, noise, kept[times])
    sizes = picture_sizes(BATCH).to(device)
    steered = {}
    if conditions is not None:
        steered["condition"] = conditions[chosen].float().div(255).to(device)
    got = network(
        noisy,
        times,
        encoder_hidden_states=states.float().to(device),
        added_cond_kwargs={"text_embeds": pooled.float().to(device), "time_ids": sizes},
        **steered,
    ).sample
    where = encoded.weights[chosen].float().to(device)
    return weighted_error(got, wanted, kept[times], where)


def trained_unet(folder: Path) -> Any:
    """The averaged denoising network of the state in `folder`."""
    unet = new_unet()
    average = Average(unet)
    if not load_state(folder, unet, average, _unet_optimizer(unet)):
        raise FileNotFoundError(f"{folder}: no denoiser here; run the recipe's denoiser stage")
    unet.load_state_dict(average.weights)
    return unet.eval().requires_grad_(False)
