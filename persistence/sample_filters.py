"""Which samples are asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import ColumnElement

from persistence.tables import Sample, SampleBand, SampleCount
from persistence.tables.samples import BANDS, MODELS

BEFORE, AFTER = 1, 2
"""Parts of `Sample.outcome`: right before, right after."""


@dataclass(frozen=True, slots=True)
class SampleFilters:
    """Samples for which all of these hold; None leaves one open.

    `flipped`: `fixed` was wrong before and right after, `broken` the reverse, `any` either. A confidence is that of a
    model in its own prediction, bounds included: of the finetuned one, or with `_before` of the ERM one. `indices`
    names single samples; there should be few.
    """

    split: str | None = None
    label: int | None = None
    group: int | None = None
    flipped: Literal["fixed", "broken", "any"] | None = None
    correct_before: bool | None = None
    correct_after: bool | None = None
    min_confidence: float | None = None
    max_confidence: float | None = None
    min_confidence_before: float | None = None
    max_confidence_before: float | None = None
    indices: tuple[int, ...] | None = None

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
    def ranges(self) -> dict[str, tuple[float | None, float | None]]:
        """Least and greatest confidence by model, of the models for which any is given."""
        bounds = {
            "before": (self.min_confidence_before, self.max_confidence_before),
            "after": (self.min_confidence, self.max_confidence),
        }
        return {model: bounds[model] for model in MODELS if bounds[model] != (None, None)}

    def kinds(self, table: type[Sample] | type[SampleCount] | type[SampleBand]) -> list[ColumnElement[bool]]:
        """Conditions on split, class, group and outcome, which the three tables share."""
        wanted = (
            (table.split, self.split),
            (table.label, self.label),
            (table.group_key, self.group),
        )
        found: list[ColumnElement[bool]] = [column == value for column, value in wanted if value is not None]
        if len(self.outcomes) < 4:
            found.append(table.outcome.in_(self.outcomes))
        return found

    def bands(self, model: str) -> ColumnElement[bool]:
        """Condition on the bands that the range of a model's confidence reaches into."""
        lowest, highest = self.ranges[model]
        least, most = (math.floor(BANDS * (bound or 0.0)) for bound in (lowest, highest))
        return SampleBand.band.between(min(least, BANDS - 1), BANDS if highest is None else most)

    def confidence(self, table: type[Sample]) -> list[ColumnElement[bool]]:
        """Conditions on the confidences."""
        found: list[ColumnElement[bool]] = []
        for model, (lowest, highest) in self.ranges.items():
            column = getattr(table, f"confidence_{model}")
            if lowest is not None:
                found.append(column >= lowest)
            if highest is not None:
                found.append(column <= highest)
        return found


EVERYTHING: Final = SampleFilters()
"""No condition at all."""
