"""Submitting, watching, cancelling and deleting jobs."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from pydantic import SecretStr
from starlette.testclient import TestClient

from api.main import create_app
from masktune_core.config import PRESETS
from persistence import jobs
from persistence.database import transaction
from persistence.dispatch import QUEUE_JOBS
from persistence.settings import Settings
from tests.api.seeds import Seeds
from tests.api.test_errors import problem


def submit(client: TestClient, seeds: Seeds, **body: Any) -> Any:
    return client.post("/v1/jobs", json={"dataset_id": str(seeds.dataset()), **body})


@pytest.fixture
def queue(settings: Settings) -> Iterator[list[str]]:
    """Reads the job queue when asked: `queue.read()` would hide that it is the broker's own list."""
    app = Celery(broker=settings.redis_url.get_secret_value(), set_as_current=False)
    taken: list[str] = []

    class Queue(list[str]):
        def read(self) -> list[str]:
            with app.connection_for_read() as connection, connection.SimpleQueue(QUEUE_JOBS) as simple:
                while message := _get(simple):
                    taken.append(message.payload[0][0])
                    message.ack()
            return taken

    yield Queue()
    app.close()


def _get(simple: Any) -> Any:
    try:
        return simple.get_nowait()
    except simple.Empty:
        return None


def test_a_job_is_recorded_resolved_and_sent(client: TestClient, seeds: Seeds, queue: Any) -> None:
    response = submit(client, seeds, preset="biased_mnist", config={"seed": 7, "erm": {"epochs": 2}}, name="mine")
    assert response.status_code == 201, response.text
    job = response.json()
    assert response.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["status"], job["name"], job["attempt"]) == ("queued", "mine", 0)
    assert (job["config"]["preset"], job["config"]["seed"], job["config"]["erm"]["epochs"]) == ("biased_mnist", 7, 2)
    assert client.get(response.headers["location"]).json() == job
    assert queue.read() == [job["id"]]
    assert seeds.look(uuid.UUID(job["id"])).dispatched_at is not None


def test_a_job_without_a_name_is_called_like_its_data_set(client: TestClient, seeds: Seeds) -> None:
    job = submit(client, seeds).json()
    assert job["name"] == client.get(f"/v1/datasets/{job['dataset_id']}").json()["name"]


def test_a_job_posted_while_redis_is_down_is_left_to_the_sweeper(settings: Settings, key: str, seeds: Seeds) -> None:
    away = settings.model_copy(update={"redis_url": SecretStr("redis+socket:///nonexistent/redis.sock")})
    with TestClient(create_app(away), headers={"Authorization": f"Bearer {key}"}) as client:
        response = submit(client, seeds)
        assert response.status_code == 201, response.text
        assert client.get("/readyz").json()["checks"]["broker"] == "unavailable"
    job_id = uuid.UUID(response.json()["id"])
    assert seeds.look(job_id).dispatched_at is None
    with transaction(seeds.sessions) as session:
        assert list(jobs.undispatched(session, 0)) == [job_id]


def test_an_unknown_preset_names_the_known(client: TestClient, seeds: Seeds) -> None:
    document = problem(submit(client, seeds, preset="mnist"), 422, "unknown_preset")
    assert document["presets"] == list(PRESETS)
    assert all(name in document["detail"] for name in PRESETS)
    assert document["errors"][0]["pointer"] == "/preset"


BAD: list[tuple[dict[str, Any], set[str]]] = [
    ({"erm": {"epochs": 0}}, {"/config/erm/epochs"}),
    (
        {"erm": {"epochs": "many", "batch": 1}, "sede": 1},
        {"/config/erm/epochs", "/config/erm/batch", "/config/sede"},
    ),
    ({"erm": 3}, {"/config/erm"}),
    ({"model": {"architecture": "resnet9000"}}, {"/config/model/architecture"}),
    ({"model": {"cam_layer": "a\x00b"}}, {"/config/model/cam_layer"}),
    ({"selective": {"coverages": [1.0, 2.0]}}, {"/config/selective/coverages/1"}),
    ({"preset": "svhn"}, {"/config/preset"}),
    ({"erm": {"select": "best_worst_group", "early_stopping_epochs": 0}}, {"/config/erm/early_stopping_epochs"}),
]


def test_a_bad_configuration_points_at_each_field(client: TestClient, seeds: Seeds) -> None:
    dataset = str(seeds.dataset())
    for config, pointers in BAD:
        response = client.post("/v1/jobs", json={"dataset_id": dataset, "config": config})
        document = problem(response, 422, "invalid_config")
        assert {error["pointer"] for error in document["errors"]} == pointers
    assert client.get("/v1/jobs").json()["data"] == []


def test_a_bottomless_configuration_is_refused(client: TestClient, seeds: Seeds) -> None:
    deep = '{"erm":' * 400 + "1" + "}" * 400
    body = f'{{"dataset_id": "{seeds.dataset()}", "config": {deep}}}'
    response = client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422), response.text


def test_grouping_by_an_attribute_that_is_not_there(client: TestClient, seeds: Seeds) -> None:
    document = problem(submit(client, seeds, config={"data": {"group_by": "place"}}), 422, "unknown_attribute")
    assert document["attributes"] == ["square"]
    assert client.get("/v1/jobs").json()["data"] == []
    assert submit(client, seeds, config={"data": {"group_by": "square"}}).status_code == 201


def test_a_data_set_must_be_ready(client: TestClient, seeds: Seeds) -> None:
    for dataset_id, code in (
        (seeds.dataset(ready=False), "dataset_not_ready"),
        (seeds.invalid_dataset(), "dataset_invalid"),
    ):
        problem(client.post("/v1/jobs", json={"dataset_id": str(dataset_id)}), 409, code)
    problem(client.post("/v1/jobs", json={"dataset_id": str(uuid.uuid4())}), 404, "dataset_not_found")


def test_a_checkpoint_must_fit(client: TestClient, seeds: Seeds) -> None:
    checkpoint = str(seeds.checkpoint())
    assert submit(client, seeds, checkpoint_id=checkpoint).status_code == 201
    other = submit(client, seeds, checkpoint_id=checkpoint, config={"model": {"architecture": "resnet18"}})
    document = problem(other, 422, "checkpoint_architecture_mismatch")
    assert (document["checkpoint"], document["config"]) == ("small_cnn", "resnet18")
    three = str(seeds.stored_checkpoint(b"weights", num_classes=3))
    document = problem(submit(client, seeds, checkpoint_id=three), 422, "checkpoint_classes_mismatch")
    assert (document["checkpoint"], document["dataset"]) == (3, 2)
    waiting = str(seeds.checkpoint(ready=False))
    problem(submit(client, seeds, checkpoint_id=waiting), 409, "checkpoint_not_ready")
    problem(submit(client, seeds, checkpoint_id=str(uuid.uuid4())), 404, "checkpoint_not_found")
    assert len(client.get("/v1/jobs").json()["data"]) == 1


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        (["5-9", "0-4"], "in another order"),
        (["0-4", "other"], "other classes"),
    ],
)
def test_a_checkpoint_that_names_other_classes_is_refused_with_the_way_out(
    client: TestClient, seeds: Seeds, classes: list[str], told: str
) -> None:
    checkpoint = str(seeds.stored_checkpoint(b"weights", classes=classes))
    document = problem(submit(client, seeds, checkpoint_id=checkpoint), 422, "checkpoint_class_names_mismatch")
    assert told in document["detail"]
    assert "'classes'" in document["detail"]
    output = classes.index(document["checkpoint"])
    assert (document["output"], document["dataset"]) == (output, ["0-4", "5-9"][output])
    assert client.get("/v1/jobs").json()["data"] == []
    for named in (["0-4", "5-9"], None):
        checkpoint = str(seeds.stored_checkpoint(b"weights", classes=named))
        assert submit(client, seeds, checkpoint_id=checkpoint).status_code == 201


def test_the_same_key_gives_the_same_job(client: TestClient, seeds: Seeds, queue: Any) -> None:
    body = {"dataset_id": str(seeds.dataset()), "preset": "biased_mnist"}
    headers = {"Idempotency-Key": "abc"}
    first = client.post("/v1/jobs", json=body, headers=headers)
    again = client.post("/v1/jobs", json={"config": {}, **body}, headers=headers)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert queue.read() == [first.json()["id"]]
    problem(client.post("/v1/jobs", json={**body, "name": "x"}, headers=headers), 422, "idempotency_mismatch")
    assert client.post("/v1/jobs", json=body, headers={"Idempotency-Key": "abd"}).status_code == 201
    assert client.post("/v1/jobs", json=body).status_code == 201


def test_a_replay_outlives_the_data_set(client: TestClient, seeds: Seeds) -> None:
    body, headers = {"dataset_id": str(seeds.dataset())}, {"Idempotency-Key": "k"}
    job = client.post("/v1/jobs", json=body, headers=headers).json()
    client.post(f"/v1/jobs/{job['id']}/cancel")
    assert client.delete(f"/v1/datasets/{body['dataset_id']}").status_code == 204
    again = client.post("/v1/jobs", json=body, headers=headers)
    assert (again.status_code, again.json()["id"], again.json()["dataset_id"]) == (200, job["id"], None)


def test_an_unusable_idempotency_key(client: TestClient, seeds: Seeds) -> None:
    body = {"dataset_id": str(seeds.dataset())}
    for given in ("", "x" * 256, "two words"):
        response = client.post("/v1/jobs", json=body, headers={"Idempotency-Key": given})
        assert problem(response, 422, "invalid_request")["errors"][0]["location"] == "header"


def test_a_queued_job_is_cancelled_at_once_and_then_deleted(client: TestClient, seeds: Seeds) -> None:
    path = f"/v1/jobs/{seeds.job()}"
    problem(client.delete(path), 409, "job_not_finished")
    response = client.post(f"{path}/cancel")
    assert (response.status_code, response.json()["status"]) == (200, "cancelled")
    problem(client.post(f"{path}/cancel"), 409, "job_finished")
    assert client.delete(path).status_code == 204
    problem(client.get(path), 404, "job_not_found")


def test_a_running_job_is_cancelling_first(client: TestClient, seeds: Seeds) -> None:
    job_id = seeds.job()
    seeds.claim(job_id)
    for _ in range(2):
        response = client.post(f"/v1/jobs/{job_id}/cancel")
        assert (response.status_code, response.json()["status"]) == (200, "cancelling")


def test_jobs_are_listed_newest_first_in_pages(client: TestClient, seeds: Seeds) -> None:
    dataset = seeds.dataset()
    made = [str(seeds.job(dataset)) for _ in range(5)]
    client.post(f"/v1/jobs/{made[0]}/cancel")
    seen: list[str] = []
    page: dict[str, Any] = {"next": None, "has_more": True}
    while page["has_more"]:
        page = client.get("/v1/jobs", params={"limit": 2, **({"after": page["next"]} if page["next"] else {})}).json()
        seen += [job["id"] for job in page["data"]]
    assert seen == made[::-1]
    cancelled = client.get("/v1/jobs", params={"status": "cancelled"}).json()["data"]
    assert [job["id"] for job in cancelled] == [made[0]]


def test_jobs_are_found_by_data_set_and_by_a_part_of_their_name(client: TestClient, seeds: Seeds) -> None:
    mine, other = seeds.dataset(), seeds.dataset()
    made = {
        (dataset, name): client.post("/v1/jobs", json={"dataset_id": str(dataset), "name": name}).json()["id"]
        for dataset in (mine, other)
        for name in ("First 100%", "first 1000", "Second")
    }

    def found(**query: Any) -> list[str]:
        pages: list[str] = []
        after = None
        while True:
            page = client.get("/v1/jobs", params={"limit": 1, **query, **({"after": after} if after else {})}).json()
            pages += [job["id"] for job in page["data"]]
            after = page["next"]
            if after is None:
                return pages[::-1]

    assert found(dataset_id=str(mine)) == [id_ for (dataset, _), id_ in made.items() if dataset == mine]
    assert found(name="FIRST", dataset_id=str(other)) == [made[other, "First 100%"], made[other, "first 1000"]]
    assert found(name="100%") == [made[mine, "First 100%"], made[other, "First 100%"]]
    assert found(name="first", status="cancelled") == []
    problem(client.get("/v1/jobs?dataset_id=x"), 422, "invalid_request")
    problem(client.get("/v1/jobs?name="), 422, "invalid_request")


def test_metrics_are_filtered(client: TestClient, seeds: Seeds) -> None:
    job_id = seeds.job()
    row = {"stage": "evaluating", "iteration": 0, "epoch": 0, "split": "test", "group": None, "name": "accuracy"}
    empty = {**row, "group": "5-9 · square=no", "value": None, "count": 0}
    rows = [{**row, "value": 0.5, "count": 10}, {**row, "iteration": 1, "value": 0.9, "count": 10}, empty]
    seeds.metrics(job_id, seeds.claim(job_id), rows)
    everything = client.get(f"/v1/jobs/{job_id}/metrics").json()
    assert everything == {"data": rows, "has_more": False, "next": None}
    after = client.get(f"/v1/jobs/{job_id}/metrics", params={"iteration": 1, "name": "accuracy"}).json()["data"]
    assert [found["value"] for found in after] == [0.9]
    problem(client.get(f"/v1/jobs/{job_id}/metrics?stage=cooking"), 422, "invalid_request")
