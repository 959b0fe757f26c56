"""Trains the denoising network on the latents of a drawn set and the words for them.

    python -m recipes.mini.denoiser --set DIR --state DIR --size 128 --minutes 30

Most samples at 128 px, where one costs a quarter; at the end `--size 128 256`. The set may grow
meanwhile. It needs the autoencoder, frozen, and the text encoders.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from .architecture import LATENT_PX, SIZES_PX, new_scheduler, new_unet
from .autoencoder import FROZEN, frozen
from .latents import Encoded, encoded
from .sets import PARTS, Shard, read_shards
from .sheets import draw_sheet
from .text import TextPair, encode, trained_text
from .training import Muon, Run, options_of, train
from .world.words import caption

RATE = 1e-3
LATENTS = 16_384  # of a batch: 64 pictures of 128 px, 16 of 256 px
NO_CAPTION = 0.1  # the share of samples whose caption is left out, for guidance
PARTS_WEIGHT = 0.1  # of the error in saying which part of the portrait is where
FEATURES = ("brows", "eyes", "mouth", "glasses")
FACE = 4.0  # how much more an error counts where a latent is all features; half on bare skin


class Taught(torch.nn.Module):
    """The UNet, and what it is taught with: a layer that tells the parts from its middle.

    Whoever can say where the eyes are has understood the portrait, whatever the noise; features
    that hold this help the drawing. The layer is thrown away.
    """

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet
        width = unet.config.block_out_channels[-1]
        self.parts = torch.nn.Conv2d(width, 4 * len(PARTS), 1)
        self._middle: list[torch.Tensor] = []
        # Half the latents' side, after the deepest level has met the first skip connections.
        unet.up_blocks[0].register_forward_hook(lambda _, __, out: self._middle.append(out))

    def forward(self, noisy: torch.Tensor, times: torch.Tensor, **words: Any) -> Any:
        """(n, 12, side, side) to the prediction, and logits of the parts, (n, 10, side, side)."""
        self._middle.clear()
        predicted = self.unet(noisy, times, **words).sample
        return predicted, F.pixel_shuffle(self.parts(self._middle.pop()), 2)


@dataclass(frozen=True)
class Lesson:
    """What is tried against the plain way: 0 or "adamw" is the plain way."""

    sizes_px: tuple[int, ...]
    parts_weight: float = PARTS_WEIGHT
    face: float = FACE
    optimizer: str = "muon"


class Samples:
    """What a growing set has to offer: latents, parts and looks, as they lie in memory."""

    def __init__(self, vae: Any, folder: Path, cache: Path) -> None:
        self.vae, self.folder, self.cache = vae, folder, cache
        self.shards: tuple[Shard, ...] = ()
        self.encoded: list[Encoded] = []

    def read_more(self, at_most: int) -> None:
        """Take up to `at_most` new shards in: encoding one takes half a minute."""
        self.shards = read_shards(self.folder, self.shards)
        for shard in self.shards[len(self.encoded) :][:at_most]:
            self.encoded.append(encoded(self.vae, shard, self.cache))

    def choose(self, rng: np.random.Generator, count: int) -> list[tuple[Encoded, int]]:
        """`count` pictures, each as likely as any other."""
        ends = np.cumsum([len(shard) for shard in self.encoded])
        rows = []
        for at in rng.integers(ends[-1], size=count):
            shard = int(np.searchsorted(ends, at, side="right"))
            rows.append((self.encoded[shard], int(at - ends[shard] + len(self.encoded[shard]))))
        return rows


@dataclass(frozen=True)
class Batch:
    """latents (n, 12, side, side); parts (n, 10, side, side), shares; captions n."""

    latents: torch.Tensor
    parts: torch.Tensor
    captions: list[str]
    size_px: int


def batch_of(samples: Samples, rng: np.random.Generator, size_px: int, count: int) -> Batch:
    """Draw a batch; torch's own random numbers place the latents about their means."""
    rows = samples.choose(rng, count)
    means = torch.stack([shard.means[size_px][i].float() for shard, i in rows])
    spreads = torch.stack([shard.spreads[size_px] for shard, _ in rows])[:, :, None, None]
    parts = torch.stack([shard.parts[i].float() for shard, i in rows]).div(255)
    parts = F.avg_pool2d(parts, parts.shape[-1] // means.shape[-1])
    captions = [
        ""
        if rng.random() < NO_CAPTION
        else caption(shard.looks[i], rng, drop=float(rng.uniform(0, 0.6)))
        for shard, i in rows
    ]
    return Batch(means + spreads * torch.randn_like(means), parts, captions, size_px)


def face_weights(parts: torch.Tensor, face: float) -> torch.Tensor:
    """How much an error counts at each latent, (n, side, side), 1 on average over a picture.

    The features of a face are few of a picture's latents and decide whether it is one.
    """
    features = parts[:, [PARTS.index(name) for name in FEATURES]].sum(1, keepdim=True)
    near = F.max_pool2d(features, 3, 1, 1)[:, 0]
    weights = 1 + face * torch.maximum(near, 0.5 * parts[:, PARTS.index("face")])
    return weights / weights.mean((1, 2), keepdim=True)


def time_ids(size_px: int, count: int, device: Any = "cpu") -> torch.Tensor:
    """SDXL's size conditioning of whole pictures: original size, corner of the crop, size."""
    sizes = [[size_px, size_px, 0, 0, size_px, size_px]]
    return torch.tensor(sizes, device=device).float().repeat(count, 1)


def errors(
    module: Any,
    batch: Batch,
    words: tuple[torch.Tensor, torch.Tensor],
    times: torch.Tensor,
    kept: torch.Tensor,
    lesson: Lesson,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of a batch at noise levels `times`: the loss, the plain error of v and that of the parts.

    v-prediction (Salimans and Ho 2022), weighted by the signal-to-noise ratio cut at 5 (Hang et
    al. 2023), on a schedule that ends in pure noise (Lin et al. 2023).
    """
    a = kept[times][:, None, None, None]
    noise = torch.randn_like(batch.latents)
    noisy = a.sqrt() * batch.latents + (1 - a).sqrt() * noise
    wanted = a.sqrt() * noise - (1 - a).sqrt() * batch.latents
    states, pooled = words
    conditions = {
        "text_embeds": pooled,
        "time_ids": time_ids(batch.size_px, len(times), times.device),
    }
    got, logits = module(noisy, times, encoder_hidden_states=states, added_cond_kwargs=conditions)
    error = (got.float() - wanted).square().mean(1)
    ratio = kept[times] / (1 - kept[times])
    weight = ratio.clamp(max=5) / (ratio + 1) + 0.2
    where = face_weights(batch.parts, lesson.face)
    loss = ((error * where).mean((1, 2)) * weight).mean() / weight.mean()
    told = -(batch.parts * logits.float().log_softmax(1)).sum(1)
    told = (told * face_weights(batch.parts, FACE)).mean()
    return loss + lesson.parts_weight * told, error.mean(), told


def _losses(samples: Samples, module: Any, tokenizer: Any, pair: TextPair, lesson: Lesson) -> Any:
    kept = new_scheduler().alphas_cumprod

    def losses(step: int) -> tuple[torch.Tensor, int, dict[str, torch.Tensor]]:
        if step % 100 == 0:
            samples.read_more(1)
        rng = np.random.default_rng((4, step))
        torch.manual_seed(step)
        size_px = int(rng.choice(lesson.sizes_px))
        count = LATENTS * LATENT_PX**2 // size_px**2
        batch = batch_of(samples, rng, size_px, count)
        # One noise level in each part of the range: the same spread in every batch.
        times = torch.from_numpy(
            ((np.arange(count) + rng.random(count)) / count * 1000).astype(int)
        )
        words = encode(tokenizer, pair, batch.captions)
        loss, error, told = errors(module, batch, words, times, kept, lesson)
        return loss, count, {"loss": loss, f"error{size_px}": error, "parts": told}

    return losses


@torch.no_grad()
def held_error(
    samples: Samples, module: Any, tokenizer: Any, pair: TextPair, size_px: int, shuffled: bool
) -> float:
    """The plain error of v on pictures never trained on, the same noise every time.

    shuffled: with each other's captions; what the error grows by is what the words are worth.
    """
    rng = np.random.default_rng(6)
    torch.manual_seed(6)
    count = 64
    batch = batch_of(samples, rng, size_px, count)
    times = torch.arange(count) * 1000 // count + 7
    captions = batch.captions[1:] + batch.captions[:1] if shuffled else batch.captions
    kept, lesson = new_scheduler().alphas_cumprod, Lesson((size_px,))
    with torch.autocast("cpu", torch.bfloat16):
        words = encode(tokenizer, pair, captions)
        return float(errors(module, batch, words, times, kept, lesson)[1])


def teach(run: Run, options: argparse.Namespace, lesson: Lesson) -> None:
    """Train, going on from the state in the run's folder."""
    vae, name = frozen(options.state / FROZEN)
    tokenizer, pair = trained_text(options.state / "text")
    latents = options.state / "latents"
    samples = Samples(vae, options.set, latents / f"{options.set.name}-{name}")
    samples.read_more(options.shards)
    held = None
    if options.held_set:
        held = Samples(vae, options.held_set, latents / f"{options.held_set.name}-{name}")
        held.read_more(1)
    torch.manual_seed(0)
    module = Taught(new_unet())
    optimizer = new_optimizer(module, lesson.optimizer)

    def on_sheet(step: int) -> None:
        for size_px in lesson.sizes_px:
            if held:
                right = held_error(held, module, tokenizer, pair, size_px, shuffled=False)
                wrong = held_error(held, module, tokenizer, pair, size_px, shuffled=True)
                said = f"error {right:.4f}, with others' captions {wrong:.4f}"
                print(f"{run.folder.name} step {step}  held out, {size_px} px: {said}", flush=True)
            path = run.folder / f"sheet-{step:07d}-{size_px}.png"
            draw_sheet(path, module.unet, vae, tokenizer, pair, size_px)

    train(run, module, optimizer, _losses(samples, module, tokenizer, pair, lesson), on_sheet)


def new_optimizer(module: Taught, name: str) -> torch.optim.Optimizer:
    """Muon for the matrices inside, or AdamW for all."""
    if name == "adamw":
        return torch.optim.AdamW(
            module.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )
    of_unet = ("conv_in", "conv_out", "time_embedding", "add_embedding")
    ends = ("parts", *(f"unet.{end}" for end in of_unet))
    return Muon(module, ends, bfloat16=True, lr=RATE, betas=(0.9, 0.99), weight_decay=0.01)


def main(arguments: list[str] | None = None) -> None:
    parser = options_of("denoiser", __doc__)
    parser.add_argument("--set", type=Path, required=True, help="a drawn set, which may grow")
    parser.add_argument("--held-set", type=Path, help="a drawn set of people never trained on")
    parser.add_argument("--size", type=int, nargs="+", choices=SIZES_PX, default=[128])
    parser.add_argument("--name", default="denoiser", help="the folder in the state, for trials")
    parser.add_argument("--shards", type=int, default=1000, help="to begin with, at most")
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--parts", type=float, default=PARTS_WEIGHT, help="weight of the parts")
    parser.add_argument("--face", type=float, default=FACE, help="weight of the face; 0: none")
    parser.add_argument("--optimizer", choices=("muon", "adamw"), default="muon")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    folder = options.state / options.name
    run = Run(folder, options.minutes, options.rate, options.settle, not options.float32)
    teach(run, options, Lesson(tuple(options.size), options.parts, options.face, options.optimizer))


if __name__ == "__main__":
    main()
