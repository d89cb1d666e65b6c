"""Files that arrive over several requests."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from persistence.errors import UploadSuperseded
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
