"""A job's whole log as a text file, however long it is; the page shows its end."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC
from typing import Final, cast

from fastapi import APIRouter, Request
from sqlalchemy.orm import Session, sessionmaker
from starlette.responses import Response, StreamingResponse

from api.ids import JobId
from api.services import services_of
from api.transactions import Transaction
from api.web.jobs.log import line
from api.web.visitors import Visited
from persistence import events, jobs
from persistence.database import transaction
from persistence.tables import Event

router = APIRouter(include_in_schema=False)

_PAGE: Final = 500


@router.get("/jobs/{job_id}/log")
def whole_log(request: Request, session: Transaction, visitor: Visited, job_id: JobId) -> Response:
    """Every event so far: its number, its exact time, and what the page says of it; sent as it is read."""
    job = jobs.get(session, visitor.tenant_id, job_id)
    headers = {"Cache-Control": "no-store", "Content-Disposition": f'attachment; filename="log-{job.id}.txt"'}
    lines = _lines(services_of(request).sessions, job.id)
    return StreamingResponse(lines, media_type="text/plain; charset=utf-8", headers=headers)


def _lines(sessions: sessionmaker[Session], job_id: uuid.UUID) -> Iterator[bytes]:
    """Page by page, a short transaction each."""
    after: int | None = 0
    while after is not None:
        with transaction(sessions) as session:
            page = events.page(session, job_id, after, _PAGE)
            text = "".join(_told(event) for event in page.rows)
        yield text.encode()
        after = cast("int | None", page.next)


def _told(event: Event) -> str:
    told = line(event)
    at = told.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"{told.seq:6d}  {at}  {' '.join(told.text.split())}\n"
