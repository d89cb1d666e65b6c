"""The log of a job is numbered without gaps and announces itself when it is committed."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from sqlalchemy import make_url
from sqlalchemy.orm import Session, sessionmaker

from persistence import events, jobs
from persistence.database import transaction
from persistence.errors import NotFound
from tests.fixtures.records import claim_job, make_job


def test_numbers_have_no_gaps_under_concurrency_and_rollbacks(sessions: sessionmaker[Session]) -> None:
    with transaction(sessions) as session:
        job_id = make_job(session).id
    barrier = threading.Barrier(6)

    def append(worker: int) -> None:
        barrier.wait()
        for number in range(10):
            session = sessions()
            events.append(session, job_id, "job.epoch", {"worker": worker, "number": number})
            if number % 3 == 2:
                session.rollback()
            else:
                session.commit()
            session.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(append, range(6)))
    with transaction(sessions) as session:
        log = events.page(session, job_id, limit=1000).rows
        assert [event.seq for event in log] == list(range(1, 44))  # job.queued, and 7 of every 10
        for worker in range(6):
            numbers = [event.data["number"] for event in log if event.data.get("worker") == worker]
            assert numbers == [0, 1, 3, 4, 6, 7, 9]


def test_pages_go_on_after_a_number(session: Session) -> None:
    job = make_job(session)
    for number in range(5):
        events.append(session, job.id, "job.epoch", {"epoch": number})
    page = events.page(session, job.id, after=0, limit=4)
    assert ([event.seq for event in page.rows], page.has_more, page.next) == ([1, 2, 3, 4], True, 4)
    page = events.page(session, job.id, after=4, limit=4)
    assert ([event.seq for event in page.rows], page.has_more, page.next) == ([5, 6], False, None)
    assert events.page(session, job.id, after=6).rows == []


def test_an_event_carries_its_attempt(session: Session) -> None:
    job = make_job(session)
    claim_job(session, job.id)
    assert [(event.type, event.attempt) for event in events.page(session, job.id).rows] == [
        ("job.queued", 0),
        ("job.started", 1),
    ]


def test_there_is_no_event_without_a_job(session: Session) -> None:
    with pytest.raises(NotFound):
        events.append(session, uuid.uuid4(), "job.epoch", {})


def test_listeners_hear_of_a_job_when_the_change_is_committed(
    database_url: str, sessions: sessionmaker[Session]
) -> None:
    url = make_url(database_url)
    with psycopg.connect(
        host=str(url.query["host"]), user=url.username, dbname=url.database, autocommit=True
    ) as listener:
        listener.execute(f"LISTEN {events.CHANNEL}")
        with transaction(sessions) as session:
            job = make_job(session)
            assert list(listener.notifies(timeout=0.1)) == []
        heard = list(listener.notifies(timeout=5.0, stop_after=1))
        assert [notification.payload for notification in heard] == [str(job.id)]
        with transaction(sessions) as session:
            jobs.request_cancel(session, job.tenant_id, job.id)
        heard = list(listener.notifies(timeout=5.0, stop_after=1))
        assert [notification.payload for notification in heard] == [str(job.id)]

        session = sessions()
        events.append(session, job.id, "job.epoch", {})
        session.rollback()
        session.close()
        assert list(listener.notifies(timeout=0.1)) == []
