"""Wakes the event streams of this process: one Postgres LISTEN connection, fanned out by job.

A notification only says "look again"; what a stream sends it reads from the log. So a lost one costs a moment, and no
event. Because of that, and because progress is not notified, all watched jobs are also looked at once a second, in one
query for the whole process; and so are the keys and browsers that the streams were opened with.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
import structlog
from anyio import to_thread
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from api.events.reads import Reads
from persistence import api_keys, browser_sessions
from persistence.database import CLIENT_OPTIONS, transaction
from persistence.events import CHANNEL
from persistence.snapshots import Snapshot, read_snapshots

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
_RECONNECT_SECONDS = (0.5, 1.0, 2.0, 5.0)


class Watch:
    """What one stream waits on. Belongs to the event loop. `gone`: the job, or the caller's right to see it."""

    def __init__(self, job_id: UUID, caller: UUID) -> None:
        self.job_id, self.caller = job_id, caller
        self.snapshot: Snapshot | None = None
        self.gone = False
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Have the stream look again."""
        self._wake.set()

    async def wait(self, seconds: float) -> bool:
        """True when there may be something new, False after `seconds` without."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True


class EventHub:
    """Started and stopped with the process; `close` ends all streams.

    `per_caller` is how many streams one key or browser may have open at a time.
    """

    def __init__(self, database_url: str, sessions: sessionmaker[Session], per_caller: int) -> None:
        self._conninfo = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._sessions = sessions
        self._per_caller = per_caller
        self._callers: Counter[UUID] = Counter()
        self._watches: dict[UUID, set[Watch]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.closing = False
        self.reads = Reads(sessions)

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return sum(len(watches) for watches in self._watches.values())

    def admits(self, caller: UUID) -> bool:
        """Whether this key or browser may open one more stream."""
        return self._callers[caller] < self._per_caller

    def start(self) -> None:
        """Begin to listen; needs a running event loop."""
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._look())]

    async def stop(self) -> None:
        """Close, and wait until the connection is given back."""
        self.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def close(self) -> None:
        """End every stream, at its next step; new ones end at once."""
        self.closing = True
        self._wake_all()

    @contextmanager
    def watch(self, job_id: UUID, caller: UUID) -> Iterator[Watch]:
        """Register a stream of this key or browser for as long as the block lasts."""
        watch = Watch(job_id, caller)
        self._watches.setdefault(job_id, set()).add(watch)
        self._callers[caller] += 1
        try:
            yield watch
        finally:
            self._callers[caller] -= 1
            if not self._callers[caller]:
                del self._callers[caller]
            watches = self._watches[job_id]
            watches.discard(watch)
            if not watches:
                del self._watches[job_id]

    def _wake_all(self) -> None:
        for watches in self._watches.values():
            for watch in watches:
                watch.wake()

    async def _listen(self) -> None:
        failures = 0
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._conninfo, autocommit=True, application_name="masktune-events", **CLIENT_OPTIONS
                ) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}")
                    failures = 0
                    self._wake_all()  # whatever was notified while nobody listened
                    async for notification in connection.notifies():
                        self._notified(notification.payload)
            except (psycopg.Error, OSError) as error:
                seconds = _RECONNECT_SECONDS[min(failures, len(_RECONNECT_SECONDS) - 1)]
                failures += 1
                log.warning("event_listener_lost", error=type(error).__name__, retry_in_seconds=seconds)
                await asyncio.sleep(seconds)

    def _notified(self, payload: str) -> None:
        try:
            job_id = UUID(payload)
        except ValueError:
            log.warning("event_notification_unreadable", payload=payload[:100])
            return
        for watch in self._watches.get(job_id, ()):
            watch.wake()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if not self._watches:
                continue
            watched, asked = list(self._watches), set(self._callers)
            try:
                snapshots, callers = await to_thread.run_sync(self._look_at, watched, asked)
            except SQLAlchemyError as error:
                log.warning("event_look_failed", error=type(error).__name__)
                continue
            for job_id in watched:
                for watch in self._watches.get(job_id, ()):
                    # One that came meanwhile was looked at when it came.
                    shut_out = watch.caller in asked and watch.caller not in callers
                    _update(watch, None if shut_out else snapshots.get(job_id))

    def _look_at(self, job_ids: list[UUID], callers: set[UUID]) -> tuple[dict[UUID, Snapshot], set[UUID]]:
        """The jobs that still exist, and the keys and browsers that may still see them."""
        with transaction(self._sessions) as session:
            allowed = api_keys.active_among(session, callers) | browser_sessions.open_among(session, callers)
            return read_snapshots(session, job_ids), allowed


def _update(watch: Watch, snapshot: Snapshot | None) -> None:
    if snapshot is None:
        watch.gone = True
    if snapshot is None or snapshot != watch.snapshot:
        watch.snapshot = snapshot
        watch.wake()


def progress_of(watch: Watch) -> dict[str, Any] | None:
    """The latest progress that the hub saw of the watched job."""
    return watch.snapshot.progress if watch.snapshot else None
