"""A bounded local copy of objects, named by their SHA-256 and shared by every worker process of this machine."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from persistence.store import staging
from worker import locks

if TYPE_CHECKING:
    from persistence.store import ObjectStore

_LOCK = ".lock"
_PART = ".part"
_STRAY = "[0-9a-f]" * 32
_STRAY_AGE = timedelta(days=1)
"""Earlier versions staged beside the objects, under names of their own, and left them there when they were killed."""


class Cache:
    """Objects under `<home>/cache`, together at most `max_bytes` unless those in use alone are more.

    Each object has a lock file beside it: shared while a process uses the object, exclusive while one fetches or
    evicts it. The lock file's time of change is the last use, its content the verified file's identity; a file that
    no longer is the one verified is hashed again before use. Least recently used objects go first.
    """

    def __init__(self, home: Path, max_bytes: int) -> None:
        self.root = home.resolve() / "cache"
        self.max_bytes = max_bytes

    @contextmanager
    def hold(
        self, store: ObjectStore, sha256: str, size: int, *, on_chunk: Callable[[], object] = lambda: None
    ) -> Iterator[Path]:
        """The verified local file of an object of `size` bytes; it stays in place while the context is open.

        While it is copied, `on_chunk` is called after every piece.

        Raises what the store raises for a missing or corrupt object or a full disk.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        descriptor = self._ready(store, sha256, size, on_chunk)
        try:
            yield self._path(sha256)
        finally:
            os.utime(descriptor)
            os.close(descriptor)

    def size(self) -> int:
        """Bytes held now."""
        return sum(size for _, size, _ in self._entries())

    def sweep(self) -> None:
        """Remove what fetches that were killed left behind."""
        for part in self.root.glob(f"*{_PART}"):
            descriptor = locks.try_acquire(self._lock(part.stem))
            if descriptor is not None:
                _remove(part)
                if not self._path(part.stem).exists():
                    self._lock(part.stem).unlink(missing_ok=True)
                os.close(descriptor)
        staging.sweep(self.root, _STRAY_AGE, _STRAY)

    def _ready(self, store: ObjectStore, sha256: str, size: int, on_chunk: Callable[[], object]) -> int:
        path, lock = self._path(sha256), self._lock(sha256)
        while True:
            descriptor = locks.acquire(lock)
            try:
                if not _is_verified(path, descriptor, sha256):
                    self._make_room(size)
                    self._fetch(store, sha256, on_chunk)
                    _remember(path, descriptor)
                os.utime(descriptor)
                locks.share(descriptor)
            except BaseException:
                path.unlink(missing_ok=True)
                lock.unlink(missing_ok=True)
                os.close(descriptor)
                raise
            # Turning an exclusive lock into a shared one lets go of it for a moment, in which it may be evicted.
            if path.exists() and locks.is_current(descriptor, lock):
                return descriptor
            os.close(descriptor)

    def _fetch(self, store: ObjectStore, sha256: str, on_chunk: Callable[[], object]) -> None:
        # A folder, so that what the store stages beside its destination is found again too.
        part = self.root / f"{sha256}{_PART}"
        _remove(part)
        part.mkdir()
        try:
            bring(store, sha256, part / sha256, on_chunk)
            (part / sha256).replace(self._path(sha256))
        finally:
            _remove(part)

    def _make_room(self, wanted: int) -> None:
        entries = sorted(self._entries())
        held = sum(size for _, size, _ in entries)
        for _, size, sha256 in entries:
            if held + wanted <= self.max_bytes:
                return
            if self._evict(sha256):
                held -= size

    def _evict(self, sha256: str) -> bool:
        descriptor = locks.try_acquire(self._lock(sha256))
        if descriptor is None:
            return False
        try:
            self._path(sha256).unlink(missing_ok=True)
            self._lock(sha256).unlink(missing_ok=True)
        finally:
            os.close(descriptor)
        return True

    def _entries(self) -> Iterator[tuple[int, int, str]]:
        """(last use in ns, bytes, sha256) of each object here."""
        if not self.root.is_dir():
            return
        for lock in self.root.glob(f"*{_LOCK}"):
            with suppress(FileNotFoundError):
                sha256 = lock.name.removesuffix(_LOCK)
                yield lock.stat().st_mtime_ns, self._path(sha256).stat().st_size, sha256

    def _path(self, sha256: str) -> Path:
        return self.root / sha256

    def _lock(self, sha256: str) -> Path:
        return self.root / f"{sha256}{_LOCK}"


def bring(store: ObjectStore, sha256: str, destination: Path, on_chunk: Callable[[], object] = lambda: None) -> None:
    """Have a verified object at `destination`: linked if the store lies on the same disk, else copied piece by piece.

    Raises what the store raises for a missing or corrupt object or a full disk.
    """
    destination.unlink(missing_ok=True)
    local = store.local_path(sha256)
    if local is not None:
        with suppress(OSError):
            os.link(local, destination)
            if _hash(destination) == sha256:
                return
        destination.unlink(missing_ok=True)
    store.fetch(sha256, destination, on_chunk=on_chunk)


def _remove(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part, ignore_errors=True)
    else:  # of an earlier version
        part.unlink(missing_ok=True)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _identity(path: Path) -> bytes:
    found = path.stat()
    return f"{found.st_ino} {found.st_size} {found.st_mtime_ns}".encode()


def _is_verified(path: Path, descriptor: int, sha256: str) -> bool:
    if not path.exists():
        return False
    if os.pread(descriptor, 200, 0) == _identity(path):
        return True
    if _hash(path) != sha256:
        path.unlink()
        return False
    _remember(path, descriptor)
    return True


def _remember(path: Path, descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, _identity(path), 0)
