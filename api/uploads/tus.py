"""tus 1.0: create, ask for the offset, add bytes. (https://tus.io/protocols/resumable-upload)"""

from __future__ import annotations

from typing import Any, Final

from anyio import to_thread
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from api.auth import ReaderApart, WriterApart
from api.errors import ApiError
from api.problems import responses
from api.request_ids import request_id_of
from api.services import services_of
from api.uploads import creation, protocol
from api.uploads.append import append
from api.uploads.ids import UploadId, upload_id_of
from api.uploads.reading import shown
from api.uploads.schemas import UploadRead
from api.uploads.standing import Standing, settled_standing, standing
from persistence.errors import OffsetMismatch
from persistence.scopes import allows

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}
_TUS: Final = ("tus_version_unsupported", "malformed_request", "upload_expired", "upload_failed")


def _header(name: str, description: str, example: str, *, required: bool = False) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": required,
        "description": description,
        "schema": {"type": "string"},
        "example": example,
    }


_VERSION: Final = _header("Tus-Resumable", "The protocol's version.", protocol.VERSION)
_VERSION_NEEDED: Final = {**_VERSION, "required": True}
_OFFSET: Final = _header("Upload-Offset", "Where the body goes on: the bytes that are here.", "0", required=True)
_CHECKSUM: Final = _header(
    "Upload-Checksum",
    "Algorithm (sha256, sha1, md5) and Base64 digest of this body; another digest is answered with 460.",
    "sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
)


@router.post(
    "",
    status_code=201,
    summary="Begin an upload",
    responses={
        201: {
            "description": "Begun, or complete already.",
            "model": UploadRead,
            "headers": {
                "Location": {"description": "The upload.", "schema": {"type": "string"}},
                "Upload-Offset": {"description": "Bytes that are here.", "schema": {"type": "string"}},
                "Upload-Expires": {"description": "When it is deleted by itself.", "schema": {"type": "string"}},
            },
        },
        **responses(
            "malformed_json",
            "content_too_large",
            "unsupported_media_type",
            "checksum_mismatch",
            "request_timeout",
            "upload_checksum_mismatch",
            "upload_locked",
            "upload_superseded",
            "multipart_unavailable",
            "quota_exceeded",
            "out_of_disk",
            *_TUS,
        ),
    },
    openapi_extra={
        "parameters": [
            _VERSION,
            _header("Upload-Length", "tus: bytes of the whole file.", "5242880"),
            _header(
                "Upload-Metadata",
                "tus: `filename`, and `sha256` if the bytes are to be held against it; values in Base64.",
                "filename Ymlhc2VkLW1uaXN0LnppcA==",
            ),
            _CHECKSUM,
        ],
        "requestBody": {
            "required": False,
            "description": "JSON that announces the file; or, with tus, nothing, or its first bytes.",
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/UploadCreate"}},
                protocol.OFFSET_MEDIA_TYPE: _BINARY,
            },
        },
    },
)
async def begin_upload(request: Request, caller: WriterApart) -> Response:
    """Begin an upload that can be resumed; then send the bytes with `PATCH`, in as many requests as it takes.

    Announce the file in JSON, or by tus 1.0 (creation, creation-with-upload), told apart by `Tus-Resumable`. With the
    `sha256` of bytes that your tenant sent before, JSON and creation-with-upload are answered with an upload that is
    complete already, with nothing left to send. `multipart` has you send the parts to S3 yourself.
    `OPTIONS` tells what the service supports.
    """
    services = services_of(request)
    speaks_tus = "tus-resumable" in request.headers
    if not speaks_tus:
        wanted = await creation.from_json(request)
        made = await to_thread.run_sync(
            lambda: creation.begin(services, caller.tenant_id, wanted, at_once=True), limiter=services.fetching
        )
        return JSONResponse(
            made.model_dump(mode="json"), 201, {"Location": f"/v1/uploads/{made.id}", "Cache-Control": "no-store"}
        )
    protocol.require_version(request)
    wanted, header = creation.from_tus(request)
    checksum = protocol.checksum_of(request)
    with_body = protocol.has_body(request)
    made = await to_thread.run_sync(
        lambda: creation.begin(services, caller.tenant_id, wanted, at_once=with_body, tus_metadata=header),
        limiter=services.fetching,
    )
    now = Standing(made.received, made.size, None if made.status == "complete" else made.expires_at)
    announced = protocol.announced(request.headers)
    if with_body and made.status == "receiving" and announced != 0:
        now = await append(
            services,
            request.receive,
            tenant_id=caller.tenant_id,
            upload_id=made.id,
            offset=0,
            announced=announced,
            checksum=checksum,
            request_id=request_id_of(request.scope),
        )
        made = await to_thread.run_sync(shown, services, caller.tenant_id, made.id)
    headers = {"Location": f"/v1/uploads/{made.id}", **protocol.progress(now.offset, now.expires_at)}
    return JSONResponse(made.model_dump(mode="json"), 201, headers)


@router.head(
    "/{upload}",
    summary="Ask how far an upload is",
    response_class=Response,
    responses={
        200: {
            "description": "In the headers.",
            "headers": {
                "Upload-Offset": {"description": "Bytes that are here.", "schema": {"type": "string"}},
                "Upload-Length": {"description": "Bytes of the whole file.", "schema": {"type": "string"}},
            },
        },
        **responses("upload_not_found", "upload_locked", *_TUS),
    },
    openapi_extra={"parameters": [_VERSION_NEEDED]},
)
async def head_upload(request: Request, caller: ReaderApart, upload: UploadId) -> Response:
    """tus: the offset from which to go on. A complete upload has its whole length.

    A request that still adds to the upload is told to stop first, unless the key may only read. To watch an upload,
    use `GET`.
    """
    protocol.require_version(request)
    upload_id = upload_id_of(upload)
    look = settled_standing if allows(caller.scope, "write") else standing
    found = await to_thread.run_sync(look, services_of(request), caller.tenant_id, upload_id)
    metadata = {} if found.tus_metadata is None else {"Upload-Metadata": found.tus_metadata}
    headers = {**protocol.progress(found.offset, found.expires_at), "Upload-Length": str(found.size), **metadata}
    return Response(None, 200, headers)


@router.patch(
    "/{upload}",
    status_code=204,
    summary="Add bytes to an upload",
    responses={
        204: {
            "headers": {
                "Upload-Offset": {"description": "Bytes that are here now.", "schema": {"type": "string"}},
                "Upload-Expires": {"description": "When it is deleted by itself.", "schema": {"type": "string"}},
            }
        },
        **responses(
            "upload_not_found",
            "request_timeout",
            "offset_mismatch",
            "upload_superseded",
            "upload_verifying",
            "upload_is_multipart",
            "content_too_large",
            "unsupported_media_type",
            "checksum_mismatch",
            "upload_locked",
            "upload_checksum_mismatch",
            "out_of_disk",
            *_TUS,
        ),
    },
    openapi_extra={
        "parameters": [_VERSION_NEEDED, _OFFSET, _CHECKSUM],
        "requestBody": {
            "required": True,
            "description": "Bytes of the file from the offset on, streamed.",
            "content": {protocol.OFFSET_MEDIA_TYPE: _BINARY},
        },
    },
)
async def append_to_upload(request: Request, caller: WriterApart, upload: UploadId) -> Response:
    """tus: go on with an upload. The last byte completes it; with S3 it is then `verifying` first, see `GET`.

    When a request breaks off, what has arrived stays: ask for the offset with `HEAD`, and go on from there, at this
    process or at another. Of two requests for one upload the newer one wins.
    """
    protocol.require_version(request)
    upload_id = upload_id_of(upload)
    if not protocol.has_body(request):
        detail = f"Send the bytes as 'Content-Type: {protocol.OFFSET_MEDIA_TYPE}'."
        raise ApiError("unsupported_media_type", detail, headers={"Accept-Patch": protocol.OFFSET_MEDIA_TYPE})
    offset = protocol.offset_of(request)
    checksum = protocol.checksum_of(request)
    announced = protocol.announced(request.headers)
    services = services_of(request)
    now = await to_thread.run_sync(standing, services, caller.tenant_id, upload_id)
    if now.offset != offset:
        raise OffsetMismatch(upload_id, now.offset, offset)
    if now.expires_at is not None:
        now = await append(
            services,
            request.receive,
            tenant_id=caller.tenant_id,
            upload_id=upload_id,
            offset=offset,
            announced=announced,
            checksum=checksum,
            request_id=request_id_of(request.scope),
        )
    elif announced != 0:
        raise OffsetMismatch(upload_id, now.size, offset)
    return Response(None, 204, protocol.progress(now.offset, now.expires_at))


@router.options("", include_in_schema=False)
@router.options("/{upload}", include_in_schema=False)
def describe_uploads(request: Request) -> Response:
    """tus: what this service supports. It says nothing about anybody's uploads, and needs no key."""
    return Response(None, 204, protocol.capabilities(services_of(request).settings.upload_max_bytes))
