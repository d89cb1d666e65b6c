"""Uploads that arrive as files: appended to by one request at a time, whichever process serves it."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Final, Protocol
from uuid import UUID, uuid4

from persistence.errors import IncomingBusy, IncomingLost
from persistence.store.incoming import IncomingWriter, Kept, Turn
from persistence.store.protocol import CHUNK, Stored
from persistence.store.staging import disk_full, require_headroom, sweep, write_all

CHECKPOINT_BYTES: Final = 64 * 2**20
_CHECK_EVERY: Final = 16 * 2**20
_LOCK_POLL_SECONDS: Final = 0.02
_DIGESTS: Final = 1024


class Digest(Protocol):
    """A hash under way."""

    def update(self, data: bytes | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...
    def copy(self) -> Digest: ...


class FileIncomingWriter:
    """The open end of an incoming file. Only its holder can add bytes."""

    checkpoint_bytes = CHECKPOINT_BYTES

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
            self._digest, at = hashlib.sha256(), 0
            # By its descriptor: the name may have gone with the upload.
            while data := os.pread(self._file.fileno(), CHUNK, at):
                self._digest.update(data)
                at += len(data)
        return self._digest.hexdigest()

    def write(self, data: bytes | memoryview, /) -> int:
        """Append. Raises `OutOfDisk` before the disk is full."""
        self._unchecked += len(data)
        if self._unchecked >= _CHECK_EVERY:
            require_headroom(self._path.parent, self._headroom + len(data))
            self._unchecked = 0
        with disk_full(self._path.parent, self._headroom):
            write_all(self._file, data)
        if self._digest is not None:
            self._digest.update(data)
        self._size += len(data)
        return len(data)

    def sync(self, *, everything: bool = True) -> Kept:  # noqa: ARG002 - of a file, all is one step
        """Make the bytes outlive a crash."""
        with disk_full(self._path.parent, self._headroom):
            os.fsync(self._file.fileno())
        return Kept(self._size)

    def recorded(self) -> None:
        """Nothing is replaced."""


class FileIncoming:
    """A folder of incoming files, named by the ids of their uploads: an `Incoming`.

    Several processes may share it, also over a network file system that has locks: whoever adds to a file has a lock on
    it, which ends with its process. What lies beyond the bytes that count is cut off.
    """

    def __init__(self, folder: Path, *, headroom: int, publish: Callable[[Path, Stored], None]) -> None:
        self._folder, self._headroom, self._publish = folder, headroom, publish
        self._digests: OrderedDict[UUID, tuple[int, Digest]] = OrderedDict()
        self._digests_lock = Lock()

    def require_room(self, size: int) -> None:
        """Raises `OutOfDisk` when `size` more bytes would leave too little free."""
        self._folder.mkdir(parents=True, exist_ok=True)
        require_headroom(self._folder, self._headroom + size)

    def begin(self, name: UUID) -> None:
        """A file needs no name but its own."""

    @contextmanager
    def open(self, name: UUID, offset: int, turn: Turn, *, wait_seconds: float = 0.0) -> Iterator[FileIncomingWriter]:
        """Append to a file behind its first `offset` bytes. Bytes that are an object by now stay as they are.

        The turn starts with the lock, and before anything is cut off.
        """
        with ExitStack() as stack:
            file: BinaryIO = stack.enter_context(
                os.fdopen(self._locked(name, offset, wait_seconds), "r+b", buffering=0)
            )
            try:
                turn.start()
            except BaseException:
                self._forget_if_empty(name, file)
                raise
            found = os.fstat(file.fileno())
            if found.st_size < offset:
                raise IncomingLost(name)
            if found.st_nlink > 1:
                file = stack.enter_context(self._apart(name, file, offset))
            file.truncate(offset)
            file.seek(offset)
            writer = FileIncomingWriter(file, self._path(name), offset, self._digest_at(name, offset), self._headroom)
            try:
                yield writer
            finally:
                self._remember(name, writer)

    def wait(self, name: UUID, turn: Turn, seconds: float) -> None:  # noqa: ARG002 - the lock says more than the turn
        """Return once nobody has the lock."""
        try:
            os.close(self._locked(name, 1, seconds))
        except IncomingLost:
            return

    def is_busy(self, name: UUID) -> bool:
        """Whether somebody has the lock."""
        try:
            os.close(self._locked(name, 1, 0.0))
        except IncomingBusy:
            return True
        except IncomingLost:
            pass
        return False

    def put(self, name: UUID, writer: IncomingWriter) -> Stored:
        """Make an object of the whole file, which stays until it is discarded."""
        assert writer.sha256 is not None
        stored = Stored(writer.sha256, writer.size)
        writer.sync()
        # A second name for the same bytes: should the process die before the object is recorded, nothing is lost.
        linked = self._spare(name)
        try:
            os.link(self._path(name), linked)
        except FileNotFoundError:
            raise IncomingLost(name) from None
        try:
            self._publish(linked, stored)
        finally:
            linked.unlink(missing_ok=True)
        return stored

    def sweep(self, older_than: timedelta) -> int:
        """Remove second names whose process died before it took them away; returns how many."""
        return sweep(self._folder, older_than, "*.*")

    def discard(self, name: UUID, multipart_id: str | None = None) -> None:  # noqa: ARG002 - a file has no such name
        """Forget a file; one that is not there is fine."""
        self._path(name).unlink(missing_ok=True)
        with self._digests_lock:
            self._digests.pop(name, None)

    def names(self) -> Iterator[UUID]:
        """Every file's name."""
        if self._folder.exists():
            for path in self._folder.iterdir():
                with suppress(ValueError):  # a second name, or somebody else's file
                    yield UUID(path.name)

    def _apart(self, name: UUID, file: BinaryIO, offset: int) -> BinaryIO:
        """The first `offset` bytes in a file of their own, which takes the name; locked like the one before.

        `put` made an object of the same file, and then the upload was not recorded as complete. The object is never
        written to again: whoever else has these bytes relies on it.
        """
        require_headroom(self._folder, self._headroom + offset)
        fresh = self._spare(name)
        copy = fresh.open("x+b", buffering=0)
        try:
            fcntl.flock(copy, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.seek(0)
            with disk_full(self._folder, self._headroom):
                left = offset
                while left and (data := file.read(min(CHUNK, left))):
                    write_all(copy, data)
                    left -= len(data)
                os.fsync(copy.fileno())
            fresh.replace(self._path(name))
        except BaseException:
            copy.close()
            fresh.unlink(missing_ok=True)
            raise
        return copy

    def _forget_if_empty(self, name: UUID, file: BinaryIO) -> None:
        """With the lock: a request that came too late may have made the file of an upload that has ended anew."""
        if os.fstat(file.fileno()).st_size == 0:
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: UUID) -> Path:
        return self._folder / str(name)

    def _spare(self, name: UUID) -> Path:
        """A second name, for a moment."""
        return self._folder / f"{name}.{uuid4().hex}"

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

    def _remember(self, name: UUID, writer: FileIncomingWriter) -> None:
        if writer.digest is None:
            return
        with self._digests_lock:
            self._digests[name] = (writer.size, writer.digest.copy())
            self._digests.move_to_end(name)
            while len(self._digests) > _DIGESTS:
                self._digests.popitem(last=False)
