"""Uploads over HTTP."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from anyio import to_thread
from fastapi import APIRouter, Header, Path, Query, Request, Response

from api.auth import Reader, WriterApart
from api.pages import PageOf, page_of
from api.problems import responses
from api.services import Services, services_of
from api.text import Printable
from api.transactions import Transaction
from api.uploads import ending
from api.uploads.ids import UploadId, upload_id_of
from api.uploads.protocol import RESUMABLE
from api.uploads.reading import read
from api.uploads.receive import receive_object, too_large
from api.uploads.schemas import UploadQuery, UploadRead
from persistence import incoming_uploads, objects, quotas, uploads
from persistence.database import transaction
from persistence.store import Stored

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

Sha256 = Annotated[
    str | None,
    Header(
        alias="X-Content-SHA256",
        pattern="^[0-9a-fA-F]{64}$",
        description="SHA-256 of the body, hexadecimal; a body with another hash is refused and not kept.",
        examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    ),
]
Filename = Annotated[
    Printable, Path(min_length=1, max_length=255, description="The file's name.", examples=["biased-mnist.zip"])
]

# PUT takes a name where GET and DELETE take an id; OpenAPI wants one name for the place in the path.
_ONE = "/{upload}"


@router.put(
    _ONE,
    status_code=201,
    summary="Upload a file",
    responses={
        201: {"headers": {"Location": {"description": "The upload.", "schema": {"type": "string"}}}},
        **responses("content_too_large", "request_timeout", "checksum_mismatch", "quota_exceeded", "out_of_disk"),
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": "The bytes of the file, streamed.",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def create_upload(
    request: Request, response: Response, caller: WriterApart, upload: Filename, x_content_sha256: Sha256 = None
) -> UploadRead:
    """Send an archive or a checkpoint as the raw body of one streamed request, as `curl -T file URL/` does.

    The body is hashed while it is written and never held in memory. When the request fails, for whatever reason,
    nothing of it is kept: over a bad line begin with `POST`, which can be resumed. The upload can then become a data
    set or a checkpoint, until it expires.
    """
    services = services_of(request)
    limit = services.settings.upload_max_bytes
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise too_large(limit)
    expected = x_content_sha256.lower() if x_content_sha256 else None

    def admit(size: int) -> None:
        with transaction(services.sessions) as session:
            quotas.require(session, services.settings, caller.tenant_id, "bytes", size)

    if announced.isdecimal():
        await to_thread.run_sync(admit, int(announced))
    stored = await receive_object(request.receive, services.store, limit=limit, expected_sha256=expected, admit=admit)
    created = await to_thread.run_sync(_record, services, caller.tenant_id, upload, stored)
    response.headers["Location"] = f"/v1/uploads/{created.id}"
    return created


def _record(services: Services, tenant_id: UUID, filename: str, stored: Stored) -> UploadRead:
    ttl = timedelta(hours=services.settings.upload_ttl_hours)
    held = objects.hold(services.sessions, services.store, stored)
    with transaction(services.sessions) as session:
        objects.refer(session, held)
        made = uploads.create(session, tenant_id, filename, stored.sha256, stored.size, ttl)
        # Asked before, but many may have been let in since then. Of what is refused here the bytes are swept later:
        # by now they may be those of somebody else's upload, too.
        quotas.require(session, services.settings, tenant_id, "bytes", stored.size, made=True)
        return UploadRead.of(made)


@router.get("", summary="List uploads", responses=responses())
def list_uploads(
    request: Request, session: Transaction, caller: Reader, query: Annotated[UploadQuery, Query()]
) -> PageOf[UploadRead]:
    """Uploads that have not expired, newest first: the complete ones, or those of another status."""
    if query.status == "complete":
        complete = uploads.list_page(session, caller.tenant_id, after=query.after_id, limit=query.limit)
        return page_of(complete, UploadRead.of)
    store = services_of(request).store
    page = incoming_uploads.list_page(session, caller.tenant_id, query.status, after=query.after_id, limit=query.limit)
    return page_of(page, lambda incoming: UploadRead.under_way(incoming, store))


@router.get(_ONE, summary="Get an upload", responses=responses("upload_not_found", "upload_expired"))
def get_upload(request: Request, session: Transaction, caller: Reader, upload: UploadId) -> UploadRead:
    """One upload, complete or not."""
    return read(session, services_of(request).store, caller.tenant_id, upload_id_of(upload))


@router.delete(
    _ONE, status_code=204, summary="Delete an upload", responses=responses("upload_not_found", "upload_expired")
)
async def delete_upload(request: Request, response: Response, caller: WriterApart, upload: UploadId) -> None:
    """Forget an upload, complete or not (tus: termination). Data sets and checkpoints made from it stay."""
    response.headers.update(RESUMABLE)
    services = services_of(request)
    await to_thread.run_sync(ending.end, services, caller.tenant_id, upload_id_of(upload), limiter=services.fetching)
