"""Uploads whose parts the client sends to S3 itself; nothing is usable before its size and hash are verified here."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

from fastapi import APIRouter, Request

from api.auth import WriterApart
from api.errors import ApiError
from api.problems import responses
from api.services import Services, services_of
from api.uploads.ids import UploadId, upload_id_of
from api.uploads.receive import other_hash
from api.uploads.schemas import PartsRequest, PartsSent, PartUrl, PartUrls, UploadRead
from persistence import incoming_uploads, objects, uploads
from persistence.database import transaction
from persistence.errors import NotFound
from persistence.store.multipart import MultipartArea

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

URL_SECONDS: Final = 3600
_BODY: Final = ("malformed_json", "content_too_large", "unsupported_media_type")


@router.post(
    "/{upload}/parts",
    summary="Get addresses for parts",
    responses=responses("upload_not_found", "upload_expired", "upload_not_multipart", "multipart_unavailable", *_BODY),
)
def sign_upload_parts(request: Request, caller: WriterApart, upload: UploadId, body: PartsRequest) -> PartUrls:
    """Signed addresses of S3 to which parts are sent with `PUT`, each of `multipart.part_size` bytes but for the last.

    Remember the `ETag` that S3 answers for each part. Ask again when addresses have run out.
    """
    services = services_of(request)
    upload_id = upload_id_of(upload)
    with transaction(services.sessions) as session:
        multipart_id = incoming_uploads.get(session, caller.tenant_id, upload_id).multipart_id
    area, multipart_id = _area(services), _multipart_id(multipart_id)
    urls = [
        PartUrl(number=number, url=area.part_url(upload_id, multipart_id, number, seconds=URL_SECONDS))
        for number in body.numbers
    ]
    return PartUrls(data=urls, expires_in=URL_SECONDS)


@router.post(
    "/{upload}/complete",
    summary="Complete an upload of parts",
    responses=responses(
        "upload_not_found",
        "upload_expired",
        "upload_not_multipart",
        "multipart_unavailable",
        "multipart_invalid",
        "upload_superseded",
        "checksum_mismatch",
        "object_missing",
        *_BODY,
    ),
)
def complete_upload(request: Request, caller: WriterApart, upload: UploadId, body: PartsSent) -> UploadRead:
    """Put the parts together, and verify size and SHA-256 by reading the whole file once.

    That takes about a second for every few hundred MB. A client that loses the answer may ask for the upload until its
    status is `complete`, or send this request again. A file of another size or hash than announced is deleted.
    """
    services = services_of(request)
    upload_id = upload_id_of(upload)
    with transaction(services.sessions) as session:
        try:
            return UploadRead.of(uploads.get(session, caller.tenant_id, upload_id))
        except NotFound:
            incoming = incoming_uploads.get(session, caller.tenant_id, upload_id)
    area, multipart_id = _area(services), _multipart_id(incoming.multipart_id)
    area.complete(upload_id, multipart_id, {part.number: part.etag for part in body.parts})
    stored = area.measure(upload_id)
    if stored.size != incoming.size or incoming.expected_sha256 not in (None, stored.sha256):
        _refuse(services, area, upload_id, multipart_id)
        if stored.size != incoming.size:
            detail = f"The upload was announced with {incoming.size} bytes; the parts have {stored.size}."
            raise ApiError("checksum_mismatch", detail, expected_size=incoming.size, actual_size=stored.size)
        raise other_hash("The upload's sha256", str(incoming.expected_sha256), stored.sha256, stored.size)
    area.put(upload_id, stored)
    ttl = timedelta(hours=services.settings.upload_ttl_hours)
    with transaction(services.sessions) as session:
        objects.hold(session, services.store, stored)
        made = incoming_uploads.complete(session, upload_id, stored.sha256, stored.size, ttl)
        read = UploadRead.of(made)
    area.discard(upload_id, multipart_id)
    return read


def _area(services: Services) -> MultipartArea:
    if services.store.multipart is None:
        raise ApiError("multipart_unavailable", "This service does not store in S3: send the bytes here.")
    return services.store.multipart


def _multipart_id(found: str | None) -> str:
    if found is None:
        raise ApiError("upload_not_multipart", "This upload was begun without 'multipart': send its bytes with PATCH.")
    return found


def _refuse(services: Services, area: MultipartArea, upload_id: UUID, multipart_id: str) -> None:
    area.discard(upload_id, multipart_id)
    with transaction(services.sessions) as session:
        incoming_uploads.delete(session, upload_id)
