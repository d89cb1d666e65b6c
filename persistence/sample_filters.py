"""Which samples are asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import ColumnElement

from persistence.tables import Sample, SampleCount
from persistence.tables.samples import BANDS

BEFORE, AFTER = 1, 2
"""Parts of `Sample.outcome`: right before, right after."""


@dataclass(frozen=True, slots=True)
class SampleFilters:
    """Samples for which all of these hold; None leaves one open.

    `flipped`: `fixed` was wrong before and right after, `broken` the reverse, `any` either. The confidence is that of
    the finetuned model in its prediction, bounds included.
    """

    split: str | None = None
    label: int | None = None
    group: int | None = None
    flipped: Literal["fixed", "broken", "any"] | None = None
    correct_before: bool | None = None
    correct_after: bool | None = None
    min_confidence: float | None = None
    max_confidence: float | None = None

    @property
    def outcomes(self) -> list[int]:
        """The outcomes that fit."""
        flips = {"fixed": [AFTER], "broken": [BEFORE], "any": [BEFORE, AFTER]}
        return [
            outcome
            for outcome in range(4)
            if (self.flipped is None or outcome in flips[self.flipped])
            and self.correct_before in (None, bool(outcome & BEFORE))
            and self.correct_after in (None, bool(outcome & AFTER))
        ]

    @property
    def by_class(self) -> bool:
        """Whether the class or group is given."""
        return self.label is not None or self.group is not None

    @property
    def by_confidence(self) -> bool:
        """Whether the confidence is bounded."""
        return self.min_confidence is not None or self.max_confidence is not None

    def kinds(self, table: type[Sample] | type[SampleCount]) -> list[ColumnElement[bool]]:
        """Conditions on split, class, group and outcome, which `Sample` and `SampleCount` share."""
        wanted = (
            (table.split, self.split),
            (table.label, self.label),
            (table.group_key, self.group),
        )
        found: list[ColumnElement[bool]] = [column == value for column, value in wanted if value is not None]
        if len(self.outcomes) < 4:
            found.append(table.outcome.in_(self.outcomes))
        return found

    def bands(self) -> ColumnElement[bool]:
        """Condition on the bands of confidence that the range reaches into."""
        least, most = (math.floor(BANDS * (bound or 0.0)) for bound in (self.min_confidence, self.max_confidence))
        return SampleCount.band.between(min(least, BANDS - 1), BANDS if self.max_confidence is None else most)

    def confidence(self, table: type[Sample]) -> list[ColumnElement[bool]]:
        """Conditions on the confidence."""
        found: list[ColumnElement[bool]] = []
        if self.min_confidence is not None:
            found.append(table.confidence_after >= self.min_confidence)
        if self.max_confidence is not None:
            found.append(table.confidence_after <= self.max_confidence)
        return found


EVERYTHING: Final = SampleFilters()
"""No condition at all."""
