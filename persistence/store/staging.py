"""Collecting an object in a file of its own, hashing on the way, and stopping before the disk is full."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, Final

from persistence.errors import OutOfDisk
from persistence.store.protocol import CHUNK, Stored

_CHECK_EVERY: Final = 16 * 2**20
"""Bytes between two looks at the free space."""


class StagedWriter:
    """An `ObjectWriter` over a staging file. `publish` moves the finished file to where it is visible."""

    def __init__(self, file: BinaryIO, path: Path, headroom: int, publish: Callable[[Path, Stored], None]) -> None:
        self._file = file
        self._path = path
        self._headroom = headroom
        self._publish = publish
        self._digest = hashlib.sha256()
        self._size = 0
        self._unchecked = _CHECK_EVERY
        self._committed = False

    @property
    def size(self) -> int:
        return self._size

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, data: bytes | memoryview, /) -> int:
        if self._committed:
            raise ValueError("this object is committed: open another writer")
        self._unchecked += len(data)
        if self._unchecked >= _CHECK_EVERY:
            require_headroom(self._path.parent, self._headroom + len(data))
            self._unchecked = 0
        with disk_full(self._path.parent, self._headroom):
            self._file.write(data)
        self._digest.update(data)
        self._size += len(data)
        return len(data)

    def commit(self) -> Stored:
        if self._committed:
            raise ValueError("this object is committed already")
        with disk_full(self._path.parent, self._headroom):
            self._file.flush()
            os.fsync(self._file.fileno())
        stored = Stored(self._digest.hexdigest(), self._size)
        self._publish(self._path, stored)
        self._committed = True
        return stored


@contextmanager
def staged(folder: Path, headroom: int, publish: Callable[[Path, Stored], None]) -> Iterator[StagedWriter]:
    """A writer over a new file in `folder`. The file is gone afterwards, unless `publish` moved it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / uuid.uuid4().hex
    try:
        with path.open("xb") as file:
            yield StagedWriter(file, path, headroom, publish)
    finally:
        path.unlink(missing_ok=True)


def copy_in(source: Path, writer: StagedWriter, on_chunk: Callable[[], object] = lambda: None) -> None:
    """Write the whole of a file. `on_chunk` is called after every piece."""
    buffer = memoryview(bytearray(CHUNK))
    with source.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            writer.write(buffer[:count])
            on_chunk()


def write_all(file: BinaryIO, data: bytes | memoryview) -> None:
    """All of it, to a file without a buffer: none that could fail once more when the file is closed."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def require_headroom(folder: Path, needed: int) -> None:
    """Raises `OutOfDisk` when the disk under `folder` has fewer than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OutOfDisk(needed, free)


@contextmanager
def disk_full(folder: Path, headroom: int) -> Iterator[None]:
    """Turns the system's "no space left" and "over quota" into `OutOfDisk`."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OutOfDisk(headroom, shutil.disk_usage(folder).free) from error


def sweep(folder: Path, older_than: timedelta, pattern: str = "*") -> int:
    """Remove files of these names that nobody has written to for so long; returns how many."""
    if not folder.exists():
        return 0
    oldest = time.time() - older_than.total_seconds()
    swept = 0
    for path in folder.glob(pattern):
        with suppress(FileNotFoundError):  # its writer ended while we looked
            if path.is_file() and path.stat().st_mtime < oldest:
                path.unlink()
                swept += 1
    return swept
