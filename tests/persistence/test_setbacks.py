"""What was handed back because something was away or short is tried again, ever less often."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from persistence import datasets, events, intake_turns, jobs, turns
from persistence.intakes import MAX_ATTEMPTS
from persistence.tables import Dataset, Job
from tests.fixtures.records import ERROR, claim_job, make_dataset, make_job, make_tenant


def wait_of(session: Session, job: Job) -> float | None:
    """Seconds until the job may be tried again."""
    left = select(func.extract("epoch", Job.not_before - func.clock_timestamp())).where(Job.id == job.id)
    found = session.scalar(left)
    return None if found is None else float(found)


@pytest.mark.parametrize(("code", "first"), [("store_unavailable", 5.0), ("database_away", 5.0), ("out_of_disk", 30.0)])
def test_what_is_away_or_short_is_tried_again_ever_less_often(session: Session, code: str, first: float) -> None:
    job = make_job(session, max_attempts=20)
    for number in range(10):
        token = claim_job(session, job.id).token
        assert jobs.hand_back(session, job.id, token, ERROR | {"code": code}, counted=False) == "queued"
        expected = min(first * 2**number, 300.0)
        assert wait_of(session, job) == pytest.approx(expected, abs=1.0)
        assert events.page(session, job.id, limit=100).rows[-1].data["delay_seconds"] == expected
    jobs.hand_back(session, job.id, claim_job(session, job.id).token, ERROR)
    assert wait_of(session, job) is None, "another error has nothing to wait for"
    assert "delay_seconds" not in events.page(session, job.id, limit=100).rows[-1].data
    jobs.hand_back(session, job.id, claim_job(session, job.id).token, ERROR | {"code": code})
    assert wait_of(session, job) == pytest.approx(first, abs=1.0), "in a row"


def test_a_job_that_was_put_off_lets_others_pass_and_is_sent_when_its_time_has_come(session: Session) -> None:
    session.execute(update(Job).where(Job.status == "queued").values(status="paused"))
    away = make_job(session, priority=9)
    other = make_job(session, away.tenant_id, dataset_id=away.dataset_id)
    token = claim_job(session, away.id).token
    jobs.hand_back(session, away.id, token, ERROR | {"code": "store_unavailable"})
    assert turns.next_up(session) == other.id
    assert away.id not in jobs.undispatched(session, 0.0)
    session.execute(update(Job).where(Job.id == away.id).values(not_before=func.clock_timestamp()))
    assert turns.next_up(session) == away.id
    assert away.id in jobs.undispatched(session, 0.0)


def test_its_owner_need_not_wait(session: Session) -> None:
    job = make_job(session)
    token = claim_job(session, job.id).token
    jobs.hand_back(session, job.id, token, ERROR | {"code": "store_unavailable"})
    jobs.request_pause(session, job.tenant_id, job.id)
    assert jobs.resume(session, job.tenant_id, job.id).not_before is None


def check(session: Session, dataset_id: uuid.UUID) -> uuid.UUID:
    claim = datasets.claim(session, dataset_id, "worker", 30.0)
    assert claim is not None
    return claim.token


def test_a_check_that_something_else_ended_uses_up_no_attempt(session: Session) -> None:
    dataset = make_dataset(session, make_tenant(session), ready=False)
    for _ in range(2 * MAX_ATTEMPTS):
        token = check(session, dataset.id)
        status = datasets.hand_back(session, dataset.id, token, ERROR | {"code": "worker_shutdown"}, counted=False)
        assert (status, dataset.attempt, dataset.not_before) == ("validating", 0, None)


def test_a_check_that_was_put_off_waits_too(session: Session) -> None:
    session.execute(update(Dataset).values(lease_token=func.gen_random_uuid()))
    dataset = make_dataset(session, make_tenant(session), ready=False)
    datasets.hand_back(session, dataset.id, check(session, dataset.id), ERROR | {"code": "out_of_disk"})
    assert intake_turns.next_up(session, quota=0) is None
    session.execute(update(Dataset).where(Dataset.id == dataset.id).values(not_before=func.clock_timestamp()))
    assert intake_turns.next_up(session, quota=0) == ("dataset", dataset.id)
