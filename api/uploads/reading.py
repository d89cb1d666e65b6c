"""An upload as it stands, complete or being received."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from api.services import Services
from api.uploads.schemas import UploadRead
from persistence import incoming_uploads, uploads
from persistence.database import transaction
from persistence.errors import NotFound
from persistence.store.protocol import ObjectStore


def read(session: Session, store: ObjectStore, tenant_id: UUID, upload_id: UUID) -> UploadRead:
    """Raises `NotFound`, `UploadExpired`."""
    try:
        return UploadRead.of(uploads.get(session, tenant_id, upload_id))
    except NotFound:
        return UploadRead.under_way(incoming_uploads.get(session, tenant_id, upload_id), store)


def shown(services: Services, tenant_id: UUID, upload_id: UUID) -> UploadRead:
    """The same, in a transaction of its own."""
    with transaction(services.sessions) as session:
        return read(session, services.store, tenant_id, upload_id)
