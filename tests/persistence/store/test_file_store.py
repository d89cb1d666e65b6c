"""What the disk store promises when things go wrong."""

from __future__ import annotations

import hashlib
import os
import signal
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from persistence.errors import ObjectCorrupt, OutOfDisk
from persistence.store import ObjectStore, open_store

DATA = b"x" * 100_000
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def disk(tmp_path: Path) -> ObjectStore:
    return open_store((tmp_path / "with space ü").as_uri(), headroom=0)


def _put(store: ObjectStore, data: bytes = DATA) -> str:
    with store.writer() as writer:
        writer.write(data)
        return writer.commit().sha256


def test_an_object_is_a_file_of_its_own(disk: ObjectStore) -> None:
    _put(disk)
    path = disk.local_path(SHA)
    assert path is not None
    assert path.read_bytes() == DATA


@pytest.mark.parametrize("damage", ["flip", "cut", "grow"])
def test_damage_is_noticed_by_every_whole_read(disk: ObjectStore, tmp_path: Path, damage: str) -> None:
    path = disk.local_path(_put(disk))
    assert path is not None
    if damage == "flip":
        path.write_bytes(DATA[:500] + b"y" + DATA[501:])
    elif damage == "cut":
        path.write_bytes(DATA[:-1])
    else:
        path.write_bytes(DATA + b"x")
    with disk.open(SHA) as file, pytest.raises(ObjectCorrupt):
        file.read()
    with pytest.raises(ObjectCorrupt):
        disk.fetch(SHA, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()
    if damage != "grow":  # the bytes of a grown file's front are the right ones
        sent: list[bytes] = []
        with pytest.raises(ObjectCorrupt):
            sent.extend(disk.iter_range(SHA, 0, len(DATA), chunk=1000))
        assert len(b"".join(sent)) < len(DATA), "a reader that counts bytes must notice, too"


def test_putting_a_damaged_object_again_repairs_it(disk: ObjectStore) -> None:
    path = disk.local_path(_put(disk))
    assert path is not None
    path.write_bytes(b"damaged")
    _put(disk)
    with disk.open(SHA) as file:
        assert file.read() == DATA


def test_a_reader_keeps_its_object_while_it_is_replaced_and_deleted(disk: ObjectStore) -> None:
    _put(disk)
    with disk.open(SHA) as file:
        start = file.read(10)
        _put(disk)
        disk.delete(SHA)
        assert start + file.read() == DATA


def test_seeking_reads_the_right_bytes(disk: ObjectStore) -> None:
    data = bytes(range(256)) * 10_000
    sha256 = _put(disk, data)
    with disk.open(sha256) as file:
        file.seek(2_000_000)
        assert file.read(10) == data[2_000_000:2_000_010]
        file.seek(5)
        assert file.read() == data[5:]


@pytest.mark.parametrize("moment", ["written", "synced"])
def test_a_process_killed_before_commit_leaves_nothing_visible(tmp_path: Path, moment: str) -> None:
    script = f"""
import os, signal, sys
from persistence.store import open_store
store = open_store({tmp_path.as_uri()!r}, headroom=0)
with store.writer() as writer:
    writer.write(b"x" * 100_000)
    if {moment!r} == "synced":
        sync = os.fsync
        os.fsync = lambda fd: (sync(fd), os.kill(os.getpid(), signal.SIGKILL))
        writer.commit()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", script], check=False)
    assert killed.returncode == -signal.SIGKILL
    store = open_store(tmp_path.as_uri(), headroom=0)
    assert list(store.list_all()) == []
    assert store.sweep_staging(timedelta(hours=1)) == 0
    assert store.sweep_staging(timedelta(seconds=-1)) == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_bytes_are_on_disk_before_their_name_and_the_name_before_commit_returns(
    disk: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(disk)  # makes the folder
    steps: list[str] = []
    sync, replace = os.fsync, Path.replace

    def note_sync(descriptor: int) -> None:
        steps.append("sync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
        sync(descriptor)

    def note_replace(self: Path, target: Path) -> Path:
        steps.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_replace)
    _put(disk)
    assert steps == ["sync file", "rename", "sync folder"]


def test_writing_stops_while_there_is_still_room(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path)
    headroom = free.f_bavail * free.f_frsize + (1 << 30)
    store = open_store(tmp_path.as_uri(), headroom=headroom)
    with store.writer() as writer, pytest.raises(OutOfDisk) as full:
        writer.write(DATA)
    assert full.value.needed > full.value.free
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_disk_that_is_full_all_the_same_is_out_of_disk(disk: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with disk.writer() as writer:
        writer.write(DATA)
        monkeypatch.setattr(os, "fsync", no_space)
        with pytest.raises(OutOfDisk):
            writer.commit()
    assert not disk.exists(SHA)


@pytest.mark.parametrize("url", ["", "objects", "/objects", "http://host/x", "file://host/x", "s3://", "s3:bucket"])
def test_another_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="neither file:///folder nor s3://bucket/prefix"):
        open_store(url)
