"""The reject option: answer where the confidence passes a threshold, abstain elsewhere (paper, section 3.2).

The confidence of MaskTune is the largest entry of softmax(p1 · p2), where p1 and p2 are the class probabilities of the
ERM and the finetuned model. The softmax response of either model is the common baseline (Geifman & El-Yaniv 2017).
Confidences that are equal are accepted or rejected together, so no result depends on the order of the samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """One point per distinct confidence, from the strictest threshold to accepting all.

    `coverage[i]` is the fraction of samples with confidence >= `threshold[i]`, `risk[i]` the error rate among them.
    `aurc` is the mean, over the samples, of the risk at their own confidence; None for no samples.
    """

    threshold: Floats
    coverage: Floats
    risk: Floats
    aurc: float | None


@dataclass(frozen=True, slots=True)
class Threshold:
    """Accept where confidence >= `value`. `coverage` and `risk` are what it gave on the samples it was chosen on.

    `value` is infinite where no threshold keeps a risk target: nothing is accepted, `coverage` is 0 and `risk` None.
    """

    value: float
    coverage: float
    risk: float | None


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What a threshold does to some samples: `accepted` of `count`; `risk` is None where none was accepted."""

    accepted: int
    count: int
    coverage: float | None
    risk: float | None


def combine(first: Floats, second: Floats) -> Floats:
    """softmax(p1 · p2) of two (B, K) arrays of probabilities: a (B, K) array whose rows sum to 1."""
    product = np.exp(first * second)  # entries lie in [1, e]: no shift is needed against overflow
    combined: Floats = product / product.sum(axis=1, keepdims=True)
    return combined


def risk_coverage(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> RiskCoverage:
    """The risk at every coverage that a threshold can reach. `confidence` and `correct` are (N,), float and bool."""
    scores, hits = _paired(confidence, correct)
    if not len(scores):
        empty = np.empty(0)
        return RiskCoverage(empty, empty, empty, None)
    order = np.argsort(-scores, kind="stable")
    scores, errors = scores[order], np.cumsum(~hits[order])
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # last position of each run of equal scores
    accepted = last + 1
    risk = errors[last] / accepted
    runs = np.diff(accepted, prepend=0)
    return RiskCoverage(scores[last], accepted / len(scores), risk, float((risk * runs).sum() / len(scores)))


def select_threshold(
    confidence: npt.ArrayLike, correct: npt.ArrayLike, *, coverage: float | None = None, risk: float | None = None
) -> Threshold:
    """Choose a threshold on a validation split, for a target `coverage` or a `risk` not to exceed: give one of them.

    For a coverage: the highest threshold that accepts at least that fraction. For a risk: the threshold of the largest
    coverage at which the error rate among the accepted is no more than that.

    Raises `ValueError` for no samples, or unless exactly one target in (0, 1] (risk: [0, 1]) is given.

    >>> select_threshold([0.9, 0.8, 0.6, 0.5], [True, True, False, True], coverage=0.5)
    Threshold(value=0.8, coverage=0.5, risk=0.0)
    >>> select_threshold([0.9, 0.8, 0.6, 0.5], [True, True, False, True], risk=0.25).coverage
    1.0
    """
    if (coverage is None) == (risk is None):
        raise ValueError("give either a coverage or a risk")
    curve = risk_coverage(confidence, correct)
    if not len(curve.threshold):
        raise ValueError("a threshold cannot be chosen on no samples")
    if coverage is not None:
        if not 0.0 < coverage <= 1.0:
            raise ValueError(f"coverage must be in (0, 1], got {coverage}")
        reached = np.flatnonzero(curve.coverage >= coverage - 1e-12)  # 0.95 * 100 samples is 95, not 95.00000000000001
        chosen = int(reached[0])
    else:
        assert risk is not None
        if not 0.0 <= risk <= 1.0:
            raise ValueError(f"risk must be in [0, 1], got {risk}")
        allowed = np.flatnonzero(curve.risk <= risk)
        if not len(allowed):
            return Threshold(math.inf, 0.0, None)
        chosen = int(allowed[-1])
    return Threshold(float(curve.threshold[chosen]), float(curve.coverage[chosen]), float(curve.risk[chosen]))


def apply_threshold(threshold: float, confidence: npt.ArrayLike, correct: npt.ArrayLike) -> Acceptance:
    """The coverage and risk that a threshold really gives on other samples."""
    scores, hits = _paired(confidence, correct)
    accept = scores >= threshold
    accepted, count = int(accept.sum()), len(scores)
    risk = float((~hits[accept]).sum() / accepted) if accepted else None
    return Acceptance(accepted, count, accepted / count if count else None, risk)


def _paired(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> tuple[Floats, npt.NDArray[np.bool_]]:
    scores, hits = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.bool_)
    if scores.ndim != 1 or scores.shape != hits.shape:
        raise ValueError(f"confidence and correct must be (N,) of one length, got {scores.shape} and {hits.shape}")
    if np.isnan(scores).any():
        raise ValueError("a confidence is not a number")
    return scores, hits
