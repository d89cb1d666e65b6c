"""Checkpoints that users brought: from an upload to checked safetensors."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from persistence import intakes, leases
from persistence.errors import Conflict, NotFound
from persistence.pages import Page, cut
from persistence.tables import Checkpoint, Job, Upload
from persistence.transitions import FINISHED


@dataclass(frozen=True, slots=True)
class Claim:
    """A checkpoint to check, and the token that every write of this attempt must carry."""

    checkpoint: Checkpoint
    token: uuid.UUID
    attempt: int


def create(
    session: Session,
    tenant_id: uuid.UUID,
    name: str,
    upload: Upload,
    *,
    architecture: str,
    num_classes: int,
    classes: Sequence[str] | None = None,
) -> Checkpoint:
    """A checkpoint to be checked against a named architecture, from an upload, which may go afterwards.

    `classes` names its outputs; left out, the file may."""
    checkpoint = Checkpoint(
        tenant_id=tenant_id,
        name=name,
        architecture=architecture,
        num_classes=num_classes,
        classes=None if classes is None else list(classes),
        source_sha256=upload.sha256,
        source_filename=upload.filename,
    )
    session.add(checkpoint)
    session.flush()
    session.refresh(checkpoint)
    return checkpoint


def get(session: Session, tenant_id: uuid.UUID, checkpoint_id: uuid.UUID) -> Checkpoint:
    """Raises `NotFound`."""
    checkpoint = session.scalars(
        select(Checkpoint).where(Checkpoint.id == checkpoint_id, Checkpoint.tenant_id == tenant_id)
    ).one_or_none()
    if checkpoint is None:
        raise NotFound("checkpoint", checkpoint_id)
    return checkpoint


def list_page(
    session: Session,
    tenant_id: uuid.UUID,
    *,
    status: str | None = None,
    after: uuid.UUID | None = None,
    limit: int = 50,
) -> Page[Checkpoint]:
    """The tenant's checkpoints, newest first."""
    statement = select(Checkpoint).where(Checkpoint.tenant_id == tenant_id)
    if status is not None:
        statement = statement.where(Checkpoint.status == status)
    if after is not None:
        statement = statement.where(Checkpoint.id < after)
    rows = session.scalars(statement.order_by(Checkpoint.id.desc()).limit(limit + 1)).all()
    return cut(rows, limit, lambda checkpoint: checkpoint.id)


def delete(session: Session, tenant_id: uuid.UUID, checkpoint_id: uuid.UUID) -> None:
    """Delete a checkpoint; finished jobs stay, without it. Raises `NotFound`, `Conflict` (checkpoint_in_use)."""
    checkpoint = session.scalars(
        select(Checkpoint).where(Checkpoint.id == checkpoint_id, Checkpoint.tenant_id == tenant_id).with_for_update()
    ).one_or_none()
    if checkpoint is None:
        raise NotFound("checkpoint", checkpoint_id)
    users = session.scalar(select(func.count()).where(Job.checkpoint_id == checkpoint_id, Job.status.not_in(FINISHED)))
    if users:
        raise Conflict(
            "checkpoint_in_use", f"{users} unfinished jobs use checkpoint {checkpoint_id}: cancel or await them first"
        )
    session.delete(checkpoint)
    session.flush()


def claim(session: Session, checkpoint_id: uuid.UUID, worker: str, lease_seconds: float) -> Claim | None:
    """Take a checkpoint for checking; None when it needs none, or somebody has it."""
    checkpoint = leases.claim(session, Checkpoint, checkpoint_id, worker=worker, lease_seconds=lease_seconds)
    if checkpoint is None or checkpoint.lease_token is None:
        return None
    return Claim(checkpoint, checkpoint.lease_token, checkpoint.attempt)


def renew(session: Session, checkpoint_id: uuid.UUID, token: uuid.UUID, lease_seconds: float) -> str:
    """Extend the lease. Raises `LeaseLost`."""
    return leases.renew(session, Checkpoint, checkpoint_id, token, lease_seconds)


def finish_ready(
    session: Session,
    checkpoint_id: uuid.UUID,
    token: uuid.UUID,
    *,
    content_sha256: str,
    size: int,
    classes: Sequence[str] | None = None,
) -> None:
    """The weights fit; their safetensors form is a registered object. Raises `LeaseLost`.

    `classes` are the names that the file gives its outputs; those that its owner gave stand.
    """
    checkpoint = leases.fence(session, Checkpoint, checkpoint_id, token)
    if checkpoint.classes is None and classes is not None:
        checkpoint.classes = list(classes)
    checkpoint.content_sha256, checkpoint.content_size = content_sha256, size
    intakes.settle(checkpoint, "ready")
    session.flush()


def finish_invalid(
    session: Session,
    checkpoint_id: uuid.UUID,
    token: uuid.UUID,
    error: Mapping[str, Any],
    report: Mapping[str, Any] | None = None,
) -> None:
    """The weights do not fit; `report` lists missing, unexpected and misshapen keys. Raises `LeaseLost`."""
    checkpoint = leases.fence(session, Checkpoint, checkpoint_id, token)
    checkpoint.report = None if report is None else dict(report)
    intakes.settle(checkpoint, "invalid", error)
    session.flush()


def hand_back(
    session: Session, checkpoint_id: uuid.UUID, token: uuid.UUID, error: Mapping[str, Any], *, counted: bool = True
) -> str:
    """Let another attempt check, or end as `invalid` when the attempts are used up. Raises `LeaseLost`."""
    return intakes.hand_back(session, Checkpoint, checkpoint_id, token, error, counted=counted)


def take_back_expired(session: Session, checkpoint_id: uuid.UUID) -> str | None:
    """End the attempt of a worker that went silent; None when it has not."""
    return intakes.take_back_expired(session, Checkpoint, checkpoint_id)


def expired(session: Session) -> Sequence[uuid.UUID]:
    """Checkpoints whose worker went silent."""
    return leases.expired(session, Checkpoint)


def undispatched(session: Session, older_than_seconds: float) -> Sequence[uuid.UUID]:
    """Checkpoints that wait, and were not sent within that time."""
    return leases.undispatched(session, Checkpoint, older_than_seconds)


def mark_dispatched(session: Session, checkpoint_id: uuid.UUID) -> None:
    """Note that the task was sent just now."""
    leases.mark_dispatched(session, Checkpoint, checkpoint_id)
