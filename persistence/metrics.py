"""The numbers of a job, one row each."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from persistence import leases
from persistence.tables import Job, Metric

_KEY: Final = (Metric.job_id, Metric.stage, Metric.iteration, Metric.epoch, Metric.split, Metric.group, Metric.name)


@dataclass(frozen=True, slots=True)
class MetricFilters:
    """Rows whose columns have these values; None leaves a column open."""

    stage: str | None = None
    iteration: int | None = None
    split: str | None = None
    name: str | None = None


def upsert(session: Session, job_id: uuid.UUID, token: uuid.UUID, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows (the columns of `Metric` without `id` and `job_id`); a number written before is replaced.

    Raises `LeaseLost`.
    """
    leases.fence(session, Job, job_id, token)
    # The last of several with one key counts; one statement may not touch a row twice.
    unique = {tuple(row[column.key] for column in _KEY[1:]): {**row, "job_id": job_id} for row in rows}
    if not unique:
        return
    statement = insert(Metric)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=_KEY, set_={"value": statement.excluded.value, "count": statement.excluded.count}
        ),
        list(unique.values()),
    )


def list_all(session: Session, job_id: uuid.UUID, filters: MetricFilters = MetricFilters()) -> Sequence[Metric]:
    """Rows in the order in which they were first written."""
    statement = select(Metric).where(Metric.job_id == job_id)
    for column in (Metric.stage, Metric.iteration, Metric.split, Metric.name):
        value = getattr(filters, column.key)
        if value is not None:
            statement = statement.where(column == value)
    return session.scalars(statement.order_by(Metric.id)).all()


def group_names(session: Session, job_id: uuid.UUID) -> list[str]:
    """What the job called its groups, by number; nothing without groups, nor where they were too many to list.

    The last pass writes an accuracy of every group in their order, of the empty ones as well.
    """
    judged = Metric.stage == "evaluating", Metric.iteration == 0, Metric.split == "train", Metric.name == "accuracy"
    statement = select(Metric.group).where(Metric.job_id == job_id, *judged, Metric.group.is_not(None))
    return [name for name in session.scalars(statement.order_by(Metric.id)) if name is not None]
