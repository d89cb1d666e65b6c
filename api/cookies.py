"""The cookie of a browser that is logged in, and the token that its unsafe requests must repeat.

The token is derived from the cookie's secret, so nothing more is stored: another site can make a browser send the
cookie, but can neither read it nor know the token (signed double submit, OWASP CSRF cheat sheet).
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

SESSION: Final = "masktune_session"
BEFORE_LOGIN: Final = "masktune_login"
"""Of a browser that looks at the login form: it makes the form's own token possible."""
CSRF_HEADER: Final = "X-CSRF-Token"
CSRF_FIELD: Final = "csrf_token"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def csrf_token(secret: str) -> str:
    """The token that belongs to a cookie's secret."""
    return hmac.new(secret.encode(), b"masktune csrf token", hashlib.sha256).hexdigest()


def csrf_matches(secret: str, given: str | None) -> bool:
    """Whether `given` is the token of this cookie; compared in constant time."""
    return given is not None and hmac.compare_digest(csrf_token(secret).encode(), given.encode())


def put(response: Response, request: Request, name: str, secret: str, *, seconds: int | None = None) -> None:
    """Set the cookie; scripts never see it, other sites' forms never send it, and over https it stays there."""
    response.set_cookie(
        name, secret, max_age=seconds, path="/", httponly=True, samesite="lax", secure=request.url.scheme == "https"
    )


def drop(response: Response, request: Request, name: str) -> None:
    """Have the browser forget the cookie."""
    response.delete_cookie(name, path="/", httponly=True, samesite="lax", secure=request.url.scheme == "https")
