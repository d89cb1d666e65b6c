"""The reject option of a finished run: thresholds from the validation split, judged on every other but training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from masktune_core.callbacks import Metric
from masktune_core.config import SelectiveConfig
from masktune_core.data.dataset import Dataset
from masktune_core.evaluation import MOST_LISTED_GROUPS, Predictions
from masktune_core.selective import RiskCoverage, Threshold, apply_threshold, risk_coverage, select_threshold

SCORES: Final = ("product", "erm", "masktune")  # p1 · p2 of the paper, and the softmax response of either model
_CURVE_POINTS: Final = 200  # at most so many are reported; the area is computed from all


@dataclass(frozen=True, slots=True)
class Target:
    """A coverage to reach or a risk to keep; `label` names it in metrics."""

    label: str
    coverage: float | None
    risk: float | None


@dataclass(frozen=True, slots=True)
class Rejecting:
    """`metrics` for every score, target, split and group; `report` is the same with thresholds and curves, for JSON;
    `unreachable` names the (score, target) pairs that no threshold can keep on the validation split."""

    metrics: tuple[Metric, ...]
    report: dict[str, Any]
    unreachable: tuple[tuple[str, str], ...]


def judge_rejecting(
    dataset: Dataset, found: Mapping[str, Sequence[Predictions]], config: SelectiveConfig, *, iteration: int
) -> Rejecting:
    """Score the reject option. `found`: split → predictions of ERM, each round, and the product, as `judge` gives them.

    Without a validation split there are curves and areas, but no thresholds.
    """
    metrics: list[Metric] = []
    report: dict[str, Any] = {}
    unreachable = []
    for score, row in zip(SCORES, (-1, 0, -2), strict=True):
        thresholds = _thresholds(dataset, found, row, config)
        offered = _offered(dataset, found, row)
        unreachable += [(score, target.label) for target, choice in thresholds if math.isinf(choice.value)]
        splits = {}
        for split in dataset.splits:
            if split == "train":
                continue
            confidence, correct = found[split][row].confidence, _correct(dataset, found, split, row)
            curve = risk_coverage(confidence, correct)
            rows = [
                Metric("evaluating", iteration, 0, split, None, f"selective.{score}.aurc", curve.aurc, len(correct))
            ]
            for target, choice in thresholds:
                for group, members in _parts(dataset, split):
                    accepted = apply_threshold(choice.value, confidence[members], correct[members])
                    name = f"selective.{score}.{{}}@{target.label}"
                    for figure, value in (("coverage", accepted.coverage), ("risk", accepted.risk)):
                        rows.append(
                            Metric(
                                "evaluating", iteration, 0, split, group, name.format(figure), value, accepted.accepted
                            )
                        )
            metrics += rows
            splits[split] = {
                "aurc": curve.aurc,
                "curve": _thinned(curve),
                "targets": _nested(rows[1:]),
                "realised": realised(curve, offered),
            }
        report[score] = {
            "offered": offered.tolist(),
            "thresholds": {
                target.label: {
                    "threshold": choice.value if math.isfinite(choice.value) else None,
                    "coverage": choice.coverage,
                    "risk": choice.risk,
                }
                for target, choice in thresholds
            },
            "splits": splits,
        }
    return Rejecting(tuple(metrics), report, tuple(unreachable))


def _thresholds(
    dataset: Dataset, found: Mapping[str, Sequence[Predictions]], row: int, config: SelectiveConfig
) -> list[tuple[Target, Threshold]]:
    if "val" not in dataset.splits:
        return []
    targets = [Target(f"{coverage:g}", coverage, None) for coverage in config.coverages]
    targets += [Target(f"risk={risk:g}", None, risk) for risk in config.risks]
    confidence, correct = found["val"][row].confidence, _correct(dataset, found, "val", row)
    return [
        (target, select_threshold(confidence, correct, coverage=target.coverage, risk=target.risk))
        for target in targets
    ]


def _offered(dataset: Dataset, found: Mapping[str, Sequence[Predictions]], row: int) -> npt.NDArray[np.float64]:
    """Thresholds to pick from, strictest first: those along the validation split's curve."""
    if "val" not in dataset.splits:
        return np.empty(0)
    curve = risk_coverage(found["val"][row].confidence, _correct(dataset, found, "val", row))
    return curve.threshold[_spread(len(curve.threshold))]


def realised(curve: RiskCoverage, offered: npt.NDArray[np.float64]) -> dict[str, list[float | None]]:
    """What each offered threshold gives on the curve's samples: the same as `apply_threshold`, for all at once."""
    accepting = np.searchsorted(-curve.threshold, -offered, side="right") - 1  # -1: nothing is that confident
    return {
        "coverage": [float(curve.coverage[at]) if at >= 0 else 0.0 for at in accepting],
        "risk": [float(curve.risk[at]) if at >= 0 else None for at in accepting],
    }


def _correct(
    dataset: Dataset, found: Mapping[str, Sequence[Predictions]], split: str, row: int
) -> npt.NDArray[np.bool_]:
    correct: npt.NDArray[np.bool_] = found[split][row].predicted == dataset.labels[dataset.splits[split]]
    return correct


def _parts(dataset: Dataset, split: str) -> Iterator[tuple[str | None, npt.NDArray[np.bool_]]]:
    """The whole split, then each of its groups unless they are too many to list; which of the samples belong."""
    groups = dataset.groups[dataset.splits[split]]
    yield None, np.ones(len(groups), dtype=np.bool_)
    if len(dataset.group_names) > MOST_LISTED_GROUPS:
        return
    for number, name in enumerate(dataset.group_names):
        yield name, groups == number


def _thinned(curve: RiskCoverage) -> dict[str, list[float]]:
    chosen = _spread(len(curve.coverage))
    return {"coverage": curve.coverage[chosen].tolist(), "risk": curve.risk[chosen].tolist()}


def _spread(count: int) -> npt.NDArray[np.int64]:
    """At most `_CURVE_POINTS` positions out of `count`, evenly spread, both ends among them."""
    return np.unique(np.linspace(0, count - 1, min(count, _CURVE_POINTS)).round().astype(np.int64))


def _nested(rows: Sequence[Metric]) -> list[dict[str, Any]]:
    """Pairs of rows (coverage, risk) of one target and group, as one entry each."""
    return [
        {
            "target": coverage.name.rpartition("@")[2],
            "group": coverage.group,
            "accepted": coverage.count,
            "coverage": coverage.value,
            "risk": risk.value,
        }
        for coverage, risk in zip(rows[::2], rows[1::2], strict=True)
    ]
