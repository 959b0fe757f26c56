"""Trains the autoencoder: pictures to latents an eighth of their side, and back.

    python -m recipes.mini.autoencoder --set DIR --photos FILE.npy --state DIR --minutes 60

It learns on crops, and at the end (`--crop 256`) on whole pictures: normalisation sees other
statistics there. `--freeze` writes what the denoiser is trained on; after that only the decoder
may still learn (`--decoder-only`).
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from .architecture import new_autoencoder
from .sets import Shard, pictures_of, read_shards
from .sheets import save_sheet
from .training import Muon, Run, averaged, options_of, train
from .world.words import STYLES

FROZEN = "autoencoder-frozen"  # the folder in a state with what the denoiser is trained on
RATE = 2e-3
PIXELS = 32_768  # of a batch: half as many bring it further in the same minutes, early on
KL_WEIGHT = 5e-4
# How often a style is seen: the more of it is edges, the harder it is to keep.
ODDS = {"pixel art": 2.0, "pencil sketch": 2.0, "comic book": 1.5, "oil painting": 1.5}
PHOTOS = 0.4  # the share of crops that are from photographs, where there are any


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """(n, height, width, 3) uint8 to (n, 3, height, width) float32 in -1..1."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def to_pictures(tensor: torch.Tensor) -> np.ndarray:
    """(n, 3, height, width) in -1..1 to (n, height, width, 3) uint8."""
    scaled = tensor.float().clamp(-1, 1).add(1).mul(127.5).round().byte()
    return scaled.permute(0, 2, 3, 1).contiguous().numpy()


def loss_of(wanted: torch.Tensor, got: torch.Tensor) -> torch.Tensor:
    """Absolute and squared error, and the error of the differences between neighbours.

    The last keeps lines sharp: blur has a small error in colour and a large one in differences.
    """
    across = (wanted[..., 1:] - wanted[..., :-1], got[..., 1:] - got[..., :-1])
    down = (wanted[..., 1:, :] - wanted[..., :-1, :], got[..., 1:, :] - got[..., :-1, :])
    slopes = F.l1_loss(*across) + F.l1_loss(*down)
    return F.l1_loss(got, wanted) + 3 * F.mse_loss(got, wanted) + 0.5 * slopes


class Crops:
    """Random crops of a growing drawn set and of photographs.

    photos: arrays (n, 256, 256, 3) uint8.
    """

    def __init__(self, folder: Path, photos: list[np.ndarray]) -> None:
        self.folder, self.photos = folder, photos
        self.shards: tuple[Shard, ...] = ()
        self.of_style: dict[str, list[tuple[int, int]]] = {}

    def read_more(self) -> None:
        known = len(self.shards)
        self.shards = read_shards(self.folder, self.shards)
        for i, shard in enumerate(self.shards[known:], known):
            for k, meta in enumerate(shard.meta):
                self.of_style.setdefault(meta["style"], []).append((i, k))

    def picture(self, rng: np.random.Generator) -> np.ndarray:
        """A picture, (256, 256, 3) uint8, as it lies on disk."""
        if self.photos and rng.random() < PHOTOS:
            photos = self.photos[rng.integers(len(self.photos))]
            return photos[rng.integers(len(photos))]
        styles = list(self.of_style)
        odds = np.array([ODDS.get(style, 1.0) for style in styles])
        mine = self.of_style[styles[rng.choice(len(styles), p=odds / odds.sum())]]
        shard, index = mine[rng.integers(len(mine))]
        return self.shards[shard].images[index]

    def batch(self, rng: np.random.Generator, crop_px: int) -> torch.Tensor:
        """(n, 3, crop, crop) in -1..1, `PIXELS` in all; a quarter are of pictures at half size."""
        rows = []
        for _ in range(max(1, PIXELS // crop_px**2)):
            picture = self.picture(rng)
            halved = crop_px <= 128 and rng.random() < 0.25
            side = crop_px * (2 if halved else 1)
            y, x = rng.integers(0, 256 - side + 1, 2)
            crop = np.asarray(picture[y : y + side, x : x + side])
            if halved:
                crop = crop.reshape(crop_px, 2, crop_px, 2, 3).mean((1, 3)).round().astype(np.uint8)
            rows.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
        return to_tensor(np.stack(rows))


def _losses(vae: Any, crops: Crops, crop_px: int, decoder_only: bool) -> Any:
    def losses(step: int) -> tuple[torch.Tensor, int, dict[str, torch.Tensor]]:
        if step % 100 == 0 or not crops.shards:
            crops.read_more()
        rng = np.random.default_rng((1, step))
        torch.manual_seed(step)
        wanted = crops.batch(rng, crop_px)
        with torch.set_grad_enabled(not decoder_only):
            latent = vae.encode(wanted).latent_dist
        latents = latent.sample()
        if crop_px >= 64 and rng.random() < 0.3:
            # A quarter of the latents are to be a picture of half the side (Kouzelis et al. 2025):
            # smoother latents, learnt more easily, and one network for both sizes.
            latents, wanted = F.avg_pool2d(latents, 2), F.avg_pool2d(wanted, 2)
        got = vae.decode(latents).sample.float()
        loss = loss_of(wanted, got)
        kl = 0.5 * (latent.mean**2 + latent.var - 1 - latent.logvar).float().mean()
        figures = {"loss": loss, "mse": F.mse_loss(got, wanted) / 4, "kl": kl}
        return loss + KL_WEIGHT * kl, len(wanted), figures

    return losses


def train_autoencoder(
    run: Run, vae: Any, crops: Crops, crop_px: int, held: dict[str, np.ndarray]
) -> None:
    """Train on crops of `crop_px`; held: pictures never trained on, for the figures."""
    decoder_only = not next(vae.encoder.parameters()).requires_grad
    parts = ("encoder", "decoder")
    ends = (
        *(f"{p}.conv_{end}" for p in parts for end in ("in", "out")),
        "quant_conv",
        "post_quant",
    )
    optimizer = Muon(vae, ends, lr=RATE, betas=(0.9, 0.97), weight_decay=1e-4, bfloat16=True)

    def on_sheet(step: int) -> None:
        figures = {name: round(psnr(vae, pictures), 2) for name, pictures in held.items()}
        print(f"autoencoder step {step}  PSNR, dB: {figures}", flush=True)
        some = np.concatenate([pictures[:2] for pictures in held.values()])
        save_sheet(run.folder / f"sheet-{step:07d}.png", some, through(vae, some))

    train(run, vae, optimizer, _losses(vae, crops, crop_px, decoder_only), on_sheet)


@torch.no_grad()
def through(vae: Any, pictures: np.ndarray) -> np.ndarray:
    """Pictures (n, height, width, 3) uint8 to latents and back."""
    rows = [vae.decode(vae.encode(to_tensor(p[None])).latent_dist.mode()).sample for p in pictures]
    return to_pictures(torch.cat(rows))


def psnr(vae: Any, pictures: np.ndarray) -> float:
    """How well pictures survive, in dB, over all of them."""
    error = (through(vae, pictures).astype(np.float64) - pictures) / 255
    return float(-10 * np.log10(np.mean(error**2)))


def held_pictures(folder: Path | None, photos: Path | None, count: int) -> dict[str, np.ndarray]:
    """Pictures that are never trained on, by style, and photographs, `count` of each at most."""
    held = {}
    if folder is not None:
        shards = read_shards(folder)
        held = {style: pictures_of(shards, style, count) for style in STYLES}
    if photos is not None:
        held["photographs"] = np.load(photos)[:count]
    return {name: pictures for name, pictures in held.items() if len(pictures)}


def freeze(folder: Path, target: Path, crops: Crops) -> None:
    """Write the averaged autoencoder with latents of mean 0 and variance 1 in every channel.

    The scale goes into the 1x1 convolutions on both sides of the latents: diffusers' pipelines
    know one factor for all channels, or four.
    """
    vae = new_autoencoder()
    averaged(folder, vae)
    rng = np.random.default_rng(0)
    pictures = [to_tensor(crops.picture(rng)[None]) for _ in range(256)]
    with torch.no_grad():
        latents = torch.cat([vae.encode(picture).latent_dist.mode() for picture in pictures])
    scale(vae, latents.mean((0, 2, 3)), latents.std((0, 2, 3)))
    _write(vae, target)


@torch.no_grad()
def scale(vae: Any, mean: torch.Tensor, spread: torch.Tensor) -> None:
    """Give every channel of the latents mean 0 and variance 1, from (channels,) of each."""
    channels = len(mean)
    inward, outward = vae.quant_conv, vae.post_quant_conv
    outward.bias += (outward.weight[:, :, 0, 0] * mean).sum(1)
    outward.weight *= spread[None, :, None, None]
    inward.bias[:channels] = (inward.bias[:channels] - mean) / spread
    inward.weight[:channels] /= spread[:, None, None, None]
    inward.bias[channels:] -= 2 * spread.log()


def freeze_decoder(folder: Path, target: Path) -> None:
    """Write the autoencoder whose decoder alone was trained on: its latents are as they were."""
    vae, _ = frozen(target)
    averaged(folder, vae)
    _write(vae, target)


def _write(vae: Any, target: Path) -> None:
    beside = target.with_name(target.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    vae.save_pretrained(beside, safe_serialization=True)
    shutil.rmtree(target, ignore_errors=True)
    beside.rename(target)


def frozen(folder: Path) -> tuple[Any, str]:
    """The autoencoder that the denoiser is trained on, and a name of what its encoder does."""
    from diffusers import AutoencoderKL

    if not folder.exists():
        raise FileNotFoundError(f"{folder}: no autoencoder here; run its stage with --freeze")
    vae = AutoencoderKL.from_pretrained(folder).eval().requires_grad_(False)
    digest = hashlib.sha256()
    for part in (vae.encoder, vae.quant_conv):
        for weight in part.state_dict().values():
            digest.update(weight.numpy().tobytes())
    return vae, digest.hexdigest()[:8]


def main(arguments: list[str] | None = None) -> None:
    parser = options_of("autoencoder", __doc__)
    parser.add_argument("--set", type=Path, required=True, help="a drawn set, which may grow")
    parser.add_argument("--photos", type=Path, nargs="*", default=[], help="(n, 256, 256, 3) .npy")
    parser.add_argument("--held-set", type=Path, help="a drawn set of people never trained on")
    parser.add_argument("--held-photos", type=Path, help="photographs never trained on, .npy")
    parser.add_argument("--crop", type=int, default=96, help="side of the crops; 256: no crops")
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--decoder-only", action="store_true", help="the latents stay as they are")
    parser.add_argument("--freeze", action="store_true", help="write what the denoiser learns on")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    crops = Crops(options.set, [np.load(path, mmap_mode="r") for path in options.photos])
    crops.read_more()
    target = options.state / FROZEN
    folder = options.state / ("decoder" if options.decoder_only else "autoencoder")
    if options.freeze and options.decoder_only:
        freeze_decoder(folder, target)
    elif options.freeze:
        freeze(folder, target, crops)
    else:
        vae = frozen(target)[0] if options.decoder_only else new_autoencoder()
        vae.train()
        (vae.decoder if options.decoder_only else vae).requires_grad_(True)
        run = Run(folder, options.minutes, options.rate, options.settle, not options.float32, 0.998)
        held = held_pictures(options.held_set, options.held_photos, 12)
        train_autoencoder(run, vae, crops, options.crop, held)


if __name__ == "__main__":
    main()
