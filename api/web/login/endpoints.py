"""Logging in with an API key or a one-click address, and logging out."""

from __future__ import annotations

import secrets
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Query, Request
from starlette.responses import RedirectResponse, Response

from api import cookies
from api.auth import browser_principal
from api.errors import ApiError
from api.services import services_of
from api.strangers import address_of
from api.transactions import Transaction
from api.web.templates import render
from api.web.visitors import LONGEST_NEXT, Visited
from api.web.visitors import Form as PageForm
from persistence import api_keys, browser_sessions, login_attempts, login_links
from persistence.database import transaction

router = APIRouter(include_in_schema=False)

_USED_UP = (
    "This address was used before, or is older than 15 minutes. Each one logs in one browser, once. "
    "Make another with `masktune keys login-link`, or log in with an API key."
)
_REFUSED = "This key is unknown or was revoked. An API key begins with mt_."

Next = Annotated[str, Query(max_length=LONGEST_NEXT)]
Text = Annotated[str, Form(max_length=2000)]


@router.get("/login")
def login_page(request: Request, session: Transaction, next: Next = "/") -> Response:  # noqa: A002 - the query's name
    """The form, or straight on for somebody who is logged in already."""
    if browser_principal(request, session) is not None:
        return RedirectResponse(local(next), status_code=303)
    return _form(request, onward=next)


@router.post("/login")
def log_in(
    request: Request,
    session: Transaction,
    api_key: Text = "",
    next: Text = "/",  # noqa: A002 - the field's name
    csrf_token: Text = "",
) -> Response:
    """Log in with an API key. Refused without the form's own token: a foreign page must not log anybody in."""
    if not cookies.csrf_matches(request.cookies.get(cookies.BEFORE_LOGIN, ""), csrf_token):
        return _form(request, onward=next, error="This page was too old. Try once more.", status=403)
    _throttle(request)
    key = api_keys.authenticate(session, api_key.strip())
    if key is None:
        return _form(request, onward=next, error=_REFUSED, status=401)
    return _logged_in(request, session, key.tenant_id, key.id, onward=next)


@router.get("/login/link")
def log_in_by_link(
    request: Request,
    session: Transaction,
    token: Annotated[str, Query(max_length=200)] = "",
    next: Next = "/",  # noqa: A002 - the query's name
) -> Response:
    """Log in with an address that `python -m api.admin login-link` made."""
    _throttle(request)
    tenant_id = login_links.use(session, token)
    if tenant_id is not None:
        return _logged_in(request, session, tenant_id, None, onward=next)
    if browser_principal(request, session) is not None:
        return RedirectResponse(local(next), status_code=303)
    return _form(request, onward=next, error=_USED_UP, status=401)


@router.post("/logout")
def log_out(request: Request, session: Transaction, visitor: Visited, form: PageForm) -> Response:
    """End this browser's session, or with `everywhere` all of the tenant's."""
    if form.get("everywhere"):
        browser_sessions.end_all(session, visitor.tenant_id)
    else:
        browser_sessions.end(session, visitor.browser_session_id)
    response = RedirectResponse("/login", status_code=303)
    cookies.drop(response, request, cookies.SESSION)
    return response


def local(wanted: str) -> str:
    """`wanted` if it is a path of this service, else the start page: nobody may be led away from here."""
    plain = wanted.isprintable() and wanted.startswith("/") and not wanted.startswith("//") and "\\" not in wanted
    return wanted if plain else "/"


def _throttle(request: Request) -> None:
    """Counted in a transaction of its own, since refusing a login may roll back the request's."""
    client = address_of(request.scope)
    with transaction(services_of(request).sessions) as session:
        allowed = login_attempts.note(session, client)
    if not allowed:
        seconds = int(login_attempts.WINDOW.total_seconds())
        detail = f"At most {login_attempts.MOST} tries a minute from one address. Wait a minute, then try again."
        raise ApiError("too_many_logins", detail, headers={"Retry-After": str(seconds)})


def _logged_in(
    request: Request, session: Transaction, tenant_id: UUID, key_id: UUID | None, *, onward: str
) -> Response:
    _, token = browser_sessions.create(session, tenant_id, key_id)
    login_attempts.forget(session, address_of(request.scope))
    response = RedirectResponse(local(onward), status_code=303, headers={"Cache-Control": "no-store"})
    cookies.put(response, request, cookies.SESSION, token, seconds=int(browser_sessions.LIFETIME.total_seconds()))
    cookies.drop(response, request, cookies.BEFORE_LOGIN)
    return response


def _form(request: Request, *, onward: str, error: str = "", status: int = 200) -> Response:
    before = request.cookies.get(cookies.BEFORE_LOGIN) or secrets.token_urlsafe(32)
    response = render(
        request,
        "login/page.html",
        status=status,
        csrf=cookies.csrf_token(before),
        onward=local(onward),
        error=error,
    )
    cookies.put(response, request, cookies.BEFORE_LOGIN, before)
    return response
