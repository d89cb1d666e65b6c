"""Tenants take turns, whatever each of them queues; quotas hold; priority orders a tenant's own jobs."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session, sessionmaker

from persistence import attempts, jobs, turns
from persistence.database import transaction
from persistence.tables import Job, Tenant
from tests.fixtures.records import make_dataset, make_job, make_tenant


def take(session: Session, quota_running: int = 0) -> attempts.Claim | None:
    return jobs.claim_next(session, worker="worker", lease_seconds=60.0, quota_running=quota_running)


def drain(session: Session) -> None:
    """Jobs of other tests are none of ours."""
    while take(session) is not None:
        pass


def queue(session: Session, tenant_id: uuid.UUID, *priorities: int) -> list[uuid.UUID]:
    dataset_id = make_dataset(session, tenant_id).id
    return [make_job(session, tenant_id, dataset_id=dataset_id, priority=each).id for each in priorities]


def test_one_job_does_not_wait_behind_a_thousand_of_another_tenant(session: Session) -> None:
    greedy, modest = make_tenant(session), make_tenant(session)
    queue(session, greedy, *[100] * 8)
    (only,) = queue(session, modest, 0)
    order = [claim.job.id for _ in range(2) if (claim := take(session))]
    assert only in order


def test_tenants_alternate_when_one_slot_is_shared(session: Session) -> None:
    first, second = make_tenant(session), make_tenant(session)
    queue(session, first, 0, 0, 0)
    queue(session, second, 0, 0, 0)
    served = []
    while (claim := take(session)) is not None:
        served.append(claim.job.tenant_id)
        jobs.finish(session, claim.job.id, claim.token, "succeeded")
    assert len(served) == 6
    assert all(one != other for one, other in itertools.pairwise(served))


def test_priority_then_age_order_a_tenants_own_jobs(session: Session) -> None:
    tenant = make_tenant(session)
    low, high, also_high = queue(session, tenant, -1, 5, 5)
    assert [claim.job.id for _ in range(3) if (claim := take(session))] == [high, also_high, low]
    assert take(session) is None


def test_a_tenant_runs_no_more_jobs_than_its_quota(session: Session) -> None:
    tenant = make_tenant(session)
    queue(session, tenant, 0, 0, 0)
    claims = [take(session, quota_running=2) for _ in range(3)]
    assert [claim is not None for claim in claims] == [True, True, False]
    assert turns.next_up(session, quota_running=2) is None
    assert claims[0] is not None
    jobs.hand_back(session, claims[0].job.id, claims[0].token, {"code": "x", "message": "x"})
    assert take(session, quota_running=2) is not None
    session.get_one(Tenant, tenant).quota_running = 3
    session.flush()
    assert take(session, quota_running=2) is not None, "its own quota counts more than the usual one"


def test_of_many_workers_at_once_no_two_get_one_job_and_no_quota_is_exceeded(sessions: sessionmaker[Session]) -> None:
    with transaction(sessions) as session:
        tenants = [make_tenant(session) for _ in range(3)]
        for tenant in tenants:
            queue(session, tenant, *[0] * 4)
    barrier = threading.Barrier(8)

    def work(_: int) -> list[tuple[uuid.UUID, uuid.UUID]]:
        barrier.wait()
        won = []
        for _ in range(4):
            with transaction(sessions) as session:
                claim = take(session, quota_running=2)
                if claim is not None:
                    won.append((claim.job.tenant_id, claim.job.id))
        return won

    with ThreadPoolExecutor(8) as pool:
        won = [each for found in pool.map(work, range(8)) for each in found]
    assert len({job for _, job in won}) == len(won)
    assert Counter(tenant for tenant, _ in won) == dict.fromkeys(tenants, 2)


def test_a_claim_waits_for_a_row_that_is_being_cancelled_and_takes_the_next(sessions: sessionmaker[Session]) -> None:
    with transaction(sessions) as session:
        tenant = make_tenant(session)
        first, second = queue(session, tenant, 1, 0)
    found: list[uuid.UUID] = []

    def claim() -> None:
        with transaction(sessions) as session:
            claimed = take(session)
            assert claimed is not None
            found.append(claimed.job.id)

    thread = threading.Thread(target=claim)
    with transaction(sessions) as session:
        jobs.request_cancel(session, tenant, first)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
    thread.join(10)
    assert found == [second]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(-3, 3), max_size=4), min_size=1, max_size=4), st.integers(1, 3))
def test_no_tenant_is_ever_two_jobs_ahead_of_one_that_waits(
    session: Session, queues: list[list[int]], slots: int
) -> None:
    with session.begin_nested() as undone:
        tenants = [make_tenant(session) for _ in queues]
        waiting = Counter(
            {tenant: len(queue(session, tenant, *each)) for tenant, each in zip(tenants, queues, strict=True) if each}
        )
        running: list[attempts.Claim] = []
        while sum(waiting.values()) or running:
            if len(running) < slots and (claim := take(session)) is not None:
                running.append(claim)
                waiting[claim.job.tenant_id] -= 1
                counts = Counter(each.job.tenant_id for each in running)
                behind = [counts[tenant] for tenant in tenants if waiting[tenant] > 0]
                assert not behind or counts[claim.job.tenant_id] <= min(behind) + 1
            else:
                ended = running.pop(0)
                jobs.finish(session, ended.job.id, ended.token, "succeeded")
        assert sum(waiting.values()) == 0, "every job ran"
        undone.rollback()


@pytest.fixture(autouse=True)
def _alone(request: pytest.FixtureRequest) -> None:
    if "session" in request.fixturenames:
        session: Session = request.getfixturevalue("session")
        session.query(Job).filter(Job.status == "queued").update({"status": "paused"})
