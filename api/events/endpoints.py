"""A job's events over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.responses import StreamingResponse

from api.auth import Reader, caller_id
from api.errors import ApiError
from api.events.schemas import EventQuery, EventRead
from api.events.stream import MEDIA_TYPE, stream
from api.ids import JobId
from api.pages import PageOf, page_of
from api.problems import responses
from api.services import services_of
from api.transactions import Transaction
from persistence import events, jobs
from persistence.transitions import FINISHED

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

LastEventId = Annotated[
    int | None,
    Header(
        alias="Last-Event-ID",
        ge=0,
        le=2**31 - 1,
        description="Stream only: the number of the last event that arrived. Takes precedence over `after`.",
        examples=[3],
    ),
]
_STREAM_EXAMPLE = (
    'retry: 2000\n\nid: 3\nevent: job.stage\ndata: {"stage": "training_erm", "iteration": 0}\n\n'
    'event: progress\ndata: {"stage": "training_erm", "epoch": 1, "epochs": 5, "step": 40, "steps": 235}\n\n'
)


@router.get(
    "/{job_id}/events",
    summary="Read or follow a job's events",
    response_model=PageOf[EventRead],
    responses={
        200: {
            "description": "A page of the log, or with `Accept: text/event-stream` the log as it grows.",
            "content": {
                "application/json": {
                    "example": {
                        "data": [
                            {
                                "seq": 1,
                                "type": "job.queued",
                                "attempt": 0,
                                "data": {},
                                "created_at": "2026-01-31T12:00:00Z",
                            }
                        ],
                        "has_more": False,
                        "next": None,
                    }
                },
                MEDIA_TYPE: {"schema": {"type": "string"}, "example": _STREAM_EXAMPLE},
            },
        },
        204: {"description": "Stream only: the job has finished and every event was seen; do not reconnect."},
        **responses("job_not_found", "too_many_streams"),
    },
)
def list_job_events(
    request: Request,
    session: Transaction,
    caller: Reader,
    job_id: JobId,
    query: Annotated[EventQuery, Query()],
    last_event_id: LastEventId = None,
) -> Response | PageOf[EventRead]:
    """The job's numbered log.

    As JSON: a page of the events with a number above `after`. With `Accept: text/event-stream`: server-sent events,
    first those after `Last-Event-ID` (or `after`), then each as it happens, with its number as `id`, its type as
    `event` and its particulars as `data`; between them `progress` events without an id, the latest snapshot only. The
    stream ends after the job's last event.
    """
    job = jobs.get(session, caller.tenant_id, job_id)
    if not wants_stream(request.headers.get("accept", "")):
        return page_of(events.page(session, job.id, query.after, query.limit), EventRead.model_validate)
    after = query.after if last_event_id is None else last_event_id
    if job.status in FINISHED and after >= job.event_seq:
        # An EventSource reconnects for ever unless it is told 204 (HTML standard, section 9.2.3).
        return Response(status_code=204)
    hub, who = services_of(request).hub, caller_id(caller)
    if not hub.admits(who):
        detail = "This key or browser follows as many jobs as it may: close a stream before you open another."
        raise ApiError("too_many_streams", detail, headers={"Retry-After": "5"})
    return StreamingResponse(
        stream(hub, job.id, after, who),
        media_type=MEDIA_TYPE,
        # Proxies must neither keep nor collect the stream.
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


def wants_stream(accept: str) -> bool:
    """Whether the client names the stream's media type; a mere `*/*` gets JSON."""
    ranges = (part.split(";")[0].strip().lower() for part in accept.split(","))
    return MEDIA_TYPE in ranges
