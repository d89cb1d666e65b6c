"""Data sets over HTTP."""

from __future__ import annotations

from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from api.auth import ImageReader, Reader, Writer
from api.datasets.report import ReportRead
from api.datasets.schemas import DatasetCreate, DatasetQuery, DatasetRead, ImageQuery, ImageRead, ImageSize
from api.errors import ApiError
from api.etags import is_unchanged, not_modified, quoted
from api.ids import DatasetId, ImageIndex
from api.pages import PageOf, page_of
from api.problems import responses
from api.readiness import archive_of, require_dataset
from api.rendering.pictures import media_type_of
from api.request_ids import request_id_of
from api.samples.deferred import DeferredResponse
from api.samples.picture import ImageBytes, thumbnail
from api.services import services_of
from api.transactions import Transaction, dispatch_after_commit
from api.uploads.ids import complete_upload
from persistence import datasets, quotas
from persistence.tables import Dataset, DatasetImage

router = APIRouter(prefix="/v1/datasets", tags=["data sets"])

IMMUTABLE = "private, max-age=31536000, immutable"


@router.post(
    "",
    status_code=202,
    summary="Make a data set",
    responses={
        202: {"headers": {"Location": {"description": "The data set.", "schema": {"type": "string"}}}},
        **responses(
            "malformed_json",
            "upload_not_found",
            "upload_expired",
            "upload_not_complete",
            "upload_verifying",
            "upload_failed",
            "too_many_datasets",
            "content_too_large",
            "unsupported_media_type",
        ),
    },
)
def create_dataset(
    request: Request, session: Transaction, caller: Writer, body: DatasetCreate, response: Response
) -> DatasetRead:
    """Have an uploaded archive checked and normalised.

    The answer comes at once, with status `validating`; ask again until it is `ready` or `invalid`. An invalid data set
    names every problem that was found.
    """
    quotas.require(session, services_of(request).settings, caller.tenant_id, "datasets")
    upload = complete_upload(session, caller.tenant_id, body.upload_id)
    dataset = datasets.create(session, caller.tenant_id, body.name, upload, body.options)
    dataset.request_id = request_id_of(request.scope)
    dispatch_after_commit(session, "dataset", dataset.id)
    response.headers["Location"] = f"/v1/datasets/{dataset.id}"
    return DatasetRead.model_validate(dataset)


@router.get("", summary="List data sets", responses=responses())
def list_datasets(session: Transaction, caller: Reader, query: Annotated[DatasetQuery, Query()]) -> PageOf[DatasetRead]:
    """Data sets, newest first."""
    page = datasets.list_page(session, caller.tenant_id, status=query.status, after=query.after_id, limit=query.limit)
    return page_of(page, DatasetRead.model_validate)


@router.get("/{dataset_id}", summary="Get a data set", responses=responses("dataset_not_found"))
def get_dataset(session: Transaction, caller: Reader, dataset_id: DatasetId) -> DatasetRead:
    """One data set, with counts and problems."""
    return DatasetRead.model_validate(datasets.get(session, caller.tenant_id, dataset_id))


@router.get(
    "/{dataset_id}/report",
    summary="Get a data set's report",
    responses=responses("dataset_not_found", "dataset_not_ready", "dataset_invalid", "report_not_found"),
)
def get_dataset_report(session: Transaction, caller: Reader, dataset_id: DatasetId) -> ReportRead:
    """What to know before a job: balance, leaks between splits, shortcuts, and where a job could not help."""
    dataset = require_dataset(datasets.get(session, caller.tenant_id, dataset_id))
    if dataset.report is None:
        detail = f"Data set {dataset_id} was checked by a version that made no reports: upload it again."
        raise ApiError("report_not_found", detail)
    return ReportRead.model_validate(dataset.report)


@router.delete(
    "/{dataset_id}",
    status_code=204,
    summary="Delete a data set",
    responses=responses("dataset_not_found", "dataset_in_use"),
)
def delete_dataset(session: Transaction, caller: Writer, dataset_id: DatasetId) -> None:
    """Delete a data set and its images. Refused while jobs refer to it."""
    datasets.delete(session, caller.tenant_id, dataset_id)


@router.get(
    "/{dataset_id}/images",
    summary="List a data set's images",
    responses=responses("dataset_not_found", "dataset_not_ready", "dataset_invalid"),
)
def list_dataset_images(
    session: Transaction, caller: Reader, dataset_id: DatasetId, query: Annotated[ImageQuery, Query()]
) -> PageOf[ImageRead]:
    """Images in order, with label and attributes; of one split or one label if asked."""
    dataset = require_dataset(datasets.get(session, caller.tenant_id, dataset_id))
    page = datasets.images_page(
        session, dataset.id, split=query.split, label=query.label, after=query.after_index, limit=query.limit
    )
    return page_of(page, lambda image: _image_read(dataset, image))


@router.get(
    "/{dataset_id}/images/{image_index}",
    summary="Get an image of a data set",
    response_class=Response,
    responses={
        200: {
            "description": "The image as it is stored, or a smaller picture of it.",
            "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
        },
        304: {"description": "The client has it already (`If-None-Match`)."},
        **responses(
            "dataset_not_found",
            "image_not_found",
            "dataset_not_ready",
            "dataset_invalid",
            "object_missing",
            "object_corrupt",
        ),
    },
)
def get_dataset_image(
    request: Request,
    session: Transaction,
    caller: ImageReader,
    dataset_id: DatasetId,
    image_index: ImageIndex,
    query: Annotated[ImageSize, Query()],
) -> Response:
    """The stored bytes of one image, or a thumbnail. Neither ever changes, so caches may keep them."""
    dataset = require_dataset(datasets.get(session, caller.tenant_id, dataset_id))
    image = datasets.get_image(session, dataset.id, image_index)
    archive = archive_of(dataset)
    side = query.max_side if query.max_side and query.max_side < max(image.width, image.height) else None
    etag = quoted(f"{archive[:32]}-{image.index}" + (f"-{side}" if side else ""))
    headers = {"Cache-Control": IMMUTABLE}
    if is_unchanged(request.headers.get("if-none-match"), etag):
        return not_modified(etag, headers)
    services = services_of(request)
    headers["ETag"] = etag
    if side is not None:
        source = ImageBytes(archive, image.offset, image.length)
        draw = partial(thumbnail, services.store, source, image.height, image.width, side)
        return DeferredResponse(draw, services.drawing, media_type="image/webp", headers=headers)
    read = partial(services.store.read_range, archive, image.offset, image.length)
    return DeferredResponse(read, services.fetching, media_type=media_type_of, headers=headers)


def _image_read(dataset: Dataset, image: DatasetImage) -> ImageRead:
    return ImageRead(
        index=image.index,
        name=image.name,
        split=image.split,
        label=image.label,
        class_name=dataset.classes[image.label],
        attributes={
            attribute["name"]: None if value is None else attribute["values"][value]
            for attribute, value in zip(dataset.attributes, image.attributes, strict=True)
        },
        width=image.width,
        height=image.height,
        url=_image_url(dataset.id, image.index),
    )


def _image_url(dataset_id: UUID, index: int) -> str:
    return f"/v1/datasets/{dataset_id}/images/{index}"
