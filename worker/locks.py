"""Advisory file locks between processes and between threads, which the kernel drops when their holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Wait for the exclusive lock on `path` (created if missing) and hold it; yields the open descriptor."""
    descriptor = acquire(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def acquire(path: Path) -> int:
    """An open descriptor that holds the exclusive lock on `path`; closing it lets go."""
    while True:
        descriptor = _open(path)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if is_current(descriptor, path):
            return descriptor
        os.close(descriptor)


def try_acquire(path: Path) -> int | None:
    """Like `acquire`, but None at once when somebody holds the lock."""
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    if is_current(descriptor, path):
        return descriptor
    os.close(descriptor)
    return None


def share(descriptor: int) -> None:
    """Turn an exclusive lock into a shared one."""
    fcntl.flock(descriptor, fcntl.LOCK_SH)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def is_current(descriptor: int, path: Path) -> bool:
    """Whether `path` still is the file behind `descriptor`. A lock on a removed file guards nothing."""
    with suppress(FileNotFoundError):
        here, there = os.fstat(descriptor), path.stat()
        return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
    return False
