"""The sweeper: puts right what a crash, a lost message or a lost worker left undone. May run anywhere, any time."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from typing import Protocol

import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from persistence import checkpoints, datasets, housekeeping, jobs, rounds, verifications
from persistence.database import transaction
from persistence.dispatch import QUEUE_INTAKE, QUEUE_JOBS, Kind
from persistence.errors import PersistenceError
from persistence.incoming_sweep import sweep_incoming
from persistence.tables import Checkpoint, Dataset, IncomingUpload, Job
from worker.context import Context

_log = structlog.get_logger(__name__)

_STAGING_AGE = timedelta(days=1)
_MISSED_ROUNDS = 3  # so many in a row are no longer a busy worker or a lost message


class _Repository(Protocol):
    def expired(self, session: Session, /) -> Sequence[uuid.UUID]: ...
    def take_back_expired(self, session: Session, row_id: uuid.UUID, /) -> str | None: ...
    def undispatched(self, session: Session, older_than_seconds: float, /) -> Sequence[uuid.UUID]: ...
    def mark_dispatched(self, session: Session, row_id: uuid.UUID, /) -> None: ...


@dataclass(frozen=True, slots=True)
class _Noun:
    kind: Kind
    queue: str
    table: type[Job] | type[Dataset] | type[Checkpoint] | type[IncomingUpload]
    waiting: str
    repository: _Repository


_NOUNS = (
    _Noun("job", QUEUE_JOBS, Job, "queued", jobs),
    _Noun("dataset", QUEUE_INTAKE, Dataset, "validating", datasets),
    _Noun("checkpoint", QUEUE_INTAKE, Checkpoint, "validating", checkpoints),
    _Noun("upload", QUEUE_INTAKE, IncomingUpload, "verifying", verifications),
)


def sweep(context: Context, queue_length: Callable[[str], int]) -> None:
    """What must not wait: leases that ran out, and work that the broker does not know of.

    `queue_length` tells how many messages wait in a queue.
    """
    _step("take_back", partial(_take_back_all, context))
    for noun in _NOUNS:
        _step(f"send_{noun.kind}s", partial(_send, context, noun, queue_length))


def tidy(context: Context) -> None:
    """What may wait some minutes: everything that only takes up room."""
    _step("rows", partial(_forget_rows, context))
    _step("incoming", partial(sweep_incoming, context.sessions, context.store))
    _step("objects", partial(_release_objects, context))
    _step("staging", partial(context.store.sweep_staging, _STAGING_AGE))
    _step("work", context.work.sweep)
    _step("cache", context.cache.sweep)


def collect(context: Context) -> None:
    """What takes a look at every object of the store, and so is made seldom."""

    def found() -> None:
        _log.info("collected", **asdict(housekeeping.collect(context.sessions, context.store, context.settings)))

    _step("collect", found)


def _step(name: str, step: Callable[[], object]) -> None:
    """One step that fails must not keep the others from being made."""
    try:
        step()
    except (PersistenceError, SQLAlchemyError, OSError) as error:
        _log.warning("sweep_step_failed", step=name, error=str(error))


def _take_back_all(context: Context) -> None:
    settings = context.settings
    # Workers renew far more often than twice a lease: who could not for less than half of one still has the rest.
    longest_gap = max(settings.lease_seconds / 2, _MISSED_ROUNDS * settings.sweep_seconds)
    with transaction(context.sessions) as session:
        since = rounds.begin(session, longest_gap=longest_gap)
    if since is not None and since < settings.lease_seconds:
        return  # Leases ran out because nobody could renew them; those who still work do so now.
    for noun in _NOUNS:
        _step(f"take_back_{noun.kind}s", partial(_take_back, context, noun))


def _take_back(context: Context, noun: _Noun) -> None:
    with transaction(context.sessions) as session:
        found = noun.repository.expired(session)
    for row_id in found:
        with transaction(context.sessions) as session:
            status = noun.repository.take_back_expired(session, row_id)
        if status is not None:
            _log.warning("lease_expired", kind=noun.kind, id=str(row_id), status=status)
        if status == noun.waiting:
            _send_one(context, noun, row_id)


def _send(context: Context, noun: _Noun, queue_length: Callable[[str], int]) -> None:
    age = 2 * context.settings.sweep_seconds
    with transaction(context.sessions) as session:
        found = noun.repository.undispatched(session, age)
        never = set(
            session.scalars(select(noun.table.id).where(noun.table.id.in_(found), noun.table.dispatched_at.is_(None)))
        )
    # Work that was sent long ago most often still waits in a long queue; sending it again and again would make that
    # queue longer without end. Only when fewer messages wait than work was sent has the broker lost some.
    if len(never) < len(found) and queue_length(noun.queue) >= _sent(context, noun.queue):
        found = [row_id for row_id in found if row_id in never]
    for row_id in found:
        if not _send_one(context, noun, row_id):
            return
        _log.info("sent_again", kind=noun.kind, id=str(row_id))


def _sent(context: Context, queue: str) -> int:
    with transaction(context.sessions) as session:
        counts = [
            session.scalar(
                select(func.count()).where(
                    noun.table.status == noun.waiting,
                    noun.table.lease_token.is_(None),
                    noun.table.dispatched_at.is_not(None),
                )
            )
            for noun in _NOUNS
            if noun.queue == queue
        ]
    return sum(count or 0 for count in counts)


def _send_one(context: Context, noun: _Noun, row_id: uuid.UUID) -> bool:
    if not context.dispatcher.send(noun.kind, row_id):
        return False
    with transaction(context.sessions) as session:
        noun.repository.mark_dispatched(session, row_id)
    return True


def _forget_rows(context: Context) -> None:
    with transaction(context.sessions) as session:
        housekeeping.forget_rows(session, context.settings)


def _release_objects(context: Context) -> None:
    grace = housekeeping.graces_of(context.settings).unreferenced
    housekeeping.release_objects(context.sessions, context.store, grace)
