"""Event streams cost little however many there are, and end with the right to see them."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack

import httpx
import pytest
from sqlalchemy.orm import Session, sessionmaker

from api import cookies
from api.events import reads
from api.events.reads import Found, Reads
from persistence import api_keys, browser_sessions
from persistence.database import transaction
from persistence.settings import Settings
from tests.api.conftest import serving
from tests.api.seeds import Seeds
from tests.api.test_errors import problem
from tests.api.test_events import STREAM, following, wait_until


def test_a_key_has_so_many_streams_and_no_more(
    settings: Settings, key: str, make_key: Callable[..., str], seeds: Seeds
) -> None:
    job_id = seeds.job()
    path = f"/v1/jobs/{job_id}/events"
    few = settings.model_copy(update={"event_streams_per_key": 2})
    with serving(few) as (url, server), httpx.Client(base_url=url, timeout=20) as client:
        hub = server.config.app.state.services.hub  # type: ignore[union-attr]  # an application, not its name
        client.headers["Authorization"] = f"Bearer {key}"
        with following(client, job_id) as one:
            next(one), next(one)
            with following(client, job_id) as two:
                next(two), next(two)
                refused = client.get(path, headers=STREAM)
                problem(refused, 429, "too_many_streams")
                assert int(refused.headers["retry-after"]) > 0
                assert client.get(path).status_code == 200, "a page of the log is no stream"
                with following(client, job_id, Authorization=f"Bearer {make_key('acme')}") as three:
                    next(three), next(three)
            wait_until(lambda: hub.streams == 1)
            with following(client, job_id) as again:
                next(again), next(again)


def test_a_stream_ends_when_its_key_is_revoked(live: httpx.Client, seeds: Seeds, key: str) -> None:
    with following(live, seeds.job()) as events:
        next(events), next(events)
        with transaction(seeds.sessions) as session:
            authenticated = api_keys.authenticate(session, key)
            assert authenticated is not None
            api_keys.revoke(session, authenticated.id)
        started = time.monotonic()
        assert list(events) == []
        assert time.monotonic() - started < 5


def test_a_stream_ends_when_its_browser_is_logged_out_and_not_before(live: httpx.Client, seeds: Seeds) -> None:
    with transaction(seeds.sessions) as session:
        opened, token = browser_sessions.create(session, seeds.tenant_id)
    del live.headers["Authorization"]
    live.cookies.set(cookies.SESSION, token)
    job_id = seeds.job()
    with following(live, job_id) as events:
        next(events), next(events)
        time.sleep(1.2)  # it has been looked at
        seeds.event(job_id, "job.warning", {"code": "odd", "message": "still told"})
        assert next(events)["data"]["message"] == "still told"
        with transaction(seeds.sessions) as session:
            browser_sessions.end(session, opened.id)
        assert list(events) == []


def test_an_event_is_read_once_for_all_streams_of_a_job(
    live: httpx.Client, seeds: Seeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[uuid.UUID, int]] = []
    page = Reads._page

    def counted(self: Reads, job_id: uuid.UUID, number: int, limit: int) -> Found:
        read.append((job_id, number))
        return page(self, job_id, number, limit)

    job_id = seeds.job()
    with ExitStack() as stack:
        followers = [stack.enter_context(following(live, job_id)) for _ in range(8)]
        for events in followers:
            next(events), next(events)
        time.sleep(1.2)  # the look at the new streams is over
        monkeypatch.setattr(Reads, "_page", counted)
        seeds.event(job_id, "job.warning", {"code": "odd", "message": ""})
        for events in followers:
            assert next(events)["event"] == "job.warning"
    told = [number for _, number in read if number == 1]
    assert 1 <= len(told) <= 3, "a few at most: the first, and one for those who came while it was made"


class Slow(Reads):
    """Reads that take as long as one wants, and find what is there when they begin."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        super().__init__(sessions)
        self.last, self.made = 0, 0
        self.begun, self.go_on = threading.Semaphore(0), threading.Semaphore(0)

    def _page(self, job_id: uuid.UUID, number: int, limit: int) -> Found:
        seen, self.made = self.last, self.made + 1
        self.begun.release()
        assert self.go_on.acquire(timeout=10)
        return [], seen


def test_who_comes_while_a_read_is_under_way_gets_the_next_one(sessions: sessionmaker[Session]) -> None:
    job_id = uuid.uuid4()

    async def run() -> tuple[int, list[int], int]:
        slow = Slow(sessions)
        first = asyncio.create_task(slow.after(job_id, 0, 10))
        await asyncio.to_thread(slow.begun.acquire)
        slow.last = 1
        late = [asyncio.create_task(slow.after(job_id, 0, 10)) for _ in range(5)]
        await asyncio.sleep(0.05)
        slow.go_on.release(2)
        return (await first)[1], [(await each)[1] for each in late], slow.made

    assert asyncio.run(run()) == (0, [1] * 5, 2)


def test_streams_take_only_so_many_connections(
    sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "_AT_ONCE", 2)

    async def run() -> int:
        slow = Slow(sessions)
        tasks = [asyncio.create_task(slow.after(uuid.uuid4(), 0, 10)) for _ in range(6)]
        await asyncio.sleep(0.1)
        at_once = slow.made
        slow.go_on.release(6)
        await asyncio.gather(*tasks)
        return at_once

    assert asyncio.run(run()) == 2
