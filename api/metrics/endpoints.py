"""A job's metrics over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api.auth import Reader
from api.ids import JobId
from api.metrics.schemas import MetricList, MetricQuery, MetricRead
from api.problems import responses
from api.transactions import Transaction
from persistence import jobs, metrics
from persistence.metrics import MetricFilters

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.get("/{job_id}/metrics", summary="Get a job's metrics", responses=responses("job_not_found"))
def list_job_metrics(
    session: Transaction, caller: Reader, job_id: JobId, query: Annotated[MetricQuery, Query()]
) -> MetricList:
    """Numbers by stage, round, epoch, split, group and name, all in one answer; they appear while the job runs."""
    job = jobs.get(session, caller.tenant_id, job_id)
    rows = metrics.list_all(session, job.id, MetricFilters(**query.model_dump()))
    return MetricList(data=[MetricRead.model_validate(row) for row in rows])
