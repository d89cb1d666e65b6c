"""Sends a stored object: whole or a range, resumable, and never in memory."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from typing import Any
from urllib.parse import quote

from anyio import CapacityLimiter, to_thread
from fastapi import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from api.errors import ApiError
from api.etags import is_unchanged, may_continue, not_modified, quoted
from api.ranges import requested_range
from api.services import services_of

CACHE_CONTROL = "private, no-cache"
_HEADERS = {
    "ETag": {"description": "SHA-256 of the whole file, quoted.", "schema": {"type": "string"}},
    "Accept-Ranges": {"description": "bytes", "schema": {"type": "string"}},
    "Repr-Digest": {"description": "SHA-256 of the whole file (RFC 9530).", "schema": {"type": "string"}},
}
# application/vnd.safetensors, application/json, or application/octet-stream.
_BINARY = {"application/*": {"schema": {"type": "string", "format": "binary"}}}
DOWNLOAD_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The whole file.", "headers": _HEADERS, "content": _BINARY},
    206: {"description": "The part that `Range` asked for.", "headers": _HEADERS, "content": _BINARY},
    304: {"description": "The client has it already (`If-None-Match`)."},
}


class FetchedResponse(StreamingResponse):
    """Streams an object that is opened once the request's transaction is over, and before anything is sent.

    An error in opening it still becomes a problem response.
    """

    def __init__(
        self,
        opened: Callable[[], Iterator[bytes]],
        limiter: CapacityLimiter,
        *,
        status_code: int,
        headers: Mapping[str, str],
        media_type: str,
    ) -> None:
        super().__init__((), status_code=status_code, headers=headers, media_type=media_type)
        self._opened, self._limiter = opened, limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pieces = await to_thread.run_sync(self._opened, limiter=self._limiter)
        self.body_iterator = self._each(pieces)
        await super().__call__(scope, receive, send)

    async def _each(self, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
        while (piece := await to_thread.run_sync(next, pieces, None, limiter=self._limiter)) is not None:
            yield piece


def download(request: Request, *, sha256: str, size: int, filename: str, media_type: str) -> Response:
    """The answer to GET or HEAD for an object. Its entity tag is its SHA-256, so a client can check what it got.

    The store is asked only when the answer is sent.
    """
    etag = quoted(sha256)
    caching = {"Cache-Control": CACHE_CONTROL}
    if is_unchanged(request.headers.get("if-none-match"), etag):
        return not_modified(etag, caching)
    headers = {
        **caching,
        "ETag": etag,
        "Accept-Ranges": "bytes",
        # RFC 9530: the hash of the whole file, also beside a part of it.
        "Repr-Digest": f"sha-256=:{base64.b64encode(bytes.fromhex(sha256)).decode()}:",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(filename, safe='')}",
    }
    part = None
    if request.method == "GET" and may_continue(request.headers.get("if-range"), etag):
        try:
            part = requested_range(request.headers.get("range"), size)
        except ApiError as error:
            error.headers = {**(error.headers or {}), "ETag": etag}
            raise
    start, stop = part or (0, size)
    headers["Content-Length"] = str(stop - start)
    if part is not None:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    status = 206 if part is not None else 200
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    services = services_of(request)
    opened = partial(services.store.iter_range, sha256, start, stop)
    return FetchedResponse(opened, services.fetching, status_code=status, headers=headers, media_type=media_type)
