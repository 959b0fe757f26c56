"""Trains the text encoders: from a caption alone, say what the portrait would show.

SDXL's own text encoders learnt from pictures and their captions. Here what a picture shows is
known exactly, so the encoders learn to tell it from the caption, and the denoiser then finds in
their output, well arranged, everything that the words say.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from portraitlib.mini.words import GROUPS, PHRASES

from .architecture import CONTEXT_TOKENS, TEXT_WIDTHS, new_text_encoders, new_tokenizer
from .drawings import codes_of
from .looks import caption, random_look, vocabulary
from .training import Average, Progress, load_state, rate_at, save_state

RATE = 1.5e-3
BATCH = 64


class TextPair(torch.nn.Module):
    """The two encoders, and the heads that they are trained with and that are thrown away."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__()
        self.first, self.second = new_text_encoders(tokenizer)
        values = sum(len(PHRASES[g]) for g in GROUPS)
        self.from_tokens = torch.nn.Linear(sum(TEXT_WIDTHS), values)
        self.from_pooled = torch.nn.Linear(TEXT_WIDTHS[1], values)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch, length) token ids to (batch, length, 192) states and (batch, 128) pooled."""
        first = self.first(tokens, output_hidden_states=True)
        second = self.second(tokens, output_hidden_states=True)
        states = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], -1)
        return states, second.text_embeds


def _said(seed: int, count: int = 1000) -> tuple[list[str], np.ndarray]:
    """Captions and the looks that they describe; some with a made-up word, which says nothing."""
    rng = np.random.default_rng((7, seed))
    captions, codes = [], []
    for _ in range(count):
        look = random_look(rng)
        text = caption(look, rng, drop=float(rng.uniform(0, 0.75)))
        if rng.random() < 0.15:
            made_up = "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), rng.integers(2, 8)))
            text = text.replace(look.who, f"{made_up} {look.who}", 1)
        captions.append(text)
        codes.append(codes_of(look))
    return captions, np.stack(codes)


def kept_tokenizer(folder: Path) -> Any:
    """The tokenizer of the state in `folder`, made and kept there at first.

    Two that are made of the same words may number their pieces differently.
    """
    from transformers import CLIPTokenizer

    place = folder / "tokenizer"
    if not place.exists():
        new_tokenizer(vocabulary()).save_pretrained(place)
    return CLIPTokenizer.from_pretrained(place)


def train_text(folder: Path, steps: int, *, device: str = "cpu") -> None:
    """Train for `steps` steps in all, going on from the state in `folder`."""
    torch.manual_seed(0)
    tokenizer = kept_tokenizer(folder)
    pair = TextPair(tokenizer).to(device)
    optimizer = torch.optim.AdamW(pair.parameters(), lr=RATE, betas=(0.9, 0.98), fused=True)
    average = Average(pair, 0.99)
    note = load_state(folder, pair, average, optimizer)
    progress = Progress("text", steps, curve=note.get("curve", []))
    with ProcessPoolExecutor() as pool:
        made = list(pool.map(_said, range(40)))
    captions = [c for texts, _ in made for c in texts]
    codes = torch.from_numpy(np.concatenate([c for _, c in made])).long().to(device)
    sizes = [len(PHRASES[g]) for g in GROUPS]
    for step in range(note.get("step", 0), steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * rate_at(step, steps)
        chosen = np.random.default_rng((2, step)).integers(len(captions), size=BATCH)
        batch = tokenizer([captions[i] for i in chosen], padding=True, return_tensors="pt")
        tokens = batch.input_ids.to(device)
        states, pooled = pair(tokens)
        end = batch.attention_mask.sum(1).to(device) - 1
        at_end = states[torch.arange(len(end), device=device), end]
        loss = torch.zeros((), device=device)
        for logits in (pair.from_tokens(at_end), pair.from_pooled(pooled)):
            for i, part in enumerate(logits.split(sizes, -1)):
                loss = loss + F.cross_entropy(part, codes[chosen, i]) / (2 * len(sizes))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(pair.parameters(), 1.0)
        optimizer.step()
        average.update()
        if step % 10 == 0 or step == steps - 1:
            progress(step, loss=loss.item())
    save_state(folder, pair, average, optimizer, {"step": steps, "curve": progress.curve})


def trained_text(folder: Path) -> tuple[Any, TextPair]:
    """The tokenizer and the averaged encoders of the state in `folder`."""
    tokenizer = kept_tokenizer(folder)
    pair = TextPair(tokenizer)
    average = Average(pair)
    if not load_state(folder, pair, average, torch.optim.AdamW(pair.parameters())):
        raise FileNotFoundError(f"{folder}: no text encoders here; run the recipe's text stage")
    pair.load_state_dict(average.weights)
    return tokenizer, pair.eval().requires_grad_(False)


@torch.no_grad()
def encode(
    tokenizer: Any, pair: TextPair, captions: list[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Captions to states (n, 77, 192) and pooled (n, 128), as the pipeline computes them."""
    device = next(pair.parameters()).device
    tokens = tokenizer(
        captions,
        padding="max_length",
        max_length=CONTEXT_TOKENS,
        truncation=True,
        return_tensors="pt",
    ).input_ids.to(device)
    return pair(tokens)
