"""Which class is taken for which, where a whole confusion matrix would be too large for a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

MOST_IN_A_TABLE: Final = 12
"""Classes up to which the whole matrix is shown."""
_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class Mistake:
    """Samples of class `label` that were predicted as class `predicted`, before and after."""

    label: int
    predicted: int
    before: int
    after: int


def frequent_mistakes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Mistake, ...]:
    """The most frequent mistakes of both models together on one split; none where the whole matrix is shown."""
    if len(before["classes"]) <= MOST_IN_A_TABLE:
        return ()
    first, last = _cells(before), _cells(after)
    ordered = sorted(first.keys() | last.keys(), key=lambda cell: (-first.get(cell, 0) - last.get(cell, 0), cell))
    return tuple(Mistake(*cell, first.get(cell, 0), last.get(cell, 0)) for cell in ordered[:_SHOWN])


def _cells(split: Mapping[str, Any]) -> dict[tuple[int, int], int]:
    """What is wrong, from the matrix of few classes or the list of many."""
    if split["confusion"] is None:
        return {(label, predicted): count for label, predicted, count in split["mistakes"]}
    return {
        (label, predicted): count
        for label, row in enumerate(split["confusion"])
        for predicted, count in enumerate(row)
        if count and label != predicted
    }
