"""Checkpoints that users brought."""

from __future__ import annotations

import pytest
from sqlalchemy.orm import Session

from persistence import checkpoints, jobs
from persistence.errors import Conflict, LeaseLost, NotFound
from persistence.intakes import MAX_ATTEMPTS
from tests.fixtures.records import ERROR, make_checkpoint, make_dataset, make_job, make_object, make_tenant

REPORT = {"missing": ["fc.weight"], "unexpected": [], "misshapen": []}


def test_a_checkpoint_becomes_ready_with_its_content(session: Session) -> None:
    checkpoint = make_checkpoint(session, make_tenant(session), ready=False)
    claim = checkpoints.claim(session, checkpoint.id, "worker-1", 30.0)
    assert claim is not None
    assert checkpoints.claim(session, checkpoint.id, "worker-2", 30.0) is None
    content = make_object(session)
    checkpoints.finish_ready(session, checkpoint.id, claim.token, content_sha256=content, size=42)
    session.refresh(checkpoint)
    assert (checkpoint.status, checkpoint.content_sha256, checkpoint.content_size) == ("ready", content, 42)
    with pytest.raises(LeaseLost):
        checkpoints.finish_invalid(session, checkpoint.id, claim.token, ERROR, REPORT)


def test_a_checkpoint_that_does_not_fit_says_which_keys(session: Session) -> None:
    checkpoint = make_checkpoint(session, make_tenant(session), ready=False)
    claim = checkpoints.claim(session, checkpoint.id, "worker-1", 30.0)
    assert claim is not None
    checkpoints.finish_invalid(session, checkpoint.id, claim.token, ERROR, REPORT)
    session.refresh(checkpoint)
    assert (checkpoint.status, checkpoint.error, checkpoint.report) == ("invalid", ERROR, REPORT)


def test_a_check_that_keeps_crashing_ends_as_invalid(session: Session) -> None:
    checkpoint = make_checkpoint(session, make_tenant(session), ready=False)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        claim = checkpoints.claim(session, checkpoint.id, "worker-1", 30.0)
        assert claim is not None
        status = checkpoints.hand_back(session, checkpoint.id, claim.token, ERROR)
        assert status == ("validating" if attempt < MAX_ATTEMPTS else "invalid")


def test_deleting_is_refused_while_unfinished_jobs_use_it(session: Session) -> None:
    tenant = make_tenant(session)
    checkpoint = make_checkpoint(session, tenant)
    job = make_job(session, tenant, dataset_id=make_dataset(session, tenant).id, checkpoint_id=checkpoint.id)
    with pytest.raises(Conflict) as refused:
        checkpoints.delete(session, tenant, checkpoint.id)
    assert refused.value.code == "checkpoint_in_use"
    jobs.request_cancel(session, tenant, job.id)
    checkpoints.delete(session, tenant, checkpoint.id)
    session.refresh(job)
    assert job.checkpoint_id is None


def test_another_tenant_finds_nothing(session: Session) -> None:
    tenant, stranger = make_tenant(session), make_tenant(session)
    checkpoint = make_checkpoint(session, tenant)
    assert [row.id for row in checkpoints.list_page(session, tenant, status="ready").rows] == [checkpoint.id]
    assert checkpoints.list_page(session, stranger).rows == []
    for action in (checkpoints.get, checkpoints.delete):
        with pytest.raises(NotFound):
            action(session, stranger, checkpoint.id)
