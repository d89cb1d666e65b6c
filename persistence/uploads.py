"""Received files that are not yet a data set or a checkpoint."""

from __future__ import annotations

import uuid
from datetime import timedelta

from sqlalchemy import delete as delete_rows
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from persistence.errors import NotFound
from persistence.pages import Page, cut
from persistence.tables import Upload


def create(session: Session, tenant_id: uuid.UUID, filename: str, sha256: str, size: int, ttl: timedelta) -> Upload:
    """Note a received file. Its object must be registered first (`objects.register`)."""
    upload = Upload(tenant_id=tenant_id, filename=filename, sha256=sha256, size=size, expires_at=func.now() + ttl)
    session.add(upload)
    session.flush()
    session.refresh(upload)
    return upload


def get(session: Session, tenant_id: uuid.UUID, upload_id: uuid.UUID) -> Upload:
    """Raises `NotFound`, also for an upload that has expired and is not swept yet."""
    upload = session.scalars(
        select(Upload).where(Upload.id == upload_id, Upload.tenant_id == tenant_id, Upload.expires_at > func.now())
    ).one_or_none()
    if upload is None:
        raise NotFound("upload", upload_id)
    return upload


def list_page(
    session: Session, tenant_id: uuid.UUID, *, after: uuid.UUID | None = None, limit: int = 50
) -> Page[Upload]:
    """The tenant's uploads, newest first."""
    statement = select(Upload).where(Upload.tenant_id == tenant_id, Upload.expires_at > func.now())
    if after is not None:
        statement = statement.where(Upload.id < after)
    rows = session.scalars(statement.order_by(Upload.id.desc()).limit(limit + 1)).all()
    return cut(rows, limit, lambda upload: upload.id)


def delete(session: Session, tenant_id: uuid.UUID, upload_id: uuid.UUID) -> None:
    """Forget an upload; its object goes when nothing else refers to it. Raises `NotFound`."""
    session.delete(get(session, tenant_id, upload_id))
    session.flush()


def expire(session: Session) -> int:
    """Forget uploads whose time has passed; returns how many."""
    gone = session.scalars(
        delete_rows(Upload).where(Upload.expires_at <= func.now()).returning(Upload.id),
        execution_options={"synchronize_session": False},
    )
    return len(gone.all())
