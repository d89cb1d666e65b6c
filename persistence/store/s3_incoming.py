"""Uploads that arrive in S3, through any machine: in parts as bytes come, and what is too little for one as a tail.

As tusd's S3 store does it. What counts is what the database has recorded: a request that lost its turn may still send
parts, but under numbers of its own, and they are never put together with the others.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast
from uuid import UUID, uuid4

import structlog

from persistence.errors import IncomingLost, StoreUnavailable
from persistence.store.incoming import IncomingWriter, Kept, Part, Received, Tail, Turn
from persistence.store.multipart import MOST_PARTS, MultipartArea
from persistence.store.protocol import CHUNK
from persistence.store.staging import disk_full, require_headroom, write_all

_log = structlog.get_logger(__name__)

_SMALLEST_PART: Final = 8 * 2**20
_MOST_USED: Final = 8_000
"""Parts of the largest upload. The numbers beyond are for those that are sent and never recorded."""
_POLL_SECONDS: Final = 0.05
_CHECK_EVERY: Final = 16 * 2**20


def part_bytes(size: int) -> int:
    """Bytes of every part but the last of an upload of `size` bytes."""
    return max(-(-size // _MOST_USED), _SMALLEST_PART)


class S3IncomingWriter:
    """Collects bytes in a file until they are a part. The file has no name, so nothing is left of a dead process."""

    def __init__(
        self,
        area: MultipartArea,
        name: UUID,
        found: Received,
        turn: Turn,
        file: BinaryIO,
        *,
        headroom: int,
        spool: Path,
    ) -> None:
        self._area, self._name, self._turn = area, name, turn
        self._file, self._headroom, self._spool = file, headroom, spool
        self._multipart_id = found.multipart_id or ""
        self._whole, self._size = found.size, found.offset
        self._tail, self._replaced = found.tail, list[Tail]()
        self._in_parts = found.offset - (found.tail.size if found.tail else 0)
        self._unchecked = _CHECK_EVERY
        self.checkpoint_bytes = part_bytes(found.size)

    @property
    def size(self) -> int:
        """Bytes so far, from the first of the upload."""
        return self._size

    @property
    def sha256(self) -> None:
        """Not known: other requests have sent some of the bytes."""

    def write(self, data: bytes | memoryview, /) -> int:
        """Append. Raises `OutOfDisk` before the disk is full."""
        self._unchecked += len(data)
        if self._unchecked >= _CHECK_EVERY:
            require_headroom(self._spool, self._headroom + len(data))
            self._unchecked = 0
        with disk_full(self._spool, self._headroom):
            write_all(self._file, data)
        self._size += len(data)
        return len(data)

    def sync(self, *, everything: bool = True) -> Kept:
        """Send what is enough for parts, and the rest as the last part or as a tail if it is to be `everything`."""
        parts: list[Part] = []
        held, sent = self._size - self._in_parts, 0
        while held - sent >= self.checkpoint_bytes or (self._size == self._whole and held > sent):
            length = min(held - sent, self.checkpoint_bytes)
            parts.append(self._send(sent, length))
            sent += length
        before = self._tail
        if sent:
            self._tail = None
        if everything and held - sent > (self._tail.size if self._tail else 0):
            self._tail = Tail(uuid4().hex, held - sent)
            self._area.put_tail(self._name, self._tail.name, self._file, sent, self._tail.size)
        if before is not None and before != self._tail:
            self._replaced.append(before)
        self._forget(sent)
        return Kept(self._in_parts + (self._tail.size if self._tail else 0), tuple(parts), self._tail)

    def recorded(self) -> None:
        """Tails whose bytes are in a part or in a longer tail by now go; if that fails, with the upload."""
        while self._replaced:
            tail = self._replaced.pop()
            try:
                self._area.drop_tail(self._name, tail.name)
            except StoreUnavailable as error:
                _log.info("tail_not_dropped", upload=str(self._name), error=str(error))

    def _send(self, start: int, length: int) -> Part:
        number = self._turn.next_part()
        if number > MOST_PARTS:
            raise IncomingLost(self._name, everywhere=True)
        etag = self._area.send_part(self._name, self._multipart_id, number, self._file, start, length)
        return Part(number, etag, length)

    def _forget(self, sent: int) -> None:
        """The first `sent` bytes of the file are in parts."""
        if not sent:
            return
        self._in_parts += sent
        left = self._size - self._in_parts
        with disk_full(self._spool, self._headroom):
            # What is left is less than one part, and at most one block of a request.
            for start in range(0, left, CHUNK):
                self._file.seek(sent + start)
                piece = self._file.read(min(CHUNK, left - start))
                self._file.seek(start)
                write_all(self._file, piece)
            self._file.seek(left)
            self._file.truncate()


class S3Incoming:
    """Uploads in the parts that S3 has of them: an `Incoming` that every machine shares.

    There are no locks in S3. Whoever comes waits until the one before has let go, or long enough, and then starts its
    turn in the database, from where the one before can record nothing more.
    """

    def __init__(self, area: MultipartArea, spool: Path, *, headroom: int) -> None:
        self._area, self._spool, self._headroom = area, spool, headroom

    def require_room(self, size: int) -> None:
        """Only a part at a time is kept here."""
        self._spool.mkdir(parents=True, exist_ok=True)
        require_headroom(self._spool, self._headroom + min(size, part_bytes(size)))

    def begin(self, name: UUID) -> str:
        """S3's id for a new upload."""
        return self._area.begin(name)

    @contextmanager
    def open(self, name: UUID, offset: int, turn: Turn, *, wait_seconds: float = 0.0) -> Iterator[IncomingWriter]:  # noqa: ARG002 - the turn knows it
        """Append behind what the turn says is there. What is held here and was not kept is gone afterwards."""
        self.wait(name, turn, wait_seconds)
        found = turn.start()
        if found.multipart_id is None:
            raise IncomingLost(name, everywhere=True)
        self._spool.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._spool, buffering=0) as raw:
            file = cast("BinaryIO", raw)  # read and written as one, only without a buffer
            if found.tail is not None:
                with disk_full(self._spool, self._headroom):
                    self._area.get_tail(name, found.tail.name, file)
                if file.tell() != found.tail.size:
                    raise IncomingLost(name, everywhere=True)
            yield S3IncomingWriter(self._area, name, found, turn, file, headroom=self._headroom, spool=self._spool)

    def wait(self, name: UUID, turn: Turn, seconds: float) -> None:  # noqa: ARG002 - the turn knows the upload
        """Return once the request before has let go, or after so long: it may be on a machine that is gone."""
        deadline = time.monotonic() + seconds
        while not turn.vacated() and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)

    def is_busy(self, name: UUID) -> bool:  # noqa: ARG002 - nobody can tell
        """Never surely: what has not expired is recorded with every part."""
        return False

    def put(self, name: UUID, writer: IncomingWriter) -> None:
        """Left to a worker."""

    def discard(self, name: UUID, multipart_id: str | None = None) -> None:
        """Forget an upload's parts and tails."""
        self._area.discard(name, multipart_id)

    def names(self) -> Iterator[UUID]:
        """Every upload of which something has lain in S3 for a day."""
        return self._area.names()
