"""A file that refuses to be read in large pieces."""

from __future__ import annotations

import io
from typing import BinaryIO


class OversizeReadError(OSError):
    """A header asked for more memory than any honest one needs."""


class CappedFile(io.RawIOBase):
    """Read-only view of `file` on which one `read` of more than `cap` bytes fails.

    Archive libraries read a header of whatever length the archive states; this keeps a lying one from filling memory.
    """

    def __init__(self, file: BinaryIO, cap: int) -> None:
        self._file, self._cap = file, cap
        self._end = file.seek(0, io.SEEK_END)
        file.seek(0)

    def read(self, size: int | None = -1, /) -> bytes:
        """At most `size` bytes; all that is left by default. Raises `OversizeReadError` beyond the cap."""
        left = max(self._end - self._file.tell(), 0)
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted > self._cap:
            raise OversizeReadError(f"a header of {wanted:,} bytes; the limit is {self._cap:,}")
        return self._file.read(wanted)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """As for any file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As for any file."""
        return self._file.tell()

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True
