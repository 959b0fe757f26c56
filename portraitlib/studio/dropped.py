"""Settings out of a picture that was made here or by AUTOMATIC1111, as notebook parameters.

Knows no torch.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image

from portraitlib.portrait import CONTROL_ENTRIES, PARAMETERS_KEY, RECIPE_KEY, read_recipe
from portraitlib.settings import RANGES, Sampling, UsageError, check_number
from portraitlib.studio.recipes import METHODS, RECORDS, TABS, Screen, names_of, number_in


def read_dropped(content: bytes) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The settings in a PNG made here, or by AUTOMATIC1111 and what writes its text.

    Returns flat parameters, those that it has, and in words what it has and a screen cannot take.
    Raises UsageError for what is no PNG, and for one without settings.
    """
    try:
        with Image.open(io.BytesIO(content)) as opened:
            opened.load()
            kind, texts = opened.format, dict(opened.info)
    except Exception as problem:  # Pillow has many words for a broken file
        raise UsageError(f"the file is no picture that can be read ({problem})") from None
    if kind == "PNG" and RECIPE_KEY in texts:
        with suppress(UsageError):  # damaged; the other text may be whole
            recipe = read_recipe(Path("the file"), texts)
            return settings_of_recipe(recipe), _lacking(recipe)
    if PARAMETERS_KEY in texts:
        return read_parameters_text(str(texts[PARAMETERS_KEY]))
    raise UsageError(
        f"this {kind} carries no settings: expected a PNG made here or by AUTOMATIC1111; "
        "to draw from it, drop it on the photo"
    )


def settings_of_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe as flat parameters that draw this one picture: its own seed, and no others'."""
    wanted = [*names_of(Sampling), "prompt", "strength"]
    settings = {name: recipe[name] for name in wanted if recipe.get(name) is not None}
    settings["num_images"] = 1
    method = next((m for m in METHODS if TABS[m].function == recipe.get("function")), None)
    if method is not None:
        settings["method"] = method
    if method == "edges":
        for entry, name in CONTROL_ENTRIES.items():
            if entry in recipe:
                settings[name] = _first(recipe[entry])
        settings |= _first(recipe.get("condition", {})).get("settings", {})
    if recipe.get("person"):
        settings |= {"photos_in_prompt": True, "person_scale": recipe["person"]["scale"]}
    return _in_range(settings)[0]


def _first(entry: Any) -> Any:
    return entry[0] if isinstance(entry, list) else entry


def _lacking(recipe: Mapping[str, Any]) -> tuple[str, ...]:
    """What a recipe was drawn with besides its settings."""
    notes = [
        f"drawn with the adapter {adapter['identifier']} at {adapter['scale']:g}"
        for adapter in recipe.get("adapter") or ()
    ]
    if recipe.get("image") or recipe.get("condition"):
        notes.append("drawn from a picture, which the file does not hold: choose it again")
    if recipe.get("person"):
        notes.append("drawn with photos in the prompt, which the file does not hold: add them")
    return tuple(notes)


def _in_range(settings: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The values that a screen takes; what it refuses, in words."""
    start = Screen()
    known = {name for record in RECORDS for name in names_of(getattr(start, record))}
    taken, notes = {}, []
    for name, value in settings.items():
        if name not in known and name not in ("method", "prompt"):
            continue
        try:
            ranged = name in RANGES
            taken[name] = check_number("picture", name, value, RANGES[name]) if ranged else value
        except UsageError as problem:
            notes.append(str(problem))
    return taken, notes


# --- AUTOMATIC1111's text ------------------------------------------------------------------------

LORA = re.compile(r"\s*<lora:([^:>]+):(-?[\d.]+)[^>]*>")
# What that text calls a setting, as sd-parsers gives it; the last five are of a ControlNet.
A1111_NAMES = {
    "steps": "num_inference_steps",
    "cfg_scale": "guidance_scale",
    "seed": "seed",
    "Denoising strength": "strength",
    "Weight": "scale",
    "Guidance Start": "start",
    "Guidance End": "end",
    "Threshold A": "low_threshold",
    "Threshold B": "high_threshold",
}


def read_parameters_text(text: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The settings in AUTOMATIC1111's `parameters` text, and what it says that has no setting here.

    Raises UsageError for a text without the line of settings.
    """
    from sd_parsers.exceptions import ParserError
    from sd_parsers.parsers import AUTOMATIC1111Parser

    try:
        read = AUTOMATIC1111Parser().parse({PARAMETERS_KEY: text.strip()})
    except ParserError:
        raise UsageError(
            f"no settings in the text {text.strip()[:60]!r}, expected 'Steps: ...'"
        ) from None
    sampler, prompt = read.samplers[0], "".join(words.value for words in read.prompts)
    entries = {**sampler.parameters, **read.metadata}
    notes = [f"drawn with the LoRA {name} at {scale}" for name, scale in LORA.findall(prompt)]
    notes += [f"Sampler: {sampler.name}", *(f"Model: {model.name}" for model in read.models)]
    settings = {ours: entries[name] for name, ours in A1111_NAMES.items() if name in entries}
    settings = {name: number_in(text) for name, text in settings.items()}
    if "strength" in settings and "Hires upscale" in entries:
        del settings["strength"]  # of a second pass, which nothing here makes
        notes.append("drawn in two passes (Hires): the first alone is taken")
    settings |= _size(entries.get("Size", ""), notes)
    settings["method"] = "photo" if "strength" in settings else "words"
    if "ControlNet" in text:
        settings["method"] = "edges"
        settings["guess_mode"] = "ControlNet is more important" in text
        if "canny" not in text.lower():
            notes.append("ControlNet of another kind, taken as edges")
    negative = "".join(words.value for words in read.negative_prompts)
    words = {"prompt": LORA.sub("", prompt).strip(), "negative_prompt": negative}
    taken, refused = _in_range({**words, "num_images": 1, **settings})
    return taken, (*notes, *refused)


def _size(text: str, notes: list[str]) -> dict[str, int]:
    """The side of a square, the longer one of others."""
    sides = [int(side) for side in text.split("x") if side.isdecimal()]
    if len(sides) != 2:
        return {}
    if sides[0] != sides[1]:
        notes.append(f"{text} px, taken as a square")
    return {"size_px": max(sides) // 8 * 8}
