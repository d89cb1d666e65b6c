"""Uploads that were begun and never finished: their bytes go when their time has passed."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy.orm import Session, sessionmaker

from persistence import incoming_uploads
from persistence.database import transaction
from persistence.store import ObjectStore

_log = structlog.get_logger(__name__)

_BATCH: Final = 500


def sweep_incoming(sessions: sessionmaker[Session], store: ObjectStore) -> None:
    """Discard the bytes of uploads that have expired, and those that no upload claims. May run anywhere, any time.

    Raises `StoreUnavailable`; what was not swept then is swept the next time.
    """
    with transaction(sessions) as session:
        expired = incoming_uploads.expired(session)
    for upload in expired:
        if store.incoming.is_busy(upload.id):
            continue  # Bytes are coming, slowly; the next that are safe give it more time.
        # The row first: whoever writes after that finds that the upload has ended.
        with transaction(sessions) as session:
            emptied = incoming_uploads.empty(session, upload.id)
        if emptied:
            store.incoming.discard(upload.id, upload.multipart_id)
            _log.info("upload_expired", upload=str(upload.id), received=upload.received, size=upload.size)
    with transaction(sessions) as session:
        incoming_uploads.forget(session)
    names = list(store.incoming.names())
    for start in range(0, len(names), _BATCH):
        batch = names[start : start + _BATCH]
        with transaction(sessions) as session:
            claimed = incoming_uploads.among(session, batch)
        for name in set(batch) - claimed:
            store.incoming.discard(name)


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Whether this process sweeps, of those that share the folder: False while another one does."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".sweep", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)
