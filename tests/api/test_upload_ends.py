"""Uploads that end while somebody still adds to them, and what is swept of those that never end."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, update
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from api import tidying
from api.main import create_app
from persistence import incoming_turns
from persistence.database import transaction
from persistence.incoming_sweep import alone, sweep_incoming
from persistence.settings import Settings
from persistence.store import ObjectStore
from persistence.store.file_incoming import FileIncoming, FileIncomingWriter
from persistence.tables import IncomingUpload
from tests.api.test_errors import problem
from tests.api.tus import CONTENT, begin, patch

End = Callable[[str], object]


@pytest.fixture(params=["delete", "expire"])
def end(request: pytest.FixtureRequest, client: TestClient, sessions: sessionmaker[Session], store: ObjectStore) -> End:
    """Have an upload end: by its owner, or by the sweeper."""

    def expire(_path: str) -> None:
        with transaction(sessions) as session:
            session.execute(update(IncomingUpload).values(expires_at=func.now()))
        with pytest.MonkeyPatch.context() as unlocked:  # as on another machine, or before the lock was looked at
            unlocked.setattr(FileIncoming, "is_busy", lambda *_: False)
            sweep_incoming(sessions, store)

    return client.delete if request.param == "delete" else expire


BEFORE: dict[str, tuple[object, str]] = {
    "its last byte": (FileIncomingWriter, "write"),
    "its hash": (FileIncoming, "_digest_at"),
    "its object": (FileIncoming, "put"),
    "its record": (incoming_turns, "complete"),
}


@pytest.mark.parametrize("moment", BEFORE)
def test_an_upload_that_ends_before_all_is_done_is_not_completed(
    client: TestClient, store: ObjectStore, end: End, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = begin(client)
    patch(client, path, 0, CONTENT[:1000])
    owner, name = BEFORE[moment]
    original = getattr(owner, name)

    def end_first(*arguments: object, **options: object) -> object:
        end(path)
        # As if another process had taken in the first bytes: the hash is computed from the file.
        return None if name == "_digest_at" else original(*arguments, **options)

    monkeypatch.setattr(owner, name, end_first)
    problem(patch(client, path, 1000, CONTENT[1000:]), 409, "upload_superseded")
    assert list(store.incoming.names()) == []
    assert client.get("/v1/uploads").json()["data"] == []


@pytest.fixture
def leftover(store: ObjectStore, settings: Settings) -> Path:
    """A file that no upload claims."""
    folder = settings.home / "objects" / "incoming"
    folder.mkdir(parents=True)
    path = folder / str(uuid.uuid4())
    path.write_bytes(b"left")
    return path


def test_the_api_sweeps_its_own_machine(settings: Settings, leftover: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidying, "EVERY_SECONDS", 0.05)
    with TestClient(create_app(settings)):
        with alone(settings.home / "spool") as allowed:
            assert allowed
            time.sleep(0.3)
            assert leftover.exists(), "another process sweeps"
        deadline = time.monotonic() + 10
        while leftover.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
    assert not leftover.exists()
