"""Before and after: what the ERM model and the MaskTune model make of every split."""

from __future__ import annotations

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
    return dict(sorted(scores.items(), key=lambda item: _split_order(item[0])))


def differences(reported: Scores, measured: Scores) -> list[str]:
    """Every number that is not the same, as a line of text. Splits that only one side has are left out."""
    found = []
    for split in reported.keys() & measured.keys():
        pairs = {"accuracy": (reported[split].accuracy, measured[split].accuracy)}
        pairs["worst group"] = (reported[split].worst_group, measured[split].worst_group)
        for group in reported[split].groups:
            pairs[group] = (reported[split].groups[group], measured[split].groups.get(group, Score(None, None)))
        found += [
            f"{split}, {name}: reported {there.value}, here {here.value}"
            for name, (there, here) in pairs.items()
            if there.value != here.value
        ]
    return sorted(found)


def comparison_table(comparison: Comparison, *, splits: Sequence[str] | None = None) -> Table:
    """A table with a line per split and per group; test splits only, unless others are named."""
    shown = splits or [split for split in comparison.after if is_test(split)] or list(comparison.after)
    made = Table(title="Accuracy before and after", title_justify="left", title_style="bold", header_style="bold")
    made.add_column("split")
    made.add_column("group")
    for name in ("images", "ERM", "MaskTune", "change"):
        made.add_column(name, justify="right", no_wrap=True)
    for split in shown:
        before, after = comparison.before.get(split, SplitScores()), comparison.after[split]
        _line(made, split, "all", before.accuracy, after.accuracy, style="bold")
        if after.worst_group.value is not None:
            _line(made, "", "worst group", before.worst_group, after.worst_group)
        for group, score in after.groups.items():
            _line(made, "", group, before.groups.get(group, Score(None, None)), score, style="dim")
        made.add_section()
    return made


def _line(made: Table, split: str, group: str, before: Score, after: Score, *, style: str = "") -> None:
    change = ""
    if before.value is not None and after.value is not None:
        change = f"{100 * (after.value - before.value):+.1f}"
    count = "–" if after.count is None else f"{after.count:,}"
    made.add_row(Text(split), Text(group), count, percent(before.value), percent(after.value), change, style=style)


def is_test(split: str) -> bool:
    return split == "test" or split.startswith("test:")


def short_name(split: str) -> str:
    """`test:original` → `original`."""
    return split.removeprefix("test:")


def _split_order(split: str) -> tuple[int, str]:
    return ({"train": 0, "val": 1, "test": 2}.get(split, 3), split)
