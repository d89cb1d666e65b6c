"""Throttling of logins: so many tries a window from one client address, counted in Postgres for all processes."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sqlalchemy import case, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from persistence.tables import LoginAttempts

MOST: Final = 10
WINDOW: Final = timedelta(minutes=1)


def note(session: Session, client: str) -> bool:
    """Count a try of `client`, before it is looked at; False when there were too many within `WINDOW`.

    To be committed whatever comes of the try. Forgets clients of windows that are over on the way.
    """
    over = LoginAttempts.started_at <= func.now() - WINDOW
    count = session.scalars(
        insert(LoginAttempts)
        .values(client=client, started_at=func.now(), count=1)
        .on_conflict_do_update(
            index_elements=[LoginAttempts.client],
            set_={
                "count": case((over, 1), else_=LoginAttempts.count + 1),
                "started_at": case((over, func.now()), else_=LoginAttempts.started_at),
            },
        )
        .returning(LoginAttempts.count)
    ).one()
    # Skipping what others hold: two that clear away each other's rows would wait for each other.
    old = select(LoginAttempts.client).where(LoginAttempts.started_at <= func.now() - WINDOW)
    session.execute(
        delete(LoginAttempts).where(LoginAttempts.client.in_(old.with_for_update(skip_locked=True))),
        execution_options={"synchronize_session": False},
    )
    return count <= MOST


def forget(session: Session, client: str) -> None:
    """Start anew for a client that got in."""
    session.execute(
        delete(LoginAttempts).where(LoginAttempts.client == client), execution_options={"synchronize_session": False}
    )
