"""A range of a file, as a file of its own: what boto3 sends without holding it in memory, and again if it has to."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class FileSlice(io.RawIOBase):
    """The `length` bytes of `file` from `start` on, to be read. Leaves the file's own position alone."""

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        self._descriptor, self._start, self._length = file.fileno(), start, length
        self._at = 0

    def __len__(self) -> int:
        return self._length

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")[: max(0, self._length - self._at)]
        count = os.preadv(self._descriptor, [view], self._start + self._at) if len(view) else 0
        self._at += count
        return count
