"""What the process can reach, looked at once a second at most, however often and by whomever it is asked.

Probes need no key and are not counted, so asking must cost nothing: who comes while somebody looks gets what was found
before.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from api.health.schemas import State
from persistence.database import transaction
from persistence.dispatch import Dispatcher
from persistence.errors import StoreError
from persistence.store import ObjectStore

log = structlog.get_logger(__name__)

FRESH_SECONDS: Final = 1.0
STALE_SECONDS: Final = 10.0
"""What has not answered for so long does not answer."""
_FIRST_SECONDS: Final = 15.0
# Any hash will do: the store only has to answer.
_PROBE: Final = "0" * 64


class Reachable:
    """One a process; safe to share between threads."""

    def __init__(self, sessions: sessionmaker[Session], store: ObjectStore, dispatcher: Dispatcher) -> None:
        self._checks: dict[str, Callable[[], bool]] = {
            "database": lambda: _database_answers(sessions),
            "store": lambda: _store_answers(store),
            "broker": dispatcher.ping,
        }
        self._found: dict[str, tuple[bool, float]] = {}
        self._looked_at = float("-inf")
        self._looking = threading.Lock()

    def look(self) -> dict[str, State]:
        """The state of database, store and broker."""
        if self._is_old() and self._looking.acquire(timeout=_FIRST_SECONDS if self._looked_at < 0 else 0.0):
            try:
                if self._is_old():
                    self._look()
            finally:
                self._looking.release()
        now = time.monotonic()
        return {name: "ok" if self._answered(name, now) else "unavailable" for name in self._checks}

    def _is_old(self) -> bool:
        return time.monotonic() - self._looked_at >= FRESH_SECONDS

    def _look(self) -> None:
        for name, check in self._checks.items():
            self._found[name] = (check(), time.monotonic())
        self._looked_at = time.monotonic()

    def _answered(self, name: str, now: float) -> bool:
        answered, at = self._found.get(name, (False, now))
        return answered and now - at < STALE_SECONDS


def _database_answers(sessions: sessionmaker[Session]) -> bool:
    try:
        with transaction(sessions) as session:
            session.execute(text("SELECT 1 FROM jobs LIMIT 1"))
    except SQLAlchemyError as error:
        log.warning("database_unavailable", error=type(error).__name__)
        return False
    return True


def _store_answers(store: ObjectStore) -> bool:
    try:
        store.exists(_PROBE)
    except (StoreError, OSError) as error:
        log.warning("store_unavailable", error=type(error).__name__)
        return False
    return True
