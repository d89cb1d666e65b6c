"""The sweeper's rounds: a gap in them tells that the database, or everything, was away for a while.

While it was, nobody could renew a lease. Whatever the reason (a restart, crash recovery, a network that was down, a
standby that took over, a machine that was suspended), no round reached the database then either, and the time of the
last one stands in it.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, case, func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from persistence.tables import Sweeper

_ONLY: Final = 1


def begin(session: Session, *, longest_gap: float) -> float | None:
    """Note that a round begins; returns the seconds since the rounds went on after a gap, None if there was none.

    A gap is a time without rounds of more than `longest_gap` seconds.
    """
    now = func.clock_timestamp()
    gap = _seconds(now - Sweeper.seen_at)
    begun = (
        insert(Sweeper)
        .values(id=_ONLY, seen_at=now)
        .on_conflict_do_update(
            index_elements=[Sweeper.id],
            set_={"seen_at": now, "resumed_at": case((gap > longest_gap, now), else_=Sweeper.resumed_at)},
        )
        .returning(_seconds(now - Sweeper.resumed_at))
    )
    since = session.scalar(begun)
    return None if since is None else float(since)


def _seconds(interval: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.extract("epoch", interval)
