"""A portrait is a picture and the recipe that made it; both travel in one PNG file."""

from __future__ import annotations

import io
import json
import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NotRequired, TypedDict

from PIL import Image, PngImagePlugin

from portraitlib.settings import Record, UsageError, check_record

RECIPE_KEY = "portraitlib"  # PNG text chunk with the recipe as JSON
PARAMETERS_KEY = "parameters"  # PNG text chunk that AUTOMATIC1111 and many tools read
XMP_KEY = "XML:com.adobe.xmp"  # PNG text chunk that photo programs and platforms read

# The mark "made by a trained model": https://cv.iptc.org/newscodes/digitalsourcetype/
MADE_BY_AI = Path(__file__).with_name("made_by_ai.xmp")

# What AUTOMATIC1111 calls the samplers of diffusers.
SAMPLER_NAMES = {
    "EulerDiscreteScheduler": "Euler",
    "EulerAncestralDiscreteScheduler": "Euler a",
    "HeunDiscreteScheduler": "Heun",
    "DDIMScheduler": "DDIM",
    "DPMSolverMultistepScheduler": "DPM++ 2M",
    "DPMSolverSDEScheduler": "DPM++ SDE",
    "UniPCMultistepScheduler": "UniPC",
    "LMSDiscreteScheduler": "LMS",
    "LCMScheduler": "LCM",
}

# What a recipe calls the settings of a control.
CONTROL_ENTRIES = {
    "controlnet_conditioning_scale": "scale",
    "control_guidance_start": "start",
    "control_guidance_end": "end",
    "guess_mode": "guess_mode",
}
# What the caption of a picture says of its recipe.
CAPTION = {
    "seed": "seed {}",
    "num_inference_steps": "{} steps",
    "guidance_scale": "guidance {:g}",
    "speed": "{}",
    "strength": "strength {:g}",
    "controlnet_conditioning_scale": "control {}",
    "negative_prompt": "not: {}",
}


class AdapterEntry(TypedDict):
    """What a recipe says of an adapter."""

    identifier: str
    hash: str
    scale: float
    kind: NotRequired[str]
    base: NotRequired[str]


class ConditionEntry(TypedDict):
    """What a recipe says of a condition: its picture by the content, and how that was made."""

    kind: str
    image: str
    settings: dict[str, Any]


class PersonEntry(TypedDict):
    """What a recipe says of a person's photos: by their content, and how hard they held."""

    photos: list[str]
    scale: float
    start: float
    end: float
    weights: str
    revision: str


class Recipe(TypedDict, total=False):
    """What may stand in a recipe, by any function; others may add entries of their own."""

    function: str
    prompt: str
    negative_prompt: str
    seed: int
    batch_seed: int
    num_images: int
    num_inference_steps: int
    guidance_scale: float
    size_px: int
    speed: str | None
    speed_lora: str
    scheduler: str
    model: str
    model_revision: str
    vae: str | None
    adapter: list[AdapterEntry] | None
    device: str
    card: str | None
    dtype: str
    cpu_threads: int
    versions: dict[str, str]
    dropped_words: dict[str, list[str]]
    seconds: float
    strength: float
    feather: float
    image: str
    mask: str
    person: PersonEntry
    # One condition, or several in lists of one length.
    condition: ConditionEntry | list[ConditionEntry]
    controlnet: str | list[str]
    controlnet_revision: str | list[str]
    controlnet_conditioning_scale: float | list[float]
    control_guidance_start: float | list[float]
    control_guidance_end: float | list[float]
    guess_mode: bool | list[bool]


@dataclass(frozen=True)
class Portrait:
    """A picture and the plain dict (JSON values only) of everything that made it."""

    image: Image.Image
    recipe: dict[str, Any] = field(default_factory=dict)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a PNG with the recipe in it, whole or not at all; return where it is.

        The folder is made if it is missing. The file also carries the AUTOMATIC1111
        `parameters` text and the IPTC mark of a picture made by a trained model.

        Raises UsageError if the name does not end in .png or the file cannot be written.
        """
        target = Path(path).expanduser()
        if target.suffix.lower() != ".png":
            raise UsageError(
                f"{target}: a portrait is saved as .png, the format that keeps its recipe and "
                f"every pixel; got {target.suffix or 'no ending'}; try {target.with_suffix('.png')}"
            )
        write_whole(target, self.png_bytes())
        return target

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Portrait:
        """Read a portrait that `save` wrote: the same pixels and the same recipe.

        Raises UsageError if the file is missing, damaged, not a PNG, or has no recipe.
        """
        source = Path(path).expanduser()
        try:
            with Image.open(source) as opened:
                opened.load()
                kind, texts, image = opened.format, dict(opened.info), opened.copy()
        except FileNotFoundError:
            raise UsageError(f"{source}: no such file") from None
        except Image.UnidentifiedImageError:
            raise UsageError(f"{source}: not a picture, expected a PNG file") from None
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as problem:
            # Pillow reports a broken PNG as any of these.
            raise UsageError(f"{source}: cannot be read as a PNG ({problem})") from problem
        if kind != "PNG":
            raise UsageError(
                f"{source}: got a {kind} picture, expected a PNG that Portrait.save wrote; "
                "other formats carry no recipe"
            )
        image.info = {}  # the texts live in the recipe; two homes would drift apart
        return cls(image, read_recipe(source, texts))

    def png_bytes(self) -> bytes:
        """The PNG file as bytes, recipe and marks included."""
        texts = PngImagePlugin.PngInfo()
        # ASCII JSON needs no text encoding, whatever the prompt holds.
        texts.add_text(RECIPE_KEY, json.dumps(self.recipe))
        if "prompt" in self.recipe:
            texts.add_text(PARAMETERS_KEY, parameters_text(self.recipe))
        texts.add_itxt(XMP_KEY, MADE_BY_AI.read_text(encoding="utf-8"))
        buffer = io.BytesIO()
        self.image.save(buffer, format="PNG", pnginfo=texts)
        return buffer.getvalue()

    def _repr_png_(self) -> bytes:
        """Show as a picture in a notebook."""
        return self.png_bytes()


def read_recipe(source: Path, texts: dict[Any, Any]) -> dict[str, Any]:
    """The recipe among the text chunks of a PNG; raises UsageError if there is none."""
    if RECIPE_KEY not in texts:
        maker = "another tool" if PARAMETERS_KEY in texts else "something other than portraitlib"
        raise UsageError(
            f"{source}: this PNG has no portraitlib recipe; it was written by {maker}, or its "
            "texts were stripped on the way; open it with PIL.Image.open to use the picture alone"
        )
    try:
        recipe = json.loads(texts[RECIPE_KEY])
    except (ValueError, RecursionError) as problem:
        raise UsageError(f"{source}: its recipe is not readable JSON ({problem})") from None
    check_record(f"{source}: its recipe", recipe, Recipe)
    return recipe


def write_whole(target: Path, content: bytes) -> None:
    """Write `content` to `target`, whole or not at all; raises UsageError as `whole_file` does."""
    with whole_file(target) as file:
        file.write(content)


def write_json(path: Path, content: Any) -> None:
    """Write JSON whole or not at all; raises UsageError if the disk refuses."""
    write_whole(path, (json.dumps(content, indent=1, default=str) + "\n").encode())


def read_json(path: Path, kind: type[Record]) -> Record:
    """A JSON file as a record of this kind; raises UsageError in one line that names the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path.parent}: {path.name} is missing") from None
    except (OSError, ValueError, RecursionError) as problem:
        raise UsageError(f"{path}: cannot be read as JSON ({problem})") from problem
    return check_record(str(path), content, kind)


@contextmanager
def whole_file(target: Path) -> Iterator[BinaryIO]:
    """A file beside `target` to write to, renamed at the end: readers see the old one or the new.

    Raises UsageError in one line if the disk is full, the folder is read-only, and so on;
    then nothing new is left behind.
    """
    beside = target.parent / f".{secrets.token_hex(8)}.part"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(beside, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, target)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as problem:
        raise UsageError(
            f"{target}: cannot be written ({problem.strerror or problem}); nothing was changed; "
            "try a folder that you may write to, on a disk with room"
        ) from problem


def check_writable(folder: Path) -> None:
    """Try the folder, or the one that it will be made in, before the work rather than after it.

    Makes nothing that stays. Raises UsageError for a full or read-only disk.
    """
    existing = next((place for place in (folder, *folder.parents) if place.exists()), folder)
    try:
        with tempfile.TemporaryFile(dir=existing) as probe:
            probe.write(bytes(4096))
    except OSError as problem:
        raise UsageError(
            f"{folder}: cannot be written to ({problem.strerror or problem}); try another folder, "
            "on a disk with room"
        ) from None


def parameters_text(recipe: dict[str, Any]) -> str:
    """The recipe in the text form of AUTOMATIC1111's web UI, which other tools read.

    Prompt lines, with "<lora:name:scale>" for each LoRA, then "Negative prompt: ..." lines, then
    one line of settings. What the recipe lacks is left out.

    >>> parameters_text({"prompt": "a man", "num_inference_steps": 5, "seed": 1})
    'a man\\nSteps: 5, Seed: 1'
    """
    versions = recipe.get("versions", {})
    size_px = recipe.get("size_px")
    scheduler = recipe.get("scheduler")
    sampler = SAMPLER_NAMES.get(str(scheduler), str(scheduler).removesuffix("Scheduler"))
    guidance_scale, strength = recipe.get("guidance_scale"), recipe.get("strength")
    library = versions.get("portraitlib")
    loras, tuned = [], ""
    for entry in recipe.get("adapter") or ():
        if entry.get("kind") == "full":
            tuned += f" + {entry['scale']:g} {_adapter_name(entry)}"
        else:
            loras.append((_adapter_name(entry), entry))
    hashes = ", ".join(f"{name}: {entry['hash'][:12]}" for name, entry in loras)
    settings = {
        "Steps": recipe.get("num_inference_steps"),
        "Sampler": scheduler and sampler,
        "CFG scale": None if guidance_scale is None else f"{guidance_scale:g}",
        "Seed": recipe.get("seed"),
        "Size": size_px and f"{size_px}x{size_px}",
        "Model": recipe.get("model") and recipe["model"] + tuned,
        "Denoising strength": None if strength is None else f"{strength:g}",
        **_control_lines(recipe),
        "Lora hashes": hashes or None,
        "Version": library and f"portraitlib {library}",
    }
    tags = [f"<lora:{name}:{entry['scale']:g}>" for name, entry in loras]
    lines = [_plain_prompt(" ".join([recipe.get("prompt", ""), *tags]))]
    if recipe.get("negative_prompt"):
        lines.append("Negative prompt: " + _plain_prompt(recipe["negative_prompt"]))
    lines.append(
        ", ".join(
            f"{name}: {_quoted(value)}" for name, value in settings.items() if value is not None
        )
    )
    return "\n".join(lines)


def caption(recipe: Mapping[str, Any]) -> str:
    """The settings of a picture in one line, such as "seed 3 · 25 steps · guidance 5"."""
    named = {key: recipe[key] for key in CAPTION if recipe.get(key) not in (None, "")}
    return " · ".join(CAPTION[key].format(value) for key, value in named.items())


def _adapter_name(entry: dict[str, Any]) -> str:
    """What an adapter is called, without what readers take for the end of a name."""
    return re.sub(r"[:,<>\n]", "", entry["identifier"]) or entry["hash"][:8]


def _control_lines(recipe: dict[str, Any]) -> dict[str, str]:
    """One entry "ControlNet N" for each condition, as the web UI's extension writes them."""
    names = ("condition", "controlnet", *CONTROL_ENTRIES)
    if not set(names) <= set(recipe):
        return {}
    columns = (value if isinstance(value, list) else [value] for value in map(recipe.get, names))
    rows = zip(*columns, strict=True)
    lines = {}
    for index, (condition, model, scale, start, end, guess) in enumerate(rows):
        thresholds = condition["settings"]
        entries = {
            "Module": condition["kind"],
            "Model": model,
            "Weight": f"{scale:g}",
            "Threshold A": thresholds.get("low_threshold"),
            "Threshold B": thresholds.get("high_threshold"),
            "Guidance Start": f"{start:g}",
            "Guidance End": f"{end:g}",
            "Control Mode": "ControlNet is more important" if guess else "Balanced",
        }
        named = [f"{name}: {value}" for name, value in entries.items() if value is not None]
        lines[f"ControlNet {index}"] = ", ".join(named)
    return lines


def _plain_prompt(prompt: str) -> str:
    """A prompt that readers of `parameters` cannot take for their own marker."""
    text = prompt.replace("Negative prompt:", "Negative prompt :")
    return text.encode("utf-8", errors="replace").decode("utf-8")


def _quoted(value: Any) -> str:
    """A value of the settings line, quoted where it holds that line's own separators."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",:\n") else text
