"""The state of several jobs at a glance, for those who watch them live."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from persistence.tables import Job


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`event_seq` is the number of the job's last event, `progress` its latest progress."""

    status: str
    event_seq: int
    progress: dict[str, Any] | None


def read_snapshots(session: Session, job_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Snapshot]:
    """The snapshots of those of `job_ids` that exist, of any tenant: the caller has checked who may look."""
    rows = session.execute(select(Job.id, Job.status, Job.event_seq, Job.progress).where(Job.id.in_(job_ids)))
    return {row.id: Snapshot(row.status, row.event_seq, row.progress) for row in rows}
