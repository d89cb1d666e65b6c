"""Uploads that never ended leave nothing behind; those that may still end are left alone."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from sqlalchemy import func, update
from sqlalchemy.orm import Session, sessionmaker

from persistence import incoming_uploads, tenants
from persistence.database import transaction
from persistence.errors import IncomingBusy, IncomingLost
from persistence.store import ObjectStore
from persistence.tables import IncomingUpload
from worker.context import Context
from worker.incoming import sweep_incoming


def begun(sessions: sessionmaker[Session], store: ObjectStore, content: bytes) -> uuid.UUID:
    """An upload of 100 bytes of which `content` has arrived."""
    with transaction(sessions) as session:
        tenant = tenants.get_or_create(session, "acme").id
        upload = incoming_uploads.begin(session, tenant, "a.zip", 100, timedelta(hours=1)).id
    with store.incoming.open(upload, 0) as writer:
        writer.write(content)
        writer.sync()
    with transaction(sessions) as session:
        incoming_uploads.advance(session, upload, len(content), timedelta(hours=1))
    return upload


def age(session: Session, upload: uuid.UUID, since: timedelta) -> None:
    """As if the upload had expired so long ago."""
    expiry = func.now() - since
    session.execute(update(IncomingUpload).where(IncomingUpload.id == upload).values(expires_at=expiry))


def test_only_what_has_expired_is_discarded(
    context: Context, sessions: sessionmaker[Session], store: ObjectStore
) -> None:
    alive, expired, unclaimed = (begun(sessions, store, b"x" * 10) for _ in range(3))
    with transaction(sessions) as session:
        incoming_uploads.delete(session, unclaimed)
        session.execute(
            update(IncomingUpload)
            .where(IncomingUpload.id == expired)
            .values(expires_at=func.now() - timedelta(hours=1))
        )
    sweep_incoming(context)
    assert list(store.incoming.names()) == [alive]
    with transaction(sessions) as session:
        assert session.get_one(IncomingUpload, alive).received == 10
        assert session.get_one(IncomingUpload, expired).received == 0  # still known to have expired
        age(session, expired, timedelta(days=2))
    sweep_incoming(context)
    with transaction(sessions) as session:
        assert session.get(IncomingUpload, expired) is None


def test_two_never_add_to_one_file(store: ObjectStore) -> None:
    name = uuid.uuid4()
    with store.incoming.open(name, 0) as writer:
        writer.write(b"first")
        with pytest.raises(IncomingBusy), store.incoming.open(name, 0):
            pass
        with pytest.raises(IncomingBusy):
            store.incoming.wait(name, 0.05)
    store.incoming.wait(name, 0.0)
    with store.incoming.open(name, 3) as writer:
        writer.write(b"st!")
        assert (writer.size, store.incoming.put(name, writer).size) == (6, 6)
    with pytest.raises(IncomingLost), store.incoming.open(name, 7):
        pass
    store.incoming.discard(name)
    with pytest.raises(IncomingLost), store.incoming.open(name, 3):
        pass
