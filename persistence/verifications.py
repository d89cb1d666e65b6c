"""Uploads of which every byte is in S3: a worker reads them once, under a lease, and they are complete or failed."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from persistence import incoming_uploads, leases, setbacks
from persistence.errors import UploadSuperseded
from persistence.intakes import MAX_ATTEMPTS, exhausted
from persistence.tables import IncomingPart, IncomingUpload, Upload


@dataclass(frozen=True, slots=True)
class Claim:
    """An upload to verify, and the token that every write of this attempt must carry.

    `parts` are (number, ETag), to be put together first; empty where that is done.
    """

    upload: IncomingUpload
    token: uuid.UUID
    parts: Mapping[int, str]


def begin(session: Session, upload_id: uuid.UUID, request_id: str | None = None) -> IncomingUpload:
    """All bytes are in S3: from now on nobody adds any. Raises `UploadSuperseded` when that was said before."""
    incoming = session.scalars(
        update(IncomingUpload)
        .where(IncomingUpload.id == upload_id, IncomingUpload.status == "receiving")
        .values(
            status="verifying",
            received=IncomingUpload.size,
            writer=None,
            predecessor=None,
            dispatched_at=None,
            request_id=request_id,
        )
        .returning(IncomingUpload),
        execution_options={"populate_existing": True},
    ).one_or_none()
    if incoming is None:
        raise UploadSuperseded(upload_id)
    return incoming


def claim(session: Session, upload_id: uuid.UUID, worker: str, lease_seconds: float) -> Claim | None:
    """Take an upload for verifying; None when it needs none, or somebody has it."""
    upload = leases.claim(session, IncomingUpload, upload_id, worker=worker, lease_seconds=lease_seconds)
    return None if upload is None else claimed(session, upload)


def claimed(session: Session, upload: IncomingUpload) -> Claim:
    """What is to be known of an upload that was just taken, in its turn or by its id."""
    assert upload.lease_token is not None
    parts = select(IncomingPart.number, IncomingPart.etag).where(IncomingPart.upload_id == upload.id)
    return Claim(upload, upload.lease_token, dict(session.execute(parts).all()))


def renew(session: Session, upload_id: uuid.UUID, token: uuid.UUID, lease_seconds: float) -> str:
    """Extend the lease. Raises `LeaseLost`."""
    return leases.renew(session, IncomingUpload, upload_id, token, lease_seconds)


def finish(session: Session, upload_id: uuid.UUID, token: uuid.UUID, sha256: str, size: int, ttl: timedelta) -> Upload:
    """The bytes are right and the object is in the store: the upload is complete. Raises `LeaseLost`."""
    return incoming_uploads.become(session, leases.fence(session, IncomingUpload, upload_id, token), sha256, size, ttl)


def fail(session: Session, upload_id: uuid.UUID, token: uuid.UUID, error: Mapping[str, Any]) -> None:
    """The bytes are not the announced ones, or are gone; the caller discards them. Raises `LeaseLost`."""
    _fail(session, leases.fence(session, IncomingUpload, upload_id, token), error)


def hand_back(session: Session, upload_id: uuid.UUID, token: uuid.UUID, error: Mapping[str, Any]) -> None:
    """Have it tried again, as often as it takes: what was in the way has nothing to do with the upload.

    A sweep sends it when its time has come, if nobody does so before. Raises `LeaseLost`.
    """
    upload = leases.fence(session, IncomingUpload, upload_id, token)
    upload.error = dict(error)
    upload.attempt -= 1
    upload.dispatched_at = None
    setbacks.put_off(upload, str(error.get("code")))
    leases.drop(upload)
    session.flush()


def take_back_expired(session: Session, upload_id: uuid.UUID) -> str | None:
    """End the attempt of a worker that went silent, and give up after a few; None when it has not."""
    upload = leases.lock_expired(session, IncomingUpload, upload_id)
    if upload is None:
        return None
    message = f"the worker {upload.worker} went silent while it verified the upload"
    error = {"code": "worker_lost", "message": message, "stage": None, "retryable": True}
    if upload.attempt < MAX_ATTEMPTS:
        upload.error, upload.dispatched_at = error, None
        leases.drop(upload)
        session.flush()
    else:
        _fail(session, upload, exhausted(upload.attempt, error))
    return upload.status


def expired(session: Session) -> Sequence[uuid.UUID]:
    """Uploads whose worker went silent."""
    return leases.expired(session, IncomingUpload)


def undispatched(session: Session, older_than_seconds: float) -> Sequence[uuid.UUID]:
    """Uploads that wait, and were not sent within that time."""
    return leases.undispatched(session, IncomingUpload, older_than_seconds)


def mark_dispatched(session: Session, upload_id: uuid.UUID) -> None:
    """Note that the task was sent just now."""
    leases.mark_dispatched(session, IncomingUpload, upload_id)


def _fail(session: Session, upload: IncomingUpload, error: Mapping[str, Any]) -> None:
    upload.status, upload.error = "failed", dict(error)
    upload.received = 0
    upload.expires_at = func.now() + incoming_uploads.REMEMBERED
    leases.drop(upload)
    session.flush()
    session.execute(delete(IncomingPart).where(IncomingPart.upload_id == upload.id))
