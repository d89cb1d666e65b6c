"""What did it rely on? A page of its own, and the same as the first part of a finished job's page."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.ids import JobId
from api.insight.reading import insight_read
from api.transactions import Transaction
from api.web.insight.pictures import Addresses
from api.web.insight.view import relied
from api.web.templates import render
from api.web.visitors import Visited
from persistence import insights, jobs, samples
from persistence.configs import read_what_can_be_read
from persistence.tables import Job
from persistence.transitions import FINISHED

router = APIRouter(include_in_schema=False)


@router.get("/jobs/{job_id}/insight")
def insight_page(request: Request, session: Transaction, visitor: Visited, job_id: JobId) -> Response:
    """Class by class, with the shortcuts first."""
    job = jobs.get(session, visitor.tenant_id, job_id)
    return render(
        request, "insight/page.html", job=job, finished=job.status in FINISHED, **insight_values(session, job)
    )


def insight_values(session: Session, job: Job) -> dict[str, Any]:
    """Values for `insight/part.html`; `insight` is None when nothing is known."""
    stored = insights.get(session, job.id)
    if stored is None:
        return {"insight": None}
    found = insight_read(stored)
    shown = relied(found, read_what_can_be_read(job.config))
    classes = (*shown.first, *shown.rest)
    named = {index for each in classes for cluster in shown.pictured(each) for index in cluster.examples}
    # Once the data set is gone, so are its images.
    sizes = samples.sizes(session, job.id, named) if job.dataset_id is not None else {}
    return {"insight": found, "relied": shown, "pictures": Addresses(job.id, sizes)}
