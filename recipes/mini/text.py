"""Trains the text encoders: from a caption alone, say what the portrait would show.

    python -m recipes.mini.text --state DIR --minutes 10 --settle

SDXL's own text encoders learnt from pictures and their captions. Here what a picture shows is
known exactly, so the encoders learn to tell it from the caption, and the denoiser then finds in
their output, well arranged, everything that the words say.
"""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from .architecture import CONTEXT_TOKENS, TEXT_WIDTHS, new_text_encoders, new_tokenizer
from .training import Run, averaged, options_of, train
from .world.words import PHRASES, Look, caption, random_look, vocabulary

RATE = 1.5e-3
BATCH = 64
GROUPS = tuple(PHRASES)


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


def codes_of(look: Look) -> np.ndarray:
    """A look as indices into the values of each group, (groups,) uint8."""
    codes = [list(PHRASES[g]).index(v) for g, v in zip(GROUPS, astuple(look), strict=True)]
    return np.array(codes, np.uint8)


def said(rng: np.random.Generator, count: int) -> tuple[list[str], torch.Tensor]:
    """Captions and the looks that they describe, (count, groups); some with a made-up word."""
    captions, codes = [], []
    for _ in range(count):
        look = random_look(rng)
        text = caption(look, rng, drop=float(rng.uniform(0, 0.75)))
        if rng.random() < 0.15:
            made_up = "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), rng.integers(2, 8)))
            text = text.replace(look.who, f"{made_up} {look.who}", 1)
        captions.append(text)
        codes.append(codes_of(look))
    return captions, torch.from_numpy(np.stack(codes)).long()


def kept_tokenizer(folder: Path) -> Any:
    """The tokenizer of the state in `folder`, made and kept there at first.

    Two that are made of the same words may number their pieces differently.
    """
    from transformers import CLIPTokenizer

    place = folder / "tokenizer"
    if not place.exists():
        new_tokenizer(vocabulary()).save_pretrained(place)
    return CLIPTokenizer.from_pretrained(place)


def _losses(tokenizer: Any, pair: TextPair) -> Any:
    sizes = [len(PHRASES[g]) for g in GROUPS]

    def losses(step: int) -> tuple[torch.Tensor, int, dict[str, torch.Tensor]]:
        captions, codes = said(np.random.default_rng((2, step)), BATCH)
        batch = tokenizer(captions, padding=True, return_tensors="pt")
        states, pooled = pair(batch.input_ids)
        end = batch.attention_mask.sum(1) - 1
        loss = torch.zeros(())
        for logits in (
            pair.from_tokens(states[torch.arange(BATCH), end]),
            pair.from_pooled(pooled),
        ):
            for i, part in enumerate(logits.float().split(sizes, -1)):
                loss = loss + F.cross_entropy(part, codes[:, i]) / (2 * len(sizes))
        return loss, BATCH, {"loss": loss}

    return losses


def trained_text(folder: Path) -> tuple[Any, TextPair]:
    """The tokenizer and the averaged encoders of the state in `folder`."""
    tokenizer = kept_tokenizer(folder)
    pair = TextPair(tokenizer)
    averaged(folder, pair)
    return tokenizer, pair


@torch.no_grad()
def encode(
    tokenizer: Any, pair: TextPair, captions: list[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Captions to states (n, 77, 192) and pooled (n, 128), as the pipeline computes them."""
    tokens = tokenizer(
        captions,
        padding="max_length",
        max_length=CONTEXT_TOKENS,
        truncation=True,
        return_tensors="pt",
    ).input_ids
    return pair(tokens)


def main(arguments: list[str] | None = None) -> None:
    options = options_of("text", __doc__).parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    tokenizer = kept_tokenizer(options.state / "text")
    pair = TextPair(tokenizer)
    optimizer = torch.optim.AdamW(pair.parameters(), lr=RATE, betas=(0.9, 0.98), fused=True)
    run = Run(options.state / "text", options.minutes, RATE, options.settle, False, 0.99)
    train(run, pair, optimizer, _losses(tokenizer, pair))


if __name__ == "__main__":
    main()
