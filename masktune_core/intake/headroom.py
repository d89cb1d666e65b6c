"""Stops writing before a disk is full."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from masktune_core.errors import OutOfDisk

_CHECK_EVERY: Final = 16 * 2**20  # bytes between two looks at the free space


class Headroom:
    """Keeps `kept` bytes of the disk under `folder` free, whoever else writes there."""

    def __init__(self, folder: Path, kept: int) -> None:
        self._folder, self._kept = folder, kept
        self._unseen = _CHECK_EVERY

    def take(self, count: int) -> None:
        """So many bytes are about to be written. Raises `OutOfDisk` if too little would be left."""
        self._unseen += count
        if self._unseen < _CHECK_EVERY:
            return
        self._unseen = 0
        free = shutil.disk_usage(self._folder).free
        if free < self._kept + count:
            raise OutOfDisk(self._folder, free, self._kept)
