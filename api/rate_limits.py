"""How many requests a caller may make: counted in Redis for all processes, by the `limits` library.

A sliding window, so that a burst at the turn of two windows counts as one. While Redis is away everybody is let
through: a limit protects the service, it must not be what stops it.

Three kinds of requests are counted apart: those of a key or browser; among these, pictures, of which a page that is
scrolled fast asks for hundreds a second; and those of an address that show no key and no login.
"""

from __future__ import annotations

import math
import threading
import time
from typing import Final, Literal, NamedTuple

import structlog
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

Kind = Literal["key", "images", "address"]
_WHO: Final[dict[Kind, str]] = {
    "key": "This key may make {requests} requests in {seconds} seconds: wait a little, and ask less often.",
    "images": "This key may ask for {requests} pictures in {seconds} seconds: wait a little, and ask less often.",
    "address": "Without a key or a login, one address may make {requests} requests in {seconds} seconds: "
    "send a valid key, or wait a little.",
}


class Allowance(NamedTuple):
    """A request that was counted: the limit, what is left of it, and whole seconds until there is more."""

    kind: Kind
    requests: int
    window: int
    allowed: bool
    remaining: int
    seconds: int


class RateLimiter:
    """One a process; safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self._items: dict[Kind, RateLimitItem] = {
            kind: RateLimitItemPerSecond(requests, settings.rate_limit_seconds, namespace=kind)
            for kind, requests in _limits(settings).items()
            if requests > 0
        }
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
        self._away = False

    def spend(self, kind: Kind, caller: str) -> Allowance | None:
        """Count a request of `caller`; None when there is no limit, or nobody to ask for it."""
        item = self._items.get(kind)
        if item is None or time.monotonic() < self._asleep_until:
            return None
        try:
            allowed = self._window.hit(item, caller)
            stats = self._window.get_window_stats(item, caller)
        except (RedisError, OSError) as error:
            self._leave_alone(error)
            return None
        self._is_back()
        return Allowance(
            kind=kind,
            requests=item.amount,
            window=item.get_expiry(),
            allowed=allowed,
            remaining=max(0, stats.remaining),
            seconds=max(1, math.ceil(stats.reset_time - time.time())),
        )

    def close(self) -> None:
        """Give the connections back."""
        self._pool.disconnect()

    def _leave_alone(self, error: Exception) -> None:
        with self._lock:
            first, self._away = not self._away, True
            self._asleep_until = time.monotonic() + _PAUSE_SECONDS
        if first:
            log.warning("rate_limits_off", error=type(error).__name__)

    def _is_back(self) -> None:
        if not self._away:
            return
        with self._lock:
            first, self._away = self._away, False
        if first:
            log.info("rate_limits_on")


def _limits(settings: Settings) -> dict[Kind, int]:
    return {
        "key": settings.rate_limit_requests,
        "images": settings.rate_limit_images,
        "address": settings.rate_limit_anonymous,
    }


def require_allowance(scope: Scope, limiter: RateLimiter, kind: Kind, caller: str) -> None:
    """Count the request, and note what is left for its headers. Raises `ApiError` (429)."""
    allowance = limiter.spend(kind, caller)
    if allowance is None:
        return
    scope[_IN_SCOPE] = allowance
    if not allowance.allowed:
        raise ApiError(
            "rate_limited",
            _WHO[kind].format(requests=allowance.requests, seconds=allowance.window),
            headers={"Retry-After": str(allowance.seconds)},
            limit=allowance.requests,
            window_seconds=allowance.window,
        )


def rate_limit_headers(scope: Scope) -> dict[str, str]:
    """`RateLimit` and `RateLimit-Policy` of a counted request (draft-ietf-httpapi-ratelimit-headers-10)."""
    if _IN_SCOPE not in scope:
        return {}
    allowance: Allowance = scope[_IN_SCOPE]
    return {
        "RateLimit-Policy": f'"{allowance.kind}";q={allowance.requests};w={allowance.window}',
        "RateLimit": f'"{allowance.kind}";r={allowance.remaining};t={allowance.seconds}',
    }


def _redis_py_url(celery_url: str) -> str:
    """Celery writes a unix socket's scheme in its own way."""
    return celery_url.replace("redis+socket://", "unix://", 1)
