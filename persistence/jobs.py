"""Jobs as their owner sees them: create, look up, list, cancel, delete. What workers do is in `attempts.py`."""

from __future__ import annotations

import uuid
from datetime import timedelta

from sqlalchemy import delete as delete_rows
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from masktune_core.config import JobConfig
from persistence import configs, events, setbacks, webhook_outbox
from persistence.attempts import (
    Claim,
    add_warning,
    begin_write,
    claim,
    claim_next,
    enter_stage,
    expired,
    finish,
    hand_back,
    mark_dispatched,
    pause,
    renew,
    retry_smaller,
    set_manifest,
    set_progress,
    take_back_expired,
    undispatched,
)
from persistence.errors import Conflict, IdempotencyMismatch, NotFound
from persistence.pages import Page, cut
from persistence.tables import Checkpoint, Dataset, Job, ResumePoint
from persistence.transitions import ACTIVE, FINISHED, LEGAL, check

__all__ = [
    "Claim",
    "add_warning",
    "begin_write",
    "claim",
    "claim_next",
    "create",
    "delete",
    "enter_stage",
    "expired",
    "finish",
    "forget_finished",
    "get",
    "hand_back",
    "list_page",
    "mark_dispatched",
    "pause",
    "renew",
    "request_cancel",
    "request_pause",
    "resume",
    "retry_smaller",
    "set_manifest",
    "set_progress",
    "take_back_expired",
    "undispatched",
]


def create(
    session: Session,
    *,
    tenant_id: uuid.UUID,
    dataset_id: uuid.UUID,
    checkpoint_id: uuid.UUID | None = None,
    name: str,
    config: JobConfig,
    priority: int = 0,
    idempotency_key: str | None = None,
    request_hash: str | None = None,
) -> tuple[Job, bool]:
    """A queued job, and whether it was created now: the same key with the same `request_hash` gives the job of before.

    Of two that come at once with one key, one waits for the other and then finds its job. Raises
    `IdempotencyMismatch`, `NotFound` (dataset, checkpoint), `Conflict` (dataset_not_ready, dataset_invalid,
    checkpoint_not_ready, checkpoint_invalid).
    """
    if idempotency_key is not None:
        replayed = _by_key(session, tenant_id, idempotency_key, request_hash)
        if replayed is not None:
            return replayed, False
    _require_ready(session, Dataset, "dataset", tenant_id, dataset_id)
    if checkpoint_id is not None:
        _require_ready(session, Checkpoint, "checkpoint", tenant_id, checkpoint_id)
    job = session.scalars(
        insert(Job)
        .values(
            tenant_id=tenant_id,
            dataset_id=dataset_id,
            checkpoint_id=checkpoint_id,
            starts_from_checkpoint=checkpoint_id is not None,
            name=name,
            config=config.model_dump(mode="json"),
            priority=priority,
            max_attempts=config.limits.max_attempts,
            idempotency_key=idempotency_key,
            request_hash=request_hash,
        )
        .on_conflict_do_nothing(index_elements=[Job.tenant_id, Job.idempotency_key])
        .returning(Job)
    ).one_or_none()
    if job is None:
        assert idempotency_key is not None
        replayed = _by_key(session, tenant_id, idempotency_key, request_hash)
        if replayed is None:
            raise Conflict("conflict", "the job of this Idempotency-Key was deleted at this moment: send it again")
        return replayed, False
    events.append(session, job.id, "job.queued", {})
    return job, True


def get(session: Session, tenant_id: uuid.UUID, job_id: uuid.UUID) -> Job:
    """Raises `NotFound`."""
    job = session.scalars(select(Job).where(Job.id == job_id, Job.tenant_id == tenant_id)).one_or_none()
    if job is None:
        raise NotFound("job", job_id)
    return job


def list_page(
    session: Session,
    tenant_id: uuid.UUID,
    *,
    status: str | None = None,
    dataset_id: uuid.UUID | None = None,
    name: str | None = None,
    after: uuid.UUID | None = None,
    limit: int = 50,
) -> Page[Job]:
    """The tenant's jobs, newest first; of one data set, or with `name` somewhere in their name."""
    statement = select(Job).where(Job.tenant_id == tenant_id)
    if dataset_id is not None:
        statement = statement.where(Job.dataset_id == dataset_id)
    if name is not None:
        statement = statement.where(Job.name.icontains(name, autoescape=True))
    if status is not None:
        statement = statement.where(Job.status == status)
    if after is not None:
        statement = statement.where(Job.id < after)
    rows = session.scalars(statement.order_by(Job.id.desc()).limit(limit + 1)).all()
    return cut(rows, limit, lambda job: job.id)


def request_cancel(session: Session, tenant_id: uuid.UUID, job_id: uuid.UUID) -> Job:
    """A queued or paused job is cancelled at once, a running one is `cancelling` until its worker has stopped.

    Asking again while it is cancelling changes nothing. Raises `NotFound`, `Conflict` (job_finished).
    """
    job = _lock(session, tenant_id, job_id)
    if job.status in FINISHED:
        raise Conflict("job_finished", f"job {job_id} has already {_past(job.status)}: nothing is left to cancel")
    if job.status == "cancelling":
        return job
    new = "cancelled" if job.status in ("queued", "paused") else "cancelling"
    check(job.status, new)
    job.status = new
    if new == "cancelled":
        job.finished_at = func.now()
        session.flush()
        events.append(session, job.id, "job.cancelled", {})
    else:
        session.flush()
        events.append(session, job.id, "job.cancel_requested", {})
    session.refresh(job)
    return job


def request_pause(session: Session, tenant_id: uuid.UUID, job_id: uuid.UUID) -> Job:
    """A queued job is paused at once, a running one is `pausing` until its worker has written a resume point.

    Asking again changes nothing. Raises `NotFound`, `Conflict` (job_not_pausable).
    """
    job = _lock(session, tenant_id, job_id)
    if job.status in ("pausing", "paused"):
        return job
    if job.status == "cancelling" or job.status in FINISHED:
        raise Conflict("job_not_pausable", f"job {job_id} is {job.status}: only a queued or running job can be paused")
    new = "paused" if job.status == "queued" else "pausing"
    check(job.status, new)
    job.status = new
    session.flush()
    events.append(session, job.id, "job.paused" if new == "paused" else "job.pause_requested", {})
    session.refresh(job)
    return job


def resume(session: Session, tenant_id: uuid.UUID, job_id: uuid.UUID) -> Job:
    """Queue a paused, cancelled or failed job again; it goes on from its last resume point that can be used.

    After a cancellation or a failure its attempts and its time start anew. A job that is queued or runs already is left
    alone. Raises `NotFound`, `Conflict` (job_not_resumable).
    """
    # Before the job: who deletes one of them locks it first, and then the jobs that lose it.
    _lock_inputs(session, get(session, tenant_id, job_id))
    job = _lock(session, tenant_id, job_id)
    if job.status in ("queued", "running"):
        return job
    if "queued" not in LEGAL[job.status]:
        reason = "wait until it has stopped" if job.status in ACTIVE else "nothing is left to do"
        raise Conflict("job_not_resumable", f"job {job_id} is {job.status}: {reason}")
    if job.dataset_id is None:
        raise Conflict("job_not_resumable", f"the data set of job {job_id} was deleted: submit a new job")
    _require_ready(session, Dataset, "dataset", tenant_id, job.dataset_id)
    if job.checkpoint_id is not None:
        _require_ready(session, Checkpoint, "checkpoint", tenant_id, job.checkpoint_id)
    elif job.starts_from_checkpoint:
        raise Conflict(
            "job_not_resumable",
            f"the checkpoint that job {job_id} starts from was deleted: upload it again and submit a new job",
        )
    before = job.status
    check(before, "queued")
    try:
        config = configs.read(job.config)
    except configs.UnreadableConfig as error:
        raise Conflict("job_not_resumable", f"{error}: submit a new job") from None
    if before in FINISHED:
        job.max_attempts = job.attempt + config.limits.max_attempts
        job.ran_seconds = 0.0
    job.status = "queued"
    job.error = job.finished_at = job.dispatched_at = None
    setbacks.clear(job)
    session.flush()
    point = session.scalars(
        select(ResumePoint).where(ResumePoint.job_id == job_id).order_by(ResumePoint.seq.desc()).limit(1)
    ).first()
    place = None if point is None else {"stage": point.stage, "epoch": point.epoch, "step": point.step}
    events.append(session, job.id, "job.resume_requested", {"from": before, "point": place})
    session.refresh(job)
    return job


def delete(session: Session, tenant_id: uuid.UUID, job_id: uuid.UUID) -> None:
    """Delete a finished job with everything it wrote. Raises `NotFound`, `Conflict` (job_not_finished)."""
    job = _lock(session, tenant_id, job_id)
    if job.status not in FINISHED:
        raise Conflict("job_not_finished", f"job {job_id} is {job.status}: cancel it or wait for its end first")
    webhook_outbox.pass_on_job(session, job_id)  # Its last events may not have been passed on yet.
    session.delete(job)
    session.flush()


def forget_finished(session: Session, retain: timedelta) -> int:
    """Delete jobs, with everything they wrote, that ended longer than `retain` ago; returns how many."""
    gone = session.scalars(
        delete_rows(Job).where(Job.status.in_(FINISHED), Job.finished_at < func.now() - retain).returning(Job.id),
        execution_options={"synchronize_session": False},
    )
    return len(gone.all())


def _lock(session: Session, tenant_id: uuid.UUID, job_id: uuid.UUID) -> Job:
    job = session.scalars(
        select(Job).where(Job.id == job_id, Job.tenant_id == tenant_id).with_for_update(key_share=True),
        execution_options={"populate_existing": True},
    ).one_or_none()
    if job is None:
        raise NotFound("job", job_id)
    return job


def _lock_inputs(session: Session, job: Job) -> None:
    """Keep the job's data set and checkpoint from being deleted, as far as they are still there."""
    for table, row_id in ((Dataset, job.dataset_id), (Checkpoint, job.checkpoint_id)):
        if row_id is not None:
            session.execute(select(table.id).where(table.id == row_id).with_for_update(read=True, key_share=True))


def _by_key(session: Session, tenant_id: uuid.UUID, key: str, request_hash: str | None) -> Job | None:
    job = session.scalars(select(Job).where(Job.tenant_id == tenant_id, Job.idempotency_key == key)).one_or_none()
    if job is not None and job.request_hash != request_hash:
        raise IdempotencyMismatch(key)
    return job


def _require_ready(
    session: Session,
    table: type[Dataset] | type[Checkpoint],
    kind: str,
    tenant_id: uuid.UUID,
    row_id: uuid.UUID,
) -> None:
    """Lock the row against deletion until the job refers to it."""
    status = session.scalars(
        select(table.status)
        .where(table.id == row_id, table.tenant_id == tenant_id)
        .with_for_update(read=True, key_share=True)
    ).one_or_none()
    if status is None:
        raise NotFound(kind, row_id)
    if status == "validating":
        raise Conflict(f"{kind}_not_ready", f"{kind} {row_id} is still being checked: wait until its status is 'ready'")
    if status == "invalid":
        raise Conflict(
            f"{kind}_invalid", f"{kind} {row_id} did not pass its check: see its errors, and upload it again"
        )


def _past(status: str) -> str:
    return "been cancelled" if status == "cancelled" else status
