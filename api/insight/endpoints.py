"""What a job's models relied on, over HTTP."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Annotated

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from api.auth import Reader
from api.datasets.endpoints import IMMUTABLE
from api.errors import ApiError
from api.etags import is_unchanged, not_modified, quoted
from api.ids import JobId
from api.insight.reading import insight_read, levels_of
from api.insight.schemas import InsightRead, MapQuery
from api.problems import responses
from api.rendering.maps import mean_map
from api.rendering.pictures import encode
from api.samples.deferred import DeferredResponse
from api.services import services_of
from api.transactions import Transaction
from persistence import insights, jobs
from persistence.tables import Insight, Job
from persistence.transitions import FINISHED

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.get(
    "/{job_id}/insight",
    summary="See what a job relied on",
    responses=responses("job_not_found", "insight_not_found"),
)
def get_job_insight(session: Transaction, caller: Reader, job_id: JobId) -> InsightRead:
    """Class by class: where the models looked, and clusters of what was masked.

    A shortcut shows as one tight cluster: the same thing at the same place in many images of a class. Computed once, at
    the end of the job.
    """
    return insight_read(_insight(session, jobs.get(session, caller.tenant_id, job_id)))


@router.get(
    "/{job_id}/insight/image",
    summary="Draw a mean map",
    response_class=Response,
    responses={
        200: {
            "description": "The picture.",
            "content": {"image/webp": {"schema": {"type": "string", "format": "binary"}}},
        },
        304: {"description": "The client has it already (`If-None-Match`)."},
        **responses("job_not_found", "insight_not_found"),
    },
)
def get_job_insight_image(
    request: Request, session: Transaction, caller: Reader, job_id: JobId, query: Annotated[MapQuery, Query()]
) -> Response:
    """A mean map of a class or the mask of a cluster, in image coordinates: dark blue = 0, yellow = 1."""
    job = jobs.get(session, caller.tenant_id, job_id)
    levels = levels_of(_insight(session, job), query)
    etag = quoted(hashlib.sha256(levels.tobytes() + query.side.to_bytes(4, "little")).hexdigest()[:40])
    headers = {"ETag": etag, "Cache-Control": IMMUTABLE if job.status in FINISHED else "private, no-cache"}
    if is_unchanged(request.headers.get("if-none-match"), etag):
        return not_modified(etag, headers)
    draw = partial(_draw, levels, query.side)
    return DeferredResponse(draw, services_of(request).drawing, media_type="image/webp", headers=headers)


def _draw(levels: npt.NDArray[np.uint8], side: int) -> bytes:
    return encode(mean_map(levels, side), "webp")


def _insight(session: Session, job: Job) -> Insight:
    insight = insights.get(session, job.id)
    if insight is None:
        detail = (
            "It ended before this was computed." if job.status in FINISHED else "It is computed in the last pass: wait."
        )
        raise ApiError("insight_not_found", f"Job {job.id} has nothing to show here. {detail}")
    return insight
