"""How a result came about over several rounds of masking and finetuning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from api.web.datasets.view import split_order


@dataclass(frozen=True, slots=True)
class Accuracy:
    """On one split; `worst` is that of the worst group, or without groups of the worst class."""

    all: float | None
    worst: float | None


@dataclass(frozen=True, slots=True)
class Round:
    """A model along the way: 0 is the ERM model. `masked` is the mean masked share of its training images."""

    number: int
    masked: float | None
    accuracies: list[Accuracy]


@dataclass(frozen=True, slots=True)
class Rounds:
    """Every round's model on every one of `splits`. `worst` is what the worst parts are: groups or classes."""

    splits: list[str]
    worst: str
    rows: list[Round]


def rounds(result: Mapping[str, Any]) -> Rounds | None:
    """The models in the order in which they were made, on the test sets; None if there was only one round."""
    earlier = result.get("earlier_rounds") or []
    if not earlier:
        return None
    models = [result["erm"], *earlier, result["masktune"]]
    shared = [split for split in models[0] if all(split in model for model in models)]
    splits = sorted((split for split in shared if split.startswith("test")), key=split_order) or shared
    masked = [None, *(result.get("masked_fraction") or [])]
    return Rounds(
        splits=splits,
        worst="group" if any(models[0][split]["groups"] for split in splits) else "class",
        rows=[
            Round(
                number,
                masked[number] if number < len(masked) else None,
                [_accuracy(model[split]) for split in splits],
            )
            for number, model in enumerate(models)
        ],
    )


def _accuracy(judged: Mapping[str, Any]) -> Accuracy:
    return Accuracy(judged["accuracy"], judged["worst_group_accuracy" if judged["groups"] else "worst_class_accuracy"])
