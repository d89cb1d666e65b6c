"""Axes at round numbers, and charts that say what they show."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from api.web.charts.axes import axis, label
from api.web.charts.intervals import Interval, interval_chart
from api.web.charts.lines import Band, Series, line_chart

numbers = st.floats(-1e6, 1e6, allow_nan=False).map(lambda value: round(value, 6))


@given(numbers, numbers)
def test_an_axis_holds_both_ends_and_has_few_ticks(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    found = axis(low, high)
    hair = 1e-6 * (high - low + 1)
    assert found.low <= low + hair
    assert found.high >= high - hair
    assert 2 <= len(found.ticks) <= 12
    assert found.place(found.low) == 0.0
    assert found.place(found.high) == 1.0


def test_epochs_have_whole_ticks() -> None:
    assert axis(1, 4, most=8, whole=True).ticks == (1, 2, 3, 4)
    assert all(tick == int(tick) for tick in axis(1, 100, most=8, whole=True).ticks)


def test_a_label_is_as_short_as_the_number() -> None:
    assert [label(value) for value in (0.1 + 0.2, -2.0, 1000000.0)] == ["0.3", "−2", "1e+06"]


def test_a_chart_is_well_formed_and_told_to_those_who_do_not_see_it() -> None:
    series = [Series("training <b>", "train", [(1, 0.9), (2, 0.5)]), Series("validation", "val", [])]
    chart = line_chart(series, title="Loss & co", x_label="epoch", bands=[Band(1.5, 2, "finetuning")], dots=True)
    root = ElementTree.fromstring(chart)
    assert root.get("role") == "img"
    assert root.get("aria-label") == "Loss & co: training <b> ends at 0.5"
    assert len(root.findall("circle")) == 2
    assert len(root.findall("path")) == 1


def test_a_chart_without_points_says_so() -> None:
    assert "nothing to draw yet" in line_chart([Series("a", "train", [])], title="Loss", x_label="epoch")


def test_an_interval_chart_is_hidden_from_readers_and_leaves_out_what_is_not_known() -> None:
    chart = interval_chart(Interval(0.5, 0.4, 0.6), None)
    root = ElementTree.fromstring(chart)
    assert root.get("aria-hidden") == "true"
    assert len(root.findall("circle")) == 1
