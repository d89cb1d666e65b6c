"""One request = one transaction, committed before the response is sent; tasks leave only after the commit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from api.services import TaskKind, services_of
from persistence.database import transaction
from persistence.settings import Settings

_OUTBOX = "masktune.outbox"
_SETTINGS = "masktune.settings"


async def admitted(request: Request) -> AsyncIterator[None]:
    """Wait for a turn before a connection is taken.

    A request takes a thread for each of its steps and keeps its connection between them. Without this, a burst of
    requests would fill all threads with waiters for a connection, and those who have one would find no thread to go on.
    """
    async with services_of(request).admission:
        yield


def open_transaction(request: Request, _: Annotated[None, Depends(admitted, scope="function")]) -> Iterator[Session]:
    """Commits when the endpoint returned, rolls back when it raised."""
    services = services_of(request)
    with transaction(services.sessions) as session:
        outbox: list[tuple[TaskKind, UUID]] = []
        session.info[_OUTBOX], session.info[_SETTINGS] = outbox, services.settings
        yield session
    for kind, row_id in outbox:
        services.dispatch(kind, row_id)


# With the default scope the commit would come after the response, and a failing one would still answer 200.
Transaction = Annotated[Session, Depends(open_transaction, scope="function")]


def settings_of(session: Session) -> Settings:
    """The settings of the process that a request's transaction belongs to."""
    settings: Settings = session.info[_SETTINGS]
    return settings


def dispatch_after_commit(session: Session, kind: TaskKind, row_id: UUID) -> None:
    """Have the task of this row sent once the request's transaction is committed; never when it rolls back."""
    session.info[_OUTBOX].append((kind, row_id))
