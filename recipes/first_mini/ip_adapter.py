"""Trains what lets a photo speak beside the prompt: the embedded model's IP-Adapter.

    python -m recipes.first_mini.ip_adapter --state runs/mini

draws people in several shots each, and teaches the frozen denoising network to read, beside the
words, what the encoder of faces saw in another shot of the same person, in whichever style. It goes
on from what `state` holds. Ye et al. 2023, https://arxiv.org/abs/2308.06721; in the form that
diffusers loads for faces: two layers make tokens of a face, and each cross-attention has keys and
values of its own for them.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from portraitlib.mini.judge import LANDMARKS
from portraitlib.mini.likeness import face_features, to_tensor
from portraitlib.mini.words import PHRASES, STYLES
from portraitlib.places import PACKAGE

from .architecture import SIZE_PX, TEXT_WIDTHS, new_scheduler
from .denoiser import face_weights, picture_sizes, under_noise, weighted_error
from .likeness import CHANGES, JITTER, settled
from .looks import Look, caption, random_look
from .people import random_person, random_shot
from .training import Average, Muon, load_state, train_small
from .world import draw

WEIGHTS = PACKAGE / "mini" / "weights_ip_adapter"
PIPELINE = PACKAGE / "mini" / "weights"
FEATURES = 256  # of the encoder of faces, before they become a point
HIDDEN = 2  # times as many between the two layers
TOKENS = 8
PEOPLE = 2500
PHOTOS, STYLED = 3, 4  # shots of each: photorealistic ones, and one in each of other styles
BATCH = 24
STEPS = 7500
RATE = 1e-3
CAPTIONS_EACH = 2
NO_WORDS, NO_FACE, NEITHER = 0.05, 0.05, 0.05
# What is about the person: most captions leave it to the face.
PERSON = ("age", "skin", "texture", "length", "hair", "beard", "glasses", "jawline")
SILENT_PERSON = 0.7


@dataclass(frozen=True)
class Shots:
    """Shots of people, person after person: images (n, 96, 96, 3) uint8, landmarks (n, 6, 2) in
    0..1, captions (n, CAPTIONS_EACH)."""

    images: np.ndarray
    landmarks: np.ndarray
    captions: np.ndarray


def _say(look: Look, rng: np.random.Generator) -> str:
    """A caption, mostly without what is about the person but whether it is a man or a woman."""
    text = caption(look, rng, drop=float(rng.uniform(0, 0.6)))
    if rng.random() > SILENT_PERSON:
        return text
    hidden = {
        phrase.format(who=look.who)
        for group in PERSON
        for phrases in PHRASES[group].values()
        for phrase in phrases
    }
    start, *rest = text.split(", ")
    start = start.replace("an indian ", "a ").replace("indian ", "").replace("pale ", "")
    return ", ".join([start, *(part for part in rest if part not in hidden)])


def _person_shots(seed: int) -> Shots:
    import cv2

    cv2.setNumThreads(1)
    rng = np.random.default_rng((8, seed))
    look, person = random_look(rng, punk="no", mona_lisa="no", style=STYLES[0]), random_person(rng)
    styles = [STYLES[0]] * PHOTOS + list(rng.choice(STYLES[1:], STYLED, replace=False))
    images, places, captions = [], [], []
    for style in styles:
        other = asdict(random_look(rng, who=look.who, mona_lisa="no"))
        changed = {group: other[group] for group in (*CHANGES, "punk")}
        words = settled(replace(look, **changed, style=str(style)))
        if words.punk == "yes" and words.texture == "bald":
            words = replace(words, punk="no")
        drawing = draw(person, words, random_shot(rng), size_px=SIZE_PX)
        images.append(drawing.image)
        places.append([drawing.landmarks[name] for name in LANDMARKS])
        captions.append([_say(words, rng) for _ in range(CAPTIONS_EACH)])
    return Shots(np.stack(images), np.array(places, np.float32), np.array(captions))


def draw_shots(path: Path, people: int) -> Shots:
    """Shots of people drawn once, in parallel, and kept in `path`."""
    if not path.exists():
        with ProcessPoolExecutor() as pool:
            parts = list(pool.map(_person_shots, range(people), chunksize=16))
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_suffix(".part.npz")
        whole: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in Shots.__dataclass_fields__
        }
        np.savez(half, **whole)
        half.rename(path)
    with np.load(path) as kept:
        return Shots(*(kept[name] for name in Shots.__dataclass_fields__))


@dataclass(frozen=True)
class Encoded:
    """Shots as the network sees them, 16-bit: latents (n, 4, 24, 24), faces (2, n, 256) as two
    finders of landmarks see them, words (n, captions, 77, 192) and (n, captions, 128), how much an
    error counts (n, 24, 24); the empty caption's words."""

    latents: torch.Tensor
    faces: torch.Tensor
    words: torch.Tensor
    pooled: torch.Tensor
    weights: torch.Tensor
    empty: tuple[torch.Tensor, torch.Tensor]


@torch.no_grad()
def encode_shots(pipeline: Any, shots: Shots) -> Encoded:
    def speak(texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        words, _, pooled, _ = pipeline.encode_prompt(texts, do_classifier_free_guidance=False)
        return words.half(), pooled.half()

    latents, words, pooled = [], [], []
    for start in range(0, len(shots.images), 50):
        chunk = slice(start, start + 50)
        latent = pipeline.vae.encode(to_tensor(shots.images[chunk])).latent_dist.mode()
        latents.append((latent * pipeline.vae.config.scaling_factor).half())
        said = speak(list(map(str, shots.captions[chunk].ravel())))
        words.append(said[0].unflatten(0, (-1, CAPTIONS_EACH)))
        pooled.append(said[1].unflatten(0, (-1, CAPTIONS_EACH)))
    rng, faces = np.random.default_rng(9), []
    for _ in range(2):
        missed = rng.normal(0, JITTER, shots.landmarks.shape).astype(np.float32)
        faces.append(face_features(shots.images, shots.landmarks + missed).half())
    empty = tuple(part[0] for part in speak([""]))
    weights = face_weights(shots.landmarks, latents[0].shape[-1]).half()
    whole = (torch.cat(latents), torch.stack(faces), torch.cat(words), torch.cat(pooled), weights)
    return Encoded(*whole, (empty[0], empty[1]))


def new_ip_adapter(unet: Any) -> nn.ModuleDict:
    """The parts that learn, put into the frozen `unet`; keys and values start as the words' own."""
    width = sum(TEXT_WIDTHS)
    state: dict[str, dict[str, torch.Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    hidden = HIDDEN * FEATURES
    ends = nn.Linear(FEATURES, hidden), nn.Linear(hidden, TOKENS * width)
    for index, layer in zip((0, 2), ends, strict=True):
        state["image_proj"] |= {
            f"proj.{index}.weight": layer.weight.data,
            f"proj.{index}.bias": layer.bias.data,
        }
    norm = {"norm.weight": torch.ones(width), "norm.bias": torch.zeros(width)}
    state["image_proj"] |= norm
    crossing = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    for place, name in enumerate(crossing):
        attention = unet.get_submodule(name.removesuffix(".processor"))
        for part in ("to_k", "to_v"):
            weight = getattr(attention, part).weight.data.clone()
            state["ip_adapter"][f"{2 * place + 1}.{part}_ip.weight"] = weight
    unet.requires_grad_(False)._load_ip_adapter_weights([state], low_cpu_mem_usage=False)
    parts = {"image_proj": unet.encoder_hid_proj}
    for place, name in enumerate(crossing):
        parts[f"{2 * place + 1}"] = unet.attn_processors[name]
    return nn.ModuleDict(parts).requires_grad_(True)


def _loss(
    unet: Any, encoded: Encoded, kept: torch.Tensor, step: int
) -> tuple[torch.Tensor, dict[str, float]]:
    """v-prediction with the weights of the denoiser's own training."""
    rng, noise_rng = np.random.default_rng((10, step)), torch.Generator().manual_seed(step)
    each = PHOTOS + STYLED
    people = rng.integers(len(encoded.latents) // each, size=BATCH)
    shot = rng.integers(each, size=BATCH)
    # One to three other shots speak for the person, mostly photographs.
    seen = []
    for person, drawn in zip(people, shot, strict=True):
        among = range(PHOTOS) if rng.random() < 0.7 else range(each)
        others = [other for other in among if other != drawn]
        told = rng.choice(others, int(rng.integers(1, 4)) if len(others) > 2 else 1, False)
        rows = torch.from_numpy(person * each + told)
        seen.append(encoded.faces[int(rng.integers(2)), rows].float().mean(0))
    faces = torch.stack(seen)
    chosen = torch.from_numpy(people * each + shot)
    which = torch.from_numpy(rng.integers(CAPTIONS_EACH, size=BATCH))
    words, pooled = encoded.words[chosen, which].float(), encoded.pooled[chosen, which].float()
    chance = torch.from_numpy(rng.random(BATCH))
    silent = chance < NO_WORDS + NEITHER
    words[silent], pooled[silent] = (part.float() for part in encoded.empty)
    faces[(chance > NO_WORDS) & (chance < NO_WORDS + NEITHER + NO_FACE)] = 0
    latents = encoded.latents[chosen].float()
    noise = torch.randn(latents.shape, generator=noise_rng)
    times = torch.from_numpy(((np.arange(BATCH) + rng.random(BATCH)) / BATCH * 1000).astype(int))
    noisy, wanted = under_noise(latents, noise, kept[times])
    added: dict[str, Any] = {"text_embeds": pooled, "time_ids": picture_sizes(BATCH)}
    added["image_embeds"] = [faces[:, None]]
    got = unet(noisy, times, encoder_hidden_states=words, added_cond_kwargs=added).sample
    loss = weighted_error(got, wanted, kept[times], encoded.weights[chosen].float())
    return loss, {"loss": loss.item()}


def _optimizer(parts: nn.Module) -> Muon:
    return Muon(parts, ("image_proj",), lr=RATE, betas=(0.9, 0.99), weight_decay=0.01)


def _parts() -> tuple[Any, nn.ModuleDict]:
    from diffusers import StableDiffusionXLPipeline

    pipeline = StableDiffusionXLPipeline.from_pretrained(PIPELINE, torch_dtype=torch.float32)
    return pipeline, new_ip_adapter(pipeline.unet)


def train_ip_adapter(folder: Path, shots: Shots, steps: int = STEPS) -> None:
    """Train for `steps` steps in all, going on from the state in `folder`."""
    torch.manual_seed(0)
    torch.set_flush_denormal(True)
    pipeline, parts = _parts()
    encoded = encode_shots(pipeline, shots)
    unet = pipeline.unet.to(memory_format=torch.channels_last)
    kept = new_scheduler().alphas_cumprod
    train_small(
        folder, "ip-adapter", parts, _optimizer(parts),
        lambda step: _loss(unet, encoded, kept, step), steps, RATE,
    )  # fmt: skip


def write_ip_adapter(state: Path, folder: Path = WEIGHTS) -> None:
    """Write the averaged parts of `state` as one 16-bit file, its keys as IP-Adapter's own."""
    from safetensors.torch import save_file

    _, parts = _parts()
    average = Average(parts)
    if not load_state(state, parts, average, _optimizer(parts)):
        raise FileNotFoundError(f"{state}: no IP-Adapter here; train it first")
    tensors = {}
    for name, value in average.weights.items():
        if name.startswith("image_proj."):
            key = name.replace("image_projection_layers.0.", "")
            for ours, theirs in (("ff.net.0.proj", "proj.0"), ("ff.net.2", "proj.2")):
                key = key.replace(ours, theirs)
        else:
            key = "ip_adapter." + name.replace("_ip.0.", "_ip.")
        tensors[key] = value.half().contiguous()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "ip_adapter.part")
    (folder / "ip_adapter.part").rename(folder / "ip_adapter.safetensors")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m recipes.first_mini.ip_adapter")
    parser.description = (__doc__ or "").split("\n")[0]
    parser.add_argument("--state", type=Path, default=Path("runs/mini"), help="where all is kept")
    parser.add_argument("--people", type=int, default=PEOPLE, help="to learn on")
    parser.add_argument("--steps", type=int, default=STEPS, help="of training, in all; 0: none")
    options = parser.parse_args(arguments)
    folder = options.state / "ip_adapter"
    if options.steps:
        shots = draw_shots(folder / f"shots-{options.people}.npz", options.people)
        train_ip_adapter(folder, shots, options.steps)
    write_ip_adapter(folder)
    print(f"wrote {WEIGHTS}", flush=True)


if __name__ == "__main__":
    main()
