"""An object goes when nothing refers to it, and never while somebody is about to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from persistence import artifacts, deletions, jobs, objects, resume_points, uploads
from persistence.database import transaction
from persistence.errors import StoreUnavailable
from persistence.housekeeping import release_objects
from persistence.store import ObjectStore, Stored
from persistence.tables import StoredObject, Upload
from tests.fixtures.records import claim_job, fake_hash, make_checkpoint, make_dataset, make_job, make_tenant

NOW = timedelta(seconds=-1)
"""A grace that has passed for everything."""
HOUR = timedelta(hours=1)


def put(store: ObjectStore, data: bytes) -> Stored:
    with store.writer() as writer:
        writer.write(data)
        return writer.commit()


def upload_of(session: Session, store: ObjectStore, stored: Stored) -> Upload:
    """An upload that refers to what was just put."""
    objects.hold_here(session, store, stored, gone)
    return uploads.create(session, make_tenant(session), "a.zip", stored.sha256, stored.size, HOUR)


def gone() -> None:
    """Where bytes were taken away, they cannot be put again."""
    raise StoreUnavailable("send it again")


def released(session: Session, sha256: str) -> bool:
    """Whether an object goes that is looked at now."""
    objects.unmark(session)
    objects.mark(session)
    return objects.release(session, sha256, grace=NOW) is not None


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


def test_whatever_refers_to_an_object_keeps_it(session: Session) -> None:
    kept = _referring(session)
    lonely = fake_hash()
    objects.register(session, lonely, 1)
    assert objects.mark(session) == 1
    assert list(objects.unreferenced(session, NOW)) == [lonely]
    session.execute(text("UPDATE objects SET unreferenced_since = now()"))
    for what, sha256 in kept.items():
        assert objects.release(session, sha256, grace=NOW) is None, what
    assert objects.release(session, lonely, grace=NOW) is not None
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
    stored = put(store, b"shared")
    one, two = upload_of(session, store, stored), upload_of(session, store, stored)
    uploads.delete(session, one.tenant_id, one.id)
    assert not released(session, stored.sha256)
    uploads.delete(session, two.tenant_id, two.id)
    assert released(session, stored.sha256)
    assert not released(session, stored.sha256)


def test_the_grace_begins_with_the_loss_of_the_last_reference_however_old_the_object_is(
    sessions: sessionmaker[Session], store: ObjectStore
) -> None:
    stored = put(store, b"uploaded yesterday")
    with transaction(sessions) as session:
        upload = upload_of(session, store, stored)
        session.execute(text("UPDATE objects SET created_at = created_at - interval '1 day'"))
    assert release_objects(sessions, store, HOUR) == (0, 0)
    with transaction(sessions) as session:
        uploads.delete(session, upload.tenant_id, upload.id)
    assert release_objects(sessions, store, HOUR) == (0, 0), "a backup of a minute ago still needs it"
    assert store.exists(stored.sha256)
    with transaction(sessions) as session:
        session.execute(text("UPDATE objects SET unreferenced_since = unreferenced_since - interval '59 minutes'"))
    assert release_objects(sessions, store, HOUR) == (0, 0)
    with transaction(sessions) as session:
        session.execute(text("UPDATE objects SET unreferenced_since = unreferenced_since - interval '1 minute'"))
    assert release_objects(sessions, store, HOUR) == (1, stored.size)
    assert not store.exists(stored.sha256)


def test_who_registers_an_object_again_gives_it_the_whole_grace_again(session: Session, store: ObjectStore) -> None:
    stored = put(store, b"again")
    objects.hold_here(session, store, stored, gone)
    objects.mark(session)
    session.execute(text("UPDATE objects SET unreferenced_since = now() - interval '2 hours'"))
    assert list(objects.unreferenced(session, HOUR)) == [stored.sha256]
    objects.hold_here(session, store, stored, gone)
    objects.mark(session)
    assert objects.unreferenced(session, HOUR) == []
    assert objects.release(session, stored.sha256, grace=HOUR) is None


def test_a_mark_on_what_is_referred_to_is_cleared(session: Session, store: ObjectStore) -> None:
    stored = put(store, b"in use")
    upload = upload_of(session, store, stored)
    session.execute(text("UPDATE objects SET unreferenced_since = now() - interval '2 hours'"))
    objects.unmark(session)
    uploads.delete(session, upload.tenant_id, upload.id)
    objects.mark(session)
    assert objects.unreferenced(session, HOUR) == []


def test_an_object_cannot_be_released_between_registration_and_reference(
    sessions: sessionmaker[Session], store: ObjectStore
) -> None:
    stored = put(store, b"in flight")
    with transaction(sessions) as session:
        objects.register(session, stored.sha256, stored.size)
        objects.mark(session)
    with transaction(sessions) as using:
        objects.hold_here(using, store, stored, gone)
        with transaction(sessions) as releasing:
            assert objects.mark(releasing) == 0
            assert objects.release(releasing, stored.sha256, grace=NOW) is None
        upload_of(using, store, stored)
    assert release_objects(sessions, store, NOW) == (0, 0)
    assert store.exists(stored.sha256)


def test_who_registers_during_a_release_waits_and_takes_another_generation(
    sessions: sessionmaker[Session], store: ObjectStore
) -> None:
    stored = put(store, b"leaving")
    with transaction(sessions) as session:
        objects.register(session, stored.sha256, stored.size)
        objects.mark(session)
    registered = threading.Event()

    def register() -> int:
        with transaction(sessions) as session:
            generation = objects.register(session, stored.sha256, stored.size)
            registered.set()
            return generation

    with ThreadPoolExecutor(1) as pool:
        with transaction(sessions) as releasing:
            assert objects.release(releasing, stored.sha256, grace=NOW) is not None
            found = pool.submit(register)
            assert not registered.wait(0.3)
        assert found.result(10) == 1, "a deletion of the first generation may come at any moment"


def test_a_row_cannot_refer_to_an_unregistered_object(session: Session) -> None:
    with pytest.raises(IntegrityError):
        uploads.create(session, make_tenant(session), "a.zip", fake_hash(), 1, timedelta(hours=1))


@pytest.mark.parametrize("bad", ["", "abc", "G" * 64, "A" * 64])
def test_an_object_is_named_by_a_hash(session: Session, bad: str) -> None:
    with pytest.raises(IntegrityError):
        objects.register(session, bad, 1)


def test_concurrent_use_and_release_never_lose_bytes_that_are_referred_to(
    sessions: sessionmaker[Session], store: ObjectStore
) -> None:
    data = b"contended"
    sha256 = put(store, data).sha256
    barrier = threading.Barrier(4)

    def refer_here() -> Upload:
        stored = put(store, data)
        with transaction(sessions) as session:
            return upload_of(session, store, stored)

    def refer_in_two_steps() -> Upload:
        held = objects.hold(sessions, store, put(store, data))
        with transaction(sessions) as session:
            objects.refer(session, held)
            return uploads.create(session, make_tenant(session), "a.zip", held.sha256, held.size, HOUR)

    def use(refer: Callable[[], Upload]) -> None:
        barrier.wait()
        for _ in range(8):
            while True:
                with suppress(StoreUnavailable):
                    upload = refer()
                    break
            for _ in range(3):
                assert store.read_range(sha256, 0, len(data)) == data
            with transaction(sessions) as session:
                uploads.delete(session, upload.tenant_id, upload.id)

    def release() -> None:
        barrier.wait()
        for _ in range(16):
            release_objects(sessions, store, NOW)
            for info in deletions.orphans(sessions, store, grace=NOW):
                deletions.delete_orphan(sessions, store, info, grace=NOW)

    with ThreadPoolExecutor(4) as pool:
        work: list[Callable[[], None]] = [partial(use, refer_here), partial(use, refer_in_two_steps), release, release]
        for future in [pool.submit(each) for each in work]:
            future.result(60)


def test_a_job_that_is_deleted_lets_its_files_go(session: Session, store: ObjectStore) -> None:
    job = make_job(session)
    claim = claim_job(session, job.id)
    stored = put(store, b"weights")
    objects.register(session, stored.sha256, stored.size)
    artifacts.put(session, job.id, claim.token, "erm.safetensors", stored.sha256, stored.size, "text/plain")
    jobs.finish(session, job.id, claim.token, "succeeded")
    assert not released(session, stored.sha256)
    jobs.delete(session, job.tenant_id, job.id)
    assert released(session, stored.sha256)


def test_what_was_released_before_anybody_referred_to_it_cannot_be_referred_to(
    sessions: sessionmaker[Session], store: ObjectStore
) -> None:
    held = objects.hold(sessions, store, put(store, b"forgotten"))
    assert release_objects(sessions, store, NOW)[0] == 1
    with pytest.raises(StoreUnavailable, match="send it again"), transaction(sessions) as session:
        objects.refer(session, held)


def test_a_store_is_asked_for_new_bytes_without_a_transaction(
    sessions: sessionmaker[Session], store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = put(store, b"new")

    def exists(*_: object) -> bool:
        with transaction(sessions) as session:
            idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in %'"
            assert session.scalar(text(idle)) == 0
        return True

    monkeypatch.setattr(type(store), "exists", exists)
    objects.hold(sessions, store, stored)
