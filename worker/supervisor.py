"""A job, from the task's id to its end: claim, trainer child, lease, and the one transition that ends the attempt."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import structlog
from sqlalchemy.orm import Session

from masktune_core.config import JobConfig
from persistence import jobs
from persistence.database import transaction
from persistence.errors import IllegalTransition, LeaseLost
from persistence.tables import Checkpoint, Dataset, Job
from worker.attempt import Ending, Limits, watch
from worker.child import Child
from worker.context import Context
from worker.devices import Device
from worker.outcome import Exit, Failure, classify, count_host_ooms
from worker.retry import StillAway, persist

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A claimed job: what the trainer is told, and what the supervisor needs to end it."""

    job_id: uuid.UUID
    token: uuid.UUID
    number: int
    config: JobConfig
    specification: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The status that an attempt leaves its job with; None: another attempt decides. `counted`: it used up a try."""

    status: Literal["queued", "succeeded", "failed", "cancelled"] | None
    failure: Failure | None = None
    counted: bool = True


def run_job(context: Context, job_id: uuid.UUID) -> None:
    """Run one attempt of a job on a free device, if the job still waits for one; a second delivery does nothing."""
    with context.devices.lend() as device:
        if context.stopping.is_set():
            return  # Never claimed: the sweeper sends it to a worker that stays.
        attempt = _claim(context, job_id, device)
        if attempt is None:
            _log.info("job_not_claimed", job_id=str(job_id))
            return
        with structlog.contextvars.bound_contextvars(job_id=str(job_id), attempt=attempt.number):
            _run(context, attempt, device)


def _claim(context: Context, job_id: uuid.UUID, device: Device) -> Attempt | None:
    def claim(session: Session) -> Attempt | None:
        claimed = jobs.claim(
            session,
            job_id,
            worker=context.worker_name(device.name),
            lease_seconds=context.settings.lease_seconds,
            device=device.name,
        )
        if claimed is None:
            return None
        job = claimed.job
        return Attempt(
            job_id=job_id,
            token=claimed.token,
            number=claimed.attempt,
            config=claimed.config,
            specification={
                "job_id": str(job_id),
                "token": str(claimed.token),
                "attempt": claimed.attempt,
                "config": claimed.config.model_dump(mode="json"),
                "dataset": _dataset(session, job),
                "checkpoint": _checkpoint(session, job),
            },
        )

    # A worker that shuts down while the database is away has claimed nothing, and the job is sent again.
    try:
        return persist(context.sessions, claim, give_up=context.stopping)
    except StillAway:
        return None


def _dataset(session: Session, job: Job) -> dict[str, Any]:
    dataset = session.get_one(Dataset, job.dataset_id)
    return {"sha256": dataset.archive_sha256, "size": dataset.archive_size}


def _checkpoint(session: Session, job: Job) -> dict[str, Any] | None:
    if job.checkpoint_id is None:
        return None
    checkpoint = session.get_one(Checkpoint, job.checkpoint_id)
    return {"sha256": checkpoint.content_sha256, "size": checkpoint.content_size}


def _run(context: Context, attempt: Attempt, device: Device) -> None:
    settings = context.settings
    _log.info("attempt_started", device=device.name)
    limits = Limits(
        heartbeat=settings.heartbeat_seconds,
        wall=attempt.config.limits.wall_seconds,
        stop_grace=settings.stop_grace_seconds,
        shutdown_grace=settings.shutdown_grace_seconds,
    )
    with context.work.claim(attempt.job_id, attempt.number) as folder:
        ooms = count_host_ooms()
        child = Child(
            context.trainer, {**attempt.specification, "work_dir": str(folder)}, environment=device.environment()
        )
        ending = watch(child, lambda: _renew(context, attempt), limits, context.stopping)
        verdict = judge(ending, folder, wall_seconds=limits.wall, host_ooms=count_host_ooms() - ooms)
    _log.info(
        "attempt_ended",
        reason=ending.reason,
        returncode=ending.returncode,
        status=verdict.status,
        error=verdict.failure and verdict.failure.as_error(),
    )
    if verdict.status is not None:
        _settle(context, attempt, verdict)


def _renew(context: Context, attempt: Attempt) -> bool:
    with transaction(context.sessions) as session:
        status = jobs.renew(session, attempt.job_id, attempt.token, context.settings.lease_seconds)
    return status == "running"


def judge(ending: Ending, folder: Path, *, wall_seconds: float, host_ooms: int) -> Verdict:
    """What becomes of the job after its attempt ended like this."""
    if ending.reason == "lease_lost" or ending.returncode == Exit.LEASE_LOST:
        return Verdict(None)
    if ending.reason == "cancelled":
        return Verdict("cancelled")
    if ending.returncode == Exit.DONE:
        return Verdict("succeeded")
    failure = _failure(ending, folder, wall_seconds, host_ooms)
    return Verdict(
        "queued" if failure.retryable else "failed",
        failure,
        # A deployment is not the job's fault: it does not use up one of its attempts.
        counted=ending.reason != "shutdown",
    )


def _failure(ending: Ending, folder: Path, wall_seconds: float, host_ooms: int) -> Failure:
    if ending.reason == "timed_out":
        message = f"the attempt ran longer than limits.wall_seconds ({wall_seconds:g} s): raise it, or train less"
        return Failure("wall_clock_exceeded", message)
    if ending.reason == "shutdown":
        return Failure("worker_shutdown", "the worker was shut down", retryable=True)
    if ending.returncode == Exit.INTERRUPTED:
        return Failure("interrupted", "the trainer was asked to stop by somebody else", retryable=True)
    return classify(ending.returncode, folder, log=ending.log, host_ooms=host_ooms)


def _settle(context: Context, attempt: Attempt, verdict: Verdict) -> None:
    def settle(session: Session) -> None:
        job_id, token, failure = attempt.job_id, attempt.token, verdict.failure
        error: dict[str, Any] = {}
        if failure is not None:
            error = replace(failure, stage=failure.stage or session.get_one(Job, job_id).stage).as_error()
        if verdict.status == "queued":
            jobs.hand_back(session, job_id, token, error, counted=verdict.counted)
        elif verdict.status is not None:
            jobs.finish(session, job_id, token, verdict.status, error or None)

    def cancel(session: Session) -> None:
        jobs.finish(session, attempt.job_id, attempt.token, "cancelled")

    try:
        try:
            persist(context.sessions, settle, give_up=context.stopping)
        except IllegalTransition:  # Cancellation was requested after the last heartbeat.
            persist(context.sessions, cancel, give_up=context.stopping)
    except LeaseLost:
        _log.warning("attempt_not_settled", reason="the lease was lost")
    except StillAway:
        _log.warning("attempt_not_settled", reason="the database is away; the lease will expire")
    else:
        if verdict.status == "queued":
            context.dispatcher.send("job", attempt.job_id)
