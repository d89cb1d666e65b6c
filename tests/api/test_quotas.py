"""A tenant keeps no more than it may, and the disk keeps some room."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from api.main import create_app
from persistence import objects, tenants
from persistence.database import transaction
from persistence.settings import Settings
from persistence.tables import Tenant
from tests.api.conftest import serving
from tests.api.seeds import Seeds
from tests.api.test_errors import problem
from tests.api.tus import CONTENT, TUS, begin


class TestQuota:
    def limited(self, sessions: sessionmaker[Session], **quotas: int) -> None:
        with transaction(sessions) as session:
            session.execute(update(Tenant).where(Tenant.name == "acme").values(**quotas))
            assert tenants.get_or_create(session, "acme")

    def test_bytes_that_are_announced_count(self, client: TestClient, sessions: sessionmaker[Session]) -> None:
        self.limited(sessions, quota_bytes=len(CONTENT) + 10)
        path = begin(client)
        headers = TUS | {"Upload-Length": "11"}
        document = problem(client.post("/v1/uploads", headers=headers), 413, "quota_exceeded")
        assert (document["limit"], document["usage"], document["requested"]) == (
            len(CONTENT) + 10,
            len(CONTENT),
            11,
        )
        problem(client.put("/v1/uploads/a", content=b"x" * 11), 413, "quota_exceeded")
        problem(client.put("/v1/uploads/a", content=iter([b"x" * 11])), 413, "quota_exceeded")
        assert client.put("/v1/uploads/a", content=b"x" * 10).status_code == 201
        client.delete(path)
        assert client.post("/v1/uploads", headers=headers).status_code == 201

    def test_the_same_bytes_count_once(self, client: TestClient, sessions: sessionmaker[Session]) -> None:
        self.limited(sessions, quota_bytes=2 * len(CONTENT))
        first = client.put("/v1/uploads/a", content=CONTENT)
        assert client.post("/v1/datasets", json={"name": "a", "upload_id": first.json()["id"]}).status_code == 202
        assert [client.put("/v1/uploads/a", content=CONTENT).status_code for _ in range(3)] == [201] * 3

    def test_of_many_at_once_only_those_that_fit(self, client: TestClient, sessions: sessionmaker[Session]) -> None:
        self.limited(sessions, quota_bytes=500)
        answers: list[int] = []
        threads = [
            threading.Thread(
                target=lambda: answers.append(
                    client.post("/v1/uploads", headers=TUS | {"Upload-Length": "100"}).status_code
                )
            )
            for _ in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [201] * 5 + [413] * 7

    def test_of_many_files_at_once_only_those_that_fit(
        self, settings: Settings, key: str, sessions: sessionmaker[Session], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each is let in before the first is recorded."""
        self.limited(sessions, quota_bytes=500)
        at_the_door = threading.Barrier(8)
        refer = objects.refer

        def refer_together(session: Session, held: objects.Held) -> None:
            at_the_door.wait(20)
            refer(session, held)

        monkeypatch.setattr(objects, "refer", refer_together)
        with serving(settings) as (url, _), httpx.Client(base_url=url, timeout=30) as client:
            headers = {"Authorization": f"Bearer {key}"}

            def put(number: int) -> int:
                return client.put("/v1/uploads/a", content=bytes([number]) * 100, headers=headers).status_code

            with ThreadPoolExecutor(8) as pool:
                answers = sorted(pool.map(put, range(8)))
            assert answers == [201] * 5 + [413] * 3
            assert sum(upload["size"] for upload in client.get("/v1/uploads", headers=headers).json()["data"]) == 500

    def test_data_sets(self, client: TestClient, sessions: sessionmaker[Session]) -> None:
        self.limited(sessions, quota_datasets=1)
        body = {"name": "a", "upload_id": client.put("/v1/uploads/a", content=b"x").json()["id"]}
        assert client.post("/v1/datasets", json=body).status_code == 202
        document = problem(client.post("/v1/datasets", json=body), 429, "too_many_datasets")
        assert (document["limit"], document["usage"]) == (1, 1)

    def test_unfinished_jobs(self, client: TestClient, seeds: Seeds, sessions: sessionmaker[Session]) -> None:
        self.limited(sessions, quota_jobs=1)
        body = {"dataset_id": str(seeds.dataset()), "preset": "biased_mnist"}
        first = client.post("/v1/jobs", json=body)
        assert first.status_code == 201
        document = problem(client.post("/v1/jobs", json=body), 429, "too_many_jobs")
        assert (document["limit"], document["usage"], document["requested"]) == (1, 1, 1)
        assert "cancel one" in document["detail"]
        client.post(f"/v1/jobs/{first.json()['id']}/cancel")
        assert client.post("/v1/jobs", json=body).status_code == 201


def test_a_file_for_which_there_is_no_room_is_refused_unsent(settings: Settings, key: str) -> None:
    full = settings.model_copy(update={"disk_headroom_bytes": 2**60})
    with TestClient(create_app(full), headers={"Authorization": f"Bearer {key}"}) as client:
        response = client.post("/v1/uploads", headers=TUS | {"Upload-Length": "5"})
        assert problem(response, 507, "out_of_disk")["needed"] > 2**60
        assert client.get("/v1/uploads?status=receiving").json()["data"] == []
