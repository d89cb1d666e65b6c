"""When the attempts of a job entered and left its stages."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from persistence.event_types import LAST_TYPES
from persistence.tables import Event, Job, StageTransition

_ENDS: Final = LAST_TYPES | {"job.paused", "job.retrying"}


@dataclass(frozen=True, slots=True)
class StageSpan:
    """One stage of one attempt. `left_at` is None while it lasts, and for one whose worker went silent in it."""

    attempt: int
    stage: str
    iteration: int
    entered_at: datetime
    left_at: datetime | None

    @property
    def seconds(self) -> float | None:
        """How long it took, if it is known to have ended."""
        return None if self.left_at is None else (self.left_at - self.entered_at).total_seconds()


def of(session: Session, job: Job) -> list[StageSpan]:
    """Every stage of every attempt, in order of time."""
    rows = session.scalars(
        select(StageTransition)
        .where(StageTransition.job_id == job.id)
        .order_by(StageTransition.attempt, StageTransition.entered_at)
    ).all()
    ends = _ends(session, job.id)
    found = []
    for row, following in zip_longest(rows, rows[1:]):
        same = following is not None and following.attempt == row.attempt
        left_at = following.entered_at if same else ends.get(row.attempt)
        found.append(StageSpan(row.attempt, row.stage, row.iteration, row.entered_at, left_at))
    return found


def _ends(session: Session, job_id: uuid.UUID) -> dict[int, datetime | None]:
    """When each attempt ended; None for one whose worker went silent.

    It is the first of these events in an attempt: what comes after it, such as a cancellation, found a job that waited.
    """
    rows = session.execute(
        select(Event.attempt, Event.created_at, Event.data["error"]["code"].astext)
        .where(Event.job_id == job_id, Event.type.in_(_ENDS))
        .order_by(Event.seq)
    )
    found: dict[int, datetime | None] = {}
    for attempt, at, code in rows:
        found.setdefault(attempt, None if code == "worker_lost" else at)
    return found


def from_checkpoint(job: Job, found: Sequence[StageSpan]) -> bool:
    """Whether the job starts from a checkpoint, or did: one that was deleted shows by the training it did not need.

    `found` are the job's spans. Once the checkpoint is gone, nothing tells of it in a job that never came past it.
    """
    if job.checkpoint_id is not None:
        return True
    entered = {span.stage for span in found}
    return "masking" in entered and "training_erm" not in entered
