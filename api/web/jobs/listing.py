"""The list of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.ids import JobId
from api.jobs.schemas import Status
from api.transactions import Transaction
from api.web.choices import MOST, with_named
from api.web.cursors import Cursor, as_id, given
from api.web.templates import render
from api.web.visitors import Visited, Visitor
from persistence import datasets, jobs
from persistence.tables import Job
from persistence.transitions import ACTIVE, STATUSES

router = APIRouter(include_in_schema=False)

_PAGE = 50


class JobFilters(BaseModel):
    """What the list shows; an empty field, as forms send it, leaves it open."""

    status: Status | Literal[""] = ""
    dataset: Cursor = ""
    name: Annotated[str, Query(max_length=100)] = ""
    after: Cursor = ""


@router.get("/jobs")
def job_list(
    request: Request, session: Transaction, visitor: Visited, filters: Annotated[JobFilters, Query()]
) -> Response:
    """All jobs, newest first; for htmx only the rows."""
    wanted = as_id(filters.dataset)
    chosen = None if wanted is None else datasets.get(session, visitor.tenant_id, wanted)
    page = jobs.list_page(
        session,
        visitor.tenant_id,
        status=filters.status or None,
        dataset_id=wanted,
        name=filters.name.strip() or None,
        after=as_id(filters.after),
        limit=_PAGE,
    )
    following = given(status=filters.status, dataset=filters.dataset, name=filters.name, after=page.next)
    values = _rows(session, visitor, page.rows) | {
        "more": f"/jobs?{following}" if page.has_more else None,
        "filters": filters,
    }
    if request.headers.get("HX-Request"):
        return render(request, "jobs/rows.html" if filters.after else "jobs/filtered.html", **values)
    filtered = any((filters.status, filters.dataset, filters.name))
    newest = datasets.list_page(session, visitor.tenant_id, limit=MOST).rows
    choices = with_named(newest, [chosen])
    return render(request, "jobs/list.html", **values, datasets=choices, statuses=STATUSES, filtered=filtered)


@router.get("/jobs/{job_id}/row")
def job_row(request: Request, session: Transaction, visitor: Visited, job_id: JobId) -> Response:
    """One row of the list, which asks for itself again until the job has ended."""
    job = jobs.get(session, visitor.tenant_id, job_id)
    return render(request, "jobs/rows.html", **_rows(session, visitor, [job]), more=None)


def _rows(session: Session, visitor: Visitor, found: Sequence[Job]) -> dict[str, Any]:
    """Values of `rows.html`. A running job changes within seconds, a waiting one within minutes."""
    waits = {job.id: 3 if job.status in ACTIVE else 15 for job in found if job.status in (*ACTIVE, "queued")}
    named = datasets.some(session, visitor.tenant_id, {job.dataset_id for job in found if job.dataset_id is not None})
    return {"jobs": found, "names": {dataset.id: dataset.name for dataset in named}, "waits": waits}
