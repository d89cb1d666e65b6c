"""How good a model is: overall, per class and per group, with the numbers behind every number.

A group is (label, attribute). Averages weight samples, never batches. A group or class without samples has accuracy
None and count 0; it takes part in no minimum, and makes the group-adjusted average undefined where it has weight.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from masktune_core.data.dataset import Dataset
from masktune_core.data.loader import Loader
from masktune_core.precision import full_precision
from masktune_core.probabilities import class_probabilities
from masktune_core.training import gpu_memory

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

CALIBRATION_BINS = 15
MOST_DENSE = 100
"""Classes up to which a confusion matrix is kept whole; beyond, it is a list of mistakes."""
MOST_MISTAKES = 50_000
"""Kinds of mistakes that such a list has at most: one for every image of ImageNet's validation split."""
MOST_LISTED_GROUPS = 1_000
"""Groups up to which metrics and the reject option have rows for each; a result has the accuracy of all."""
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
    calibration error of the predicted class over 15 equal bins (Guo et al. 2017, eq. 3). Group fields are None or empty
    where the data set has no groups.

    `confusion[i][j]` counts the samples of class i predicted as j; it is None for more than `MOST_DENSE` classes. These
    have `mistakes` in its place: (class, predicted class, samples), the most frequent first, at most `MOST_MISTAKES`.
    So the memory for K classes is that of K rows, not of K² cells. A validation between epochs has neither.
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
    confusion: tuple[tuple[int, ...], ...] | None
    mistakes: tuple[tuple[int, int, int], ...]


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
    return max(0.0, min(share, center - half)), min(1.0, max(share, center + half))  # rounding must not cross the share


def calibration_error(confidence: Floats, correct: npt.NDArray[np.bool_], bins: int = CALIBRATION_BINS) -> float:
    """Expected calibration error: |accuracy - confidence| of each equal-width bin, weighted by its share of samples.

    Accuracy and mean confidence of the bins are scikit-learn's `calibration_curve`. `confidence` (N,) in [0, 1].
    """
    from sklearn.calibration import calibration_curve  # here, for it takes as long to load as torch

    accuracy, mean = calibration_curve(correct, confidence, n_bins=bins, strategy="uniform")
    inner_edges = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    counts = np.bincount(np.searchsorted(inner_edges, confidence), minlength=bins)  # the curve's bins: (low, high]
    return float((np.abs(accuracy - mean) * counts[counts > 0]).sum() / len(confidence))


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
    confusion: bool = True,
) -> SplitEvaluation:
    """Score N predictions. `group` is (N,), -1 where unknown; such samples count in everything but the group figures.

    `confusion`: whether to tell which class was taken for which. Raises `ValueError` for no samples.
    """
    if not len(label):
        raise ValueError("a split without samples cannot be evaluated")
    correct = predictions.predicted == label
    by_class = _accuracies(correct, label, classes)
    by_group = _accuracies(correct, group, group_names)
    present = [entry for entry in by_group if entry.accuracy is not None]
    worst = min(present, key=lambda entry: entry.accuracy or 0.0, default=None)
    dense = len(classes) <= MOST_DENSE
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
        confusion=_matrix(label, predictions.predicted, len(classes)) if confusion and dense else None,
        mistakes=_mistakes(label, predictions.predicted, len(classes)) if confusion and not dense else (),
    )


def _matrix(label: Ints, predicted: Ints, classes: int) -> tuple[tuple[int, ...], ...]:
    cells = np.bincount(label * classes + predicted, minlength=classes**2).reshape(classes, classes)
    return tuple(tuple(row) for row in cells.tolist())


def _mistakes(label: Ints, predicted: Ints, classes: int) -> tuple[tuple[int, int, int], ...]:
    """The cells beside the diagonal that are not zero, the fullest first, equal ones in the matrix's order."""
    wrong = label != predicted
    cells, counts = np.unique(label[wrong] * classes + predicted[wrong], return_counts=True)
    most = np.argsort(-counts, kind="stable")[:MOST_MISTAKES]
    columns = (cells[most] // classes, cells[most] % classes, counts[most])
    return tuple(zip(*(column.tolist() for column in columns), strict=True))


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


def read_off(probability: Floats) -> Predictions:
    """The most probable class of each row of (B, K) probabilities; the first of equals."""
    predicted = probability.argmax(axis=1)
    return Predictions(predicted, np.take_along_axis(probability, predicted[:, None], axis=1)[:, 0])


def predict(
    model: nn.Module,
    loader: Loader,
    indices: Ints,
    *,
    batch_size: int = 512,
    before_batch: Callable[[], None] = lambda: None,
) -> Predictions:
    """What `model` says about the images `indices` in the evaluation view, in that order. Full precision throughout.

    Leaves the model in evaluation mode. Raises `OutOfGpuMemory`.
    """
    model.eval()
    parts = []
    with gpu_memory("evaluating"), full_precision():
        for batch in loader.eval_batches(indices, batch_size=batch_size):
            before_batch()
            own = torch.from_numpy(class_probabilities(model, batch.image))
            parts.append(read_off(loader.world.gather(own).numpy()))
    if not parts:
        return Predictions(np.empty(0, dtype=np.int64), np.empty(0))
    return Predictions(
        np.concatenate([part.predicted for part in parts]), np.concatenate([part.confidence for part in parts])
    )


def score_split(dataset: Dataset, split: str, predictions: Predictions, *, confusion: bool = True) -> SplitEvaluation:
    """Score predictions for the images of a split, in the split's order; `confusion` as in `evaluate_predictions`."""
    indices = dataset.splits[split]
    train = dataset.splits.get("train", np.empty(0, dtype=np.int64))
    return evaluate_predictions(
        predictions,
        dataset.labels[indices],
        dataset.groups[indices],
        classes=dataset.classes,
        group_names=dataset.group_names,
        group_weights=training_group_weights(dataset.groups[train], len(dataset.group_names)),
        confusion=confusion,
    )


def evaluate_split(
    model: nn.Module,
    loader: Loader,
    dataset: Dataset,
    split: str,
    *,
    batch_size: int = 512,
    before_batch: Callable[[], None] = lambda: None,
    confusion: bool = True,
) -> SplitEvaluation:
    """One split of `evaluate`; `confusion` as in `evaluate_predictions`."""
    indices = dataset.splits[split]
    predictions = predict(model, loader, indices, batch_size=batch_size, before_batch=before_batch)
    return score_split(dataset, split, predictions, confusion=confusion)


def evaluate(
    model: nn.Module, loader: Loader, dataset: Dataset, *, splits: Sequence[str] | None = None, batch_size: int = 512
) -> Evaluation:
    """The figures that a job reports for `model`, on some or all splits of `dataset`.

    `loader` decides the device, which must be the model's, and the input geometry, which must be the job's. With the
    job's `masking.batch_size` on the same hardware, the numbers repeat to the bit. Raises `KeyError` for a split that
    the data set lacks, `OutOfGpuMemory`.
    """
    names = list(dataset.splits) if splits is None else splits
    return Evaluation({name: evaluate_split(model, loader, dataset, name, batch_size=batch_size) for name in names})


def background_gap(evaluation: Evaluation) -> float | None:
    """BG-gap of the Backgrounds Challenge: how much accuracy falls when the background is another class's.

    Accuracy on `test:mixed_same` less that on `test:mixed_rand` (Xiao et al. 2020, section 3); None without both.
    """
    same, rand = (evaluation.splits.get(f"test:{name}") for name in ("mixed_same", "mixed_rand"))
    return None if same is None or rand is None else same.accuracy - rand.accuracy


def as_dict(evaluation: Evaluation) -> dict[str, Any]:
    """For JSON: {split: {accuracy, count, …, groups: [{name, accuracy, count, low, high}], …}}."""
    return {name: _plain(split) for name, split in evaluation.splits.items()}


def _plain(split: SplitEvaluation) -> dict[str, Any]:
    """As `dataclasses.asdict`, which takes seconds over tens of thousands of classes and mistakes."""
    figures = {field.name: getattr(split, field.name) for field in fields(split)}
    rows = {name: [_plain_row(row) for row in figures[name]] for name in ("groups", "classes")}
    return figures | rows


def _plain_row(row: GroupAccuracy) -> dict[str, Any]:
    return {"name": row.name, "accuracy": row.accuracy, "count": row.count, "low": row.low, "high": row.high}
