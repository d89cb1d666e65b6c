"""Jobs over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from api.auth import Reader, Writer
from api.ids import JobId
from api.jobs.schemas import JobCreate, JobQuery, JobRead
from api.jobs.submission import submit
from api.pages import PageOf, page_of
from api.problems import responses
from api.transactions import Transaction, dispatch_after_commit
from persistence import jobs

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        pattern="^[\\x21-\\x7e]+$",
        description="A fresh name for this submission, such as a UUID. Sent again with the same body, it answers with "
        "the job of the first time; with another body, 422 `idempotency_mismatch`.",
        examples=["6f1c2b9e-53a1-4d7c-8f2e-0d6b7a1c9e44"],
    ),
]


@router.post(
    "",
    status_code=201,
    summary="Submit a job",
    responses={
        200: {"description": "The job of an earlier request with this Idempotency-Key.", "model": JobRead},
        201: {"headers": {"Location": {"description": "The job.", "schema": {"type": "string"}}}},
        **responses(
            "malformed_json",
            "dataset_not_found",
            "checkpoint_not_found",
            "dataset_not_ready",
            "dataset_invalid",
            "checkpoint_not_ready",
            "checkpoint_invalid",
            "content_too_large",
            "unsupported_media_type",
            "invalid_config",
            "unknown_preset",
            "unknown_attribute",
            "checkpoint_architecture_mismatch",
            "checkpoint_classes_mismatch",
            "idempotency_mismatch",
        ),
    },
)
def create_job(
    session: Transaction, caller: Writer, body: JobCreate, response: Response, idempotency_key: IdempotencyKey = None
) -> JobRead:
    """Queue a MaskTune run: train (or take a checkpoint), explain, mask, finetune, evaluate.

    The configuration is a preset with changes, validated as a whole before anything is queued. Once this answers, the
    job runs: it is recorded even if the queue is away at this moment. With an `Idempotency-Key`, a client that lost the
    answer may send the request again without starting a second job.
    """
    job, created = submit(session, caller.tenant_id, body, idempotency_key)
    if created:
        dispatch_after_commit(session, "job", job.id)
    else:
        response.status_code = 200
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return JobRead.model_validate(job)


@router.get("", summary="List jobs", responses=responses())
def list_jobs(session: Transaction, caller: Reader, query: Annotated[JobQuery, Query()]) -> PageOf[JobRead]:
    """Jobs, newest first."""
    page = jobs.list_page(session, caller.tenant_id, status=query.status, after=query.after_id, limit=query.limit)
    return page_of(page, JobRead.model_validate)


@router.get("/{job_id}", summary="Get a job", responses=responses("job_not_found"))
def get_job(session: Transaction, caller: Reader, job_id: JobId) -> JobRead:
    """One job, with its configuration, progress, warnings and, if it failed, the error."""
    return JobRead.model_validate(jobs.get(session, caller.tenant_id, job_id))


@router.post("/{job_id}/cancel", summary="Cancel a job", responses=responses("job_not_found", "job_finished"))
def cancel_job(session: Transaction, caller: Writer, job_id: JobId) -> JobRead:
    """A queued job is cancelled at once. A running one becomes `cancelling`, and `cancelled` when it has stopped.

    Asking again while it is cancelling changes nothing.
    """
    return JobRead.model_validate(jobs.request_cancel(session, caller.tenant_id, job_id))


@router.delete(
    "/{job_id}", status_code=204, summary="Delete a job", responses=responses("job_not_found", "job_not_finished")
)
def delete_job(session: Transaction, caller: Writer, job_id: JobId) -> None:
    """Delete a finished job with its events, metrics, samples and artifacts. Cancel an unfinished one first."""
    jobs.delete(session, caller.tenant_id, job_id)
