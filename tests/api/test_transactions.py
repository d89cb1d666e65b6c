"""One request = one transaction, committed before the answer; tasks leave only after it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import event, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from api.main import create_app
from api.services import Services
from persistence import jobs, turns
from persistence.database import transaction
from persistence.settings import Settings
from persistence.tables import Dataset, Job
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


@contextmanager
def in_the_way(client: TestClient, path: str, holder: Session) -> Iterator[Future[Any]]:
    """A request that waits for what `holder` has locked; it is answered when the block and `holder` are done."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.post, path)
        while not holder.scalar(waiting):
            assert not answer.done(), answer.result().text
            holder.execute(text("SELECT pg_stat_clear_snapshot()"))
        yield answer
        holder.commit()


def cancelled_job(seeds: Seeds) -> uuid.UUID:
    job_id = seeds.job()
    with transaction(seeds.sessions) as session:
        jobs.request_cancel(session, seeds.tenant_id, job_id)
    return job_id


def test_who_resumes_a_job_waits_for_it_before_the_tenant_as_who_claims_it_does(
    client: TestClient, seeds: Seeds
) -> None:
    job_id = cancelled_job(seeds)
    with seeds.sessions() as claim:
        claim.execute(select(Job).where(Job.id == job_id).with_for_update(key_share=True))
        with in_the_way(client, f"/v1/jobs/{job_id}/resume", claim) as answer:
            turns.served(claim, seeds.tenant_id)
    assert (answer.result().status_code, answer.result().json()["status"]) == (200, "queued")


def test_a_request_that_gives_way_to_another_may_be_sent_again(client: TestClient, seeds: Seeds) -> None:
    job_id = cancelled_job(seeds)
    with seeds.sessions() as other:
        other.execute(text("SET LOCAL deadlock_timeout = '1min'"))  # it is the request that gives way
        other.execute(select(Job).where(Job.id == job_id).with_for_update(key_share=True))
        with in_the_way(client, f"/v1/jobs/{job_id}/resume", other) as answer:
            dataset_id = other.scalars(select(Job.dataset_id).where(Job.id == job_id)).one()
            other.execute(select(Dataset).where(Dataset.id == dataset_id).with_for_update())
    refusal = problem(answer.result(), 503, "service_unavailable")
    assert refusal["detail"] == "Another request was in the way; nothing was changed. Try again."
    assert int(answer.result().headers["retry-after"]) > 0
    assert client.post(f"/v1/jobs/{job_id}/resume").status_code == 200
