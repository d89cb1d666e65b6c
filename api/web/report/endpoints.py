"""The report's download."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.errors import ApiError
from api.ids import JobId
from api.samples.deferred import DeferredResponse
from api.services import services_of
from api.transactions import Transaction
from api.web.assets import assets
from api.web.jobs.curves import curves
from api.web.jobs.start import start_of
from api.web.jobs.timeline import NAMES
from api.web.report.insight import report_insight
from api.web.report.pictures import choose, drawer, places_that_matter, shown
from api.web.results.page import result_values
from api.web.results.reading import ResultOfJob
from api.web.templates import environment
from api.web.visitors import Visited
from persistence import datasets, jobs, metrics, stages
from persistence.configs import read_what_can_be_read
from persistence.tables import Dataset, Job

router = APIRouter(include_in_schema=False)

_EXPORT: Final = re.compile(r"^export ", re.MULTILINE)
Indices = Annotated[list[Annotated[int, Query(ge=0, le=2**31 - 1)]], Query(max_length=60)]


@router.get("/jobs/{job_id}/report")
def job_report(
    request: Request,
    result: ResultOfJob,
    session: Transaction,
    visitor: Visited,
    job_id: JobId,
    sample: Indices = [],  # noqa: B006 - FastAPI copies the default
) -> Response:
    """One HTML file with the tables, plots and some images: those of the numbers in `sample`, or a choice of ours.

    It opens without a server: style, script, data and images stand in it.
    """
    job = jobs.get(session, visitor.tenant_id, job_id)
    if job.status != "succeeded":
        raise ApiError("job_not_finished", f"Job {job.id} is {job.status}; a report is made of one that succeeded.")
    services = services_of(request)
    dataset = datasets.get(session, visitor.tenant_id, job.dataset_id) if job.dataset_id else None
    values = result_values(session, result, job, dataset)
    split = values["headline"].split if values.get("headline") else None
    values |= _context(session, job, dataset)
    values |= report_insight(session, services.store, job)
    values["samples"] = []
    if dataset is not None:
        first = places_that_matter(values["relied"].shortcuts if values["insight"] else [], result, split)
        values["samples"] = shown(session, job, dataset, sample or choose(session, job, split, first))
    values["draw"] = drawer(services.store)

    def compose() -> bytes:
        return environment().get_template("report/report.html").render(**values).encode()

    name = re.sub(r"[^A-Za-z0-9._-]+", "-", job.name).strip("-.")[:80] or "job"
    return DeferredResponse(
        compose,
        services.drawing,
        media_type="text/html",
        headers={
            "Cache-Control": "private, no-cache",
            "Content-Disposition": f'attachment; filename="masktune-{name}-{job.id}.html"',
        },
    )


def _context(session: Session, job: Job, dataset: Dataset | None) -> dict[str, Any]:
    config = read_what_can_be_read(job.config)
    training = [row for row in metrics.list_all(session, job.id) if row.stage != "evaluating"]
    spans = stages.of(session, job)
    return {
        "job": job,
        "config": config,
        "dataset": dataset,
        "start": start_of(session, job),
        "curves": curves(training, config, from_checkpoint=stages.from_checkpoint(job, spans)),
        "stages": [
            (NAMES.get(span.stage, span.stage), span.iteration, span.seconds)
            for span in spans
            if span.attempt == job.attempt
        ],
        "made_at": datetime.now(UTC),
        "style": assets()["style.css"].content.decode(),
        "script": _EXPORT.sub("", assets()["js/thresholds.js"].content.decode()),
    }
