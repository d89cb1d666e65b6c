"""Whose data set, checkpoint or upload is checked next: tenants take turns, so that none fills every slot.

The tenant with the fewest checks under way is served first, and never has more of them than it may; among equals the
oldest upload is next.
"""

from __future__ import annotations

import uuid
from typing import Final, Literal

from sqlalchemy import Select, func, literal, or_, select, union_all
from sqlalchemy.orm import Session

from persistence import leases, setbacks
from persistence.tables import Checkpoint, Dataset, IncomingUpload

_CLAIMS: Final = 0x6D61736C  # a number of our own among the database's advisory locks
UNLIMITED: Final = 0
Kind = Literal["dataset", "checkpoint", "upload"]
Row = Dataset | Checkpoint | IncomingUpload
_WAITING: Final[tuple[tuple[Kind, type[Row], str], ...]] = (
    ("dataset", Dataset, "validating"),
    ("checkpoint", Checkpoint, "validating"),
    ("upload", IncomingUpload, "verifying"),
)


def claim_next(session: Session, *, quota: int, worker: str, lease_seconds: float) -> Row | None:
    """Take the lease of the row whose turn it is; None when none may be checked now.

    `quota` is how many checks of one tenant may run at the same time; 0: any number. As in `turns.claim_next`, claims
    follow one another.
    """
    session.execute(select(func.pg_advisory_xact_lock(_CLAIMS)))
    while (found := next_up(session, quota=quota)) is not None:
        kind, row_id = found
        row: Row | None
        match kind:
            case "dataset":
                row = leases.claim(session, Dataset, row_id, worker=worker, lease_seconds=lease_seconds)
            case "checkpoint":
                row = leases.claim(session, Checkpoint, row_id, worker=worker, lease_seconds=lease_seconds)
            case "upload":
                row = leases.claim(session, IncomingUpload, row_id, worker=worker, lease_seconds=lease_seconds)
        if row is not None:
            return row
    return None


def next_up(session: Session, *, quota: int) -> tuple[Kind, uuid.UUID] | None:
    """(what it is, id) of the row whose turn it is, if any may be checked now."""
    row = session.execute(_turns(quota).limit(1)).one_or_none()
    return None if row is None else (row.kind, row.id)


def _turns(quota: int) -> Select[Kind, uuid.UUID]:
    rows = union_all(
        *(
            select(
                literal(kind).label("kind"),
                table.id.label("id"),
                table.tenant_id.label("tenant_id"),
                table.created_at.label("created_at"),
                table.lease_token.label("lease_token"),
                table.not_before.label("not_before"),
            ).where(leases.status_in(table, frozenset({status})))
            for kind, table, status in _WAITING
        )
    ).cte("waiting")
    under_way = (
        select(rows.c.tenant_id, func.count().label("checks"))
        .where(rows.c.lease_token.is_not(None))
        .group_by(rows.c.tenant_id)
        .subquery()
    )
    count = func.coalesce(under_way.c.checks, 0)
    return (
        select(rows.c.kind, rows.c.id)
        .outerjoin(under_way, under_way.c.tenant_id == rows.c.tenant_id)
        .where(
            rows.c.lease_token.is_(None),
            setbacks.may_be_tried(rows.c),
            or_(literal(quota) == UNLIMITED, count < quota),
        )
        .order_by(count, rows.c.created_at, rows.c.id)
    )
