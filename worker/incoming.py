"""Uploads that were begun and never finished: their bytes go when their time has passed."""

from __future__ import annotations

from typing import Final

import structlog

from persistence import incoming_uploads
from persistence.database import transaction
from worker.context import Context

_log = structlog.get_logger(__name__)

_BATCH: Final = 500


def sweep_incoming(context: Context) -> None:
    """Discard the bytes of uploads that have expired, and those that no upload claims."""
    store = context.store
    with transaction(context.sessions) as session:
        expired = incoming_uploads.expired(session)
    for upload in expired:
        store.incoming.discard(upload.id)
        if upload.multipart_id is not None and store.multipart is not None:
            store.multipart.discard(upload.id, upload.multipart_id)
        with transaction(context.sessions) as session:
            incoming_uploads.empty(session, upload.id)
        _log.info("upload_expired", upload=str(upload.id), received=upload.received, size=upload.size)
    with transaction(context.sessions) as session:
        incoming_uploads.forget(session)
    names = list(store.incoming.names())
    for start in range(0, len(names), _BATCH):
        batch = names[start : start + _BATCH]
        with transaction(context.sessions) as session:
            claimed = incoming_uploads.among(session, batch)
        for name in set(batch) - claimed:
            store.incoming.discard(name)
