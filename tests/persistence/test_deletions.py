"""Housekeeping that sleeps between its decision and its deletion destroys nothing, however late it wakes up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
from sqlalchemy import delete, select
from sqlalchemy.orm import Session, sessionmaker

from persistence import deletions, objects, uploads
from persistence.database import transaction
from persistence.errors import StoreUnavailable
from persistence.housekeeping import NO_GRACE, collect, release_objects
from persistence.settings import Settings
from persistence.store import ObjectStore
from persistence.tables import ObjectDeletion, StoredObject, Upload
from tests.persistence.store.conftest import any_store, s3_bucket, s3_endpoint
from tests.persistence.test_objects import NOW, put, upload_of

__all__ = ["any_store", "s3_bucket", "s3_endpoint"]

DATA = b"the weights of a job that is run again"


def lose(sessions: sessionmaker[Session], store: ObjectStore) -> str:
    """An object that had a reference and has none now."""
    stored = put(store, DATA)
    with transaction(sessions) as session:
        upload = upload_of(session, store, stored)
    with transaction(sessions) as session:
        uploads.delete(session, upload.tenant_id, upload.id)
    return stored.sha256


def use_again(sessions: sessionmaker[Session], store: ObjectStore) -> int:
    """The same bytes come once more; the generation that they lie under."""
    stored = put(store, DATA)
    with transaction(sessions) as session:
        upload_of(session, store, stored)
        return session.get_one(StoredObject, stored.sha256).generation


def outstanding(sessions: sessionmaker[Session]) -> list[tuple[str, int]]:
    with transaction(sessions) as session:
        return [(row.sha256, row.generation) for row in session.scalars(select(ObjectDeletion))]


class Sleeping:
    """A store whose deletions sleep, once asked for, until they are woken."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.asleep, self.wake = threading.Event(), threading.Event()

    def delete(self, sha256: str, generation: int = 0) -> None:
        self.asleep.set()
        assert self.wake.wait(30)
        self._store.delete(sha256, generation)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@contextmanager
def suspended(store: ObjectStore, collector: Callable[[ObjectStore], object]) -> Iterator[None]:
    """While the block lasts, a collector that has made its decision sleeps before its deletion; then it makes it."""
    sleeping = Sleeping(store)
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(collector, cast("ObjectStore", sleeping))
        try:
            assert sleeping.asleep.wait(10)
            yield
        finally:
            sleeping.wake.set()
        working.result(30)


def test_nothing_is_left_of_a_deletion_that_came_through(
    sessions: sessionmaker[Session], any_store: ObjectStore
) -> None:
    lose(sessions, any_store)
    assert release_objects(sessions, any_store, NOW) == (1, len(DATA))
    assert list(any_store.list_all()) == []
    assert outstanding(sessions) == []
    assert use_again(sessions, any_store) == 0


def test_a_collector_that_wakes_up_late_hits_only_what_it_meant(
    sessions: sessionmaker[Session], any_store: ObjectStore, tmp_path: Path
) -> None:
    sha256 = lose(sessions, any_store)
    with suspended(any_store, lambda store: release_objects(sessions, store, NOW)):
        assert outstanding(sessions) == [(sha256, 0)]
        assert use_again(sessions, any_store) == 1
        assert release_objects(sessions, any_store, NOW) == (0, 0)
        assert any_store.read_range(sha256, 0, len(DATA)) == DATA
    assert outstanding(sessions) == []
    assert any_store.read_range(sha256, 4, 7) == DATA[4:11]
    assert b"".join(any_store.iter_range(sha256, 0, len(DATA))) == DATA
    any_store.fetch(sha256, tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == DATA
    assert any_store.exists(sha256)
    assert [(info.sha256, info.generation) for info in any_store.list_all()] == [(sha256, 1)]
    assert any_store.stat(sha256) in list(any_store.list_all())


def test_the_later_copy_goes_like_any_other(
    sessions: sessionmaker[Session], any_store: ObjectStore, settings: Settings
) -> None:
    sha256 = lose(sessions, any_store)
    with suspended(any_store, lambda store: release_objects(sessions, store, NOW)):
        use_again(sessions, any_store)
    put(any_store, DATA)  # once more, by somebody who died before registering it
    assert collect(sessions, any_store, settings, NO_GRACE).orphans == 1
    assert [info.generation for info in any_store.list_all()] == [1]
    with transaction(sessions) as session:
        session.execute(delete(Upload))
    assert collect(sessions, any_store, settings, NO_GRACE).objects == 1
    assert not any_store.exists(sha256)
    assert outstanding(sessions) == []


def test_what_a_dead_collector_meant_to_delete_is_never_relied_on_again_and_goes_as_an_orphan(
    sessions: sessionmaker[Session], store: ObjectStore, settings: Settings
) -> None:
    sha256 = lose(sessions, store)
    with transaction(sessions) as session:
        objects.mark(session)
        assert objects.release(session, sha256, grace=NOW) is not None
    # It dies here: its deletion may still be on its way through a network.
    assert use_again(sessions, store) == 1
    store.delete(sha256, 0)
    assert store.read_range(sha256, 0, len(DATA)) == DATA
    with transaction(sessions) as session:
        session.execute(delete(Upload))
    assert collect(sessions, store, settings, NO_GRACE).objects == 1
    assert use_again(sessions, store) == 1


def test_bytes_without_a_row_are_found_after_a_day(sessions: sessionmaker[Session], store: ObjectStore) -> None:
    known, orphan = put(store, b"known"), put(store, b"orphan")
    with transaction(sessions) as session:
        objects.register(session, known.sha256, known.size)
    assert list(deletions.orphans(sessions, store, grace=timedelta(days=1))) == []
    (found,) = deletions.orphans(sessions, store, grace=NOW)
    assert found.sha256 == orphan.sha256
    assert not deletions.delete_orphan(sessions, store, store.stat(known.sha256), grace=NOW)
    assert not deletions.delete_orphan(sessions, store, found, grace=timedelta(hours=1)), "put just now"
    assert deletions.delete_orphan(sessions, store, found, grace=NOW)
    assert [info.sha256 for info in store.list_all()] == [known.sha256]


def test_bytes_that_get_their_row_while_they_are_taken_for_an_orphan_are_not_lost(
    sessions: sessionmaker[Session], any_store: ObjectStore
) -> None:
    stored = put(any_store, DATA)
    (found,) = deletions.orphans(sessions, any_store, grace=NOW)
    with suspended(any_store, lambda store: deletions.delete_orphan(sessions, store, found, grace=NOW)):
        with transaction(sessions) as session:
            upload_of(session, any_store, stored)
    assert any_store.read_range(stored.sha256, 0, len(DATA)) == DATA


def test_who_registers_bytes_that_were_just_deleted_is_asked_to_send_them_again(
    sessions: sessionmaker[Session], any_store: ObjectStore
) -> None:
    stored = put(any_store, DATA)
    (found,) = deletions.orphans(sessions, any_store, grace=NOW)
    assert deletions.delete_orphan(sessions, any_store, found, grace=NOW)
    with pytest.raises(StoreUnavailable, match="send it again"), transaction(sessions) as session:
        upload_of(session, any_store, stored)
    with transaction(sessions) as session:
        assert session.scalars(select(StoredObject)).all() == []


_COLLECTOR = """
import os, signal
from datetime import timedelta
from persistence.database import make_engine, session_factory
from persistence.housekeeping import release_objects
from persistence.settings import get_settings
from persistence.store import store_of

settings = get_settings()
store = store_of(settings)
delete = store.delete

def stop_and_delete(sha256, generation=0):
    os.kill(os.getpid(), signal.SIGSTOP)
    delete(sha256, generation)

store.delete = stop_and_delete
sessions = session_factory(make_engine(settings.database_url.get_secret_value()))
assert release_objects(sessions, store, timedelta(0))[0] == 1
"""


def test_a_stopped_process_that_goes_on_destroys_nothing(
    sessions: sessionmaker[Session], store: ObjectStore, settings: Settings
) -> None:
    sha256 = lose(sessions, store)
    environment = {
        **os.environ,
        "MASKTUNE_DATABASE_URL": settings.database_url.get_secret_value(),
        "MASKTUNE_REDIS_URL": settings.redis_url.get_secret_value(),
        "MASKTUNE_HOME": str(settings.home),
    }
    with subprocess.Popen([sys.executable, "-c", _COLLECTOR], env=environment) as zombie:
        deadline = time.monotonic() + 30
        while psutil.Process(zombie.pid).status() != psutil.STATUS_STOPPED:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert use_again(sessions, store) == 1
        os.kill(zombie.pid, signal.SIGCONT)
        assert zombie.wait(30) == 0
    assert store.read_range(sha256, 0, len(DATA)) == DATA
    assert [info.generation for info in store.list_all()] == [1]
