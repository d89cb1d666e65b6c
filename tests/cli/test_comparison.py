"""The before/after comparison."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from cli.comparison import Scores, comparison_table, differences, from_metrics


def row(iteration: int, split: str, group: str | None, name: str, value: float | None, count: int) -> dict[str, Any]:
    fields = {"iteration": iteration, "split": split, "group": group, "name": name, "value": value, "count": count}
    return {"stage": "evaluating", "epoch": 0, **fields}


ROWS = [
    row(0, "test:biased", None, "accuracy", 0.5, 100),
    row(0, "test:biased", None, "worst_group_accuracy", 0.2, 100),
    row(0, "test:biased", "a · cue=no", "accuracy", 0.2, 60),
    row(0, "test:biased", "a · cue=yes", "accuracy", None, 0),
    row(0, "test:biased", "a · cue=no", "accuracy_low", 0.1, 60),
    row(1, "test:biased", None, "accuracy", 0.8, 100),
    row(2, "test:biased", None, "accuracy", 0.97, 100),
    row(2, "test:biased", None, "worst_group_accuracy", 0.95, 100),
    row(2, "test:biased", "a · cue=no", "accuracy", 0.95, 60),
    row(2, "test:biased", "a · cue=yes", "accuracy", None, 0),
    row(0, "train", None, "accuracy", 0.99, 500),
    row(2, "train", None, "accuracy", 0.98, 500),
    {**row(0, "train", None, "accuracy", 0.3, 500), "stage": "training_erm", "epoch": 1},
]


def printed(scores_of: list[dict[str, Any]]) -> str:
    screen = io.StringIO()
    Console(file=screen, width=120).print(comparison_table(from_metrics(scores_of)))
    return screen.getvalue()


def test_before_is_the_erm_model_and_after_the_last_round() -> None:
    found = from_metrics(ROWS)
    assert (found.before["test:biased"].accuracy.value, found.after["test:biased"].accuracy.value) == (0.5, 0.97)


def test_the_json_has_the_test_splits_by_their_short_names() -> None:
    assert from_metrics(ROWS).as_json() == {
        "erm": {"biased": {"accuracy": 0.5, "worst_group": 0.2}},
        "masktune": {"biased": {"accuracy": 0.97, "worst_group": 0.95}},
    }


def test_the_table_shows_counts_and_the_change_and_says_that_empty_groups_are_left_out() -> None:
    lines = {line.split("│")[2].strip(): line for line in printed(ROWS).splitlines() if line.count("│") == 7}
    assert "100" in lines["all"]
    assert "50.0 %" in lines["all"]
    assert "97.0 %" in lines["all"]
    assert "+47.0" in lines["all"]
    assert "+75.0" in lines["worst group"]
    assert "a · cue=no" in lines
    assert "a · cue=yes" not in lines
    assert "without images" in printed(ROWS)
    assert "train" not in printed(ROWS)


def scores(accuracy: float) -> Scores:
    return from_metrics([row(0, "test", None, "accuracy", accuracy, 10)]).before


def test_equal_scores_have_no_differences() -> None:
    assert differences(scores(0.5), scores(0.5)) == []


def test_a_difference_names_split_and_both_numbers() -> None:
    (found,) = differences(scores(0.5), scores(0.6))
    assert (found.split, found.name) == ("test", "accuracy")
    assert abs(found.size - 0.1) < 1e-12
    assert str(found) == "test, accuracy: reported 0.5, here 0.6"


def test_a_split_that_was_not_measured_is_a_difference() -> None:
    assert [found.size for found in differences(scores(0.5), {})] == [float("inf")]
