"""A valid key is always needed, and shows one tenant's things only."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from persistence import api_keys
from persistence.database import transaction
from persistence.scopes import SCOPES
from tests.api.seeds import Seeds
from tests.api.test_errors import problem

PUBLIC = {"/healthz", "/readyz", "/openapi.json", "/docs", "/docs/oauth2-redirect"}


def test_every_documented_operation_but_health_needs_a_key(anonymous: TestClient) -> None:
    paths = anonymous.get("/openapi.json").json()["paths"]
    for path, operations in paths.items():
        if path in PUBLIC:
            continue
        for method, operation in operations.items():
            [needed] = [scope for security in operation["security"] for scope in security["ApiKey"]]
            assert needed in SCOPES, (method, path)
            address = path.format(**{name: str(uuid.uuid4()) for name in _parameters(path)})
            sent: dict[str, str] | None = {} if method == "post" else None
            assert anonymous.request(method, address, json=sent).status_code == 401, (method, path)


def _parameters(path: str) -> list[str]:
    return [part[1:-1] for part in path.split("/") if part.startswith("{")]


@pytest.mark.parametrize("header", ["", "Basic YTpi", "Bearer", "Bearer mt_wrong", "Bearer \xe9", "mt_wrong"])
def test_anything_but_a_valid_key_is_refused(anonymous: TestClient, header: str) -> None:
    response = anonymous.get("/v1/jobs", headers=[(b"Authorization", header.encode("latin-1"))])
    problem(response, 401, "unauthenticated")
    assert response.headers["www-authenticate"].startswith('Bearer realm="masktune"')


def test_a_revoked_key_is_refused(client: TestClient, sessions: sessionmaker[Session]) -> None:
    assert client.get("/v1/jobs").status_code == 200
    with transaction(sessions) as session:
        for key in api_keys.list_keys(session):
            api_keys.revoke(session, key.id)
    problem(client.get("/v1/jobs"), 401, "unauthenticated")


def test_using_a_key_is_noted(client: TestClient, sessions: sessionmaker[Session]) -> None:
    client.get("/v1/jobs")
    with transaction(sessions) as session:
        assert api_keys.list_keys(session)[0].last_used_at is not None


def test_what_belongs_to_another_tenant_is_not_there(
    client: TestClient, stranger: dict[str, str], seeds: Seeds
) -> None:
    job, dataset = seeds.finished_job(), seeds.pictured_dataset()
    checkpoint, upload = seeds.stored_checkpoint(b"weights"), seeds.upload()
    own = {
        f"/v1/jobs/{job}": "job",
        f"/v1/jobs/{job}/events": "job",
        f"/v1/jobs/{job}/metrics": "job",
        f"/v1/jobs/{job}/artifacts": "job",
        f"/v1/jobs/{job}/samples": "job",
        f"/v1/jobs/{job}/samples/0": "job",
        f"/v1/jobs/{job}/samples/0/image": "job",
        f"/v1/datasets/{dataset}": "dataset",
        f"/v1/datasets/{dataset}/images": "dataset",
        f"/v1/datasets/{dataset}/images/0": "dataset",
        f"/v1/checkpoints/{checkpoint}": "checkpoint",
        f"/v1/checkpoints/{checkpoint}/content": "checkpoint",
        f"/v1/uploads/{upload}": "upload",
    }
    for path, kind in own.items():
        assert client.get(path).status_code == 200, path
        problem(client.get(path, headers=stranger), 404, f"{kind}_not_found")
    problem(client.post(f"/v1/jobs/{job}/cancel", headers=stranger), 404, "job_not_found")
    for noun, name in (("jobs", job), ("datasets", dataset), ("checkpoints", checkpoint), ("uploads", upload)):
        assert client.delete(f"/v1/{noun}/{name}", headers=stranger).status_code == 404
        assert client.get(f"/v1/{noun}", headers=stranger).json()["data"] == []
        assert client.get(f"/v1/{noun}").json()["data"] != []
    for body in ({"dataset_id": str(dataset)}, {"dataset_id": str(dataset), "checkpoint_id": str(checkpoint)}):
        problem(client.post("/v1/jobs", json=body, headers=stranger), 404, "dataset_not_found")
    body = {"name": "stolen", "upload_id": str(upload)}
    problem(client.post("/v1/datasets", json=body, headers=stranger), 404, "upload_not_found")


def test_two_keys_of_a_tenant_see_the_same(client: TestClient, make_key: Callable[[str], str], seeds: Seeds) -> None:
    job = seeds.job()
    headers = {"Authorization": f"Bearer {make_key('acme')}"}
    assert client.get(f"/v1/jobs/{job}", headers=headers).status_code == 200
