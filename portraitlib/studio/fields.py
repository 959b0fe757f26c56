"""Labelled widgets for a record of settings: one for each field, its range and its help beside it.

A dataclass is the one source: the fields and their types, `RANGES` and `CHOICES`, and the entries
`name: help` of its docstring. A field that is added there has a widget here.
"""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

import ipywidgets as widgets

from portraitlib.settings import CHOICES, RANGES, Range, UsageError, check_number

# Words for a label where the name with spaces would not say it.
LABELS = {
    "num_images": "pictures",
    "num_inference_steps": "steps",
    "guidance_scale": "guidance",
    "size_px": "size in px",
    "scale": "hold",
    "start": "hold from",
    "end": "hold to",
    "max_train_steps": "steps",
    "num_train_epochs": "or epochs",
    "train_batch_size": "photos a step",
    "micro_batch_size": "at once",
    "text_learning_rate": "rate of words",
    "lr_scheduler": "rate goes",
    "lr_warmup_steps": "warm-up steps",
    "prior_loss_weight": "class weight",
    "gradient_checkpointing": "checkpointing",
    "save_every_steps": "save every",
    "num_class_images": "class images",
}
# How far a slider reaches at first, and its step; the number beside it takes the whole range.
REACH: dict[str, tuple[float, float, float]] = {
    "num_images": (1, 8, 1),
    "num_inference_steps": (1, 60, 1),
    "guidance_scale": (0.0, 15.0, 0.5),
    "low_threshold": (0, 500, 5),
    "high_threshold": (0, 500, 5),
    "num_class_images": (0, 100, 1),
}
LINES = {"prompt": 3, "negative_prompt": 2}  # of a text
SHARE = 2.0  # numbers up to this have a slider over their whole range
# What an empty widget means, where None has a meaning of its own.
EMPTY = {
    "instance_prompt": "each photo's own caption",
    "alpha": "the rank",
    "micro_batch_size": "all at once",
    "precision": "that of the model",
    "low_threshold": "chosen by the picture",
    "high_threshold": "chosen by the picture",
}


def help_of(source: Any) -> dict[str, tuple[str, str]]:
    """Name -> (heading, help) from the `name: help` entries of a docstring.

    Several names before one colon share the help; a heading is a line of its own above entries.
    """
    lines = inspect.cleandoc(source.__doc__ or "").splitlines()
    heading, entries = "", []
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        if ENTRY.match(line):
            entries.append((heading, line))
        elif line.startswith("    ") and entries:
            entries[-1] = (entries[-1][0], f"{entries[-1][1]} {line.strip()}")
        elif line and ENTRY.match(after):
            heading = line.strip()
    found: dict[str, tuple[str, str]] = {}
    names = {each.name for each in fields(source)}
    for above, entry in entries:
        for part in _parts(entry, names):
            told, text = part.split(":", 1)
            for name in told.split(","):
                found[name.strip()] = (above, text.strip())
    return found


ENTRY = re.compile(r"[a-z_]\w*(, \w+)*: \S")


def _parts(entry: str, names: set[str]) -> list[str]:
    """An entry cut where the next one begins on the same line."""
    known = "|".join(sorted(names, key=len, reverse=True))
    return re.split(rf"(?<=[.;])\s+(?=(?:{known})(?:, (?:{known}))*: )", entry)


# --- one setting ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """One labelled setting on screen.

    box: all of it.  control: the widget that has its value, and its label.
    read, write: its value as the record takes it, and back.
    """

    name: str
    box: Any = field(repr=False)
    control: Any = field(repr=False)
    read: Callable[[], Any] = field(repr=False)
    write: Callable[[Any], None] = field(repr=False)


def make_setting(
    name: str,
    value: Any,
    told: str,
    optional: str | None = None,
    annotation: str = "",
    allowed: Range | None = None,
) -> Setting:
    """The widget for a value: by its name where RANGES or CHOICES have it, else by its type.

    told: the help.  optional: None, or the words for the setting left empty ("the model's own").
    annotation: the type as the dataclass has it, where the value may be None.
    allowed: for what RANGES does not have.
    """
    allowed = allowed or RANGES.get(name)
    about = _about(told, allowed)
    if name in CHOICES:
        found = _choice(name, value, optional)
    elif isinstance(value, bool) or annotation.startswith("bool"):
        found = _choice(name, value, optional, (True, False)) if optional else _check(name, value)
    elif allowed is not None and optional is not None:
        found = _maybe_number(name, value, allowed, optional)
    elif allowed is not None:
        found = _number(name, value, allowed)
    else:
        found = _text(name, value, optional)
    control, parts, read, write = found
    set_tooltip(control, about)
    caption = widgets.HTML(f'<span title="{html.escape(about)}">{html.escape(about)}</span>')
    caption.add_class("pl-help")
    row = widgets.Box(list(parts))
    row.add_class("pl-row")
    box = widgets.VBox([row, caption])
    box.add_class("pl-setting")
    box.add_class(f"pl-{name}")
    return Setting(name, box, control, read, write)


def label_of(name: str) -> str:
    return LABELS.get(name, name.replace("_", " "))


def set_tooltip(widget: Any, text: str) -> None:
    """What is shown while the pointer rests: ipywidgets 7 and 8 call it differently."""
    for name in ("tooltip", "description_tooltip"):
        if widget.has_trait(name):
            setattr(widget, name, text)
            return


def plain_number(value: float) -> str:
    """0.002 as "0.002", 25.0 as "25"."""
    return f"{value:g}" if abs(value) < 1e6 else f"{value:.0f}"


def _about(told: str, allowed: Range | None) -> str:
    """The help with its range, which many docstrings have at its beginning already."""
    told = told[:1].upper() + told[1:]
    if allowed is None or re.search(r"(^|, )-?[\d.]+ to [\d.]+", told):
        return told
    ends = f"{plain_number(allowed.low)} to {plain_number(allowed.high)}"
    many = f", multiples of {allowed.multiple}" if allowed.multiple > 1 else ""
    return f"{ends}{many} ({allowed.unit}). {told}"


Found = tuple[Any, Sequence[Any], Callable[[], Any], Callable[[Any], None]]


def _labelled(kind: Callable[..., Any], name: str, **settings: Any) -> Any:
    widget = kind(description=label_of(name), **settings)
    widget.layout.width = "auto"
    widget.add_class("pl-labelled")
    return widget


def _number(name: str, value: Any, allowed: Range) -> Found:
    """A slider and a number that go together; without a sensible reach the number alone."""
    whole = allowed.whole
    kind = widgets.BoundedIntText if whole else widgets.BoundedFloatText
    ends = {"min": allowed.low, "max": allowed.high}
    reach = REACH.get(name)
    if reach is None and allowed.high <= SHARE and "rate" not in name:
        reach = (allowed.low, allowed.high, 0.05)
    if reach is None:
        step = {"step": allowed.multiple} if whole else {}
        number = _labelled(kind, name, value=value, **ends, **step)
        return number, [number], lambda: number.value, _setter(number)
    low, high, step_size = reach
    number = kind(value=value, step=1 if whole else step_size, **ends)
    number.add_class("pl-number")
    set_tooltip(number, f"{label_of(name)} as a number")
    slider = _labelled(
        widgets.IntSlider if whole else widgets.FloatSlider,
        name,
        **{"min": min(low, value), "max": max(high, value), "step": step_size, "value": value},
        readout=False,
        continuous_update=False,
    )

    def from_slider(change: Any) -> None:
        if abs(change["new"] - min(max(number.value, slider.min), slider.max)) > 1e-9:
            number.value = change["new"]

    def from_number(change: Any) -> None:
        slider.min, slider.max = min(slider.min, change["new"]), max(slider.max, change["new"])
        slider.value = change["new"]
        slider.min, slider.max = min(low, change["new"]), max(high, change["new"])

    slider.observe(from_slider, "value")
    number.observe(from_number, "value")
    return slider, [slider, number], lambda: number.value, _setter(number)


def _setter(control: Any) -> Callable[[Any], None]:
    def write(value: Any) -> None:
        control.value = value

    return write


def _maybe_number(name: str, value: Any, allowed: Range, optional: str) -> Found:
    """A text that may stay empty: then it is the default."""
    box = _labelled(widgets.Text, name, placeholder=optional, continuous_update=False)

    def read() -> Any:
        text = box.value.strip()
        if not text:
            return None
        try:
            number = float(text)
        except ValueError:
            raise UsageError(
                f"{label_of(name)}: got {text!r}, expected {allowed}, or nothing for {optional}"
            ) from None
        return check_number(label_of(name), name, number, allowed)

    def write(given: Any) -> None:
        box.value = "" if given is None else plain_number(given)

    write(value)
    return box, [box], read, write


def _choice(name: str, value: Any, optional: str | None, words: Sequence[Any] = ()) -> Found:
    """One of a few words; None, where it may be, comes first, and is "" to the menu."""
    options: list[tuple[str, Any]] = [(str(word), word) for word in words or CHOICES[name]]
    if words:
        options = [("yes" if word else "no", word) for word in words]
    if optional is not None:
        options.insert(0, (optional, ""))
    box = _labelled(widgets.Dropdown, name, options=options, value="" if value is None else value)

    def write(given: Any) -> None:
        box.value = "" if given is None else given

    return box, [box], lambda: None if box.value == "" else box.value, write


def _check(name: str, value: bool) -> Found:
    box = _labelled(widgets.Checkbox, name, value=value, indent=False)
    return box, [box], lambda: box.value, _setter(box)


def _text(name: str, value: Any, optional: str | None) -> Found:
    """Words; where they may be left out, None for none."""
    long = LINES.get(name, 1) > 1
    more = {"rows": LINES[name]} if long else {}
    kind = widgets.Textarea if long else widgets.Text
    box = _labelled(kind, name, value=value or "", continuous_update=False, **more)
    if optional is not None:
        box.placeholder = optional

    def read() -> Any:
        return (box.value if box.value.strip() else None) if optional is not None else box.value

    def write(given: Any) -> None:
        box.value = given or ""

    return box, [box], read, write


# --- a record ------------------------------------------------------------------------------------


class Form:
    """Widgets for all fields of a settings dataclass.

    record: where the widgets start. own: the defaults of a model's preset for fields that are
        None; with `filled` they are put into the widgets, else they are named in the empty ones.
    """

    def __init__(self, record: Any, own: Mapping[str, Any] | None = None, filled: bool = True):
        self.kind, own = type(record), dict(own or {})
        told = help_of(self.kind)
        self.headings: dict[str, str] = {}
        self.settings: dict[str, Setting] = {}
        for each in fields(record):
            value, name = getattr(record, each.name), each.name
            default = None if each.default is MISSING else each.default
            if value is None and filled and own.get(name) is not None:
                value = own[name]
            optional = None
            if default is None and not (filled and own.get(name) is not None):
                optional = _named_default(name, own.get(name))
            heading, text = told.get(name, ("", ""))
            self.headings[name] = heading
            self.settings[name] = make_setting(name, value, text, optional, str(each.type))

    def __getitem__(self, name: str) -> Setting:
        return self.settings[name]

    @property
    def boxes(self) -> list[Any]:
        """The widgets in the order of the fields."""
        return [setting.box for setting in self.settings.values()]

    def by_heading(self) -> dict[str, list[Any]]:
        """Heading of the docstring -> the widgets under it."""
        groups: dict[str, list[Any]] = {}
        for name, setting in self.settings.items():
            groups.setdefault(self.headings[name], []).append(setting.box)
        return groups

    def record(self) -> Any:
        """What the widgets say, checked; raises UsageError in one line."""
        return self.kind(**{name: setting.read() for name, setting in self.settings.items()})

    def write(self, values: Mapping[str, Any]) -> None:
        """Put values into the widgets that have one; others stay."""
        for name, value in values.items():
            if name in self.settings and (value is not None or self._may_be_empty(name)):
                self.settings[name].write(value)

    def observe(self, handler: Callable[[Any], None]) -> None:
        """Call `handler` whenever a value changes."""
        for setting in self.settings.values():
            setting.control.observe(handler, "value")

    def _may_be_empty(self, name: str) -> bool:
        control = self.settings[name].control
        return (
            hasattr(control, "placeholder") or "" in dict(getattr(control, "options", ())).values()
        )


def _named_default(name: str, own: Any) -> str:
    """What an empty widget says it stands for."""
    if own is not None:
        shown = ("yes" if own else "no") if isinstance(own, bool) else own
        return f"{shown} (the model's own)"
    return EMPTY.get(name, "none")
