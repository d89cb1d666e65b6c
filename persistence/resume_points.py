"""Where an interrupted job goes on from."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import and_, delete, func, or_, select
from sqlalchemy.orm import Session

from persistence import leases
from persistence.tables import Job, ResumePoint
from persistence.transitions import FINISHED


def put(
    session: Session,
    job_id: uuid.UUID,
    token: uuid.UUID,
    *,
    sha256: str,
    size: int,
    stage: str,
    iteration: int = 0,
    epoch: int,
    step: int,
    keep: int = 2,
) -> int:
    """Name a registered object as the newest resume point, forget all but `keep`, and return its number.

    Raises `LeaseLost`.
    """
    job = leases.fence(session, Job, job_id, token)
    last = session.scalar(select(func.max(ResumePoint.seq)).where(ResumePoint.job_id == job_id)) or 0
    point = ResumePoint(
        job_id=job_id,
        seq=last + 1,
        sha256=sha256,
        size=size,
        attempt=job.attempt,
        stage=stage,
        iteration=iteration,
        epoch=epoch,
        step=step,
    )
    session.add(point)
    session.flush()
    session.execute(
        delete(ResumePoint).where(ResumePoint.job_id == job_id, ResumePoint.seq <= point.seq - keep),
        execution_options={"synchronize_session": False},
    )
    return point.seq


def newest(session: Session, job_id: uuid.UUID) -> Sequence[ResumePoint]:
    """The points that are kept, newest first: should one be damaged, the next still serves."""
    return session.scalars(
        select(ResumePoint).where(ResumePoint.job_id == job_id).order_by(ResumePoint.seq.desc())
    ).all()


def forget_finished(session: Session, retain: timedelta) -> int:
    """Forget the points that nobody will go on from; returns how many.

    Those of jobs that succeeded, and those of jobs that failed or were cancelled longer than `retain` ago.
    """
    given_up = and_(Job.status.in_(FINISHED), Job.finished_at < func.now() - retain)
    finished = select(Job.id).where(or_(Job.status == "succeeded", given_up))
    gone = session.scalars(
        delete(ResumePoint).where(ResumePoint.job_id.in_(finished)).returning(ResumePoint.seq),
        execution_options={"synchronize_session": False},
    )
    return len(gone.all())
