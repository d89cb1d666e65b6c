"""What wraps every request: its id, one log line, a bound on JSON bodies, and a problem for whatever nobody caught.

Plain ASGI, because a wrapper that rebuilds requests would buffer or slow down gigabyte uploads.
"""

from __future__ import annotations

import time

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ApiError, problem_response
from api.problems import PROBLEMS
from api.request_ids import CALLER_IN_SCOPE, HEADER, assign_request_id

log = structlog.get_logger("api.request")

JSON_BODY_MAX_BYTES = 2**20
_STREAMED = "/v1/uploads/"
_QUIET = {"/healthz", "/readyz"}


class RequestMiddleware:
    """Outermost layer of the application."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
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
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        try:
            bounded = receive if scope["path"].startswith(_STREAMED) else _bounded(receive, JSON_BODY_MAX_BYTES)
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


def _bounded(receive: Receive, limit: int) -> Receive:
    """`receive`, until more than `limit` bytes of body came; then `ApiError` (413)."""
    received = 0

    async def receive_bounded() -> Message:
        nonlocal received
        message = await receive()
        if message["type"] == "http.request":
            received += len(message.get("body", b""))
            if received > limit:
                raise ApiError("content_too_large", f"A JSON body has at most {limit} bytes.", limit=limit)
        return message

    return receive_bounded
