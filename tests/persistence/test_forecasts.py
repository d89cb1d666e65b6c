"""Forecasts: unknown while nobody can know, from the past when there is one, and better as a job runs."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from masktune_core.config import JobConfig
from persistence import jobs
from persistence.forecasts import Forecast, forecast
from persistence.tables import Dataset, Job, StageTransition, Tenant
from tests.fixtures.records import claim_job, make_dataset, make_job, make_tenant

IMAGES = 1000


@pytest.fixture
def tenant(session: Session) -> uuid.UUID:
    session.execute(update(Job).where(Job.status == "queued").values(status="paused"))
    return make_tenant(session)


@pytest.fixture
def dataset(session: Session, tenant: uuid.UUID) -> Dataset:
    dataset = make_dataset(session, tenant)
    dataset.summary = {"splits": {"train": {"count": IMAGES}}}
    dataset.image_count = IMAGES
    session.flush()
    return dataset


def succeed(session: Session, tenant: uuid.UUID, dataset: Dataset, seconds: dict[str, float]) -> None:
    """A job that took so long in each stage."""
    job = make_job(session, tenant, dataset_id=dataset.id)
    token = claim_job(session, job.id).token
    jobs.finish(session, job.id, token, "succeeded")
    session.refresh(job)
    assert job.finished_at is not None
    at = job.finished_at - timedelta(seconds=sum(seconds.values()))
    for stage, taken in seconds.items():
        iteration = int(stage in ("masking", "finetuning"))
        session.add(StageTransition(job_id=job.id, attempt=1, stage=stage, iteration=iteration, entered_at=at))
        at += timedelta(seconds=taken)
    session.flush()


PAST = {"preparing": 2.0, "training_erm": 50.0, "masking": 5.0, "finetuning": 10.0, "evaluating": 3.0}


def left(session: Session, job: Job) -> float | None:
    """Seconds until the job may end."""
    found = forecast(session)[job.id]
    if found.finishes_at is None:
        return None
    now = session.scalar(select(func.clock_timestamp()))
    assert now is not None
    return float((found.finishes_at - now).total_seconds())


def progress(session: Session, job: Job, token: uuid.UUID, **values: Any) -> None:
    base = {"stage": "training_erm", "iteration": 0, "epoch": 1, "epochs": 5, "step": 0, "steps": 10}
    jobs.set_progress(session, job.id, token, base | values)


def test_nothing_is_foretold_of_a_kind_of_job_that_never_ran(
    session: Session, tenant: uuid.UUID, dataset: Dataset
) -> None:
    job = make_job(session, tenant, dataset_id=dataset.id)
    found = forecast(session)[job.id]
    assert (found.position, found.starts_at, found.finishes_at) == (1, None, None)


def test_a_running_job_is_foretold_from_the_past_then_from_its_own_pace(
    session: Session, tenant: uuid.UUID, dataset: Dataset
) -> None:
    succeed(session, tenant, dataset, PAST)
    job = make_job(session, tenant, dataset_id=dataset.id)
    token = claim_job(session, job.id).token
    assert left(session, job) == pytest.approx(70.0, abs=1.0)
    jobs.enter_stage(session, job.id, token, "training_erm", 0)
    progress(session, job, token, epoch=3, step=5, images_per_second=200.0)
    assert left(session, job) == pytest.approx(2.5 * IMAGES / 200 + 18.0, abs=1.0), "twice as slow: half of 5 epochs"
    progress(session, job, token, epoch=5, step=10, images_per_second=200.0)
    assert left(session, job) == pytest.approx(18.0, abs=1.0)
    jobs.enter_stage(session, job.id, token, "masking", 1)
    assert left(session, job) == pytest.approx(18.0, abs=1.0)
    jobs.enter_stage(session, job.id, token, "evaluating", 0)
    progress(session, job, token, stage="evaluating", epoch=1, epochs=1, step=9, images_per_second=100.0)
    assert left(session, job) == pytest.approx(0.1 * IMAGES / 100, abs=0.5)


def test_waiting_jobs_start_in_turn_when_those_before_them_end(
    session: Session, tenant: uuid.UUID, dataset: Dataset
) -> None:
    succeed(session, tenant, dataset, PAST)
    running = make_job(session, tenant, dataset_id=dataset.id)
    claim_job(session, running.id)
    later = make_job(session, tenant, dataset_id=dataset.id)
    sooner = make_job(session, tenant, dataset_id=dataset.id, priority=3)
    other = make_tenant(session)
    its = make_dataset(session, other)
    its.summary, its.image_count = dataset.summary, dataset.image_count
    session.flush()
    foreign = make_job(session, other, dataset_id=its.id)
    found = forecast(session)
    order = sorted((each for each in (later, sooner, foreign)), key=lambda job: found[job.id].position or 0)
    assert order == [foreign, sooner, later], "tenants take turns, then priority counts"
    starts = [found[job.id].starts_at for job in order]
    ends = [found[job.id].finishes_at for job in (running, *order)]
    assert starts == ends[:-1], "one device: each starts when the one before ends"
    assert JobConfig.model_validate(later.config).erm.epochs == 5


def test_a_tenant_at_its_limit_lets_others_pass_and_starts_when_one_of_its_own_ends(
    session: Session, tenant: uuid.UUID, dataset: Dataset
) -> None:
    succeed(session, tenant, dataset, PAST)
    first, second = (make_job(session, tenant, dataset_id=dataset.id) for _ in range(2))
    claim_job(session, first.id)
    soon_over = job_of_another(session, dataset)
    jobs.enter_stage(session, soon_over.id, claim_job(session, soon_over.id).token, "evaluating", 0)
    assert starts_with_end_of(forecast(session), second, soon_over)
    assert starts_with_end_of(forecast(session, quota_running=1), second, first)

    passing = job_of_another(session, dataset)
    found = forecast(session, quota_running=1)
    assert starts_with_end_of(found, passing, soon_over), "a place that the other tenant may not take"
    assert starts_with_end_of(found, second, first)
    assert [found[job.id].position for job in (passing, second)] == [1, 2]


def test_a_limit_of_the_tenants_own_counts_and_one_above_what_runs_does_not_hold_it_up(
    session: Session, tenant: uuid.UUID, dataset: Dataset
) -> None:
    succeed(session, tenant, dataset, PAST)
    first, second = (make_job(session, tenant, dataset_id=dataset.id) for _ in range(2))
    claim_job(session, first.id)
    soon_over = job_of_another(session, dataset)
    jobs.enter_stage(session, soon_over.id, claim_job(session, soon_over.id).token, "evaluating", 0)
    session.get_one(Tenant, tenant).quota_running = 2
    assert starts_with_end_of(forecast(session, quota_running=1), second, soon_over)
    session.get_one(Tenant, tenant).quota_running = 1
    assert starts_with_end_of(forecast(session), second, first)


def job_of_another(session: Session, dataset: Dataset, **values: Any) -> Job:
    tenant = make_tenant(session)
    its = make_dataset(session, tenant)
    its.summary, its.image_count = dataset.summary, dataset.image_count
    session.flush()
    return make_job(session, tenant, dataset_id=its.id, **values)


def starts_with_end_of(found: dict[uuid.UUID, Forecast], job: Job, before: Job) -> bool:
    start, end = found[job.id].starts_at, found[before.id].finishes_at
    assert start is not None
    return start == end
