"""Before and after: per split, per group, with intervals, and the change in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from markupsafe import Markup

from api.web.charts.intervals import Interval, interval_chart
from api.web.datasets.view import split_order
from api.web.results.mistakes import Mistake, frequent_mistakes

MOST_PARTS: Final = 100
"""Groups or classes of one split on a page; beyond, those that ERM was worst on."""
_Z: Final = 1.959963984540054  # the 97.5 % quantile of the normal distribution
_OTHER: Final = {
    "group_adjusted_accuracy": "Group-adjusted average",
    "worst_class_accuracy": "Worst class",
    "ece": "Calibration error (ECE)",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table. `beyond_chance`: the two intervals do not touch. An empty group has neither.

    `of` names the parts that the worst one is, before and after.
    """

    name: str
    kind: Literal["all", "worst", "part"]
    count: int
    before: Interval | None
    after: Interval | None
    of: tuple[str, str] | None = None

    @property
    def note(self) -> str:
        """Which part it is, or which two."""
        if self.of is None:
            return ""
        before, after = self.of
        return before if before == after else f"{before}, then {after}"

    @property
    def change(self) -> float | None:
        """After minus before, as a fraction."""
        return None if self.before is None or self.after is None else self.after.value - self.before.value

    @property
    def beyond_chance(self) -> bool:
        """Whether the change is larger than the samples' number explains."""
        if self.before is None or self.after is None:
            return False
        return self.before.high < self.after.low or self.after.high < self.before.low

    @property
    def chart(self) -> Markup:
        """Both on one line."""
        return interval_chart(self.before, self.after)


@dataclass(frozen=True, slots=True)
class Plain:
    """A figure without an interval; a calibration error is better when it is small. `share`: shown in per cent."""

    name: str
    before: float | None
    after: float | None
    smaller_is_better: bool
    share: bool = True


@dataclass(frozen=True, slots=True)
class SplitFigures:
    """One split: its rows, its other figures, its confusion, and what changed, as a sentence.

    `empty` names the parts that have no image here: their accuracy is undefined. `confusion` is two matrices, or two
    times None for many classes; `mistakes` are the most frequent ones of more classes than a table can show.
    """

    split: str
    count: int
    rows: tuple[Figure, ...]
    empty: tuple[str, ...]
    others: tuple[Plain, ...]
    confusion: tuple[list[list[int]] | None, list[list[int]] | None]
    mistakes: tuple[Mistake, ...]
    words: str
    worst_before: float | None

    @property
    def is_test(self) -> bool:
        """Whether it is a test set."""
        return self.split.startswith("test")

    @property
    def listed(self) -> tuple[Figure, ...]:
        """The rows that a page has room for: all, or the worst of them before, worst first."""
        parts = [row for row in self.rows if row.kind == "part"]
        if len(parts) <= MOST_PARTS:
            return self.rows
        parts.sort(key=lambda part: part.before.value if part.before else 1.0)
        return (*(row for row in self.rows if row.kind != "part"), *parts[:MOST_PARTS])


def split_figures(result: Mapping[str, Any]) -> list[SplitFigures]:
    """Every split of a result, test sets first, then val and train."""
    before, after = result["erm"], result["masktune"]
    shared = [split for split in before if split in after]
    ordered = sorted(shared, key=lambda split: (not split.startswith("test"), split_order(split)))
    return [_split(split, before[split], after[split], _gap(result, split)) for split in ordered]


def headline(figures: list[SplitFigures]) -> SplitFigures | None:
    """The split that tells most: the test set whose worst part was worst before."""
    tests = [split for split in figures if split.is_test] or figures
    return min(tests, key=lambda split: 2.0 if split.worst_before is None else split.worst_before, default=None)


def wilson(accuracy: float, count: int) -> Interval:
    """The score interval at 95 % (Wilson 1927)."""
    spread = _Z * math.sqrt(accuracy * (1 - accuracy) / count + _Z**2 / (4 * count**2))
    middle = accuracy + _Z**2 / (2 * count)
    scale = 1 + _Z**2 / count
    return Interval(accuracy, max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale))


def _split(
    split: str, before: Mapping[str, Any], after: Mapping[str, Any], extra: tuple[Plain, ...] = ()
) -> SplitFigures:
    grouped = bool(before["groups"])
    kind = "groups" if grouped else "classes"
    parts = [
        Figure(first["name"], "part", first["count"], _interval(first), _interval(second))
        for first, second in zip(before[kind], after[kind], strict=True)
    ]
    whole = Figure("all images", "all", before["count"], _whole(before), _whole(after))
    worst = _worst(parts, "worst group" if grouped else "worst class")
    others = tuple(
        Plain(name, before.get(key), after.get(key), smaller_is_better=key == "ece")
        for key, name in _OTHER.items()
        if before.get(key) is not None and (grouped or key != "worst_class_accuracy")
    )
    rows = (whole, *([worst] if worst else []), *(part for part in parts if part.count))
    return SplitFigures(
        split=split,
        count=before["count"],
        rows=rows,
        empty=tuple(part.name for part in parts if not part.count),
        others=others + extra,
        confusion=(before["confusion"], after["confusion"]),
        mistakes=frequent_mistakes(before, after),
        words=_words(whole, worst),
        worst_before=worst.before.value if worst and worst.before else None,
    )


def _worst(parts: list[Figure], name: str) -> Figure | None:
    """The worst part before and the worst part after, which need not be the same."""
    before = min(((part.before.value, part) for part in parts if part.before), key=_first, default=(0.0, None))[1]
    after = min(((part.after.value, part) for part in parts if part.after), key=_first, default=(0.0, None))[1]
    if before is None or after is None:
        return None
    return Figure(name, "worst", before.count, before.before, after.after, of=(before.name, after.name))


def _gap(result: Mapping[str, Any], split: str) -> tuple[Plain, ...]:
    """The Backgrounds Challenge's BG-gap, at the split where backgrounds mislead (Xiao et al. 2020, section 3)."""
    gaps = result.get("bg_gap") or [None]
    if split != "test:mixed_rand" or gaps[0] is None:
        return ()
    return (Plain("BG-gap", gaps[0], gaps[-1], smaller_is_better=True),)


def _first(pair: tuple[float, Figure]) -> float:
    return pair[0]


def _words(whole: Figure, worst: Figure | None) -> str:
    """ "Worst group from 41 % to 97 %, average −0.4 points"."""
    sentence = []
    if worst is not None and worst.before and worst.after:
        before, after = _rounded(worst.before.value), _rounded(worst.after.value)
        sentence.append(f"{worst.name} still {after}" if before == after else f"{worst.name} from {before} to {after}")
    if whole.change is not None:
        points = round(100 * whole.change, 1)
        sign = "+" if points > 0 else "−"
        sentence.append(f"average {sign}{abs(points):.1f} points" if points else "average unchanged")
    text = ", ".join(sentence)
    return text[:1].upper() + text[1:]


def _rounded(value: float) -> str:
    """Whole per cent, but never 100 % for what is not all, nor 0 % for what is not nothing."""
    rounded = round(100 * value)
    exact = rounded in (0, 100) and value not in (0.0, 1.0)
    return f"{100 * value:.1f} %" if exact else f"{rounded} %"


def _interval(part: Mapping[str, Any]) -> Interval | None:
    return None if part["accuracy"] is None else Interval(part["accuracy"], part["low"], part["high"])


def _whole(split: Mapping[str, Any]) -> Interval | None:
    return None if split["accuracy"] is None else wilson(split["accuracy"], split["count"])
