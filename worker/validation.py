"""A data set or checkpoint, from the task's id to its end: claim, intake child, lease, and what its failure means."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import structlog
from sqlalchemy.orm import Session

from persistence import checkpoints, datasets
from persistence.database import transaction
from persistence.errors import LeaseLost
from persistence.settings import Settings
from persistence.tables import Checkpoint, Dataset
from worker.attempt import Ending, Limits, Wish, watch
from worker.child import Child
from worker.context import Context
from worker.outcome import Exit, Failure, classify
from worker.retry import StillAway, persist

_log = structlog.get_logger(__name__)

Kind = Literal["dataset", "checkpoint"]


@dataclass(frozen=True, slots=True)
class Validation:
    """A claimed data set or checkpoint."""

    kind: Kind
    id: uuid.UUID
    token: uuid.UUID
    attempt: int
    request_id: str | None
    specification: dict[str, Any]


def check_dataset(context: Context, dataset_id: uuid.UUID) -> None:
    """Validate and normalise a data set, if it still waits for that; a second delivery does nothing."""
    _check(context, dataset_id, _claim_dataset)


def check_checkpoint(context: Context, checkpoint_id: uuid.UUID) -> None:
    """Validate and convert a checkpoint, if it still waits for that; a second delivery does nothing."""
    _check(context, checkpoint_id, _claim_checkpoint)


def _claim_dataset(context: Context, session: Session, dataset_id: uuid.UUID) -> Validation | None:
    claim = datasets.claim(session, dataset_id, context.worker_name("intake"), context.settings.lease_seconds)
    if claim is None:
        return None
    dataset = session.get_one(Dataset, dataset_id)
    source = {
        "tenant_id": str(dataset.tenant_id),
        "source_sha256": dataset.source_sha256,
        "filename": dataset.source_filename,
        "options": dataset.options,
    }
    return Validation("dataset", dataset_id, claim.token, claim.attempt, dataset.request_id, source)


def _claim_checkpoint(context: Context, session: Session, checkpoint_id: uuid.UUID) -> Validation | None:
    claim = checkpoints.claim(session, checkpoint_id, context.worker_name("intake"), context.settings.lease_seconds)
    if claim is None:
        return None
    checkpoint = session.get_one(Checkpoint, checkpoint_id)
    source = {
        "tenant_id": str(checkpoint.tenant_id),
        "source_sha256": checkpoint.source_sha256,
        "filename": checkpoint.source_filename,
        "architecture": checkpoint.architecture,
        "num_classes": checkpoint.num_classes,
        "classes": checkpoint.classes,
    }
    return Validation("checkpoint", checkpoint_id, claim.token, claim.attempt, checkpoint.request_id, source)


def _check(context: Context, id_: uuid.UUID, claim: Callable[[Context, Session, uuid.UUID], Validation | None]) -> None:
    if context.stopping.is_set():
        return
    try:
        validation = persist(context.sessions, lambda session: claim(context, session, id_), give_up=context.stopping)
    except StillAway:
        return
    if validation is None:
        _log.info("validation_not_claimed", id=str(id_))
        return
    about = {f"{validation.kind}_id": str(id_), "attempt": validation.attempt, "request_id": validation.request_id}
    with structlog.contextvars.bound_contextvars(**about):
        failure = _run(context, validation)
        if failure is not None:
            _log.warning("validation_not_finished", error=failure.as_error())
            _settle(context, validation, failure)


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

    def settle(session: Session) -> str:
        if failure.retryable:
            status: str = repository.hand_back(session, validation.id, validation.token, error)
            return status
        if validation.kind == "dataset":
            problem = {"code": failure.code, "where": "", "message": failure.message, "severity": "error"}
            datasets.finish_invalid(session, validation.id, validation.token, [problem], 1, error)
        else:
            checkpoints.finish_invalid(session, validation.id, validation.token, error)
        return "invalid"

    try:
        status = persist(context.sessions, settle, give_up=context.stopping)
    except LeaseLost:
        _log.warning("validation_not_settled", reason="the lease was lost")
    except StillAway:
        _log.warning("validation_not_settled", reason="the database is away; the lease will expire")
    else:
        if status == "validating":
            context.dispatcher.send(validation.kind, validation.id)
