"""What did it rely on? A page of its own, and the same as the first part of a finished job's page."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.ids import JobId
from api.insight.reading import insight_read
from api.insight.schemas import ClassInsightRead
from api.transactions import Transaction
from api.web.templates import render
from api.web.visitors import Visited
from persistence import insights, jobs
from persistence.tables import Job
from persistence.transitions import FINISHED

router = APIRouter(include_in_schema=False)

_OPEN: Final = 8
"""Classes shown at once; the rest unfolds."""
_MOST: Final = 100
"""Classes on a page, shortcuts first; the API has all."""


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
    ordered = sorted(found.classes, key=lambda each: (not _has_shortcut(each), each.label))
    return {
        "insight": found,
        "relied_first": ordered[:_OPEN],
        "relied_rest": ordered[_OPEN:_MOST],
        "relied_left": len(ordered[_MOST:]),
        "shortcuts": [(each, cluster) for each in ordered[:_MOST] for cluster in each.clusters if cluster.is_shortcut],
        "with_pictures": job.dataset_id is not None,
    }


def _has_shortcut(found: ClassInsightRead) -> bool:
    return any(cluster.is_shortcut for cluster in found.clusters)
