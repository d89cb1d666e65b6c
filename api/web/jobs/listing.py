"""The list of jobs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import Response

from api.jobs.schemas import Status
from api.transactions import Transaction
from api.web.cursors import Cursor, as_id, given
from api.web.templates import render
from api.web.visitors import Visited
from persistence import datasets, jobs

router = APIRouter(include_in_schema=False)

_PAGE = 50
_CHOICES = 200
STATUSES = ("queued", "running", "cancelling", "succeeded", "failed", "cancelled")


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
    names = {dataset.id: dataset.name for dataset in choices}
    values: dict[str, Any] = {
        "jobs": page.rows,
        "names": names,
        "more": f"/jobs?{following}" if page.has_more else None,
        "filters": filters,
    }
    if request.headers.get("HX-Request"):
        return render(request, "jobs/rows.html", **values)
    filtered = any((filters.status, filters.dataset, filters.name))
    return render(request, "jobs/list.html", **values, datasets=choices, statuses=STATUSES, filtered=filtered)
