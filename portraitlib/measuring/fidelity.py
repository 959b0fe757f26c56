"""Prompt fidelity: which of the words that were asked for can be seen in the picture?

Two judges, each for its kind of picture, and every row says which. Portraits of the embedded model
are read by that world's judge (`mini.judge`), all others by CLIP.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from portraitlib.measuring.intervals import unit
from portraitlib.settings import UsageError

if TYPE_CHECKING:
    from portraitlib.mini.judge import Reading
    from portraitlib.models.load import Clip

MINIS_JUDGE, CLIP = "mini's judge", "CLIP ViT-L/14"
# Of the unrelated phrases' cosines that a phrase has to exceed to count as seen: one phrase in ten
# that has nothing to do with the picture does so by chance.
SEEN_ABOVE = 0.9
# Features of a face by their names in the world of the embedded model, each with what CLIP is asked
# in their place: the phrases for a little and for a lot of it.
FEATURES = {
    "ear_size": ("a person with small ears", "a person with big ears"),
    "hair_volume": ("a person with flat hair", "a person with bushy hair"),
}
LEAST_UNRELATED = 10
BATCH = 16


# What a judge says: one dict a picture, and by figure the (floor, ceiling) of all of them.
Verdict = tuple[list[dict[str, Any]], dict[str, tuple[float | None, float | None]]]


# --- portraits of the embedded model's world -----------------------------------------------------


def judge_drawn(seen: Reading, prompts: Sequence[str]) -> Verdict:
    """Fidelity of pictures to their prompts, one each, by the judge of the embedded model.

    `prompt_seen` is the share of what a prompt names and a picture can show that is seen in it,
    None if there is nothing of that kind; `seen` says it of each: {"beard: trimmed": True}. The
    floor is that share in drawings of anything else, the ceiling that in drawings made for the
    prompt. seen: what `read_drawn` saw in them.
    Raises UsageError for a prompt in which no word is known.
    """
    from portraitlib.mini.asked import ask, drawn_scale
    from portraitlib.mini.visible import named

    for prompt in dict.fromkeys(prompts):
        if not named(prompt):
            raise UsageError(
                f"prompt: got {prompt!r}, in which {MINIS_JUDGE} knows no word; try words of "
                "model.preset.words"
            )
    asked = ask(list(prompts), seen)
    rows = []
    for index in range(len(prompts)):
        here = asked.picture == index
        words = zip(asked.group[here], asked.value[here], asked.right[here], strict=True)
        by_word = {f"{group}: {value}": bool(right) for group, value, right in words}
        share = float(np.mean(list(by_word.values()))) if by_word else None
        rows.append({"prompt_seen": share, "seen": by_word, "fidelity_by": MINIS_JUDGE})
    floors, ceilings = zip(*(drawn_scale(prompt) for prompt in prompts), strict=True)
    return rows, {"prompt_seen": (float(np.mean(floors)), float(np.mean(ceilings)))}


def features_drawn(seen: Reading) -> list[dict[str, Any]]:
    """The `FEATURES` of faces in pictures, -1 to 1, by the judge of the embedded model.

    In drawn portraits it explains three fifths of their variance (in anime a fifth): single
    portraits are read roughly, the means of several well. seen: as for `judge_drawn`.
    """
    from portraitlib.mini.judge import PERSON_NUMBERS

    at = {name: PERSON_NUMBERS.index(name) for name in FEATURES}
    return [
        {name: float(person[at[name]]) for name in FEATURES} | {"features_by": MINIS_JUDGE}
        for person in seen.people
    ]


def read_drawn(images: Sequence[Image.Image]) -> Reading:
    """All that the judge of the embedded model sees in RGB pictures."""
    from portraitlib.mini.judge import SIZE_PX, read, shipped_judge

    size = (SIZE_PX, SIZE_PX)
    small = [image.convert("RGB").resize(size, Image.Resampling.BILINEAR) for image in images]
    return read(shipped_judge()[0], np.stack([np.asarray(image) for image in small]))


# --- all other pictures --------------------------------------------------------------------------


@cache
def default_clip() -> Clip:
    """CLIP ViT-L/14, loaded when it is first needed and kept."""
    from portraitlib.models.load import load_clip

    return load_clip()


def embed_pictures(images: Sequence[Image.Image], clip: Clip | None = None) -> np.ndarray:
    """RGB pictures as CLIP sees the middle square of each, (pictures, numbers) of length 1."""
    import torch

    clip = clip or default_clip()
    rows = []
    for start in range(0, len(images), BATCH):
        pixels = np.stack([_middle(image, clip) for image in images[start : start + BATCH]])
        values = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(clip.device)
        with torch.inference_mode():
            points = clip.network.visual_projection(
                clip.network.vision_model(pixel_values=values).pooler_output
            )
        rows.append(points.cpu().numpy())
    return unit(np.concatenate(rows))


def judge_by_clip(seen: np.ndarray, prompts: Sequence[str], clip: Clip | None = None) -> Verdict:
    """Fidelity of pictures to their prompts, one each, phrase by phrase, by CLIP.

    A phrase is what stands between commas. `prompt_cosine` is the mean cosine of the picture and
    the phrases; its floor is the median cosine with phrases that share no word with the prompt.
    `seen` says of each phrase whether its cosine exceeds that of nine in ten such phrases, and
    `prompt_seen` is the share of them; its floor is one in ten. No ceiling is known.
    See https://arxiv.org/abs/2103.00020. seen: the pictures as `embed_pictures` has them.  clip:
    another one than ViT-L/14.

    Raises UsageError for a prompt without words, and if CLIP cannot be loaded.
    """
    asked = {prompt: phrases_of(prompt) for prompt in dict.fromkeys(prompts)}
    clip = clip or default_clip()
    unrelated = {prompt: unrelated_phrases(prompt) for prompt in asked}
    texts = list(dict.fromkeys(t for p in asked for t in (*asked[p], *unrelated[p])))
    cosines = seen @ _embed_texts(clip, texts).T  # (pictures, texts)
    at = {text: index for index, text in enumerate(texts)}
    rows, floors = [], []
    for prompt, cosine in zip(prompts, cosines, strict=True):
        by_phrase = {phrase: float(cosine[at[phrase]]) for phrase in asked[prompt]}
        others = cosine[[at[text] for text in unrelated[prompt]]]
        above = {p: value > np.quantile(others, SEEN_ABOVE) for p, value in by_phrase.items()}
        floors.append(float(np.median(others)))
        rows.append(
            {
                "prompt_seen": float(np.mean(list(above.values()))),
                "seen": {phrase: bool(value) for phrase, value in above.items()},
                "prompt_cosine": float(np.mean(list(by_phrase.values()))),
                "fidelity_by": _named(clip),
            }
        )
    middle = np.mean(floors).item()
    return rows, {"prompt_seen": (1 - SEEN_ABOVE, None), "prompt_cosine": (middle, None)}


def features_by_clip(seen: np.ndarray, clip: Clip | None = None) -> list[dict[str, Any]]:
    """The `FEATURES` of faces in pictures, by CLIP: how much nearer to a lot than to a little.

    A difference of two cosines, which says something beside that of other pictures only.
    seen, clip: as for `judge_by_clip`. Raises UsageError if CLIP cannot be loaded.
    """
    clip = clip or default_clip()
    little, lot = zip(*FEATURES.values(), strict=True)
    texts = _embed_texts(clip, little + lot)
    cosines = seen @ (texts[len(little) :] - texts[: len(little)]).T
    return [
        dict(zip(FEATURES, map(float, row), strict=True)) | {"features_by": _named(clip)}
        for row in cosines
    ]


def _named(clip: Clip) -> str:
    return CLIP if clip.name.endswith("clip-vit-large-patch14") else clip.name


def phrases_of(prompt: str) -> list[str]:
    """What stands between the commas of a prompt; raises UsageError if that is nothing."""
    phrases = list(dict.fromkeys(" ".join(part.split()) for part in prompt.split(",")))
    if not any(phrases):
        raise UsageError(f"prompt: got {prompt!r}, expected some words")
    return [phrase for phrase in phrases if phrase]


def unrelated_phrases(prompt: str) -> list[str]:
    """Phrases that portraits are described with and that share no word with the prompt."""
    from portraitlib.mini.words import taught_phrases

    words = set(prompt.lower().replace(",", " ").split())
    known = dict.fromkeys(phrase for group in taught_phrases().values() for phrase in group)
    free = [phrase for phrase in known if words.isdisjoint(phrase.split())]
    if len(free) < LEAST_UNRELATED:
        raise UsageError(f"prompt: got {prompt!r}, which asks for everything; try a shorter one")
    return free


def _middle(image: Image.Image, clip: Clip) -> np.ndarray:
    factor = clip.size_px / min(image.size)
    size = (round(image.width * factor), round(image.height * factor))
    small = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    left, top = ((side - clip.size_px) // 2 for side in size)
    square = small.crop((left, top, left + clip.size_px, top + clip.size_px))
    values = np.asarray(square, dtype=np.float32) / 255
    return (values - np.array(clip.mean, np.float32)) / np.array(clip.deviation, np.float32)


def _embed_texts(clip: Clip, texts: Sequence[str]) -> np.ndarray:
    """(texts, numbers) of length 1."""
    import torch

    tokens = clip.tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        seen = clip.network.text_model(**tokens.to(clip.device)).pooler_output
        return unit(clip.network.text_projection(seen).cpu().numpy())
