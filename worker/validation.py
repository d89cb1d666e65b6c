"""A data set or checkpoint, from the task's id to its end: claim, intake child, lease, and what its failure means.

Uploads that lie in S3 wait for the same turns; what becomes of one is in `verifying`.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from persistence import checkpoints, datasets, intake_turns, setbacks, verifications
from persistence.database import transaction
from persistence.errors import LeaseLost
from persistence.settings import Settings
from persistence.tables import Dataset, IncomingUpload
from worker.attempt import Ending, Limits, Wish, watch
from worker.child import Child
from worker.context import Context
from worker.outcome import Exit, Failure, classify
from worker.reasons import reason_of
from worker.retry import StillAway, persist
from worker.verifying import verify

_log = structlog.get_logger(__name__)

Kind = Literal["dataset", "checkpoint"]
_REPOSITORIES: Final = {"dataset": datasets, "checkpoint": checkpoints, "upload": verifications}


@dataclass(frozen=True, slots=True)
class Validation:
    """A claimed data set or checkpoint."""

    kind: Kind
    id: uuid.UUID
    token: uuid.UUID
    attempt: int
    request_id: str | None
    specification: dict[str, Any]


def run_check(context: Context, woken_by: uuid.UUID) -> None:
    """Check the data set, checkpoint or upload whose turn it is; nothing if none may be checked now.

    As with jobs, the delivery of an id only says that there is work.
    """
    if context.stopping.is_set():
        return
    try:
        claimed = persist(context.sessions, lambda session: _claim(context, session), give_up=context.stopping)
    except StillAway:
        return
    if claimed is None:
        _log.info("nothing_to_check", woken_by=str(woken_by))
        return
    if isinstance(claimed, verifications.Claim):
        verify(context, claimed)
    else:
        _check(context, claimed)
    _wake_next(context)


def _check(context: Context, validation: Validation) -> None:
    about = {f"{validation.kind}_id": str(validation.id), "attempt": validation.attempt}
    with structlog.contextvars.bound_contextvars(**about, request_id=validation.request_id):
        try:
            failure = _run(context, validation)
        except OSError as error:  # no folder or no process to be had
            failure = reason_of(error)
        if failure is not None:
            _log.warning("validation_not_finished", error=failure.as_error())
            _settle(context, validation, failure)


def _claim(context: Context, session: Session) -> Validation | verifications.Claim | None:
    settings = context.settings
    row = intake_turns.claim_next(
        session,
        quota=settings.tenant_max_intakes,
        worker=context.worker_name("intake"),
        lease_seconds=settings.lease_seconds,
    )
    if row is None or row.lease_token is None:
        return None
    if isinstance(row, IncomingUpload):
        return verifications.claimed(session, row)
    source: dict[str, Any] = {
        "tenant_id": str(row.tenant_id),
        "source_sha256": row.source_sha256,
        "filename": row.source_filename,
    }
    if isinstance(row, Dataset):
        source |= {"options": row.options}
        return Validation("dataset", row.id, row.lease_token, row.attempt, row.request_id, source)
    source |= {"architecture": row.architecture, "num_classes": row.num_classes, "classes": row.classes}
    return Validation("checkpoint", row.id, row.lease_token, row.attempt, row.request_id, source)


def _wake_next(context: Context) -> None:
    """Send what had to wait for its tenant's turn, or was handed back."""
    try:
        with transaction(context.sessions) as session:
            found = intake_turns.next_up(session, quota=context.settings.tenant_max_intakes)
        if found is None:
            return
        kind, row_id = found
        if context.dispatcher.send(kind, row_id):
            with transaction(context.sessions) as session:
                _REPOSITORIES[kind].mark_dispatched(session, row_id)
    except SQLAlchemyError as error:
        _log.warning("nobody_woken", error=str(error))  # The sweeper does it.


def _run(context: Context, validation: Validation) -> Failure | None:
    settings = context.settings
    limits = Limits(
        heartbeat=settings.heartbeat_seconds,
        wall=settings.intake_max_seconds,
        stop_grace=settings.stop_grace_seconds,
        shutdown_grace=settings.stop_grace_seconds,
    )
    with context.work.claim(validation.id, validation.attempt) as folder:
        specification = {
            "kind": validation.kind,
            "id": str(validation.id),
            "token": str(validation.token),
            "work_dir": str(folder),
            "log": structlog.contextvars.get_contextvars(),
            **validation.specification,
        }
        child = Child(context.intake, specification, environment={"CUDA_VISIBLE_DEVICES": ""})
        ending = watch(child, lambda: _renew(context, validation), limits, context.stopping)
        return _judge(ending, folder, settings)


def _renew(context: Context, validation: Validation) -> Wish:
    repository = datasets if validation.kind == "dataset" else checkpoints
    with transaction(context.sessions) as session:
        repository.renew(session, validation.id, validation.token, context.settings.lease_seconds)
    return "go_on"


def _judge(ending: Ending, folder: Path, settings: Settings) -> Failure | None:
    """Why the validation has to be ended or tried again from here; None: nothing is left to do."""
    if ending.reason == "lease_lost" or ending.returncode in (Exit.DONE, Exit.LEASE_LOST):
        return None
    if ending.reason == "timed_out":
        message = f"checking it took longer than {settings.intake_max_seconds:g} s (MASKTUNE_INTAKE_MAX_SECONDS)"
        return Failure("intake_timeout", f"{message}: split it into smaller ones, or have the limit raised")
    if ending.reason == "shutdown" or ending.returncode == Exit.INTERRUPTED:
        return Failure("worker_shutdown", "the worker was shut down", retryable=True)
    return _of_a_check(classify(ending.returncode, folder, log=ending.log), settings)


def _of_a_check(failure: Failure, settings: Settings) -> Failure:
    """A child's failure in the words of a check: most children train, and the words are made for them."""
    if failure.code == "out_of_host_memory":
        message = (
            f"checking it needs more than the {settings.intake_max_memory_bytes // 2**20:,} MiB of memory that the "
            "service allows (MASKTUNE_INTAKE_MAX_MEMORY_BYTES): bring fewer or smaller files, or have the limit raised"
        )
        return Failure("intake_out_of_memory", message)
    if failure.code == "trainer_killed":
        message = (
            "the check was killed (SIGKILL), most often by the kernel when memory runs out: if it repeats, give the "
            "machine more memory, or lower MASKTUNE_INTAKE_MAX_MEMORY_BYTES or MASKTUNE_INTAKE_SLOTS"
        )
        return replace(failure, code="intake_killed", message=message)
    if failure.code == "trainer_crashed":
        return replace(failure, code="intake_crashed", message=failure.message.replace("the trainer", "the check"))
    return failure


def _settle(context: Context, validation: Validation, failure: Failure) -> None:
    """Have it tried again, if that may help and attempts are left; else it is invalid."""
    repository = datasets if validation.kind == "dataset" else checkpoints
    error = failure.as_error()

    def settle(session: Session) -> None:
        if failure.retryable:
            counted = failure.code not in setbacks.NOBODYS_FAULT
            repository.hand_back(session, validation.id, validation.token, error, counted=counted)
        elif validation.kind == "dataset":
            problem = {"code": failure.code, "where": "", "message": failure.message, "severity": "error"}
            datasets.finish_invalid(session, validation.id, validation.token, [problem], 1, error)
        else:
            checkpoints.finish_invalid(session, validation.id, validation.token, error)

    try:
        persist(context.sessions, settle, give_up=context.stopping)
    except LeaseLost:
        _log.warning("validation_not_settled", reason="the lease was lost")
    except StillAway:
        _log.warning("validation_not_settled", reason="the database is away; the lease will expire")
