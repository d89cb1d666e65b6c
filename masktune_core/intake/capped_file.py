"""A file that refuses to be read in large pieces."""

from __future__ import annotations

import errno
import io
import os
from typing import BinaryIO, Final

_AHEAD: Final = 1 << 18


class OversizeReadError(OSError):
    """A header asked for more memory than any honest one needs."""


class CappedFile(io.RawIOBase):
    """Read-only view of `file` on which one `read` of more than `cap` bytes fails.

    Archive libraries read a header of whatever length the archive states; this keeps a lying one from filling memory.
    They also ask where they are, and read some bytes here and there, many times a member: that is answered from memory,
    a quarter of a mebibyte of the file at a time. Each call of the system would let another thread run first.
    """

    def __init__(self, file: BinaryIO, cap: int) -> None:
        self._descriptor, self._cap = file.fileno(), cap
        self._end = os.fstat(self._descriptor).st_size
        self._position = 0
        self._ahead, self._ahead_at = b"", 0

    def read(self, size: int | None = -1, /) -> bytes:
        """At most `size` bytes; all that is left by default. Raises `OversizeReadError` beyond the cap."""
        left = max(self._end - self._position, 0)
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted > self._cap:
            raise OversizeReadError(f"a header of {wanted:,} bytes; the limit is {self._cap:,}")
        start = self._position - self._ahead_at
        if start < 0 or start + wanted > len(self._ahead):
            self._ahead, self._ahead_at, start = self._fetch(max(wanted, _AHEAD)), self._position, 0
        found = self._ahead[start : start + wanted]
        self._position += len(found)
        return found

    def _fetch(self, size: int) -> bytes:
        parts, position = [], self._position
        while size and (part := os.pread(self._descriptor, size, position)):
            parts.append(part)
            position, size = position + len(part), size - len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """As for any file."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._end}[whence]
        if start + offset < 0:
            raise OSError(errno.EINVAL, f"there is nothing before the beginning, at {start + offset}")
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """As for any file."""
        return self._position

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True
