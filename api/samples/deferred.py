"""A response whose body is computed in a thread, after the request's transaction is over."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from anyio import CapacityLimiter, to_thread
from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class DeferredResponse(Response):
    """Computes its body before it sends anything, so that an error still becomes a problem response.

    Drawing takes time and memory, so the endpoint must not hold a database connection meanwhile, and `limiter` bounds
    how many are drawn at once.
    """

    def __init__(
        self, compute: Callable[[], bytes], limiter: CapacityLimiter, *, media_type: str, headers: Mapping[str, str]
    ) -> None:
        super().__init__(media_type=media_type, headers=headers)
        self._compute = compute
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.body = await to_thread.run_sync(self._compute, limiter=self._limiter)
        self.headers["Content-Length"] = str(len(self.body))
        await super().__call__(scope, receive, send)
