"""What a result says: figures, intervals, the change in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.web.charts.intervals import Interval
from api.web.compare.view import paired, unshared
from api.web.results.figures import Figure, headline, split_figures, wilson
from api.web.results.rejecting import rejecting
from api.web.results.rounds import rounds
from tests.web.results import GROUPS, part, result, selective, split


def test_the_change_is_told_in_words() -> None:
    told = headline(split_figures(result()))
    assert told is not None
    assert told.split == "test:biased"
    assert told.words == "Worst group from 41 % to 97 %, average −0.4 points"


def test_test_sets_come_first_and_the_rest_in_the_usual_order() -> None:
    assert [each.split for each in split_figures(result())] == ["test", "test:biased", "train", "val"]


def test_an_empty_group_is_named_and_has_no_accuracy() -> None:
    biased = split_figures(result())[1]
    assert biased.empty == (GROUPS[1],)
    assert GROUPS[1] not in {row.name for row in biased.rows}


def test_the_worst_group_may_be_another_one_afterwards() -> None:
    before = split(0.9, [part("a", 0.5, 10), part("b", 0.8, 10)])
    after = split(0.9, [part("a", 0.9, 10), part("b", 0.7, 10)])
    found = split_figures({"erm": {"test": before}, "masktune": {"test": after}})[0]
    worst = found.rows[1]
    assert worst.note == "a, then b"
    assert worst.change == pytest.approx(0.2)


def test_without_groups_the_classes_are_told() -> None:
    found = split_figures({"erm": {"test": split(0.9, [])}, "masktune": {"test": split(0.8, [])}})[0]
    assert [row.name for row in found.rows] == ["all images", "worst class", "0-4", "5-9"]
    assert found.words == "Worst class from 80 % to 70 %, average −10.0 points"


def test_what_did_not_change_is_said_to_be_the_same() -> None:
    same = {"test": split(0.53, [part("a", 0.0, 10), part("b", 1.0, 10)])}
    assert split_figures({"erm": same, "masktune": same})[0].words == "Worst group still 0 %, average unchanged"


def test_splits_that_only_one_of_two_jobs_has_are_named() -> None:
    one, other = (
        split_figures({"erm": splits, "masktune": splits})
        for splits in ({name: split(0.9, []) for name in names} for names in (("test", "train"), ("test:b", "train")))
    )
    assert unshared(one, other) == (["test"], ["test:b"])
    assert [pair.split for pair in paired(one, other)] == ["train"]


def test_nearly_all_is_not_called_all() -> None:
    groups = [part("a", 0.996, 1000)], [part("a", 1.0, 1000)]
    before, after = ({"test": split(0.99, group)} for group in groups)
    assert split_figures({"erm": before, "masktune": after})[0].words.startswith("Worst group from 99.6 % to 100 %")


def test_a_change_is_beyond_chance_only_when_the_intervals_do_not_touch() -> None:
    near, far = Interval(0.5, 0.4, 0.6), Interval(0.9, 0.8, 1.0)
    assert Figure("g", "part", 10, near, far).beyond_chance
    assert Figure("g", "part", 10, far, near).beyond_chance
    assert not Figure("g", "part", 10, near, Interval(0.65, 0.6, 0.7)).beyond_chance
    assert not Figure("g", "part", 0, None, far).beyond_chance


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_the_interval_holds_the_accuracy_and_stays_a_fraction(count: int, share: float) -> None:
    accuracy = round(share * count) / count
    interval = wilson(accuracy, count)
    assert 0.0 <= interval.low <= accuracy + 1e-12
    assert accuracy - 1e-12 <= interval.high <= 1.0


def test_the_interval_is_the_textbooks() -> None:
    # Wilson's interval for 8 of 10 at 95 %, as in Brown, Cai & DasGupta 2001.
    interval = wilson(0.8, 10)
    assert [interval.low, interval.high] == pytest.approx([0.4902, 0.9433], abs=1e-4)


def test_the_reject_option_has_a_chart_for_every_split_and_a_line_for_every_score() -> None:
    found = rejecting(result(), "MaskTune")
    assert found is not None
    assert [curve.split for curve in found.curves] == ["test", "test:biased", "val"]
    assert all(curve.chart.count('class="line ') == 3 for curve in found.curves)
    assert {target.target for curve in found.curves for target in curve.targets} == {"coverage 95 %"}
    assert rejecting({"selective": {}}, "MaskTune") is None
    only = rejecting({"selective": selective(("erm",))}, "MaskTune")
    assert only is not None
    assert only.curves[0].chart.count('class="line ') == 1
    assert only.scores == {"erm": "ERM alone"}


def test_several_rounds_are_told_one_by_one() -> None:
    assert rounds(result()) is None
    found = result() | {"earlier_rounds": [result(worst_after=0.8)["masktune"]], "masked_fraction": [0.03, 0.05]}
    told = rounds(found)
    assert told is not None
    assert (told.splits, told.worst) == (["test", "test:biased"], "group")
    assert [(row.number, row.masked) for row in told.rows] == [(0, None), (1, 0.03), (2, 0.05)]
    assert [row.accuracies[1].worst for row in told.rows] == [0.41, 0.8, 0.97]
    assert [row.accuracies[1].all for row in told.rows] == [0.974, 0.97, 0.97]


def test_the_background_gap_stands_where_backgrounds_mislead() -> None:
    splits = {"test:mixed_same": split(0.9, []), "test:mixed_rand": split(0.7, [])}
    found = {
        each.split: each for each in split_figures({"erm": splits, "masktune": splits, "bg_gap": [0.2, 0.1, 0.05]})
    }
    gap = found["test:mixed_rand"].others[-1]
    assert (gap.name, gap.before, gap.after, gap.smaller_is_better) == ("BG-gap", 0.2, 0.05, True)
    assert "BG-gap" not in {other.name for other in found["test:mixed_same"].others}
