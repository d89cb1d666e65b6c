"""What every object store can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

if TYPE_CHECKING:
    from persistence.store.incoming import Incoming
    from persistence.store.multipart import MultipartArea

CHUNK: Final = 1 << 20
"""Bytes moved at a time."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object now in the store: its name and its size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """`modified` is when the object was last put, also when it was there already.

    `generation` tells copies apart that one deletion must not hit together; see `persistence.deletions`.
    """

    sha256: str
    size: int
    modified: datetime
    generation: int = 0


class ObjectWriter(Protocol):
    """Bytes on their way in. Nothing is visible before `commit`."""

    def write(self, data: bytes | memoryview, /) -> int:
        """Append. Raises `OutOfDisk` before the disk is full."""
        ...

    def commit(self) -> Stored:
        """Make the bytes durable, then visible under their hash. Further writes raise `ValueError`."""
        ...

    @property
    def size(self) -> int:
        """Bytes written so far."""
        ...

    @property
    def sha256(self) -> str:
        """Hash of the bytes written so far, hexadecimal."""
        ...


class ObjectStore(Protocol):
    """Immutable objects by SHA-256. Safe to share between threads.

    Bytes are put under generation 0, and read from whichever generation there is.

    Every method that names an object raises `ObjectMissing` when there is none, unless it says otherwise, and
    `StoreUnavailable` when the store does not answer.
    """

    def writer(self) -> AbstractContextManager[ObjectWriter]:
        """Collect an object; leaving the block without `commit` discards it. Raises `OutOfDisk`."""
        ...

    def put_file(self, path: Path) -> Stored:
        """Put a copy of a file. Raises `OutOfDisk`."""
        ...

    def open(self, sha256: str) -> BinaryIO:
        """Read an object. Read in order to its end, it raises `ObjectCorrupt` there if the hash is wrong."""
        ...

    def read_range(self, sha256: str, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`. Raises `ObjectCorrupt` when the object ends before."""
        ...

    def iter_range(self, sha256: str, start: int, stop: int, chunk: int = CHUNK) -> Iterator[bytes]:
        """The bytes `[start, stop)` in pieces of at most `chunk`. The whole object is verified at its end."""
        ...

    def fetch(self, sha256: str, destination: Path, *, on_chunk: Callable[[], object] = lambda: None) -> None:
        """Copy an object to a file that appears whole and verified or not at all. Raises `ObjectCorrupt`.

        `on_chunk` is called after every piece.
        """
        ...

    def local_path(self, sha256: str) -> Path | None:
        """The object's own file, for reading in place; None when the store is not on this machine."""
        ...

    def exists(self, sha256: str, generation: int | None = None) -> bool:
        """Whether the object is there, under this generation or any. Never raises `ObjectMissing`."""
        ...

    def promote(self, sha256: str, generation: int) -> None:
        """Have the bytes under this generation too, copied from another one."""
        ...

    def stat(self, sha256: str) -> ObjectInfo:
        """Size and time of an object."""
        ...

    def delete(self, sha256: str, generation: int = 0) -> None:
        """Take an object away, under one generation; one that is not there is fine.

        When this returns, nothing that it asked for is still to come.
        """
        ...

    def list_all(self) -> Iterator[ObjectInfo]:
        """Every object, each of its generations, in no order."""
        ...

    @property
    def incoming(self) -> Incoming:
        """Where objects arrive over several requests."""
        ...

    @property
    def multipart(self) -> MultipartArea | None:
        """Where uploads arrive in parts, also from clients themselves; None where they cannot."""
        ...

    def sweep_staging(self, older_than: timedelta) -> int:
        """Discard what writers that died left behind; returns how many leftovers."""
        ...
