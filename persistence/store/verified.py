"""Reading that knows what the hash should be."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, Final

from persistence.errors import ObjectCorrupt, ObjectMissing
from persistence.store.protocol import CHUNK

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_HASH: Final = re.compile(r"[0-9a-f]{64}")


def is_hash(name: str) -> bool:
    """Whether `name` can name an object."""
    return _HASH.fullmatch(name) is not None


def require_hash(sha256: str) -> str:
    """`sha256` itself. A name that is no hash raises `ObjectMissing`: it must never become part of a path."""
    if not is_hash(sha256):
        raise ObjectMissing(sha256)
    return sha256


class VerifiedReader(io.RawIOBase):
    """Reads `source` and checks the hash at its end. After a seek away from the reading position nothing is checked."""

    def __init__(self, source: BinaryIO, sha256: str) -> None:
        self._source = source
        self._sha256 = sha256
        self._digest = hashlib.sha256()
        self._hashed = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._source.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        return self._source.tell()

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        in_order = not self._source.seekable() or self._source.tell() == self._hashed
        data = self._source.read(len(view))
        view[: len(data)] = data
        if in_order:
            self._digest.update(data)
            self._hashed += len(data)
            if not data and len(view) and self._digest.hexdigest() != self._sha256:
                raise ObjectCorrupt(self._sha256, f"its hash is {self._digest.hexdigest()}")
        return len(data)

    def close(self) -> None:
        self._source.close()
        super().close()


def verified_chunks(source: BinaryIO, sha256: str, start: int, stop: int, size: int, chunk: int) -> Iterator[bytes]:
    """`[start, stop)` of a `source` that stands at `start`; checks the hash when that is the whole object.

    The last piece of a damaged whole object is held back, so that a reader who counts bytes notices.
    """
    left = stop - start
    digest = hashlib.sha256() if (start, stop) == (0, size) else None
    while left > 0:
        data = source.read(min(chunk, left))
        if not data:
            raise ObjectCorrupt(sha256, f"it ends {left} bytes early")
        left -= len(data)
        if digest is not None:
            digest.update(data)
            if left == 0 and digest.hexdigest() != sha256:
                raise ObjectCorrupt(sha256, f"its hash is {digest.hexdigest()}")
        yield data


def hash_stream(source: BinaryIO) -> str:
    """SHA-256 of the rest of `source`, hexadecimal."""
    digest = hashlib.sha256()
    while data := source.read(CHUNK):
        digest.update(data)
    return digest.hexdigest()
