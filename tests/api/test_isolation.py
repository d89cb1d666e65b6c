"""No operation shows or changes what belongs to another tenant, works without a key, or does more than its key may.

Made from the OpenAPI document: a new operation is tested without anybody remembering. One that has a new kind of name
in its path fails here until `Belongings` knows how to make such a thing.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from persistence import api_keys, tenants
from persistence.database import transaction
from persistence.scopes import SCOPES
from persistence.store import ObjectStore
from persistence.tables import Base
from tests.api.operations import PUBLIC, Operation, operations
from tests.api.seeds import Seeds

OPERATIONS = list(operations())
NOT_OF_A_TENANT = {"preset_name"}
# Here the last part of the path is the name of a new file, not an id.
NAMES_A_NEW_FILE = {("put", "/v1/uploads/{upload}")}


class Belongings:
    """One of everything that an id in a path can name, all of tenant acme."""

    def __init__(self, seeds: Seeds) -> None:
        self._seeds = seeds
        self.job = seeds.job(seeds.pictured_dataset())
        token = seeds.claim(self.job)
        seeds.finish_pictured(self.job, token)

    def value(self, operation: Operation, name: str) -> Any:
        """What to put in for `name`; made anew, as an operation may delete it."""
        match name:
            case "job_id":
                return self.job
            case "dataset_id":
                return self._seeds.pictured_dataset()
            case "checkpoint_id":
                return self._seeds.stored_checkpoint(b"weights")
            case "upload" | "upload_id":
                return self._seeds.upload()
            case "key_id":
                return self._seeds.key()
            case "webhook_id":
                return self._seeds.webhook()
            case "preset_name":
                return "biased_mnist"
            case "image_index" | "sample_index":
                return 0
            case "artifact_name":
                return "masktune.safetensors"
        raise AssertionError(f"{operation} has {name!r} in its path: teach this test to make one")

    def values(self, operation: Operation) -> dict[str, Any]:
        if "delivery_id" in operation.parameters:
            return dict(zip(("webhook_id", "delivery_id"), self._seeds.delivery(), strict=True))
        return {name: self.value(operation, name) for name in operation.parameters}

    def all_values(self, operation: Operation) -> Iterator[dict[str, Any]]:
        """The same, once for every form in which the thing may be: of an upload, complete or one of two not yet."""
        yield self.values(operation)
        if "upload" in operation.parameters:
            for direct in (False, True):
                yield {"upload": self._seeds.incoming_upload(direct=direct)}


@pytest.fixture
def belongings(seeds: Seeds) -> Belongings:
    return Belongings(seeds)


@contextmanager
def nothing_changes(sessions: sessionmaker[Session], store: ObjectStore, what: object) -> Iterator[None]:
    """Fails when a row of any table, or any stored object, is not as it was before."""
    before = _everything(sessions, store)
    yield
    after = _everything(sessions, store)
    assert {name for name in before if before[name] != after[name]} == set(), what


def _everything(sessions: sessionmaker[Session], store: ObjectStore) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {
        "objects in the store": sorted(map(str, store.list_all())),
        "unfinished uploads in the store": sorted(map(str, store.incoming.names())),
    }
    with transaction(sessions) as session:
        for table in Base.metadata.tables:
            rows = session.execute(text(f"SELECT to_jsonb(row) - 'last_used_at' FROM {table} AS row")).scalars()
            found[table] = sorted(map(str, rows))
    return found


def operation_at(path: str) -> Operation:
    """An operation with this path."""
    return next(operation for operation in OPERATIONS if operation.path == path)


def about_tenants() -> list[Operation]:
    return [
        operation
        for operation in OPERATIONS
        if set(operation.parameters) - NOT_OF_A_TENANT and (operation.method, operation.path) not in NAMES_A_NEW_FILE
    ]


def test_what_belongs_to_another_tenant_is_not_found_and_stays_as_it_is(
    anonymous: TestClient,
    make_key: Callable[..., str],
    belongings: Belongings,
    sessions: sessionmaker[Session],
    store: ObjectStore,
) -> None:
    stranger = {"Authorization": f"Bearer {make_key('other', scope='admin')}"}
    assert len(about_tenants()) > 20
    for operation in about_tenants():
        for values in belongings.all_values(operation):
            sent = operation.request(values)
            sent["headers"] |= stranger
            with nothing_changes(sessions, store, operation):
                response = anonymous.request(**sent)
            assert response.status_code == 404, (str(operation), response.status_code, response.text)
            if operation.method != "head":
                assert response.json()["code"].endswith("_not_found"), str(operation)


def test_the_owner_sees_what_the_stranger_did_not(
    anonymous: TestClient, make_key: Callable[..., str], belongings: Belongings
) -> None:
    """Else the test above could pass because nothing was there."""
    owner = {"Authorization": f"Bearer {make_key('acme', scope='admin')}"}
    for operation in about_tenants():
        for values in [] if operation.changes else belongings.all_values(operation):
            sent = operation.request(values)
            sent["headers"] |= owner
            response = anonymous.request(**sent)
            assert response.status_code < 300, (str(operation), response.status_code, response.text)


def test_the_owner_changes_the_unfinished_uploads_that_the_stranger_could_not(
    anonymous: TestClient, make_key: Callable[..., str], seeds: Seeds
) -> None:
    """That is, what the stranger sends reaches them but for the key: a wrong offset, parts where there is no S3."""
    owner = {"Authorization": f"Bearer {make_key('acme', scope='admin')}"}
    answers = set()
    for operation in about_tenants():
        if "upload" in operation.parameters and operation.changes:
            for direct in (False, True):
                sent = operation.request({"upload": seeds.incoming_upload(direct=direct)})
                sent["headers"] |= owner
                response = anonymous.request(**sent)
                answers.add((operation.method, direct, response.status_code))
                assert response.status_code in (204, 409), (str(operation), response.text)
    assert answers == {
        *((method, direct, 409) for method in ("patch", "post") for direct in (False, True)),
        *(("delete", direct, 204) for direct in (False, True)),
    }


def test_what_belongs_to_another_tenant_cannot_be_used_in_a_body(
    anonymous: TestClient,
    make_key: Callable[..., str],
    belongings: Belongings,
    sessions: sessionmaker[Session],
    store: ObjectStore,
) -> None:
    stranger = {"Authorization": f"Bearer {make_key('other', scope='admin')}"}
    with transaction(sessions) as session:
        own = Belongings(Seeds(sessions, store, tenants.get_or_create(session, "other").id))
    naming = [operation for operation in OPERATIONS if operation.body_ids()]
    assert len(naming) >= 3
    for operation in naming:
        for foreign in operation.body_ids():

            def ids(name: str, operation: Operation = operation, foreign: str = foreign) -> str:
                return str((belongings if name == foreign else own).value(operation, name))

            sent = operation.request(own.values(operation), ids)
            sent["json"] |= {name: ids(name) for name in operation.body_ids()}
            sent["headers"] |= stranger
            with nothing_changes(sessions, store, (operation, foreign)):
                response = anonymous.request(**sent)
            assert response.status_code == 404, (str(operation), foreign, response.text)


def test_without_a_key_every_operation_but_health_answers_401(
    anonymous: TestClient, belongings: Belongings, sessions: sessionmaker[Session], store: ObjectStore
) -> None:
    values = {name: uuid.uuid4() for operation in OPERATIONS for name in operation.parameters}
    with nothing_changes(sessions, store, "without a key"):
        for operation in OPERATIONS:
            response = anonymous.request(**operation.request(values))
            if operation.path in PUBLIC:
                assert response.status_code == 200, str(operation)
            else:
                assert response.status_code == 401, (str(operation), response.status_code)
                assert response.headers["www-authenticate"].startswith("Bearer"), str(operation)


def test_every_operation_declares_one_scope_that_fits_what_it_does() -> None:
    for operation in OPERATIONS:
        if operation.path in PUBLIC:
            assert operation.scopes == [], str(operation)
            continue
        assert len(operation.scopes) == 1, f"{operation}: give it a Reader, Writer or Admin as its caller"
        assert operation.scopes[0] in SCOPES, str(operation)
        assert operation.scopes != ["read"] or not operation.changes, f"{operation} changes things for a read key"


@pytest.mark.parametrize("held", ["read", "write"])
def test_a_key_may_do_no_more_than_its_scope(
    anonymous: TestClient,
    make_key: Callable[..., str],
    belongings: Belongings,
    sessions: sessionmaker[Session],
    store: ObjectStore,
    held: str,
) -> None:
    key = {"Authorization": f"Bearer {make_key('acme', scope=held)}"}
    beyond = [
        operation for operation in OPERATIONS if any(SCOPES.index(s) > SCOPES.index(held) for s in operation.scopes)
    ]
    assert beyond
    if held == "read":
        assert {str(operation) for operation in OPERATIONS if operation.changes} <= set(map(str, beyond))
    for operation in beyond:
        for values in belongings.all_values(operation):
            sent = operation.request(values)
            sent["headers"] |= key
            with nothing_changes(sessions, store, operation):
                response = anonymous.request(**sent)
            assert response.status_code == 403, (str(operation), response.status_code, response.text)
            if operation.method != "head":
                assert response.json()["code"] == "insufficient_scope", str(operation)


def test_the_comparison_notices_a_change(sessions: sessionmaker[Session], store: ObjectStore, seeds: Seeds) -> None:
    with pytest.raises(AssertionError, match="api_keys"):
        with nothing_changes(sessions, store, "a key more"), transaction(sessions) as session:
            api_keys.create(session, tenants.get_or_create(session, "acme").id, "more")
