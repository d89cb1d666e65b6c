"""What the sweeper puts right."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session, sessionmaker

from persistence import datasets, jobs, resume_points
from persistence.database import transaction
from persistence.dispatch import QUEUE_INTAKE, QUEUE_JOBS, Dispatcher
from persistence.settings import Settings
from persistence.store import ObjectStore
from persistence.tables import Dataset, Job, ResumePoint, StoredObject, Sweeper, Upload
from tests.worker.conftest import JobMaker
from tests.worker.driving import read_events, read_job
from worker.context import Context
from worker.sweeper import sweep, tidy

LONG_AGO = func.now() - timedelta(hours=2)


class Broker(Dispatcher):
    """Notes what is sent; `up` False: Redis is away. Its queues forget what `lose` says."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.up = True
        self.sent: list[tuple[str, uuid.UUID]] = []
        self.queues = {QUEUE_JOBS: 0, QUEUE_INTAKE: 0}

    def send(self, kind: str, ident: uuid.UUID) -> bool:
        if self.up:
            self.sent.append((kind, ident))
            self.queues[QUEUE_JOBS if kind == "job" else QUEUE_INTAKE] += 1
        return self.up

    def length(self, queue: str) -> int:
        return self.queues[queue]


@pytest.fixture
def broker(settings: Settings) -> Broker:
    return Broker(settings)


@pytest.fixture
def swept(context: Context, broker: Broker) -> Callable[[], None]:
    return lambda: sweep(replace(context, dispatcher=broker), broker.length)


def age(sessions: sessionmaker[Session], job_id: uuid.UUID, **values: object) -> None:
    with transaction(sessions) as session:
        session.execute(update(Job).where(Job.id == job_id).values(created_at=LONG_AGO, **values))


def test_a_job_that_was_never_sent_is_sent_once(
    sessions: sessionmaker[Session], make_job: JobMaker, broker: Broker, swept: Callable[[], None]
) -> None:
    job_id = make_job()
    swept()
    assert broker.sent == [], "whoever committed it is about to send it"
    age(sessions, job_id)
    swept()
    swept()
    assert broker.sent == [("job", job_id)]


def test_while_redis_is_away_jobs_wait_for_it(
    sessions: sessionmaker[Session], make_job: JobMaker, broker: Broker, swept: Callable[[], None]
) -> None:
    job_id = make_job()
    age(sessions, job_id)
    broker.up = False
    swept()
    broker.up = True
    swept()
    assert broker.sent == [("job", job_id)]


def test_a_long_queue_is_not_made_longer(
    sessions: sessionmaker[Session], make_job: JobMaker, broker: Broker, swept: Callable[[], None]
) -> None:
    for job_id in (make_job(), make_job()):
        age(sessions, job_id, dispatched_at=LONG_AGO)
    broker.queues[QUEUE_JOBS] = 2
    swept()
    assert broker.sent == []


def test_what_the_broker_lost_is_sent_again(
    sessions: sessionmaker[Session], make_job: JobMaker, broker: Broker, swept: Callable[[], None]
) -> None:
    ids = {make_job(), make_job()}
    for job_id in ids:
        age(sessions, job_id, dispatched_at=LONG_AGO)
    broker.queues[QUEUE_JOBS] = 1
    swept()
    assert {job_id for _, job_id in broker.sent} == ids


def test_a_job_of_a_lost_worker_is_taken_back_and_sent(
    sessions: sessionmaker[Session], make_job: JobMaker, broker: Broker, swept: Callable[[], None]
) -> None:
    job_id = make_job()
    with transaction(sessions) as session:
        jobs.claim(session, job_id, worker="lost", lease_seconds=60)
    swept()
    assert read_job(sessions, job_id).status == "running"
    age(sessions, job_id, lease_expires_at=LONG_AGO)
    swept()
    assert read_job(sessions, job_id).status == "queued"
    assert broker.sent == [("job", job_id)]
    assert read_events(sessions, job_id)[-1].data["error"]["code"] == "worker_lost"


def test_a_cancellation_that_its_worker_never_saw_is_completed(
    sessions: sessionmaker[Session], make_job: JobMaker, tenant: uuid.UUID, swept: Callable[[], None]
) -> None:
    job_id = make_job()
    with transaction(sessions) as session:
        jobs.claim(session, job_id, worker="lost", lease_seconds=60)
        jobs.request_cancel(session, tenant, job_id)
    age(sessions, job_id, lease_expires_at=LONG_AGO)
    swept()
    assert read_job(sessions, job_id).status == "cancelled"


def test_a_stuck_validation_is_sent_again(
    sessions: sessionmaker[Session],
    tenant: uuid.UUID,
    upload: Callable[[Path], Upload],
    raw_archive: Path,
    broker: Broker,
    swept: Callable[[], None],
) -> None:
    received = upload(raw_archive)
    with transaction(sessions) as session:
        waiting = datasets.create(session, tenant, "waiting", received).id
        lost = datasets.create(session, tenant, "lost", received).id
        datasets.claim(session, lost, "lost", 60)
        session.execute(update(Dataset).values(created_at=LONG_AGO, lease_expires_at=LONG_AGO))
        session.execute(update(Dataset).where(Dataset.id == waiting).values(lease_expires_at=None))
    swept()
    assert sorted(broker.sent) == sorted([("dataset", waiting), ("dataset", lost)])


def test_one_step_that_fails_does_not_keep_the_others_from_being_made(
    context: Context, sessions: sessionmaker[Session], make_job: JobMaker, broker: Broker
) -> None:
    job_id = make_job()
    age(sessions, job_id, dispatched_at=LONG_AGO)
    lost = make_job()
    with transaction(sessions) as session:
        jobs.claim(session, lost, worker="lost", lease_seconds=60)
    age(sessions, lost, lease_expires_at=LONG_AGO)

    def away(queue: str) -> int:
        raise ConnectionRefusedError(queue)

    sweep(replace(context, dispatcher=broker), away)
    assert read_job(sessions, lost).status == "queued"


def test_tidying_removes_what_nothing_needs_any_more(
    context: Context,
    sessions: sessionmaker[Session],
    store: ObjectStore,
    make_job: JobMaker,
    tenant: uuid.UUID,
    upload: Callable[[Path], Upload],
    tmp_path: Path,
) -> None:
    (tmp_path / "expired.zip").write_bytes(b"expired")
    (tmp_path / "fresh.zip").write_bytes(b"fresh")
    expired, fresh = upload(tmp_path / "expired.zip"), upload(tmp_path / "fresh.zip")
    job_id = make_job()
    with transaction(sessions) as session:
        claim = jobs.claim(session, job_id, worker="test", lease_seconds=60)
        assert claim is not None
        resume_points.put(
            session, job_id, claim.token, sha256=fresh.sha256, size=fresh.size, stage="masking", epoch=0, step=0
        )
        session.execute(update(Upload).where(Upload.id == expired.id).values(expires_at=LONG_AGO))
    left = context.work.root / str(job_id) / "1"
    left.mkdir(parents=True)

    tidy(context)
    assert not left.exists()
    assert store.exists(expired.sha256), "its last reference went just now"
    with transaction(sessions) as session:
        session.execute(update(StoredObject).values(unreferenced_since=LONG_AGO))
    tidy(context)
    assert not store.exists(expired.sha256)
    assert store.exists(fresh.sha256), "the mark was wrong"
    with transaction(sessions) as session:
        assert session.scalar(select(func.count()).select_from(ResumePoint)) == 1
        jobs.finish(session, job_id, claim.token, "succeeded")
    tidy(context)
    with transaction(sessions) as session:
        assert session.scalar(select(func.count()).select_from(ResumePoint)) == 0


def test_after_an_outage_every_lease_gets_one_more_lease_time(
    context: Context, sessions: sessionmaker[Session], make_job: JobMaker, broker: Broker
) -> None:
    """However it was away: its server need not have been started again for that."""
    patient = replace(context, dispatcher=broker, settings=context.settings.model_copy(update={"lease_seconds": 60.0}))
    sweep(patient, broker.length)
    job_id = make_job()
    with transaction(sessions) as session:
        jobs.claim(session, job_id, worker="cut off", lease_seconds=60)
    age(sessions, job_id, lease_expires_at=LONG_AGO)
    past(sessions, seen_at=120)
    for _ in range(2):
        sweep(patient, broker.length)
        assert read_job(sessions, job_id).status == "running", "it had no chance to renew its lease"
    past(sessions, resumed_at=61)
    sweep(patient, broker.length)
    assert read_job(sessions, job_id).status == "queued"


def test_rounds_without_a_gap_take_back_at_once(
    context: Context, sessions: sessionmaker[Session], make_job: JobMaker, broker: Broker
) -> None:
    patient = replace(context, dispatcher=broker, settings=context.settings.model_copy(update={"lease_seconds": 60.0}))
    sweep(patient, broker.length)
    job_id = make_job()
    with transaction(sessions) as session:
        jobs.claim(session, job_id, worker="lost", lease_seconds=60)
    age(sessions, job_id, lease_expires_at=LONG_AGO)
    past(sessions, seen_at=20)
    sweep(patient, broker.length)
    assert read_job(sessions, job_id).status == "queued"


def past(sessions: sessionmaker[Session], **seconds: float) -> None:
    """Rounds were so many seconds ago."""
    with transaction(sessions) as session:
        values = {name: func.clock_timestamp() - timedelta(seconds=ago) for name, ago in seconds.items()}
        session.execute(update(Sweeper).values(values))
