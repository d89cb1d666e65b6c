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

_KINDS: Final = {"product": "third", "masktune": "after", "erm": "before"}
"""The scores in the order of the legend, each with its class in the style sheet."""


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
    """All splits that were not trained on. `scores` are their names, by what they are in the result. `thresholds`: a
    validation split gave some, so they can be picked."""

    curves: list[Curve]
    scores: dict[str, str]
    legend: Markup
    thresholds: bool


def rejecting(result: Mapping[str, Any], after: str) -> Rejecting | None:
    """The charts and tables, with the finetuned model called `after`; None for a result without any."""
    names = score_names(after)
    selective: dict[str, Any] = {score: result["selective"][score] for score in _KINDS if score in result["selective"]}
    if not selective:
        return None
    splits = sorted(
        next(iter(selective.values()))["splits"], key=lambda split: (not split.startswith("test"), split_order(split))
    )
    lines = [Series(names[score], kind, [(0, 0)]) for score, kind in _KINDS.items()]
    return Rejecting(
        curves=[_curve(split, selective, names) for split in splits],
        scores={score: names[score] for score in selective},
        legend=legend(lines),
        thresholds=any(each["thresholds"] for each in selective.values()),
    )


def score_names(after: str) -> dict[str, str]:
    """What each score is called."""
    return {"product": f"{after} × ERM", "masktune": f"{after} alone", "erm": "ERM alone"}


def _curve(split: str, selective: Mapping[str, Any], names: Mapping[str, str]) -> Curve:
    series, areas, targets = [], [], []
    for score, found in selective.items():
        name, here = names[score], found["splits"][split]
        series.append(
            Series(name, _KINDS[score], list(zip(here["curve"]["coverage"], here["curve"]["risk"], strict=True)))
        )
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
