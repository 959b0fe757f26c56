"""Prompts as a model reads them: which words fit, and what the text encoders make of them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch

from portraitlib.models.load import Model
from portraitlib.places import once
from portraitlib.settings import Sampling

PROMPTS_KEPT = 32  # encoded prompts that a model keeps; 1.3 MB each with SDXL in float16


@dataclass(frozen=True)
class EncodedPrompt:
    """What the text encoders make of a prompt, ready for the UNet.

    tensors: the pipeline's arguments prompt_embeds (1, tokens, width), pooled_prompt_embeds
        (1, width) and, with guidance, the same two for the negative prompt.
    dropped: setting -> the words of it that did not fit.
    """

    tensors: dict[str, torch.Tensor]
    dropped: dict[str, list[str]]


def encode_prompt(model: Model, prompt: str, settings: Sampling) -> EncodedPrompt:
    """The prompt and negative prompt as the UNet takes them; computed once, then remembered."""
    guided = settings.guidance_scale is None or settings.guidance_scale > 1
    negative_prompt = settings.negative_prompt if guided else ""
    key = (prompt, negative_prompt, guided)
    return once(
        model.prompts, key, PROMPTS_KEPT, lambda: _encode(model, prompt, negative_prompt, guided)
    )


def _encode(model: Model, prompt: str, negative_prompt: str, guided: bool) -> EncodedPrompt:
    """What `encode_prompt` gives, computed."""
    kept, dropped = fit_words(model, prompt)
    negative_kept, negative_dropped = fit_words(model, negative_prompt)
    with torch.no_grad():
        embeds, negative_embeds, pooled, negative_pooled = model.pipeline.encode_prompt(
            kept,
            device=model.device,
            do_classifier_free_guidance=guided,
            # None lets the model's own config say what "no negative prompt" is.
            negative_prompt=negative_kept or None,
        )
    tensors = {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}
    if guided:
        tensors["negative_prompt_embeds"] = negative_embeds
        tensors["negative_pooled_prompt_embeds"] = negative_pooled
    return EncodedPrompt(tensors, {"prompt": dropped, "negative_prompt": negative_dropped})


def fit_words(model: Model, text: str) -> tuple[str, list[str]]:
    """The text as far as both text encoders read it (77 tokens), and the words that fall away.

    It is cut between words, as half a word would say something else; only a first word that is
    too long by itself is left for the tokenizer to cut.
    """
    tokenizers = (model.pipeline.tokenizer, model.pipeline.tokenizer_2)

    def fits(part: str) -> bool:
        # verbose=False: this asks for the length and wants no warning about it.
        return all(len(t(part, verbose=False).input_ids) <= t.model_max_length for t in tokenizers)

    if fits(text):
        return text, []
    words = text.split()
    fitting, too_many = 0, len(words)
    while too_many - fitting > 1:
        middle = (fitting + too_many) // 2
        if fits(" ".join(words[:middle])):
            fitting = middle
        else:
            too_many = middle
    return " ".join(words[: max(fitting, 1)]), words[fitting:]


def warn_of_dropped_words(encoded: EncodedPrompt, stacklevel: int = 3) -> None:
    """Say which words do not reach the model."""
    for name, words in encoded.dropped.items():
        if words:
            warnings.warn(
                f"{name}: longer than the 77 tokens that the model reads; "
                f"these words fall away: {' '.join(words)}",
                stacklevel=stacklevel,
            )
