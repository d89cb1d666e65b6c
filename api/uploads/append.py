"""One request's bytes, added to an upload: safe every so often, whatever becomes of the request."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from anyio import CancelScope, CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from api.errors import ApiError
from api.services import Services
from api.uploads.protocol import Checksum
from api.uploads.receive import blocks, entered, other_hash, pump, too_large
from persistence import incoming_uploads, objects, uploads
from persistence.database import transaction
from persistence.errors import NotFound, OffsetMismatch, PersistenceError, UploadSuperseded
from persistence.store.incoming import IncomingWriter

log = structlog.get_logger(__name__)

CHECKPOINT_BYTES: Final = 64 * 2**20
LOCK_SECONDS: Final = 5.0
LOOK_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an upload stands. `expires_at` is None once it is complete; `in_use`: a request may be adding to it."""

    offset: int
    size: int
    expires_at: datetime | None
    tus_metadata: str | None = None
    in_use: bool = False


def standing(services: Services, tenant_id: UUID, upload_id: UUID) -> Standing:
    """How far an upload is, complete or not. Raises `NotFound`, `UploadExpired`."""
    with transaction(services.sessions) as session:
        try:
            complete = uploads.get(session, tenant_id, upload_id)
        except NotFound:
            incoming = incoming_uploads.get(session, tenant_id, upload_id)
            return Standing(
                incoming.received,
                incoming.size,
                incoming.expires_at,
                incoming.tus_metadata,
                incoming.writer is not None,
            )
        return Standing(complete.size, complete.size, None)


def settled_standing(services: Services, tenant_id: UUID, upload_id: UUID) -> Standing:
    """The same, once nobody adds to the upload: who does is told to stop, keeps what has arrived, and is waited for.

    A client that asks where to go on has given up its request before, whose end may not have reached us yet. Raises
    `IncomingBusy` when that request does not let go.
    """
    found = standing(services, tenant_id, upload_id)
    if not found.in_use:
        return found
    with transaction(services.sessions) as session:
        token = incoming_uploads.take(session, tenant_id, upload_id)
    services.store.incoming.wait(upload_id, LOCK_SECONDS)
    with transaction(services.sessions) as session:
        incoming_uploads.release(session, upload_id, token)
    return standing(services, tenant_id, upload_id)


class Appending:
    """One request's turn to add to one upload. Its methods block, and are called in threads."""

    def __init__(self, services: Services, tenant_id: UUID, upload_id: UUID, offset: int) -> None:
        self._services, self.upload_id, self.offset = services, upload_id, offset
        self._ttl = timedelta(hours=services.settings.upload_ttl_hours)
        with transaction(services.sessions) as session:
            incoming = incoming_uploads.get(session, tenant_id, upload_id)
            self.size, self._expected = incoming.size, incoming.expected_sha256
            if incoming.multipart_id is not None:
                raise ApiError("upload_is_multipart", "The parts of this upload go to S3; see POST …/parts.")
            if incoming.received != offset:
                raise OffsetMismatch(upload_id, incoming.received, offset)
            self._token = incoming_uploads.take(session, tenant_id, upload_id)

    def confirm(self) -> None:
        """Nobody has taken the upload over, nor gone on with it meanwhile. Call it with the file's lock.

        Raises `UploadSuperseded`, `OffsetMismatch`.
        """
        with transaction(self._services.sessions) as session:
            received = incoming_uploads.check(session, self.upload_id, self._token)
        if received != self.offset:
            raise OffsetMismatch(self.upload_id, received, self.offset)

    def confirm_still(self) -> None:
        """Nobody has taken the upload over. Raises `UploadSuperseded`."""
        with transaction(self._services.sessions) as session:
            incoming_uploads.check(session, self.upload_id, self._token)

    def end(self) -> None:
        """This request adds no more."""
        with transaction(self._services.sessions) as session:
            incoming_uploads.release(session, self.upload_id, self._token)

    def keep(self, writer: IncomingWriter) -> None:
        """What is written is safe from now on."""
        safe = writer.sync()
        with transaction(self._services.sessions) as session:
            incoming_uploads.advance(session, self.upload_id, safe, self._ttl)

    def settle(self, writer: IncomingWriter) -> None:
        """Keep what is written; when that is everything, the upload is complete.

        The offset never says that everything is there before it is complete: a client would believe it.
        """
        if writer.size < self.size:
            self.keep(writer)
            return
        store = self._services.store.incoming
        if self._expected is not None and writer.sha256 != self._expected:
            store.discard(self.upload_id)
            with transaction(self._services.sessions) as session:
                incoming_uploads.delete(session, self.upload_id)
            raise other_hash("The upload's sha256", self._expected, writer.sha256, writer.size)
        stored = store.put(self.upload_id, writer)
        with transaction(self._services.sessions) as session:
            objects.hold(session, self._services.store, stored)
            incoming_uploads.complete(session, self.upload_id, stored.sha256, stored.size, self._ttl)
        store.discard(self.upload_id)


class _CheckpointedSink:
    """Keeps what was written every 64 MiB, so that even a crash of this process costs no more; yields when told to."""

    def __init__(self, appending: Appending, writer: IncomingWriter, *, apart: bool) -> None:
        self._appending, self._writer, self._apart = appending, writer, apart
        self._kept = writer.size
        self._looked = time.monotonic()

    def write(self, data: bytes, /) -> int:
        count = self._writer.write(data)
        size = self._writer.size
        if not self._apart and size - self._kept >= CHECKPOINT_BYTES and size < self._appending.size:
            self._appending.keep(self._writer)
            self._kept = size
        if time.monotonic() - self._looked >= LOOK_SECONDS and size < self._appending.size:
            self._appending.confirm_still()
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
) -> Standing:
    """Add the request's body to the upload behind `offset`; the last byte completes it.

    What arrived before a request broke off stays, unless it has a checksum, which can then not be verified. Raises
    `NotFound`, `UploadExpired`, `OffsetMismatch`, `UploadSuperseded`, `IncomingBusy`, `IncomingLost`, `OutOfDisk`, and
    `ApiError`: 408, 413 for more bytes than announced, 422 for another hash than announced, 460 for another checksum.
    """
    appending = await to_thread.run_sync(Appending, services, tenant_id, upload_id, offset)
    left = appending.size - offset
    one_at_a_time = CapacityLimiter(1)
    opened = services.store.incoming.open(upload_id, offset, wait_seconds=LOCK_SECONDS, confirm=appending.confirm)
    try:
        if announced is not None and announced > left:
            raise too_large(left)
        async with entered(opened, one_at_a_time) as writer:
            await _fill(appending, writer, receive, checksum, one_at_a_time)
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(appending.end)
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
        await to_thread.run_sync(appending.confirm_still)

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
