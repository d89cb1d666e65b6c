"""A stage ends when its attempt leaves it, not when the job does."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from persistence import jobs, stages
from persistence.tables import Event, Job, StageTransition
from tests.fixtures.records import ERROR, claim_job, expire_lease, make_job


def begin(session: Session, job: Job) -> uuid.UUID:
    token = claim_job(session, job.id).token
    jobs.enter_stage(session, job.id, token, "training_erm", 0)
    return token


def hours_pass(session: Session, job: Job, hours: float) -> None:
    """Everything that the job has told of so far was so long ago."""
    ago = timedelta(hours=hours)
    for moment in (Event.created_at, StageTransition.entered_at):
        table = moment.class_
        session.execute(update(table).where(table.job_id == job.id).values({moment: moment - ago}))


def hours_of(session: Session, job: Job) -> list[float | None]:
    """How long each stage took."""
    session.expire_all()
    seconds = [span.seconds for span in stages.of(session, job)]
    return [None if each is None else round(each / 3600, 3) for each in seconds]


@pytest.mark.parametrize("end", ["pause", "hand back"])
def test_waiting_is_no_part_of_a_stage(session: Session, end: str) -> None:
    job = make_job(session)
    token = begin(session, job)
    hours_pass(session, job, 1)
    if end == "pause":
        jobs.request_pause(session, job.tenant_id, job.id)
        jobs.pause(session, job.id, token)
    else:
        jobs.hand_back(session, job.id, token, ERROR)
    assert hours_of(session, job) == [1.0], "it is known at once"
    hours_pass(session, job, 8)
    jobs.request_cancel(session, job.tenant_id, job.id)
    assert hours_of(session, job) == [1.0]


def test_every_attempt_tells_its_own_time(session: Session) -> None:
    job = make_job(session)
    token = begin(session, job)
    hours_pass(session, job, 1)
    jobs.hand_back(session, job.id, token, ERROR)
    hours_pass(session, job, 5)
    token = begin(session, job)
    assert hours_of(session, job) == [1.0, None], "the second still lasts"
    hours_pass(session, job, 2)
    jobs.finish(session, job.id, token, "succeeded")
    assert hours_of(session, job) == [1.0, 2.0]


def test_nobody_knows_when_a_worker_that_went_silent_left_its_stage(session: Session) -> None:
    job = make_job(session)
    begin(session, job)
    expire_lease(session, job.id)
    jobs.take_back_expired(session, job.id)
    hours_pass(session, job, 8)
    jobs.request_cancel(session, job.tenant_id, job.id)
    assert hours_of(session, job) == [None]
