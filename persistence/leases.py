"""Leases: at most one attempt at a time works on a row, and one that lost its lease changes nothing any more.

A claim sets a fresh random token, the fencing token (Kleppmann, "How to do distributed locking", 2016). Every write of
that attempt first locks the row while it still carries the token. Moments are the database's, never a worker's clock.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, and_, func, literal_column, or_, select, update
from sqlalchemy.orm import Session

from persistence.errors import LeaseLost
from persistence.setbacks import may_be_tried
from persistence.tables import Checkpoint, Dataset, IncomingUpload, Job
from persistence.transitions import ACTIVE

Leasable = TypeVar("Leasable", Job, Dataset, Checkpoint, IncomingUpload)
AnyLeasable = Job | Dataset | Checkpoint | IncomingUpload

_KINDS: dict[type[AnyLeasable], str] = {
    Job: "job",
    Dataset: "dataset",
    Checkpoint: "checkpoint",
    IncomingUpload: "upload",
}
_WAITING: dict[type[AnyLeasable], frozenset[str]] = {
    Job: frozenset({"queued"}),
    Dataset: frozenset({"validating"}),
    Checkpoint: frozenset({"validating"}),
    IncomingUpload: frozenset({"verifying"}),
}
_WORKED_ON: dict[type[AnyLeasable], frozenset[str]] = {**_WAITING, Job: ACTIVE}


def claim(
    session: Session,
    table: type[Leasable],
    row_id: uuid.UUID,
    *,
    worker: str,
    lease_seconds: float,
    **values: Any,
) -> Leasable | None:
    """Take the lease of a waiting row that nobody holds, in one conditional update; None when there is none to take.

    `values` are further columns to set. The row carries the new `lease_token` and counts the attempt.
    """
    return session.scalars(
        update(table)
        .where(table.id == row_id, status_in(table, _WAITING[table]), table.lease_token.is_(None))
        .values(
            lease_token=func.gen_random_uuid(),
            lease_expires_at=_after(lease_seconds),
            attempt=table.attempt + 1,
            worker=worker,
            **values,
        )
        .returning(table),
        execution_options={"populate_existing": True},
    ).one_or_none()


def renew(session: Session, table: type[Leasable], row_id: uuid.UUID, token: uuid.UUID, lease_seconds: float) -> str:
    """Extend the lease and return the row's status. Raises `LeaseLost`."""
    status = session.execute(
        update(table)
        .where(_held(table, row_id, token))
        .values(lease_expires_at=_after(lease_seconds))
        .returning(table.status),
        execution_options={"synchronize_session": False},
    ).scalar_one_or_none()
    if status is None:
        raise LeaseLost(_KINDS[table], row_id)
    return status


def fence(session: Session, table: type[Leasable], row_id: uuid.UUID, token: uuid.UUID) -> Leasable:
    """Lock the row for this transaction if `token` is still its token, and return it. Raises `LeaseLost`.

    The lock keeps the lease from being taken back before the transaction ends, and leaves inserts that refer to the
    row alone.
    """
    row = session.scalars(
        select(table).where(_held(table, row_id, token)).with_for_update(key_share=True),
        execution_options={"populate_existing": True},
    ).one_or_none()
    if row is None:
        raise LeaseLost(_KINDS[table], row_id)
    return row


def lock_expired(session: Session, table: type[Leasable], row_id: uuid.UUID) -> Leasable | None:
    """Lock and return the row if its lease has run out; None when it has not, or somebody else is at it."""
    return session.scalars(
        select(table).where(table.id == row_id, _expired(table)).with_for_update(key_share=True, skip_locked=True),
        execution_options={"populate_existing": True},
    ).one_or_none()


def expired(session: Session, table: type[Leasable], limit: int = 1000) -> Sequence[uuid.UUID]:
    """Rows whose lease has run out, longest first."""
    return session.scalars(select(table.id).where(_expired(table)).order_by(table.lease_expires_at).limit(limit)).all()


def undispatched(
    session: Session, table: type[Leasable], older_than_seconds: float, limit: int = 1000
) -> Sequence[uuid.UUID]:
    """Waiting rows that were not sent, or were sent so long ago that the broker may have lost them; oldest first."""
    moment = func.clock_timestamp() - timedelta(seconds=older_than_seconds)
    return session.scalars(
        select(table.id)
        .where(
            status_in(table, _WAITING[table]),
            table.lease_token.is_(None),
            may_be_tried(table),
            or_(table.dispatched_at.is_(None) & (table.created_at < moment), table.dispatched_at < moment),
        )
        .order_by(table.created_at)
        .limit(limit)
    ).all()


def mark_dispatched(session: Session, table: type[Leasable], row_id: uuid.UUID) -> None:
    """Note that the row was handed to the broker just now."""
    session.execute(
        update(table).where(table.id == row_id).values(dispatched_at=func.clock_timestamp()),
        execution_options={"synchronize_session": False},
    )


def drop(row: AnyLeasable) -> None:
    """The row belongs to nobody."""
    row.lease_token = None
    row.lease_expires_at = None


def _after(seconds: float) -> ColumnElement[Any]:
    return func.clock_timestamp() + timedelta(seconds=seconds)


def _held(table: type[AnyLeasable], row_id: uuid.UUID, token: uuid.UUID) -> ColumnElement[bool]:
    return and_(table.id == row_id, table.lease_token == token, status_in(table, _WORKED_ON[table]))


def _expired(table: type[AnyLeasable]) -> ColumnElement[bool]:
    return and_(status_in(table, _WORKED_ON[table]), table.lease_expires_at < func.clock_timestamp())


def status_in(table: type[AnyLeasable], statuses: frozenset[str]) -> ColumnElement[bool]:
    """Whether a row has one of these statuses, in a form that partial indexes serve."""
    # Written out, not bound: a plan made before the values are known cannot use a partial index.
    return table.status.in_([literal_column(f"'{status}'") for status in sorted(statuses)])
