"""The form that submits a job, its live check, and the clone of a job."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.orm import Session
from starlette.responses import RedirectResponse, Response

from api.errors import ApiError, field_problems
from api.jobs.dry_run import Advice, Estimate, Unchecked, rehearse
from api.jobs.endpoints import IdempotencyKey, queue_job
from api.jobs.schemas import JobCreate
from api.jobs.submission import check_network, checked_config
from api.services import services_of
from api.transactions import Transaction
from api.web.cursors import Cursor, as_id
from api.web.formats import duration, sentence, size
from api.web.jobs.cloning import NOTHING, lost_of
from api.web.jobs.fields import changes, fields, place_of, texts
from api.web.jobs.form_page import FormProblem, attributes, config_values, form_page
from api.web.templates import render
from api.web.visitors import Changing, Form, Visited, Visitor
from masktune_core.config import PRESETS, JobConfig
from persistence import checkpoints, datasets, jobs
from persistence.configs import read_what_can_be_read
from persistence.errors import Conflict, NotFound, QuotaExceeded
from persistence.settings import Settings

router = APIRouter(include_in_schema=False)

_AT_THE_LIMIT = "too_many_jobs"
_MEMORY = "/config/erm/batch_size"
Preset = Annotated[str, Query(max_length=100)]


@dataclass(frozen=True, slots=True)
class Checked:
    """What the checks found."""

    problems: list[FormProblem]
    warnings: Sequence[Advice] = ()
    estimate: Estimate | None = None
    unchecked: Sequence[Unchecked] = ()


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
    name, lost = "", NOTHING
    cloned = as_id(clone)
    if cloned is not None:
        job = jobs.get(session, visitor.tenant_id, cloned)
        config = read_what_can_be_read(job.config)
        name, dataset, checkpoint = job.name, str(job.dataset_id or ""), str(job.checkpoint_id or "")
        preset = config.preset or ""
        lost = lost_of(session, job)
    chosen = {"name": name, "dataset": dataset, "checkpoint": checkpoint, "preset": preset}
    # An address that names what is not there leads nowhere.
    if (dataset_id := as_id(dataset)) is not None:
        datasets.get(session, visitor.tenant_id, dataset_id)
    if (checkpoint_id := as_id(checkpoint)) is not None:
        weights = checkpoints.get(session, visitor.tenant_id, checkpoint_id)
        if cloned is None and not preset:
            model = config.model.model_copy(update={"architecture": weights.architecture})
            config = config.model_copy(update={"model": model})
    return form_page(request, session, visitor, chosen, texts(config), lost=lost)


@router.get("/jobs/new/config")
def config_fields(request: Request, session: Transaction, visitor: Visited, preset: Preset = "") -> Response:
    """The configuration's part of the form, with the values of a preset."""
    values = texts(PRESETS.get(preset, JobConfig()))
    return render(request, "jobs/config.html", **config_values(values), attributes=attributes(session, visitor))


@router.post("/jobs/check")
def check_job(request: Request, session: Transaction, visitor: Changing, form: Form) -> Response:
    """What would be wrong with the form as it stands, and what the job would take; nothing is queued."""
    found = _checked(session, services_of(request).settings, visitor, form)
    return JSONResponse(
        {
            "problems": [asdict(each) for each in found.problems],
            "warnings": [f"{warning.where}: {sentence(warning.message)}" for warning in found.warnings],
            "estimate": _told(found.estimate, found.unchecked),
        }
    )


@router.post("/jobs")
def submit_job(request: Request, session: Transaction, visitor: Changing, form: Form) -> Response:
    """Submit, and go to the job; or the form again, with what is wrong beside the fields."""
    problems = _checked(session, services_of(request).settings, visitor, form).problems + _key_problems(form)
    # Of a form that is sent twice, the first one may have been the last that fitted.
    if all(problem.at_limit for problem in problems):
        try:
            with session.begin_nested():  # a refused submission must leave nothing behind
                key = str(form.get("idempotency_key") or uuid.uuid4())
                job = queue_job(request, session, visitor.principal, _body(form), Response(), key)
            return RedirectResponse(f"/jobs/{job.id}", status_code=303)
        except (ApiError, Conflict, NotFound, QuotaExceeded) as error:
            problems = _shown(error)
    chosen = {name: str(form.get(name) or "") for name in ("name", "dataset", "checkpoint", "preset")}
    typed = {path: str(form.get(leaf.name) or "") for path, leaf in fields().items()}
    return form_page(request, session, visitor, chosen, typed, problems)


def _key_problems(form: Mapping[str, Any]) -> list[FormProblem]:
    """What is wrong with the hidden field that keeps a form from being queued twice, by the rules of the API."""
    try:
        TypeAdapter(IdempotencyKey).validate_python(form.get("idempotency_key") or None)
    except ValidationError as error:
        return [FormProblem("", _sentence(f"idempotency_key: {each['msg']}")) for each in error.errors()]
    return []


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


def _checked(session: Session, settings: Settings, visitor: Visitor, form: Mapping[str, Any]) -> Checked:
    """Everything that a submission would refuse or the job would fail by, told without submitting."""
    if not form.get("dataset"):
        problems = [FormProblem("dataset", "Choose a data set.")]
        preset = str(form.get("preset") or "") or None
        try:
            check_network(checked_config(preset, changes(form, PRESETS.get(preset or "", JobConfig()))))
        except ApiError as error:
            problems += _shown(error)
        return Checked(problems)
    try:
        body = _body(form)
    except ValidationError as error:
        listed = field_problems(error.errors(), prefix=("body",))
        return Checked(
            [FormProblem(place_of(str(each.get("pointer", ""))), _sentence(each["detail"])) for each in listed]
        )
    found = rehearse(session, settings, visitor.tenant_id, body)
    problems = [
        FormProblem(place_of(reason.pointer), _sentence(reason.detail), reason.code == _AT_THE_LIMIT)
        for reason in found.reasons
    ]
    return Checked(problems, found.warnings, found.estimate, found.unchecked)


def _told(estimate: Estimate | None, unchecked: Sequence[Unchecked]) -> str:
    """ "About 38 s, as jobs like it went; 0.7 GiB of memory, 12 MiB of disk. Shows when it runs: whether …." """
    if estimate is None:
        return ""
    parts = []
    if estimate.seconds is not None:
        basis = "as earlier jobs like it went" if estimate.basis == "earlier_jobs" else "a rough guess, for a CPU"
        parts.append(f"about {duration(estimate.seconds)}, {basis}")
    parts.append(f"{size(estimate.host_memory_bytes)} of memory")
    if estimate.disk_bytes is not None:
        parts.append(f"{size(estimate.disk_bytes)} of disk")
    unknown = [each.detail for each in unchecked if each.pointer != _MEMORY]  # which the estimate speaks of
    shows = sentence(f"Shows when it runs: {'; '.join(unknown)}") if unknown else ""
    return f"{sentence('; '.join(parts))} {shows}".strip()


def _shown(error: ApiError | Conflict | NotFound | QuotaExceeded) -> list[FormProblem]:
    if isinstance(error, ApiError):
        listed = error.extras.get("errors")
        if listed:
            return _listed(listed)
        return [FormProblem(_place_by_code(error.code), _sentence(error.detail))]
    return [FormProblem(_place_by_code(error.code), _sentence(str(error)), isinstance(error, QuotaExceeded))]


def _listed(problems: Sequence[Mapping[str, Any]]) -> list[FormProblem]:
    return [FormProblem(place_of(str(each.get("pointer", ""))), _sentence(each["detail"])) for each in problems]


def _place_by_code(code: str) -> str:
    return next((noun for noun in ("dataset", "checkpoint", "preset") if noun in code), "")


def _sentence(detail: str) -> str:
    return sentence(detail.removeprefix("Value error, ").strip())
