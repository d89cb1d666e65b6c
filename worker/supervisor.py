"""A job, from the task's id to its end: claim, trainer child, lease, and the one transition that ends the attempt."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from masktune_core.config import JobConfig, LimitsConfig
from persistence import jobs, setbacks, turns
from persistence.database import transaction
from persistence.errors import IllegalTransition, LeaseLost
from persistence.tables import Checkpoint, Dataset, Job
from worker.attempt import Ending, Limits, Wish, watch
from worker.context import Context
from worker.devices import Device
from worker.memory import need_less_memory
from worker.outcome import Exit, Failure, classify, count_host_ooms, stalled
from worker.pulse import last_sign
from worker.reasons import reason_of
from worker.retry import StillAway, persist

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A claimed job: what the trainer is told, and what the supervisor needs to end it."""

    job_id: uuid.UUID
    token: uuid.UUID
    number: int
    config: JobConfig
    wall_seconds: float
    smaller_batches: int
    request_id: str | None
    specification: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The status that an attempt leaves its job with; None: another attempt decides. `counted`: it used up a try.

    `smaller` is the configuration of the next attempt, where this one ran out of the device's memory.
    """

    status: Literal["queued", "paused", "succeeded", "failed", "cancelled"] | None
    failure: Failure | None = None
    counted: bool = True
    smaller: JobConfig | None = None


def run_job(context: Context, woken_by: uuid.UUID) -> None:
    """Run one attempt of the job whose turn it is, on a free device; nothing if no job may start now.

    The delivery of a job's id only says that there is work: which job is next, the database decides. So it does no harm
    when a delivery comes twice, late or never.
    """
    with context.devices.lend() as device:
        if context.stopping.is_set():
            return  # Never claimed: the sweeper sends it to a worker that stays.
        attempt = _claim(context, device)
        if attempt is None:
            _log.info("no_job_claimed", woken_by=str(woken_by))
            return
        with structlog.contextvars.bound_contextvars(
            job_id=str(attempt.job_id), attempt=attempt.number, request_id=attempt.request_id
        ):
            _run(context, attempt, device)
        context.trainers.prepare(device)
    _wake_next(context)


def _wake_next(context: Context) -> None:
    """Send the job whose turn it is: the one that was handed back, or one that had to wait for its tenant's quota."""
    try:
        with transaction(context.sessions) as session:
            job_id = turns.next_up(session, quota_running=context.settings.tenant_max_running)
        if job_id is not None and context.dispatcher.send("job", job_id):
            with transaction(context.sessions) as session:
                jobs.mark_dispatched(session, job_id)
    except SQLAlchemyError as error:
        _log.warning("nobody_woken", error=str(error))  # The sweeper does it.


def _claim(context: Context, device: Device) -> Attempt | None:
    def claim(session: Session) -> Attempt | None:
        claimed = jobs.claim_next(
            session,
            worker=context.worker_name(device.name),
            lease_seconds=context.settings.lease_seconds,
            device=device.name,
            quota_running=context.settings.tenant_max_running,
        )
        if claimed is None:
            return None
        job = claimed.job
        return Attempt(
            job_id=job.id,
            token=claimed.token,
            number=claimed.attempt,
            config=claimed.config,
            wall_seconds=max(0.0, claimed.config.limits.wall_seconds - job.ran_seconds),
            smaller_batches=job.smaller_batches,
            request_id=job.request_id,
            specification={
                "job_id": str(job.id),
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
    _log.info("attempt_started", device=device.name)
    try:
        verdict = _supervised(context, attempt, device)
    except OSError as error:
        # No folder or no process to be had: the job says so, rather than that its worker went silent.
        failure = reason_of(error)
        _log.warning("attempt_not_started", error=failure.as_error())
        verdict = Verdict("queued" if failure.retryable else "failed", failure)
    if verdict.status is not None:
        _settle(context, attempt, verdict)


def _supervised(context: Context, attempt: Attempt, device: Device) -> Verdict:
    settings = context.settings
    limits = Limits(
        heartbeat=settings.heartbeat_seconds,
        wall=attempt.wall_seconds,
        stop_grace=settings.stop_grace_seconds,
        shutdown_grace=settings.shutdown_grace_seconds,
        stall=attempt.config.limits.stall_seconds,
    )
    with context.work.claim(attempt.job_id, attempt.number) as folder:
        ooms = count_host_ooms()
        specification = {
            **attempt.specification,
            "work_dir": str(folder),
            "log": structlog.contextvars.get_contextvars(),
        }
        child = context.trainers.start(device, specification)
        ending = watch(
            child, lambda: _renew(context, attempt), limits, context.stopping, look=lambda: last_sign(folder)
        )
        verdict = judge(ending, folder, attempt, host_ooms=count_host_ooms() - ooms)
    _log.info(
        "attempt_ended",
        reason=ending.reason,
        returncode=ending.returncode,
        status=verdict.status,
        error=verdict.failure and verdict.failure.as_error(),
    )
    return verdict


_WISHES: Final[dict[str, Wish]] = {"running": "go_on", "pausing": "pause", "cancelling": "cancel"}


def _renew(context: Context, attempt: Attempt) -> Wish:
    with transaction(context.sessions) as session:
        return _WISHES[jobs.renew(session, attempt.job_id, attempt.token, context.settings.lease_seconds)]


def judge(ending: Ending, folder: Path, attempt: Attempt, *, host_ooms: int) -> Verdict:
    """What becomes of the job after its attempt ended like this."""
    if ending.reason == "lease_lost" or ending.returncode == Exit.LEASE_LOST:
        return Verdict(None)
    if ending.reason == "cancelled":
        return Verdict("cancelled")
    if ending.returncode == Exit.DONE:
        return Verdict("succeeded")
    if ending.reason == "paused" and ending.returncode != Exit.FAILED:
        return Verdict("paused")
    failure = _failure(ending, folder, attempt.config.limits, host_ooms)
    sign = last_sign(folder)
    if failure.stage is None and sign is not None:
        failure = replace(failure, stage=sign.stage)
    if failure.code == "out_of_gpu_memory" and attempt.smaller_batches == 0:
        smaller = need_less_memory(attempt.config, failure.activity or failure.stage)
        if smaller is not None:
            return Verdict("queued", failure, counted=False, smaller=smaller)
    return Verdict(
        "queued" if failure.retryable else "failed",
        failure,
        # A deployment is not the job's fault, nor is a store that is away: neither uses up one of its attempts.
        counted=failure.code not in setbacks.NOBODYS_FAULT,
    )


def _failure(ending: Ending, folder: Path, limits: LimitsConfig, host_ooms: int) -> Failure:
    if ending.reason == "timed_out":
        message = (
            f"the job ran longer than limits.wall_seconds ({limits.wall_seconds} s), all attempts together: submit it"
            " with a higher limit or fewer epochs, or resume it to give it the same time once more"
        )
        return Failure("wall_clock_exceeded", message)
    if ending.reason == "stalled":
        return stalled(folder, limits.stall_seconds, log=ending.log)
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
        if verdict.smaller is not None:
            jobs.retry_smaller(session, job_id, token, error, verdict.smaller)
        elif verdict.status == "paused":
            jobs.pause(session, job_id, token)
        elif verdict.status == "queued":
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
