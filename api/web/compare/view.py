"""What two results share, and where the two configurations differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.web.charts.intervals import Interval
from api.web.jobs.fields import fields, text_of
from api.web.results.figures import Figure, SplitFigures
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
    def beyond_chance(self) -> bool:
        """Whether their intervals do not touch."""
        first, second = _after(self.first), _after(self.second)
        return bool(first and second and (first.high < second.low or second.high < first.low))


@dataclass(frozen=True, slots=True)
class SplitPairs:
    """A split that both jobs were judged on."""

    split: str
    rows: list[Pair]


def paired(first: Sequence[SplitFigures], second: Sequence[SplitFigures]) -> list[SplitPairs]:
    """Splits that both have, in the first's order; groups by name."""
    others = {split.split: split for split in second}
    return [
        SplitPairs(split.split, _rows(split.rows, others[split.split].rows)) for split in first if split.split in others
    ]


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


def _rows(first: Sequence[Figure], second: Sequence[Figure]) -> list[Pair]:
    names = dict.fromkeys((row.kind, row.name) for row in (*first, *second))
    one = {(row.kind, row.name): row for row in first}
    other = {(row.kind, row.name): row for row in second}
    return [Pair(name, kind, one.get((kind, name)), other.get((kind, name))) for kind, name in names]


def _after(figure: Figure | None) -> Interval | None:
    return figure.after if figure else None


def _at(config: JobConfig, path: str) -> Any:
    value: Any = config
    for part in path.split("."):
        value = getattr(value, part)
    return value
