"""Uploads that are not complete yet: begun, listed, ended."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy import delete as delete_rows
from sqlalchemy.orm import Session

from persistence import objects, quotas
from persistence.errors import NotFound, UploadExpired, UploadSuperseded
from persistence.pages import Page, cut
from persistence.tables import IncomingUpload, Upload

REMEMBERED: Final = timedelta(days=1)
"""How long after its time an upload is still known to have expired, and after its failure, to have failed."""


def begin(
    session: Session,
    tenant_id: uuid.UUID,
    filename: str,
    size: int,
    ttl: timedelta,
    *,
    expected_sha256: str | None = None,
    tus_metadata: str | None = None,
    direct: bool = False,
) -> IncomingUpload:
    """An upload of `size` bytes that may come. Its size counts against the quota from now on; see `quotas`."""
    incoming = IncomingUpload(
        tenant_id=tenant_id,
        filename=filename,
        size=size,
        expires_at=func.now() + ttl,
        expected_sha256=expected_sha256,
        tus_metadata=tus_metadata,
        direct=direct,
    )
    session.add(incoming)
    session.flush()
    session.refresh(incoming)
    return incoming


def name_multipart(session: Session, upload_id: uuid.UUID, multipart_id: str) -> None:
    """Note what S3 calls the upload. Raises `UploadSuperseded` when it has ended meanwhile."""
    named = session.scalar(
        update(IncomingUpload)
        .where(IncomingUpload.id == upload_id)
        .values(multipart_id=multipart_id)
        .returning(IncomingUpload.id)
    )
    if named is None:
        raise UploadSuperseded(upload_id)


def get(session: Session, tenant_id: uuid.UUID, upload_id: uuid.UUID) -> IncomingUpload:
    """Raises `NotFound`, and `UploadExpired` while its time is not long past."""
    statement = select(IncomingUpload, _is_over())
    found = session.execute(
        statement.where(IncomingUpload.id == upload_id, IncomingUpload.tenant_id == tenant_id)
    ).one_or_none()
    if found is None:
        raise NotFound("upload", upload_id)
    incoming, over = found
    if over:
        raise UploadExpired(upload_id)
    return incoming


def list_page(
    session: Session, tenant_id: uuid.UUID, status: str, *, after: uuid.UUID | None = None, limit: int = 50
) -> Page[IncomingUpload]:
    """The tenant's unfinished uploads of this status, newest first."""
    statement = select(IncomingUpload).where(
        IncomingUpload.tenant_id == tenant_id, IncomingUpload.status == status, ~_is_over()
    )
    if after is not None:
        statement = statement.where(IncomingUpload.id < after)
    rows = session.scalars(statement.order_by(IncomingUpload.id.desc()).limit(limit + 1)).all()
    return cut(rows, limit, lambda incoming: incoming.id)


def become(session: Session, incoming: IncomingUpload, sha256: str, size: int, ttl: timedelta) -> Upload:
    """Every byte is there: the upload of the same id. Its row must be locked, and the object's (`objects.refer`)."""
    upload = Upload(
        id=incoming.id,
        tenant_id=incoming.tenant_id,
        filename=incoming.filename,
        sha256=sha256,
        size=size,
        expires_at=func.now() + ttl,
    )
    session.delete(incoming)
    session.add(upload)
    session.flush()
    session.refresh(upload)
    return upload


def instant(
    session: Session, tenant_id: uuid.UUID, filename: str, sha256: str, size: int, ttl: timedelta
) -> Upload | None:
    """An upload whose bytes this tenant sent or made before, complete at once; None when it has no such bytes.

    What other tenants have is never looked at: an answer would tell that they have it, and hand it out.
    """
    known = quotas.kept_objects(tenant_id).subquery()
    if session.scalar(select(known.c.sha256).where(known.c.sha256 == sha256, known.c.size == size)) is None:
        return None
    objects.register(session, sha256, size)
    upload = Upload(tenant_id=tenant_id, filename=filename, sha256=sha256, size=size, expires_at=func.now() + ttl)
    session.add(upload)
    session.flush()
    session.refresh(upload)
    return upload


def delete(session: Session, upload_id: uuid.UUID) -> bool:
    """Forget an upload; its bytes are the caller's to discard, afterwards. Returns whether it was there."""
    return (
        session.scalar(delete_rows(IncomingUpload).where(IncomingUpload.id == upload_id).returning(IncomingUpload.id))
        is not None
    )


def expired(session: Session) -> Sequence[IncomingUpload]:
    """Uploads whose time has passed and that may still have bytes."""
    return session.scalars(
        select(IncomingUpload).where(
            _is_over(),
            (IncomingUpload.received > 0)
            | IncomingUpload.writer.is_not(None)
            | IncomingUpload.multipart_id.is_not(None),
        )
    ).all()


def empty(session: Session, upload_id: uuid.UUID) -> bool:
    """From now on nothing can be added to an expired upload, and its bytes may be discarded.

    False when it lives after all, because bytes came meanwhile, or has ended otherwise.
    """
    emptied = session.scalar(
        update(IncomingUpload)
        .where(IncomingUpload.id == upload_id, _is_over())
        .values(received=0, writer=None, predecessor=None, multipart_id=None)
        .returning(IncomingUpload.id)
    )
    return emptied is not None


def forget(session: Session) -> int:
    """Delete the rows of uploads that expired some time ago; returns how many."""
    gone = session.scalars(
        delete_rows(IncomingUpload)
        .where(_is_over(), IncomingUpload.expires_at <= func.now() - REMEMBERED)
        .returning(IncomingUpload.id),
        execution_options={"synchronize_session": False},
    )
    return len(gone.all())


def among(session: Session, names: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Which of the ids are those of unfinished uploads."""
    return set(session.scalars(select(IncomingUpload.id).where(IncomingUpload.id.in_(names))))


def _is_over() -> ColumnElement[bool]:
    """Whether its time has passed. What only waits for a worker does not expire."""
    return (IncomingUpload.expires_at <= func.now()) & (IncomingUpload.status != "verifying")
