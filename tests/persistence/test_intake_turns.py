"""No tenant's uploads keep another's from being checked."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from sqlalchemy.orm import Session, sessionmaker

from persistence import checkpoints, datasets, incoming_uploads, intake_turns, verifications
from persistence.database import transaction
from persistence.intake_turns import Row
from persistence.tables import Checkpoint, Dataset
from tests.fixtures.records import make_checkpoint, make_dataset, make_tenant


def take(session: Session, quota: int = 1) -> Row | None:
    return intake_turns.claim_next(session, quota=quota, worker="worker", lease_seconds=60.0)


def drain(session: Session) -> None:
    """Uploads of other tests are none of ours."""
    while take(session, quota=0) is not None:
        pass


def wait_for_check(session: Session, tenant_id: uuid.UUID, count: int = 1) -> list[uuid.UUID]:
    return [make_dataset(session, tenant_id, ready=False).id for _ in range(count)]


def end(session: Session, row: Row) -> None:
    assert row.lease_token is not None
    error = {"code": "bad", "message": "", "stage": None, "retryable": False}
    if isinstance(row, Dataset):
        datasets.finish_invalid(session, row.id, row.lease_token, [], 0, error)
    else:
        checkpoints.finish_invalid(session, row.id, row.lease_token, error)


def test_one_upload_does_not_wait_behind_a_hundred_of_another_tenant(session: Session) -> None:
    drain(session)
    greedy, modest = make_tenant(session), make_tenant(session)
    first, *_ = wait_for_check(session, greedy, 5)
    (only,) = wait_for_check(session, modest)
    taken = [row.id for _ in range(3) if (row := take(session)) is not None]
    assert taken == [first, only], "one of each, and the greedy one has no second slot"


def test_a_tenant_that_has_ended_one_gets_its_next(session: Session) -> None:
    drain(session)
    tenant = make_tenant(session)
    ids = wait_for_check(session, tenant, 3)
    taken = []
    while (row := take(session)) is not None:
        assert take(session) is None
        assert intake_turns.next_up(session, quota=1) is None
        taken.append(row.id)
        end(session, row)
    assert taken == ids, "the oldest first"


def test_checkpoints_and_data_sets_share_a_tenants_slots(session: Session) -> None:
    drain(session)
    tenant = make_tenant(session)
    (dataset,) = wait_for_check(session, tenant)
    checkpoint = make_checkpoint(session, tenant, ready=False)
    row = take(session)
    assert row is not None
    assert row.id == dataset
    assert take(session) is None
    end(session, row)
    assert intake_turns.next_up(session, quota=1) == ("checkpoint", checkpoint.id)
    row = take(session)
    assert isinstance(row, Checkpoint)
    assert (row.id, row.attempt) == (checkpoint.id, 1)


def test_uploads_that_are_verified_take_the_same_turns(session: Session) -> None:
    drain(session)
    greedy, modest = make_tenant(session), make_tenant(session)
    first, second = (make_verifying(session, greedy) for _ in range(2))
    wait_for_check(session, greedy)
    (dataset,) = wait_for_check(session, modest)
    taken = [row.id for _ in range(4) if (row := take(session)) is not None]
    assert taken == [first, dataset], "two large uploads of one tenant do not fill both slots"
    assert second not in taken


def make_verifying(session: Session, tenant_id: uuid.UUID) -> uuid.UUID:
    upload = incoming_uploads.begin(session, tenant_id, "a.zip", 10, timedelta(hours=1))
    return verifications.begin(session, upload.id).id


def test_the_tenant_with_the_fewest_under_way_is_next_and_zero_is_no_limit(session: Session) -> None:
    drain(session)
    first, second = make_tenant(session), make_tenant(session)
    wait_for_check(session, first, 3)
    wait_for_check(session, second, 2)
    tenants = [row.tenant_id for _ in range(6) if (row := take(session, quota=0)) is not None]
    assert tenants == [first, second, first, second, first]


def test_claims_at_the_same_moment_keep_to_the_limit(sessions: sessionmaker[Session]) -> None:
    with transaction(sessions) as session:
        owners = [make_tenant(session) for _ in range(2)]
        for tenant in owners:
            wait_for_check(session, tenant, 4)
    barrier = threading.Barrier(6)

    def claim() -> uuid.UUID | None:
        barrier.wait()
        with transaction(sessions) as session:
            row = take(session, quota=2)
            return None if row is None else row.tenant_id

    with ThreadPoolExecutor(6) as pool:
        taken = [future.result(30) for future in [pool.submit(claim) for _ in range(6)]]
    assert Counter(tenant for tenant in taken if tenant is not None) == dict.fromkeys(owners, 2)
