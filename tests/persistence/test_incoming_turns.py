"""Of several requests for one upload the newest goes on, from where the one before let go."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from persistence import incoming_turns, incoming_uploads, quotas, verifications
from persistence.errors import Conflict, UploadFailed, UploadSuperseded
from persistence.store.incoming import Kept, Part, Tail
from persistence.tables import IncomingPart, IncomingUpload
from tests.fixtures.records import ERROR, make_tenant

HOUR = timedelta(hours=1)


@pytest.fixture
def tenant(session: Session) -> uuid.UUID:
    return make_tenant(session)


@pytest.fixture
def upload(session: Session, tenant: uuid.UUID) -> uuid.UUID:
    return incoming_uploads.begin(session, tenant, "a.zip", 100, HOUR).id


def take(session: Session, upload: uuid.UUID) -> uuid.UUID:
    return incoming_turns.take(session, session.get_one(IncomingUpload, upload).tenant_id, upload)


def advance(session: Session, upload: uuid.UUID, token: uuid.UUID, before: int, after: int) -> int:
    return incoming_turns.advance(session, upload, token, before, Kept(after), HOUR).received


def test_who_is_told_to_stop_may_keep_what_came_until_the_next_one_starts(session: Session, upload: uuid.UUID) -> None:
    old = take(session, upload)
    assert incoming_turns.vacated(session, upload, old)
    incoming_turns.start(session, upload, old)
    new = take(session, upload)
    with pytest.raises(UploadSuperseded):
        incoming_turns.check(session, upload, old)
    assert not incoming_turns.vacated(session, upload, new)
    assert advance(session, upload, old, 0, 10) == 10
    incoming_turns.release(session, upload, old)
    assert incoming_turns.vacated(session, upload, new)
    assert incoming_turns.start(session, upload, new).received == 10
    assert advance(session, upload, new, 10, 20) == 20


def test_after_the_next_one_started_nothing_of_the_old_one_counts(session: Session, upload: uuid.UUID) -> None:
    old = take(session, upload)
    new = take(session, upload)
    incoming_turns.start(session, upload, new)
    for late in (
        lambda: advance(session, upload, old, 0, 10),
        lambda: incoming_turns.next_part(session, upload, old),
        lambda: incoming_turns.complete(session, upload, old, "0" * 64, 100, HOUR),
    ):
        with pytest.raises(UploadSuperseded):
            late()
    assert not incoming_turns.end(session, upload, old)
    assert incoming_turns.start(session, upload, new).received == 0


def test_of_two_that_wait_the_newer_one_starts(session: Session, upload: uuid.UUID) -> None:
    first, second, third = (take(session, upload) for _ in range(3))
    with pytest.raises(UploadSuperseded):
        incoming_turns.vacated(session, upload, second)
    incoming_turns.release(session, upload, second)
    assert not incoming_turns.vacated(session, upload, third), "the first one still writes"
    assert advance(session, upload, first, 0, 10) == 10
    incoming_turns.release(session, upload, first)
    assert incoming_turns.vacated(session, upload, third)


def test_what_is_recorded_goes_on_from_where_its_writer_began(session: Session, upload: uuid.UUID) -> None:
    token = take(session, upload)
    kept = Kept(30, (Part(1, "a", 10), Part(2, "b", 10)), Tail("rest", 10))
    row = incoming_turns.advance(session, upload, token, 0, kept, HOUR)
    assert (row.received, row.tail, row.tail_size) == (30, "rest", 10)
    for before in (0, 20, 40):
        with pytest.raises(UploadSuperseded):
            advance(session, upload, token, before, 50)
    row = incoming_turns.advance(session, upload, token, 30, Kept(40, (Part(4, "c", 20),)), HOUR)
    assert (row.received, row.tail, row.tail_size) == (40, None, 0)
    parts = select(IncomingPart.number, IncomingPart.size).where(IncomingPart.upload_id == upload)
    assert sorted(session.execute(parts).all()) == [(1, 10), (2, 10), (4, 20)]
    incoming_uploads.delete(session, upload)
    assert session.execute(parts).all() == []


def test_no_part_number_is_given_out_twice(session: Session, upload: uuid.UUID) -> None:
    old = take(session, upload)
    numbers = [incoming_turns.next_part(session, upload, old)]
    new = take(session, upload)
    numbers += [incoming_turns.next_part(session, upload, token) for token in (old, new, new)]
    assert numbers == [1, 2, 3, 4]


def test_to_what_is_verified_or_failed_nobody_adds(session: Session, tenant: uuid.UUID, upload: uuid.UUID) -> None:
    token = take(session, upload)
    assert verifications.begin(session, upload).received == 100
    with pytest.raises(UploadSuperseded):
        verifications.begin(session, upload)
    with pytest.raises(UploadSuperseded):
        advance(session, upload, token, 100, 100)
    with pytest.raises(Conflict, match="being verified"):
        take(session, upload)
    claim = verifications.claim(session, upload, "worker-1", 30.0)
    assert claim is not None
    assert quotas.used(session, tenant, "bytes") == 100
    verifications.fail(session, upload, claim.token, ERROR)
    with pytest.raises(UploadFailed, match="the trainer died"):
        take(session, upload)
    assert quotas.used(session, tenant, "bytes") == 0


def test_what_waits_for_a_worker_does_not_expire(session: Session, tenant: uuid.UUID, upload: uuid.UUID) -> None:
    verifications.begin(session, upload)
    session.execute(update(IncomingUpload).values(expires_at=func.now() - timedelta(days=9)))
    assert incoming_uploads.get(session, tenant, upload).status == "verifying"
    assert [row.id for row in incoming_uploads.list_page(session, tenant, "verifying").rows] == [upload]
    assert (incoming_uploads.expired(session), incoming_uploads.forget(session)) == ([], 0)
    assert not incoming_uploads.empty(session, upload)
    assert quotas.used(session, tenant, "bytes") == 100
