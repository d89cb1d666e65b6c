"""What wraps every request: its id, one log line, bounds on JSON bodies, and a problem for whatever nobody caught.

Plain ASGI, because a wrapper that rebuilds requests would buffer or slow down gigabyte uploads.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import HANG_UP, ApiError, problem_response
from api.problems import PROBLEMS
from api.rate_limits import rate_limit_headers
from api.request_ids import CALLER_IN_SCOPE, HEADER, assign_request_id
from api.security_headers import security_headers

log = structlog.get_logger("api.request")

JSON_BODY_MAX_BYTES: Final = 2**20
JSON_BODY_SECONDS: Final = 60.0
_UPLOADS: Final = "/v1/uploads"
_QUIET: Final = {"/healthz", "/readyz"}


class RequestMiddleware:
    """Outermost layer of the application."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["path"].startswith(_UPLOADS):
            _override_method(scope)
        request_id = assign_request_id(scope)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started = time.perf_counter()
        status = 0

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[HEADER] = request_id
                for name, value in (security_headers(scope) | rate_limit_headers(scope)).items():
                    headers.setdefault(name, value)
                if _header(scope, b"tus-resumable"):
                    headers["Tus-Resumable"] = "1.0.0"  # also on a problem, says the protocol
            await send(message)

        try:
            bounded = receive if _is_streamed(scope) else _bounded(receive, JSON_BODY_MAX_BYTES)
            await self.app(scope, bounded, send_named)
        except ClientDisconnect:
            status = status or 499
        except Exception as error:
            log.exception("unhandled_error", error=type(error).__name__)
            if status:
                raise
            problem = problem_response(Request(scope), "internal_error", PROBLEMS["internal_error"].example)
            await problem(scope, receive, send_named)
        finally:
            level = log.debug if scope["path"] in _QUIET else log.info
            milliseconds = round((time.perf_counter() - started) * 1000, 1)
            caller = scope.get(CALLER_IN_SCOPE, {})
            level("request", method=scope["method"], path=scope["path"], status=status, ms=milliseconds, **caller)


def _is_streamed(scope: Scope) -> bool:
    """Whether the body is a file's bytes, which the endpoint bounds and never holds in memory.

    By the address alone, never by what the request says of itself: every other body is read whole before anybody has
    looked at the key.
    """
    path, method = scope["path"], scope["method"]
    if path == _UPLOADS:
        return bool(method == "POST")
    name = path.removeprefix(f"{_UPLOADS}/")
    return method in ("PUT", "PATCH") and name != path and "/" not in name


def _override_method(scope: Scope) -> None:
    """tus: a client that can send no PATCH or DELETE sends POST and `X-HTTP-Method-Override`."""
    wanted = _header(scope, b"x-http-method-override").decode("latin-1").upper()
    if scope["method"] == "POST" and wanted in ("PATCH", "DELETE", "HEAD"):
        scope["method"] = wanted


def _header(scope: Scope, name: bytes) -> bytes:
    value: bytes = next((value for key, value in scope["headers"] if key == name), b"")
    return value


def _bounded(receive: Receive, limit: int) -> Receive:
    """`receive`, with a bound on the body: `ApiError` 413 beyond `limit` bytes, 408 when it takes too long.

    The time counts from the first look to the last byte, however the bytes come: a body is read before the key is
    looked at, and nobody may hold a connection for ever.
    """
    received = 0
    deadline: float | None = None
    whole = False

    async def receive_bounded() -> Message:
        nonlocal received, deadline, whole
        if whole:
            return await receive()  # Waits for the client to go away, as long as that takes.
        deadline = deadline or time.monotonic() + JSON_BODY_SECONDS
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                message = await receive()
        except TimeoutError:
            detail = f"A JSON body has to come within {JSON_BODY_SECONDS:.0f} seconds."
            raise ApiError("request_timeout", detail, headers=HANG_UP) from None
        if message["type"] == "http.request":
            whole = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > limit:
                raise ApiError("content_too_large", f"A JSON body has at most {limit} bytes.", limit=limit)
        return message

    return receive_bounded
