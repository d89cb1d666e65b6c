"""A job's log as server-sent events (HTML standard, section 9.2)."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from api.events.hub import EventHub, progress_of
from persistence.event_types import LAST_TYPES

log = structlog.get_logger(__name__)

MEDIA_TYPE = "text/event-stream"
KEEPALIVE_SECONDS = 15.0
RECONNECT_MILLISECONDS = 2000
_BATCH = 500


async def stream(hub: EventHub, job_id: UUID, after: int, caller: UUID) -> AsyncIterator[bytes]:
    """Events after number `after`, then each as it comes, with progress between; ends after the job's last event.

    It ends as well when the job is deleted, when the caller's key is revoked or over, or its browser logged out.

    Numbered events carry `id:`, so that a client that lost the connection says where it was in `Last-Event-ID`. A
    progress snapshot has none: it replaces the one before, and nothing is missed by missing it.
    """
    yield f"retry: {RECONNECT_MILLISECONDS}\n\n".encode()
    shown: dict[str, Any] | None = None
    sent_at = time.monotonic()
    if not hub.admits(caller):  # Others that were answered at the same moment began before.
        return
    with hub.watch(job_id, caller) as watch:
        while not hub.closing and not watch.gone:
            try:
                batch, last = await hub.reads.after(job_id, after, _BATCH)
            except SQLAlchemyError as error:
                # The client comes back with the last id that it saw.
                log.warning("event_stream_broken", job=str(job_id), error=type(error).__name__)
                return
            for event in batch:
                yield _frame(json.dumps(event.data), event=event.type, number=event.seq)
                after = event.seq
                if event.type in LAST_TYPES and event.seq == last:
                    return
            if len(batch) == _BATCH:
                continue
            progress = progress_of(watch)
            if progress is not None and progress != shown:
                shown = progress
                yield _frame(json.dumps(progress), event="progress")
                sent_at = time.monotonic()
            elif batch:
                sent_at = time.monotonic()
            left = sent_at + KEEPALIVE_SECONDS - time.monotonic()
            if left <= 0 or not await watch.wait(left):
                yield b": still here\n\n"
                sent_at = time.monotonic()


def _frame(data: str, *, event: str, number: int | None = None) -> bytes:
    """One message; JSON has no line breaks, so that `data` is one line."""
    named = f"id: {number}\n" if number is not None else ""
    return f"{named}event: {event}\ndata: {data}\n\n".encode()
