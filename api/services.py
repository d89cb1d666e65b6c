"""What one API process holds: database, object store, broker and the event hub."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Literal, Self
from uuid import UUID

import structlog
from anyio import CapacityLimiter
from fastapi import Request
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from api.events.hub import EventHub
from api.health.reachable import Reachable
from api.rate_limits import RateLimiter
from persistence import checkpoints, datasets, jobs, verifications
from persistence.database import make_engine, session_factory, transaction
from persistence.dispatch import Dispatcher
from persistence.settings import Settings
from persistence.store import ObjectStore, store_of

log = structlog.get_logger(__name__)

_AT_ONCE = 24  # transactions of requests; the pool has 30 connections, and event streams and probes need some
_FETCHES = 32  # calls to the object store; if it hangs, they all do, and nothing else
_STATEMENT_SECONDS = 60.0  # deleting a job with a million samples takes some
_ANSWER_SECONDS = 65.0

TaskKind = Literal["job", "dataset", "checkpoint", "upload"]
_MARK = {
    "job": jobs.mark_dispatched,
    "dataset": datasets.mark_dispatched,
    "checkpoint": checkpoints.mark_dispatched,
    "upload": verifications.mark_dispatched,
}


@dataclass(frozen=True, slots=True)
class Services:
    """Made once per process; everything in it is safe to use from several threads.

    `drawing` and `fetching` bound the threads that draw, and those that wait for the object store. Endpoints have
    threads and connections of their own, which a store that does not answer must never take.
    """

    settings: Settings
    engine: Engine
    sessions: sessionmaker[Session]
    store: ObjectStore
    dispatcher: Dispatcher
    hub: EventHub
    drawing: CapacityLimiter
    fetching: CapacityLimiter
    rate_limiter: RateLimiter
    reachable: Reachable
    admission: asyncio.Semaphore

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Connects lazily: a database or broker that is away shows when a request needs it."""
        url = settings.database_url.get_secret_value()
        engine = make_engine(url, statement_seconds=_STATEMENT_SECONDS, answer_seconds=_ANSWER_SECONDS)
        sessions = session_factory(engine)
        store, dispatcher = store_of(settings), Dispatcher(settings)
        return cls(
            settings=settings,
            engine=engine,
            sessions=sessions,
            store=store,
            dispatcher=dispatcher,
            hub=EventHub(url, sessions, settings.event_streams_per_key),
            drawing=CapacityLimiter(os.cpu_count() or 1),
            fetching=CapacityLimiter(_FETCHES),
            rate_limiter=RateLimiter(settings),
            reachable=Reachable(sessions, store, dispatcher),
            admission=asyncio.Semaphore(_AT_ONCE),
        )

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()
        self.rate_limiter.close()

    def dispatch(self, kind: TaskKind, row_id: UUID) -> None:
        """Send the task of a committed row. While the broker is away the row stays undispatched, for the sweeper.

        The row is already committed, so nothing here may fail the request.
        """
        if not self.dispatcher.send(kind, row_id):
            log.warning("dispatch_postponed", kind=kind, row=str(row_id))
            return
        try:
            with transaction(self.sessions) as session:
                _MARK[kind](session, row_id)
        except SQLAlchemyError as error:
            # Then the sweeper sends it once more, and the claim makes the second delivery a no-op.
            log.warning("dispatch_not_recorded", kind=kind, row=str(row_id), error=type(error).__name__)


def services_of(request: Request) -> Services:
    """The process's services."""
    services: Services = request.app.state.services
    return services
