"""Waiting for Postgres: short transactions that are tried again while the database is away."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy.orm import Session, sessionmaker

from persistence.database import is_unavailable, transaction

_log = structlog.get_logger(__name__)

_FIRST_SECONDS = 0.1
_LONGEST_SECONDS = 5.0

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
            _log.warning("database_away", error=str(error), retry_seconds=pause)
        give_up.wait(pause)
        pause = min(2 * pause, _LONGEST_SECONDS)
