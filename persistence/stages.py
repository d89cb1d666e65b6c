"""When the attempts of a job entered and left its stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest

from sqlalchemy import select
from sqlalchemy.orm import Session

from persistence.tables import Job, StageTransition


@dataclass(frozen=True, slots=True)
class StageSpan:
    """One stage of one attempt. `left_at` is None while it lasts, and for one that an attempt was lost in."""

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
    return spans(rows, job.finished_at)


def spans(rows: Sequence[StageTransition], finished_at: datetime | None) -> list[StageSpan]:
    """The rows of one job, in order, each with its end."""
    found = []
    for row, following in zip_longest(rows, rows[1:]):
        if following is None:
            left_at = finished_at
        else:
            left_at = following.entered_at if following.attempt == row.attempt else None
        found.append(StageSpan(row.attempt, row.stage, row.iteration, row.entered_at, left_at))
    return found


def from_checkpoint(job: Job, found: Sequence[StageSpan]) -> bool:
    """Whether the job starts from a checkpoint, or did: one that was deleted shows by the training it did not need.

    `found` are the job's spans. Once the checkpoint is gone, nothing tells of it in a job that never came past it.
    """
    if job.checkpoint_id is not None:
        return True
    entered = {span.stage for span in found}
    return "masking" in entered and "training_erm" not in entered
