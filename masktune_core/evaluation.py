"""How good a model is: overall, per class and per group, with the numbers behind every number.

A group is (label, attribute). Averages weight samples, never batches. A group or class without samples has accuracy
None and count 0; it takes part in no minimum, and makes the group-adjusted average undefined where it has weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

CALIBRATION_BINS = 15
_Z95 = 1.959963984540054  # two-sided 95 % point of the normal distribution


@dataclass(frozen=True, slots=True)
class GroupAccuracy:
    """Accuracy of a group or a class, with its 95 % Wilson interval; None throughout for no samples."""

    name: str
    accuracy: float | None
    count: int
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class SplitEvaluation:
    """One model on one split.

    `group_adjusted_accuracy` weights the groups as they occur in training (Sagawa et al. 2020). `ece` is the expected
    calibration error of the predicted class over 15 equal bins (Guo et al. 2017, eq. 3). `confusion[i][j]` counts the
    samples of class i predicted as j. Group fields are None or empty where the data set has no groups.
    """

    accuracy: float
    count: int
    worst_group_accuracy: float | None
    worst_group: str | None
    group_adjusted_accuracy: float | None
    worst_class_accuracy: float | None
    ece: float
    groups: tuple[GroupAccuracy, ...]
    classes: tuple[GroupAccuracy, ...]
    confusion: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One model on every split, in the data set's order of splits."""

    splits: Mapping[str, SplitEvaluation]


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a model says about N images: class int64 (N,), and the softmax probability of it, float64 (N,)."""

    predicted: Ints
    confidence: Floats


def wilson_interval(correct: int, count: int) -> tuple[float, float]:
    """95 % score interval of a proportion (Wilson 1927).

    >>> low, high = wilson_interval(90, 100)
    >>> round(low, 4), round(high, 4)
    (0.8256, 0.9448)
    """
    if count <= 0:
        raise ValueError("an interval needs at least one sample")
    share, z2 = correct / count, _Z95**2
    center = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z95 / (1 + z2 / count) * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    return max(0.0, center - half), min(1.0, center + half)


def calibration_error(confidence: Floats, correct: npt.NDArray[np.bool_], bins: int = CALIBRATION_BINS) -> float:
    """Expected calibration error: |accuracy - confidence| of each equal-width bin, weighted by its share of samples."""
    bin_of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)  # bins are (low, high]
    gap = np.bincount(bin_of, weights=correct, minlength=bins) - np.bincount(bin_of, weights=confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def training_group_weights(groups: Ints, number: int) -> Floats | None:
    """Share of each of `number` groups among the training samples whose group is known; None without any."""
    known = groups[groups >= 0]
    if not number or not len(known):
        return None
    weights: Floats = np.bincount(known, minlength=number) / len(known)
    return weights


def evaluate_predictions(
    predictions: Predictions,
    label: Ints,
    group: Ints,
    *,
    classes: Sequence[str],
    group_names: Sequence[str] = (),
    group_weights: Floats | None = None,
) -> SplitEvaluation:
    """Score N predictions. `group` is (N,), -1 where unknown; such samples count in everything but the group figures.

    Raises `ValueError` for no samples.
    """
    if not len(label):
        raise ValueError("a split without samples cannot be evaluated")
    correct = predictions.predicted == label
    by_class = _accuracies(correct, label, classes)
    by_group = _accuracies(correct, group, group_names)
    present = [entry for entry in by_group if entry.accuracy is not None]
    worst = min(present, key=lambda entry: entry.accuracy or 0.0, default=None)
    confusion = np.bincount(label * len(classes) + predictions.predicted, minlength=len(classes) ** 2)
    return SplitEvaluation(
        accuracy=float(correct.mean()),
        count=len(label),
        worst_group_accuracy=worst.accuracy if worst else None,
        worst_group=worst.name if worst else None,
        group_adjusted_accuracy=_adjusted(by_group, group_weights),
        worst_class_accuracy=min((entry.accuracy for entry in by_class if entry.accuracy is not None), default=None),
        ece=calibration_error(predictions.confidence, correct),
        groups=by_group,
        classes=by_class,
        confusion=tuple(tuple(row) for row in confusion.reshape(len(classes), len(classes)).tolist()),
    )


def _accuracies(correct: npt.NDArray[np.bool_], member: Ints, names: Sequence[str]) -> tuple[GroupAccuracy, ...]:
    known = member >= 0
    counts = np.bincount(member[known], minlength=len(names)).tolist()
    hits = np.bincount(member[known], weights=correct[known], minlength=len(names)).tolist()
    rows = []
    for name, count, hit in zip(names, counts, hits, strict=True):
        low, high = wilson_interval(int(hit), count) if count else (None, None)
        rows.append(GroupAccuracy(name, hit / count if count else None, count, low, high))
    return tuple(rows)


def _adjusted(groups: tuple[GroupAccuracy, ...], weights: Floats | None) -> float | None:
    if not groups or weights is None:
        return None
    total = 0.0
    for entry, weight in zip(groups, weights.tolist(), strict=True):
        if not weight:
            continue
        if entry.accuracy is None:
            return None
        total += weight * entry.accuracy
    return total


def as_dict(evaluation: Evaluation) -> dict[str, Any]:
    """For JSON: {split: {accuracy, count, …, groups: [{name, accuracy, count, low, high}], …}}."""
    return {name: asdict(split) for name, split in evaluation.splits.items()}
