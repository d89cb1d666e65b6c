"""Reads of jobs' logs, made for all streams together: who wants the same at the same time shares one read.

The streams of one job stand at the same event nearly always, so an event costs one read, however many follow the job.
"""

from __future__ import annotations

import asyncio
from typing import Final
from uuid import UUID

from anyio import CapacityLimiter, to_thread
from sqlalchemy.orm import Session, sessionmaker

from api.events.schemas import EventRead
from persistence import events
from persistence.database import transaction

_AT_ONCE: Final = 4
"""Connections and threads that streams take; requests leave so many free."""

Key = tuple[UUID, int, int]
Found = tuple[list[EventRead], int]


class Reads:
    """Made in a running event loop, and used only from there."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._threads = CapacityLimiter(_AT_ONCE)
        self._coming: dict[Key, asyncio.Task[Found]] = {}
        self._under_way: dict[Key, asyncio.Task[Found]] = {}

    async def after(self, job_id: UUID, number: int, limit: int) -> Found:
        """At most `limit` events after `number`, and the number of the last one there is, as of now or later.

        A read that has begun is not joined: it may miss what made the caller look. Raises `SQLAlchemyError`.
        """
        key = (job_id, number, limit)
        coming = self._coming.get(key)
        if coming is None:
            coming = self._coming[key] = asyncio.create_task(self._read(key, self._under_way.get(key)))
            coming.add_done_callback(_retrieved)
        return await asyncio.shield(coming)

    async def _read(self, key: Key, before: asyncio.Task[Found] | None) -> Found:
        if before is not None:
            await asyncio.wait([before])
        async with self._turns:
            task = self._under_way[key] = self._coming.pop(key)
            try:
                return await to_thread.run_sync(self._page, *key, limiter=self._threads)
            finally:
                if self._under_way[key] is task:
                    del self._under_way[key]

    def _page(self, job_id: UUID, number: int, limit: int) -> Found:
        with transaction(self._sessions) as session:
            found = [EventRead.model_validate(row) for row in events.page(session, job_id, number, limit).rows]
            return found, events.last(session, job_id)


def _retrieved(task: asyncio.Task[Found]) -> None:
    """Look at the error of a read whose streams have all gone meanwhile, so that nobody complains of it."""
    if not task.cancelled():
        task.exception()
