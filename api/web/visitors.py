"""Who looks at a page; nobody is sent to the login."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import quote, urlsplit
from uuid import UUID

from fastapi import Depends, Request
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from api import cookies
from api.auth import Principal, browser_principal, count_caller, require_csrf_token, require_scope
from api.strangers import count_stranger
from api.transactions import Transaction
from persistence.scopes import allows
from persistence.tables import Tenant

LONGEST_NEXT: Final = 2000
"""Characters of the address that somebody comes back to after the login."""
_IN_SCOPE: Final = "masktune.visitor"


class LoginNeeded(Exception):
    """Nobody is logged in here, or not any more."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who is logged in, what they may do, and the token for their forms."""

    principal: Principal
    tenant_name: str
    browser_session_id: UUID
    csrf_token: str

    @property
    def tenant_id(self) -> UUID:
        """Whose things the visitor sees."""
        return self.principal.tenant_id

    @property
    def may_change(self) -> bool:
        """Whether the key that logged the visitor in lets them do more than look."""
        return allows(self.principal.scope, "write")


def require_visitor(request: Request, session: Transaction) -> Visitor:
    """The visitor. Raises `LoginNeeded`."""
    principal = browser_principal(request, session)
    if principal is None or principal.browser_session_id is None:
        count_stranger(request)
        raise LoginNeeded
    count_caller(request, principal)
    visitor = Visitor(
        principal=principal,
        tenant_name=session.get_one(Tenant, principal.tenant_id).name,
        browser_session_id=principal.browser_session_id,
        csrf_token=cookies.csrf_token(request.cookies[cookies.SESSION]),
    )
    request.scope[_IN_SCOPE] = visitor
    return visitor


def visitor_in(request: Request) -> Visitor | None:
    """The visitor that `require_visitor` found for this request."""
    visitor: Visitor | None = request.scope.get(_IN_SCOPE)
    return visitor


async def read_form(request: Request) -> FormData:
    """The fields of a form whose token is right, in a field or, from htmx, in a header. Raises `ApiError` (403)."""
    form = await request.form(max_files=0, max_fields=500)
    field = form.get(cookies.CSRF_FIELD)
    require_csrf_token(request, request.headers.get(cookies.CSRF_HEADER) or (field if isinstance(field, str) else None))
    return form


def to_login(request: Request) -> Response:
    """Have the browser log in and come back."""
    if request.headers.get("HX-Request"):
        # htmx would put the login form into a corner of the page; this takes the whole window there, and back again.
        target = _login(_page_of(request))
        return Response(status_code=401, headers={"HX-Redirect": target, "Cache-Control": "no-store"})
    target = _login(_local(request.url.path, request.url.query) if request.method == "GET" else "/")
    return RedirectResponse(target, status_code=303, headers={"Cache-Control": "no-store"})


def _login(wanted: str) -> str:
    return "/login" if wanted == "/" else f"/login?next={quote(wanted, safe='')}"


def _local(path: str, query: str) -> str:
    return f"{path}?{query}" if query else path


def _page_of(request: Request) -> str:
    """The page that htmx asked from, if it is one of this service that the login takes, else the start page."""
    try:
        page = urlsplit(request.headers.get("HX-Current-URL", ""))
    except ValueError:
        return "/"
    wanted = _local(page.path, page.query)
    ours = page.netloc == request.url.netloc and wanted.startswith("/") and not wanted.startswith("//")
    return wanted if ours and len(wanted) <= LONGEST_NEXT else "/"


Visited = Annotated[Visitor, Depends(require_visitor)]
Form = Annotated[FormData, Depends(read_form)]


def require_changing_visitor(request: Request, session: Transaction, _form: Form) -> Visitor:
    """A visitor who sent a form of ours and may change things. Raises `LoginNeeded`, `ApiError` (403)."""
    visitor = require_visitor(request, session)
    require_scope(visitor.principal, "write")
    return visitor


Changing = Annotated[Visitor, Depends(require_changing_visitor)]
