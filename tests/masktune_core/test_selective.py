"""The reject option, against the definitions computed directly, sample by sample."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masktune_core.selective import apply_threshold, combine, risk_coverage, select_threshold

# few distinct confidences, so that ties are common
samples = st.lists(st.tuples(st.integers(0, 6).map(lambda n: n / 6), st.booleans()), min_size=1, max_size=40)


def direct(confidence: list[float], correct: list[bool], threshold: float) -> tuple[float, float]:
    """Coverage and risk of accepting confidence >= threshold, by counting."""
    accepted = [right for score, right in zip(confidence, correct, strict=True) if score >= threshold]
    return len(accepted) / len(confidence), sum(not right for right in accepted) / len(accepted)


@given(samples)
def test_the_curve_is_what_counting_gives_at_every_threshold(rows: list[tuple[float, bool]]) -> None:
    confidence, correct = [row[0] for row in rows], [row[1] for row in rows]
    curve = risk_coverage(confidence, correct)
    assert curve.threshold.tolist() == sorted(set(confidence), reverse=True)
    for threshold, coverage, risk in zip(curve.threshold, curve.coverage, curve.risk, strict=True):
        assert (coverage, risk) == pytest.approx(direct(confidence, correct, threshold))


@given(samples)
def test_the_area_is_the_mean_risk_at_each_samples_own_confidence(rows: list[tuple[float, bool]]) -> None:
    confidence, correct = [row[0] for row in rows], [row[1] for row in rows]
    risks = [direct(confidence, correct, threshold)[1] for threshold in confidence]  # O(n²)
    assert risk_coverage(confidence, correct).aurc == pytest.approx(sum(risks) / len(risks))


@given(samples, st.randoms(use_true_random=False))
def test_the_order_of_the_samples_does_not_matter(rows: list[tuple[float, bool]], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis types its Random as object
    curves = [risk_coverage([row[0] for row in some], [row[1] for row in some]) for some in (rows, shuffled)]
    assert curves[0].risk.tolist() == curves[1].risk.tolist()
    assert curves[0].aurc == curves[1].aurc


@given(samples, st.floats(0.01, 1.0))
def test_a_coverage_is_reached_by_the_highest_threshold_that_does(
    rows: list[tuple[float, bool]], target: float
) -> None:
    confidence, correct = [row[0] for row in rows], [row[1] for row in rows]
    chosen = select_threshold(confidence, correct, coverage=target)
    assert direct(confidence, correct, chosen.value) == pytest.approx((chosen.coverage, chosen.risk))
    assert chosen.coverage >= target - 1e-9
    for higher in (score for score in confidence if score > chosen.value):
        assert direct(confidence, correct, higher)[0] < target


@given(samples, st.floats(0.0, 1.0))
def test_a_risk_is_kept_at_the_largest_coverage_that_can(rows: list[tuple[float, bool]], target: float) -> None:
    confidence, correct = [row[0] for row in rows], [row[1] for row in rows]
    chosen = select_threshold(confidence, correct, risk=target)
    keeping = [c for c, r in (direct(confidence, correct, threshold) for threshold in confidence) if r <= target]
    assert chosen.coverage == pytest.approx(max(keeping, default=0.0))
    assert math.isinf(chosen.value) == (not keeping)


def test_a_target_of_95_percent_of_100_samples_accepts_95() -> None:
    confidence = [n / 100 for n in range(100)]
    assert select_threshold(confidence, [True] * 100, coverage=0.95).coverage == 0.95


def test_an_unreachable_risk_accepts_nothing() -> None:
    chosen = select_threshold([0.9, 0.8], [False, False], risk=0.1)
    assert (chosen.value, chosen.coverage, chosen.risk) == (math.inf, 0.0, None)
    accepted = apply_threshold(chosen.value, [0.9, 1.0], [True, True])
    assert (accepted.accepted, accepted.coverage, accepted.risk) == (0, 0.0, None)


def test_the_realised_coverage_is_that_of_the_samples_it_is_applied_to() -> None:
    accepted = apply_threshold(0.5, [0.4, 0.5, 0.6, 0.7], [True, False, True, True])
    assert (accepted.accepted, accepted.count, accepted.coverage) == (3, 4, 0.75)
    assert accepted.risk == pytest.approx(1 / 3)


def test_no_samples_give_an_empty_curve_and_undefined_figures() -> None:
    assert risk_coverage([], []).aurc is None
    assert apply_threshold(0.5, [], []).coverage is None
    with pytest.raises(ValueError, match="no samples"):
        select_threshold([], [], coverage=0.9)


@pytest.mark.parametrize(
    "targets", [{}, {"coverage": 0.5, "risk": 0.5}, {"coverage": 0.0}, {"coverage": 1.1}, {"risk": 2.0}]
)
def test_a_target_must_be_one_and_possible(targets: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"coverage|risk"):
        select_threshold([0.5], [True], **targets)


def test_confidences_must_be_numbers_of_matching_length() -> None:
    with pytest.raises(ValueError, match="one length"):
        risk_coverage([0.5, 0.6], [True])
    with pytest.raises(ValueError, match="not a number"):
        risk_coverage([math.nan], [True])


def test_the_product_is_softmax_of_the_product_of_probabilities() -> None:
    first, second = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[0.6, 0.4], [0.7, 0.3]])
    expected = np.exp(first * second) / np.exp(first * second).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(combine(first, second), expected)
    assert combine(first, second).argmax(axis=1).tolist() == [0, 1]
