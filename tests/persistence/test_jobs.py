"""Creating, finding, listing and cancelling jobs."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import delete, event, func, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from masktune_core.config import PRESETS, JobConfig
from persistence import artifacts, datasets, events, jobs, metrics, samples
from persistence.database import transaction
from persistence.errors import Conflict, IdempotencyMismatch, NotFound
from persistence.tables import Artifact, Checkpoint, Dataset, Event, Job, Metric, Sample, Tenant, Upload
from tests.fixtures.records import (
    claim_job,
    fake_hash,
    job_in,
    make_checkpoint,
    make_dataset,
    make_job,
    make_object,
    make_tenant,
    sample_row,
)


def test_a_new_job_is_queued_with_its_whole_configuration(session: Session) -> None:
    tenant = make_tenant(session)
    dataset = make_dataset(session, tenant)
    checkpoint = make_checkpoint(session, tenant)
    config = PRESETS["waterbirds"]
    job, created = jobs.create(
        session, tenant_id=tenant, dataset_id=dataset.id, checkpoint_id=checkpoint.id, name="birds", config=config
    )
    assert created
    assert (job.status, job.attempt, job.max_attempts, job.event_seq) == ("queued", 0, 3, 1)
    assert JobConfig.model_validate(job.config) == config
    assert [each.type for each in events.page(session, job.id).rows] == ["job.queued"]


def test_a_job_needs_a_ready_data_set_and_checkpoint_of_its_tenant(session: Session) -> None:
    tenant, other = make_tenant(session), make_tenant(session)
    ready, unready = make_dataset(session, tenant), make_dataset(session, tenant, ready=False)
    foreign = make_dataset(session, other)
    raw_checkpoint = make_checkpoint(session, tenant, ready=False)

    def create(dataset_id: uuid.UUID, checkpoint_id: uuid.UUID | None = None) -> None:
        jobs.create(
            session, tenant_id=tenant, dataset_id=dataset_id, checkpoint_id=checkpoint_id, name="x", config=JobConfig()
        )

    for missing in (foreign.id, uuid.uuid4()):
        with pytest.raises(NotFound) as error:
            create(missing)
        assert error.value.code == "dataset_not_found"
    with pytest.raises(Conflict) as conflict:
        create(unready.id)
    assert conflict.value.code == "dataset_not_ready"
    with pytest.raises(Conflict) as conflict:
        create(ready.id, raw_checkpoint.id)
    assert conflict.value.code == "checkpoint_not_ready"
    with pytest.raises(NotFound) as error:
        create(ready.id, make_checkpoint(session, other).id)
    assert error.value.code == "checkpoint_not_found"

    claim = datasets.claim(session, unready.id, "worker-1", 30.0)
    assert claim is not None
    datasets.finish_invalid(session, unready.id, claim.token, [{"code": "one_class"}], 1)
    with pytest.raises(Conflict) as conflict:
        create(unready.id)
    assert conflict.value.code == "dataset_invalid"


def test_the_same_key_gives_the_same_job_and_another_request_is_refused(session: Session) -> None:
    tenant = make_tenant(session)
    dataset = make_dataset(session, tenant)

    def create(request_hash: str, name: str = "a") -> tuple[Job, bool]:
        return jobs.create(
            session,
            tenant_id=tenant,
            dataset_id=dataset.id,
            name=name,
            config=JobConfig(),
            idempotency_key="key-1",
            request_hash=request_hash,
        )

    first, created = create(fake_hash("body"))
    again, created_again = create(fake_hash("body"))
    assert (created, created_again, again.id) == (True, False, first.id)
    with pytest.raises(IdempotencyMismatch):
        create(fake_hash("another body"))
    assert session.scalar(select(func.count()).where(Job.tenant_id == tenant)) == 1
    assert len(events.page(session, first.id).rows) == 1


def test_tenants_do_not_share_idempotency_keys(session: Session) -> None:
    one = make_job(session, idempotency_key="key", request_hash=fake_hash("a"))
    two = make_job(session, idempotency_key="key", request_hash=fake_hash("b"))
    assert one.id != two.id


def test_of_many_equal_requests_at_once_one_creates(sessions: sessionmaker[Session]) -> None:
    with transaction(sessions) as session:
        tenant = make_tenant(session)
        dataset_id = make_dataset(session, tenant).id
    barrier = threading.Barrier(8)

    def create(_: int) -> tuple[uuid.UUID, bool]:
        barrier.wait()
        with transaction(sessions) as session:
            job, created = jobs.create(
                session,
                tenant_id=tenant,
                dataset_id=dataset_id,
                name="once",
                config=JobConfig(),
                idempotency_key="key",
                request_hash=fake_hash("body"),
            )
            return job.id, created

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(create, range(8)))
    assert len({job_id for job_id, _ in results}) == 1
    assert sum(created for _, created in results) == 1


def test_a_data_set_cannot_be_deleted_while_a_job_is_being_created_on_it(sessions: sessionmaker[Session]) -> None:
    with transaction(sessions) as session:
        tenant = make_tenant(session)
        dataset_id = make_dataset(session, tenant).id
    deleted = threading.Event()

    def delete() -> str:
        try:
            with transaction(sessions) as session:
                datasets.delete(session, tenant, dataset_id)
        except Conflict as refused:
            return refused.code
        finally:
            deleted.set()
        return "deleted"

    with ThreadPoolExecutor(1) as pool:
        with transaction(sessions) as session:
            make_job(session, tenant, dataset_id=dataset_id)
            outcome = pool.submit(delete)
            assert not deleted.wait(0.3)
        assert outcome.result(10) == "dataset_in_use"


def test_a_data_set_found_ready_stays_until_its_job_is_there(sessions: sessionmaker[Session]) -> None:
    with transaction(sessions) as session:
        tenant = make_tenant(session)
        dataset_id = make_dataset(session, tenant).id
    refused: list[OperationalError] = []

    def try_to_delete() -> None:
        with transaction(sessions) as other:
            other.execute(text("SET LOCAL lock_timeout = '100ms'"))
            datasets.delete(other, tenant, dataset_id)

    def delete_meanwhile(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO jobs"):
            with pytest.raises(OperationalError) as error:
                try_to_delete()
            refused.append(error.value)

    with transaction(sessions) as session:
        event.listen(session.connection(), "before_cursor_execute", delete_meanwhile)
        make_job(session, tenant, dataset_id=dataset_id)
    assert len(refused) == 1


def test_another_tenant_finds_nothing(session: Session) -> None:
    job = make_job(session)
    stranger = make_tenant(session)
    assert jobs.get(session, job.tenant_id, job.id).id == job.id
    assert jobs.list_page(session, stranger).rows == []
    for action in (jobs.get, jobs.request_cancel, jobs.delete):
        with pytest.raises(NotFound):
            action(session, stranger, job.id)


def test_pages_show_every_job_once_newest_first(session: Session) -> None:
    tenant = make_tenant(session)
    dataset = make_dataset(session, tenant)
    made = [make_job(session, tenant, dataset_id=dataset.id) for _ in range(7)]
    for job in made[::2]:
        jobs.request_cancel(session, tenant, job.id)
    for status in (None, "queued", "cancelled", "running"):
        expected = [job.id for job in reversed(made) if status in (None, job.status)]
        for limit in (1, 2, 3, 7, 8):
            seen: list[uuid.UUID] = []
            after: uuid.UUID | None = None
            while True:
                page = jobs.list_page(session, tenant, status=status, after=after, limit=limit)
                assert len(page.rows) <= limit
                assert page.has_more == (page.next is not None)
                seen += [job.id for job in page.rows]
                if not page.has_more:
                    break
                assert isinstance(page.next, uuid.UUID)
                after = page.next
            assert seen == expected


def test_deleting_a_job_deletes_what_it_wrote_and_nothing_else(session: Session) -> None:
    job, other = make_job(session), make_job(session)
    for each in (job, other):
        token = claim_job(session, each.id).token
        jobs.enter_stage(session, each.id, token, "evaluating", 0)
        metric = {"stage": "evaluating", "iteration": 0, "epoch": 0, "split": "test", "group": None}
        metrics.upsert(session, each.id, token, [metric | {"name": "accuracy", "value": 1.0, "count": 3}])
        samples.copy_in(session, each.id, token, [sample_row(0)])
        artifacts.put(session, each.id, token, "model", make_object(session), 10, "text/plain")
        jobs.finish(session, each.id, token, "succeeded")
    jobs.delete(session, job.tenant_id, job.id)
    for table in (Event, Metric, Sample, Artifact):
        assert session.scalar(select(func.count()).where(table.job_id == job.id)) == 0
        assert session.scalar(select(func.count()).where(table.job_id == other.id)) or 0 > 0


def test_a_finished_job_outlives_its_data_set(session: Session) -> None:
    job, _ = job_in(session, "succeeded")
    assert job.dataset_id is not None
    datasets.delete(session, job.tenant_id, job.dataset_id)
    session.refresh(job)
    assert job.dataset_id is None
    assert job.status == "succeeded"


def test_a_tenant_goes_with_all_it_owns(session: Session) -> None:
    kept = make_job(session)
    for status in ("queued", "running", "succeeded"):
        job, _ = job_in(session, status)
        make_checkpoint(session, job.tenant_id)
        session.execute(delete(Tenant).where(Tenant.id == job.tenant_id))
        for table in (Job, Dataset, Checkpoint, Upload):
            assert session.scalar(select(func.count()).where(table.tenant_id == job.tenant_id)) == 0
    assert jobs.get(session, kept.tenant_id, kept.id).id == kept.id
