"""The id of an upload, in a path or in a body."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Path
from sqlalchemy.orm import Session

from api.errors import ApiError
from api.ids import EXAMPLE_ID
from persistence import incoming_turns, incoming_uploads, uploads
from persistence.errors import NotFound
from persistence.tables import Upload

UploadId = Annotated[str, Path(description="Id of an upload.", examples=[EXAMPLE_ID])]


def upload_id_of(text: str) -> UUID:
    """The id in a path; a malformed one names nothing: 404."""
    try:
        return UUID(text)
    except ValueError:
        raise ApiError("upload_not_found", f"There is no upload {text[:100]!r}.") from None


def complete_upload(session: Session, tenant_id: UUID, upload_id: UUID) -> Upload:
    """The upload, if it is complete.

    Raises `NotFound`, `UploadExpired`, `UploadFailed`, `Conflict` (upload_verifying), `ApiError` (409).
    """
    try:
        return uploads.get(session, tenant_id, upload_id)
    except NotFound:
        incoming = incoming_turns.require_receiving(incoming_uploads.get(session, tenant_id, upload_id))
    detail = f"{incoming.received} of the {incoming.size} bytes of upload {upload_id} are here: send the rest first."
    raise ApiError("upload_not_complete", detail, received=incoming.received, size=incoming.size)
