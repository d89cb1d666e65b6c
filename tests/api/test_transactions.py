"""One request = one transaction, committed before the answer; tasks leave only after it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydantic import SecretStr
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from api.main import create_app
from api.services import Services
from persistence.settings import Settings
from tests.api.seeds import Seeds
from tests.api.test_errors import problem


@contextmanager
def failing_commits(client: TestClient, error: Exception) -> Iterator[None]:
    """Every commit of the application raises `error`."""
    services: Services = client.app.state.services  # type: ignore[attr-defined]  # the ASGI type has no state
    sessions = services.sessions

    def fail(_session: Session) -> None:
        raise error

    event.listen(sessions, "before_commit", fail)
    try:
        yield
    finally:
        event.remove(sessions, "before_commit", fail)


def recorded_sends(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, uuid.UUID]]:
    """What the application sends to the broker from now on."""
    services: Services = client.app.state.services  # type: ignore[attr-defined]  # the ASGI type has no state
    sent: list[tuple[str, uuid.UUID]] = []

    def send(kind: str, row_id: uuid.UUID) -> bool:
        sent.append((kind, row_id))
        return True

    monkeypatch.setattr(services.dispatcher, "send", send)
    return sent


def lost() -> OperationalError:
    return OperationalError("COMMIT", {}, Exception("server closed the connection unexpectedly"))


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(RuntimeError("broken"), 500, "internal_error"), (lost(), 503, "service_unavailable")],
)
def test_a_failing_commit_is_not_a_success(
    client: TestClient, seeds: Seeds, error: Exception, status: int, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = recorded_sends(client, monkeypatch)
    dataset, job = seeds.dataset(), seeds.job()
    upload = seeds.upload()
    with failing_commits(client, error):
        problem(client.post("/v1/jobs", json={"dataset_id": str(dataset)}), status, code)
        problem(client.post("/v1/datasets", json={"name": "a", "upload_id": str(upload)}), status, code)
        problem(client.post(f"/v1/jobs/{job}/cancel"), status, code)
        problem(client.delete(f"/v1/uploads/{upload}"), status, code)
        problem(client.put("/v1/uploads/a.zip", content=b"a"), status, code)
        problem(client.get("/v1/jobs"), status, code)
    assert sent == []
    assert [found["id"] for found in client.get("/v1/jobs").json()["data"]] == [str(job)]
    assert client.get(f"/v1/jobs/{job}").json()["status"] == "queued"
    assert client.get(f"/v1/uploads/{upload}").status_code == 200


def test_an_unavailable_service_says_when_to_try_again(client: TestClient) -> None:
    with failing_commits(client, lost()):
        assert client.get("/v1/jobs").headers["retry-after"] == "2"


def test_a_refused_request_sends_nothing(client: TestClient, seeds: Seeds, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = recorded_sends(client, monkeypatch)
    body = {"dataset_id": str(seeds.dataset()), "config": {"data": {"group_by": "place"}}}
    problem(client.post("/v1/jobs", json=body), 422, "unknown_attribute")
    assert sent == []


def test_without_a_database_the_process_lives_but_is_not_ready(settings: Settings) -> None:
    away = SecretStr("postgresql+psycopg://nobody@/nothing?host=/nonexistent")
    with TestClient(create_app(settings.model_copy(update={"database_url": away}))) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        response = client.get("/readyz")
        checks = {"database": "unavailable", "store": "ok", "broker": "ok"}
        assert problem(response, 503, "service_unavailable")["checks"] == checks
        assert response.headers["retry-after"] == "2"
        headers = {"Authorization": "Bearer mt_" + "x" * 43}
        for response in (
            client.get("/v1/jobs", headers=headers),
            client.get(f"/v1/jobs/{uuid.uuid4()}", headers=headers),
            client.put("/v1/uploads/a.zip", content=b"a", headers=headers),
            client.post("/v1/jobs", json={}, headers=headers),
        ):
            problem(response, 503, "service_unavailable")
            assert response.headers["retry-after"] == "2"


def test_with_everything_there_it_is_ready(anonymous: TestClient) -> None:
    ready = {"status": "ready", "checks": {"database": "ok", "store": "ok", "broker": "ok"}}
    assert anonymous.get("/readyz").json() == ready
