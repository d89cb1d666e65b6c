"""What data sets and checkpoints share: a check that a worker does once, under a lease, with a few attempts."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from sqlalchemy import func
from sqlalchemy.orm import Session

from persistence import leases, setbacks
from persistence.tables import Checkpoint, Dataset

MAX_ATTEMPTS: Final = 3
Intake = TypeVar("Intake", Dataset, Checkpoint)


def settle(row: Dataset | Checkpoint, status: str, error: Mapping[str, Any] | None = None) -> None:
    """The check has ended; the row belongs to nobody."""
    row.status = status
    row.error = None if error is None else dict(error)
    row.finished_at = func.now()
    leases.drop(row)


def hand_back(
    session: Session,
    table: type[Intake],
    row_id: uuid.UUID,
    token: uuid.UUID,
    error: Mapping[str, Any],
    *,
    counted: bool = True,
) -> str:
    """Let another attempt try, or end as `invalid` when the attempts are used up. Returns the new status.

    With `counted=False` the attempt does not use up a try.
    """
    row = leases.fence(session, table, row_id, token)
    if not counted:
        row.attempt -= 1
    return _retry(session, row, error)


def take_back_expired(session: Session, table: type[Intake], row_id: uuid.UUID) -> str | None:
    """As `hand_back`, for a worker that went silent. None when the lease has not run out after all."""
    row = leases.lock_expired(session, table, row_id)
    if row is None:
        return None
    message = f"the worker {row.worker} went silent during the check"
    return _retry(session, row, {"code": "worker_lost", "message": message, "stage": None, "retryable": True})


def _retry(session: Session, row: Dataset | Checkpoint, error: Mapping[str, Any]) -> str:
    if row.attempt < MAX_ATTEMPTS:
        row.error = dict(error)
        row.dispatched_at = None
        setbacks.put_off(row, str(error.get("code")))
        leases.drop(row)
    else:
        settle(row, "invalid", exhausted(row.attempt, error))
    session.flush()
    return row.status


def exhausted(attempts: int, error: Mapping[str, Any]) -> dict[str, Any]:
    """The error of a row whose attempts are used up: says so, and keeps the last one as `cause`.

    A shortage stays the error itself.
    """
    if error.get("code") in setbacks.SHORTAGES:
        return {**error, "message": f"{error.get('message', '')} (after {attempts} attempts)", "retryable": False}
    return {
        "code": "attempts_exhausted",
        "message": f"gave up after {attempts} attempts; the last one ended with: {error.get('message', '')}",
        "stage": error.get("stage"),
        "retryable": False,
        "cause": dict(error),
    }
