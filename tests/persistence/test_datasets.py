"""Data sets: from an upload to a checked archive with a row per image."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from persistence import datasets, jobs
from persistence.errors import Conflict, LeaseLost, NotFound
from persistence.intakes import MAX_ATTEMPTS
from persistence.tables import Dataset, DatasetImage
from tests.fixtures.records import ERROR, image_row, job_in, make_dataset, make_job, make_object, make_tenant


def _claim(session: Session, dataset: Dataset) -> datasets.Claim:
    claim = datasets.claim(session, dataset.id, "worker-1", 30.0)
    assert claim is not None
    return claim


def _expire(session: Session, dataset: Dataset) -> None:
    session.execute(
        update(Dataset)
        .where(Dataset.id == dataset.id)
        .values(lease_expires_at=Dataset.lease_expires_at - timedelta(minutes=1))
    )


def test_a_check_that_passes_makes_it_ready_with_all_images(session: Session) -> None:
    dataset = make_dataset(session, make_tenant(session), ready=False)
    assert (dataset.status, dataset.source_filename, dataset.image_count) == ("validating", "images.zip", None)
    claim = _claim(session, dataset)
    archive = make_object(session)
    datasets.finish_ready(
        session,
        dataset.id,
        claim.token,
        archive_sha256=archive,
        size=777,
        images=[image_row(0), image_row(1, attributes=[None], split="test:original")],
        layout="metadata_csv",
        classes=["a", "b"],
        attributes=[{"name": "square", "values": ["no", "yes"]}],
        summary={"splits": {}},
        problems=[{"code": "image_grey", "where": "0.png", "message": "was grey", "severity": "converted"}],
        total=250,
    )
    session.refresh(dataset)
    assert (dataset.status, dataset.archive_sha256, dataset.archive_size) == ("ready", archive, 777)
    assert (dataset.image_count, dataset.classes, dataset.problem_count) == (2, ["a", "b"], 250)
    assert (dataset.lease_token, dataset.error) == (None, None)
    assert dataset.finished_at is not None
    image = datasets.get_image(session, dataset.id, 1)
    assert (image.name, image.split, image.attributes, image.offset) == (
        "images/0001.png",
        "test:original",
        [None],
        1000,
    )
    with pytest.raises(NotFound, match="no image 2"):
        datasets.get_image(session, dataset.id, 2)


def test_a_check_that_fails_names_the_problems(session: Session) -> None:
    dataset = make_dataset(session, make_tenant(session), ready=False)
    problems = [{"code": "missing_split", "where": "train", "message": "no train split", "severity": "error"}]
    datasets.finish_invalid(session, dataset.id, _claim(session, dataset).token, problems, 1)
    session.refresh(dataset)
    assert (dataset.status, dataset.problems, dataset.problem_count) == ("invalid", problems, 1)
    assert datasets.claim(session, dataset.id, "worker-2", 30.0) is None


def test_one_worker_checks_and_a_stale_one_writes_nothing(session: Session) -> None:
    dataset = make_dataset(session, make_tenant(session), ready=False)
    datasets.mark_dispatched(session, dataset.id)
    stale = _claim(session, dataset)
    assert datasets.claim(session, dataset.id, "worker-2", 30.0) is None
    assert datasets.take_back_expired(session, dataset.id) is None
    _expire(session, dataset)
    assert list(datasets.expired(session)) == [dataset.id]
    assert datasets.take_back_expired(session, dataset.id) == "validating"
    session.refresh(dataset)
    assert dataset.dispatched_at is None, "it is due to be sent at once"
    fresh = _claim(session, dataset)
    assert (stale.attempt, fresh.attempt) == (1, 2)
    for write in (
        lambda: datasets.renew(session, dataset.id, stale.token, 30.0),
        lambda: datasets.hand_back(session, dataset.id, stale.token, ERROR),
        lambda: datasets.finish_invalid(session, dataset.id, stale.token, [], 0),
        lambda: datasets.finish_ready(
            session,
            dataset.id,
            stale.token,
            archive_sha256=make_object(session),
            size=1,
            images=[image_row(0)],
            layout="folders",
            classes=[],
            attributes=[],
            summary={},
        ),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert session.scalar(select(func.count()).where(DatasetImage.dataset_id == dataset.id)) == 0
    assert datasets.renew(session, dataset.id, fresh.token, 30.0) == "validating"


def test_a_check_that_keeps_crashing_ends_as_invalid(session: Session) -> None:
    dataset = make_dataset(session, make_tenant(session), ready=False)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        status = datasets.hand_back(session, dataset.id, _claim(session, dataset).token, ERROR)
        assert status == ("validating" if attempt < MAX_ATTEMPTS else "invalid")
    session.refresh(dataset)
    assert dataset.error is not None
    assert (dataset.error["code"], dataset.error["cause"]) == ("attempts_exhausted", ERROR)


def test_waiting_data_sets_are_sent_again(session: Session) -> None:
    dataset = make_dataset(session, make_tenant(session), ready=False)
    assert list(datasets.undispatched(session, 0.0)) == [dataset.id]
    datasets.mark_dispatched(session, dataset.id)
    assert list(datasets.undispatched(session, 60.0)) == []
    _claim(session, dataset)
    assert list(datasets.undispatched(session, 0.0)) == []


def test_deleting_is_refused_while_unfinished_jobs_use_it(session: Session) -> None:
    tenant = make_tenant(session)
    dataset = make_dataset(session, tenant)
    job = make_job(session, tenant, dataset_id=dataset.id)
    with pytest.raises(Conflict) as refused:
        datasets.delete(session, tenant, dataset.id)
    assert refused.value.code == "dataset_in_use"
    jobs.request_cancel(session, tenant, job.id)
    datasets.delete(session, tenant, dataset.id)
    assert session.scalar(select(func.count()).where(DatasetImage.dataset_id == dataset.id)) == 0
    with pytest.raises(NotFound):
        datasets.get(session, tenant, dataset.id)


def test_a_data_set_deleted_during_its_check_is_gone_for_the_worker(session: Session) -> None:
    tenant = make_tenant(session)
    dataset = make_dataset(session, tenant, ready=False)
    token = _claim(session, dataset).token
    datasets.delete(session, tenant, dataset.id)
    with pytest.raises(LeaseLost):
        datasets.renew(session, dataset.id, token, 30.0)


def test_another_tenant_finds_nothing(session: Session) -> None:
    dataset = make_dataset(session, make_tenant(session))
    stranger = make_tenant(session)
    assert datasets.list_page(session, stranger).rows == []
    for action in (datasets.get, datasets.delete):
        with pytest.raises(NotFound):
            action(session, stranger, dataset.id)


def test_lists_and_pages(session: Session) -> None:
    tenant = make_tenant(session)
    made = [make_dataset(session, tenant, ready=number % 2 == 0) for number in range(5)]
    for status in (None, "ready", "validating", "invalid"):
        expected = [dataset.id for dataset in reversed(made) if status in (None, dataset.status)]
        seen: list[uuid.UUID] = []
        after = None
        while True:
            page = datasets.list_page(session, tenant, status=status, after=after, limit=2)
            seen += [dataset.id for dataset in page.rows]
            if page.next is None:
                break
            assert isinstance(page.next, uuid.UUID)
            after = page.next
        assert seen == expected


def test_image_pages_follow_the_index_under_filters(session: Session) -> None:
    dataset = make_dataset(session, make_tenant(session), images=10)
    page = datasets.images_page(session, dataset.id, label=1, limit=2)
    assert ([image.index for image in page.rows], page.next) == ([1, 3], 3)
    page = datasets.images_page(session, dataset.id, label=1, split="train", after=3, limit=5)
    assert ([image.index for image in page.rows], page.next) == ([5, 7, 9], None)
    assert datasets.images_page(session, dataset.id, split="val").rows == []


def test_a_job_that_runs_keeps_its_data_set(session: Session) -> None:
    job, _ = job_in(session, "cancelling")
    assert job.dataset_id is not None
    with pytest.raises(Conflict):
        datasets.delete(session, job.tenant_id, job.dataset_id)
