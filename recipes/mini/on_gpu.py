"""Autoencoder and denoiser where a GPU is: the set lies on the card and may grow meanwhile.

    python -m recipes.mini.on_gpu --set DIR --photos FILE.npy --state DIR \\
        --autoencoder-minutes 3 --minutes 6 --size 128 256

The same networks, losses and states as the stages on a processor, with batches 16 to 64 times as
large. The text encoders have to be trained already.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from . import autoencoder, denoiser
from .architecture import LATENT_PX, SIZES_PX, new_autoencoder, new_scheduler, new_unet
from .denoiser import Batch, Lesson, Taught, errors
from .latents import part_shares
from .sets import Shard
from .text import trained_text
from .training import Muon, Run, averaged, options_of, train
from .world.words import STYLES, Look, caption

CAPTIONS = 6  # of each picture, said once and kept as what the encoders make of them
MOST = 24_000  # pictures that the card is asked to hold
CROP_PX = 128


class Card:
    """A growing set on the card.

    images (n, 3, 256, 256) uint8; style (n,) its index; parts (n, 10, 32, 32) uint8 shares;
    looks n.
    """

    def __init__(self, folder: Path, device: str, most: int = MOST) -> None:
        self.folder, self.device = folder, device
        self.images = torch.empty((most, 3, 256, 256), dtype=torch.uint8, device=device)
        self.parts = torch.empty((most, 10, 32, 32), dtype=torch.uint8, device=device)
        self.style = torch.zeros(most, dtype=torch.long, device=device)
        self.looks: list[Look] = []
        self.read: set[str] = set()
        self.asked = 0.0

    def __len__(self) -> int:
        return len(self.looks)

    def read_more(self, every_s: float = 5.0, at_most: int = 400) -> None:
        """Take new shards in, if it is some seconds since that was done."""
        if time.monotonic() - self.asked < every_s:
            return
        names = sorted(p.name for p in self.folder.glob("[0-9]*") if p.name not in self.read)
        for name in names[:at_most]:
            shard = Shard(self.folder / name)
            start, end = len(self), len(self) + len(shard)
            if end > len(self.images):
                break
            pictures = torch.from_numpy(np.array(shard.images)).to(self.device)
            self.images[start:end] = pictures.permute(0, 3, 1, 2)
            self.parts[start:end] = part_shares(shard.parts).to(self.device)
            styles = [STYLES.index(meta["style"]) for meta in shard.meta]
            self.style[start:end] = torch.tensor(styles, device=self.device)
            self.looks += [Look(**meta["look"]) for meta in shard.meta]
            self.read.add(name)
        self.asked = time.monotonic()


def _signed(pictures: torch.Tensor) -> torch.Tensor:
    return pictures.float().div_(127.5).sub_(1)


def _crops(pictures: torch.Tensor, rows: torch.Tensor, side: int) -> torch.Tensor:
    """Crops (n, 3, side, side) of the pictures in `rows`, half of them flipped."""
    n, device = len(rows), pictures.device
    y = torch.randint(0, 257 - side, (n, 1), device=device) + torch.arange(side, device=device)
    x = torch.randint(0, 257 - side, (n, 1), device=device) + torch.arange(side, device=device)
    flip = (torch.rand(n, 1, device=device) < 0.5).expand_as(x)
    x = torch.where(flip, x.flip(1), x)
    channels = torch.arange(3, device=device)[None, :, None, None]
    return pictures[rows[:, None, None, None], channels, y[:, None, :, None], x[:, None, None, :]]


def _autoencoder_losses(vae: Any, card: Card, photos: torch.Tensor | None, whole: bool) -> Any:
    odds = torch.tensor([autoencoder.ODDS.get(s, 1.0) for s in STYLES], device=card.device)
    batch = 40 if whole else 128

    def losses(step: int) -> tuple[torch.Tensor, int, dict[str, torch.Tensor]]:
        card.read_more()
        weights = odds[card.style[: len(card)]]
        side = 256 if whole else CROP_PX
        shown = int(batch * autoencoder.PHOTOS) if photos is not None else 0
        rows = torch.multinomial(weights, batch - shown, replacement=True)
        pictures = [_crops(card.images, rows, side)]
        if photos is not None:
            some = torch.randint(0, len(photos), (shown,), device=card.device)
            pictures.append(_crops(photos, some, side))
        wanted = _signed(torch.cat(pictures))
        latent = vae.encode(wanted).latent_dist
        latents = latent.sample()
        if step % 10 < 3:
            latents, wanted = F.avg_pool2d(latents, 2), F.avg_pool2d(wanted, 2)
        got = vae.decode(latents).sample.float()
        loss = autoencoder.loss_of(wanted, got)
        kl = 0.5 * (latent.mean**2 + latent.var - 1 - latent.logvar).float().mean()
        figures = {"loss": loss, "mse": F.mse_loss(got, wanted) / 4, "kl": kl}
        return loss + autoencoder.KL_WEIGHT * kl, batch, figures

    return losses


def train_autoencoder(card: Card, photos: torch.Tensor | None, state: Path, minutes: float) -> Any:
    """Three quarters of the minutes on crops, the rest on whole pictures; freeze what it became."""
    vae = new_autoencoder().to(card.device).train()
    ends = (*(f"{p}.conv_{e}" for p in ("encoder", "decoder") for e in ("in", "out")),)
    ends = (*ends, "quant_conv", "post_quant")
    for whole, share in ((False, 0.75), (True, 0.25)):
        optimizer = Muon(vae, ends, lr=2e-3, betas=(0.9, 0.97), weight_decay=1e-4, bfloat16=True)
        rate = 8e-4 if whole else 2e-3
        run = Run(state / "autoencoder", minutes * share, rate, whole, True, 0.998)
        run = Run(**{**run.__dict__, "device": card.device, "say_s": 10.0})
        train(run, vae, optimizer, _autoencoder_losses(vae, card, photos, whole))
    return freeze(card, state)


@torch.no_grad()
def freeze(card: Card, state: Path) -> Any:
    """Write the averaged autoencoder with latents of mean 0 and variance 1 in every channel."""
    vae = new_autoencoder()
    averaged(state / "autoencoder", vae)
    vae = vae.to(card.device)
    rows = torch.randint(0, len(card), (512,), device=card.device)
    latents = torch.cat(
        [vae.encode(_signed(card.images[r])).latent_dist.mode() for r in rows.split(32)]
    )
    mean, spread = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    autoencoder.scale(vae, mean, spread)
    autoencoder._write(vae.cpu(), state / autoencoder.FROZEN)
    return vae.to(card.device)


class Lessons:
    """Latents and words of all that is on the card; what is new is encoded when asked for."""

    def __init__(self, card: Card, vae: Any, text: Path) -> None:
        self.card, self.vae = card, vae
        self.tokenizer, pair = trained_text(text)
        self.pair = pair.to(card.device)
        most = len(card.images)
        self.latents = {
            side: torch.empty(
                (2, most, 12, side // 8, side // 8), dtype=torch.half, device="cpu"
            ).to(card.device)
            for side in SIZES_PX
        }  # both ways round
        tokens, width, pooled = 77, 192, 128
        self.states = torch.empty((most * CAPTIONS, tokens, width), dtype=torch.half).to(
            card.device
        )
        self.pooled = torch.empty((most * CAPTIONS, pooled), dtype=torch.half).to(card.device)
        self.empty = self._said([""])
        self.known = 0

    @torch.no_grad()
    def _said(self, captions: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = self.tokenizer(
            captions, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
        ).input_ids
        states, pooled = self.pair(tokens.to(self.card.device))
        return states.half(), pooled.half()

    @torch.no_grad()
    def read_more(self) -> None:
        """Encode what the card has beyond what is known, 256 pictures at a time."""
        card = self.card
        while self.known < len(card):
            start, end = self.known, min(self.known + 256, len(card))
            rng = np.random.default_rng((7, start))
            for side in SIZES_PX:
                for turned in (0, 1):
                    for a in range(start, end, 64):
                        b = min(a + 64, end)
                        pictures = _signed(card.images[a:b])
                        pictures = pictures.flip(3) if turned else pictures
                        pictures = F.avg_pool2d(pictures, 256 // side)
                        mean = self.vae.encode(pictures).latent_dist.mean
                        self.latents[side][turned, a:b] = mean.half()
            said = [
                caption(card.looks[i], rng, drop=float(rng.uniform(0, 0.6)))
                for i in range(start, end)
                for _ in range(CAPTIONS)
            ]
            states, pooled = self._said(said)
            self.states[start * CAPTIONS : end * CAPTIONS] = states
            self.pooled[start * CAPTIONS : end * CAPTIONS] = pooled
            self.known = end

    def batch(self, size_px: int, count: int) -> tuple[Batch, tuple[torch.Tensor, torch.Tensor]]:
        """A batch of pictures, and the states (n, 77, 192) and pooled (n, 128) of its words."""
        device = self.card.device
        rows = torch.randint(0, self.known, (count,), device=device)
        turned = torch.randint(0, 2, (count,), device=device)
        latents = self.latents[size_px][turned, rows].float()
        parts = self.card.parts[rows].float().div(255)
        parts = torch.where(turned[:, None, None, None] > 0, parts.flip(3), parts)
        parts = F.avg_pool2d(parts, parts.shape[-1] // latents.shape[-1])
        said = rows * CAPTIONS + torch.randint(0, CAPTIONS, (count,), device=device)
        silent = torch.rand(count, device=device) < denoiser.NO_CAPTION
        states = torch.where(silent[:, None, None], self.empty[0], self.states[said]).float()
        pooled = torch.where(silent[:, None], self.empty[1], self.pooled[said]).float()
        return Batch(latents, parts, [], size_px), (states, pooled)


def train_denoiser(
    lessons: Lessons, state: Path, minutes: float, sizes_px: tuple[int, ...], settle: bool
) -> None:
    """Train, going on from the state; the share of the sizes in time is about even."""
    card = lessons.card
    torch.manual_seed(0)
    module = Taught(new_unet()).to(card.device)
    optimizer = denoiser.new_optimizer(module, "muon")
    kept = new_scheduler().alphas_cumprod.to(card.device)
    counts = {size: LATENTS * LATENT_PX**2 // size**2 for size in SIZES_PX}

    def losses(step: int) -> tuple[torch.Tensor, int, dict[str, torch.Tensor]]:
        card.read_more()
        lessons.read_more()
        size = sizes_px[step % len(sizes_px)]
        count = counts[size]
        batch, words = lessons.batch(size, count)
        spread = torch.arange(count, device=card.device) + torch.rand(count, device=card.device)
        times = (spread / count * 1000).long().clamp(max=999)
        loss, error, told = errors(module, batch, words, times, kept, Lesson(sizes_px))
        return loss, count, {"loss": loss, f"error{size}": error, "parts": told}

    lessons.read_more()
    run = Run(state / "denoiser", minutes, denoiser.RATE, settle, True, 0.998)
    run = Run(**{**run.__dict__, "device": card.device, "say_s": 15.0})
    train(run, module, optimizer, losses)


LATENTS = 262_144  # of a batch: 1024 pictures of 128 px, 256 of 256 px


def main(arguments: list[str] | None = None) -> None:
    """Train what is asked for, one after the other."""
    parser = options_of("on_gpu", __doc__)
    parser.set_defaults(device="cuda")
    parser.add_argument("--set", type=Path, required=True, help="a drawn set, which may grow")
    parser.add_argument("--photos", type=Path, help="photographs, (n, 256, 256, 3) .npy")
    parser.add_argument("--wait", type=int, default=800, help="for so many pictures at first")
    parser.add_argument("--autoencoder-minutes", type=float, default=0.0)
    parser.add_argument("--size", type=int, nargs="+", choices=SIZES_PX, default=[128])
    parser.add_argument("--most", type=int, default=MOST, help="pictures on the card")
    options = parser.parse_args(arguments)
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    card = Card(options.set, options.device, options.most)
    while len(card) < options.wait:
        card.read_more(0.0)
        time.sleep(1.0)
    print(f"{len(card)} pictures", flush=True)
    if options.autoencoder_minutes:
        photos = None
        if options.photos:
            loaded = torch.from_numpy(np.load(options.photos)).to(options.device)
            photos = loaded.permute(0, 3, 1, 2).contiguous()
        vae = train_autoencoder(card, photos, options.state, options.autoencoder_minutes)
    else:
        vae = autoencoder.frozen(options.state / autoencoder.FROZEN)[0].to(options.device)
    if options.minutes:
        lessons = Lessons(card, vae, options.state / "text")
        train_denoiser(lessons, options.state, options.minutes, tuple(options.size), options.settle)
    print(f"{len(card)} pictures in the end", flush=True)


if __name__ == "__main__":
    main()
