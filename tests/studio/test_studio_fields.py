"""A settings dataclass is the one source of its widgets: labels, ranges, help, values."""

from dataclasses import dataclass, fields

import pytest

pytest.importorskip("ipywidgets")

from portraitlib.settings import RANGES, Control, DreamBooth, Sampling, UsageError
from portraitlib.studio.fields import SHOWN, Form, Shown, make_setting, shown
from portraitlib.studio.recipes import FromPhoto, Lines, Person, Screen, Wanted

RECORDS = (Sampling, Control, DreamBooth, FromPhoto, Lines, Person, Wanted)
each_record = pytest.mark.parametrize("kind", RECORDS)


def help_shown(setting):
    return setting.box.children[1].value


@each_record
def test_every_field_has_a_labelled_widget_with_help_and_range(kind):
    form = Form(kind())
    assert list(form.settings) == [each.name for each in fields(kind)]
    for name, setting in form.settings.items():
        assert setting.control.description
        assert shown(name).help, f"{kind.__name__}.{name} has no help in fields.toml"
        if name in RANGES:
            assert " to " in help_shown(setting), name


@each_record
def test_widgets_give_the_record_they_started_from(kind):
    assert Form(kind()).record() == kind()


@dataclass(frozen=True)
class Wider(Control):
    softness: bool = True


def test_a_field_that_is_added_adds_a_widget():
    form = Form(Wider())
    form["softness"].write(False)
    assert form.record() == Wider(softness=False)


def test_groups_part_a_long_form():
    groups = Form(DreamBooth()).by_group()
    assert list(groups) == ["What is learnt", "How long", "How"]
    assert sum(map(len, groups.values())) == len(fields(DreamBooth))


def test_no_help_is_of_a_setting_that_there_is_not():
    names = {entry.name for kind in (*RECORDS, Screen) for entry in fields(kind)}
    assert set(SHOWN) <= names | set(RANGES)


def test_the_presets_defaults_fill_what_is_open_or_are_named_in_it():
    own = {"num_inference_steps": 25, "guidance_scale": 2.0, "size_px": 96}
    assert Form(Sampling(), own).record() == Sampling(
        num_inference_steps=25, guidance_scale=2.0, size_px=96
    )
    form = Form(DreamBooth(), {"rank": 32}, filled=False)
    assert form["rank"].control.placeholder == "32 (the model's own)"
    assert form.record().rank is None


def test_a_number_takes_the_whole_range_and_its_slider_follows():
    form = Form(Sampling(num_inference_steps=20), {"num_inference_steps": 25})
    slider, number = form["num_inference_steps"].box.children[0].children
    number.value = 500
    assert (slider.value, slider.max, form.record().num_inference_steps) == (500, 500, 500)
    slider.value = 7
    assert number.value == 7 and form.record().num_inference_steps == 7
    number.value = 30
    assert slider.max == 60  # the old reach again


def test_what_is_left_empty_is_none_and_nonsense_is_one_line():
    form = Form(DreamBooth(), filled=False)
    form["snr_gamma"].control.value = "five"
    with pytest.raises(UsageError, match="got 'five', expected a number from") as caught:
        form.record()
    assert "\n" not in str(caught.value)
    form["snr_gamma"].control.value = " 5 "
    assert form.record().snr_gamma == 5.0
    form.write({"snr_gamma": None, "gradient_checkpointing": True, "seed": 4})
    settings = form.record()
    assert (settings.snr_gamma, settings.gradient_checkpointing, settings.seed) == (None, True, 4)
    form.write({"gradient_checkpointing": None})
    assert form.record().gradient_checkpointing is None


def test_help_is_safe_with_any_text(monkeypatch):
    monkeypatch.setitem(SHOWN, "prompt", Shown("What <script> says"))
    setting = make_setting("prompt", "a <b>")
    assert "<script>" not in help_shown(setting) and setting.read() == "a <b>"
