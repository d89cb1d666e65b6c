"""Uploads that never ended leave nothing behind; those that may still end are left alone."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, update
from sqlalchemy.orm import Session, sessionmaker

from persistence import incoming_turns, incoming_uploads, tenants
from persistence.database import transaction
from persistence.errors import IncomingBusy, IncomingLost, UploadSuperseded
from persistence.incoming_sweep import alone, sweep_incoming
from persistence.store import ObjectStore, multipart, open_store
from persistence.store.incoming import Kept
from persistence.tables import IncomingUpload
from tests.fixtures.turns import Turn
from tests.persistence.store.conftest import s3_bucket, s3_endpoint

__all__ = ["s3_bucket", "s3_endpoint"]

HOUR = timedelta(hours=1)


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store((tmp_path / "objects").as_uri(), headroom=0)


def begun(sessions: sessionmaker[Session], store: ObjectStore, content: bytes = b"x" * 10) -> uuid.UUID:
    """An upload of 100 bytes of which `content` has arrived."""
    with transaction(sessions) as session:
        tenant = tenants.get_or_create(session, "acme").id
        upload = incoming_uploads.begin(session, tenant, "a.zip", 100, HOUR).id
        token = incoming_turns.take(session, tenant, upload)
    multipart_id = store.incoming.begin(upload)
    with store.incoming.open(upload, 0, Turn(100, multipart_id=multipart_id)) as writer:
        writer.write(content)
        kept = writer.sync()
    with transaction(sessions) as session:
        if multipart_id is not None:
            incoming_uploads.name_multipart(session, upload, multipart_id)
        incoming_turns.advance(session, upload, token, 0, kept, HOUR)
        incoming_turns.release(session, upload, token)
    return upload


def age(sessions: sessionmaker[Session], upload: uuid.UUID, since: timedelta = HOUR) -> None:
    """As if the upload had expired so long ago."""
    with transaction(sessions) as session:
        expiry = func.now() - since
        session.execute(update(IncomingUpload).where(IncomingUpload.id == upload).values(expires_at=expiry))


def test_only_what_has_expired_is_discarded(sessions: sessionmaker[Session], store: ObjectStore) -> None:
    alive, expired, unclaimed = (begun(sessions, store) for _ in range(3))
    with transaction(sessions) as session:
        incoming_uploads.delete(session, unclaimed)
    age(sessions, expired)
    sweep_incoming(sessions, store)
    assert list(store.incoming.names()) == [alive]
    with transaction(sessions) as session:
        assert session.get_one(IncomingUpload, alive).received == 10
        assert session.get_one(IncomingUpload, expired).received == 0  # still known to have expired
    age(sessions, expired, timedelta(days=2))
    sweep_incoming(sessions, store)
    with transaction(sessions) as session:
        assert session.get(IncomingUpload, expired) is None


def test_an_upload_that_bytes_are_coming_for_is_left_alone_though_its_time_has_passed(
    sessions: sessionmaker[Session], store: ObjectStore
) -> None:
    upload = begun(sessions, store)
    age(sessions, upload)
    with store.incoming.open(upload, 10, Turn(100)) as writer:
        sweep_incoming(sessions, store)
        writer.write(b"more")
        assert writer.sync() == Kept(14)
    assert list(store.incoming.names()) == [upload]
    sweep_incoming(sessions, store)
    assert list(store.incoming.names()) == []


def test_whoever_writes_to_a_swept_upload_is_told_that_it_has_ended(
    sessions: sessionmaker[Session], store: ObjectStore
) -> None:
    upload = begun(sessions, store)
    with transaction(sessions) as session:
        token = incoming_turns.take(session, session.get_one(IncomingUpload, upload).tenant_id, upload)
    with store.incoming.open(upload, 10, Turn(100)) as writer:
        store.incoming.discard(upload)
        writer.write(b"x" * 90)
        with pytest.raises(IncomingLost):
            store.incoming.put(upload, writer)
    age(sessions, upload)
    sweep_incoming(sessions, store)
    with transaction(sessions) as session, pytest.raises(UploadSuperseded):
        incoming_turns.advance(session, upload, token, 10, Kept(100), HOUR)


def test_leftovers_in_s3_go_after_a_day(
    sessions: sessionmaker[Session], s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts and tails whose upload ended without them, and what was begun in S3 and never noted."""
    store = open_store(f"s3://{s3_bucket}/p", headroom=0, spool=tmp_path)
    assert store.multipart is not None
    alive, gone, unnoted = begun(sessions, store), begun(sessions, store), uuid.uuid4()
    store.incoming.begin(unnoted)
    with transaction(sessions) as session:
        incoming_uploads.delete(session, gone)
    monkeypatch.setattr(multipart, "LEFT_AFTER", timedelta(days=36_500))  # the server says that all began in 2010
    sweep_incoming(sessions, store)
    client = store.multipart.client

    def left() -> list[str]:
        keys = [each["Key"] for each in client.list_objects_v2(Bucket=s3_bucket).get("Contents", ())]
        keys += [each["Key"] for each in client.list_multipart_uploads(Bucket=s3_bucket).get("Uploads", ())]
        return sorted({key.removeprefix("p/incoming/").partition(".")[0] for key in keys})

    assert left() == sorted(map(str, (alive, gone, unnoted)))
    monkeypatch.setattr(multipart, "LEFT_AFTER", timedelta(days=1))
    sweep_incoming(sessions, store)
    assert left() == [str(alive)]
    age(sessions, alive)
    sweep_incoming(sessions, store)
    assert left() == []


def test_of_the_processes_on_one_machine_one_sweeps(tmp_path: Path) -> None:
    def ask() -> None:
        with alone(tmp_path / "spool") as allowed:
            answers.append(allowed)

    answers: list[bool] = []
    with alone(tmp_path / "spool") as allowed:
        assert allowed
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    ask()
    assert answers == [False, True]


def test_two_never_add_to_one_file(store: ObjectStore) -> None:
    name = uuid.uuid4()
    with store.incoming.open(name, 0, Turn()) as writer:
        writer.write(b"first")
        with pytest.raises(IncomingBusy), store.incoming.open(name, 0, Turn()):
            pass
        with pytest.raises(IncomingBusy):
            store.incoming.wait(name, Turn(), 0.05)
    store.incoming.wait(name, Turn(), 0.0)
    with store.incoming.open(name, 3, Turn()) as writer:
        writer.write(b"st!")
        stored = store.incoming.put(name, writer)
        assert stored is not None
        assert (writer.size, stored.size) == (6, 6)
    with pytest.raises(IncomingLost), store.incoming.open(name, 7, Turn()):
        pass
    store.incoming.discard(name)
    with pytest.raises(IncomingLost), store.incoming.open(name, 3, Turn()):
        pass
