"""Who calls: an API key in `Authorization: Bearer mt_…` (RFC 6750), or the cookie of a browser that is logged in.

Always required under `/v1`. A request with the cookie that changes something must repeat the page's token.

Every operation says which scope it needs, by the type of its `caller`: `Reader`, `Writer` or `Admin`, for pictures
`ImageReader`, or for long requests `ReaderApart` or `WriterApart`. The scope stands in the OpenAPI document, where a
test looks for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from sqlalchemy.orm import Session

from api import cookies
from api.errors import ApiError
from api.rate_limits import Kind, require_allowance
from api.request_ids import CALLER_IN_SCOPE
from api.services import services_of
from api.strangers import count_stranger
from api.transactions import Transaction
from persistence import api_keys, browser_sessions
from persistence.database import transaction
from persistence.scopes import SCOPES, Scope, allows
from persistence.tables import ApiKey

_BEARER = HTTPBearer(
    auto_error=False,
    scheme_name="ApiKey",
    bearerFormat="mt_…",
    description="An API key, made with `python -m api.admin create-key` or `masktune keys create`.",
)
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller: a tenant, through one of its keys, or through a browser (`browser_session_id`)."""

    tenant_id: UUID
    key_id: UUID | None
    scope: str
    browser_session_id: UUID | None = None


def authenticate(request: Request, needed: SecurityScopes, session: Transaction, credentials: Credentials) -> Principal:
    """The caller of an ordinary request, checked in the request's own transaction."""
    return _allowed(request, _principal(request, session, credentials), needed)


def authenticate_for_images(
    request: Request, needed: SecurityScopes, session: Transaction, credentials: Credentials
) -> Principal:
    """The caller of a request for a picture; these have a limit of their own."""
    return _allowed(request, _principal(request, session, credentials), needed, kind="images")


def authenticate_apart(request: Request, needed: SecurityScopes, credentials: Credentials) -> Principal:
    """The caller of a long request, checked in a short transaction: no connection is held while bytes flow."""
    with transaction(services_of(request).sessions) as session:
        principal = _principal(request, session, credentials)
    return _allowed(request, principal, needed)


def require_scope(principal: Principal, scope: Scope) -> None:
    """Raises `ApiError` (403) unless the caller's key may do what needs `scope`."""
    if not allows(principal.scope, scope):
        detail = f"This needs a key of scope '{scope}'; the one sent has '{principal.scope}'."
        challenge = f'Bearer realm="masktune", error="insufficient_scope", scope="{scope}"'
        raise ApiError("insufficient_scope", detail, headers={"WWW-Authenticate": challenge}, scope=scope)


def browser_principal(request: Request, session: Session) -> Principal | None:
    """Who is logged in in this browser, if anybody."""
    token = request.cookies.get(cookies.SESSION)
    opened = browser_sessions.authenticate(session, token) if token else None
    if opened is None:
        return None
    request.scope[CALLER_IN_SCOPE] = {"tenant": str(opened.tenant_id), "browser": str(opened.id)}
    key = session.get(ApiKey, opened.api_key_id) if opened.api_key_id else None
    # Without a key it was opened by an address that the operator made.
    scope = "admin" if key is None else key.scope
    return Principal(tenant_id=opened.tenant_id, key_id=opened.api_key_id, scope=scope, browser_session_id=opened.id)


def require_csrf_token(request: Request, given: str | None) -> None:
    """Raises `ApiError` (403) unless `given` is the token that belongs to the browser's cookie."""
    if not cookies.csrf_matches(request.cookies.get(cookies.SESSION, ""), given):
        detail = f"Send the page's token as '{cookies.CSRF_HEADER}'. If the page is old, load it again."
        raise ApiError("csrf_failed", detail)


def _principal(request: Request, session: Session, credentials: HTTPAuthorizationCredentials | None) -> Principal:
    if credentials is None:
        principal = browser_principal(request, session)
        if principal is None:
            count_stranger(request)
            raise _unauthenticated("Send 'Authorization: Bearer mt_…'.", error=None)
        if request.method not in cookies.SAFE_METHODS:
            require_csrf_token(request, request.headers.get(cookies.CSRF_HEADER))
        return principal
    key = api_keys.authenticate(session, credentials.credentials)
    if key is None:
        count_stranger(request)
        raise _unauthenticated("This API key is unknown, revoked or over.", error="invalid_token")
    # For the request's log line. Context variables would not do: this runs in a thread with a copy of them.
    request.scope[CALLER_IN_SCOPE] = {"tenant": str(key.tenant_id), "key": key.prefix}
    return Principal(tenant_id=key.tenant_id, key_id=key.id, scope=key.scope)


def count_caller(request: Request, principal: Principal, kind: Kind = "key") -> None:
    """Count a request of a key or a browser. Raises `ApiError` (429)."""
    require_allowance(request.scope, services_of(request).rate_limiter, kind, str(caller_id(principal)))


def caller_id(principal: Principal) -> UUID:
    """What requests are counted by: the browser, or else the key."""
    found = principal.browser_session_id or principal.key_id
    assert found is not None
    return found


def _allowed(request: Request, principal: Principal, needed: SecurityScopes, kind: Kind = "key") -> Principal:
    count_caller(request, principal, kind)
    if not needed.scopes:
        raise RuntimeError("an operation declares no scope: give it a Reader, Writer or Admin as its caller")
    for scope in SCOPES:
        if scope in needed.scopes:
            require_scope(principal, scope)
    return principal


def _unauthenticated(detail: str, *, error: str | None) -> ApiError:
    challenge = 'Bearer realm="masktune"' + (f', error="{error}"' if error else "")
    return ApiError("unauthenticated", detail, headers={"WWW-Authenticate": challenge})


Reader = Annotated[Principal, Security(authenticate, scopes=["read"])]
ImageReader = Annotated[Principal, Security(authenticate_for_images, scopes=["read"])]
Writer = Annotated[Principal, Security(authenticate, scopes=["write"])]
Admin = Annotated[Principal, Security(authenticate, scopes=["admin"])]
ReaderApart = Annotated[Principal, Security(authenticate_apart, scopes=["read"])]
WriterApart = Annotated[Principal, Security(authenticate_apart, scopes=["write"])]
