"""A configuration that this version cannot read stops neither the queue nor those who look at its job."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from masktune_core.config import PRESETS, JobConfig
from persistence import configs, events, jobs
from persistence.errors import Conflict
from persistence.forecasts import forecast
from persistence.tables import Job
from tests.fixtures.records import claim_job, job_in, make_dataset, make_job, make_tenant

FROM_TOMORROW = {"erm": {"epochs": 3, "lookahead": True}, "masking": {"batch_size": "many"}, "seed": 7}


def spoil(session: Session, job: Job, **changes: Any) -> None:
    session.execute(update(Job).where(Job.id == job.id).values(config={**job.config, **FROM_TOMORROW, **changes}))
    session.refresh(job)


def test_a_job_that_cannot_be_read_ends_and_the_next_one_is_claimed(session: Session) -> None:
    while jobs.claim_next(session, worker="other", lease_seconds=60.0) is not None:
        pass  # jobs of other tests are none of ours
    tenant = make_tenant(session)
    dataset = make_dataset(session, tenant).id
    unreadable = [make_job(session, tenant, dataset_id=dataset, priority=10) for _ in range(2)]
    for job in unreadable:
        spoil(session, job)
    readable = make_job(session, tenant, dataset_id=dataset)
    claim = jobs.claim_next(session, worker="w", lease_seconds=60.0)
    assert claim is not None
    assert claim.job.id == readable.id
    for job in unreadable:
        session.refresh(job)
        assert (job.status, job.lease_token, job.attempt) == ("failed", None, 1)
        assert job.error is not None
        assert job.error["code"] == "config_unusable"
        assert "erm.lookahead" in job.error["message"]
        assert "same one" in job.error["advice"]
        assert [each.type for each in events.page(session, job.id).rows] == ["job.queued", "job.started", "job.failed"]


def test_a_single_job_that_cannot_be_read_ends_too(session: Session) -> None:
    job = make_job(session)
    spoil(session, job)
    assert jobs.claim(session, job.id, worker="w", lease_seconds=60.0) is None
    session.refresh(job)
    assert job.status == "failed"


def test_it_cannot_be_resumed_here(session: Session) -> None:
    job, _ = job_in(session, "failed")
    spoil(session, job)
    with pytest.raises(Conflict, match="cannot read") as refused:
        jobs.resume(session, job.tenant_id, job.id)
    assert refused.value.code == "job_not_resumable"


@pytest.mark.parametrize("running", [True, False])
def test_nobody_knows_how_long_it_takes_and_others_are_foretold_all_the_same(session: Session, running: bool) -> None:
    tenant = make_tenant(session)
    dataset = make_dataset(session, tenant).id
    odd, other = (make_job(session, tenant, dataset_id=dataset) for _ in range(2))
    if running:
        claim_job(session, odd.id)
    spoil(session, odd)
    found = forecast(session)
    assert found[odd.id].finishes_at is None
    assert found[other.id].position is not None


def test_what_can_be_read_is_shown_and_the_rest_has_its_default() -> None:
    stored = PRESETS["waterbirds"].model_dump(mode="json")
    assert configs.read_what_can_be_read(stored) == configs.read(stored) == PRESETS["waterbirds"]
    stored["erm"] |= {"epochs": 12, "lookahead": True}
    stored["masking"] |= {"batch_size": "many"}
    stored["finetune"] = "much"
    stored["augur"] = {"birds": 12}
    with pytest.raises(configs.UnreadableConfig, match=r"erm\.lookahead.*"):
        configs.read(stored)
    shown = configs.read_what_can_be_read(stored)
    assert shown.erm.epochs == 12
    assert shown.masking.batch_size == JobConfig().masking.batch_size
    assert shown.finetune == JobConfig().finetune
    assert shown.model == PRESETS["waterbirds"].model


@pytest.mark.parametrize("nonsense", [{}, {"erm": None}, {"erm": []}, {"model": {"architecture": {"a": {}}}}])
def test_even_nonsense_shows_something(nonsense: dict[str, Any]) -> None:
    assert isinstance(configs.read_what_can_be_read(nonsense), JobConfig)
