"""What is wrong with the fields of an upload's form, told before gigabytes are sent for it."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData
from starlette.responses import Response

from api.checkpoints.schemas import CheckpointCreate
from api.datasets.schemas import DatasetCreate
from api.errors import field_problems
from api.web.formats import sentence
from api.web.visitors import Changing, Form

router = APIRouter(include_in_schema=False)

_NO_UPLOAD_YET: Final = UUID(int=0)


@router.post("/datasets/check")
def check_dataset(_visitor: Changing, form: Form) -> Response:
    """The fields of a data set, but for the upload."""
    return _problems(DatasetCreate, form)


@router.post("/checkpoints/check")
def check_checkpoint(_visitor: Changing, form: Form) -> Response:
    """The fields of a checkpoint, but for the upload."""
    return _problems(CheckpointCreate, form)


def _problems(wanted: type[BaseModel], form: FormData) -> Response:
    """`{"problems": [{"place", "detail"}]}` by the rules of the request that will follow; empty when all is right."""
    try:
        wanted.model_validate({**_nested(wanted, form), "upload_id": _NO_UPLOAD_YET})
    except ValidationError as error:
        problems = field_problems(error.errors(), prefix=("form",))
        found = [{"place": problem["name"], "detail": sentence(problem["detail"])} for problem in problems]
        return JSONResponse({"problems": found})
    return JSONResponse({"problems": []})


def _nested(wanted: type[BaseModel], form: FormData) -> dict[str, Any]:
    """The form's fields that the request has too; "options.celeba.target" stands for a field inside a field."""
    given: dict[str, Any] = {}
    for name, value in form.items():
        first, *path = name.split(".")
        if first not in wanted.model_fields:
            continue
        place, last = given, first
        for part in path:
            inside = place.setdefault(last, {})
            if not isinstance(inside, dict):
                break  # "options" with a value of its own: the rules say what is wrong with that
            place, last = inside, part
        else:
            place[last] = value
    return given
