"""One request's bytes, added to an upload: safe every so often, whatever becomes of the request."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Final
from uuid import UUID

import structlog
from anyio import CancelScope, CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from api.errors import ApiError
from api.services import Services
from api.uploads.appending import Appending
from api.uploads.protocol import Checksum
from api.uploads.receive import blocks, entered, pump, too_large
from api.uploads.standing import LOCK_SECONDS, Standing, standing
from persistence.errors import IncomingLost, PersistenceError, UploadSuperseded
from persistence.store.incoming import IncomingWriter

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 1.0


class _CheckpointedSink:
    """Keeps what was written every so many bytes, so that even a crash costs no more; yields when told to."""

    def __init__(self, appending: Appending, writer: IncomingWriter, *, apart: bool) -> None:
        self._appending, self._writer, self._apart = appending, writer, apart
        self._kept = writer.size
        self._looked = time.monotonic()

    def write(self, data: bytes, /) -> int:
        count = self._writer.write(data)
        size = self._writer.size
        if not self._apart and size - self._kept >= self._writer.checkpoint_bytes and size < self._appending.size:
            self._appending.keep(self._writer, everything=False)
            self._kept = size
        if time.monotonic() - self._looked >= LOOK_SECONDS and size < self._appending.size:
            self._appending.turn.check()
            self._looked = time.monotonic()
        return count


class _Summed:
    """Passes blocks on, and hashes them for `Upload-Checksum`."""

    def __init__(self, sink: _CheckpointedSink, checksum: Checksum) -> None:
        self._sink = sink
        self.hash = checksum.start()

    def write(self, data: bytes, /) -> int:
        self.hash.update(data)
        return self._sink.write(data)


async def append(
    services: Services,
    receive: Receive,
    *,
    tenant_id: UUID,
    upload_id: UUID,
    offset: int,
    announced: int | None,
    checksum: Checksum | None,
    request_id: str | None = None,
) -> Standing:
    """Add the request's body to the upload behind `offset`; the last byte completes it, or hands it to a worker.

    What arrived before a request broke off stays, unless it has a checksum, which can then not be verified. Raises
    `NotFound`, `UploadExpired`, `OffsetMismatch`, `UploadSuperseded`, `IncomingBusy`, `IncomingLost`, `OutOfDisk`, and
    `ApiError`: 408, 413 for more bytes than announced, 422 for another hash than announced, 460 for another checksum.
    """
    appending = await to_thread.run_sync(
        partial(Appending, services, tenant_id, upload_id, offset, request_id=request_id)
    )
    left = appending.size - offset
    one_at_a_time = CapacityLimiter(1)
    opened = services.store.incoming.open(upload_id, offset, appending.turn, wait_seconds=LOCK_SECONDS)
    try:
        if announced is not None and announced > left:
            raise too_large(left)
        async with entered(opened, one_at_a_time) as writer:
            await _fill(appending, writer, receive, checksum, one_at_a_time)
    except IncomingLost as lost:
        if lost.everywhere:
            await to_thread.run_sync(appending.forget)
        raise
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(appending.turn.release)
    return await to_thread.run_sync(standing, services, tenant_id, upload_id)


async def _fill(
    appending: Appending,
    writer: IncomingWriter,
    receive: Receive,
    checksum: Checksum | None,
    limiter: CapacityLimiter,
) -> None:
    sink = _CheckpointedSink(appending, writer, apart=checksum is not None)
    summed = None if checksum is None else _Summed(sink, checksum)

    async def look() -> None:
        await to_thread.run_sync(appending.turn.check)

    try:
        await pump(blocks(receive, appending.size - appending.offset, look), summed or sink, limiter)
    except (ClientDisconnect, ApiError, UploadSuperseded, asyncio.CancelledError) as broken:
        if checksum is None and not (isinstance(broken, ApiError) and broken.code == "content_too_large"):
            await _rescue(appending, writer, limiter)
        raise
    if checksum is not None and summed is not None and not checksum.matches(summed.hash):
        detail = f"The {checksum.algorithm} of the bytes that came is another than Upload-Checksum says."
        raise ApiError("upload_checksum_mismatch", detail)
    await to_thread.run_sync(appending.settle, writer, limiter=limiter)


async def _rescue(appending: Appending, writer: IncomingWriter, limiter: CapacityLimiter) -> None:
    """Keep what came of a request that broke off."""
    with CancelScope(shield=True):
        try:
            await to_thread.run_sync(appending.settle, writer, limiter=limiter)
        except (PersistenceError, ApiError) as error:
            log.info("upload_not_kept", upload=str(appending.upload_id), error=str(error))
