"""Turns every error into a problem response.

starlette.exceptions.HTTPException
└── ApiError               a problem of the catalogue, raised by this package

Errors of `persistence` are mapped here and nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic_core import ErrorDetails
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from api import problems
from api.request_ids import request_id_of
from persistence.database import gave_way, is_unavailable, timed_out
from persistence.errors import (
    Conflict,
    IdempotencyMismatch,
    IncomingBusy,
    IncomingLost,
    NotFound,
    ObjectCorrupt,
    ObjectMissing,
    OffsetMismatch,
    OutOfDisk,
    PersistenceError,
    QuotaExceeded,
    StoreUnavailable,
    UploadExpired,
    UploadFailed,
)

log = structlog.get_logger(__name__)

RETRY_AFTER_SECONDS = 2
HANG_UP: Final = MappingProxyType({"Connection": "close"})
"""Headers of an answer to a request whose body stopped coming: the connection is of no more use."""
_PATH_CHARACTERS = "/:@!$&'()*+,;=~"  # RFC 3986, section 3.3
_PATH_CODES = {
    "dataset_id": "dataset_not_found",
    "checkpoint_id": "checkpoint_not_found",
    "job_id": "job_not_found",
    "image_index": "image_not_found",
    "sample_index": "sample_not_found",
    "artifact_name": "artifact_not_found",
    "upload_id": "upload_not_found",
    "key_id": "api_key_not_found",
    "webhook_id": "webhook_not_found",
    "delivery_id": "delivery_not_found",
}
_QUOTA_CODES = {"bytes": "quota_exceeded", "datasets": "too_many_datasets", "jobs": "too_many_jobs"}


class ApiError(HTTPException):
    """A problem of the catalogue. An `HTTPException`, so that FastAPI lets it through while it reads a body."""

    def __init__(self, code: str, detail: str, *, headers: Mapping[str, str] | None = None, **extras: Any) -> None:
        super().__init__(problems.PROBLEMS[code].status, detail, headers)
        self.code = code
        self.extras = extras


class ProblemResponse(Response):
    """`application/problem+json`; escaped to ASCII, so that any echoed text can be sent."""

    media_type = problems.MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=True, default=str).encode()


def problem_response(
    request: Request,
    code: str,
    detail: str,
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    **extras: Any,
) -> ProblemResponse:
    """The response for `code`, with the request's path and id filled in. Never cached."""
    document = problems.body(
        code,
        detail,
        instance=quote(request.scope["path"], safe=_PATH_CHARACTERS),
        request_id=request_id_of(request.scope),
        status=status,
        **extras,
    )
    return ProblemResponse(
        document, status_code=document["status"], headers={"Cache-Control": "no-store", **(headers or {})}
    )


def unavailable(request: Request, detail: str) -> ProblemResponse:
    """503 with `Retry-After` (RFC 9110, section 10.2.3)."""
    return problem_response(request, "service_unavailable", detail, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def json_pointer(parts: Sequence[str | int]) -> str:
    """RFC 6901: `("config", "a/b", 0)` → `/config/a~1b/0`."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def field_problems(
    errors: Sequence[ErrorDetails] | Sequence[Mapping[str, Any]], *, prefix: Sequence[str | int] = ()
) -> list[dict[str, Any]]:
    """Pydantic's error list as `FieldProblem`s. `prefix` is put before each location, its first part the place."""
    found = []
    for error in errors:
        location: tuple[str | int, ...] = (*prefix, *error["loc"])
        place, rest = location[0], location[1:]
        where = {"pointer": json_pointer(rest)} if place == "body" else {"name": ".".join(str(part) for part in rest)}
        found.append({"location": str(place), **where, "code": error["type"], "detail": error["msg"]})
    return found


def invalid(code: str, errors: Sequence[Mapping[str, Any]]) -> ApiError:
    """A 422 that lists `errors`, each a `FieldProblem`."""
    count = len(errors)
    named = ", ".join(str(error.get("pointer") or error.get("name") or error["location"]) for error in errors[:5])
    return ApiError(
        code, f"{count} field{'' if count == 1 else 's'} not valid: {named or 'the body'}.", errors=list(errors)
    )


def install(app: FastAPI) -> None:
    """Register the handlers on `app`."""
    app.add_exception_handler(HTTPException, _http_error)  # type: ignore[arg-type]  # starlette types handlers by Exception
    app.add_exception_handler(RequestValidationError, _validation_error)  # type: ignore[arg-type]  # same
    app.add_exception_handler(PersistenceError, _persistence_error)  # type: ignore[arg-type]  # same
    app.add_exception_handler(SQLAlchemyError, _database_error)  # type: ignore[arg-type]  # same


async def _http_error(request: Request, error: HTTPException) -> Response:
    if isinstance(error, ApiError):
        return problem_response(request, error.code, error.detail, headers=error.headers, **error.extras)
    if error.status_code == 404:
        return problem_response(request, "route_not_found", f"There is nothing at {request.scope['path']}; see /docs.")
    if error.status_code == 405:
        allowed = _allowed_methods(request)
        detail = f"{request.method} is not allowed here; use {', '.join(allowed)}."
        return problem_response(request, "method_not_allowed", detail, headers={"Allow": ", ".join(allowed)})
    if error.status_code == 400:
        return problem_response(request, "malformed_request", f"{error.detail}.")
    code = next((p.code for p in problems.PROBLEMS.values() if p.status == error.status_code), "internal_error")
    return problem_response(request, code, str(error.detail), status=error.status_code, headers=error.headers)


def _allowed_methods(request: Request) -> list[str]:
    """All methods of this path; the framework names only those of the first route that matched."""
    methods: set[str] = set()
    scope = dict(request.scope)
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        scope["method"] = method
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.router.routes):
            methods.add(method)
    return sorted(methods)


async def _validation_error(request: Request, error: RequestValidationError) -> Response:
    errors = error.errors()
    first = errors[0]
    if first["type"] == "json_invalid":
        where = first["loc"][-1]
        return problem_response(request, "malformed_json", f"{first['ctx']['error']} at character {where}.")
    in_path = next((e for e in errors if e["loc"][0] == "path" and e["loc"][-1] in _PATH_CODES), None)
    if in_path is not None:
        name = str(in_path["loc"][-1])
        given = str(request.path_params.get(name))[:100]
        return problem_response(request, _PATH_CODES[name], f"There is no {name.replace('_', ' ')} {given!r}.")
    if tuple(first["loc"]) == ("body",) and first["type"] != "missing" and not _is_json(request):
        detail = "Send the body as 'Content-Type: application/json'."
        return problem_response(request, "unsupported_media_type", detail, headers={"Accept-Post": "application/json"})
    problem = invalid("invalid_request", field_problems(errors))
    return problem_response(request, problem.code, problem.detail, **problem.extras)


def _is_json(request: Request) -> bool:
    subtype = request.headers.get("content-type", "").split(";")[0].strip().lower().removeprefix("application/")
    return subtype == "json" or subtype.endswith("+json")


async def _persistence_error(request: Request, error: PersistenceError) -> Response:
    if isinstance(error, NotFound):
        return problem_response(
            request, f"{error.kind}_not_found", f"No {error.kind} {error.id} is visible to this key."
        )
    extra = _extra(error)
    if extra is not None:
        return problem_response(request, extra.code, f"{error}.", headers=extra.headers, **extra.members)
    if isinstance(error, Conflict):
        code = "idempotency_mismatch" if isinstance(error, IdempotencyMismatch) else error.code
        status = problems.PROBLEMS[code].status if code in problems.PROBLEMS else 409
        return problem_response(request, code, str(error), status=status)
    if isinstance(error, StoreUnavailable):
        log.warning("store_unavailable", error=str(error))
        return unavailable(request, "The object store does not answer; nothing was changed. Try again.")
    log.error("persistence_error", exc_info=error)
    if isinstance(error, ObjectMissing | ObjectCorrupt):
        return problem_response(request, error.code, str(error))
    return problem_response(request, "internal_error", problems.PROBLEMS["internal_error"].example)


class _Extra(NamedTuple):
    """How an error of an upload or a quota is told: its code, headers and extension members."""

    code: str
    headers: dict[str, str]
    members: dict[str, Any]


def _extra(error: PersistenceError) -> _Extra | None:
    match error:
        case OffsetMismatch():
            return _Extra(error.code, {"Upload-Offset": str(error.offset)}, {"offset": error.offset})
        case QuotaExceeded():
            members = {"limit": error.limit, "usage": error.used, "requested": error.more}
            return _Extra(_QUOTA_CODES[error.kind], {}, members)
        case OutOfDisk():
            return _Extra("out_of_disk", {}, {"needed": error.needed, "free": error.free})
        case IncomingBusy():
            return _Extra(error.code, {"Retry-After": str(RETRY_AFTER_SECONDS)}, {})
        case UploadExpired() | UploadFailed() | IncomingLost():
            return _Extra(error.code, {}, {"reason": error.reason} if isinstance(error, UploadFailed) else {})
    return None


async def _database_error(request: Request, error: SQLAlchemyError) -> Response:
    if gave_way(error):
        log.warning("database_gave_way", error=str(error.__cause__ or error))
        return unavailable(request, "Another request was in the way; nothing was changed. Try again.")
    if is_unavailable(error):
        log.warning("database_unavailable", error=type(error).__name__)
        return unavailable(request, "The database cannot be reached; nothing was changed. Try again.")
    if timed_out(error):
        log.warning("database_slow", error=str(error.__cause__ or error))
        return unavailable(request, "The database took too long; nothing was changed. Try again.")
    log.error("database_error", exc_info=error)
    return problem_response(request, "internal_error", problems.PROBLEMS["internal_error"].example)
