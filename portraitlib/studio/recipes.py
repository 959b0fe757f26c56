"""The settings on the studio's screen: as one record, as notebook parameters, as a command.

Knows no torch.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from portraitlib.settings import (
    RANGES,
    Control,
    DreamBooth,
    Sampling,
    UsageError,
    check_fields,
    check_number,
)


@dataclass(frozen=True)
class Tab:
    """A tab of the studio.

    action: what its button does.  function: what draws it; "" where it draws by another tab's.
    records: the records of a screen that this tab alone uses.  varied: what a sweep may vary of
    them.
    """

    title: str
    action: str = "Generate"
    function: str = ""
    records: tuple[str, ...] = ()
    varied: tuple[str, ...] = ()


TABS = {
    "portrait": Tab("Portrait", "Make my portraits"),
    "words": Tab("Words", function="text_to_image"),
    "photo": Tab(
        "Photo + words",
        function="image_to_image",
        records=("from_photo",),
        varied=("strength",),
    ),
    "edges": Tab(
        "Edges + words",
        function="control_to_image",
        records=("lines", "control"),
        varied=("scale", "start", "end"),
    ),
    "face": Tab("Train a face", "Train, then draw"),
    "sweep": Tab("Sweep", "Draw the sweep"),
}
METHODS = [name for name, tab in TABS.items() if tab.function]
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
class Person:
    """The photos as part of the prompt: their person is drawn without a training.

    photos_in_prompt: do they speak beside the words?
    person_scale: 0 to 2, how hard they hold; None takes the model's own.
    """

    photos_in_prompt: bool = False
    person_scale: float | None = None

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Wanted:
    """What is wanted of the portraits to choose from, beside the styles of `STYLES`.

    who: the class word.  own_styles: words of one's own, with | between.  keep: how many a style.
    quick: one photo beside the words, in place of a training.  minutes: None for no limit.
    """

    who: str = "man"
    own_styles: str | None = None
    keep: int = 3
    quick: bool = False
    minutes: float | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if not self.who.strip():
            raise UsageError("class word: got none, expected one such as man or woman")


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
    person: Person = field(default_factory=Person)
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
RECORDS = ("sampling", "from_photo", "lines", "control", "person")


def names_of(record: Any) -> list[str]:
    """The fields of a record."""
    return [setting.name for setting in fields(record)]


def variable(method: str) -> list[str]:
    """The settings that a sweep of this method may vary."""
    shared = [name for name in names_of(Sampling) if name != "num_images"]
    return ["prompt", *shared, *TABS[method].varied]


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
    records = {}
    for name in RECORDS:
        record = getattr(start, name)
        given = {entry: flat[entry] for entry in names_of(record) if entry in flat}
        records[name] = replace(record, **given)
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


def shown_parameters(screen: Screen) -> dict[str, Any]:
    """The parameters that matter to what is on screen; what its method does not use is left out."""
    unused = {
        name
        for method in METHODS
        for record in TABS[method].records
        for name in names_of(getattr(screen, record))
        if method != screen.method
    }
    unused |= set() if screen.person.photos_in_prompt else set(names_of(screen.person))
    unused |= {"photo_file"} if screen.method == "words" else set()
    unused |= {"num_class_images"} if screen.training is None else set()
    return {
        name: value
        for name, value in parameters_of_screen(screen).items()
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


def portrait_command(
    model_name: str, photos_dir: str, styles: Sequence[str] | None, wanted: Wanted, output: str
) -> str:
    """A shell line that makes the same portraits; styles: None for those of the post."""
    words = ["portraitlib", "portrait", *([photos_dir] if photos_dir else [])]
    words += ["--model", model_name, "--who", wanted.who, "--keep", str(wanted.keep)]
    words += [f"--style={style}" for style in styles or ()]
    words += ["--quick"] if wanted.quick else []
    words += ["--minutes", f"{wanted.minutes:g}"] if wanted.minutes else []
    return shlex.join([*words, "--output", output])


def number_in(text: str) -> float | str:
    """The number that a text holds, or the text, for its range to refuse."""
    try:
        return float(text)
    except ValueError:
        return text
