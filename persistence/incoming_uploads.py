"""Uploads of which not every byte is there yet: how far they are, and who may add to them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import delete as delete_rows
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from persistence import objects, quotas
from persistence.errors import NotFound, UploadExpired, UploadSuperseded
from persistence.pages import Page, cut
from persistence.tables import IncomingUpload, Upload

REMEMBERED: Final = timedelta(days=1)
"""How long after its time an upload is still known to have expired."""


def begin(
    session: Session,
    tenant_id: uuid.UUID,
    filename: str,
    size: int,
    ttl: timedelta,
    *,
    expected_sha256: str | None = None,
    tus_metadata: str | None = None,
) -> IncomingUpload:
    """An upload of `size` bytes that may come. Its size counts against the quota from now on; see `quotas`."""
    incoming = IncomingUpload(
        tenant_id=tenant_id,
        filename=filename,
        size=size,
        expires_at=func.now() + ttl,
        expected_sha256=expected_sha256,
        tus_metadata=tus_metadata,
    )
    session.add(incoming)
    session.flush()
    session.refresh(incoming)
    return incoming


def get(session: Session, tenant_id: uuid.UUID, upload_id: uuid.UUID) -> IncomingUpload:
    """Raises `NotFound`, and `UploadExpired` while its time is not long past."""
    incoming = session.scalars(
        select(IncomingUpload).where(IncomingUpload.id == upload_id, IncomingUpload.tenant_id == tenant_id)
    ).one_or_none()
    if incoming is None:
        raise NotFound("upload", upload_id)
    if session.scalar(select(IncomingUpload.expires_at <= func.now()).where(IncomingUpload.id == upload_id)):
        raise UploadExpired(upload_id)
    return incoming


def list_page(
    session: Session, tenant_id: uuid.UUID, *, after: uuid.UUID | None = None, limit: int = 50
) -> Page[IncomingUpload]:
    """The tenant's unfinished uploads, newest first."""
    statement = select(IncomingUpload).where(
        IncomingUpload.tenant_id == tenant_id, IncomingUpload.expires_at > func.now()
    )
    if after is not None:
        statement = statement.where(IncomingUpload.id < after)
    rows = session.scalars(statement.order_by(IncomingUpload.id.desc()).limit(limit + 1)).all()
    return cut(rows, limit, lambda incoming: incoming.id)


def take(session: Session, tenant_id: uuid.UUID, upload_id: uuid.UUID) -> uuid.UUID:
    """Tell whoever adds to the upload to stop; returns the token of the one who may go on.

    The newest request wins: the one before it is most often a connection that is long broken, without our knowing.
    It keeps what has arrived, and then lets go of the file (`IncomingArea.open`), whose lock is what keeps two from
    adding at once. Raises `NotFound`, `UploadExpired`.
    """
    token = uuid.uuid4()
    get(session, tenant_id, upload_id)
    session.execute(update(IncomingUpload).where(IncomingUpload.id == upload_id).values(writer=token))
    return token


def check(session: Session, upload_id: uuid.UUID, token: uuid.UUID) -> int:
    """How many bytes are safe, for the holder of the token. Raises `UploadSuperseded`."""
    received = session.scalar(
        select(IncomingUpload.received).where(IncomingUpload.id == upload_id, IncomingUpload.writer == token)
    )
    if received is None:
        raise UploadSuperseded(upload_id)
    return received


def advance(session: Session, upload_id: uuid.UUID, received: int, ttl: timedelta) -> None:
    """So many bytes are safe now; the upload lives on from here for `ttl`. For the holder of the file's lock.

    Raises `UploadSuperseded` when the upload has ended.
    """
    moved = session.scalar(
        update(IncomingUpload)
        .where(IncomingUpload.id == upload_id, IncomingUpload.received <= received)
        .values(received=received, expires_at=func.now() + ttl)
        .returning(IncomingUpload.id)
    )
    if moved is None:
        raise UploadSuperseded(upload_id)


def release(session: Session, upload_id: uuid.UUID, token: uuid.UUID) -> None:
    """Nobody adds to the upload any more, unless somebody has taken it over."""
    session.execute(
        update(IncomingUpload).where(IncomingUpload.id == upload_id, IncomingUpload.writer == token).values(writer=None)
    )


def complete(session: Session, upload_id: uuid.UUID, sha256: str, size: int, ttl: timedelta) -> Upload:
    """Every byte is there and the object is in the store: the upload of the same id.

    Raises `UploadSuperseded` when the upload has ended otherwise.
    """
    incoming = session.scalars(
        select(IncomingUpload).where(IncomingUpload.id == upload_id).with_for_update()
    ).one_or_none()
    if incoming is None:
        raise UploadSuperseded(upload_id)
    objects.register(session, sha256, size)
    upload = Upload(
        id=upload_id,
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


def delete(session: Session, upload_id: uuid.UUID) -> None:
    """Forget an upload; its bytes are the caller's to discard."""
    session.execute(delete_rows(IncomingUpload).where(IncomingUpload.id == upload_id))


def expired(session: Session) -> Sequence[IncomingUpload]:
    """Uploads whose time has passed and that may still have bytes."""
    return session.scalars(
        select(IncomingUpload).where(
            IncomingUpload.expires_at <= func.now(),
            (IncomingUpload.received > 0)
            | IncomingUpload.writer.is_not(None)
            | IncomingUpload.multipart_id.is_not(None),
        )
    ).all()


def empty(session: Session, upload_id: uuid.UUID) -> None:
    """The bytes of an expired upload are discarded."""
    session.execute(
        update(IncomingUpload).where(IncomingUpload.id == upload_id).values(received=0, writer=None, multipart_id=None)
    )


def forget(session: Session) -> int:
    """Delete the rows of uploads that expired some time ago; returns how many."""
    gone = session.scalars(
        delete_rows(IncomingUpload)
        .where(IncomingUpload.expires_at <= func.now() - REMEMBERED)
        .returning(IncomingUpload.id),
        execution_options={"synchronize_session": False},
    )
    return len(gone.all())


def among(session: Session, names: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Which of the ids are those of unfinished uploads."""
    return set(session.scalars(select(IncomingUpload.id).where(IncomingUpload.id.in_(names))))
