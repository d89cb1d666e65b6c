"""A row that a worker takes up knows the request that made it; the worker's logs name it from there."""

from __future__ import annotations

import pytest
from sqlalchemy.orm import Session, sessionmaker
from starlette.testclient import TestClient

from persistence.database import transaction
from persistence.tables import Checkpoint, Dataset, Job
from tests.api.seeds import Seeds


@pytest.mark.parametrize("kind", ["jobs", "datasets", "checkpoints"])
def test_what_a_request_made_carries_its_id(
    client: TestClient, seeds: Seeds, sessions: sessionmaker[Session], kind: str
) -> None:
    body = {
        "jobs": {"dataset_id": str(seeds.dataset())},
        "datasets": {"name": "a", "upload_id": str(seeds.upload())},
        "checkpoints": {
            "name": "a",
            "upload_id": str(seeds.upload()),
            "architecture": "small_cnn",
            "num_classes": 2,
        },
    }[kind]
    made = client.post(f"/v1/{kind}", json=body, headers={"X-Request-ID": "find-me"})
    assert made.status_code in (201, 202), made.text
    table = {"jobs": Job, "datasets": Dataset, "checkpoints": Checkpoint}[kind]
    with transaction(sessions) as session:
        row = session.get(table, made.json()["id"])
        assert isinstance(row, Job | Dataset | Checkpoint)
        assert row.request_id == "find-me"
