"""Uploads whose parts the client sends to S3 itself; nothing is usable before a worker has verified size and hash."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from anyio import to_thread
from fastapi import APIRouter, Request, Response

from api.auth import WriterApart
from api.errors import ApiError, invalid
from api.problems import responses
from api.request_ids import request_id_of
from api.services import Services, services_of
from api.uploads.ending import discard
from api.uploads.ids import UploadId, upload_id_of
from api.uploads.reading import shown
from api.uploads.schemas import PartsRequest, PartsSent, PartUrl, PartUrls, UploadRead
from persistence import incoming_turns, incoming_uploads, uploads, verifications
from persistence.database import transaction
from persistence.errors import Conflict, NotFound, ObjectMissing, UploadSuperseded
from persistence.store import assembled
from persistence.store.multipart import MultipartArea
from persistence.tables import IncomingUpload

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

URL_SECONDS: Final = 3600
_PROBLEMS: Final = (
    "upload_not_found",
    "upload_expired",
    "upload_failed",
    "upload_not_multipart",
    "multipart_unavailable",
    "malformed_json",
    "content_too_large",
    "unsupported_media_type",
)


@router.post("/{upload}/parts", summary="Get addresses for parts", responses=responses("upload_verifying", *_PROBLEMS))
def sign_upload_parts(request: Request, caller: WriterApart, upload: UploadId, body: PartsRequest) -> PartUrls:
    """Signed addresses of S3 to which parts are sent with `PUT`, each of `multipart.part_size` bytes but for the last.

    The length of each part is signed with it. Remember the `ETag` that S3 answers for each part. Ask again when
    addresses have run out.
    """
    services = services_of(request)
    upload_id = upload_id_of(upload)
    with transaction(services.sessions) as session:
        incoming = incoming_turns.require_receiving(incoming_uploads.get(session, caller.tenant_id, upload_id))
    area, multipart_id = _area(services), _multipart_id(incoming)
    count = area.part_count(incoming.size)
    beyond = [index for index, number in enumerate(body.numbers) if number > count]
    if beyond:
        detail = f"An upload of {incoming.size} bytes has {count} parts"
        problem = {"location": "body", "code": "no_such_part", "detail": detail}
        raise invalid("invalid_request", [{**problem, "pointer": f"/numbers/{index}"} for index in beyond])
    urls = [
        PartUrl(
            number=number,
            url=area.part_url(
                upload_id, multipart_id, number, area.part_length(incoming.size, number), seconds=URL_SECONDS
            ),
        )
        for number in body.numbers
    ]
    return PartUrls(data=urls, expires_in=URL_SECONDS)


@router.post(
    "/{upload}/complete",
    status_code=202,
    summary="Complete an upload of parts",
    responses={
        200: {"description": "It is complete already.", "model": UploadRead},
        202: {"description": "The parts are together, and a worker verifies them."},
        **responses("multipart_invalid", "upload_superseded", "checksum_mismatch", *_PROBLEMS),
    },
)
async def complete_upload(
    request: Request, response: Response, caller: WriterApart, upload: UploadId, body: PartsSent
) -> UploadRead:
    """Put the parts together; then a worker reads the whole once, to verify its hash and to give the upload one.

    The upload is `verifying` meanwhile, about a second for every few hundred MB: ask for it until it is `complete`, or
    `failed` because its hash is not the announced one. A file of another size than announced is deleted at once. The
    request may be sent again.
    """
    services, upload_id = services_of(request), upload_id_of(upload)
    request_id = request_id_of(request.scope)

    def run() -> UploadRead:
        return _complete(services, caller.tenant_id, upload_id, body, request_id)

    read = await to_thread.run_sync(run, limiter=services.fetching)
    response.status_code = 200 if read.status == "complete" else 202
    return read


def _complete(services: Services, tenant_id: UUID, upload_id: UUID, body: PartsSent, request_id: str) -> UploadRead:
    with transaction(services.sessions) as session:
        try:
            return UploadRead.of(uploads.get(session, tenant_id, upload_id))
        except NotFound:
            incoming = incoming_uploads.get(session, tenant_id, upload_id)
    area, multipart_id = _area(services), _multipart_id(incoming)
    if incoming.status == "failed":
        raise incoming_turns.failure(incoming)
    if incoming.status == "receiving":
        _require_all(body, area.part_count(incoming.size))
        try:
            area.complete(upload_id, multipart_id, {part.number: part.etag for part in body.parts})
            size = assembled.find(area, upload_id).size
        except (Conflict, ObjectMissing):
            # The same request, sent before, may have come further meanwhile.
            found = shown(services, tenant_id, upload_id)
            if found.status == "receiving":
                raise
            return found
        if size != incoming.size:
            raise _other_size(services, incoming, size)
        try:
            with transaction(services.sessions) as session:
                verifications.begin(session, upload_id, request_id)
        except UploadSuperseded:
            return shown(services, tenant_id, upload_id)
        services.dispatch("upload", upload_id)
    return shown(services, tenant_id, upload_id)


def _require_all(body: PartsSent, count: int) -> None:
    sent = {part.number for part in body.parts}
    missing, odd = sorted(set(range(1, count + 1)) - sent), sorted(sent - set(range(1, count + 1)))
    if missing or odd:
        named = f"missing: {missing[:10]}" if missing else f"not among them: {odd[:10]}"
        raise ApiError("multipart_invalid", f"The upload has the parts 1 to {count}; {named}.")


def _other_size(services: Services, incoming: IncomingUpload, size: int) -> ApiError:
    with transaction(services.sessions) as session:
        deleted = incoming_uploads.delete(session, incoming.id)
    if deleted:
        discard(services, incoming.id, incoming.multipart_id)
    detail = f"The upload was announced with {incoming.size} bytes; the parts have {size}."
    return ApiError("checksum_mismatch", detail, expected_size=incoming.size, actual_size=size)


def _area(services: Services) -> MultipartArea:
    if services.store.multipart is None:
        raise ApiError("multipart_unavailable", "This service does not store in S3: send the bytes here.")
    return services.store.multipart


def _multipart_id(incoming: IncomingUpload) -> str:
    if not incoming.direct or incoming.multipart_id is None:
        raise ApiError("upload_not_multipart", "This upload was begun without 'multipart': send its bytes with PATCH.")
    return incoming.multipart_id
