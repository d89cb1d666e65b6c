"""The form that submits a job, its live check, and the clone of a job."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from sqlalchemy.orm import Session
from starlette.responses import RedirectResponse, Response

from api.errors import ApiError, field_problems
from api.jobs.endpoints import queue_job
from api.jobs.schemas import JobCreate
from api.jobs.submission import check_checkpoint, check_dataset, checked_config
from api.readiness import require_checkpoint, require_dataset
from api.transactions import Transaction
from api.web.cursors import Cursor, as_id
from api.web.formats import sentence
from api.web.jobs.fields import FIRST, changes, fields, place_of, sections, texts
from api.web.templates import render
from api.web.visitors import Changing, Form, Visited, Visitor
from masktune_core.config import ARCHITECTURES, PRESETS, JobConfig
from persistence import checkpoints, datasets, jobs
from persistence.errors import Conflict, NotFound, QuotaExceeded

router = APIRouter(include_in_schema=False)

_CHOICES = 200
Preset = Annotated[str, Query(max_length=100)]


@dataclass(frozen=True, slots=True)
class FormProblem:
    """What is wrong, and where: the path of a field or a section, dataset, checkpoint, preset, name, or nothing."""

    place: str
    detail: str


@router.get("/jobs/new")
def new_job_page(
    request: Request,
    session: Transaction,
    visitor: Visited,
    dataset: Cursor = "",
    checkpoint: Cursor = "",
    preset: Preset = "",
    clone: Cursor = "",
) -> Response:
    """The form: empty, for a data set or checkpoint, or with everything of another job."""
    config = PRESETS.get(preset, JobConfig())
    name = ""
    cloned = as_id(clone)
    if cloned is not None:
        job = jobs.get(session, visitor.tenant_id, cloned)
        config = JobConfig.model_validate(job.config)
        name, dataset, checkpoint = job.name, str(job.dataset_id or ""), str(job.checkpoint_id or "")
        preset = config.preset or ""
    chosen = {"name": name, "dataset": dataset, "checkpoint": checkpoint, "preset": preset}
    if not clone and not preset and checkpoint:
        weights = checkpoints.get(session, visitor.tenant_id, as_id(checkpoint) or uuid.uuid4())
        config = config.model_copy(
            update={"model": config.model.model_copy(update={"architecture": weights.architecture})}
        )
    return _page(request, session, visitor, chosen, texts(config))


@router.get("/jobs/new/config")
def config_fields(request: Request, session: Transaction, visitor: Visited, preset: Preset = "") -> Response:
    """The configuration's part of the form, with the values of a preset."""
    values = texts(PRESETS.get(preset, JobConfig()))
    return render(request, "jobs/config.html", **_config_values(values), attributes=_attributes(session, visitor))


@router.post("/jobs/check")
def check_job(session: Transaction, visitor: Changing, form: Form) -> Response:
    """What would be wrong with the form as it stands, by the checks of a submission; nothing is queued."""
    problems = _problems(session, visitor, form)
    return JSONResponse({"problems": [{"place": p.place, "detail": p.detail} for p in problems]})


@router.post("/jobs")
def submit_job(request: Request, session: Transaction, visitor: Changing, form: Form) -> Response:
    """Submit, and go to the job; or the form again, with what is wrong beside the fields."""
    problems = _problems(session, visitor, form)
    if not problems:
        try:
            with session.begin_nested():  # a refused submission must leave nothing behind
                body = _body(form)
                key = str(form.get("idempotency_key") or uuid.uuid4())
                job = queue_job(request, session, visitor.principal, body, Response(), key)
            return RedirectResponse(f"/jobs/{job.id}", status_code=303)
        except (ApiError, Conflict, NotFound, QuotaExceeded) as error:
            problems = _shown(error)
    chosen = {name: str(form.get(name) or "") for name in ("name", "dataset", "checkpoint", "preset")}
    typed = {path: str(form.get(leaf.name) or "") for path, leaf in fields().items()}
    return _page(request, session, visitor, chosen, typed, problems)


def _body(form: Mapping[str, Any]) -> JobCreate:
    preset = str(form.get("preset") or "") or None
    return JobCreate.model_validate(
        {
            "name": str(form.get("name") or "").strip() or None,
            "dataset_id": form.get("dataset") or None,
            "checkpoint_id": form.get("checkpoint") or None,
            "preset": preset,
            "config": changes(form, PRESETS.get(preset or "", JobConfig())),
        }
    )


def _problems(session: Session, visitor: Visitor, form: Mapping[str, Any]) -> list[FormProblem]:
    """Everything that a submission would refuse, as far as it can be told without submitting."""
    found: list[FormProblem] = []
    if not form.get("dataset"):
        found.append(FormProblem("dataset", "Choose a data set."))
    preset = str(form.get("preset") or "") or None
    try:
        config = checked_config(preset, changes(form, PRESETS.get(preset or "", JobConfig())))
    except ApiError as error:
        return [*found, *_shown(error)]
    if found:
        return found
    try:
        body = _body(form)
        dataset = require_dataset(datasets.get(session, visitor.tenant_id, body.dataset_id))
        check_dataset(config, dataset)
        if body.checkpoint_id is not None:
            weights = require_checkpoint(checkpoints.get(session, visitor.tenant_id, body.checkpoint_id))
            check_checkpoint(config, dataset, weights)
    except ValidationError as error:
        return [
            FormProblem(place_of(str(problem.get("pointer", ""))), str(problem["detail"]))
            for problem in field_problems(error.errors(), prefix=("body",))
        ]
    except (ApiError, NotFound) as error:
        return _shown(error)
    return []


def _shown(error: ApiError | Conflict | NotFound | QuotaExceeded) -> list[FormProblem]:
    if isinstance(error, ApiError):
        listed = error.extras.get("errors")
        if listed:
            return [FormProblem(place_of(str(each.get("pointer", ""))), _sentence(each["detail"])) for each in listed]
        return [FormProblem(_place_by_code(error.code), _sentence(error.detail))]
    code = error.code
    return [FormProblem(_place_by_code(code), _sentence(str(error)))]


def _place_by_code(code: str) -> str:
    return next((noun for noun in ("dataset", "checkpoint", "preset") if noun in code), "")


def _sentence(detail: str) -> str:
    return sentence(detail.removeprefix("Value error, ").strip())


def _page(
    request: Request,
    session: Session,
    visitor: Visitor,
    chosen: Mapping[str, str],
    values: Mapping[str, str],
    problems: list[FormProblem] | None = None,
) -> Response:
    ready = datasets.list_page(session, visitor.tenant_id, status="ready", limit=_CHOICES).rows
    weights = checkpoints.list_page(session, visitor.tenant_id, status="ready", limit=_CHOICES).rows
    return render(
        request,
        "jobs/new.html",
        status=422 if problems else 200,
        chosen=chosen,
        datasets=ready,
        checkpoints=weights,
        presets=PRESETS,
        idempotency_key=uuid.uuid4(),
        problems={problem.place: problem.detail for problem in reversed(problems or [])},
        attributes=_attributes(session, visitor),
        **_config_values(values),
    )


def _config_values(values: Mapping[str, str]) -> dict[str, Any]:
    return {
        "values": values,
        "first": [fields()[path] for path in FIRST],
        "sections": sections(),
        "first_paths": FIRST,
        "architectures": ARCHITECTURES,
    }


def _attributes(session: Session, visitor: Visitor) -> list[str]:
    """Attribute columns of the tenant's data sets, to choose from."""
    ready = datasets.list_page(session, visitor.tenant_id, status="ready", limit=_CHOICES).rows
    return sorted({attribute["name"] for dataset in ready for attribute in dataset.attributes})
