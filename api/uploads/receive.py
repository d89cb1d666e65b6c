"""From the socket to the object store, with flat memory.

The event loop only collects blocks. A thread hashes and writes one block while the next arrives, so that one core
receives and another stores. Two blocks are held at most, whatever the size.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Final, TypeVar

from anyio import CancelScope, CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from api.errors import ApiError
from persistence.store import ObjectStore, ObjectWriter, Stored

BLOCK_BYTES: Final = 4 * 2**20
STALL_SECONDS: Final = 60.0

Entered = TypeVar("Entered")


async def receive_object(receive: Receive, store: ObjectStore, *, limit: int, expected_sha256: str | None) -> Stored:
    """Put the request's body into the store.

    Raises `ApiError`: 413 beyond `limit` bytes, 408 when nothing comes for a minute, 422 when the hash is not the
    expected one; `OutOfDisk`; `ClientDisconnect`. Whatever it raises, nothing of the body stays.
    """
    one_at_a_time = CapacityLimiter(1)  # keeps the writes in order, and out of the endpoints' thread pool
    async with _entered(store.writer(), one_at_a_time) as writer:
        await _pump(_blocks(receive, limit), writer, one_at_a_time)
        if expected_sha256 is not None and writer.sha256 != expected_sha256:
            detail = f"X-Content-SHA256 says {expected_sha256}, the {writer.size} bytes that came have {writer.sha256}."
            raise ApiError("checksum_mismatch", detail, expected=expected_sha256, actual=writer.sha256)
        return await to_thread.run_sync(writer.commit, limiter=one_at_a_time)


def too_large(limit: int) -> ApiError:
    """413 with the limit in the body."""
    return ApiError("content_too_large", f"An upload has at most {limit} bytes.", limit=limit)


async def _blocks(receive: Receive, limit: int) -> AsyncIterator[list[bytes]]:
    """The body in blocks of at least `BLOCK_BYTES`, but for the last; each a list of pieces."""
    pieces: list[bytes] = []
    held = total = 0
    more = True
    while more:
        try:
            async with asyncio.timeout(STALL_SECONDS):
                message = await receive()
        except TimeoutError:
            raise ApiError("request_timeout", f"No byte arrived for {STALL_SECONDS:.0f} seconds.") from None
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        more = message.get("more_body", False)
        piece = message.get("body", b"")
        total += len(piece)
        if total > limit:
            raise too_large(limit)
        pieces.append(piece)
        held += len(piece)
        if held >= BLOCK_BYTES:
            yield pieces
            pieces, held = [], 0
    if held:
        yield pieces


async def _pump(blocks: AsyncIterator[list[bytes]], writer: ObjectWriter, limiter: CapacityLimiter) -> None:
    """Write each block while the next one is received."""
    writing: asyncio.Task[int] | None = None
    try:
        async for block in blocks:
            if writing is not None:
                await writing
            writing = asyncio.create_task(to_thread.run_sync(_write, writer, block, limiter=limiter))
        if writing is not None:
            await writing
    finally:
        if writing is not None and not writing.done():
            # The thread cannot be stopped in the middle of a block; the writer must not be closed under it.
            with CancelScope(shield=True):
                await asyncio.wait([writing])


def _write(writer: ObjectWriter, block: list[bytes]) -> int:
    return writer.write(b"".join(block))


@asynccontextmanager
async def _entered(manager: AbstractContextManager[Entered], limiter: CapacityLimiter) -> AsyncIterator[Entered]:
    """A blocking context manager, entered and left in a thread; left even when the request is cancelled."""
    value = await to_thread.run_sync(manager.__enter__, limiter=limiter)
    try:
        yield value
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(manager.__exit__, *sys.exc_info(), limiter=limiter)
