"""Jobs as workers see them: claim, report, finish or hand back. Every write carries the attempt's fencing token.

Each change of state, its event and its notification are one transaction.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from masktune_core.config import JobConfig, Stage
from persistence import events, leases
from persistence.intakes import exhausted
from persistence.tables import Job, StageTransition
from persistence.transitions import check


@dataclass(frozen=True, slots=True)
class Claim:
    """A job to run, and the token that every write of this attempt must carry. `attempt` counts from 1."""

    job: Job
    token: uuid.UUID
    attempt: int
    config: JobConfig


def claim(
    session: Session, job_id: uuid.UUID, *, worker: str, lease_seconds: float, device: str | None = None
) -> Claim | None:
    """Take a queued job, in one conditional update; None when it is not queued, so that a second delivery does nothing.

    `worker` and `device` are for people, in the event `job.started`.
    """
    job = leases.claim(
        session,
        Job,
        job_id,
        worker=worker,
        lease_seconds=lease_seconds,
        status="running",
        stage=None,
        progress=None,
        started_at=func.coalesce(Job.started_at, func.now()),
    )
    if job is None or job.lease_token is None:
        return None
    token, attempt = job.lease_token, job.attempt
    events.append(session, job_id, "job.started", {"attempt": attempt, "worker": worker, "device": device}, token=token)
    return Claim(job, token, attempt, JobConfig.model_validate(job.config))


def renew(
    session: Session, job_id: uuid.UUID, token: uuid.UUID, lease_seconds: float
) -> Literal["running", "cancelling"]:
    """Extend the lease; says whether cancellation was asked for. Raises `LeaseLost`."""
    status = leases.renew(session, Job, job_id, token, lease_seconds)
    return "running" if status == "running" else "cancelling"


def enter_stage(session: Session, job_id: uuid.UUID, token: uuid.UUID, stage: Stage, iteration: int) -> None:
    """The attempt begins a stage. Raises `LeaseLost`."""
    job = leases.fence(session, Job, job_id, token)
    job.stage = stage
    session.flush()
    session.execute(
        insert(StageTransition)
        .values(job_id=job_id, attempt=job.attempt, stage=stage, iteration=iteration)
        .on_conflict_do_nothing()
    )
    events.append(session, job_id, "job.stage", {"stage": stage, "iteration": iteration}, token=token)


def set_progress(session: Session, job_id: uuid.UUID, token: uuid.UUID, progress: Mapping[str, Any]) -> None:
    """Replace the progress snapshot. No event: a watcher looks once a second. Raises `LeaseLost`."""
    leases.fence(session, Job, job_id, token).progress = dict(progress)
    session.flush()


def set_manifest(session: Session, job_id: uuid.UUID, token: uuid.UUID, manifest: Mapping[str, Any]) -> None:
    """Record seed, versions, device and hashes. Raises `LeaseLost`."""
    leases.fence(session, Job, job_id, token).manifest = dict(manifest)
    session.flush()


def add_warning(session: Session, job_id: uuid.UUID, token: uuid.UUID, code: str, message: str) -> None:
    """Add a warning, once: a later attempt that meets it again adds nothing. Raises `LeaseLost`."""
    job = leases.fence(session, Job, job_id, token)
    warning = {"code": code, "message": message}
    if warning in job.warnings:
        return
    job.warnings = [*job.warnings, warning]
    session.flush()
    events.append(session, job_id, "job.warning", warning, token=token)


def finish(
    session: Session,
    job_id: uuid.UUID,
    token: uuid.UUID,
    status: Literal["succeeded", "failed", "cancelled"],
    error: Mapping[str, Any] | None = None,
) -> None:
    """End the job. Raises `LeaseLost`, and `IllegalTransition` when the status does not allow it: a job that is
    cancelling can only become cancelled."""
    job = leases.fence(session, Job, job_id, token)
    check(job.status, status)
    _end(session, job, status, error)


def hand_back(
    session: Session, job_id: uuid.UUID, token: uuid.UUID, error: Mapping[str, Any], *, counted: bool = True
) -> str:
    """Give the job up for another attempt and return its new status.

    That is `queued`; or `failed` (attempts_exhausted, with `error` as its `cause`) when the attempts are used up; or
    `cancelled` when that was asked for. With `counted=False` the attempt does not use up a try. Raises `LeaseLost`.
    """
    job = leases.fence(session, Job, job_id, token)
    if not counted:
        job.max_attempts += 1
    return _retry(session, job, error)


def take_back_expired(session: Session, job_id: uuid.UUID) -> str | None:
    """As `hand_back`, for a worker that went silent. None when the lease has not run out after all."""
    job = leases.lock_expired(session, Job, job_id)
    if job is None:
        return None
    error = {
        "code": "worker_lost",
        "message": f"the worker {job.worker} went silent: it was killed, or lost its connection to the database",
        "stage": job.stage,
        "retryable": True,
    }
    return _retry(session, job, error)


def expired(session: Session) -> Sequence[uuid.UUID]:
    """Jobs whose worker went silent."""
    return leases.expired(session, Job)


def undispatched(session: Session, older_than_seconds: float) -> Sequence[uuid.UUID]:
    """Queued jobs that were not sent within that time."""
    return leases.undispatched(session, Job, older_than_seconds)


def mark_dispatched(session: Session, job_id: uuid.UUID) -> None:
    """Note that the task was sent just now."""
    leases.mark_dispatched(session, Job, job_id)


def _retry(session: Session, job: Job, error: Mapping[str, Any]) -> str:
    if job.status == "cancelling":
        _end(session, job, "cancelled")
    elif job.attempt >= job.max_attempts:
        _end(session, job, "failed", exhausted(job.attempt, error))
    else:
        check(job.status, "queued")
        job.status = "queued"
        job.stage = job.progress = None
        job.error = dict(error)
        job.dispatched_at = None
        leases.drop(job)
        session.flush()
        events.append(session, job.id, "job.retrying", {"error": dict(error)})
    return job.status


def _end(session: Session, job: Job, status: str, error: Mapping[str, Any] | None = None) -> None:
    check(job.status, status)
    job.status = status
    job.error = None if error is None else dict(error)
    job.finished_at = func.now()
    leases.drop(job)
    session.flush()
    events.append(session, job.id, f"job.{status}", {} if error is None else {"error": dict(error)})
