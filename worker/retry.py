"""What is tried again: transactions while Postgres is away or another one won, and work on a store that is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy.orm import Session, sessionmaker

from persistence.database import gave_way, is_unavailable, transaction
from persistence.errors import StoreUnavailable

_log = structlog.get_logger(__name__)

_FIRST_SECONDS = 0.1
_LONGEST_SECONDS = 5.0
_STORE_FIRST_SECONDS = 1.0
_STORE_LONGEST_SECONDS = 30.0
_STORE_PATIENCE_SECONDS = 600.0

T = TypeVar("T")


class StillAway(Exception):
    """The database did not come back in time."""


def persist(
    sessions: sessionmaker[Session],
    work: Callable[[Session], T],
    *,
    give_up: threading.Event,
    first_seconds: float = _FIRST_SECONDS,
) -> T:
    """Run `work` in a transaction of its own, again and again with growing pauses while the database is away.

    It is repeated the same way when the database ended it in favour of another transaction.

    `work` must be safe to repeat: a commit whose answer got lost may have happened. Once `give_up` is set one last try
    is made, then `StillAway` is raised. Other errors pass through at once.
    """
    pause = first_seconds
    while True:
        last = give_up.is_set()
        try:
            with transaction(sessions) as session:
                return work(session)
        except Exception as error:
            if not is_unavailable(error):
                raise
            if last:
                raise StillAway(str(error)) from error
            event = "transaction_gave_way" if gave_way(error) else "database_away"
            _log.warning(event, error=str(error), retry_seconds=pause)
        give_up.wait(pause)
        pause = min(2 * pause, _LONGEST_SECONDS)


def outlast(work: Callable[[], T], *, on_away: Callable[[StoreUnavailable], object], give_up: Callable[[], bool]) -> T:
    """Run `work`, again and again with growing pauses while the object store is away, for ten minutes at most.

    `on_away` is told of every failure before the pause. Once `give_up` says so, or the time is over, the last failure
    is raised; other errors pass through at once.
    """
    end = time.monotonic() + _STORE_PATIENCE_SECONDS
    pause = _STORE_FIRST_SECONDS
    while True:
        try:
            return work()
        except StoreUnavailable as error:
            if give_up() or time.monotonic() >= end:
                raise
            on_away(error)
        again = time.monotonic() + pause
        while (left := again - time.monotonic()) > 0 and not give_up():
            time.sleep(min(left, _FIRST_SECONDS))
        pause = min(2 * pause, _STORE_LONGEST_SECONDS)
