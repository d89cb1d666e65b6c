"""A job's numbered log, and the notification that wakes whoever follows it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from persistence.errors import LeaseLost, NotFound
from persistence.pages import Page, cut
from persistence.tables import Event, Job
from persistence.transitions import ACTIVE

CHANNEL: Final = "masktune_events"
"""NOTIFY channel; the payload is the job's id. It is sent with the commit, so the event is there to be read."""


def append(
    session: Session, job_id: uuid.UUID, type_: str, data: Mapping[str, Any], *, token: uuid.UUID | None = None
) -> int:
    """Add an event and return its number.

    Numbers have no gaps: the job's row hands them out and stays locked until the transaction ends. With a
    `token` the event belongs to that attempt: raises `LeaseLost`. Without one: raises `NotFound`.
    """
    statement = update(Job).where(Job.id == job_id)
    if token is not None:
        statement = statement.where(Job.lease_token == token, Job.status.in_(ACTIVE))
    numbered = session.execute(
        statement.values(event_seq=Job.event_seq + 1).returning(Job.event_seq, Job.attempt)
    ).one_or_none()
    if numbered is None:
        raise NotFound("job", job_id) if token is None else LeaseLost("job", job_id)
    session.execute(
        insert(Event).values(
            job_id=job_id, seq=numbered.event_seq, attempt=numbered.attempt, type=type_, data=dict(data)
        )
    )
    session.execute(select(func.pg_notify(CHANNEL, str(job_id))))
    return int(numbered.event_seq)


def last(session: Session, job_id: uuid.UUID) -> int:
    """The number of the job's last event, 0 when there is none."""
    return session.scalar(select(Job.event_seq).where(Job.id == job_id)) or 0


def page(session: Session, job_id: uuid.UUID, after: int = 0, limit: int = 100) -> Page[Event]:
    """Events numbered above `after`, in order."""
    rows = session.scalars(
        select(Event).where(Event.job_id == job_id, Event.seq > after).order_by(Event.seq).limit(limit + 1)
    ).all()
    return cut(rows, limit, lambda event: event.seq)
