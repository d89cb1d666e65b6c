"""Jobs as clients see them: the row, its place in the queue, and when it may start and end."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy.orm import Session

from api.jobs.schemas import JobRead
from api.pages import PageOf, page_of
from api.transactions import settings_of
from persistence.forecasts import Forecast, forecast
from persistence.pages import Page
from persistence.tables import Job
from persistence.transitions import FINISHED


def shown(session: Session, job: Job) -> JobRead:
    """One job."""
    return _read(job, {} if _is_over(job) else _forecast(session))


def shown_page(session: Session, page: Page[Job]) -> PageOf[JobRead]:
    """A page of jobs."""
    found = {} if all(_is_over(job) for job in page.rows) else _forecast(session)
    return page_of(page, lambda job: _read(job, found))


def _forecast(session: Session) -> Mapping[UUID, Forecast]:
    return forecast(session, quota_running=settings_of(session).tenant_max_running)


def _is_over(job: Job) -> bool:
    return job.status in FINISHED or job.status == "paused"


def _read(job: Job, forecasts: Mapping[UUID, Forecast]) -> JobRead:
    read = JobRead.model_validate(job)
    found = forecasts.get(job.id)
    if found is None:
        return read
    return read.model_copy(
        update={
            "queue_position": found.position,
            "estimated_start_at": found.starts_at,
            "estimated_finish_at": found.finishes_at,
        }
    )
