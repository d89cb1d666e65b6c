"""Uploads that arrive as files, over several requests."""

from __future__ import annotations

import os
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from persistence.errors import IncomingBusy, UploadSuperseded
from persistence.store import ObjectStore, open_store
from persistence.store.incoming import IncomingWriter
from tests.fixtures.turns import Turn

NAME = uuid.uuid4()


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store((tmp_path / "objects").as_uri(), headroom=0)


def put(store: ObjectStore, writer: IncomingWriter) -> str:
    stored = store.incoming.put(NAME, writer)
    assert stored is not None
    return stored.sha256


def test_a_request_that_comes_after_the_end_leaves_no_file(store: ObjectStore) -> None:
    with store.incoming.open(NAME, 0, Turn()) as writer:
        writer.write(b"all of it")
        store.incoming.put(NAME, writer)
    store.incoming.discard(NAME)
    with pytest.raises(UploadSuperseded), store.incoming.open(NAME, 0, Turn(refused=UploadSuperseded(NAME))):
        pytest.fail("it was refused")
    assert list(store.incoming.names()) == []


def test_a_request_that_is_refused_takes_nothing_away(store: ObjectStore) -> None:
    with store.incoming.open(NAME, 0, Turn()) as writer:
        writer.write(b"first")
    with pytest.raises(UploadSuperseded), store.incoming.open(NAME, 0, Turn(refused=UploadSuperseded(NAME))):
        pytest.fail("it was refused")
    with store.incoming.open(NAME, 5, Turn()) as writer:
        writer.write(b" and last")
        assert store.open(put(store, writer)).read() == b"first and last"


def test_an_object_is_never_written_to_again_though_its_upload_goes_on(store: ObjectStore) -> None:
    """Putting it succeeded, recording it failed: then the client sends its last bytes again, or others."""
    with store.incoming.open(NAME, 0, Turn()) as writer:
        writer.write(b"first and last")
        first = put(store, writer)
    with store.incoming.open(NAME, 5, Turn()) as writer:
        with pytest.raises(IncomingBusy), store.incoming.open(NAME, 5, Turn()):
            pytest.fail("two add to one upload")
        writer.write(b" and other")
        second = put(store, writer)
    assert store.open(first).read() == b"first and last"
    assert store.open(second).read() == b"first and other"
    store.incoming.discard(NAME)
    assert list(store.incoming.names()) == []


def test_an_object_counts_as_put_when_it_was_put(store: ObjectStore, tmp_path: Path) -> None:
    with store.incoming.open(NAME, 0, Turn()) as writer:
        writer.write(b"all of it")
        long_ago = time.time() - 7200
        os.utime(tmp_path / "objects" / "incoming" / str(NAME), (long_ago, long_ago))
        sha256 = put(store, writer)
    assert datetime.now(UTC) - store.stat(sha256).modified < timedelta(minutes=1)


def test_second_names_that_a_dead_process_left_are_swept(store: ObjectStore, tmp_path: Path) -> None:
    with store.incoming.open(NAME, 0, Turn()) as writer:
        writer.write(b"all of it")
    folder = tmp_path / "objects" / "incoming"
    (folder / f"{NAME}.0123").hardlink_to(folder / str(NAME))
    assert store.sweep_staging(timedelta(hours=1)) == 0
    assert store.sweep_staging(timedelta(seconds=-1)) == 1
    assert [path.name for path in folder.iterdir()] == [str(NAME)]
