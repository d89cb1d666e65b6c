"""What a job relied on: one row, written once by the attempt that finished the last pass."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from persistence import leases
from persistence.tables import Insight, Job


def put(session: Session, job_id: uuid.UUID, token: uuid.UUID, report: dict[str, Any], maps: bytes) -> None:
    """Write it, in place of an earlier attempt's. Raises `LeaseLost`."""
    leases.fence(session, Job, job_id, token)
    values = {"report": report, "maps": maps}
    statement = insert(Insight).values(job_id=job_id, **values)
    session.execute(statement.on_conflict_do_update(index_elements=[Insight.job_id], set_=values))


def get(session: Session, job_id: uuid.UUID) -> Insight | None:
    """None for a job that has not come so far, or that ran before there were insights."""
    return session.get(Insight, job_id)


def class_names(session: Session, job_id: uuid.UUID) -> list[str]:
    """What the job called its classes, in their order; nothing where `get` has nothing."""
    classes = session.scalar(select(Insight.report["classes"]).where(Insight.job_id == job_id))
    return [found["name"] for found in classes or []]
