"""A file is stored where nothing can still delete it, also when that was about to happen."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.orm import Session, sessionmaker

from persistence import objects
from persistence.database import transaction
from persistence.store import ObjectStore
from persistence.tables import StoredObject
from tests.persistence.test_objects import NOW
from worker.storing import Storing


def generation(sessions: sessionmaker[Session], sha256: str) -> int:
    with transaction(sessions) as session:
        return session.get_one(StoredObject, sha256).generation


def test_bytes_that_were_removed_after_they_were_put_are_put_again(
    sessions: sessionmaker[Session], store: ObjectStore, tmp_path: Path
) -> None:
    (tmp_path / "weights").write_bytes(b"weights")
    storing = Storing(store, tmp_path / "weights")
    stored = storing.put()
    store.delete(stored.sha256)
    with transaction(sessions) as session:
        assert storing.register(session) == stored
    assert generation(sessions, stored.sha256) == 0
    assert store.read_range(stored.sha256, 0, stored.size) == b"weights"


def test_bytes_whose_earlier_copy_may_still_be_deleted_lie_elsewhere(
    sessions: sessionmaker[Session], store: ObjectStore, tmp_path: Path
) -> None:
    (tmp_path / "weights").write_bytes(b"weights")
    storing = Storing(store, tmp_path / "weights")
    stored = storing.put()
    with transaction(sessions) as session:
        objects.register(session, stored.sha256, stored.size)
        objects.mark(session)
        assert objects.release(session, stored.sha256, grace=NOW) is not None
    for gone in (False, True):
        if gone:
            store.delete(stored.sha256, 0)  # late
        with transaction(sessions) as session:
            storing.register(session)
        assert generation(sessions, stored.sha256) == 1
        assert store.exists(stored.sha256, 1)
    assert store.read_range(stored.sha256, 0, stored.size) == b"weights"
