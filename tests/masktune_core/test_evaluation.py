"""Figures against hand counts and direct formulas."""

from __future__ import annotations

import itertools
import json
import math
import random
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torchmetrics.functional.classification import binary_calibration_error

from api.web.results.reading import LARGEST
from masktune_core.config import MOST_CLASSES
from masktune_core.evaluation import (
    MOST_DENSE,
    MOST_MISTAKES,
    Evaluation,
    Predictions,
    SplitEvaluation,
    as_dict,
    calibration_error,
    evaluate_predictions,
    read_off,
    training_group_weights,
    wilson_interval,
)
from masktune_core.probabilities import probabilities

CLASSES = ("cat", "dog")
GROUPS = ("cat · sofa", "cat · lawn", "dog · sofa", "dog · lawn")


def score(
    predicted: list[int], label: list[int], group: list[int], weights: list[float] | None = None
) -> SplitEvaluation:
    predictions = Predictions(np.array(predicted, dtype=np.int64), np.full(len(predicted), 0.75))
    return evaluate_predictions(
        predictions,
        np.array(label, dtype=np.int64),
        np.array(group, dtype=np.int64),
        classes=CLASSES,
        group_names=GROUPS,
        group_weights=None if weights is None else np.array(weights),
    )


def test_accuracies_are_counted_over_samples() -> None:
    found = score([0, 0, 1, 1, 0], [0, 0, 0, 1, 1], [0, 0, 1, 2, 2])
    assert (found.accuracy, found.count) == (0.6, 5)
    assert [(group.accuracy, group.count) for group in found.groups] == [(1.0, 2), (0.0, 1), (0.5, 2), (None, 0)]
    assert [(entry.name, entry.accuracy, entry.count) for entry in found.classes] == [
        ("cat", 2 / 3, 3),
        ("dog", 0.5, 2),
    ]
    assert (found.worst_group, found.worst_group_accuracy) == ("cat · lawn", 0.0)
    assert found.worst_class_accuracy == 0.5
    assert found.confusion == ((2, 1), (1, 1))


def test_an_empty_group_is_null_with_count_0_and_never_the_worst() -> None:
    found = score([0, 0], [0, 0], [0, 0])
    empty = found.groups[3]
    assert (empty.accuracy, empty.count, empty.low, empty.high) == (None, 0, None, None)
    assert (found.worst_group, found.worst_group_accuracy) == ("cat · sofa", 1.0)
    assert found.worst_class_accuracy == 1.0


def test_the_adjusted_average_weights_groups_as_in_training() -> None:
    found = score([0, 1, 1, 0], [0, 0, 1, 1], [0, 1, 2, 3], [0.5, 0.3, 0.2, 0.0])
    assert found.group_adjusted_accuracy == pytest.approx(0.5 * 1 + 0.3 * 0 + 0.2 * 1)


def test_the_adjusted_average_is_undefined_if_a_training_group_is_missing() -> None:
    assert score([0], [0], [0], [0.5, 0.5, 0.0, 0.0]).group_adjusted_accuracy is None
    assert score([0], [0], [0], [1.0, 0.0, 0.0, 0.0]).group_adjusted_accuracy == 1.0


def test_samples_of_unknown_group_count_in_the_whole_only() -> None:
    found = score([0, 1], [0, 0], [0, -1])
    assert found.accuracy == 0.5
    assert [group.count for group in found.groups] == [1, 0, 0, 0]


def test_without_groups_the_group_figures_are_absent() -> None:
    predictions = Predictions(np.array([0]), np.array([0.9]))
    found = evaluate_predictions(predictions, np.array([0]), np.array([-1]), classes=CLASSES)
    assert (found.groups, found.worst_group, found.worst_group_accuracy, found.group_adjusted_accuracy) == (
        (),
        None,
        None,
        None,
    )


def test_a_split_without_samples_cannot_be_evaluated() -> None:
    with pytest.raises(ValueError, match="without samples"):
        score([], [], [])


def test_group_weights_are_shares_of_known_groups() -> None:
    weights = training_group_weights(np.array([0, 0, 2, -1]), 4)
    assert weights is not None
    assert weights.tolist() == [2 / 3, 0.0, 1 / 3, 0.0]
    assert training_group_weights(np.array([-1, -1]), 4) is None
    assert training_group_weights(np.array([], dtype=np.int64), 0) is None


@given(st.integers(1, 500), st.data())
def test_wilson_bounds_solve_the_score_equation(count: int, data: st.DataObject) -> None:
    correct = data.draw(st.integers(0, count))
    low, high = wilson_interval(correct, count)
    assert 0.0 <= low <= correct / count <= high <= 1.0
    z = 1.959963984540054
    for bound, clipped in ((low, correct == 0), (high, correct == count)):
        if not clipped:
            assert abs(correct / count - bound) == pytest.approx(
                z * math.sqrt(bound * (1 - bound) / count), rel=1e-6, abs=1e-9
            )


def test_wilson_of_81_in_263_is_the_published_interval() -> None:
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe 1998, table I


def test_no_interval_without_samples() -> None:
    with pytest.raises(ValueError, match="at least one"):
        wilson_interval(0, 0)


@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans()), min_size=1, max_size=60))
def test_calibration_error_is_its_definition(rows: list[tuple[float, bool]]) -> None:
    total, edges = 0.0, np.linspace(0.0, 1.0, 16).tolist()
    for number, (low, high) in enumerate(itertools.pairwise(edges)):
        members = [(c, right) for c, right in rows if low < c <= high or (number == 0 and c == 0.0)]
        if members:
            accuracy = sum(right for _, right in members) / len(members)
            confidence = sum(c for c, _ in members) / len(members)
            total += len(members) / len(rows) * abs(accuracy - confidence)
    found = calibration_error(np.array([c for c, _ in rows]), np.array([right for _, right in rows]))
    assert found == pytest.approx(total, abs=1e-9)


@given(st.lists(st.tuples(st.floats(0.0, 1.0), st.booleans()), min_size=1, max_size=60), st.integers(2, 20))
def test_calibration_error_is_torchmetrics(rows: list[tuple[float, bool]], bins: int) -> None:
    """It puts a confidence of 1.0 in a bin of its own (its issue 3510), and one on an edge in the upper bin."""
    confidence = np.array([min(c, 1.0 - 1e-9) for c, _ in rows])
    edges = np.linspace(0.0, 1.0, bins + 1)
    assume(np.abs(confidence[:, None] - edges[None, 1:-1]).min(initial=1.0) > 1e-9)
    correct = np.array([right for _, right in rows])
    theirs = binary_calibration_error(torch.from_numpy(confidence), torch.from_numpy(correct).long(), n_bins=bins)
    assert calibration_error(confidence, correct, bins) == pytest.approx(float(theirs), abs=1e-9)


def test_certain_answers_share_the_last_bin_with_nearly_certain_ones() -> None:
    # one bin: |1/2 - (0.95 + 1.0) / 2|; in two bins it would be (|1 - 0.95| + |0 - 1|) / 2
    assert calibration_error(np.array([0.95, 1.0]), np.array([True, False]), 10) == pytest.approx(0.475)


def test_a_calibrated_model_has_no_calibration_error() -> None:
    rng = random.Random(0)
    confidence = np.full(4000, 0.9)
    correct = np.array([rng.random() < 0.9 for _ in range(4000)])
    assert calibration_error(confidence, correct) < 0.02
    assert calibration_error(np.ones(10), np.zeros(10, dtype=np.bool_)) == 1.0


def test_probabilities_tell_apart_what_float32_would_not() -> None:
    found = read_off(probabilities(torch.tensor([[40.0, 0.0], [41.0, 0.0], [1.0, 1.0]])))
    assert found.predicted.tolist() == [0, 0, 0]
    assert found.confidence[2] == 0.5
    assert 1 - 1e-15 < found.confidence[0] <= found.confidence[1]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
def test_many_classes_have_their_mistakes_listed_in_place_of_a_matrix(answers: list[tuple[int, int]]) -> None:
    label, predicted = (np.array(column, dtype=np.int64) for column in zip(*answers, strict=True))
    few, many = (
        evaluate_predictions(Predictions(predicted, np.full(len(label), 0.5)), label, -label - 1, classes=names)
        for names in ([str(number) for number in range(size)] for size in (5, MOST_DENSE + 1))
    )
    assert few.confusion is not None
    assert (few.mistakes, many.confusion) == ((), None)
    cells = {(i, j): count for i, row in enumerate(few.confusion) for j, count in enumerate(row) if count and i != j}
    assert {(i, j): count for i, j, count in many.mistakes} == cells
    counts = [count for _, _, count in many.mistakes]
    assert counts == sorted(counts, reverse=True)


def test_a_validation_between_epochs_counts_no_confusion() -> None:
    predictions = Predictions(np.array([0, 1]), np.array([0.9, 0.9]))
    for classes in (CLASSES, [str(number) for number in range(MOST_DENSE + 1)]):
        found = evaluate_predictions(
            predictions, np.array([0, 0]), np.array([-1, -1]), classes=classes, confusion=False
        )
        assert (found.accuracy, found.confusion, found.mistakes) == (0.5, None, ())


def test_the_largest_number_of_classes_takes_memory_of_its_order_and_fits_a_page() -> None:
    """10,000 classes, 10,000 groups, and 60,000 images, each of them another mistake: the most that there can be."""
    images = 60_000
    label, predicted = np.arange(images) % MOST_CLASSES, np.arange(images) * 7 // 6 % MOST_CLASSES
    predicted = np.where(predicted == label, (predicted + 1) % MOST_CLASSES, predicted)
    names = [f"{number:080}" for number in range(MOST_CLASSES)]  # as long as intake takes them
    tracemalloc.start()
    found = evaluate_predictions(
        Predictions(predicted, np.full(images, 0.5)), label, label, classes=names, group_names=names
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.confusion is None
    assert len(found.mistakes) == MOST_MISTAKES
    assert peak < 40 * 2**20  # the matrix alone would be 800 MB, and its tuples twice that
    written = len(json.dumps(as_dict(Evaluation({"test": found}))))
    assert 2 * 4 * written < LARGEST  # both models on train, val and two test sets
