"""How many requests a caller may make: counted in Redis for all processes, by the `limits` library.

A sliding window, so that a burst at the turn of two windows counts as one. While Redis is away everybody is let
through: a limit protects the service, it must not be what stops it.
"""

from __future__ import annotations

import math
import threading
import time
from typing import Final, NamedTuple

import structlog
from fastapi import Request
from limits import RateLimitItem, RateLimitItemPerSecond
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis import ConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from starlette.types import Scope

from api.errors import ApiError
from persistence.settings import Settings

log = structlog.get_logger(__name__)

_REDIS_SECONDS: Final = 0.25
_PAUSE_SECONDS: Final = 5.0
"""How long Redis is left alone after it failed, so that an outage does not slow every request down."""
_IN_SCOPE: Final = "masktune.rate_limit"


class Allowance(NamedTuple):
    """What is left of a window: requests, and whole seconds until there are more."""

    allowed: bool
    remaining: int
    seconds: int


class RateLimiter:
    """One a process; safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self.requests = settings.rate_limit_requests
        self.seconds = settings.rate_limit_seconds
        self._item: RateLimitItem = RateLimitItemPerSecond(max(self.requests, 1), self.seconds)
        # Nothing is sent before the first request.
        url = _redis_py_url(settings.redis_url.get_secret_value())
        self._pool = ConnectionPool.from_url(
            url,
            socket_timeout=_REDIS_SECONDS,
            socket_connect_timeout=_REDIS_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        storage = RedisStorage(url, connection_pool=self._pool, key_prefix="masktune:limits")
        self._window = SlidingWindowCounterRateLimiter(storage)
        self._lock = threading.Lock()
        self._asleep_until = 0.0

    def spend(self, caller: str) -> Allowance | None:
        """Count a request of `caller`; None when there is no limit, or nobody to ask for it."""
        if self.requests == 0 or time.monotonic() < self._asleep_until:
            return None
        try:
            allowed = self._window.hit(self._item, caller)
            stats = self._window.get_window_stats(self._item, caller)
        except (RedisError, OSError) as error:
            self._leave_alone(error)
            return None
        return Allowance(allowed, max(0, stats.remaining), max(1, math.ceil(stats.reset_time - time.time())))

    def close(self) -> None:
        """Give the connections back."""
        self._pool.disconnect()

    def _leave_alone(self, error: Exception) -> None:
        with self._lock:
            first = time.monotonic() >= self._asleep_until
            self._asleep_until = time.monotonic() + _PAUSE_SECONDS
        if first:
            log.warning("rate_limits_off", error=type(error).__name__, seconds=_PAUSE_SECONDS)


def require_allowance(request: Request, limiter: RateLimiter, caller: str) -> None:
    """Count the request, and note what is left for its headers. Raises `ApiError` (429)."""
    allowance = limiter.spend(caller)
    if allowance is None:
        return
    request.scope[_IN_SCOPE] = (limiter, allowance)
    if not allowance.allowed:
        detail = f"This key may make {limiter.requests} requests in {limiter.seconds} seconds."
        raise ApiError(
            "rate_limited",
            detail,
            headers={"Retry-After": str(allowance.seconds)},
            limit=limiter.requests,
            window_seconds=limiter.seconds,
        )


def rate_limit_headers(scope: Scope) -> dict[str, str]:
    """`RateLimit` and `RateLimit-Policy` of a counted request (draft-ietf-httpapi-ratelimit-headers-10)."""
    if _IN_SCOPE not in scope:
        return {}
    limiter: RateLimiter
    allowance: Allowance
    limiter, allowance = scope[_IN_SCOPE]
    return {
        "RateLimit-Policy": f'"key";q={limiter.requests};w={limiter.seconds}',
        "RateLimit": f'"key";r={allowance.remaining};t={allowance.seconds}',
    }


def _redis_py_url(celery_url: str) -> str:
    """Celery writes a unix socket's scheme in its own way."""
    return celery_url.replace("redis+socket://", "unix://", 1)
