"""Uploads that lie in S3 are read once by a worker, however often that has to be tried."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, update
from sqlalchemy.orm import Session, sessionmaker

from persistence import incoming_uploads, verifications
from persistence.database import transaction
from persistence.dispatch import QUEUE_INTAKE, TASK_VERIFY_UPLOAD
from persistence.errors import ObjectMissing, StoreUnavailable
from persistence.settings import Settings, get_settings
from persistence.store import ObjectStore, assembled, open_store
from persistence.store.assembled import Assembled
from persistence.tables import IncomingUpload, Upload
from tests.persistence.store.conftest import s3_bucket, s3_endpoint
from tests.worker.driving import wait_until
from tests.worker.test_sweeper import Broker
from worker.context import Context
from worker.sweeper import sweep
from worker.validation import run_check

__all__ = ["s3_bucket", "s3_endpoint"]

CONTENT = b"0123456789" * 300_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
Sent = Callable[..., uuid.UUID]


@pytest.fixture
def settings(settings: Settings, s3_bucket: str) -> Settings:
    return settings.model_copy(update={"storage_url": f"s3://{s3_bucket}/p"})


@pytest.fixture
def store(settings: Settings) -> ObjectStore:
    return open_store(settings.storage, headroom=0)


@pytest.fixture
def broker(settings: Settings) -> Broker:
    return Broker(settings)


@pytest.fixture
def context(context: Context, broker: Broker) -> Context:
    return replace(context, dispatcher=broker)


@pytest.fixture
def sent(sessions: sessionmaker[Session], store: ObjectStore, tenant: uuid.UUID) -> Sent:
    """An upload whose bytes are all in S3."""

    def put(**announced: str) -> uuid.UUID:
        with transaction(sessions) as session:
            made = incoming_uploads.begin(session, tenant, "a.zip", len(CONTENT), timedelta(hours=1), **announced)  # type: ignore[arg-type]  # of these only the hash
            assert store.multipart is not None
            store.multipart.client.put_object(
                Bucket=store.multipart.bucket, Key=store.multipart.key(made.id), Body=CONTENT
            )
            verifications.begin(session, made.id, "request-1")
        return made.id

    return put


def incoming(sessions: sessionmaker[Session], upload_id: uuid.UUID) -> IncomingUpload:
    with transaction(sessions) as session:
        return session.get_one(IncomingUpload, upload_id)


def is_complete(sessions: sessionmaker[Session], upload_id: uuid.UUID) -> bool:
    with transaction(sessions) as session:
        found = session.get(Upload, upload_id)
        return found is not None and found.sha256 == SHA256


def gone(store: ObjectStore, upload_id: uuid.UUID) -> bool:
    assert store.multipart is not None
    try:
        assembled.find(store.multipart, upload_id)
    except ObjectMissing:
        return True
    return False


def test_a_verified_upload_is_an_object_and_nothing_else_is_left(
    context: Context, sessions: sessionmaker[Session], store: ObjectStore, sent: Sent
) -> None:
    upload_id = sent(expected_sha256=SHA256)
    run_check(context, upload_id)
    assert is_complete(sessions, upload_id)
    assert store.open(SHA256).read() == CONTENT
    assert gone(store, upload_id)
    with transaction(sessions) as session:
        assert session.get(IncomingUpload, upload_id) is None


def test_bytes_that_are_gone_fail_the_upload(
    context: Context, sessions: sessionmaker[Session], store: ObjectStore, sent: Sent
) -> None:
    upload_id = sent()
    store.incoming.discard(upload_id)
    run_check(context, upload_id)
    found = incoming(sessions, upload_id)
    assert found.error is not None
    assert (found.status, found.error["code"]) == ("failed", "object_missing")


def test_while_the_store_is_away_it_is_tried_again_and_again(
    context: Context, sessions: sessionmaker[Session], sent: Sent, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_id = sent()

    def away(*_: object) -> Assembled:
        raise StoreUnavailable("the object store does not answer")

    with monkeypatch.context() as outage:
        outage.setattr(assembled, "find", away)
        for setback in range(5):
            run_check(context, upload_id)
            found = incoming(sessions, upload_id)
            assert (found.status, found.attempt, found.lease_token) == ("verifying", 0, None)
            assert found.setbacks == setback + 1
            run_check(context, upload_id)
            assert incoming(sessions, upload_id).setbacks == setback + 1, "its time has not come"
            with transaction(sessions) as session:
                session.execute(update(IncomingUpload).values(not_before=func.now()))
    assert broker.sent == [], "a store that is away needs a moment"
    with transaction(sessions) as session:
        long_ago = func.now() - timedelta(minutes=1)
        session.execute(update(IncomingUpload).values(created_at=long_ago, not_before=long_ago))
    for _ in range(2):
        sweep(context, broker.length)
    assert broker.sent == [("upload", upload_id)]
    run_check(context, upload_id)
    assert is_complete(sessions, upload_id)


def test_a_worker_that_shuts_down_hands_it_to_another_at_once(
    context: Context, sessions: sessionmaker[Session], sent: Sent, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_id, find = sent(), assembled.find

    def told_to_stop(*arguments: object) -> Assembled:
        context.stopping.set()
        return find(*arguments)  # type: ignore[arg-type]  # handed on

    with monkeypatch.context() as stopping:
        stopping.setattr(assembled, "find", told_to_stop)
        run_check(context, upload_id)
    assert incoming(sessions, upload_id).lease_token is None
    assert broker.sent == [("upload", upload_id)]
    context.stopping.clear()
    run_check(context, upload_id)
    assert is_complete(sessions, upload_id)


def test_a_second_upload_of_a_tenant_waits_until_its_first_is_verified(
    context: Context, sessions: sessionmaker[Session], sent: Sent, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = sent(), sent()
    find = assembled.find

    def meanwhile(*arguments: object) -> Assembled:
        with monkeypatch.context() as once:
            once.setattr(assembled, "find", find)
            run_check(context, second)
        assert incoming(sessions, second).attempt == 0, "whose other slot would be somebody else's"
        return find(*arguments)  # type: ignore[arg-type]  # handed on

    with monkeypatch.context() as busy:
        busy.setattr(assembled, "find", meanwhile)
        run_check(context, first)
    assert is_complete(sessions, first)
    assert broker.sent == [("upload", second)]
    run_check(context, second)
    assert is_complete(sessions, second)


def test_a_worker_that_lost_its_lease_completes_nothing(
    context: Context, sessions: sessionmaker[Session], store: ObjectStore, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one took over, between its copy and the end."""
    upload_id = sent()
    publish = assembled.publish

    def outlive(*arguments: object) -> None:
        publish(*arguments)  # type: ignore[arg-type]  # handed on
        with transaction(sessions) as session:
            session.execute(update(IncomingUpload).values(lease_token=uuid.uuid4()))

    with monkeypatch.context() as late:
        late.setattr(assembled, "publish", outlive)
        run_check(context, upload_id)
    assert incoming(sessions, upload_id).status == "verifying"
    assert not gone(store, upload_id)


def test_a_lease_is_renewed_while_the_store_takes_its_time(
    context: Context, sessions: sessionmaker[Session], sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_id = sent()
    released, hash_of = threading.Event(), assembled.hash_of

    def slowly(*arguments: object) -> str:
        released.wait(20)
        return hash_of(*arguments)  # type: ignore[arg-type]  # handed on

    monkeypatch.setattr(assembled, "hash_of", slowly)
    thread = threading.Thread(target=run_check, args=(context, upload_id))
    thread.start()
    first = wait_until(lambda: incoming(sessions, upload_id).lease_expires_at)
    wait_until(lambda: incoming(sessions, upload_id).lease_expires_at != first)
    run_check(context, upload_id)
    assert incoming(sessions, upload_id).attempt == 1
    released.set()
    thread.join(20)
    assert is_complete(sessions, upload_id)


def test_a_worker_that_went_silent_is_replaced_three_times(
    context: Context, sessions: sessionmaker[Session], sent: Sent, broker: Broker
) -> None:
    upload_id = sent()
    for attempt in range(1, 4):
        with transaction(sessions) as session:
            assert verifications.claim(session, upload_id, "lost", 60) is not None
            session.execute(update(IncomingUpload).values(lease_expires_at=func.now() - timedelta(hours=2)))
        sweep(context, broker.length)
        assert len(broker.sent) == min(attempt, 2)
    found = incoming(sessions, upload_id)
    assert found.error is not None
    assert (found.status, found.error["code"]) == ("failed", "attempts_exhausted")


def test_an_upload_that_is_deleted_stops_its_worker(
    context: Context, sessions: sessionmaker[Session], store: ObjectStore, sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_id, find = sent(), assembled.find

    def deleted(*arguments: object) -> Assembled:
        found = find(*arguments)  # type: ignore[arg-type]  # handed on
        with transaction(sessions) as session:
            incoming_uploads.delete(session, upload_id)
        store.incoming.discard(upload_id)
        return found

    monkeypatch.setattr(assembled, "find", deleted)
    run_check(context, upload_id)
    assert not is_complete(sessions, upload_id)


def test_the_task_is_one_that_workers_know(
    context: Context, sessions: sessionmaker[Session], sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    get_settings.cache_clear()
    try:
        from worker import app
    finally:
        get_settings.cache_clear()
    monkeypatch.setattr(app, "context", lambda: context)
    upload_id = sent()
    app.app.tasks[TASK_VERIFY_UPLOAD](str(upload_id))
    assert is_complete(sessions, upload_id)
    assert app.app.conf.task_routes[TASK_VERIFY_UPLOAD] == {"queue": QUEUE_INTAKE}
