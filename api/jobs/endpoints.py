"""Jobs over HTTP."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from sqlalchemy.orm import Session

from api.auth import Principal, Reader, Writer
from api.errors import ApiError
from api.ids import JobId
from api.jobs.dry_run import DryRunRead, rehearse
from api.jobs.reading import shown, shown_page
from api.jobs.schemas import JobCreate, JobQuery, JobRead, StageList, StageRead
from api.jobs.submission import submit
from api.pages import PageOf
from api.problems import responses
from api.request_ids import request_id_of
from api.services import services_of
from api.transactions import Transaction, dispatch_after_commit
from persistence import jobs, quotas, stages
from persistence.tables import Job
from persistence.transitions import FINISHED

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
DryRun = Annotated[bool, Query(description="Only say what would become of it; create nothing.", examples=[True])]


@router.post(
    "",
    status_code=201,
    summary="Submit a job",
    responses={
        200: {
            "description": "The job of an earlier request with this Idempotency-Key; or the answer to a dry run.",
            "model": JobRead | DryRunRead,
        },
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
            "checkpoint_class_names_mismatch",
            "idempotency_mismatch",
            "too_many_jobs",
        ),
    },
)
def create_job(
    request: Request,
    session: Transaction,
    caller: Writer,
    body: JobCreate,
    response: Response,
    idempotency_key: IdempotencyKey = None,
    dry_run: DryRun = False,
) -> JobRead | DryRunRead:
    """Queue a MaskTune run: train (or take a checkpoint), explain, mask, finetune, evaluate.

    The configuration is a preset with changes, validated as a whole before anything is queued. Once this answers, the
    job runs: it is recorded even if the queue is away at this moment. With an `Idempotency-Key`, a client that lost the
    answer may send the request again without starting a second job. With `dry_run`, nothing is created: the answer
    tells the resolved configuration, every reason why the job would fail that can be known without running it, what
    remains unchecked (a worker's GPU, memory and reach; layers of networks of timm that are not tested), and what it
    would take.
    """
    if dry_run:
        response.status_code = 200
        return rehearse(session, services_of(request).settings, caller.tenant_id, body)
    return queue_job(request, session, caller, body, response, idempotency_key)


def queue_job(
    request: Request,
    session: Session,
    caller: Principal,
    body: JobCreate,
    response: Response,
    idempotency_key: str | None = None,
) -> JobRead:
    """Record the job, and have it sent once the transaction is committed. For endpoints of this and other formats."""
    job, created = submit(session, caller.tenant_id, body, idempotency_key, request_id=request_id_of(request.scope))
    if created:
        quotas.require(session, services_of(request).settings, caller.tenant_id, "jobs", made=True)
        dispatch_after_commit(session, "job", job.id)
    else:
        response.status_code = 200
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return shown(session, job)


@router.get("", summary="List jobs", responses=responses())
def list_jobs(session: Transaction, caller: Reader, query: Annotated[JobQuery, Query()]) -> PageOf[JobRead]:
    """Jobs, newest first; of one status, of one data set, or by a part of their name."""
    page = jobs.list_page(
        session,
        caller.tenant_id,
        status=query.status,
        dataset_id=query.dataset_id,
        name=query.name,
        after=query.after_id,
        limit=query.limit,
    )
    return shown_page(session, page)


@router.get("/{job_id}", summary="Get a job", responses=responses("job_not_found"))
def get_job(session: Transaction, caller: Reader, job_id: JobId) -> JobRead:
    """One job, with its configuration, progress, warnings and, if it failed, the error."""
    return shown(session, jobs.get(session, caller.tenant_id, job_id))


@router.post("/{job_id}/cancel", summary="Cancel a job", responses=responses("job_not_found", "job_finished"))
def cancel_job(session: Transaction, caller: Writer, job_id: JobId) -> JobRead:
    """A queued or paused job is cancelled at once. A running one becomes `cancelling`, `cancelled` when it has stopped.

    Its last resume point is kept for a while, so that `resume` can go on from there. Asking again while it is
    cancelling changes nothing.
    """
    return shown(session, jobs.request_cancel(session, caller.tenant_id, job_id))


@router.post("/{job_id}/pause", summary="Pause a job", responses=responses("job_not_found", "job_not_pausable"))
def pause_job(session: Transaction, caller: Writer, job_id: JobId) -> JobRead:
    """A queued job is paused at once. A running one writes a resume point: it is `pausing`, then `paused`.

    A paused job holds no device, and keeps its resume points until it is resumed or cancelled. Asking again changes
    nothing.
    """
    return shown(session, jobs.request_pause(session, caller.tenant_id, job_id))


@router.post(
    "/{job_id}/resume",
    summary="Resume a job",
    responses=responses("job_not_found", "job_not_resumable", "too_many_jobs"),
)
def resume_job(request: Request, session: Transaction, caller: Writer, job_id: JobId) -> JobRead:
    """Queue a paused, cancelled or failed job again; it goes on from its last resume point, to the same result.

    After a failure or a cancellation, attempts and time limit start anew. A job that is queued or runs is left alone.
    """
    finished = jobs.get(session, caller.tenant_id, job_id).status in FINISHED
    job = jobs.resume(session, caller.tenant_id, job_id)
    if finished:  # Only now: who claims a job locks it before its tenant as well.
        quotas.require(session, services_of(request).settings, caller.tenant_id, "jobs", made=True)
    if job.status == "queued" and job.dispatched_at is None:
        dispatch_after_commit(session, "job", job.id)
    return shown(session, job)


@router.get("/{job_id}/stages", summary="List a job's stages", responses=responses("job_not_found"))
def list_job_stages(session: Transaction, caller: Reader, job_id: JobId) -> StageList:
    """When each attempt entered and left each stage."""
    job = jobs.get(session, caller.tenant_id, job_id)
    return StageList(data=[StageRead.model_validate(stage, from_attributes=True) for stage in stages.of(session, job)])


@router.get(
    "/{job_id}/manifest",
    summary="Download a job's manifest",
    response_class=Response,
    responses={
        200: {
            "description": "The file.",
            "content": {
                "application/json": {"schema": {"type": "object"}, "example": {"seed": 0, "device_type": "cpu"}}
            },
        },
        **responses("job_not_found", "artifact_not_found"),
    },
)
def get_job_manifest(session: Transaction, caller: Reader, job_id: JobId) -> Response:
    """What the job was made with, as a file: seed, versions, device, and hashes of all that went in and came out."""
    job = jobs.get(session, caller.tenant_id, job_id)
    if job.manifest is None:
        raise ApiError("artifact_not_found", f"Job {job.id} has no manifest: it is written when a job has succeeded.")
    return Response(
        manifest_text(job),
        media_type="application/json",
        headers={"Content-Disposition": 'attachment; filename="manifest.json"'},
    )


def manifest_text(job: Job) -> str:
    """The manifest as the file has it."""
    return json.dumps(job.manifest, indent=2, ensure_ascii=False) + "\n"


@router.delete(
    "/{job_id}", status_code=204, summary="Delete a job", responses=responses("job_not_found", "job_not_finished")
)
def delete_job(session: Transaction, caller: Writer, job_id: JobId) -> None:
    """Delete a finished job with its events, metrics, samples and artifacts. Cancel an unfinished one first."""
    jobs.delete(session, caller.tenant_id, job_id)
