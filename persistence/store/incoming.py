"""What arrives over several requests: the words that every kind of store has for it.

How many bytes of an upload count, and whose turn it is to add to them, stands in the database, not here: a store asks a
`Turn`, and tells with a `Kept` what is safe.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

if TYPE_CHECKING:
    from persistence.store.protocol import Stored


@dataclass(frozen=True, slots=True)
class Part:
    """A part that S3 has; `size` in bytes."""

    number: int
    etag: str
    size: int


@dataclass(frozen=True, slots=True)
class Tail:
    """An object with the last bytes of an upload, too few for a part; `size` in bytes."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Received:
    """Of the `size` bytes of an upload the first `offset` are safe; the last of these may be a `tail`."""

    size: int
    offset: int
    multipart_id: str | None = None
    tail: Tail | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """The first `offset` bytes outlive a crash, and count once this is recorded: the parts that are new, and the tail
    that takes the place of the one before."""

    offset: int
    parts: tuple[Part, ...] = ()
    tail: Tail | None = None


class Turn(Protocol):
    """One request's turn to add to an upload. Every method raises `UploadSuperseded` once another has the turn."""

    def vacated(self) -> bool:
        """Whether the request before has let go."""
        ...

    def start(self) -> Received:
        """From now on nothing of the request before counts any more; how far the upload is."""
        ...

    def next_part(self) -> int:
        """A part number that no other request gets, higher than all before."""
        ...


class IncomingWriter(Protocol):
    """The open end of an upload."""

    @property
    def size(self) -> int:
        """Bytes so far, from the first of the upload."""
        ...

    @property
    def sha256(self) -> str | None:
        """Hash of all bytes so far, hexadecimal; None where they would have to be fetched for it."""
        ...

    @property
    def checkpoint_bytes(self) -> int:
        """After how many bytes to call `sync` while more are coming."""
        ...

    def write(self, data: bytes | memoryview, /) -> int:
        """Append. Raises `OutOfDisk` before the disk is full."""
        ...

    def sync(self, *, everything: bool = True) -> Kept:
        """Make the bytes outlive a crash: all of them, or as many as is worth it while more are coming.

        Raises `StoreUnavailable`, `IncomingLost`, `UploadSuperseded`.
        """
        ...

    def recorded(self) -> None:
        """What `sync` returned is in the database: what it takes the place of may go."""
        ...


class Incoming(Protocol):
    """Where uploads arrive, each under its id."""

    def require_room(self, size: int) -> None:
        """Raises `OutOfDisk` when `size` more bytes would leave too little free."""
        ...

    def begin(self, name: UUID) -> str | None:
        """Make room for an upload; the store's own name for it, to be handed in again, if it has one."""
        ...

    def open(
        self, name: UUID, offset: int, turn: Turn, *, wait_seconds: float = 0.0
    ) -> AbstractContextManager[IncomingWriter]:
        """Append behind the first `offset` bytes, alone, once the request before has let go.

        Raises `IncomingBusy` when that may still add after `wait_seconds`, `IncomingLost` when the bytes are not there,
        and what the turn raises.
        """
        ...

    def wait(self, name: UUID, turn: Turn, seconds: float) -> None:
        """Return once nobody adds to the upload; one that is not there is fine. Raises as `open`."""
        ...

    def put(self, name: UUID, writer: IncomingWriter) -> Stored | None:
        """Make an object of the whole, which stays until it is discarded. Raises `IncomingLost` if it was.

        None: that is left to a worker, who reads the whole once more.
        """
        ...

    def discard(self, name: UUID, multipart_id: str | None = None) -> None:
        """Forget an upload's bytes; if they are not there, that is fine."""
        ...

    def is_busy(self, name: UUID) -> bool:
        """Whether somebody surely adds to the upload at this moment."""
        ...

    def names(self) -> Iterator[UUID]:
        """Every upload of which something lies here that may be a leftover."""
        ...
