"""One request's bytes, added to an upload: safe every so often, whatever becomes of the request."""

from __future__ import annotations

import asyncio
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
from persistence import incoming_uploads, uploads
from persistence.database import transaction
from persistence.errors import NotFound, OffsetMismatch, PersistenceError
from persistence.store.incoming import IncomingWriter

log = structlog.get_logger(__name__)

CHECKPOINT_BYTES: Final = 64 * 2**20
LOCK_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an upload stands. `expires_at` is None once it is complete."""

    offset: int
    size: int
    expires_at: datetime | None
    tus_metadata: str | None = None


def standing(services: Services, tenant_id: UUID, upload_id: UUID) -> Standing:
    """How far an upload is, complete or not. Raises `NotFound`, `UploadExpired`."""
    with transaction(services.sessions) as session:
        try:
            complete = uploads.get(session, tenant_id, upload_id)
        except NotFound:
            incoming = incoming_uploads.get(session, tenant_id, upload_id)
            return Standing(incoming.received, incoming.size, incoming.expires_at, incoming.tus_metadata)
        return Standing(complete.size, complete.size, None)


class Appending:
    """The right of one request to go on with one upload. Its methods block, and are called in threads."""

    def __init__(self, services: Services, tenant_id: UUID, upload_id: UUID, offset: int) -> None:
        self._services, self.upload_id, self.offset = services, upload_id, offset
        self._ttl = timedelta(hours=services.settings.upload_ttl_hours)
        with transaction(services.sessions) as session:
            self._token = incoming_uploads.take(session, tenant_id, upload_id, offset)
            incoming = incoming_uploads.get(session, tenant_id, upload_id)
            self.size, self._expected = incoming.size, incoming.expected_sha256
            if incoming.multipart_id is not None:
                detail = "The parts of this upload go to S3; see POST /v1/uploads/{id}/parts."
                raise ApiError("upload_is_multipart", detail)

    def confirm(self) -> None:
        """Nobody has gone on with it meanwhile. Raises `UploadSuperseded`, `OffsetMismatch`."""
        with transaction(self._services.sessions) as session:
            received = incoming_uploads.check(session, self.upload_id, self._token)
        if received != self.offset:
            raise OffsetMismatch(self.upload_id, received, self.offset)

    def confirm_still(self) -> None:
        """Nobody has taken the upload over. Raises `UploadSuperseded`."""
        with transaction(self._services.sessions) as session:
            incoming_uploads.check(session, self.upload_id, self._token)

    def keep(self, writer: IncomingWriter) -> None:
        """What is written is safe from now on."""
        safe = writer.sync()
        with transaction(self._services.sessions) as session:
            incoming_uploads.advance(session, self.upload_id, self._token, safe, self._ttl)

    def settle(self, writer: IncomingWriter) -> None:
        """Keep what is written; when that is everything, the upload is complete.

        The offset never says that everything is there before it is complete: a client would believe it.
        """
        if writer.size < self.size:
            self.keep(writer)
            return
        if self._expected is not None and writer.sha256 != self._expected:
            actual, size = writer.sha256, writer.size
            self._services.store.incoming.discard(self.upload_id)
            with transaction(self._services.sessions) as session:
                incoming_uploads.check(session, self.upload_id, self._token)
                incoming_uploads.delete(session, self.upload_id)
            raise other_hash("The upload's sha256", self._expected, actual, size)
        stored = self._services.store.incoming.put(self.upload_id, writer)
        with transaction(self._services.sessions) as session:
            incoming_uploads.complete(session, self.upload_id, self._token, stored.sha256, stored.size, self._ttl)
        self._services.store.incoming.discard(self.upload_id)


class _CheckpointedSink:
    """Keeps what was written every 64 MiB, so that even a crash of this process costs no more."""

    def __init__(self, appending: Appending, writer: IncomingWriter, *, apart: bool) -> None:
        self._appending, self._writer, self._apart = appending, writer, apart
        self._kept = writer.size

    def write(self, data: bytes, /) -> int:
        count = self._writer.write(data)
        size = self._writer.size
        if not self._apart and size - self._kept >= CHECKPOINT_BYTES and size < self._appending.size:
            self._appending.keep(self._writer)
            self._kept = size
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
    if announced is not None and announced > left:
        raise too_large(left)
    one_at_a_time = CapacityLimiter(1)
    opened = services.store.incoming.open(upload_id, offset, wait_seconds=LOCK_SECONDS)
    async with entered(opened, one_at_a_time) as writer:

        async def superseded() -> None:
            await to_thread.run_sync(appending.confirm_still)

        await to_thread.run_sync(appending.confirm)
        sink = _CheckpointedSink(appending, writer, apart=checksum is not None)
        summed = None if checksum is None else _Summed(sink, checksum)
        try:
            await pump(blocks(receive, left, superseded), summed or sink, one_at_a_time)
        except (ClientDisconnect, ApiError, asyncio.CancelledError) as broken:
            if checksum is None and not (isinstance(broken, ApiError) and broken.code == "content_too_large"):
                await _rescue(appending, writer, one_at_a_time)
            raise
        if checksum is not None and summed is not None and not checksum.matches(summed.hash):
            detail = f"The {checksum.algorithm} of the bytes that came is another than Upload-Checksum says."
            raise ApiError("upload_checksum_mismatch", detail)
        await to_thread.run_sync(appending.settle, writer, limiter=one_at_a_time)
    return await to_thread.run_sync(standing, services, tenant_id, upload_id)


async def _rescue(appending: Appending, writer: IncomingWriter, limiter: CapacityLimiter) -> None:
    """Keep what came of a request that broke off."""
    with CancelScope(shield=True):
        try:
            await to_thread.run_sync(appending.settle, writer, limiter=limiter)
        except (PersistenceError, ApiError) as error:
            log.info("upload_not_kept", upload=str(appending.upload_id), error=str(error))
