"""Pausing and resuming: nothing is lost, nothing is counted that was the owner's wish."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from persistence import checkpoints, datasets, events, jobs, resume_points
from persistence.database import transaction
from persistence.errors import Conflict, IllegalTransition
from persistence.tables import Checkpoint, Job
from tests.fixtures.records import (
    ERROR,
    claim_job,
    expire_lease,
    job_in,
    make_checkpoint,
    make_job,
    make_object,
    make_tenant,
)


def types(session: Session, job_id: uuid.UUID) -> list[str]:
    return [event.type for event in events.page(session, job_id).rows]


def test_a_pause_holds_no_lease_uses_up_no_attempt_and_keeps_the_place(session: Session) -> None:
    job = make_job(session, max_attempts=1)
    for attempt in (1, 2, 3):
        token = claim_job(session, job.id).token
        jobs.enter_stage(session, job.id, token, "training_erm", 0)
        assert jobs.request_pause(session, job.tenant_id, job.id).status == "pausing"
        assert jobs.renew(session, job.id, token, 30.0) == "pausing"
        jobs.pause(session, job.id, token)
        session.refresh(job)
        assert (job.status, job.lease_token, job.stage, job.attempt) == ("paused", None, "training_erm", attempt)
        assert jobs.resume(session, job.tenant_id, job.id).status == "queued"
    assert types(session, job.id)[-4:] == ["job.stage", "job.pause_requested", "job.paused", "job.resume_requested"]


def test_a_pausing_job_whose_worker_is_lost_is_paused(session: Session) -> None:
    job, _ = job_in(session, "pausing")
    expire_lease(session, job.id)
    assert jobs.take_back_expired(session, job.id) == "paused"
    assert types(session, job.id)[-1] == "job.paused"


def test_a_pause_that_comes_too_late_leaves_a_job_that_succeeded(session: Session) -> None:
    job, token = job_in(session, "pausing")
    jobs.finish(session, job.id, token, "succeeded")
    assert job.status == "succeeded"


def test_a_cancellation_during_a_pause_counts(session: Session) -> None:
    job, token = job_in(session, "pausing")
    jobs.request_cancel(session, job.tenant_id, job.id)
    with pytest.raises(IllegalTransition):
        jobs.pause(session, job.id, token)
    jobs.finish(session, job.id, token, "cancelled")
    assert job.status == "cancelled"


def test_a_failed_job_goes_on_from_its_last_point_with_attempts_and_time_anew(session: Session) -> None:
    job = make_job(session, max_attempts=2)
    for _ in range(2):
        token = claim_job(session, job.id).token
        resume_points.put(
            session, job.id, token, sha256=make_object(session), size=1, stage="finetuning", epoch=2, step=7
        )
        jobs.hand_back(session, job.id, token, ERROR)
    session.refresh(job)
    assert job.status == "failed"
    assert job.ran_seconds > 0
    jobs.resume(session, job.tenant_id, job.id)
    assert (job.status, job.error, job.finished_at, job.ran_seconds) == ("queued", None, None, 0.0)
    assert (job.attempt, job.max_attempts) == (2, 4)
    resumed = events.page(session, job.id).rows[-1]
    assert (resumed.type, resumed.data) == (
        "job.resume_requested",
        {"from": "failed", "point": {"stage": "finetuning", "epoch": 2, "step": 7}},
    )
    assert claim_job(session, job.id).attempt == 3
    assert len(resume_points.newest(session, job.id)) == 2


def test_a_job_whose_data_set_is_gone_cannot_be_resumed(session: Session) -> None:
    job, _ = job_in(session, "cancelled")
    assert job.dataset_id is not None
    datasets.delete(session, job.tenant_id, job.dataset_id)
    session.expire_all()
    with pytest.raises(Conflict, match="deleted") as refused:
        jobs.resume(session, job.tenant_id, job.id)
    assert refused.value.code == "job_not_resumable"


@pytest.mark.parametrize("status", ["cancelled", "failed"])
def test_a_job_whose_checkpoint_is_gone_is_not_resumed_as_one_that_trains_from_scratch(
    session: Session, status: str
) -> None:
    tenant = make_tenant(session)
    checkpoint = make_checkpoint(session, tenant)
    job, _ = job_in(session, status, tenant_id=tenant, checkpoint_id=checkpoint.id)
    assert job.starts_from_checkpoint
    checkpoints.delete(session, tenant, checkpoint.id)
    session.expire_all()
    with pytest.raises(Conflict, match=r"checkpoint that job .* was deleted") as refused:
        jobs.resume(session, tenant, job.id)
    assert refused.value.code == "job_not_resumable"
    session.refresh(job)
    assert job.status == status


def test_a_resumed_job_keeps_its_checkpoint(sessions: sessionmaker[Session]) -> None:
    with transaction(sessions) as session:
        tenant = make_tenant(session)
        checkpoint = make_checkpoint(session, tenant)
        job, _ = job_in(session, "cancelled", tenant_id=tenant, checkpoint_id=checkpoint.id)

    def delete() -> str:
        try:
            with transaction(sessions) as session:
                checkpoints.delete(session, tenant, checkpoint.id)
        except Conflict as error:
            return error.code
        return "deleted"

    with ThreadPoolExecutor(1) as pool:
        with transaction(sessions) as session:
            jobs.resume(session, tenant, job.id)
            deleted = pool.submit(delete)
            assert not wait([deleted], 0.3).done, "it waits for the lock"
        assert deleted.result(10) == "checkpoint_in_use"


def test_a_job_is_not_resumed_with_a_checkpoint_that_is_just_being_deleted(sessions: sessionmaker[Session]) -> None:
    with transaction(sessions) as session:
        tenant = make_tenant(session)
        checkpoint = make_checkpoint(session, tenant)
        job, _ = job_in(session, "cancelled", tenant_id=tenant, checkpoint_id=checkpoint.id)

    def resume() -> str:
        try:
            with transaction(sessions) as session:
                return jobs.resume(session, tenant, job.id).status
        except Conflict as error:
            return error.code

    with ThreadPoolExecutor(1) as pool:
        with transaction(sessions) as session:
            session.execute(select(Checkpoint.id).where(Checkpoint.id == checkpoint.id).with_for_update())
            resumed = pool.submit(resume)
            assert not wait([resumed], 0.3).done, "it waits for the lock"
            checkpoints.delete(session, tenant, checkpoint.id)
        assert resumed.result(10) == "job_not_resumable"


def test_a_paused_job_keeps_its_data_set(session: Session) -> None:
    job, _ = job_in(session, "paused")
    assert job.dataset_id is not None
    with pytest.raises(Conflict) as refused:
        datasets.delete(session, job.tenant_id, job.dataset_id)
    assert refused.value.code == "dataset_in_use"


def test_running_time_is_added_up_over_attempts_and_ends_with_the_lease_of_a_lost_worker(session: Session) -> None:
    job = make_job(session)
    claim_job(session, job.id, lease_seconds=3600.0)
    expire_lease(session, job.id)
    jobs.hand_back(session, job.id, job_token(session, job.id), ERROR)
    session.refresh(job)
    first = job.ran_seconds
    assert 0.0 <= first < 60.0
    claim_job(session, job.id)
    expire_lease(session, job.id)
    jobs.take_back_expired(session, job.id)
    session.refresh(job)
    assert job.ran_seconds == first, "a lease that ended before its claim ran for no time"
    assert job.claimed_at is None


def job_token(session: Session, job_id: uuid.UUID) -> uuid.UUID:
    token = session.get_one(Job, job_id).lease_token
    assert token is not None
    return token


def test_a_write_that_was_made_is_not_made_again(session: Session) -> None:
    job = make_job(session)
    token = claim_job(session, job.id).token
    assert [jobs.begin_write(session, job.id, token, number) for number in (1, 2, 2, 1, 3)] == [
        True,
        True,
        False,
        False,
        True,
    ]
    jobs.hand_back(session, job.id, token, ERROR)
    token = claim_job(session, job.id).token
    assert jobs.begin_write(session, job.id, token, 1), "another attempt counts anew"
