"""Files that arrive over several requests."""

from __future__ import annotations

import os
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from persistence.errors import IncomingBusy, UploadSuperseded
from persistence.store import ObjectStore, open_store

NAME = uuid.uuid4()


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store((tmp_path / "objects").as_uri(), headroom=0)


def refuse() -> None:
    raise UploadSuperseded(NAME)


def test_a_request_that_comes_after_the_end_leaves_no_file(store: ObjectStore) -> None:
    with store.incoming.open(NAME, 0) as writer:
        writer.write(b"all of it")
        store.incoming.put(NAME, writer)
    store.incoming.discard(NAME)
    with pytest.raises(UploadSuperseded), store.incoming.open(NAME, 0, confirm=refuse):
        pytest.fail("it was refused")
    assert list(store.incoming.names()) == []


def test_a_request_that_is_refused_takes_nothing_away(store: ObjectStore) -> None:
    with store.incoming.open(NAME, 0) as writer:
        writer.write(b"first")
    with pytest.raises(UploadSuperseded), store.incoming.open(NAME, 0, confirm=refuse):
        pytest.fail("it was refused")
    with store.incoming.open(NAME, 5) as writer:
        writer.write(b" and last")
        assert store.open(store.incoming.put(NAME, writer).sha256).read() == b"first and last"


def test_an_object_is_never_written_to_again_though_its_upload_goes_on(store: ObjectStore) -> None:
    """Putting it succeeded, recording it failed: then the client sends its last bytes again, or others."""
    with store.incoming.open(NAME, 0) as writer:
        writer.write(b"first and last")
        first = store.incoming.put(NAME, writer)
    with store.incoming.open(NAME, 5) as writer:
        with pytest.raises(IncomingBusy), store.incoming.open(NAME, 5):
            pytest.fail("two add to one upload")
        writer.write(b" and other")
        second = store.incoming.put(NAME, writer)
    assert store.open(first.sha256).read() == b"first and last"
    assert store.open(second.sha256).read() == b"first and other"
    store.incoming.discard(NAME)
    assert list(store.incoming.names()) == []


def test_an_object_counts_as_put_when_it_was_put(store: ObjectStore, tmp_path: Path) -> None:
    with store.incoming.open(NAME, 0) as writer:
        writer.write(b"all of it")
        long_ago = time.time() - 7200
        os.utime(tmp_path / "objects" / "incoming" / str(NAME), (long_ago, long_ago))
        stored = store.incoming.put(NAME, writer)
    assert datetime.now(UTC) - store.stat(stored.sha256).modified < timedelta(minutes=1)


def test_second_names_that_a_dead_process_left_are_swept(store: ObjectStore, tmp_path: Path) -> None:
    with store.incoming.open(NAME, 0) as writer:
        writer.write(b"all of it")
    folder = tmp_path / "objects" / "incoming"
    (folder / f"{NAME}.0123").hardlink_to(folder / str(NAME))
    assert store.sweep_staging(timedelta(hours=1)) == 0
    assert store.sweep_staging(timedelta(seconds=-1)) == 1
    assert [path.name for path in folder.iterdir()] == [str(NAME)]
