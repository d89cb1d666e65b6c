"""How many samples of each kind a job has, kept together with the samples."""

from __future__ import annotations

import uuid
from collections import Counter

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from persistence.sample_filters import EVERYTHING, SampleFilters
from persistence.tables import SampleCount

_ORDER = {"train": 0, "val": 1, "test": 2}

Kind = tuple[str, int, int, int]
"""Split, class, group (−1: none), outcome."""


def add(session: Session, job_id: uuid.UUID, changes: Counter[Kind]) -> None:
    """Count `changes` in; negative ones for samples that are gone. Only the writer of the samples may call it."""
    rows = [
        {
            "job_id": job_id,
            "split": kind[0],
            "label": kind[1],
            "group_key": kind[2],
            "outcome": kind[3],
            "count": change,
        }
        for kind, change in sorted(changes.items())
        if change
    ]
    if not rows:
        return
    statement = insert(SampleCount)
    keys = [column.name for column in SampleCount.__table__.primary_key]
    total = SampleCount.count + statement.excluded.count
    session.execute(statement.on_conflict_do_update(index_elements=keys, set_={"count": total}), rows)


def total(session: Session, job_id: uuid.UUID, filters: SampleFilters = EVERYTHING) -> int | None:
    """How many samples fit; None if the filters bound the confidence, which nobody counts."""
    if filters.by_confidence:
        return None
    statement = select(func.coalesce(func.sum(SampleCount.count), 0)).where(
        SampleCount.job_id == job_id, *filters.kinds(SampleCount)
    )
    return int(session.scalar(statement) or 0)


def splits(session: Session, job_id: uuid.UUID) -> list[str]:
    """The splits that have samples: train, val, test, then the named test sets."""
    found = session.scalars(
        select(SampleCount.split).where(SampleCount.job_id == job_id, SampleCount.count > 0).distinct()
    )
    return sorted(found, key=lambda split: (_ORDER.get(split, len(_ORDER)), split))
