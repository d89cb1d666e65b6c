"""A response whose body is computed in a thread, after the request's transaction is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from anyio import CapacityLimiter, to_thread
from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class DeferredResponse(Response):
    """Computes its body before it sends anything, so that an error still becomes a problem response.

    Drawing takes time and memory, and an object store may keep one waiting, so the endpoint must not hold a database
    connection meanwhile, and `limiter` bounds how many do this at once. `media_type` may depend on the body.
    """

    def __init__(
        self,
        compute: Callable[[], bytes],
        limiter: CapacityLimiter,
        *,
        media_type: str | Callable[[bytes], str],
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(media_type=media_type if isinstance(media_type, str) else None, headers=headers)
        self._compute = compute
        self._limiter = limiter
        self._media_type_of = None if isinstance(media_type, str) else media_type

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.body = await to_thread.run_sync(self._compute, limiter=self._limiter)
        self.headers["Content-Length"] = str(len(self.body))
        if self._media_type_of is not None:
            self.headers["Content-Type"] = self._media_type_of(self.body)
        await super().__call__(scope, receive, send)
