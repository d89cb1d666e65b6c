"""Writes to Postgres in order, by a thread of its own, that outlast an outage of the database."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import structlog
from sqlalchemy.orm import Session, sessionmaker

from persistence.errors import LeaseLost, PersistenceError
from worker.retry import persist

_log = structlog.get_logger(__name__)

_LATEST_SECONDS = 0.5
_BATCH_WRITES = 64
_BATCH_BYTES = 8 * 2**20
_QUEUE_BYTES = 64 * 2**20
_WRITE_BYTES = 1000


@dataclass(frozen=True, slots=True)
class Write:
    """One thing to store. `apply` may be called again after a failed transaction. `size` is roughly the bytes it holds.

    `prepare` runs before the transaction, `cleanup` once after it: files are moved there. `outlast` is given both to
    run, and may run them again. `optional`: if storing fails, that costs a log line instead of the run.
    """

    apply: Callable[[Session], object]
    size: int = _WRITE_BYTES
    prepare: Callable[[], object] | None = None
    cleanup: Callable[[], object] | None = None
    outlast: Callable[[Callable[[], None]], None] | None = None
    optional: bool = False


class Writer:
    """A queue of writes and the thread that commits them, several small ones to a transaction.

    `begin(session, number)` is called first in each transaction, with the number of the transaction from 1: whether it
    is still to be made, or was made before although its answer got lost.

    While the database is away writes wait for it; `put` blocks once 64 MiB wait. When the lease is lost
    `on_lease_lost` is called from the thread. Any other error is kept and raised from the next call.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        on_lease_lost: Callable[[], object],
        begin: Callable[[Session, int], bool] = lambda _session, _number: True,
    ) -> None:
        self._sessions, self._on_lease_lost, self._begin = sessions, on_lease_lost, begin
        self._number = 0
        self._never = threading.Event()
        self._changed = threading.Condition()
        self._writes: deque[Write] = deque()
        self._waiting_bytes = 0
        self._latest: Write | None = None
        self._latest_due = 0.0
        self._busy = False
        self._closing = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait until everything is written, after an error too: what was found up to then is kept."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        if error is None:
            self.check()

    def check(self) -> None:
        """Raise what went wrong so far."""
        if self._failure is not None:
            raise self._failure

    def put(self, write: Write) -> None:
        """Add to the queue, waiting while it is full."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting_bytes < _QUEUE_BYTES or self._failure is not None)
            self.check()
            self._writes.append(write)
            self._waiting_bytes += write.size
            self._changed.notify_all()

    def put_latest(self, apply: Callable[[Session], object]) -> None:
        """Write at most twice a second and only the newest: one that is not yet written is replaced."""
        self.check()
        with self._changed:
            self._latest = Write(apply, size=0)
            self._changed.notify_all()

    def write_now(self, apply: Callable[[Session], object]) -> None:
        """Write before everything that waits. Only for what the writer itself calls, in its thread: `outlast`."""
        self._transact([Write(apply)])

    def flush(self) -> None:
        """Wait until everything put so far is written."""
        with self._changed:
            self._changed.wait_for(lambda: self._failure is not None or not (self._writes or self._busy))
        self.check()

    def _run(self) -> None:
        while batch := self._next():
            try:
                self._commit(batch)
            except LeaseLost as error:
                self._fail(error)
                self._on_lease_lost()
                return
            except Exception as error:  # noqa: BLE001 - raised in the thread that trains, by its next call
                self._fail(error)
                return
            with self._changed:
                self._waiting_bytes -= sum(write.size for write in batch)
                self._busy = False
                self._changed.notify_all()

    def _commit(self, batch: list[Write]) -> None:
        def make() -> None:
            for write in batch:
                if write.prepare is not None:
                    write.prepare()
            self._transact(batch)

        outlast = batch[0].outlast
        try:
            make() if outlast is None else outlast(make)
        except LeaseLost:
            raise
        except (PersistenceError, OSError) as error:
            if not all(write.optional for write in batch):
                raise
            _log.warning("write_skipped", error=str(error))
        for write in batch:
            if write.cleanup is not None:
                write.cleanup()

    def _transact(self, batch: list[Write]) -> None:
        self._number += 1
        persist(self._sessions, lambda session: self._apply(session, batch), give_up=self._never)

    def _apply(self, session: Session, batch: list[Write]) -> None:
        if self._begin(session, self._number):
            for write in batch:
                write.apply(session)

    def _next(self) -> list[Write]:
        """The next writes for one transaction; waits for them; empty when there will be none."""
        with self._changed:
            while True:
                now = time.monotonic()
                if self._writes:
                    batch = self._take()
                elif self._latest is not None and (self._closing or now >= self._latest_due):
                    batch, self._latest = [self._latest], None
                    self._latest_due = now + _LATEST_SECONDS
                elif self._closing:
                    return []
                else:
                    self._changed.wait(None if self._latest is None else self._latest_due - now)
                    continue
                self._busy = True
                return batch

    def _take(self) -> list[Write]:
        batch = [self._writes.popleft()]
        size = batch[0].size
        if batch[0].prepare is not None:  # Alone: it may be skipped without its neighbours.
            return batch
        while (
            self._writes
            and self._writes[0].prepare is None
            and len(batch) < _BATCH_WRITES
            and (size := size + self._writes[0].size) <= _BATCH_BYTES
        ):
            batch.append(self._writes.popleft())
        return batch

    def _fail(self, error: Exception) -> None:
        with self._changed:
            self._failure = error
            self._changed.notify_all()
