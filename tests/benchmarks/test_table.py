"""The benchmark table says plainly what was measured and what was missed."""

from __future__ import annotations

import math
from typing import Any

import pytest

from benchmarks.__main__ import plain
from benchmarks.table import Row, compare, markdown, verdict

FAST = Row("maps", 1200.0, 100.0, 12.0, "images/s", at_least=8.0)
SLOW = Row("epoch", 8.0, 5.0, 0.625, "s", at_least=0.85, note="one core")
HEAVY = Row("memory", 250.0, unit="MiB", at_most=200.0)
RECORD = Row("job", 4.0, unit="s")


def test_a_row_judges_its_ratio_its_limit_or_nothing() -> None:
    assert [row.met for row in (FAST, SLOW, HEAVY, RECORD)] == [True, False, False, None]


def test_a_ratio_on_the_goal_meets_it() -> None:
    assert Row("edge", 1.0, 1.0, 0.85, "s", at_least=0.85).met is True


def test_an_undefined_measurement_meets_no_goal() -> None:
    assert Row("broken", math.nan, unit="s", at_most=3.0).met is False


def test_a_goal_for_a_missing_ratio_is_refused() -> None:
    with pytest.raises(ValueError, match="no ratio"):
        Row("wrong", 1.0, at_least=1.0)


def test_the_verdict_counts_only_rows_with_goals_and_names_the_misses() -> None:
    assert verdict([FAST, SLOW, HEAVY, RECORD]) == "1 of 3 goals met; missed: epoch, memory"
    assert verdict([FAST]) == "1 of 1 goals met"


def test_the_markdown_table_has_a_line_a_row_and_marks_misses() -> None:
    lines = markdown([FAST, SLOW, RECORD]).splitlines()
    assert len(lines) == 5
    assert len({len(line) for line in lines}) == 1
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == [
        "maps", "1,200 images/s", "100 images/s", "12×", "≥ 8×", "yes", "",
    ]  # fmt: skip
    assert "**no**" in lines[3]


def test_a_bar_in_a_note_does_not_break_the_table() -> None:
    assert "a\\|b" in markdown([Row("x", 1.0, note="a|b")])


def test_the_plain_form_says_missed_aloud() -> None:
    assert plain([SLOW]) == "epoch: 8 s against 5 s, 0.625× (goal ≥ 0.85×: MISSED)\n    one core"


def test_compare_alternates_and_takes_the_median_of_pairwise_ratios() -> None:
    calls: list[str] = []
    now = 0.0
    durations = {"a": iter([9.0, 1.0, 2.0, 100.0]), "b": iter([9.0, 3.0, 4.0, 100.0])}

    def step(name: str) -> None:
        nonlocal now
        calls.append(name)
        now += next(durations[name])

    result = compare(lambda: step("a"), lambda: step("b"), rounds=3, warmup=1, clock=lambda: now)
    assert "".join(calls) == "abababab"
    assert result.measured_seconds == 2.0
    assert result.baseline_seconds == 4.0
    assert result.speedup == 2.0  # the median of 3/1, 4/2 and 100/100


def test_of_several_calls_in_a_row_the_last_is_timed() -> None:
    now = 0.0
    durations = {"a": iter([9.0, 1.0, 9.0, 1.0]), "b": iter([9.0, 2.0, 9.0, 2.0])}

    def step(name: str) -> None:
        nonlocal now
        now += next(durations[name])

    result = compare(lambda: step("a"), lambda: step("b"), rounds=2, warmup=0, in_a_row=2, clock=lambda: now)
    assert (result.measured_seconds, result.baseline_seconds) == (1.0, 2.0)


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"in_a_row": 0}])
def test_compare_needs_a_round_of_calls(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        compare(lambda: None, lambda: None, **wrong)
