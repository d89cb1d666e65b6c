"""The end of an upload before it is complete: its row first, then its bytes."""

from __future__ import annotations

from uuid import UUID

import structlog

from api.services import Services
from persistence import incoming_uploads, uploads
from persistence.database import transaction
from persistence.errors import NotFound, StoreError

log = structlog.get_logger(__name__)


def end(services: Services, tenant_id: UUID, upload_id: UUID) -> None:
    """Forget an upload, complete or not. Raises `NotFound`, `UploadExpired`."""
    with transaction(services.sessions) as session:
        try:
            uploads.delete(session, tenant_id, upload_id)
        except NotFound:
            incoming = incoming_uploads.get(session, tenant_id, upload_id)
            incoming_uploads.delete(session, upload_id)
        else:
            return
    discard(services, upload_id, incoming.multipart_id)


def discard(services: Services, upload_id: UUID, multipart_id: str | None) -> None:
    """Discard the bytes of an upload that is no more. If the store is away, the sweeper does it later."""
    try:
        services.store.incoming.discard(upload_id, multipart_id)
    except (StoreError, OSError) as error:
        log.warning("upload_not_discarded", upload=str(upload_id), error=str(error))
