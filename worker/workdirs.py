"""Working folders of attempts: `<home>/work/<id>/<attempt>`, gone when the attempt is over, however it ended."""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from worker.locks import locked

_OWNER = ".owner"


class WorkDirs:
    """Folders under one root, shared by all workers of this machine that have the same `home`.

    The process that uses a folder holds a lock on its `.owner` file. The lock goes with the process, so a folder whose
    lock is free was left by a process that was killed.
    """

    def __init__(self, home: Path) -> None:
        self.root = home.resolve() / "work"

    @contextmanager
    def claim(self, owner_id: uuid.UUID, attempt: int) -> Iterator[Path]:
        """An empty folder for this attempt, removed afterwards."""
        folder = self.root / str(owner_id) / str(attempt)
        with self._exclusive():
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir(parents=True, mode=0o700)
            try:
                owner = os.open(folder / _OWNER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError:
                _remove(folder)
                raise
            fcntl.flock(owner, fcntl.LOCK_EX)
        try:
            yield folder
        finally:
            with self._exclusive():
                os.close(owner)
                _remove(folder)

    def sweep(self) -> int:
        """Remove the folders of attempts whose process is gone; returns how many there were."""
        removed = 0
        if not self.root.is_dir():
            return 0
        with self._exclusive():
            for folder in self.root.glob("*/*/"):
                if not _is_owned(folder):
                    _remove(folder)
                    removed += 1
            for empty in self.root.glob("*/"):
                with suppress(OSError):
                    empty.rmdir()
        return removed

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        with locked(self.root / ".lock"):
            yield


def _is_owned(folder: Path) -> bool:
    try:
        descriptor = os.open(folder / _OWNER, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _remove(folder: Path) -> None:
    # A child that was just killed may still be creating files for a moment, so a first pass can miss some.
    for _ in range(3):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            break
    with suppress(OSError):
        folder.parent.rmdir()
