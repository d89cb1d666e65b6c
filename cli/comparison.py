"""Before and after: what the ERM model and the MaskTune model make of every split."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.table import Table
from rich.text import Text

from cli.output import percent


@dataclass(slots=True)
class Score:
    """A share in [0, 1], null where undefined, and the number of samples behind it."""

    value: float | None
    count: int | None


@dataclass(slots=True)
class SplitScores:
    """One model on one split. `groups` is in the data set's order."""

    accuracy: Score = field(default_factory=lambda: Score(None, None))
    worst_group: Score = field(default_factory=lambda: Score(None, None))
    groups: dict[str, Score] = field(default_factory=dict)


Scores = dict[str, SplitScores]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Scores by split name (`test:original`), before and after."""

    before: Scores
    after: Scores

    def as_json(self) -> dict[str, Any]:
        """Test splits by short name: `{"erm": {"original": {"accuracy", "worst_group"}, …}, "masktune": {…}}`."""
        return {
            name: {
                short_name(split): {"accuracy": found.accuracy.value, "worst_group": found.worst_group.value}
                for split, found in scores.items()
                if is_test(split)
            }
            for name, scores in (("erm", self.before), ("masktune", self.after))
        }


def from_metrics(rows: Iterable[Mapping[str, Any]]) -> Comparison:
    """From a job's metric rows: stage "evaluating", iteration 0 is the ERM model, the last iteration the result."""
    final = [row for row in rows if row["stage"] == "evaluating" and row["epoch"] == 0]
    last = max((int(row["iteration"]) for row in final), default=0)
    return Comparison(
        _scores(row for row in final if row["iteration"] == 0),
        _scores(row for row in final if row["iteration"] == last),
    )


def _scores(rows: Iterable[Mapping[str, Any]]) -> Scores:
    scores: Scores = {}
    for row in rows:
        split = scores.setdefault(str(row["split"]), SplitScores())
        score = Score(row["value"], row["count"])
        match (row["name"], row["group"]):
            case ("accuracy", None):
                split.accuracy = score
            case ("worst_group_accuracy", None):
                split.worst_group = score
            case ("accuracy", group):
                split.groups[str(group)] = score
            case _:
                pass
    return dict(sorted(scores.items(), key=lambda item: split_order(item[0])))


@dataclass(frozen=True, slots=True)
class Difference:
    """One number that is not the same on both sides."""

    split: str
    name: str
    reported: float | None
    measured: float | None

    @property
    def size(self) -> float:
        """How far apart the two are; infinite where one is missing."""
        if self.reported is None or self.measured is None:
            return math.inf
        return abs(self.reported - self.measured)

    def __str__(self) -> str:
        return f"{self.split}, {self.name}: reported {self.reported}, here {self.measured}"


def differences(reported: Scores, measured: Scores) -> list[Difference]:
    """Every number that is not the same, in the order of the splits. A number that one side lacks is a difference."""
    missing = SplitScores()
    found = []
    for split in sorted({**reported, **measured}, key=split_order):
        there, here = reported.get(split, missing), measured.get(split, missing)
        pairs = {"accuracy": (there.accuracy, here.accuracy), "worst group": (there.worst_group, here.worst_group)}
        for group in {**there.groups, **here.groups}:
            pairs[group] = (there.groups.get(group, Score(None, None)), here.groups.get(group, Score(None, None)))
        found += [Difference(split, name, a.value, b.value) for name, (a, b) in pairs.items() if a.value != b.value]
    return found


def comparison_table(comparison: Comparison, *, splits: Sequence[str] | None = None) -> Table:
    """A table with a line per split and per group; test splits only, unless others are named."""
    shown = splits or [split for split in comparison.after if is_test(split)] or list(comparison.after)
    empty = False
    made = Table(title="Accuracy before and after", title_justify="left", title_style="bold", header_style="bold")
    made.add_column("split")
    made.add_column("group")
    for name in ("images", "ERM", "MaskTune", "change"):
        made.add_column(name, justify="right", no_wrap=True)
    for split in shown:
        before, after = comparison.before.get(split, SplitScores()), comparison.after[split]
        _line(made, split, "all", before.accuracy, after.accuracy, style="bold")
        if after.worst_group.value is not None:
            _line(made, "", "worst group", before.worst_group, Score(after.worst_group.value, None))
        for group, score in after.groups.items():
            if not score.count:
                empty = True
                continue
            _line(made, "", group, before.groups.get(group, Score(None, None)), score, style="dim")
        made.add_section()
    if empty:
        made.caption = "Groups without images are left out."
        made.caption_justify = "left"
    return made


def _line(made: Table, split: str, group: str, before: Score, after: Score, *, style: str = "") -> None:
    change = ""
    if before.value is not None and after.value is not None:
        change = f"{100 * (after.value - before.value):+.1f}"
    count = "" if after.count is None else f"{after.count:,}"
    made.add_row(Text(split), Text(group), count, percent(before.value), percent(after.value), change, style=style)


def is_test(split: str) -> bool:
    """Whether a split is `test` or a named test set."""
    return split == "test" or split.startswith("test:")


def short_name(split: str) -> str:
    """`test:original` → `original`."""
    return split.removeprefix("test:")


def split_order(split: str) -> int:
    """Named test sets stay in the order in which they came."""
    return {"train": 0, "val": 1, "test": 2}.get(split, 3)
