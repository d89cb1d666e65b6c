"""The page of one job, live while it runs, and what can be done with it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, get_args

from fastapi import APIRouter, Request
from sqlalchemy.orm import Session
from starlette.responses import HTMLResponse, RedirectResponse, Response

from api.ids import JobId
from api.jobs.endpoints import cancel_job, pause_job, resume_job
from api.jobs.reading import shown
from api.transactions import Transaction
from api.web.insight.pages import insight_values
from api.web.jobs.curves import curves
from api.web.jobs.live_part import PARTS
from api.web.jobs.log import line
from api.web.jobs.start import start_of
from api.web.jobs.timeline import timeline
from api.web.results.page import result_values
from api.web.results.reading import ResultOfJob
from api.web.templates import render
from api.web.visitors import Changing, Visited, Visitor
from masktune_core.config import JobConfig
from persistence import datasets, events, jobs, metrics, stages
from persistence.configs import read_what_can_be_read
from persistence.event_types import EventType
from persistence.tables import Job
from persistence.transitions import ACTIVE, FINISHED, LEGAL

router = APIRouter(include_in_schema=False)

_LOG_LINES = 200


@router.get("/jobs/{job_id}")
def job_page(request: Request, result: ResultOfJob, session: Transaction, visitor: Visited, job_id: JobId) -> Response:
    """What the job found, or how it goes."""
    job = jobs.get(session, visitor.tenant_id, job_id)
    values = _values(session, visitor, job)
    values["event_types"] = get_args(EventType)
    if job.status == "succeeded":
        values |= result_values(session, result, job, values["dataset"])
        values |= insight_values(session, job)
    return render(request, "jobs/page.html", **values)


@router.get("/jobs/{job_id}/live")
def job_live(request: Request, session: Transaction, visitor: Visited, job_id: JobId) -> Response:
    """The part of the page that changes while the job runs."""
    job = jobs.get(session, visitor.tenant_id, job_id)

    def make() -> bytes:
        return bytes(render(request, "jobs/live.html", **_values(session, visitor, job)).body)

    part = PARTS.get((job.id, job.event_seq, job.status), make)
    return HTMLResponse(part, headers={"Cache-Control": "no-store"})


@router.post("/jobs/{job_id}/cancel")
def cancel(session: Transaction, visitor: Changing, job_id: JobId) -> Response:
    """Cancel it."""
    cancel_job(session, visitor.principal, job_id)
    return _back(job_id)


@router.post("/jobs/{job_id}/pause")
def pause(session: Transaction, visitor: Changing, job_id: JobId) -> Response:
    """Pause it."""
    pause_job(session, visitor.principal, job_id)
    return _back(job_id)


@router.post("/jobs/{job_id}/resume")
def resume(request: Request, session: Transaction, visitor: Changing, job_id: JobId) -> Response:
    """Have it go on."""
    resume_job(request, session, visitor.principal, job_id)
    return _back(job_id)


@router.post("/jobs/{job_id}/delete")
def delete(session: Transaction, visitor: Changing, job_id: JobId) -> Response:
    """Delete it with everything it found, and go back to the list."""
    jobs.delete(session, visitor.tenant_id, job_id)
    return RedirectResponse("/jobs", status_code=303)


def _back(job_id: JobId) -> Response:
    return RedirectResponse(f"/jobs/{job_id}", status_code=303)


def _text_of(config: JobConfig, job: Job) -> str:
    """The configuration in the order of its fields; what this version cannot read, as it was stored."""
    if config.model_dump(mode="json") == job.config:
        return config.model_dump_json(indent=2)
    return json.dumps(job.config, indent=2)


def _device_of(job: Job, told: str | None) -> str | None:
    """What the job ran on, or, until its manifest says so, what the attempt's start `told`."""
    manifest = job.manifest or {}
    name: str | None = manifest.get("device_name") or told
    if name is not None and name.lower() == "cpu":
        return "CPU"
    return f"CPU ({name})" if name and manifest.get("device_type") == "cpu" else name


def _values(session: Session, visitor: Visitor, job: Job) -> dict[str, Any]:
    config = read_what_can_be_read(job.config)
    spans = stages.of(session, job)
    from_checkpoint = stages.from_checkpoint(job, spans)
    training = [row for row in metrics.list_all(session, job.id) if row.stage != "evaluating"]
    tail = events.page(session, job.id, max(0, job.event_seq - _LOG_LINES), _LOG_LINES).rows
    started = [event for event in tail if event.type == "job.started"]
    dataset = datasets.get(session, visitor.tenant_id, job.dataset_id) if job.dataset_id else None
    return {
        "job": shown(session, job),
        "worker": job.worker,
        "device": _device_of(job, started[-1].data.get("device") if started else None),
        "config": config,
        "config_text": _text_of(config, job),
        "dataset": dataset,
        "start": start_of(session, job),
        "steps": timeline(
            spans,
            config,
            job.progress,
            attempt=job.attempt,
            running=job.status in ACTIVE,
            now=datetime.now(UTC),
            from_checkpoint=from_checkpoint,
            succeeded=job.status == "succeeded",
        ),
        "curves": curves(training, config, from_checkpoint=from_checkpoint),
        "has_curves": bool(training),
        "log": [line(event) for event in tail],
        "log_from": tail[0].seq if tail else 1,
        "finished": job.status in FINISHED,
        "can_cancel": job.status in ("queued", "running", "pausing", "paused"),
        "can_pause": job.status in ("queued", "running"),
        "can_resume": "queued" in LEGAL[job.status] and job.status != "running" and job.dataset_id is not None,
    }
