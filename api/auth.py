"""Who calls: an API key in `Authorization: Bearer mt_…` (RFC 6750), always required under `/v1`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.orm import Session

from api.errors import ApiError
from api.request_ids import CALLER_IN_SCOPE
from api.services import services_of
from api.transactions import Transaction
from persistence import api_keys
from persistence.database import transaction

_BEARER = HTTPBearer(
    auto_error=False,
    scheme_name="ApiKey",
    bearerFormat="mt_…",
    description="An API key, made with `python -m api.admin create-key` or `masktune keys create`.",
)
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller: a tenant, through one of its keys."""

    tenant_id: UUID
    key_id: UUID


def authenticate(request: Request, session: Transaction, credentials: Credentials) -> Principal:
    """The caller of an ordinary request, checked in the request's own transaction."""
    return _principal(request, session, credentials)


def authenticate_apart(request: Request, credentials: Credentials) -> Principal:
    """The caller of a long request, checked in a short transaction: no connection is held while bytes flow."""
    with transaction(services_of(request).sessions) as session:
        return _principal(request, session, credentials)


def _principal(request: Request, session: Session, credentials: HTTPAuthorizationCredentials | None) -> Principal:
    if credentials is None:
        raise _unauthenticated("Send 'Authorization: Bearer mt_…'.", error=None)
    key = api_keys.authenticate(session, credentials.credentials)
    if key is None:
        raise _unauthenticated("This API key is unknown or revoked.", error="invalid_token")
    # For the request's log line. Context variables would not do: this runs in a thread with a copy of them.
    request.scope[CALLER_IN_SCOPE] = {"tenant": str(key.tenant_id), "key": key.prefix}
    return Principal(tenant_id=key.tenant_id, key_id=key.id)


def _unauthenticated(detail: str, *, error: str | None) -> ApiError:
    challenge = 'Bearer realm="masktune"' + (f', error="{error}"' if error else "")
    return ApiError("unauthenticated", detail, headers={"WWW-Authenticate": challenge})


Caller = Annotated[Principal, Depends(authenticate)]
CallerApart = Annotated[Principal, Depends(authenticate_apart)]
