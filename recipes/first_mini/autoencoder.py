"""Trains the autoencoder: portraits to latents a quarter of their size, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from portraitlib.mini.words import GROUPS, STYLES

from .architecture import SIZE_PX, new_autoencoder
from .drawings import HELD_OUT, Drawings, draw_many
from .training import Average, Muon, Progress, load_state, rate_at, save_state

RATE = 2e-3
BATCH = 8
KL_WEIGHT = 1e-3
HARDEST = "pixel art"  # its edges lie everywhere: it is seen twice as often


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """(n, height, width, 3) uint8 to (n, 3, height, width) float32 in -1..1."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def loss_of(wanted: torch.Tensor, got: torch.Tensor) -> torch.Tensor:
    """Absolute and squared error, and the error of the differences between neighbours.

    The last keeps lines sharp: blur has a small error in colour and a large one in differences.
    """
    across = (wanted[..., 1:] - wanted[..., :-1], got[..., 1:] - got[..., :-1])
    down = (wanted[..., 1:, :] - wanted[..., :-1, :], got[..., 1:, :] - got[..., :-1, :])
    slopes = F.l1_loss(*across) + F.l1_loss(*down)
    return F.l1_loss(got, wanted) + 3 * F.mse_loss(got, wanted) + 0.5 * slopes


def train_autoencoder(
    folder: Path, drawings: Drawings, steps: int, *, device: str = "cpu", decoder_only: bool = False
) -> None:
    """Train for `steps` steps in all, going on from the state in `folder`.

    With `decoder_only` the latents stay as they are, so that a denoiser trained on them stays
    valid while pictures get sharper.
    """
    torch.manual_seed(0)
    vae = new_autoencoder().to(device, memory_format=torch.channels_last)
    torch.set_flush_denormal(True)
    optimizer = _optimizer(vae)
    average = Average(vae, 0.998)
    note = load_state(folder, vae, average, optimizer)
    if decoder_only:
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
    progress = Progress(
        "decoder" if decoder_only else "autoencoder", steps, curve=note.get("curve", [])
    )
    styles = drawings.looks[:, GROUPS.index("style")]
    odds = np.where(styles == STYLES.index(HARDEST), 2.0, 1.0)
    odds /= odds.sum()
    for step in range(note.get("step", 0), steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * rate_at(step, steps)
        rng = np.random.default_rng((1, step))
        wanted = to_tensor(drawings.images[rng.choice(len(drawings), BATCH, p=odds)]).to(device)
        wanted = wanted.contiguous(memory_format=torch.channels_last)
        loss, kl = _loss(vae, wanted, decoder_only)
        optimizer.zero_grad(set_to_none=True)
        (loss + KL_WEIGHT * kl).backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        average.update()
        if step % 25 == 0 or step == steps - 1:
            progress(step, loss=loss.item(), kl=kl.item())
        if step % 250 == 249 or step == steps - 1:
            save_state(folder, vae, average, optimizer, {"step": step + 1, "curve": progress.curve})


def _optimizer(vae: Any) -> Muon:
    parts = ("encoder", "decoder")
    ends = (
        "quant_conv",
        "post_quant_conv",
        *(f"{part}.conv_{end}" for part in parts for end in ("in", "out")),
    )
    return Muon(vae, ends, lr=RATE, betas=(0.9, 0.97), weight_decay=1e-4)


def _loss(vae: Any, wanted: torch.Tensor, decoder_only: bool) -> tuple[torch.Tensor, torch.Tensor]:
    if decoder_only:
        with torch.no_grad():
            latents = vae.encode(wanted).latent_dist.sample()
        return loss_of(wanted, vae.decode(latents).sample), torch.zeros(())
    latent = vae.encode(wanted).latent_dist
    kl = 0.5 * (latent.mean**2 + latent.var - 1 - latent.logvar).mean()
    return loss_of(wanted, vae.decode(latent.sample()).sample), kl


def trained_autoencoder(folder: Path) -> Any:
    """The averaged autoencoder of the state in `folder`."""
    vae = new_autoencoder()
    average = Average(vae)
    if not load_state(folder, vae, average, _optimizer(vae)):
        raise FileNotFoundError(
            f"{folder}: no autoencoder here; run the recipe's autoencoder stage"
        )
    vae.load_state_dict(average.weights)
    return vae.eval().requires_grad_(False)


@torch.no_grad()
def autoencoder_figures(vae: Any, *, count: int = 40) -> dict[str, float]:
    """PSNR in dB on held-out drawn portraits, `count` of each style, and over all of them."""
    figures, errors = {}, []
    for i, style in enumerate(STYLES):
        images = draw_many(HELD_OUT + 10_000 * i, count, SIZE_PX, {"style": style}).images
        error = []
        for chunk in np.array_split(images, -(-count // 20)):
            wanted = to_tensor(chunk).to(vae.device)
            got = vae.decode(vae.encode(wanted).latent_dist.mode()).sample.clamp(-1, 1)
            error += (got - wanted).div(2).square().mean((1, 2, 3)).tolist()
        errors += error
        figures[style] = float(-10 * np.log10(np.mean(error)))
    return {**figures, "all": float(-10 * np.log10(np.mean(errors)))}
