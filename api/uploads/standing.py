"""Where an upload stands: what every request about its offset asks first."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from api.services import Services
from api.uploads.turn import UploadTurn
from persistence import incoming_turns, incoming_uploads, uploads
from persistence.database import transaction
from persistence.errors import Conflict, NotFound

LOCK_SECONDS: Final = 5.0
"""How long to wait for a request that was told to stop."""


@dataclass(frozen=True, slots=True)
class Standing:
    """`expires_at` is None once every byte is here. `in_use`: a request may be adding to it."""

    offset: int
    size: int
    expires_at: datetime | None
    tus_metadata: str | None = None
    in_use: bool = False


def standing(services: Services, tenant_id: UUID, upload_id: UUID) -> Standing:
    """How far an upload is, complete or not. Raises `NotFound`, `UploadExpired`, `UploadFailed`."""
    with transaction(services.sessions) as session:
        try:
            complete = uploads.get(session, tenant_id, upload_id)
        except NotFound:
            incoming = incoming_uploads.get(session, tenant_id, upload_id)
        else:
            return Standing(complete.size, complete.size, None)
    if incoming.status == "failed":
        raise incoming_turns.failure(incoming)
    return Standing(
        incoming.received,
        incoming.size,
        incoming.expires_at if incoming.status == "receiving" else None,
        incoming.tus_metadata,
        in_use=incoming.writer is not None or incoming.predecessor is not None,
    )


def settled_standing(services: Services, tenant_id: UUID, upload_id: UUID) -> Standing:
    """The same, once nobody adds to the upload: who does is told to stop, keeps what has arrived, and is waited for.

    A client that asks where to go on has given up its request before, whose end may not have reached us yet. Raises
    `IncomingBusy` when that request does not let go.
    """
    found = standing(services, tenant_id, upload_id)
    if not found.in_use:
        return found
    with suppress(NotFound, Conflict):  # it has ended, or a newer request asks the same
        with transaction(services.sessions) as session:
            token = incoming_turns.take(session, tenant_id, upload_id)
        turn = UploadTurn(services.sessions, upload_id, token)
        services.store.incoming.wait(upload_id, turn, LOCK_SECONDS)
        turn.start()
        turn.release()
    return standing(services, tenant_id, upload_id)
