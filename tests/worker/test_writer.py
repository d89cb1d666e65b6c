"""The buffered writer: in order, through outages, fenced."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session, sessionmaker

from persistence import events, jobs
from persistence.database import transaction
from persistence.errors import LeaseLost, StoreUnavailable
from tests.worker.conftest import JobMaker
from tests.worker.driving import event_types, read_job
from worker import writer as writer_module
from worker.writer import Write, Writer


@pytest.fixture
def claimed(sessions: sessionmaker[Session], make_job: JobMaker) -> tuple[uuid.UUID, uuid.UUID]:
    """A running job's id and token."""
    job_id = make_job()
    with transaction(sessions) as session:
        claim = jobs.claim(session, job_id, worker="test", lease_seconds=60.0)
    assert claim is not None
    return job_id, claim.token


def event(claimed: tuple[uuid.UUID, uuid.UUID], number: int) -> Write:
    job_id, token = claimed
    return Write(lambda session: events.append(session, job_id, f"test.{number}", {}, token=token))


def never() -> None:
    raise AssertionError("the lease was not lost")


def test_everything_is_written_in_order(sessions: sessionmaker[Session], claimed: tuple[uuid.UUID, uuid.UUID]) -> None:
    with Writer(sessions, never) as writer:
        for number in range(200):
            writer.put(event(claimed, number))
    assert event_types(sessions, claimed[0])[2:] == [f"test.{number}" for number in range(200)]


def test_what_is_written_before_an_error_is_kept(
    sessions: sessionmaker[Session], claimed: tuple[uuid.UUID, uuid.UUID]
) -> None:
    def write_then_fail() -> None:
        with Writer(sessions, never) as writer:
            writer.put(event(claimed, 1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_then_fail()
    assert event_types(sessions, claimed[0])[-1] == "test.1"


def test_an_outage_loses_and_repeats_nothing(
    sessions: sessionmaker[Session],
    claimed: tuple[uuid.UUID, uuid.UUID],
    break_database: Callable[[float], None],
) -> None:
    with Writer(sessions, never) as writer:
        for number in range(40):
            if number == 10:
                writer.flush()
                break_database(0.7)
            writer.put(event(claimed, number))
    assert event_types(sessions, claimed[0])[2:] == [f"test.{number}" for number in range(40)]


@pytest.mark.parametrize("sqlstate", ["40P01", "40001"])
def test_a_transaction_that_lost_to_another_is_made_again(
    sessions: sessionmaker[Session], claimed: tuple[uuid.UUID, uuid.UUID], sqlstate: str
) -> None:
    job_id, token = claimed
    tries: list[int] = []

    def lose_once(session: Session) -> None:
        tries.append(1)
        events.append(session, job_id, "test.lost", {}, token=token)
        if len(tries) == 1:
            session.execute(text(f"DO $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '{sqlstate}'; END $$"))

    with Writer(sessions, never) as writer:
        writer.put(Write(lose_once))
        writer.put(event(claimed, 1))
    assert event_types(sessions, job_id)[2:] == ["test.lost", "test.1"]
    assert len(tries) == 2


def test_training_waits_when_too_much_waits_to_be_written(
    sessions: sessionmaker[Session], claimed: tuple[uuid.UUID, uuid.UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "_QUEUE_BYTES", 100)
    gate = threading.Event()
    with Writer(sessions, never) as writer:
        writer.put(Write(lambda session: gate.wait(), size=200))
        blocked = threading.Thread(target=writer.put, args=(event(claimed, 1),))
        blocked.start()
        blocked.join(0.2)
        assert blocked.is_alive()
        gate.set()
        blocked.join(5)
        assert not blocked.is_alive()


def test_only_the_latest_progress_is_written_and_not_too_often(
    sessions: sessionmaker[Session], claimed: tuple[uuid.UUID, uuid.UUID]
) -> None:
    job_id, token = claimed
    written: list[int] = []

    def progress(session: Session, step: int) -> None:
        jobs.set_progress(session, job_id, token, {"step": step})
        written.append(step)

    with Writer(sessions, never) as writer:
        for step in range(100):
            writer.put_latest(lambda session, step=step: progress(session, step))  # type: ignore[misc]
            time.sleep(0.01)
    assert len(written) <= 5
    assert written == sorted(written)
    assert read_job(sessions, job_id).progress == {"step": 99}


def test_a_lost_lease_is_reported_at_once_and_nothing_is_written(
    sessions: sessionmaker[Session], claimed: tuple[uuid.UUID, uuid.UUID]
) -> None:
    lost = threading.Event()
    stale = claimed[0], uuid.uuid4()

    def write_with_a_stale_token() -> None:
        with Writer(sessions, lost.set) as writer:
            writer.put(event(stale, 1))
            assert lost.wait(5)
            writer.put(event(claimed, 2))

    with pytest.raises(LeaseLost):
        write_with_a_stale_token()
    assert event_types(sessions, claimed[0]) == ["job.queued", "job.started"]


def test_an_error_that_waiting_does_not_mend_is_raised_in_the_training_thread(
    sessions: sessionmaker[Session],
) -> None:
    writer = Writer(sessions, never)
    with pytest.raises(ProgrammingError), writer:
        _put_and_flush(writer)


def _put_and_flush(writer: Writer) -> None:
    writer.put(Write(lambda session: session.execute(text("SELECT * FROM nowhere"))))
    writer.flush()


def test_an_optional_write_may_fail_and_a_needed_one_may_not(
    sessions: sessionmaker[Session], claimed: tuple[uuid.UUID, uuid.UUID]
) -> None:
    cleaned: list[int] = []

    def fail() -> None:
        raise StoreUnavailable("away")

    with Writer(sessions, never) as writer:
        writer.put(Write(lambda session: None, prepare=fail, cleanup=lambda: cleaned.append(1), optional=True))
        writer.put(event(claimed, 1))
    assert cleaned == [1]
    assert event_types(sessions, claimed[0])[-1] == "test.1"
    with pytest.raises(StoreUnavailable):
        with Writer(sessions, never) as writer:
            writer.put(Write(lambda session: None, prepare=fail))
