"""Files that arrive over several requests: appended to by one request at a time, whichever process serves it."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Final, Protocol
from uuid import UUID, uuid4

from persistence.errors import IncomingBusy, IncomingLost
from persistence.store.protocol import CHUNK, Stored
from persistence.store.staging import disk_full, require_headroom

_CHECK_EVERY: Final = 16 * 2**20
_LOCK_POLL_SECONDS: Final = 0.02
_DIGESTS: Final = 1024


class Digest(Protocol):
    """A hash under way."""

    def update(self, data: bytes | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...
    def copy(self) -> Digest: ...


class IncomingWriter:
    """The open end of an incoming file. Only its holder can add bytes."""

    def __init__(self, file: BinaryIO, path: Path, offset: int, digest: Digest | None, headroom: int) -> None:
        self._file, self._path, self._headroom = file, path, headroom
        self._digest = digest
        self._size = offset
        self._unchecked = _CHECK_EVERY

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._size

    @property
    def digest(self) -> Digest | None:
        """The hash of all bytes so far, if this process has followed them from the first."""
        return self._digest

    @property
    def sha256(self) -> str:
        """Hash of all bytes so far, hexadecimal; reads them again where another process took them in."""
        if self._digest is None:
            self._digest = hashlib.sha256()
            with self._path.open("rb", buffering=0) as file:
                while data := file.read(CHUNK):
                    self._digest.update(data)
        return self._digest.hexdigest()

    def write(self, data: bytes | memoryview, /) -> int:
        """Append. Raises `OutOfDisk` before the disk is full."""
        self._unchecked += len(data)
        if self._unchecked >= _CHECK_EVERY:
            require_headroom(self._path.parent, self._headroom + len(data))
            self._unchecked = 0
        with disk_full(self._path.parent, self._headroom):
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
        if self._digest is not None:
            self._digest.update(data)
        self._size += len(data)
        return len(data)

    def sync(self) -> int:
        """Make the bytes outlive a crash; returns how many there are."""
        with disk_full(self._path.parent, self._headroom):
            os.fsync(self._file.fileno())
        return self._size


class IncomingArea:
    """A folder of incoming files, named by the ids of their uploads.

    Several processes may share it, also over a network file system that has locks. How many of a file's bytes count is
    not known here: whoever opens it says so, and what lies beyond is cut off.
    """

    def __init__(self, folder: Path, *, headroom: int, publish: Callable[[Path, Stored], None]) -> None:
        self._folder, self._headroom, self._publish = folder, headroom, publish
        self._digests: OrderedDict[UUID, tuple[int, Digest]] = OrderedDict()
        self._digests_lock = Lock()

    def require_room(self, size: int) -> None:
        """Raises `OutOfDisk` when `size` more bytes would leave too little free."""
        self._folder.mkdir(parents=True, exist_ok=True)
        require_headroom(self._folder, self._headroom + size)

    @contextmanager
    def open(
        self,
        name: UUID,
        offset: int,
        *,
        wait_seconds: float = 0.0,
        confirm: Callable[[], None] = lambda: None,
    ) -> Iterator[IncomingWriter]:
        """Append to a file behind its first `offset` bytes, alone.

        `confirm` is called with the lock and before anything is cut off; it raises if the offset is not the right one
        after all. Raises `IncomingBusy` when another keeps the file for longer than `wait_seconds`, `IncomingLost` when
        it has fewer bytes than that.
        """
        with os.fdopen(self._locked(name, offset, wait_seconds), "r+b", buffering=0) as file:
            try:
                confirm()
            except BaseException:
                self._forget_if_empty(name, file)
                raise
            if os.fstat(file.fileno()).st_size < offset:
                raise IncomingLost(name)
            file.truncate(offset)
            file.seek(offset)
            writer = IncomingWriter(file, self._path(name), offset, self._digest_at(name, offset), self._headroom)
            try:
                yield writer
            finally:
                self._remember(name, writer)

    def wait(self, name: UUID, seconds: float) -> None:
        """Return once nobody has the file open; one that is not there is fine. Raises `IncomingBusy`."""
        try:
            os.close(self._locked(name, 1, seconds))
        except IncomingLost:
            return

    def put(self, name: UUID, writer: IncomingWriter) -> Stored:
        """Make an object of the whole file, which stays until it is discarded."""
        stored = Stored(writer.sha256, writer.size)
        writer.sync()
        # A second name for the same bytes: should the process die before the object is recorded, nothing is lost.
        linked = self._folder / f"{name}.{uuid4().hex}"
        os.link(self._path(name), linked)
        try:
            self._publish(linked, stored)
        finally:
            linked.unlink(missing_ok=True)
        return stored

    def discard(self, name: UUID) -> None:
        """Forget a file; one that is not there is fine."""
        self._path(name).unlink(missing_ok=True)
        with self._digests_lock:
            self._digests.pop(name, None)

    def names(self) -> Iterator[UUID]:
        """Every file's name."""
        if self._folder.exists():
            for path in self._folder.iterdir():
                if "." not in path.name:
                    yield UUID(path.name)

    def _forget_if_empty(self, name: UUID, file: BinaryIO) -> None:
        """With the lock: a request that came too late may have made the file of an upload that has ended anew."""
        if os.fstat(file.fileno()).st_size == 0:
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: UUID) -> Path:
        return self._folder / str(name)

    def _locked(self, name: UUID, offset: int, wait_seconds: float) -> int:
        """A descriptor of the file, with the one lock on it."""
        self._folder.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                descriptor = os.open(self._path(name), os.O_RDWR | (os.O_CREAT if offset == 0 else 0), 0o600)
            except FileNotFoundError:
                raise IncomingLost(name) from None
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_current(name, descriptor):
                    return descriptor
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    os.close(descriptor)
                    raise
            os.close(descriptor)
            if time.monotonic() >= deadline:
                raise IncomingBusy(name)
            time.sleep(_LOCK_POLL_SECONDS)

    def _is_current(self, name: UUID, descriptor: int) -> bool:
        """Whether the locked file still is the one of that name; it may have been discarded while we waited."""
        try:
            return os.path.samestat(os.fstat(descriptor), self._path(name).stat())
        except FileNotFoundError:
            return False

    def _digest_at(self, name: UUID, offset: int) -> Digest | None:
        if offset == 0:
            return hashlib.sha256()
        with self._digests_lock:
            at, digest = self._digests.get(name, (-1, None))
        return digest.copy() if digest is not None and at == offset else None

    def _remember(self, name: UUID, writer: IncomingWriter) -> None:
        if writer.digest is None:
            return
        with self._digests_lock:
            self._digests[name] = (writer.size, writer.digest.copy())
            self._digests.move_to_end(name)
            while len(self._digests) > _DIGESTS:
                self._digests.popitem(last=False)
