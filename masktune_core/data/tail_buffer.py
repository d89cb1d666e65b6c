"""A file whose end stays in memory for a while, so that going back there costs nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_MOST: Final = 1 << 20


class TailBuffer:
    """A new file at `path`, for `zipfile` to write: it goes back to every member's header once the member is written.

    With a file of the system's that takes three writes and as many moves for each image, however small. Here they are
    made in memory, and a mebibyte or more is written at a time. Going back further than that is possible, and slow.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b")
        self._tail = bytearray()
        self._base = 0  # where the tail begins
        self._position = 0

    def tell(self) -> int:
        return self._position

    def seek(self, position: int, whence: int = 0) -> int:
        """To a position from the beginning; `whence` is 0."""
        if whence != 0 or position < 0:
            raise ValueError(f"a place is told from the beginning, got {position} with whence {whence}")
        self._position = position
        return position

    def seekable(self) -> bool:
        return True

    def write(self, data: bytes | bytearray | memoryview) -> int:
        size = memoryview(data).nbytes
        start = self._position - self._base
        if start < 0 or start > len(self._tail):
            self._write_out()
            self._file.seek(self._position)
            self._file.write(data)
            self._base = max(self._base, self._file.tell())
            self._position += size
            return size
        self._tail[start : start + size] = data
        self._position += size
        return size

    def settle(self) -> None:
        """Nothing that was written so far will be gone back to soon."""
        if len(self._tail) >= _MOST:
            self._write_out()

    def flush(self) -> None:
        self._write_out()
        self._file.flush()

    def close(self) -> None:
        if not self._file.closed:
            self._write_out()
            self._file.close()

    def _write_out(self) -> None:
        self._file.seek(self._base)
        self._file.write(self._tail)
        self._base += len(self._tail)
        self._tail.clear()
