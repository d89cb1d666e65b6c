"""The list of jobs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from api.ids import JobId
from api.jobs.schemas import Status
from api.transactions import Transaction
from api.web.cursors import Cursor, as_id, given
from api.web.templates import render
from api.web.visitors import Visited
from persistence import datasets, jobs
from persistence.tables import Dataset, Job
from persistence.transitions import ACTIVE, STATUSES

router = APIRouter(include_in_schema=False)

_PAGE = 50
_CHOICES = 200


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
    page = jobs.list_page(
        session,
        visitor.tenant_id,
        status=filters.status or None,
        dataset_id=as_id(filters.dataset),
        name=filters.name.strip() or None,
        after=as_id(filters.after),
        limit=_PAGE,
    )
    choices = datasets.list_page(session, visitor.tenant_id, limit=_CHOICES).rows
    following = given(status=filters.status, dataset=filters.dataset, name=filters.name, after=page.next)
    values = _rows(page.rows, choices) | {
        "more": f"/jobs?{following}" if page.has_more else None,
        "filters": filters,
    }
    if request.headers.get("HX-Request"):
        return render(request, "jobs/rows.html" if filters.after else "jobs/filtered.html", **values)
    filtered = any((filters.status, filters.dataset, filters.name))
    return render(request, "jobs/list.html", **values, datasets=choices, statuses=STATUSES, filtered=filtered)


@router.get("/jobs/{job_id}/row")
def job_row(request: Request, session: Transaction, visitor: Visited, job_id: JobId) -> Response:
    """One row of the list, which asks for itself again until the job has ended."""
    job = jobs.get(session, visitor.tenant_id, job_id)
    named = [datasets.get(session, visitor.tenant_id, job.dataset_id)] if job.dataset_id else []
    return render(request, "jobs/rows.html", **_rows([job], named), more=None)


def _rows(found: Sequence[Job], named: Sequence[Dataset]) -> dict[str, Any]:
    """Values of `rows.html`. A running job changes within seconds, a waiting one within minutes."""
    waits = {job.id: 3 if job.status in ACTIVE else 15 for job in found if job.status in (*ACTIVE, "queued")}
    return {"jobs": found, "names": {dataset.id: dataset.name for dataset in named}, "waits": waits}
