"""A job's samples over HTTP."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session
from starlette.responses import StreamingResponse

from api.auth import ImageReader, Reader
from api.datasets.endpoints import IMMUTABLE
from api.errors import ApiError
from api.etags import is_unchanged, not_modified, quoted
from api.ids import JobId, SampleIndex
from api.pages import PageOf, page_of
from api.problems import responses
from api.readiness import archive_of
from api.rendering.pictures import MEDIA_TYPES
from api.samples.deferred import DeferredResponse
from api.samples.export import csv_lines, rows
from api.samples.fiftyone import fiftyone_folder
from api.samples.picture import ImageBytes, Picture
from api.samples.reading import dataset_of, names_of, sample_detail, sample_read
from api.samples.schemas import (
    ExportQuery,
    PictureQuery,
    SampleDetail,
    SampleQuery,
    SampleRead,
    SampleSelection,
    SampleTotal,
)
from api.services import services_of
from api.transactions import Transaction
from persistence import datasets, jobs, sample_counts, samples
from persistence.configs import read_what_can_be_read
from persistence.tables import Job, Sample
from persistence.transitions import FINISHED

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_BINARY = {"schema": {"type": "string", "format": "binary"}}


@router.get("/{job_id}/samples", summary="Browse a job's samples", responses=responses("job_not_found"))
def list_job_samples(
    session: Transaction, caller: Reader, job_id: JobId, query: Annotated[SampleQuery, Query()]
) -> PageOf[SampleRead]:
    """Every training and test image with its prediction before and after, filtered and sorted.

    Pages are keyed by position, so that samples that arrive while the job runs shift nothing.
    """
    job = jobs.get(session, caller.tenant_id, job_id)
    page = samples.page(
        session,
        job.id,
        query.filters,
        sort=query.sort,
        descending=query.order == "desc",
        start=query.start,
        after=query.after_index,
        limit=query.limit,
    )
    names = names_of(session, job, dataset_of(session, job))
    return page_of(page, lambda sample: sample_read(sample, names))


@router.get("/{job_id}/samples/total", summary="Count a job's samples", responses=responses("job_not_found"))
def count_job_samples(
    session: Transaction, caller: Reader, job_id: JobId, query: Annotated[SampleSelection, Query()]
) -> SampleTotal:
    """How many samples the list would show on all its pages."""
    job = jobs.get(session, caller.tenant_id, job_id)
    return SampleTotal(total=sample_counts.total(session, job.id, query.filters))


@router.get(
    "/{job_id}/samples/export",
    summary="Take samples away",
    response_class=Response,
    responses={
        200: {"description": "The file.", "content": {"text/csv": _BINARY, "application/zip": _BINARY}},
        **responses("job_not_found", "job_without_dataset"),
    },
)
def export_job_samples(
    request: Request, session: Transaction, caller: Reader, job_id: JobId, query: Annotated[ExportQuery, Query()]
) -> Response:
    """The samples that the list would show, as one file: a table, or a folder with their images.

    It is sent as it is made, however long it becomes. Images are the data set's own files.
    """
    job = jobs.get(session, caller.tenant_id, job_id)
    services = services_of(request)
    pages = rows(services.sessions, job, query, query.limit, whole=query.format == "fiftyone")
    headers = {"Cache-Control": "no-store", "Content-Disposition": f'attachment; filename="samples-{job.id}.csv"'}
    if query.format == "csv":
        return StreamingResponse(csv_lines(pages), media_type="text/csv; charset=utf-8", headers=headers)
    dataset = dataset_of(session, job)
    if dataset is None:
        raise ApiError("job_without_dataset", f"The data set of job {job.id} was deleted, and its images with it.")
    headers["Content-Disposition"] = f'attachment; filename="samples-{job.id}.zip"'
    config = read_what_can_be_read(job.config)
    folder = fiftyone_folder(pages, services.store, archive_of(dataset), names_of(session, job, dataset), config)
    return StreamingResponse(folder, media_type="application/zip", headers=headers)


@router.get(
    "/{job_id}/samples/{sample_index}",
    summary="Get a sample",
    responses=responses("job_not_found", "sample_not_found"),
)
def get_job_sample(session: Transaction, caller: Reader, job_id: JobId, sample_index: SampleIndex) -> SampleDetail:
    """One sample, with the probabilities of all classes."""
    job = jobs.get(session, caller.tenant_id, job_id)
    names = names_of(session, job, dataset_of(session, job))
    return sample_detail(samples.get(session, job.id, sample_index), names)


@router.get(
    "/{job_id}/samples/{sample_index}/image",
    summary="Draw a sample",
    response_class=Response,
    responses={
        200: {"description": "The picture.", "content": {"image/webp": _BINARY, "image/png": _BINARY}},
        304: {"description": "The client has it already (`If-None-Match`)."},
        **responses("job_not_found", "sample_not_found", "job_without_dataset", "object_missing", "object_corrupt"),
    },
)
def get_job_sample_image(
    request: Request,
    session: Transaction,
    caller: ImageReader,
    job_id: JobId,
    sample_index: SampleIndex,
    query: Annotated[PictureQuery, Query()],
) -> Response:
    """The image, what the model looked at, what was masked, or the masked image.

    Drawn from the stored map and mask: the mask shown is the mask that training used. Once the job has finished,
    pictures never change, and caches may keep them.
    """
    job = jobs.get(session, caller.tenant_id, job_id)
    sample = samples.get(session, job.id, sample_index)
    picture = picture_of(session, job, sample, query)
    etag = quoted(picture.etag)
    headers = {"ETag": etag, "Cache-Control": IMMUTABLE if job.status in FINISHED else "private, no-cache"}
    if is_unchanged(request.headers.get("if-none-match"), etag):
        return not_modified(etag, headers)
    services = services_of(request)
    return DeferredResponse(
        partial(picture.draw, services.store), services.drawing, media_type=MEDIA_TYPES[query.format], headers=headers
    )


def picture_of(session: Session, job: Job, sample: Sample, query: PictureQuery) -> Picture:
    """Everything that a picture needs, to be drawn later. Raises `ApiError` (410) once the data set is deleted."""
    config = read_what_can_be_read(job.config)
    source = None
    if query.view not in ("mask", "map"):
        dataset = dataset_of(session, job)
        if dataset is None:
            detail = (
                f"The data set of job {job.id} was deleted, and its images with it; "
                "masks and maps without the image can still be drawn."
            )
            raise ApiError("job_without_dataset", detail)
        image = datasets.get_image(session, dataset.id, sample.index)
        source = ImageBytes(archive_of(dataset), image.offset, image.length)
    return Picture(
        query=query,
        source=source,
        height=sample.height,
        width=sample.width,
        cam=sample.cam_before if query.model == "before" else sample.cam_after,
        cam_shape=(sample.cam_height, sample.cam_width),
        box=config.input.evaluation_box(sample.height, sample.width),
        mask=sample.mask,
        fill=config.masking.fill,
    )
