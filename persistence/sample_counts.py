"""How many samples of each kind a job has, kept together with the samples."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import SmallInteger, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from persistence.sample_filters import EVERYTHING, SampleFilters
from persistence.tables import Sample, SampleBand, SampleCount
from persistence.tables.samples import BANDS, MODELS

_ORDER = {"train": 0, "val": 1, "test": 2}

Kind = tuple[str, int, int, int, int, int]
"""Split, class, group (−1: none), outcome, band of confidence before, the same after."""
COLUMNS: Final = (
    Sample.split,
    Sample.label,
    Sample.group_key,
    Sample.outcome,
    *(
        func.least(BANDS - 1, func.floor(confidence * BANDS)).cast(SmallInteger).label(f"band_{model}")
        for model, confidence in zip(MODELS, (Sample.confidence_before, Sample.confidence_after), strict=True)
    ),
)
"""The kind of a sample, and its two bands."""


def of(session: Session, job_id: uuid.UUID, indices: Sequence[int]) -> Counter[Kind]:
    """The kinds of some samples."""
    rows = session.execute(
        select(*COLUMNS, func.count()).where(Sample.job_id == job_id, Sample.index.in_(indices)).group_by(*COLUMNS)
    )
    return Counter({kind_of(row): row[-1] for row in rows})


def kind_of(row: Sequence[Any]) -> Kind:
    """Out of a row that begins with `COLUMNS`."""
    split, label, group, outcome, before, after = row[:6]
    return split, label, group, outcome, before, after


def add(session: Session, job_id: uuid.UUID, changes: Counter[Kind]) -> None:
    """Count `changes` in; negative ones for samples that are gone. Only the writer of the samples may call it."""
    kinds: Counter[tuple[Any, ...]] = Counter()
    bands: Counter[tuple[Any, ...]] = Counter()
    for kind, change in changes.items():
        kinds[kind[:4]] += change
        for model, band in zip(MODELS, kind[4:], strict=True):
            bands[(*kind[:4], model, band)] += change
    _add(session, SampleCount, job_id, kinds)
    _add(session, SampleBand, job_id, bands)


def _add(
    session: Session,
    table: type[SampleCount] | type[SampleBand],
    job_id: uuid.UUID,
    changes: Counter[tuple[Any, ...]],
) -> None:
    keys = [column.name for column in table.__table__.primary_key]
    rows = [
        {"job_id": job_id, **dict(zip(keys[1:], kind, strict=True)), "count": change}
        for kind, change in sorted(changes.items())
        if change
    ]
    if not rows:
        return
    statement = insert(table)
    total = table.count + statement.excluded.count
    session.execute(statement.on_conflict_do_update(index_elements=keys, set_={"count": total}), rows)


def total(session: Session, job_id: uuid.UUID, filters: SampleFilters = EVERYTHING) -> int | None:
    """How many samples fit; None if the filters bound a confidence, which nobody counts, and name no samples."""
    if filters.indices is not None:
        conditions = [Sample.index.in_(filters.indices), *filters.kinds(Sample), *filters.confidence(Sample)]
        return session.scalar(select(func.count()).where(Sample.job_id == job_id, *conditions)) or 0
    if filters.ranges:
        return None
    statement = select(func.coalesce(func.sum(SampleCount.count), 0)).where(
        SampleCount.job_id == job_id, *filters.kinds(SampleCount)
    )
    return int(session.scalar(statement) or 0)


def labels(session: Session, job_id: uuid.UUID, filters: SampleFilters) -> list[int]:
    """The classes that have samples which fit, in order. `filters` may bound no confidence and name no samples."""
    found = session.scalars(
        select(SampleCount.label)
        .where(SampleCount.job_id == job_id, SampleCount.count > 0, *filters.kinds(SampleCount))
        .distinct()
    )
    return sorted(found)


def splits(session: Session, job_id: uuid.UUID) -> list[str]:
    """The splits that have samples: train, val, test, then the named test sets."""
    found = session.scalars(
        select(SampleCount.split).where(SampleCount.job_id == job_id, SampleCount.count > 0).distinct()
    )
    return sorted(found, key=lambda split: (_ORDER.get(split, len(_ORDER)), split))
