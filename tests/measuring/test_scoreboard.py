"""The scoreboard and the ledger: what the rows say, and no more than that."""

import pytest

from portraitlib.measuring import ledger, scoreboard
from portraitlib.measuring.ledger import CONFIRMED, DEPENDS, REFUTED, UNKNOWN, Claim, Side
from portraitlib.measuring.result import Measurement
from portraitlib.settings import UsageError


def row(method, style, mean, low=None, high=None, figure="likeness", **about):
    known = {"method": method, "style": style, "figure": figure, "about": about}
    return known | {"mean": mean, "low": low, "high": high, "seeds": 8}


ROWS = [
    row("words", "photo", 0.05, -0.1, 0.2),
    row("words", "photo", 0.9, 0.85, 0.95, "prompt_seen"),
    row("taught", "photo", 0.9, 0.85, 0.95),
    row("taught", "photo", 0.8, 0.7, 0.9, "prompt_seen"),
    row("taught", "anime | big", 0.5, 0.4, 0.6),
    row("taught", "anime | big", 0.7, 0.6, 0.8, "prompt_seen"),
]


def test_a_figure_measured_anew_replaces_the_older_one():
    again = [*ROWS, row("words", "photo", 0.1)]
    assert scoreboard.find_row(again, "likeness", "words", "photo")["mean"] == 0.1


def test_a_row_is_found_by_all_that_is_told_about_it():
    rows = [row("a", "b", 1.0, scale=0.5), row("a", "b", 2.0, scale=1.0)]
    assert scoreboard.find_row(rows, "likeness", "a", "b", scale=0.5)["mean"] == 1.0
    assert scoreboard.find_row(rows, "likeness", "a", "b", scale=0.7) is None
    assert scoreboard.find_row(rows, "likeness", "a")["mean"] == 2.0


def test_the_table_has_every_method_and_style_and_a_dash_for_what_was_not_drawn():
    lines = scoreboard.score_table(ROWS, "likeness").splitlines()
    assert lines == [
        r"| method | photo | anime \| big |",
        "| --- | --- | --- |",
        "| words | 0.05 (-0.10 to 0.20) | – |",
        "| taught | 0.90 (0.85 to 0.95) | 0.50 (0.40 to 0.60) |",
    ]


def test_a_method_in_whose_portraits_no_face_was_found_has_no_likeness():
    assert scoreboard.in_words(row("edges", "sketch", None)) == "no face"


def test_a_figure_that_nobody_measured_is_refused_with_those_that_were():
    with pytest.raises(UsageError, match="got 'beauty', expected .* likeness, prompt_seen"):
        scoreboard.score_table(ROWS, "beauty")


def test_the_frontier_goes_through_what_nothing_surpasses():
    figure = scoreboard.show_frontier(ROWS)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["photo", "photo"]  # anime has less of both than the taught photo
    labels = [each.get_text() for each in figure.axes[0].get_legend().get_texts()]
    assert labels == ["words", "taught"]


def test_no_frontier_is_drawn_of_one_figure_alone():
    with pytest.raises(UsageError, match="got none with both 'prompt_seen' and 'likeness'"):
        scoreboard.show_frontier([ROWS[0]])


def test_groups_have_a_panel_a_figure_a_dot_a_value_and_a_line_at_the_mean():
    figure = scoreboard.show_groups(
        {"likeness": {"none": [0.8, 0.9], "some": [0.6]}, "drift": {"none": [-0.1]}}
    )
    first = figure.axes[0]
    assert [each.get_text() for each in first.get_yticklabels()] == ["none", "some"]
    dots, mean, *_ = first.lines
    assert list(dots.get_xdata()) == [0.8, 0.9]
    assert mean.get_xdata() == pytest.approx([0.85, 0.85])
    assert first.get_xlim()[0] == 0


def test_groups_without_a_value_are_refused():
    with pytest.raises(UsageError, match="without any value"):
        scoreboard.show_groups({"likeness": {"none": []}})


# --- what a kept portrait costs ------------------------------------------------------------------


def measured(*pairs):
    """A measurement of portraits with these likenesses and shares of words seen."""
    rows = [{"likeness": likeness, "prompt_seen": seen} for likeness, seen in pairs]
    return Measurement(tuple(rows))


def test_a_portrait_is_kept_for_its_face_and_its_words():
    portraits = measured((0.9, 1.0), (0.4, 1.0), (0.9, 0.5), (None, 1.0))
    kept = scoreboard.kept_portraits(
        [portraits], seconds_each=2.0, device="Tesla T4", training_s=600.0, pictures=100
    )
    assert kept.share == 0.25
    assert kept.seconds == pytest.approx((2.0 + 6.0) / 0.25)
    assert kept.dollars == pytest.approx(32.0 / 3600 * 0.119)
    assert str(kept) == "25% kept, 32.0 s each, $0.0011"


def test_where_none_is_kept_none_has_a_price():
    kept = scoreboard.kept_portraits([measured((0.1, 1.0))], seconds_each=1.0, device="cpu")
    assert (kept.share, kept.seconds, kept.dollars) == (0.0, None, None)
    assert str(kept) == "none kept"


# --- the ledger ----------------------------------------------------------------------------------


def side(name):
    return Side(name, "photo")


@pytest.mark.parametrize(
    ("rule", "interval", "than", "word"),
    [
        ("below", (0.0, 0.2), 0.5, CONFIRMED),
        ("below", (0.6, 0.8), 0.5, REFUTED),
        ("below", (0.4, 0.6), 0.5, DEPENDS),
        ("above", (0.6, 0.8), 0.5, CONFIRMED),
        ("above", (0.0, 0.2), 0.5, REFUTED),
        ("more", (0.6, 0.8), (0.1, 0.5), CONFIRMED),
        ("more", (0.1, 0.5), (0.6, 0.8), REFUTED),
        ("more", (0.1, 0.7), (0.6, 0.8), DEPENDS),
        ("more", (0.0, 0.0), (0.0, 0.0), REFUTED),
        ("no more", (0.1, 0.7), (0.6, 0.8), CONFIRMED),
        ("no more", (0.6, 0.9), (0.6, 0.8), DEPENDS),
        ("no more", (0.9, 1.0), (0.6, 0.8), REFUTED),
    ],
)
def test_a_claim_is_decided_only_where_the_intervals_are_apart(rule, interval, than, word):
    rows = [row("it", "photo", sum(interval) / 2, *interval)]
    limit = than
    if isinstance(than, tuple):
        rows.append(row("other", "photo", sum(than) / 2, *than))
        limit = side("other")
    assert ledger.judge(Claim("so it is", side("it"), rule, limit), rows).word == word


def test_a_figure_without_an_interval_counts_as_it_is():
    verdict = ledger.judge(Claim("cheap", side("it"), "below", 3.46), [row("it", "photo", 3.0)])
    assert (verdict.word, verdict.figures) == (CONFIRMED, "likeness 3.00, limit 3.46")


@pytest.mark.parametrize("rows", [[], [row("it", "photo", None)], [row("it", "photo", 0.5)]])
def test_what_was_not_measured_is_said_to_be_so(rows):
    claim = Claim("better", side("it"), "more", side("other"))
    assert ledger.judge(claim, rows).word == UNKNOWN


def test_the_ledger_has_a_line_a_claim_and_a_column_a_model():
    rows = [row(ledger.ZERO_SHOT, ledger.PHOTO, 0.05, -0.1, 0.2)]
    lines = ledger.ledger_table({"mini": rows, "sdxl": []}).splitlines()
    assert len(lines) == 2 + len(ledger.CLAIMS)
    assert lines[0].count("verdict") == 2
    assert lines[2].startswith("| words alone do not give me | **confirmed** | likeness 0.05 ")
    assert lines[2].endswith("| 8 | not measured | – | – |")
