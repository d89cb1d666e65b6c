"""An object goes when nothing refers to it, and never while somebody is about to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from persistence import artifacts, jobs, objects, resume_points, uploads
from persistence.database import transaction
from persistence.store import ObjectStore, Stored
from persistence.tables import StoredObject
from tests.fixtures.records import claim_job, fake_hash, make_checkpoint, make_dataset, make_job, make_tenant

NOW = timedelta(seconds=-1)
"""A grace that has passed for everything."""


def _put(store: ObjectStore, data: bytes) -> Stored:
    with store.writer() as writer:
        writer.write(data)
        return writer.commit()


def _upload(session: Session, stored: Stored) -> Any:
    objects.register(session, stored.sha256, stored.size)
    return uploads.create(session, make_tenant(session), "a.zip", stored.sha256, stored.size, timedelta(hours=1))


def _referring(session: Session) -> dict[str, str]:
    """One object for every column that can refer to one."""
    tenant = make_tenant(session)
    dataset, checkpoint = make_dataset(session, tenant), make_checkpoint(session, tenant)
    job = make_job(session, tenant, dataset_id=dataset.id)
    token = claim_job(session, job.id).token
    sha = {name: fake_hash() for name in ("artifact", "resume", "upload")}
    for sha256 in sha.values():
        objects.register(session, sha256, 1)
    artifacts.put(session, job.id, token, "model", sha["artifact"], 1, "text/plain")
    resume_points.put(session, job.id, token, sha256=sha["resume"], size=1, stage="x", epoch=1, step=1)
    uploads.create(session, tenant, "u", sha["upload"], 1, timedelta(hours=1))
    uploads.expire(session)
    session.execute(text("DELETE FROM uploads WHERE filename <> 'u'"))
    assert dataset.archive_sha256
    assert checkpoint.content_sha256
    return {
        **sha,
        "dataset source": dataset.source_sha256,
        "dataset archive": dataset.archive_sha256,
        "checkpoint source": checkpoint.source_sha256,
        "checkpoint content": checkpoint.content_sha256,
    }


def test_whatever_refers_to_an_object_keeps_it(session: Session, store: ObjectStore) -> None:
    kept = _referring(session)
    lonely = fake_hash()
    objects.register(session, lonely, 1)
    assert list(objects.unreferenced(session, NOW)) == [lonely]
    for what, sha256 in kept.items():
        assert not objects.release(session, store, sha256, grace=NOW), what
    assert objects.release(session, store, lonely, grace=NOW)
    assert objects.unreferenced(session, NOW) == []


def test_every_reference_in_the_schema_is_counted() -> None:
    referring = {
        f"{table.name}.{key.parent.name}"
        for table in StoredObject.metadata.tables.values()
        for key in table.foreign_keys
        if key.column.table.name == "objects"
    }
    assert referring == {f"{column.class_.__tablename__}.{column.key}" for column in objects._REFERENCES}


def test_an_object_shared_by_two_uploads_goes_with_the_second(session: Session, store: ObjectStore) -> None:
    stored = _put(store, b"shared")
    one, two = _upload(session, stored), _upload(session, stored)
    uploads.delete(session, one.tenant_id, one.id)
    assert not objects.release(session, store, stored.sha256, grace=NOW)
    assert store.exists(stored.sha256)
    uploads.delete(session, two.tenant_id, two.id)
    assert objects.release(session, store, stored.sha256, grace=NOW)
    assert not store.exists(stored.sha256)
    assert not objects.release(session, store, stored.sha256, grace=NOW)


def test_an_object_put_or_registered_lately_stays(session: Session, store: ObjectStore) -> None:
    stored = _put(store, b"fresh")
    objects.register(session, stored.sha256, stored.size)
    assert objects.unreferenced(session) == []
    assert not objects.release(session, store, stored.sha256)
    session.execute(text("UPDATE objects SET created_at = created_at - interval '2 hours'"))
    assert list(objects.unreferenced(session)) == [stored.sha256]
    assert not objects.release(session, store, stored.sha256), "it was put within the hour, its row is yet to come"
    assert objects.release(session, store, stored.sha256, grace=NOW)


def test_an_object_cannot_be_released_between_registration_and_reference(
    sessions: sessionmaker[Session], store: ObjectStore
) -> None:
    stored = _put(store, b"in flight")
    with transaction(sessions) as session:
        objects.register(session, stored.sha256, stored.size)
    with transaction(sessions) as using:
        objects.register(using, stored.sha256, stored.size)
        with transaction(sessions) as releasing:
            assert not objects.release(releasing, store, stored.sha256, grace=NOW)
        _upload(using, stored)
    with transaction(sessions) as releasing:
        assert not objects.release(releasing, store, stored.sha256, grace=NOW)
    assert store.exists(stored.sha256)


def test_who_registers_during_a_release_waits_and_finds_the_object_gone(
    sessions: sessionmaker[Session], store: ObjectStore
) -> None:
    stored = _put(store, b"leaving")
    with transaction(sessions) as session:
        objects.register(session, stored.sha256, stored.size)
    registered = threading.Event()

    def register() -> bool:
        with transaction(sessions) as session:
            objects.register(session, stored.sha256, stored.size)
            registered.set()
            return store.exists(stored.sha256)

    with ThreadPoolExecutor(1) as pool:
        with transaction(sessions) as releasing:
            assert objects.release(releasing, store, stored.sha256, grace=NOW)
            found = pool.submit(register)
            assert not registered.wait(0.3)
        assert found.result(10) is False, "the caller sees it under the row's lock, and puts the bytes again"


def test_a_row_cannot_refer_to_an_unregistered_object(session: Session) -> None:
    with pytest.raises(IntegrityError):
        uploads.create(session, make_tenant(session), "a.zip", fake_hash(), 1, timedelta(hours=1))


@pytest.mark.parametrize("bad", ["", "abc", "G" * 64, "A" * 64])
def test_an_object_is_named_by_a_hash(session: Session, bad: str) -> None:
    with pytest.raises(IntegrityError):
        objects.register(session, bad, 1)


def test_bytes_without_a_row_are_found_after_a_day(session: Session, store: ObjectStore) -> None:
    known, orphan = _put(store, b"known"), _put(store, b"orphan")
    objects.register(session, known.sha256, known.size)
    assert list(objects.orphans(session, store)) == []
    assert [info.sha256 for info in objects.orphans(session, store, grace=NOW)] == [orphan.sha256]
    assert not objects.release_orphan(session, store, known.sha256, grace=NOW)
    assert not objects.release_orphan(session, store, orphan.sha256, grace=timedelta(hours=1)), "put just now"
    assert objects.release_orphan(session, store, orphan.sha256, grace=NOW)
    assert [info.sha256 for info in store.list_all()] == [known.sha256]


def test_concurrent_use_and_release_never_lose_bytes_that_are_referred_to(
    sessions: sessionmaker[Session], store: ObjectStore
) -> None:
    data = b"contended"
    sha256 = _put(store, data).sha256
    barrier = threading.Barrier(4)

    def use() -> None:
        barrier.wait()
        for _ in range(8):
            stored = _put(store, data)
            with transaction(sessions) as session:
                upload = _upload(session, stored)
                if not store.exists(sha256):
                    _put(store, data)
            assert store.exists(sha256)
            with transaction(sessions) as session:
                uploads.delete(session, upload.tenant_id, upload.id)

    def release() -> None:
        barrier.wait()
        for _ in range(16):
            with transaction(sessions) as session:
                objects.release(session, store, sha256, grace=NOW)

    with ThreadPoolExecutor(4) as pool:
        work: list[Callable[[], None]] = [use, use, release, release]
        for future in [pool.submit(each) for each in work]:
            future.result(60)


def test_a_job_that_is_deleted_lets_its_files_go(session: Session, store: ObjectStore) -> None:
    job = make_job(session)
    claim = claim_job(session, job.id)
    stored = _put(store, b"weights")
    objects.register(session, stored.sha256, stored.size)
    artifacts.put(session, job.id, claim.token, "erm.safetensors", stored.sha256, stored.size, "text/plain")
    jobs.finish(session, job.id, claim.token, "succeeded")
    assert stored.sha256 not in objects.unreferenced(session, NOW)
    jobs.delete(session, job.tenant_id, job.id)
    assert stored.sha256 in objects.unreferenced(session, NOW)
