"""Sweeps what lies on the API's own machine, where no worker may see it: leftovers of requests, unfinished uploads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import structlog
from anyio import to_thread
from sqlalchemy.exc import SQLAlchemyError

from api.services import Services
from persistence.errors import PersistenceError
from persistence.incoming_sweep import alone, sweep_incoming

log = structlog.get_logger(__name__)

EVERY_SECONDS = 300.0
STAGING_AGE = timedelta(days=1)


@asynccontextmanager
async def tidying(services: Services) -> AsyncIterator[None]:
    """Sweep every five minutes while the context is open."""
    task = asyncio.create_task(_repeat(services))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _repeat(services: Services) -> None:
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        await to_thread.run_sync(tidy, services, limiter=services.fetching, abandon_on_cancel=True)


def tidy(services: Services) -> None:
    """Sweep now, unless another process of this machine does."""
    try:
        with alone(services.settings.home / "spool") as allowed:
            if allowed:
                sweep_incoming(services.sessions, services.store)
                services.store.sweep_staging(STAGING_AGE)
    except (PersistenceError, SQLAlchemyError, OSError) as error:
        log.warning("not_tidied", error=str(error))
