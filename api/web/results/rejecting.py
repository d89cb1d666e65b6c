"""The reject option: risk over coverage of the three scores, and what a chosen threshold really gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

from api.web.charts.axes import axis
from api.web.charts.lines import Series, legend, line_chart
from api.web.datasets.view import split_order
from api.web.formats import percent

SCORES: Final = {
    "product": ("MaskTune × ERM", "third"),
    "masktune": ("MaskTune alone", "after"),
    "erm": ("ERM alone", "before"),
}


@dataclass(frozen=True, slots=True)
class Target:
    """A coverage or risk that was asked for, the threshold that the validation split gave, and what it gives here."""

    score: str
    target: str
    threshold: float | None
    coverage: float | None
    risk: float | None


@dataclass(frozen=True, slots=True)
class Curve:
    """One split: its chart, the area under each curve, and the targets."""

    split: str
    chart: Markup
    areas: list[tuple[str, float | None]]
    targets: list[Target]


@dataclass(frozen=True, slots=True)
class Rejecting:
    """All splits that were not trained on. `thresholds`: a validation split gave some, so they can be picked."""

    curves: list[Curve]
    legend: Markup
    thresholds: bool


def rejecting(result: Mapping[str, Any]) -> Rejecting | None:
    """The charts and tables; None for a result without any."""
    selective: dict[str, Any] = {score: result["selective"][score] for score in SCORES if score in result["selective"]}
    if not selective:
        return None
    splits = sorted(
        next(iter(selective.values()))["splits"], key=lambda split: (not split.startswith("test"), split_order(split))
    )
    lines = [Series(name, kind, [(0, 0)]) for name, kind in SCORES.values()]
    return Rejecting(
        curves=[_curve(split, selective) for split in splits],
        legend=legend(lines),
        thresholds=any(each["thresholds"] for each in selective.values()),
    )


def _curve(split: str, selective: Mapping[str, Any]) -> Curve:
    series, areas, targets = [], [], []
    for score, found in selective.items():
        name, kind = SCORES[score]
        here = found["splits"][split]
        series.append(Series(name, kind, list(zip(here["curve"]["coverage"], here["curve"]["risk"], strict=True))))
        areas.append((name, here["aurc"]))
        targets += [
            Target(
                name,
                _target(each["target"]),
                found["thresholds"][each["target"]]["threshold"],
                each["coverage"],
                each["risk"],
            )
            for each in here["targets"]
            if each["group"] is None
        ]
    highest = max((risk for line in series for _, risk in line.points), default=0.0)
    chart = line_chart(
        series,
        title=f"Risk over coverage, {split}",
        x_label="coverage: share of images answered",
        x=axis(0, 1),
        y=axis(0, max(highest, 0.01)),
        x_text=lambda value: percent(value, 0),
        y_text=lambda value: percent(value, 0 if highest > 0.05 else 1),
    )
    return Curve(split, chart, areas, targets)


def _target(label: str) -> str:
    kind, _, value = label.rpartition("=")
    return f"risk ≤ {percent(float(value))}" if kind else f"coverage {percent(float(value), 0)}"
