"""From the socket to the object store, with flat memory.

The event loop only collects blocks. A thread hashes and writes one block while the next arrives, so that one core
receives and another stores. Two blocks are held at most, whatever the size.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Final, Protocol, TypeVar

from anyio import CancelScope, CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from api.errors import HANG_UP, ApiError
from persistence.errors import PersistenceError
from persistence.store import ObjectStore, Stored

BLOCK_BYTES: Final = 4 * 2**20
STALL_SECONDS: Final = 60.0
IDLE_SECONDS: Final = 1.0

Entered = TypeVar("Entered")
OnIdle = Callable[[], Awaitable[None]]


class Sink(Protocol):
    """Where blocks go; called in a thread, one at a time."""

    def write(self, data: bytes, /) -> int: ...


async def receive_object(
    receive: Receive,
    store: ObjectStore,
    *,
    limit: int,
    expected_sha256: str | None,
    admit: Callable[[int], None] = lambda _size: None,
) -> Stored:
    """Put the request's body into the store.

    `admit` is asked, in a thread, once the size is known and before anything is visible; it raises to refuse.
    Raises `ApiError`: 413 beyond `limit` bytes, 408 when nothing comes for a minute, 422 when the hash is not the
    expected one; `OutOfDisk`; `ClientDisconnect`. Whatever it raises, nothing of the body stays.
    """
    one_at_a_time = CapacityLimiter(1)  # keeps the writes in order, and out of the endpoints' thread pool
    async with entered(store.writer(), one_at_a_time) as writer:
        await pump(blocks(receive, limit), writer, one_at_a_time)
        if expected_sha256 is not None and writer.sha256 != expected_sha256:
            raise other_hash("X-Content-SHA256", expected_sha256, writer.sha256, writer.size)
        await to_thread.run_sync(admit, writer.size)
        return await to_thread.run_sync(writer.commit, limiter=one_at_a_time)


def too_large(limit: int) -> ApiError:
    """413 with the limit in the body."""
    return ApiError("content_too_large", f"An upload has at most {limit} bytes.", limit=limit)


def other_hash(who: str, expected: str, actual: str, size: int) -> ApiError:
    """422 with both hashes in the body."""
    detail = f"{who} says {expected}, the {size} bytes that came have {actual}."
    return ApiError("checksum_mismatch", detail, expected=expected, actual=actual)


async def blocks(receive: Receive, limit: int, on_idle: OnIdle | None = None) -> AsyncIterator[list[bytes]]:
    """The body in blocks of at least `BLOCK_BYTES`, but for the last; each a list of pieces.

    What came before the body broke off is yielded too. `on_idle` is called once for each second without bytes.
    """
    pieces: list[bytes] = []
    held = total = 0
    more = True
    while more:
        try:
            message = await _next(receive, on_idle)
        except (ApiError, ClientDisconnect, PersistenceError):
            if held:
                yield pieces
            raise
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


async def _next(receive: Receive, on_idle: OnIdle | None) -> Message:
    """The next piece of the request. Raises `ApiError` (408), `ClientDisconnect`, and whatever `on_idle` raises."""
    message = await (_quick(receive) if on_idle is None else _patient(receive, on_idle))
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message


async def _quick(receive: Receive) -> Message:
    try:
        async with asyncio.timeout(STALL_SECONDS):
            return await receive()
    except TimeoutError:
        raise _stalled() from None


async def _patient(receive: Receive, on_idle: OnIdle) -> Message:
    waiting = asyncio.ensure_future(receive())
    waited = 0.0
    try:
        while True:
            step = min(IDLE_SECONDS, STALL_SECONDS)
            done, _ = await asyncio.wait({waiting}, timeout=step)
            if done:
                return waiting.result()
            waited += step
            if waited >= STALL_SECONDS:
                raise _stalled()
            await on_idle()
    finally:
        waiting.cancel()


def _stalled() -> ApiError:
    return ApiError("request_timeout", f"No byte arrived for {STALL_SECONDS:.0f} seconds.", headers=HANG_UP)


async def pump(source: AsyncIterator[list[bytes]], sink: Sink, limiter: CapacityLimiter) -> None:
    """Write each block while the next one is received. Every block that came is written, also when it raises."""
    writing: asyncio.Task[int] | None = None
    try:
        async for block in source:
            if writing is not None:
                await writing
            writing = asyncio.create_task(to_thread.run_sync(_write, sink, block, limiter=limiter))
        if writing is not None:
            await writing
    finally:
        if writing is not None and not writing.done():
            # The thread cannot be stopped in the middle of a block; the writer must not be closed under it.
            with CancelScope(shield=True):
                await asyncio.wait([writing])


def _write(sink: Sink, block: list[bytes]) -> int:
    return sink.write(b"".join(block))


@asynccontextmanager
async def entered(manager: AbstractContextManager[Entered], limiter: CapacityLimiter) -> AsyncIterator[Entered]:
    """A blocking context manager, entered and left in a thread; left even when the request is cancelled."""
    value = await to_thread.run_sync(manager.__enter__, limiter=limiter)
    try:
        yield value
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(manager.__exit__, *sys.exc_info(), limiter=limiter)
