"""The beginning of an upload: announced by JSON or by tus, admitted by quota and disk, complete at once if known."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

from pydantic import ValidationError
from starlette.requests import Request

from api.errors import HANG_UP, ApiError, field_problems, invalid
from api.services import Services
from api.uploads import protocol
from api.uploads.receive import STALL_SECONDS, too_large
from api.uploads.schemas import UploadCreate, UploadRead
from persistence import incoming_uploads, objects, quotas, uploads
from persistence.database import transaction
from persistence.errors import StoreError
from persistence.tables import IncomingUpload

_UNNAMED = "upload"
_JSON_BYTES = 64 * 1024
_NAMES = ("filename", "name")


async def from_json(request: Request) -> UploadCreate:
    """The announced file. Raises `ApiError`: 400, 408, 413, 415, 422."""
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type != "application/json":
        detail = "Send JSON ('Content-Type: application/json'), or speak tus ('Tus-Resumable: 1.0.0')."
        raise ApiError("unsupported_media_type", detail)
    body = b""
    try:
        async with asyncio.timeout(STALL_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > _JSON_BYTES:
                    detail = f"This JSON body has at most {_JSON_BYTES} bytes."
                    raise ApiError("content_too_large", detail, limit=_JSON_BYTES)
    except TimeoutError:
        detail = f"A JSON body has to come within {STALL_SECONDS:.0f} seconds."
        raise ApiError("request_timeout", detail, headers=HANG_UP) from None
    try:
        return UploadCreate.model_validate_json(body)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        if errors[0]["type"] == "json_invalid":
            raise ApiError("malformed_json", f"{errors[0]['msg']}.") from None
        raise invalid("invalid_request", field_problems(errors, prefix=("body",))) from None


def from_tus(request: Request) -> tuple[UploadCreate, str | None]:
    """The announced file, and its metadata as they came. Raises `ApiError`: 400, 422."""
    header, metadata = protocol.metadata_of(request)
    size = protocol.length_of(request)
    filename = next((metadata[name] for name in _NAMES if metadata.get(name)), _UNNAMED)
    try:
        return UploadCreate(filename=filename, size=size, sha256=metadata.get("sha256")), header
    except ValidationError as error:
        problems = [
            {"location": "header", "name": "Upload-Metadata", "code": each["type"], "detail": each["msg"]}
            for each in error.errors(include_url=False)
        ]
        raise invalid("invalid_request", problems) from None


def begin(
    services: Services,
    tenant_id: UUID,
    wanted: UploadCreate,
    *,
    at_once: bool,
    tus_metadata: str | None = None,
) -> UploadRead:
    """The upload: complete if the tenant has these bytes and `at_once` allows it, or if there are none to send.

    Raises `ApiError` (413), `QuotaExceeded`, `OutOfDisk`, and 409 where parts cannot go to S3.
    """
    settings, store = services.settings, services.store
    ttl = timedelta(hours=settings.upload_ttl_hours)
    if wanted.size > settings.upload_max_bytes:
        raise too_large(settings.upload_max_bytes)
    if wanted.multipart and store.multipart is None:
        detail = "This service does not store in S3: send the bytes here, with tus or with PUT."
        raise ApiError("multipart_unavailable", detail)
    if at_once and wanted.sha256 is not None:
        known = _known(services, tenant_id, wanted, wanted.sha256, ttl)
        if known is not None:
            return known
    if wanted.size == 0:
        return _empty(services, tenant_id, wanted, ttl)
    if not wanted.multipart:
        store.incoming.require_room(wanted.size)
    with transaction(services.sessions) as session:
        quotas.require(session, settings, tenant_id, "bytes", wanted.size)
        made = incoming_uploads.begin(
            session,
            tenant_id,
            wanted.filename,
            wanted.size,
            ttl,
            expected_sha256=wanted.sha256,
            tus_metadata=tus_metadata,
            direct=wanted.multipart,
        )
    return UploadRead.under_way(_named(services, made), store)


def _named(services: Services, made: IncomingUpload) -> IncomingUpload:
    """The upload, also begun in the store. Only now: the tenant's other requests must not wait for S3."""
    try:
        made.multipart_id = services.store.incoming.begin(made.id)
    except StoreError:
        with transaction(services.sessions) as session:
            incoming_uploads.delete(session, made.id)
        raise
    if made.multipart_id is not None:
        with transaction(services.sessions) as session:
            incoming_uploads.name_multipart(session, made.id, made.multipart_id)
    return made


def _known(services: Services, tenant_id: UUID, wanted: UploadCreate, sha256: str, ttl: timedelta) -> UploadRead | None:
    with transaction(services.sessions) as session:
        upload = incoming_uploads.instant(session, tenant_id, wanted.filename, sha256, wanted.size, ttl)
    if upload is None:
        return None
    there = False
    try:
        # Registered, the object cannot be released any more; before, it may have been.
        there = services.store.exists(sha256)
    finally:
        if not there:
            with transaction(services.sessions) as session:
                uploads.delete(session, tenant_id, upload.id)
    return UploadRead.of(upload) if there else None


def _empty(services: Services, tenant_id: UUID, wanted: UploadCreate, ttl: timedelta) -> UploadRead:
    with services.store.writer() as writer:
        stored = writer.commit()
    held = objects.hold(services.sessions, services.store, stored)
    with transaction(services.sessions) as session:
        objects.refer(session, held)
        return UploadRead.of(uploads.create(session, tenant_id, wanted.filename, stored.sha256, stored.size, ttl))
