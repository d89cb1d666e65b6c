"""A job's artifacts over HTTP."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Request, Response

from api.artifacts.schemas import ArtifactList, ArtifactRead
from api.auth import Reader
from api.downloads import DOWNLOAD_RESPONSES, download
from api.ids import JobId
from api.problems import responses
from api.text import Printable
from api.transactions import Transaction
from persistence import artifacts, jobs
from persistence.tables import Artifact

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

ArtifactName = Annotated[
    Printable, Path(min_length=1, max_length=100, description="The file's name.", examples=["masktune.safetensors"])
]
_CONTENT = {
    **DOWNLOAD_RESPONSES,
    **responses("job_not_found", "artifact_not_found", "range_not_satisfiable", "object_missing", "object_corrupt"),
}


@router.get("/{job_id}/artifacts", summary="List a job's artifacts", responses=responses("job_not_found"))
def list_job_artifacts(session: Transaction, caller: Reader, job_id: JobId) -> ArtifactList:
    """Files that the job has made so far: weights before and after, result, configuration."""
    job = jobs.get(session, caller.tenant_id, job_id)
    return ArtifactList(data=[_read(row) for row in artifacts.list_all(session, job.id)])


@router.get(
    "/{job_id}/artifacts/{artifact_name}",
    summary="Download an artifact",
    response_class=Response,
    responses=_CONTENT,
)
def get_job_artifact(
    request: Request, session: Transaction, caller: Reader, job_id: JobId, artifact_name: ArtifactName
) -> Response:
    """The file. An interrupted download goes on with `Range` and `If-Range`; `If-None-Match` saves a second one.

    The `ETag` is the SHA-256 of the whole file, to check what arrived.
    """
    job = jobs.get(session, caller.tenant_id, job_id)
    artifact = artifacts.get(session, job.id, artifact_name)
    return download(
        request,
        sha256=artifact.sha256,
        size=artifact.size,
        filename=artifact.name,
        media_type=artifact.media_type,
    )


@router.head(
    "/{job_id}/artifacts/{artifact_name}",
    summary="Look at an artifact's size and hash",
    response_class=Response,
    responses=_CONTENT,
)
def head_job_artifact(
    request: Request, session: Transaction, caller: Reader, job_id: JobId, artifact_name: ArtifactName
) -> Response:
    """The headers of the download, without it."""
    return get_job_artifact(request, session, caller, job_id, artifact_name)


def _read(row: Artifact) -> ArtifactRead:
    return ArtifactRead(
        name=row.name,
        size=row.size,
        sha256=row.sha256,
        media_type=row.media_type,
        created_at=row.created_at,
        url=f"/v1/jobs/{row.job_id}/artifacts/{quote(row.name, safe='')}",
    )
