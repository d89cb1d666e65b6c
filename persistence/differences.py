"""Where two jobs on the same images end up with different answers."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import and_, case, func, select
from sqlalchemy.orm import Session, aliased

from persistence.pages import Page, cut
from persistence.tables import Sample


@dataclass(frozen=True, slots=True)
class Difference:
    """One image, of `width` × `height` pixels, that the two finetuned models see differently."""

    index: int
    split: str
    width: int
    height: int
    label: int
    first_predicted: int
    first_confidence: float
    second_predicted: int
    second_confidence: float


@dataclass(frozen=True, slots=True)
class SplitDifferences:
    """How many images of a split: only the first is right, only the second, or both are wrong in different ways."""

    split: str
    only_first: int
    only_second: int
    neither: int


def page(
    session: Session, first: uuid.UUID, second: uuid.UUID, *, after: int | None = None, limit: int = 50
) -> Page[Difference]:
    """Images in the order of their index whose final predictions differ."""
    one, other = aliased(Sample), aliased(Sample)
    statement = (
        select(
            one.index,
            one.split,
            one.width,
            one.height,
            one.label,
            one.predicted_after,
            one.confidence_after,
            other.predicted_after,
            other.confidence_after,
        )
        .join(other, and_(other.job_id == second, other.index == one.index))
        .where(one.job_id == first, one.predicted_after != other.predicted_after)
    )
    if after is not None:
        statement = statement.where(one.index > after)
    rows = [Difference(*row) for row in session.execute(statement.order_by(one.index).limit(limit + 1))]
    return cut(rows, limit, lambda row: row.index)


def counts(session: Session, first: uuid.UUID, second: uuid.UUID) -> list[SplitDifferences]:
    """By split, those without any difference left out. Reads every sample of both jobs."""
    one, other = aliased(Sample), aliased(Sample)
    right, right_too = one.predicted_after == one.label, other.predicted_after == one.label
    rows = session.execute(
        select(
            one.split,
            func.count(case((right, 1))),
            func.count(case((right_too, 1))),
            func.count(case((~right & ~right_too, 1))),
        )
        .join(other, and_(other.job_id == second, other.index == one.index))
        .where(one.job_id == first, one.predicted_after != other.predicted_after)
        .group_by(one.split)
        .order_by(one.split)
    )
    return [SplitDifferences(*row) for row in rows]
