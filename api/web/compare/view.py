"""What two results share, and where the two configurations differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.web.charts.intervals import Interval
from api.web.formats import decimals, percent, points
from api.web.jobs.fields import fields, text_of
from api.web.results.figures import Figure, Plain, SplitFigures
from masktune_core.config import JobConfig
from persistence.configs import read_what_can_be_read


@dataclass(frozen=True, slots=True)
class Pair:
    """One row of the table: the same figure of both jobs; None where a job lacks it."""

    name: str
    kind: str
    first: Figure | None
    second: Figure | None

    @property
    def change(self) -> float | None:
        """The second job's final accuracy minus the first's."""
        first, second = _after(self.first), _after(self.second)
        return None if first is None or second is None else second.value - first.value

    @property
    def other_parts(self) -> bool:
        """Whether the worst group of the one is not that of the other, after finetuning."""
        first, second = (figure.of if figure else None for figure in (self.first, self.second))
        return first is not None and second is not None and first[1] != second[1]

    @property
    def beyond_chance(self) -> bool:
        """Whether their intervals do not touch."""
        first, second = _after(self.first), _after(self.second)
        return bool(first and second and (first.high < second.low or second.high < first.low))


@dataclass(frozen=True, slots=True)
class PlainPair:
    """A figure without intervals of both jobs, as it is shown: before and after of the first, then of the second."""

    name: str
    cells: tuple[str, str, str, str]
    change: str
    smaller_is_better: bool


@dataclass(frozen=True, slots=True)
class SplitPairs:
    """A split that both jobs were judged on."""

    split: str
    rows: list[Pair]
    others: list[PlainPair]


Areas = Mapping[str, tuple[Plain, ...]]


def paired(
    first: Sequence[SplitFigures], second: Sequence[SplitFigures], areas: tuple[Areas, Areas] = ({}, {})
) -> list[SplitPairs]:
    """Splits that both have, in the first's order; groups by name. `areas` are what `areas` found in their results."""
    others = {split.split: split for split in second}
    return [
        SplitPairs(
            split.split,
            _rows(split, others[split.split]),
            _plain(
                (*split.others, *areas[0].get(split.split, ())),
                (*others[split.split].others, *areas[1].get(split.split, ())),
            ),
        )
        for split in first
        if split.split in others
    ]


def areas(result: Mapping[str, Any]) -> Areas:
    """The area under the risk–coverage curve by split, of each model alone and of the two together."""
    found = {score: each["splits"] for score, each in result["selective"].items()}
    splits = dict.fromkeys(split for each in found.values() for split in each)

    def area(score: str, split: str) -> float | None:
        value: float | None = found.get(score, {}).get(split, {}).get("aurc")
        return value

    return {
        split: tuple(
            Plain(name, before, after, smaller_is_better=True, share=False)
            for name, before, after in (
                ("Area under risk–coverage (AURC)", area("erm", split), area("masktune", split)),
                ("AURC of both models together", None, area("product", split)),
            )
            if after is not None
        )
        for split in splits
    }


def unshared(first: Sequence[SplitFigures], second: Sequence[SplitFigures]) -> tuple[list[str], list[str]]:
    """Splits that only the first was judged on, and those that only the second was."""
    one, other = ([split.split for split in figures] for figures in (first, second))
    return [split for split in one if split not in other], [split for split in other if split not in one]


@dataclass(frozen=True, slots=True)
class Setting:
    """A field of the configuration that differs."""

    path: str
    first: str
    second: str


def settings_that_differ(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Setting]:
    """By dotted path, as the submit form shows the values."""
    found = []
    for path in ("preset", *fields()):
        one, other = (text_of(_at(read_what_can_be_read(config), path)) for config in (first, second))
        if one != other:
            found.append(Setting(path, one or "default", other or "default"))
    return found


@dataclass(frozen=True, slots=True)
class Input:
    """What went into both jobs beside the configuration, in words. `first_id` and `second_id` identify it."""

    name: str
    first: str
    second: str
    first_id: str | None = None
    second_id: str | None = None

    @property
    def differs(self) -> bool:
        """By what identifies both, if it is known, else by the words."""
        if self.first_id and self.second_id:
            return self.first_id != self.second_id
        return self.first != self.second


def _rows(first: SplitFigures, second: SplitFigures) -> list[Pair]:
    names = dict.fromkeys((row.kind, row.name) for row in (*first.listed, *second.listed))
    one = {(row.kind, row.name): row for row in first.rows}
    other = {(row.kind, row.name): row for row in second.rows}
    return [Pair(name, kind, one.get((kind, name)), other.get((kind, name))) for kind, name in names]


def _plain(first: Sequence[Plain], second: Sequence[Plain]) -> list[PlainPair]:
    one, other = ({row.name: row for row in rows} for rows in (first, second))
    found = []
    for name in dict.fromkeys((*one, *other)):
        like = one.get(name) or other[name]
        values = [value for row in (one.get(name), other.get(name)) for value in _both(row)]
        change = None if values[1] is None or values[3] is None else values[3] - values[1]
        first_before, first_after, second_before, second_after = (
            percent(value) if like.share else decimals(value) for value in values
        )
        found.append(
            PlainPair(
                name,
                (first_before, first_after, second_before, second_after),
                points(change) if like.share else decimals(change, signed=True),
                like.smaller_is_better,
            )
        )
    return found


def _both(row: Plain | None) -> tuple[float | None, float | None]:
    return (None, None) if row is None else (row.before, row.after)


def _after(figure: Figure | None) -> Interval | None:
    return figure.after if figure else None


def _at(config: JobConfig, path: str) -> Any:
    value: Any = config
    for part in path.split("."):
        value = getattr(value, part)
    return value
