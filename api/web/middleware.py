"""What sets pages apart from the API: a strict content security policy, and errors as pages.

Wraps everything, so that the pages have one place for it and the API's error handling stays the only one: a problem
document that would answer a browser's page request is shown as a page with the same status.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import MEDIA_TYPE
from api.web.templates import render

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
"""No inline script or style, and nothing from another origin (Content Security Policy level 3)."""
_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_NO_PAGES: Final = ("/v1", "/docs", "/openapi.json", "/healthz", "/readyz", "/static/")


def is_page_request(scope: Scope) -> bool:
    """Whether a person opens an address in a browser, rather than a program or a script of a page."""
    headers = Headers(scope=scope)
    return (
        not any(scope["path"] == place or scope["path"].startswith(f"{place.rstrip('/')}/") for place in _NO_PAGES)
        and "text/html" in headers.get("accept", "")
        and "hx-request" not in headers
    )


class PageMiddleware:
    """Outside of everything else, so that it also sees the problem of an error that nobody caught."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/docs"):
            await self.app(scope, receive, send)
            return
        problem: Message | None = None
        body = b""

        async def send_page(message: Message) -> None:
            nonlocal problem, body
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith("text/html"):
                    headers.update(_HEADERS)
                elif headers.get("content-type") == MEDIA_TYPE and is_page_request(scope):
                    problem = message
                    return
            elif problem is not None:
                body += message.get("body", b"")
                if not message.get("more_body"):
                    await _error_page(scope, receive, send, problem, json.loads(body))
                return
            await send(message)

        await self.app(scope, receive, send_page)


async def _error_page(scope: Scope, receive: Receive, send: Send, start: Message, problem: Mapping[str, Any]) -> None:
    response = render(Request(scope), "layout/error.html", status=start["status"], problem=problem)
    for name, value in Headers(scope=start).items():
        if name not in ("content-type", "content-length"):
            response.headers[name] = value
    response.headers.update(_HEADERS)
    await response(scope, receive, send)
