"""What one request does to an upload: keeps what has come, and ends it when everything has. Blocking, for threads."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import structlog

from api.errors import ApiError
from api.services import Services
from api.uploads.ending import discard
from api.uploads.receive import other_hash
from api.uploads.turn import UploadTurn
from persistence import incoming_turns, incoming_uploads, objects, verifications
from persistence.database import transaction
from persistence.errors import IncomingLost, OffsetMismatch, UploadSuperseded
from persistence.store.incoming import IncomingWriter, Kept

log = structlog.get_logger(__name__)


class Appending:
    """One request's turn to add to one upload, from `offset` on."""

    def __init__(
        self, services: Services, tenant_id: UUID, upload_id: UUID, offset: int, *, request_id: str | None = None
    ) -> None:
        """Take the turn. Raises `NotFound`, `UploadExpired`, `UploadFailed`, `Conflict`, `ApiError` (409)."""
        self._services, self.upload_id, self.offset = services, upload_id, offset
        self._recorded, self._request_id = offset, request_id
        self._ttl = timedelta(hours=services.settings.upload_ttl_hours)
        with transaction(services.sessions) as session:
            incoming = incoming_turns.require_receiving(incoming_uploads.get(session, tenant_id, upload_id))
            self.size, self._expected, self._multipart_id = (
                incoming.size,
                incoming.expected_sha256,
                incoming.multipart_id,
            )
            if incoming.direct:
                raise ApiError("upload_is_multipart", "The parts of this upload go to S3; see POST …/parts.")
            if incoming.received != offset:
                raise OffsetMismatch(upload_id, incoming.received, offset)
            token = incoming_turns.take(session, tenant_id, upload_id)
        self.turn = UploadTurn(services.sessions, upload_id, token, offset)

    def keep(self, writer: IncomingWriter, *, everything: bool) -> None:
        """What is written is safe from now on, or as much of it as is worth it while more is coming."""
        kept = writer.sync(everything=everything)
        with transaction(self._services.sessions) as session:
            incoming_turns.advance(session, self.upload_id, self.turn.token, self._recorded, kept, self._ttl)
        self._recorded = kept.offset
        writer.recorded()

    def settle(self, writer: IncomingWriter) -> None:
        """Keep what is written; when that is everything, the upload is complete, or a worker sees to it.

        The offset never says that everything is there before one of these is recorded: a client would believe it.
        """
        if writer.size < self.size:
            self.keep(writer, everything=True)
        elif writer.sha256 is None:
            self._hand_over(writer.sync())
        elif self._expected not in (None, writer.sha256):
            self.forget()
            raise other_hash("The upload's sha256", str(self._expected), writer.sha256, writer.size)
        else:
            self._complete(writer)

    def forget(self) -> None:
        """The bytes are the wrong ones, or gone for good: nothing can be added to the upload any more."""
        with transaction(self._services.sessions) as session:
            ended = incoming_turns.end(session, self.upload_id, self.turn.token)
        if ended:
            discard(self._services, self.upload_id, self._multipart_id)

    def _complete(self, writer: IncomingWriter) -> None:
        try:
            stored = self._services.store.incoming.put(self.upload_id, writer)
        except IncomingLost:
            # Somebody discarded it under our hands: it was deleted, or has expired.
            raise UploadSuperseded(self.upload_id) from None
        assert stored is not None
        held = objects.hold(self._services.sessions, self._services.store, stored)
        with transaction(self._services.sessions) as session:
            objects.refer(session, held)
            incoming_turns.complete(session, self.upload_id, self.turn.token, stored.sha256, stored.size, self._ttl)
        discard(self._services, self.upload_id, self._multipart_id)

    def _hand_over(self, kept: Kept) -> None:
        with transaction(self._services.sessions) as session:
            incoming_turns.advance(session, self.upload_id, self.turn.token, self._recorded, kept, self._ttl)
            verifications.begin(session, self.upload_id, self._request_id)
        self._services.dispatch("upload", self.upload_id)
