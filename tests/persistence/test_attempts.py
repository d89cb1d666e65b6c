"""Claims, fencing, retries: at most one attempt works on a job, and a stale one changes nothing."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from persistence import artifacts, events, jobs, leases, metrics, resume_points, samples
from persistence.database import transaction
from persistence.errors import LeaseLost
from persistence.tables import Event, Job, StageTransition
from tests.fixtures.records import ERROR, claim_job, expire_lease, job_in, make_job, make_object, sample_row

WRITES: dict[str, Callable[[Session, uuid.UUID, uuid.UUID], Any]] = {
    "renew": lambda session, job, token: jobs.renew(session, job, token, 30.0),
    "enter_stage": lambda session, job, token: jobs.enter_stage(session, job, token, "masking", 1),
    "set_progress": lambda session, job, token: jobs.set_progress(session, job, token, {"step": 1}),
    "set_manifest": lambda session, job, token: jobs.set_manifest(session, job, token, {"seed": 1}),
    "add_warning": lambda session, job, token: jobs.add_warning(session, job, token, "code", "message"),
    "finish": lambda session, job, token: jobs.finish(session, job, token, "succeeded"),
    "hand_back": lambda session, job, token: jobs.hand_back(session, job, token, ERROR),
    "append": lambda session, job, token: events.append(session, job, "job.epoch", {}, token=token),
    "metrics": lambda session, job, token: metrics.upsert(session, job, token, []),
    "samples": lambda session, job, token: samples.copy_in(session, job, token, [sample_row(0)]),
    "artifacts": lambda session, job, token: artifacts.put(
        session, job, token, "model", make_object(session), 1, "text/plain"
    ),
    "resume_points": lambda session, job, token: resume_points.put(
        session, job, token, sha256=make_object(session), size=1, stage="training_erm", epoch=1, step=0
    ),
}


def _state(session: Session, job_id: uuid.UUID) -> tuple[object, ...]:
    session.expire_all()
    job = session.get_one(Job, job_id)
    columns = tuple(getattr(job, column.key) for column in Job.__table__.columns)
    return columns, session.scalar(select(func.count()).where(Event.job_id == job_id))


def test_claim_sets_the_lease_and_counts_the_attempt(session: Session) -> None:
    job = make_job(session)
    claim = jobs.claim(session, job.id, worker="host:1:cuda:0", lease_seconds=30.0, device="cuda:0")
    assert claim is not None
    assert (claim.attempt, claim.job.status, claim.job.worker) == (1, "running", "host:1:cuda:0")
    assert claim.job.lease_expires_at is not None
    assert claim.job.started_at is not None
    started = events.page(session, job.id).rows[-1]
    assert started.type == "job.started"
    assert started.data == {"attempt": 1, "worker": "host:1:cuda:0", "device": "cuda:0"}


def test_of_many_claims_at_once_exactly_one_wins(sessions: sessionmaker[Session]) -> None:
    with transaction(sessions) as session:
        ids = [make_job(session).id for _ in range(5)]
    barrier = threading.Barrier(10)

    def claim_all(worker: int) -> list[uuid.UUID]:
        barrier.wait()
        won = []
        for job_id in ids:
            with transaction(sessions) as session:
                if jobs.claim(session, job_id, worker=str(worker), lease_seconds=30.0):
                    won.append(job_id)
        return won

    with ThreadPoolExecutor(10) as pool:
        won = [job_id for result in pool.map(claim_all, range(10)) for job_id in result]
    assert sorted(won) == sorted(ids)
    with transaction(sessions) as session:
        assert [session.get_one(Job, job_id).attempt for job_id in ids] == [1] * 5


@pytest.mark.parametrize("write", WRITES)
def test_a_stale_token_writes_nothing(session: Session, write: str) -> None:
    job = make_job(session)
    stale = claim_job(session, job.id).token
    jobs.hand_back(session, job.id, stale, ERROR)
    claim_job(session, job.id)
    before = _state(session, job.id)
    with pytest.raises(LeaseLost):
        WRITES[write](session, job.id, stale)
    assert _state(session, job.id) == before


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("status", ["queued", "succeeded", "cancelled"])
def test_nobody_writes_to_a_job_that_no_attempt_works_on(session: Session, write: str, status: str) -> None:
    job, token = job_in(session, status)
    before = _state(session, job.id)
    with pytest.raises(LeaseLost):
        WRITES[write](session, job.id, token)
    assert _state(session, job.id) == before


@pytest.mark.parametrize("write", sorted(set(WRITES) - {"finish"}))
def test_a_cancelling_attempt_may_still_write(session: Session, write: str) -> None:
    job, token = job_in(session, "cancelling")
    WRITES[write](session, job.id, token)


def test_renew_extends_the_lease_and_tells_of_cancellation(session: Session) -> None:
    job = make_job(session)
    claim = claim_job(session, job.id, lease_seconds=1.0)
    first = claim.job.lease_expires_at
    assert jobs.renew(session, job.id, claim.token, 100.0) == "running"
    session.refresh(job)
    assert first is not None
    assert job.lease_expires_at is not None
    assert job.lease_expires_at > first
    jobs.request_cancel(session, job.tenant_id, job.id)
    assert jobs.renew(session, job.id, claim.token, 100.0) == "cancelling"


def test_hand_back_queues_again_until_the_attempts_are_used_up(session: Session) -> None:
    job = make_job(session, max_attempts=2)
    jobs.mark_dispatched(session, job.id)
    assert jobs.hand_back(session, job.id, claim_job(session, job.id).token, ERROR) == "queued"
    session.refresh(job)
    assert (job.status, job.lease_token, job.stage, job.dispatched_at) == ("queued", None, None, None)
    assert job.error == ERROR
    assert jobs.hand_back(session, job.id, claim_job(session, job.id).token, ERROR) == "failed"
    assert job.error == {
        "code": "attempts_exhausted",
        "message": "gave up after 2 attempts; the last one ended with: the trainer died",
        "stage": "training_erm",
        "retryable": False,
        "cause": ERROR,
        "advice": job.error["advice"],
    }
    assert job.finished_at is not None
    types = [event.type for event in events.page(session, job.id).rows]
    assert types == ["job.queued", "job.started", "job.retrying", "job.started", "job.failed"]


def test_an_attempt_that_does_not_count_uses_up_no_try(session: Session) -> None:
    job = make_job(session, max_attempts=1)
    for _ in range(3):
        assert jobs.hand_back(session, job.id, claim_job(session, job.id).token, ERROR, counted=False) == "queued"
    claim = claim_job(session, job.id)
    assert claim.attempt == 4
    assert jobs.hand_back(session, job.id, claim.token, ERROR) == "failed"


@pytest.mark.parametrize("code", ["out_of_disk", "out_of_host_memory", "out_of_gpu_memory"])
def test_a_shortage_keeps_its_name_when_the_attempts_are_used_up(session: Session, code: str) -> None:
    job = make_job(session, max_attempts=1)
    assert jobs.hand_back(session, job.id, claim_job(session, job.id).token, ERROR | {"code": code}) == "failed"
    assert job.error is not None
    assert (job.error["code"], job.error["retryable"]) == (code, False)
    assert job.error["message"].endswith("(after 1 attempts)")
    assert job.error["advice"]


def test_handing_back_a_cancelling_job_cancels_it(session: Session) -> None:
    job, token = job_in(session, "cancelling")
    assert jobs.hand_back(session, job.id, token, ERROR) == "cancelled"
    assert job.finished_at is not None


def test_an_expired_lease_is_taken_back_once(session: Session) -> None:
    job = make_job(session, max_attempts=2)
    token = claim_job(session, job.id).token
    assert jobs.take_back_expired(session, job.id) is None
    assert jobs.expired(session) == []
    expire_lease(session, job.id)
    assert list(jobs.expired(session)) == [job.id]
    assert jobs.take_back_expired(session, job.id) == "queued"
    assert jobs.take_back_expired(session, job.id) is None
    session.refresh(job)
    assert job.error is not None
    assert job.error["code"] == "worker_lost"
    with pytest.raises(LeaseLost):
        jobs.renew(session, job.id, token, 30.0)
    claim_job(session, job.id)
    expire_lease(session, job.id)
    assert jobs.take_back_expired(session, job.id) == "failed"


def test_a_cancelling_job_whose_worker_died_becomes_cancelled(session: Session) -> None:
    job, _ = job_in(session, "cancelling")
    expire_lease(session, job.id)
    assert jobs.take_back_expired(session, job.id) == "cancelled"


def test_a_renewal_that_comes_first_saves_the_lease(session: Session) -> None:
    job = make_job(session)
    token = claim_job(session, job.id).token
    expire_lease(session, job.id)
    jobs.renew(session, job.id, token, 30.0)
    assert jobs.take_back_expired(session, job.id) is None


def test_many_sweepers_take_an_expired_job_back_once(sessions: sessionmaker[Session]) -> None:
    with transaction(sessions) as session:
        job_id = make_job(session).id
        claim_job(session, job_id)
        expire_lease(session, job_id)
    barrier = threading.Barrier(6)

    def sweep(_: int) -> str | None:
        barrier.wait()
        with transaction(sessions) as session:
            return jobs.take_back_expired(session, job_id)

    with ThreadPoolExecutor(6) as pool:
        assert sorted(filter(None, pool.map(sweep, range(6)))) == ["queued"]


def test_a_fenced_transaction_holds_the_lease_to_its_end(sessions: sessionmaker[Session]) -> None:
    with transaction(sessions) as session:
        job_id = make_job(session).id
        token = claim_job(session, job_id).token
        expire_lease(session, job_id)
    with transaction(sessions) as writing:
        leases.fence(writing, Job, job_id, token)
        with transaction(sessions) as sweeping:
            assert jobs.take_back_expired(sweeping, job_id) is None
    with transaction(sessions) as sweeping:
        assert jobs.take_back_expired(sweeping, job_id) == "queued"


def test_undispatched_are_queued_jobs_that_were_not_sent_lately(session: Session) -> None:
    job = make_job(session)
    assert list(jobs.undispatched(session, 0.0)) == [job.id]
    assert list(jobs.undispatched(session, 60.0)) == []
    jobs.mark_dispatched(session, job.id)
    assert list(jobs.undispatched(session, 60.0)) == []
    assert list(jobs.undispatched(session, 0.0)) == [job.id]
    claim_job(session, job.id)
    assert list(jobs.undispatched(session, 0.0)) == []


def test_entering_a_stage_is_noted_once_per_attempt(session: Session) -> None:
    job = make_job(session)
    token = claim_job(session, job.id).token
    jobs.enter_stage(session, job.id, token, "preparing", 0)
    jobs.enter_stage(session, job.id, token, "training_erm", 0)
    assert job.stage == "training_erm"
    jobs.hand_back(session, job.id, token, ERROR)
    jobs.enter_stage(session, job.id, claim_job(session, job.id).token, "preparing", 0)
    rows = session.scalars(select(StageTransition).where(StageTransition.job_id == job.id)).all()
    assert sorted((row.attempt, row.stage, row.iteration) for row in rows) == [
        (1, "preparing", 0),
        (1, "training_erm", 0),
        (2, "preparing", 0),
    ]


def test_a_warning_is_kept_once(session: Session) -> None:
    job = make_job(session)
    token = claim_job(session, job.id).token
    for code in ("empty_group", "empty_group", "no_validation"):
        jobs.add_warning(session, job.id, token, code, "message")
    assert [warning["code"] for warning in job.warnings] == ["empty_group", "no_validation"]


def test_progress_and_manifest_are_kept_and_progress_goes_with_the_attempt(session: Session) -> None:
    job = make_job(session)
    token = claim_job(session, job.id).token
    jobs.set_progress(session, job.id, token, {"stage": "training_erm", "step": 3})
    jobs.set_manifest(session, job.id, token, {"seed": 7})
    session.refresh(job)
    assert job.progress == {"stage": "training_erm", "step": 3}
    assert job.manifest == {"seed": 7}
    jobs.hand_back(session, job.id, token, ERROR)
    session.refresh(job)
    assert job.progress is None


def test_a_rolled_back_change_leaves_no_event(sessions: sessionmaker[Session]) -> None:
    with transaction(sessions) as session:
        job_id = make_job(session).id
    session = sessions()
    claim_job(session, job_id)
    session.rollback()
    session.close()
    with transaction(sessions) as session:
        job = session.get_one(Job, job_id)
        assert (job.status, job.event_seq, job.attempt) == ("queued", 1, 0)
        assert len(events.page(session, job_id).rows) == 1
