"""One request's turn to add to an upload, as the store asks for it. Every question is a short transaction."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session, sessionmaker

from persistence import incoming_turns
from persistence.database import transaction
from persistence.errors import OffsetMismatch
from persistence.store.incoming import Received, Tail


class UploadTurn:
    """A `persistence.store.incoming.Turn`. With an `offset` it starts only where the upload stands there."""

    def __init__(
        self, sessions: sessionmaker[Session], upload_id: UUID, token: UUID, offset: int | None = None
    ) -> None:
        self._sessions, self.upload_id, self.token, self._offset = sessions, upload_id, token, offset

    def check(self) -> None:
        """Nobody has taken the upload over. Raises `UploadSuperseded`."""
        with transaction(self._sessions) as session:
            incoming_turns.check(session, self.upload_id, self.token)

    def vacated(self) -> bool:
        """Whether the request before has let go. Raises `UploadSuperseded`."""
        with transaction(self._sessions) as session:
            return incoming_turns.vacated(session, self.upload_id, self.token)

    def start(self) -> Received:
        """Nobody else adds from now on, nor has gone on meanwhile. Raises `UploadSuperseded`, `OffsetMismatch`."""
        with transaction(self._sessions) as session:
            found = incoming_turns.start(session, self.upload_id, self.token)
        if self._offset is not None and found.received != self._offset:
            raise OffsetMismatch(self.upload_id, found.received, self._offset)
        tail = None if found.tail is None else Tail(found.tail, found.tail_size)
        return Received(found.size, found.received, found.multipart_id, tail)

    def next_part(self) -> int:
        """A part number of its own. Raises `UploadSuperseded`."""
        with transaction(self._sessions) as session:
            return incoming_turns.next_part(session, self.upload_id, self.token)

    def release(self) -> None:
        """This request adds no more."""
        with transaction(self._sessions) as session:
            incoming_turns.release(session, self.upload_id, self.token)
