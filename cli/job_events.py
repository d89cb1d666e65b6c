"""A job's events as they happen: server-sent events, taken up again after a lost connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import httpx
from httpx_sse import connect_sse

from cli.client import Client
from cli.errors import ConnectionFailed, Problem

FINAL: Final = frozenset({"job.succeeded", "job.failed", "job.cancelled"})
_SILENCE_SECONDS = 60.0
_ATTEMPTS_WITHOUT_NEWS = 8


@dataclass(frozen=True, slots=True)
class JobEvent:
    """`seq` numbers the logged events from 1; a progress snapshot has none."""

    seq: int | None
    type: str
    data: dict[str, Any]


def watch(
    client: Client,
    job_id: str,
    *,
    after: int = 0,
    check: Callable[[], None] = lambda: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[JobEvent]:
    """Yield the job's events from number `after` + 1 on, each once, and end with its final one.

    A failure or cancellation after which the job was resumed is not its end: the service keeps the stream open then.

    `check` is called for every event and before every connection; what it raises ends the watch. Raises
    `ConnectionFailed` when the service stays away.
    """
    quiet, ended = 0, False
    while not ended:
        check()
        try:
            for event in _connection(client, job_id, after):
                check()
                if event.seq is not None:
                    if event.seq <= after:
                        continue
                    after = event.seq
                quiet = 0
                if event.seq is not None:
                    ended = event.type in FINAL
                yield event
                if event.type == "job.succeeded":
                    return
        except (httpx.TransportError, Problem) as error:
            if ended:
                return
            if isinstance(error, Problem) and error.status < 500:
                raise
            if quiet >= _ATTEMPTS_WITHOUT_NEWS:
                raise ConnectionFailed(f"the event stream of job {job_id} at {client.url} broke: {error}") from error
        quiet += 1
        if quiet > 1:
            sleep(min(5.0, 0.25 * 2**quiet))


def _connection(client: Client, job_id: str, after: int) -> Iterator[JobEvent]:
    headers = {"Last-Event-ID": str(after)} if after else {}
    timeout = httpx.Timeout(_SILENCE_SECONDS, connect=10.0)
    with connect_sse(client.http, "GET", f"/v1/jobs/{job_id}/events", headers=headers, timeout=timeout) as source:
        client.require_success(source.response)
        for message in source.iter_sse():
            if not message.data:
                continue
            # An id stays set for later messages without one of their own, so progress is told by its type.
            seq = int(message.id) if message.id.isdigit() and message.event != "progress" else None
            yield JobEvent(seq, message.event, message.json())
