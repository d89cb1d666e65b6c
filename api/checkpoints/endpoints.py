"""Checkpoints over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.auth import Reader, Writer
from api.checkpoints.schemas import CheckpointCreate, CheckpointQuery, CheckpointRead
from api.downloads import DOWNLOAD_RESPONSES, download
from api.ids import CheckpointId
from api.pages import PageOf, page_of
from api.problems import responses
from api.readiness import require_checkpoint
from api.request_ids import request_id_of
from api.transactions import Transaction, dispatch_after_commit
from api.uploads.ids import complete_upload
from persistence import checkpoints

router = APIRouter(prefix="/v1/checkpoints", tags=["checkpoints"])

_CONTENT = responses(
    "checkpoint_not_found", "checkpoint_not_ready", "checkpoint_invalid", "range_not_satisfiable", "object_missing"
)


@router.post(
    "",
    status_code=202,
    summary="Make a checkpoint",
    responses={
        202: {"headers": {"Location": {"description": "The checkpoint.", "schema": {"type": "string"}}}},
        **responses(
            "malformed_json",
            "upload_not_found",
            "upload_expired",
            "upload_not_complete",
            "upload_verifying",
            "upload_failed",
            "content_too_large",
            "unsupported_media_type",
        ),
    },
)
def create_checkpoint(
    request: Request, session: Transaction, caller: Writer, body: CheckpointCreate, response: Response
) -> CheckpointRead:
    """Have uploaded weights checked against the architecture that they are for.

    The answer comes at once, with status `validating`; ask again until it is `ready` or `invalid`. Every key has to
    match; an invalid checkpoint's report names those that do not.
    """
    upload = complete_upload(session, caller.tenant_id, body.upload_id)
    checkpoint = checkpoints.create(
        session,
        caller.tenant_id,
        body.name,
        upload,
        architecture=body.architecture,
        num_classes=body.num_classes,
        classes=body.classes,
    )
    checkpoint.request_id = request_id_of(request.scope)
    dispatch_after_commit(session, "checkpoint", checkpoint.id)
    response.headers["Location"] = f"/v1/checkpoints/{checkpoint.id}"
    return CheckpointRead.model_validate(checkpoint)


@router.get("", summary="List checkpoints", responses=responses())
def list_checkpoints(
    session: Transaction, caller: Reader, query: Annotated[CheckpointQuery, Query()]
) -> PageOf[CheckpointRead]:
    """Checkpoints, newest first."""
    page = checkpoints.list_page(
        session, caller.tenant_id, status=query.status, after=query.after_id, limit=query.limit
    )
    return page_of(page, CheckpointRead.model_validate)


@router.get("/{checkpoint_id}", summary="Get a checkpoint", responses=responses("checkpoint_not_found"))
def get_checkpoint(session: Transaction, caller: Reader, checkpoint_id: CheckpointId) -> CheckpointRead:
    """One checkpoint, with its report."""
    return CheckpointRead.model_validate(checkpoints.get(session, caller.tenant_id, checkpoint_id))


@router.delete(
    "/{checkpoint_id}",
    status_code=204,
    summary="Delete a checkpoint",
    responses=responses("checkpoint_not_found", "checkpoint_in_use"),
)
def delete_checkpoint(session: Transaction, caller: Writer, checkpoint_id: CheckpointId) -> None:
    """Delete a checkpoint. Refused while jobs refer to it."""
    checkpoints.delete(session, caller.tenant_id, checkpoint_id)


@router.get(
    "/{checkpoint_id}/content",
    summary="Download a checkpoint",
    response_class=Response,
    responses={**DOWNLOAD_RESPONSES, **_CONTENT},
)
def get_checkpoint_content(
    request: Request, session: Transaction, caller: Reader, checkpoint_id: CheckpointId
) -> Response:
    """The weights as safetensors. `Range`, `If-Range` and `If-None-Match` work; the `ETag` is the SHA-256."""
    checkpoint = require_checkpoint(checkpoints.get(session, caller.tenant_id, checkpoint_id))
    if checkpoint.content_sha256 is None or checkpoint.content_size is None:
        raise LookupError(f"checkpoint {checkpoint.id} is ready without content")
    return download(
        request,
        sha256=checkpoint.content_sha256,
        size=checkpoint.content_size,
        filename=f"{checkpoint.id}.safetensors",
        media_type="application/vnd.safetensors",
    )


@router.head(
    "/{checkpoint_id}/content",
    summary="Look at a checkpoint's size and hash",
    response_class=Response,
    responses={**DOWNLOAD_RESPONSES, **_CONTENT},
)
def head_checkpoint_content(
    request: Request, session: Transaction, caller: Reader, checkpoint_id: CheckpointId
) -> Response:
    """The headers of the download, without it."""
    return get_checkpoint_content(request, session, caller, checkpoint_id)
