"""Labelled widgets for a record of settings: one for each field, its range and its help beside it.

A dataclass says which fields there are and of what type, `RANGES` and `CHOICES` what they may be,
and `fields.toml` how each is shown.
"""

from __future__ import annotations

import html
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import partial
from typing import Any

import ipywidgets as widgets

from portraitlib.settings import CHOICES, RANGES, Range, UsageError, check_number, check_record
from portraitlib.studio.look import text_of

SHARE = 2.0  # numbers up to this have a slider over their whole range


@dataclass(frozen=True)
class Shown:
    """How a setting is shown: an entry of `fields.toml`, which explains the fields."""

    help: str = ""
    label: str = ""
    reach: tuple[float, float, float] | None = None
    lines: int = 1
    empty: str = "none"
    group: str = ""
    explored: bool = False


SHOWN = check_record("fields.toml", tomllib.loads(text_of("fields.toml")), dict[str, Shown])


def shown(name: str) -> Shown:
    """How a setting is shown; plainly, where nobody has said how."""
    return SHOWN.get(name, Shown())


def label_of(name: str) -> str:
    return shown(name).label or name.replace("_", " ")


def plain_number(value: float) -> str:
    """0.002 as "0.002", 25.0 as "25"."""
    return f"{value:g}" if abs(value) < 1e6 else f"{value:.0f}"


def set_tooltip(widget: Any, text: str) -> None:
    """What is shown while the pointer rests: ipywidgets 7 and 8 call it differently."""
    setattr(widget, "tooltip" if widget.has_trait("tooltip") else "description_tooltip", text)


# --- one setting ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """One labelled setting on screen.

    box: all of it.  control: the widget that has its value, and its label.
    read, write: its value as the record takes it, and back.  optional: may it be None?
    """

    box: Any = field(repr=False)
    control: Any = field(repr=False)
    read: Callable[[], Any] = field(repr=False)
    write: Callable[[Any], None] = field(repr=False)
    optional: bool = False


# The widget with the value, all widgets of the row, and how the value is read and written.
Row = tuple[Any, Sequence[Any], Callable[[], Any], Callable[[Any], None]]


def make_setting(
    name: str,
    value: Any,
    empty: str | None = None,
    annotation: str = "",
    allowed: Range | None = None,
) -> Setting:
    """The widget for a value: by its name where RANGES or CHOICES have it, else by its type.

    empty: the words for the setting left empty ("the model's own"); None where it may not be.
    annotation: the type as the dataclass has it, where the value may be None.
    allowed: for what RANGES does not have.
    """
    allowed = allowed or RANGES.get(name)
    truth = isinstance(value, bool) or annotation.startswith("bool")
    if name in CHOICES:
        row = _choice(name, value, empty, {str(word): word for word in CHOICES[name]})
    elif truth and empty:
        row = _choice(name, value, empty, {"yes": True, "no": False})
    elif truth:
        row = _plain(labelled(widgets.Checkbox, name, value=value, indent=False))
    elif allowed is None:
        row = _text(name, value, empty)
    elif empty is not None:
        row = _maybe_number(name, value, allowed, empty)
    else:
        row = _number(name, value, allowed)
    control, parts, read, write = row
    about = f"{shown(name).help} {_range_words(allowed)}".strip()
    set_tooltip(control, about)
    words = html.escape(about)
    caption = widgets.HTML(f'<span title="{words}">{words}</span>').add_class("pl-help")
    line = widgets.Box(list(parts)).add_class("pl-row")
    box = widgets.VBox([line, caption]).add_class("pl-setting").add_class(f"pl-{name}")
    return Setting(box, control, read, write, empty is not None)


def _range_words(allowed: Range | None) -> str:
    if allowed is None:
        return ""
    many = f", multiples of {allowed.multiple}" if allowed.multiple > 1 else ""
    return f"{plain_number(allowed.low)} to {plain_number(allowed.high)}{many} ({allowed.unit})."


def labelled(kind: Callable[..., Any], name: str, **settings: Any) -> Any:
    """A widget with the label of a setting, or other words, in the column of labels."""
    widget = kind(description=label_of(name), layout={"width": "auto"}, **settings)
    return widget.add_class("pl-labelled")


def _plain(control: Any) -> Row:
    """A widget whose value is the setting's."""
    return control, [control], lambda: control.value, partial(setattr, control, "value")


def _number(name: str, value: Any, allowed: Range) -> Row:
    """A slider and a number that go together; without a sensible reach the number alone."""
    kind = widgets.BoundedIntText if allowed.whole else widgets.BoundedFloatText
    ends = {"min": allowed.low, "max": allowed.high}
    reach = shown(name).reach
    if reach is None and allowed.high <= SHARE and "rate" not in name:
        reach = (allowed.low, allowed.high, 0.05)
    if reach is None:
        step = {"step": allowed.multiple} if allowed.whole else {}
        return _plain(labelled(kind, name, value=value, **ends, **step))
    low, high, step_size = reach
    number = kind(value=value, step=1 if allowed.whole else step_size, **ends)
    set_tooltip(number.add_class("pl-number"), f"{label_of(name)} as a number")
    slider = labelled(
        widgets.IntSlider if allowed.whole else widgets.FloatSlider,
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
    return slider, [slider, number], lambda: number.value, partial(setattr, number, "value")


def _maybe_number(name: str, value: Any, allowed: Range, empty: str) -> Row:
    """A text that may stay empty: then it is the default."""
    box = labelled(widgets.Text, name, placeholder=empty, continuous_update=False)

    def read() -> Any:
        text = box.value.strip()
        if not text:
            return None
        try:
            number = float(text)
        except ValueError:
            raise UsageError(
                f"{label_of(name)}: got {text!r}, expected {allowed}, or nothing for {empty}"
            ) from None
        return check_number(label_of(name), name, number, allowed)

    def write(given: Any) -> None:
        box.value = "" if given is None else plain_number(given)

    write(value)
    return box, [box], read, write


def _choice(name: str, value: Any, empty: str | None, words: Mapping[str, Any]) -> Row:
    """One of a few words; None, where it may be, comes first, and is "" to the menu."""
    options = [*words.items()] if empty is None else [(empty, ""), *words.items()]
    box = labelled(widgets.Dropdown, name, options=options, value="" if value is None else value)

    def write(given: Any) -> None:
        box.value = "" if given is None else given

    return box, [box], lambda: None if box.value == "" else box.value, write


def _text(name: str, value: Any, empty: str | None) -> Row:
    """Words; where they may be left out, None for none."""
    lines = shown(name).lines
    kind, more = (widgets.Textarea, {"rows": lines}) if lines > 1 else (widgets.Text, {})
    box = labelled(kind, name, value=value or "", continuous_update=False, **more)
    box.placeholder = empty or ""

    def read() -> Any:
        return box.value if empty is None or box.value.strip() else None

    def write(given: Any) -> None:
        box.value = given or ""

    return box, [box], read, write


# --- a record ------------------------------------------------------------------------------------


class Form:
    """Widgets for all fields of a settings dataclass.

    record: where the widgets start. defaults: those of a model's preset for fields that are None;
        with `filled` they are put into the widgets, else they are named in the empty ones.
    """

    def __init__(self, record: Any, defaults: Mapping[str, Any] | None = None, filled: bool = True):
        self.kind = type(record)
        self.settings: dict[str, Setting] = {}
        for setting in fields(record):
            name, value = setting.name, getattr(record, setting.name)
            default = (defaults or {}).get(name)
            fills = filled and default is not None
            may_be_none = setting.default in (None, MISSING) and not fills
            empty = _named_default(name, default) if may_be_none else None
            start = default if value is None and fills else value
            self.settings[name] = make_setting(name, start, empty, str(setting.type))

    def __getitem__(self, name: str) -> Setting:
        return self.settings[name]

    @property
    def boxes(self) -> list[Any]:
        """The widgets in the order of the fields."""
        return [setting.box for setting in self.settings.values()]

    def by_group(self) -> dict[str, list[Any]]:
        """Group of `fields.toml` -> the widgets in it."""
        groups: dict[str, list[Any]] = {}
        for name, setting in self.settings.items():
            groups.setdefault(shown(name).group, []).append(setting.box)
        return groups

    def record(self) -> Any:
        """What the widgets say, checked; raises UsageError in one line."""
        return self.kind(**{name: setting.read() for name, setting in self.settings.items()})

    def write(self, values: Mapping[str, Any]) -> None:
        """Put values into the widgets that have one; others stay."""
        for name, setting in self.settings.items():
            if name in values and (values[name] is not None or setting.optional):
                setting.write(values[name])

    def observe(self, handler: Callable[[Any], None]) -> None:
        """Call `handler` whenever a value changes."""
        for setting in self.settings.values():
            setting.control.observe(handler, "value")


def _named_default(name: str, default: Any) -> str:
    """What an empty widget says it stands for."""
    if default is None:
        return shown(name).empty
    word = ("yes" if default else "no") if isinstance(default, bool) else default
    return f"{word} (the model's own)"
