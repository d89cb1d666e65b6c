"""What the disk and S3 both do."""

from __future__ import annotations

import hashlib
import math
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from persistence.errors import ObjectCorrupt, ObjectMissing
from persistence.store import ObjectStore, Stored
from persistence.store.protocol import CHUNK

DATA = b"".join(bytes([number % 251]) * 100 for number in range(300))
SHA = hashlib.sha256(DATA).hexdigest()
ABSENT = "0" * 64


def put(store: ObjectStore, data: bytes = DATA) -> Stored:
    with store.writer() as writer:
        for start in range(0, len(data), 7000):
            assert writer.write(data[start : start + 7000]) == len(data[start : start + 7000])
        return writer.commit()


def test_bytes_come_back_under_their_hash(any_store: ObjectStore) -> None:
    assert put(any_store) == Stored(SHA, len(DATA))
    with any_store.open(SHA) as file:
        assert file.read() == DATA
    assert any_store.exists(SHA)
    info = any_store.stat(SHA)
    assert (info.sha256, info.size) == (SHA, len(DATA))
    assert abs(info.modified - datetime.now(UTC)) < timedelta(minutes=1)
    assert list(any_store.list_all()) == [info]


def test_a_file_can_be_put_and_fetched(any_store: ObjectStore, tmp_path: Path) -> None:
    source, destination = tmp_path / "source", tmp_path / "new" / "destination"
    source.write_bytes(DATA)
    destination.parent.mkdir()
    assert any_store.put_file(source) == Stored(SHA, len(DATA))
    assert source.read_bytes() == DATA
    pieces: list[int] = []
    any_store.fetch(SHA, destination, on_chunk=lambda: pieces.append(1))
    assert len(pieces) == math.ceil(len(DATA) / CHUNK)
    assert destination.read_bytes() == DATA
    assert list(destination.parent.iterdir()) == [destination]


def test_the_empty_object_is_an_object(any_store: ObjectStore) -> None:
    with any_store.writer() as writer:
        stored = writer.commit()
    assert stored == Stored(hashlib.sha256(b"").hexdigest(), 0)
    with any_store.open(stored.sha256) as file:
        assert file.read() == b""
    assert any_store.read_range(stored.sha256, 0, 0) == b""
    assert list(any_store.iter_range(stored.sha256, 0, 0)) == []


def test_what_is_not_committed_is_never_there(any_store: ObjectStore) -> None:
    def interrupted() -> None:
        with any_store.writer() as writer:
            writer.write(DATA)
            assert not any_store.exists(writer.sha256)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with any_store.writer() as writer:
        writer.write(DATA)
        assert (writer.size, writer.sha256) == (len(DATA), SHA)
    assert list(any_store.list_all()) == []
    assert any_store.sweep_staging(timedelta(seconds=-1)) == 0


def test_a_writer_is_spent_after_commit(any_store: ObjectStore) -> None:
    with any_store.writer() as writer:
        writer.write(DATA)
        writer.commit()
        with pytest.raises(ValueError, match="committed"):
            writer.write(b"more")
        with pytest.raises(ValueError, match="committed"):
            writer.commit()
    with any_store.open(SHA) as file:
        assert file.read() == DATA


def test_putting_twice_leaves_one_object_with_a_new_time(any_store: ObjectStore) -> None:
    put(any_store)
    first = any_store.stat(SHA).modified
    put(any_store)
    assert len(list(any_store.list_all())) == 1
    assert any_store.stat(SHA).modified >= first


@pytest.mark.parametrize(("offset", "length"), [(0, 1), (0, len(DATA)), (12345, 6789), (len(DATA) - 1, 1), (5, 0)])
def test_ranges(any_store: ObjectStore, offset: int, length: int) -> None:
    put(any_store)
    expected = DATA[offset : offset + length]
    assert any_store.read_range(SHA, offset, length) == expected
    pieces = list(any_store.iter_range(SHA, offset, offset + length, chunk=1000))
    assert b"".join(pieces) == expected
    assert all(0 < len(piece) <= 1000 for piece in pieces)


def test_a_range_beyond_the_end_is_damage(any_store: ObjectStore) -> None:
    put(any_store)
    with pytest.raises(ObjectCorrupt):
        any_store.read_range(SHA, len(DATA) - 10, 20)
    with pytest.raises(ObjectCorrupt):
        any_store.read_range(SHA, len(DATA) + 10, 20)
    with pytest.raises(ObjectCorrupt):
        list(any_store.iter_range(SHA, len(DATA) - 10, len(DATA) + 10))


@pytest.mark.parametrize("name", [ABSENT, "", "../../etc/passwd", SHA.upper(), SHA + "/..", "\n" + SHA])
def test_an_unknown_name_is_missing_and_never_a_path(any_store: ObjectStore, tmp_path: Path, name: str) -> None:
    put(any_store)
    for read in (
        lambda: any_store.open(name),
        lambda: any_store.read_range(name, 0, 1),
        lambda: any_store.iter_range(name, 0, 1),
        lambda: any_store.fetch(name, tmp_path / "fetched"),
        lambda: any_store.stat(name),
    ):
        with pytest.raises(ObjectMissing):
            read()
    assert not (tmp_path / "fetched").exists()
    assert not any_store.exists(name)
    any_store.delete(name)
    assert any_store.exists(SHA)


def test_delete_takes_one_object_away(any_store: ObjectStore) -> None:
    put(any_store)
    other = put(any_store, b"other")
    any_store.delete(SHA)
    any_store.delete(SHA)
    assert [info.sha256 for info in any_store.list_all()] == [other.sha256]


def test_many_threads_put_the_same_and_different_objects(any_store: ObjectStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        stored = list(pool.map(lambda number: put(any_store, DATA + bytes([number % 4])), range(16)))
    assert {info.sha256 for info in any_store.list_all()} == {each.sha256 for each in stored}
    assert len({each.sha256 for each in stored}) == 4


def test_a_large_object_survives_the_trip(any_store: ObjectStore, tmp_path: Path) -> None:
    data = os.urandom(1 << 20) * 40  # more than one part of a multipart upload
    stored = put_large(any_store, data)
    assert stored.sha256 == hashlib.sha256(data).hexdigest()
    any_store.fetch(stored.sha256, tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == data
    assert any_store.read_range(stored.sha256, 17 << 20, 100) == data[17 << 20 : (17 << 20) + 100]
    digest = hashlib.sha256()
    for piece in any_store.iter_range(stored.sha256, 0, len(data)):
        digest.update(piece)
    assert digest.hexdigest() == stored.sha256


def put_large(store: ObjectStore, data: bytes) -> Stored:
    with store.writer() as writer:
        for start in range(0, len(data), 1 << 20):
            writer.write(memoryview(data)[start : start + (1 << 20)])
        return writer.commit()
