"""The local cache of objects."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from persistence.errors import ObjectMissing
from persistence.store import ObjectStore, Stored
from persistence.store.file import FileStore
from persistence.store.protocol import CHUNK
from worker.cache import Cache

PIECE = 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "objects"


class FarStore(FileStore):
    """A store on another machine: nothing of it can be linked. Counts what is fetched."""

    fetched = 0

    def local_path(self, sha256: str) -> Path | None:
        return None

    def fetch(self, sha256: str, destination: Path, *, on_chunk: Callable[[], object] = lambda: None) -> None:
        self.fetched += 1
        super().fetch(sha256, destination, on_chunk=on_chunk)


@pytest.fixture
def objects(folder: Path) -> FileStore:
    return FileStore(folder, headroom=0)


@pytest.fixture
def far(folder: Path) -> FarStore:
    return FarStore(folder, headroom=0)


def put(store: ObjectStore, content: bytes) -> Stored:
    with store.writer() as writer:
        writer.write(content)
        return writer.commit()


def piece(number: int) -> bytes:
    return bytes([number]) * PIECE


def test_a_second_use_fetches_nothing(tmp_path: Path, objects: ObjectStore, far: FarStore) -> None:
    stored = put(objects, piece(1))
    cache = Cache(tmp_path, 10 * PIECE)
    for _ in range(2):
        with cache.hold(far, stored.sha256, stored.size) as path:
            assert path.read_bytes() == piece(1)
    assert far.fetched == 1


def test_a_copy_tells_of_every_piece_that_came(tmp_path: Path, objects: ObjectStore, far: FarStore) -> None:
    stored = put(objects, bytes(2 * CHUNK + 1))
    pieces: list[int] = []
    with Cache(tmp_path, 3 * CHUNK).hold(far, stored.sha256, stored.size, on_chunk=lambda: pieces.append(1)):
        assert len(pieces) == 3


def test_an_object_on_the_same_disk_takes_no_extra_room(tmp_path: Path, objects: ObjectStore) -> None:
    stored = put(objects, piece(1))
    with Cache(tmp_path, 10 * PIECE).hold(objects, stored.sha256, stored.size) as path:
        assert path.stat().st_nlink == 2


@pytest.mark.parametrize("damage", [b"", b"x" * PIECE, b"short"])
def test_a_damaged_copy_is_fetched_anew(tmp_path: Path, objects: ObjectStore, far: FarStore, damage: bytes) -> None:
    stored = put(objects, piece(1))
    cache = Cache(tmp_path, 10 * PIECE)
    with cache.hold(far, stored.sha256, stored.size) as path:
        pass
    path.write_bytes(damage)
    with cache.hold(far, stored.sha256, stored.size) as path:
        assert path.read_bytes() == piece(1)


def test_the_least_recently_used_object_goes_first(tmp_path: Path, objects: ObjectStore) -> None:
    first, second, third = (put(objects, piece(n)) for n in range(3))
    cache = Cache(tmp_path, 2 * PIECE)
    for number, stored in enumerate([first, second, first]):
        with cache.hold(objects, stored.sha256, stored.size):
            pass
        os.utime(cache.root / f"{stored.sha256}.lock", (number, number))
    with cache.hold(objects, third.sha256, third.size):
        pass
    assert {path.name for path in cache.root.iterdir() if not path.suffix} == {first.sha256, third.sha256}
    assert cache.size() == 2 * PIECE


def test_an_object_in_use_is_never_evicted(tmp_path: Path, objects: ObjectStore) -> None:
    first, second = put(objects, piece(1)), put(objects, piece(2))
    cache = Cache(tmp_path, PIECE)
    with cache.hold(objects, first.sha256, first.size) as path:
        with cache.hold(objects, second.sha256, second.size) as other:
            assert path.read_bytes() == piece(1)
            assert other.read_bytes() == piece(2)


def test_a_missing_object_leaves_nothing_behind(tmp_path: Path, objects: ObjectStore) -> None:
    cache = Cache(tmp_path, PIECE)
    with pytest.raises(ObjectMissing):
        with cache.hold(objects, hashlib.sha256(b"nothing").hexdigest(), 1):
            pass
    assert list(cache.root.iterdir()) == []


def _fetch_and_die(home: Path, folder: Path, sha256: str, size: int) -> None:
    with Cache(home, size).hold(FarStore(folder, headroom=0), sha256, size, on_chunk=lambda: os._exit(9)):
        pass


def test_what_a_killed_fetch_left_is_swept(tmp_path: Path, folder: Path, objects: ObjectStore, far: FarStore) -> None:
    stored = put(objects, bytes(2 * CHUNK))
    cache = Cache(tmp_path, 2 * CHUNK)
    process = multiprocessing.get_context("spawn").Process(
        target=_fetch_and_die, args=(tmp_path, folder, stored.sha256, stored.size)
    )
    process.start()
    process.join()
    assert process.exitcode == 9
    assert bytes_in(cache.root) >= CHUNK, "it was killed in the middle of the object"
    cache.sweep()
    assert list(cache.root.iterdir()) == []
    with cache.hold(far, stored.sha256, stored.size) as path:
        assert path.stat().st_size == stored.size


def test_a_fetch_under_way_is_not_swept(tmp_path: Path, objects: ObjectStore, far: FarStore) -> None:
    stored = put(objects, bytes(2 * CHUNK))
    cache = Cache(tmp_path, 2 * CHUNK)
    with cache.hold(far, stored.sha256, stored.size, on_chunk=cache.sweep) as path:
        assert path.stat().st_size == stored.size


def test_what_earlier_versions_left_beside_the_objects_is_swept_when_it_is_old(tmp_path: Path) -> None:
    cache = Cache(tmp_path, PIECE)
    cache.root.mkdir()
    old, new = cache.root / ("a" * 32), cache.root / ("b" * 32)
    for left in (old, new):
        left.write_bytes(b"half")
    os.utime(old, (0, 0))
    cache.sweep()
    assert list(cache.root.iterdir()) == [new]


def bytes_in(folder: Path) -> int:
    """Of whatever files, objects and their identities apart: those are counted in `size`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")


def _use(home: Path, folder: Path, names: list[tuple[str, int]], rounds: int) -> None:
    cache, store = Cache(home, 2 * PIECE), FarStore(folder, headroom=0)
    for turn in range(rounds):
        sha256, size = names[turn % len(names)]
        with cache.hold(store, sha256, size) as path:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def test_processes_and_threads_share_it_safely_while_it_evicts(
    tmp_path: Path, folder: Path, objects: ObjectStore
) -> None:
    stored = [put(objects, piece(n)) for n in range(4)]
    names = [(one.sha256, one.size) for one in stored]
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_use, args=(tmp_path, folder, names[n:] + names[:n], 100)) for n in range(2)]
    threads = [threading.Thread(target=_use, args=(tmp_path, folder, names[::-1], 100)) for _ in range(2)]
    for process in processes:
        process.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
