"""A job's samples over HTTP."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from api.auth import Reader
from api.datasets.endpoints import IMMUTABLE
from api.errors import ApiError
from api.etags import is_unchanged, not_modified, quoted
from api.ids import JobId, SampleIndex
from api.pages import PageOf, page_of
from api.problems import responses
from api.readiness import archive_of
from api.rendering.pictures import MEDIA_TYPES
from api.samples.deferred import DeferredResponse
from api.samples.groups import group_names
from api.samples.picture import ImageBytes, Picture
from api.samples.schemas import PictureQuery, SampleQuery, SampleRead
from api.services import services_of
from api.transactions import Transaction
from masktune_core.config import JobConfig
from persistence import datasets, jobs, samples
from persistence.samples import SampleFilters
from persistence.tables import Dataset, Job, Sample
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
    dataset = _dataset_of(session, job)
    filters = SampleFilters(
        split=query.split,
        label=query.label,
        group=query.group,
        flipped=query.flipped,
        correct_before=query.correct_before,
        correct_after=query.correct_after,
    )
    page = samples.page(
        session,
        job.id,
        filters,
        sort=query.sort,
        descending=query.order == "desc",
        after=query.after_index,
        limit=query.limit,
    )
    classes = dataset.classes if dataset else []
    groups = group_names(dataset, JobConfig.model_validate(job.config))
    return page_of(page, lambda sample: sample_read(sample, classes, groups))


@router.get(
    "/{job_id}/samples/{sample_index}",
    summary="Get a sample",
    responses=responses("job_not_found", "sample_not_found"),
)
def get_job_sample(session: Transaction, caller: Reader, job_id: JobId, sample_index: SampleIndex) -> SampleRead:
    """One sample."""
    job = jobs.get(session, caller.tenant_id, job_id)
    dataset = _dataset_of(session, job)
    sample = samples.get(session, job.id, sample_index)
    groups = group_names(dataset, JobConfig.model_validate(job.config))
    return sample_read(sample, dataset.classes if dataset else [], groups)


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
    caller: Reader,
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


def sample_read(sample: Sample, classes: list[str], groups: list[str]) -> SampleRead:
    """A row as clients see it."""
    before, after = sample.predicted_before == sample.label, sample.predicted_after == sample.label
    group = sample.group
    return SampleRead(
        index=sample.index,
        split=sample.split,
        label=sample.label,
        group=group,
        class_name=classes[sample.label] if sample.label < len(classes) else None,
        group_name=groups[group] if group is not None and group < len(groups) else None,
        predicted_before=sample.predicted_before,
        confidence_before=sample.confidence_before,
        predicted_after=sample.predicted_after,
        confidence_after=sample.confidence_after,
        confidence_drop=sample.confidence_drop,
        correct_before=before,
        correct_after=after,
        flipped=None if before == after else ("fixed" if after else "broken"),
        masked_fraction=sample.masked_fraction,
        width=sample.width,
        height=sample.height,
        image_url=f"/v1/jobs/{sample.job_id}/samples/{sample.index}/image",
    )


def _dataset_of(session: Session, job: Job) -> Dataset | None:
    return None if job.dataset_id is None else datasets.get(session, job.tenant_id, job.dataset_id)


def picture_of(session: Session, job: Job, sample: Sample, query: PictureQuery) -> Picture:
    """Everything that a picture needs, to be drawn later. Raises `ApiError` (410) once the data set is deleted."""
    config = JobConfig.model_validate(job.config)
    source = None
    if query.view != "mask":
        dataset = _dataset_of(session, job)
        if dataset is None:
            detail = f"The data set of job {job.id} was deleted, and its images with it; masks can still be drawn."
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
