"""The table of states says everything about what a job may do."""

from __future__ import annotations

import itertools

import pytest
from sqlalchemy.orm import Session

from persistence import jobs
from persistence.errors import Conflict, IllegalTransition, LeaseLost
from persistence.transitions import ACTIVE, FINISHED, LEGAL, STATUSES, check
from tests.fixtures.records import job_in


@pytest.mark.parametrize(("old", "new"), list(itertools.product(STATUSES, STATUSES)))
def test_exactly_the_steps_of_the_table_are_allowed(old: str, new: str) -> None:
    if new in LEGAL[old]:
        check(old, new)
    else:
        with pytest.raises(IllegalTransition, match=f"from {old} to {new}"):
            check(old, new)


def test_every_status_can_be_reached_and_every_unfinished_one_left() -> None:
    reached, frontier = {"queued"}, ["queued"]
    while frontier:
        for new in LEGAL[frontier.pop()] - reached:
            reached.add(new)
            frontier.append(new)
    assert reached == set(STATUSES)
    assert frozenset({"succeeded", "failed", "cancelled"}) == FINISHED
    assert all(LEGAL[status] for status in STATUSES if status not in FINISHED)
    assert LEGAL["succeeded"] == frozenset(), "what is done is done"


@pytest.mark.parametrize("old", STATUSES)
@pytest.mark.parametrize("new", sorted(FINISHED))
def test_finish_obeys_the_table_in_every_status(session: Session, old: str, new: str) -> None:
    job, token = job_in(session, old)
    if old in ACTIVE and new in LEGAL[old]:
        jobs.finish(session, job.id, token, new)  # type: ignore[arg-type]  # parametrised over all of them
        assert job.status == new
        return
    with pytest.raises(IllegalTransition if old in ACTIVE else LeaseLost):
        jobs.finish(session, job.id, token, new)  # type: ignore[arg-type]  # parametrised over all of them
    session.refresh(job)
    assert job.status == old


@pytest.mark.parametrize("old", STATUSES)
def test_only_a_queued_job_can_be_claimed(session: Session, old: str) -> None:
    job, token = job_in(session, old)
    claim = jobs.claim(session, job.id, worker="another", lease_seconds=30.0)
    session.refresh(job)
    if old == "queued":
        assert claim is not None
        assert job.status == "running"
    else:
        assert claim is None
        assert job.status == old
        assert job.lease_token in (None, token)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("queued", "cancelled"),
        ("paused", "cancelled"),
        ("running", "cancelling"),
        ("pausing", "cancelling"),
        ("cancelling", "cancelling"),
        *((s, None) for s in sorted(FINISHED)),
    ],
)
def test_cancel_in_every_status(session: Session, old: str, new: str | None) -> None:
    job, _ = job_in(session, old)
    if new is None:
        with pytest.raises(Conflict) as refused:
            jobs.request_cancel(session, job.tenant_id, job.id)
        assert refused.value.code == "job_finished"
        assert job.status == old
    else:
        assert jobs.request_cancel(session, job.tenant_id, job.id).status == new


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("queued", "paused"),
        ("running", "pausing"),
        ("pausing", "pausing"),
        ("paused", "paused"),
        ("cancelling", None),
        *((s, None) for s in sorted(FINISHED)),
    ],
)
def test_pause_in_every_status(session: Session, old: str, new: str | None) -> None:
    job, _ = job_in(session, old)
    if new is None:
        with pytest.raises(Conflict) as refused:
            jobs.request_pause(session, job.tenant_id, job.id)
        assert refused.value.code == "job_not_pausable"
        assert job.status == old
    else:
        assert jobs.request_pause(session, job.tenant_id, job.id).status == new


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("queued", "queued"),
        ("running", "running"),
        ("paused", "queued"),
        ("failed", "queued"),
        ("cancelled", "queued"),
        ("pausing", None),
        ("cancelling", None),
        ("succeeded", None),
    ],
)
def test_resume_in_every_status(session: Session, old: str, new: str | None) -> None:
    job, _ = job_in(session, old)
    if new is None:
        with pytest.raises(Conflict) as refused:
            jobs.resume(session, job.tenant_id, job.id)
        assert refused.value.code == "job_not_resumable"
        assert job.status == old
    else:
        assert jobs.resume(session, job.tenant_id, job.id).status == new


@pytest.mark.parametrize("old", STATUSES)
def test_only_a_finished_job_can_be_deleted(session: Session, old: str) -> None:
    job, _ = job_in(session, old)
    if old in FINISHED:
        jobs.delete(session, job.tenant_id, job.id)
        assert jobs.list_page(session, job.tenant_id).rows == []
    else:
        with pytest.raises(Conflict) as refused:
            jobs.delete(session, job.tenant_id, job.id)
        assert refused.value.code == "job_not_finished"
