"""Jobs as workers see them: claim, report, finish or hand back. Every write carries the attempt's fencing token.

Each change of state, its event and its notification are one transaction.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from masktune_core.config import JobConfig, Stage
from persistence import configs, events, leases, setbacks, turns
from persistence.advice import advised
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

    `worker` and `device` are for people, in the event `job.started`. A job whose configuration this version cannot
    read ends here, as `config_unusable`; None then too.
    """
    job = leases.claim(session, Job, job_id, lease_seconds=lease_seconds, **_begun(worker))
    if job is None:
        return None
    turns.served(session, job.tenant_id)
    return _claimed(session, job, worker, device)


def claim_next(
    session: Session, *, worker: str, lease_seconds: float, device: str | None = None, quota_running: int = 0
) -> Claim | None:
    """Take the queued job whose turn it is (see `turns`), None when none may start now.

    `quota_running` is how many jobs of a tenant without a quota of its own may run at the same time; 0: any number.
    As in `claim`, a job that cannot be read ends, and the next one is taken: it must not stop the queue.
    """
    while True:
        job = turns.claim_next(session, quota_running=quota_running, lease_seconds=lease_seconds, **_begun(worker))
        if job is None:
            return None
        claimed = _claimed(session, job, worker, device)
        if claimed is not None:
            return claimed


def _begun(worker: str) -> dict[str, Any]:
    """Columns of a job whose attempt begins now."""
    return {
        "worker": worker,
        "status": "running",
        "stage": None,
        "progress": None,
        "written": 0,
        "claimed_at": func.clock_timestamp(),
        "started_at": func.coalesce(Job.started_at, func.now()),
    }


def _claimed(session: Session, job: Job, worker: str, device: str | None) -> Claim | None:
    assert job.lease_token is not None
    token, attempt = job.lease_token, job.attempt
    events.append(session, job.id, "job.started", {"attempt": attempt, "worker": worker, "device": device}, token=token)
    try:
        return Claim(job, token, attempt, configs.read(job.config))
    except configs.UnreadableConfig as error:
        _end(session, job, "failed", {"code": "config_unusable", "message": str(error), "retryable": False})
        return None


def renew(
    session: Session, job_id: uuid.UUID, token: uuid.UUID, lease_seconds: float
) -> Literal["running", "pausing", "cancelling"]:
    """Extend the lease; says whether a pause or cancellation was asked for. Raises `LeaseLost`."""
    match leases.renew(session, Job, job_id, token, lease_seconds):
        case "running":
            return "running"
        case "pausing":
            return "pausing"
        case _:
            return "cancelling"


def begin_write(session: Session, job_id: uuid.UUID, token: uuid.UUID, number: int) -> bool:
    """Whether the attempt's write `number` (from 1, rising) is still to be made.

    Called first in the transaction that makes it. A write whose commit happened, but whose answer the connection lost,
    is thereby not made twice. Raises `LeaseLost`.
    """
    job = leases.fence(session, Job, job_id, token)
    if job.written >= number:
        return False
    job.written = number
    session.flush()
    return True


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
    cancelling can only become cancelled, and only such a one can."""
    job = leases.fence(session, Job, job_id, token)
    check(job.status, status)
    _end(session, job, status, error)


def hand_back(
    session: Session, job_id: uuid.UUID, token: uuid.UUID, error: Mapping[str, Any], *, counted: bool = True
) -> str:
    """Give the job up for another attempt and return its new status.

    That is `queued`; or `failed` (attempts_exhausted, with `error` as its `cause`) when the attempts are used up; or
    `cancelled` or `paused` when that was asked for. With `counted=False` the attempt does not use up a try. Raises
    `LeaseLost`.
    """
    job = leases.fence(session, Job, job_id, token)
    if not counted:
        job.max_attempts += 1
    return _retry(session, job, error)


def pause(session: Session, job_id: uuid.UUID, token: uuid.UUID) -> None:
    """The attempt has stopped as its owner asked; it does not count. Raises `LeaseLost`, `IllegalTransition`."""
    job = leases.fence(session, Job, job_id, token)
    _pause(session, job)


def retry_smaller(
    session: Session, job_id: uuid.UUID, token: uuid.UUID, error: Mapping[str, Any], config: JobConfig
) -> str:
    """As `hand_back` without using up a try, with a configuration that needs less memory. Raises `LeaseLost`."""
    job = leases.fence(session, Job, job_id, token)
    changes = _changes(job.config, config.model_dump(mode="json"))
    if job.status == "running":
        job.config = config.model_dump(mode="json")
        job.smaller_batches += 1
    job.max_attempts += 1
    return _retry(session, job, error, changed=changes)


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


def _retry(session: Session, job: Job, error: Mapping[str, Any], *, changed: Mapping[str, Any] | None = None) -> str:
    if job.status == "cancelling":
        _end(session, job, "cancelled")
    elif job.status == "pausing":
        _pause(session, job)
    elif job.attempt >= job.max_attempts:
        _end(session, job, "failed", exhausted(job.attempt, error))
    else:
        check(job.status, "queued")
        job.status = "queued"
        job.stage = job.progress = None
        job.error = advised(error)
        job.dispatched_at = None
        told: dict[str, Any] = {"error": job.error}
        if changed is not None:
            told["changed"] = changed
            setbacks.clear(job)
        elif seconds := setbacks.put_off(job, str(error.get("code"))):
            told["delay_seconds"] = seconds
        _let_go(job)
        session.flush()
        events.append(session, job.id, "job.retrying", told)
    return job.status


def _pause(session: Session, job: Job) -> None:
    check(job.status, "paused")
    job.status = "paused"
    job.error = None
    job.max_attempts += 1
    _let_go(job)
    session.flush()
    events.append(session, job.id, "job.paused", {})


def _let_go(job: Job) -> None:
    """Nobody works on the job any more; the time that the attempt ran is added up."""
    leases.drop(job)
    job.ran_seconds = Job.ran_seconds + _seconds_since_claim()
    job.claimed_at = None


def _seconds_since_claim() -> ColumnElement[float]:
    # An attempt whose worker went silent ran until its lease ended at most. In an UPDATE, columns are those of before.
    until = func.least(func.clock_timestamp(), func.coalesce(Job.lease_expires_at, func.clock_timestamp()))
    seconds = func.extract("epoch", until - Job.claimed_at)
    return func.greatest(func.coalesce(seconds, 0.0), 0.0)


def _changes(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted field → [old, new], for the fields that differ."""
    found: dict[str, Any] = {}
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            found |= _changes(before, value, f"{prefix}{name}.")
        elif before != value:
            found[f"{prefix}{name}"] = [before, value]
    return found


def _end(session: Session, job: Job, status: str, error: Mapping[str, Any] | None = None) -> None:
    check(job.status, status)
    job.status = status
    job.error = None if error is None else advised(error)
    job.finished_at = func.now()
    _let_go(job)
    session.flush()
    events.append(session, job.id, f"job.{status}", {} if error is None else {"error": job.error})
