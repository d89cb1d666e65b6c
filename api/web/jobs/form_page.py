"""The page with the form that submits a job, empty, filled in, or with what is wrong."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.web.choices import MOST, with_named
from api.web.jobs.cloning import NOTHING, Lost
from api.web.jobs.fields import FIRST, fields, sections
from api.web.templates import render
from api.web.visitors import Visitor
from masktune_core.config import ARCHITECTURES, PRESETS
from persistence import checkpoints, datasets
from persistence.errors import NotFound

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class FormProblem:
    """What is wrong, and where: the path of a field or a section, dataset, checkpoint, preset, name, or nothing.

    Nothing stands for the form as a whole, such as a tenant that has as many jobs as it may (`at_limit`).
    """

    place: str
    detail: str
    at_limit: bool = False


def form_page(
    request: Request,
    session: Session,
    visitor: Visitor,
    chosen: Mapping[str, str],
    values: Mapping[str, str],
    problems: Sequence[FormProblem] = (),
    lost: Lost = NOTHING,
) -> Response:
    """The form with `values` by path, and `chosen` name, dataset, checkpoint and preset.

    Its status is the one that the API would answer to these problems.
    """
    tenant = visitor.tenant_id
    ready = datasets.list_page(session, tenant, status="ready", limit=MOST).rows
    weights = checkpoints.list_page(session, tenant, status="ready", limit=MOST).rows
    return render(
        request,
        "jobs/new.html",
        status=_status(problems),
        chosen=chosen,
        lost=lost,
        datasets=with_named(ready, [_named(session, tenant, chosen["dataset"], datasets.get)]),
        checkpoints=with_named(weights, [_named(session, tenant, chosen["checkpoint"], checkpoints.get)]),
        presets=PRESETS,
        idempotency_key=uuid.uuid4(),
        problems={problem.place: problem.detail for problem in reversed(problems)},
        at_limit=any(problem.at_limit for problem in problems),
        attributes=attributes(session, visitor),
        **config_values(values),
    )


def config_values(values: Mapping[str, str]) -> dict[str, Any]:
    """Values for `jobs/config.html`."""
    return {
        "values": values,
        "first": [fields()[path] for path in FIRST],
        "sections": sections(),
        "first_paths": FIRST,
        "architectures": ARCHITECTURES,
    }


def attributes(session: Session, visitor: Visitor) -> list[str]:
    """Attribute columns of the tenant's data sets, to choose from."""
    ready = datasets.list_page(session, visitor.tenant_id, status="ready", limit=MOST).rows
    return sorted({attribute["name"] for dataset in ready for attribute in dataset.attributes})


def _status(problems: Sequence[FormProblem]) -> int:
    if not problems:
        return 200
    return 429 if all(problem.at_limit for problem in problems) else 422


def _named(
    session: Session, tenant_id: uuid.UUID, text: str, get: Callable[[Session, uuid.UUID, uuid.UUID], Row]
) -> Row | None:
    """The row of that id, unless there is none: a form may have been sent with anything in it."""
    try:
        return get(session, tenant_id, uuid.UUID(text))
    except (ValueError, NotFound):
        return None
