"""The settings on the studio's screen: as one record, as notebook parameters, as a command, and
back from a PNG that was made here or by AUTOMATIC1111. Knows no torch.
"""

from __future__ import annotations

import io
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from PIL import Image

from portraitlib.portrait import PARAMETERS_KEY, RECIPE_KEY
from portraitlib.settings import RANGES, Control, DreamBooth, Sampling, UsageError, check_number

# Method -> the function that draws it.
METHODS = {"words": "text_to_image", "photo": "image_to_image", "edges": "control_to_image"}
PROMPT = "portrait of a man, curly hair, smiling, oil painting"


@dataclass(frozen=True)
class FromPhoto:
    """How a picture is started from.

    strength: how much of the photo is drawn anew: near 0 it stays, at 1 only the words are left.
    """

    strength: float = 0.6

    def __post_init__(self) -> None:
        value = check_number("photo", "strength", self.strength, RANGES["strength"])
        object.__setattr__(self, "strength", value)


@dataclass(frozen=True)
class Lines:
    """Which edges of a photo are kept (Canny); None lets the picture choose.

    low_threshold: an edge goes on while the brightness changes by more than this.
    high_threshold: an edge begins where the brightness changes by more than this.
    """

    low_threshold: float | None = None
    high_threshold: float | None = None


@dataclass(frozen=True)
class Screen:
    """All that decides what the studio draws.

    method: "words", "photo" or "edges".  prompt: what to draw, in words.
    photo_file: the picture to start from, or whose edges are taken; "" for the first photo.
    adapters: (file, scale) of each.
    training: teach the photos' face first, and draw with it; None does not.
    num_class_images: pictures of others of the class prompt, which keep that training from making
        the class the person; 0 for none.
    vary: setting -> values, at most two: a sweep in place of one drawing.

    Raises UsageError for another method, and for a setting that cannot be varied.
    """

    method: str = "words"
    prompt: str = PROMPT
    sampling: Sampling = field(default_factory=Sampling)
    photo_file: str = ""
    from_photo: FromPhoto = field(default_factory=FromPhoto)
    lines: Lines = field(default_factory=Lines)
    control: Control = field(default_factory=Control)
    adapters: tuple[tuple[str, float], ...] = ()
    training: DreamBooth | None = None
    num_class_images: int = 0
    vary: Mapping[str, list[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError(f"method: got {self.method!r}, expected one of {', '.join(METHODS)}")
        for name in self.vary:
            if name not in variable(self.method):
                raise UsageError(
                    f"vary: {self.method} does not vary {name!r}, expected one of "
                    f"{', '.join(variable(self.method))}"
                )
        if len(self.vary) > 2:
            raise UsageError(f"vary: got {', '.join(self.vary)}, expected one or two settings")


# The records of a screen whose fields are parameters of their own.
RECORDS = ("sampling", "from_photo", "lines", "control")


def variable(method: str) -> list[str]:
    """The settings that a sweep of this method may vary."""
    of_all = ["prompt", *(each.name for each in fields(Sampling) if each.name != "num_images")]
    own = {"photo": ["strength"], "edges": ["scale", "start", "end"]}
    return of_all + own.get(method, [])


# --- parameters ----------------------------------------------------------------------------------


def parameters_of_screen(screen: Screen) -> dict[str, Any]:
    """A screen as flat parameters, as the studio's notebook has them."""
    flat: dict[str, Any] = {"method": screen.method, "prompt": screen.prompt}
    for name in RECORDS:
        flat |= asdict(getattr(screen, name))
    training = {} if screen.training is None else asdict(screen.training)
    return flat | {
        "photo_file": screen.photo_file,
        "adapter_files": [file for file, _ in screen.adapters],
        "adapter_scales": [scale for _, scale in screen.adapters],
        "training": {name: value for name, value in training.items() if value is not None},
        "num_class_images": screen.num_class_images,
        "vary": {name: list(values) for name, values in screen.vary.items()},
    }


def screen_of_parameters(**flat: Any) -> Screen:
    """A screen from flat parameters; those left out have their defaults.

    Raises UsageError for an unknown name and for values that a settings record refuses.
    """
    start = Screen()
    known = set(parameters_of_screen(start))
    unknown = sorted(set(flat) - known)
    if unknown:
        raise UsageError(f"unknown setting {unknown[0]!r}: expected some of {', '.join(known)}")
    records = {
        name: replace(getattr(start, name), **_own(getattr(start, name), flat)) for name in RECORDS
    }
    plain = {
        name: flat[name]
        for name in ("method", "prompt", "photo_file", "num_class_images", "vary")
        if name in flat
    }
    files, scales = flat.get("adapter_files", []), flat.get("adapter_scales", [])
    scales = scales or [1.0] * len(files)
    if len(files) != len(scales):
        raise UsageError(
            f"adapter_scales: got {len(scales)} for {len(files)} files, expected one for each"
        )
    training = DreamBooth(**flat["training"]) if flat.get("training") else None
    adapters = tuple(zip(files, scales, strict=True))
    return Screen(**records, **plain, adapters=adapters, training=training)


def _own(record: Any, flat: Mapping[str, Any]) -> dict[str, Any]:
    return {each.name: flat[each.name] for each in fields(record) if each.name in flat}


def shown_parameters(screen: Screen) -> dict[str, Any]:
    """The parameters that matter to what is on screen; what its method does not use is left out."""
    flat = parameters_of_screen(screen)
    unused: set[str] = set()
    if screen.method != "photo":
        unused |= {each.name for each in fields(FromPhoto)}
    if screen.method != "edges":
        unused |= {each.name for record in (Lines, Control) for each in fields(record)}
    if screen.method == "words":
        unused.add("photo_file")
    if screen.training is None:
        unused.add("num_class_images")
    return {
        name: value
        for name, value in flat.items()
        if name not in unused and value not in (None, {}, [], "")
    }


def papermill_command(parameters: Mapping[str, Any], notebook: str, output: str) -> str:
    """A shell line that runs the studio's notebook with these parameters.

    Texts go by `-r`, which reads nothing into them; lists and dicts by `-y`, as JSON.
    """
    words = ["papermill", notebook, output]
    for name, value in parameters.items():
        if isinstance(value, str):
            words += ["-r", name, value]
        elif isinstance(value, Mapping | list | tuple):
            words += ["-y", json.dumps({name: value}, ensure_ascii=False)]
        else:
            words += ["-p", name, repr(value)]
    return shlex.join(words)


# --- from a picture ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dropped:
    """What a PNG says of itself.

    settings: flat parameters, those that it has.  notes: what it has and a screen cannot take.
    recipe: the whole recipe, if it was made here.
    """

    settings: dict[str, Any]
    image: Image.Image = field(repr=False)
    notes: tuple[str, ...] = ()
    recipe: dict[str, Any] | None = field(default=None, repr=False)


def read_dropped(content: bytes) -> Dropped:
    """The settings in a PNG made here, or by AUTOMATIC1111 and what writes its text.

    Raises UsageError for what is no PNG, and for one without settings.
    """
    try:
        with Image.open(io.BytesIO(content)) as opened:
            opened.load()
            kind, texts, image = opened.format, dict(opened.info), opened.convert("RGB")
    except Exception as problem:  # Pillow has many words for a broken file
        raise UsageError(f"the file is no picture that can be read ({problem})") from None
    image.info = {}
    if kind == "PNG" and RECIPE_KEY in texts:
        try:
            recipe = json.loads(texts[RECIPE_KEY])
            return Dropped(settings_of_recipe(recipe), image, _lacking(recipe), recipe)
        except (ValueError, TypeError, KeyError, AttributeError):
            pass  # damaged; the other text may be whole
    if PARAMETERS_KEY in texts:
        settings, notes = read_parameters_text(str(texts[PARAMETERS_KEY]))
        return Dropped(settings, image, notes)
    raise UsageError(
        f"this {kind} carries no settings: expected a PNG made here or by AUTOMATIC1111; "
        "to draw from it, drop it on the photo"
    )


def settings_of_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe as flat parameters that draw this one picture: its own seed, and no others'."""
    method = {function: name for name, function in METHODS.items()}.get(recipe["function"])
    wanted = {each.name for each in fields(Sampling)} | {"prompt", "strength"}
    found = {name: recipe[name] for name in wanted if recipe.get(name) is not None}
    found |= {"num_images": 1} | ({} if method is None else {"method": method})
    if method == "edges":
        names = {"scale": "controlnet_conditioning_scale", "guess_mode": "guess_mode"}
        names |= {each: f"control_guidance_{each}" for each in ("start", "end")}
        found |= {name: _first(recipe[entry]) for name, entry in names.items() if entry in recipe}
        found |= dict(_first(recipe["condition"]).get("settings", {}))
    return _in_range(found)[0]


def _first(entry: Any) -> Any:
    return entry[0] if isinstance(entry, list) else entry


def _lacking(recipe: Mapping[str, Any]) -> tuple[str, ...]:
    """What a recipe was drawn with besides its settings."""
    names = [f"{each['identifier']} at {each['scale']:g}" for each in recipe.get("adapter") or ()]
    notes = [f"drawn with the adapter {name}" for name in names]
    if recipe.get("image") or recipe.get("condition"):
        notes.append("drawn from a picture, which the file does not hold: choose it again")
    return tuple(notes)


def _in_range(found: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The values that the settings take; what they refuse, in words."""
    known = {each.name for kind in (Sampling, FromPhoto, Lines, Control) for each in fields(kind)}
    taken, notes = {}, []
    for name, value in found.items():
        if name in RANGES and name in known:
            try:
                value = check_number("picture", name, value, RANGES[name])
            except UsageError as problem:
                notes.append(str(problem))
                continue
        elif name not in known and name not in ("method", "prompt"):
            continue
        taken[name] = value
    return taken, notes


# --- AUTOMATIC1111's text ------------------------------------------------------------------------

ENTRY = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
LORA = re.compile(r"\s*<lora:([^:>]+):(-?[\d.]+)[^>]*>")
NAMES = {
    "Steps": "num_inference_steps",
    "CFG scale": "guidance_scale",
    "Seed": "seed",
    "Denoising strength": "strength",
}
CONTROL_NAMES = {
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
    lines = text.strip().split("\n")
    entries = dict(ENTRY.findall(lines[-1]))
    if "Steps" not in entries:
        raise UsageError(f"no settings in the text {text.strip()[:60]!r}, expected 'Steps: ...'")
    entries = {name: _unquoted(value.strip()) for name, value in entries.items()}
    prompt, mark, negative = ("\n" + "\n".join(lines[:-1])).partition("\nNegative prompt:")
    notes = [f"drawn with the LoRA {name} at {scale}" for name, scale in LORA.findall(prompt)]
    found: dict[str, Any] = {
        "method": "words",
        "prompt": LORA.sub("", prompt).strip(),
        "negative_prompt": negative.strip() if mark else "",
        "num_images": 1,
    }
    found |= {own: _number(entries[name]) for name, own in NAMES.items() if name in entries}
    found |= _size(entries, notes)
    if "strength" in found and "Hires upscale" in entries:
        del found["strength"]  # of a second pass, which nothing here makes
        notes.append("drawn in two passes (Hires): the first alone is taken")
    if "strength" in found:
        found["method"] = "photo"
    control = next((entries[name] for name in entries if re.match(r"ControlNet( 0)?$", name)), None)
    if control is not None:
        found |= {"method": "edges", **_control(control, notes)}
    notes += [f"{name}: {entries[name]}" for name in ("Sampler", "Model") if name in entries]
    taken, refused = _in_range(found)
    return taken, (*notes, *refused)


def _size(entries: Mapping[str, str], notes: list[str]) -> dict[str, int]:
    """The side of a square, the longer one of others."""
    sides = [int(side) for side in re.findall(r"\d+", entries.get("Size", ""))][:2]
    if len(sides) < 2:
        return {}
    if sides[0] != sides[1]:
        notes.append(f"{sides[0]}x{sides[1]} px, taken as a square")
    return {"size_px": max(sides) // 8 * 8}


def _control(text: str, notes: list[str]) -> dict[str, Any]:
    """The entries of the first ControlNet, in the form of its extension now or before 2024."""
    entries = {name.strip(): value.strip() for name, value in ENTRY.findall(text)}
    found = {own: _number(entries[name]) for name, own in CONTROL_NAMES.items() if name in entries}
    old = re.search(r"weight: ([\d.]+).*?starting/ending: \(([\d.]+), ([\d.]+)\)", text)
    if old:
        found |= dict(zip(("scale", "start", "end"), map(float, old.groups()), strict=True))
        thresholds = re.search(r"preprocessor params: \([\d.]+, ([\d.]+), ([\d.]+)\)", text)
        if thresholds:
            ends = map(float, thresholds.groups())
            found |= dict(zip(("low_threshold", "high_threshold"), ends, strict=True))
    found["guess_mode"] = "ControlNet is more important" in text
    module = entries.get("Module") or entries.get("preprocessor") or ""
    if "canny" not in f"{module} {text}".lower():
        notes.append(f"ControlNet of another kind ({module}), taken as edges")
        found = {name: found[name] for name in found if "threshold" not in name}
    return found


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == '"':
        try:
            return str(json.loads(value))
        except ValueError:
            return value[1:-1]
    return value


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text  # and be refused by its range
