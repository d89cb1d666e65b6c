"""Data sets are made from uploads, checked by a worker, and browsed."""

from __future__ import annotations

import io
import uuid
from typing import Any

import numpy as np
import pytest
from celery import Celery
from PIL import Image
from starlette.testclient import TestClient

from persistence.dispatch import QUEUE_INTAKE
from persistence.settings import Settings
from tests.api.pictured import IMAGES, picture
from tests.api.seeds import Seeds
from tests.api.test_errors import problem


def queued(settings: Settings) -> list[tuple[str, str]]:
    """Task and row of every message in the intake queue."""
    app = Celery(broker=settings.redis_url.get_secret_value(), set_as_current=False)
    found = []
    with app.connection_for_read() as connection, connection.SimpleQueue(QUEUE_INTAKE) as queue:
        for _ in range(queue.qsize()):
            message = queue.get()
            found.append((message.headers["task"], message.payload[0][0]))
            message.ack()
    app.close()
    return found


def test_a_data_set_is_accepted_and_sent_to_be_checked(client: TestClient, settings: Settings) -> None:
    upload = client.put("/v1/uploads/a.zip", content=b"zip").json()
    response = client.post("/v1/datasets", json={"name": "Mine", "upload_id": upload["id"]})
    assert response.status_code == 202, response.text
    dataset = response.json()
    assert (dataset["status"], dataset["name"], dataset["classes"]) == ("validating", "Mine", [])
    assert (dataset["source_filename"], dataset["source_sha256"]) == ("a.zip", upload["sha256"])
    assert client.get(response.headers["location"]).json() == dataset
    assert queued(settings) == [("masktune.check_dataset", dataset["id"])]
    assert client.delete(f"/v1/uploads/{upload['id']}").status_code == 204
    assert client.get(response.headers["location"]).status_code == 200


def test_a_checkpoint_is_accepted_and_sent_to_be_checked(client: TestClient, settings: Settings) -> None:
    upload = client.put("/v1/uploads/a.pt", content=b"pt").json()
    body = {"name": "Mine", "upload_id": upload["id"], "architecture": "small_cnn", "num_classes": 2}
    response = client.post("/v1/checkpoints", json=body)
    assert response.status_code == 202, response.text
    assert response.json()["status"] == "validating"
    assert queued(settings) == [("masktune.check_checkpoint", response.json()["id"])]
    assert client.get(response.headers["location"]).json() == response.json()
    for change, pointer in (({"architecture": "resnet9"}, "/architecture"), ({"num_classes": 1}, "/num_classes")):
        document = problem(client.post("/v1/checkpoints", json={**body, **change}), 422, "invalid_request")
        assert [error["pointer"] for error in document["errors"]] == [pointer]


def test_what_an_archive_leaves_open_is_asked_for_and_remembered(client: TestClient) -> None:
    upload = client.put("/v1/uploads/a.zip", content=b"zip").json()
    body = {"name": "Mine", "upload_id": upload["id"]}
    usual = {"seed": 0, "celeba": {"target": "Blond_Hair", "attribute": "Male"}}
    assert client.post("/v1/datasets", json=body).json()["options"] == usual
    asked = {"seed": 7, "celeba": {"target": "Smiling"}}
    dataset = client.post("/v1/datasets", json={**body, "options": asked}).json()
    assert dataset["options"] == {"seed": 7, "celeba": {"target": "Smiling", "attribute": "Male"}}
    assert client.get(f"/v1/datasets/{dataset['id']}").json()["options"] == dataset["options"]


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({"seed": -1}, "/options/seed"),
        ({"seeds": 1}, "/options/seeds"),
        ({"celeba": {"target": "Male"}}, "/options/celeba"),
        ({"celeba": {"target": ""}}, "/options/celeba/target"),
        ({"celeba": {"target": "a\u0000"}}, "/options/celeba/target"),
        ({"celeba": {"attribute": "x" * 51}}, "/options/celeba/attribute"),
    ],
)
def test_options_that_cannot_be_are_named(client: TestClient, options: dict[str, Any], pointer: str) -> None:
    upload = client.put("/v1/uploads/a.zip", content=b"zip").json()
    body = {"name": "Mine", "upload_id": upload["id"], "options": options}
    document = problem(client.post("/v1/datasets", json=body), 422, "invalid_request")
    assert [error["pointer"] for error in document["errors"]] == [pointer]


def test_the_classes_of_a_checkpoint_may_be_named(client: TestClient) -> None:
    upload = client.put("/v1/uploads/a.pt", content=b"pt").json()
    body = {"name": "Mine", "upload_id": upload["id"], "architecture": "small_cnn", "num_classes": 2}
    assert client.post("/v1/checkpoints", json=body).json()["classes"] is None
    named = client.post("/v1/checkpoints", json={**body, "classes": ["0-4", "5-9"]}).json()
    assert named["classes"] == ["0-4", "5-9"]
    for classes in (["0-4"], ["0-4", "5-9", "x"], ["0-4", "0-4"], ["0-4", ""], ["0-4", "x" * 81]):
        problem(client.post("/v1/checkpoints", json={**body, "classes": classes}), 422, "invalid_request")


def test_an_upload_must_exist(client: TestClient) -> None:
    body = {"name": "Mine", "upload_id": str(uuid.uuid4())}
    problem(client.post("/v1/datasets", json=body), 404, "upload_not_found")
    problem(client.post("/v1/datasets", json={"name": "Mine", "upload_id": "x"}), 422, "invalid_request")


def test_an_invalid_data_set_names_its_problems(client: TestClient, seeds: Seeds) -> None:
    dataset = client.get(f"/v1/datasets/{seeds.invalid_dataset()}").json()
    assert (dataset["status"], dataset["problem_count"]) == ("invalid", 1)
    assert dataset["problems"] == [
        {"code": "image_corrupt", "where": "a.png", "message": "it ends early", "severity": "error"}
    ]
    problem(client.get(f"/v1/datasets/{dataset['id']}/images"), 409, "dataset_invalid")


def test_data_sets_are_listed_by_status(client: TestClient, seeds: Seeds) -> None:
    ready, waiting = str(seeds.dataset()), str(seeds.dataset(ready=False))
    found = [dataset["id"] for dataset in client.get("/v1/datasets").json()["data"]]
    assert found == [waiting, ready]
    for status, expected in (("ready", ready), ("validating", waiting)):
        page = client.get("/v1/datasets", params={"status": status}).json()
        assert [dataset["id"] for dataset in page["data"]] == [expected]


def test_a_data_set_in_use_stays(client: TestClient, seeds: Seeds) -> None:
    dataset = seeds.dataset()
    job = seeds.job(dataset)
    problem(client.delete(f"/v1/datasets/{dataset}"), 409, "dataset_in_use")
    client.post(f"/v1/jobs/{job}/cancel")
    assert client.delete(f"/v1/datasets/{dataset}").status_code == 204
    problem(client.get(f"/v1/datasets/{dataset}"), 404, "dataset_not_found")


def test_images_are_browsed_in_pages(client: TestClient, seeds: Seeds) -> None:
    path = f"/v1/datasets/{seeds.pictured_dataset()}/images"
    seen: list[dict[str, Any]] = []
    page: dict[str, Any] = {"next": None, "has_more": True}
    while page["has_more"]:
        page = client.get(path, params={"limit": 4, **({"after": page["next"]} if page["next"] else {})}).json()
        seen += page["data"]
    assert [image["index"] for image in seen] == list(range(IMAGES))
    assert (seen[1]["class_name"], seen[1]["attributes"]) == ("5-9", {"square": "yes"})
    labelled = client.get(path, params={"label": 1, "split": "train"}).json()["data"]
    assert [image["index"] for image in labelled] == [1, 3, 5]
    assert client.get(path, params={"split": "test"}).json()["data"] == []


def test_an_image_comes_as_it_is_stored(client: TestClient, seeds: Seeds) -> None:
    path = f"/v1/datasets/{seeds.pictured_dataset()}/images"
    url = client.get(path).json()["data"][4]["url"]
    response = client.get(url)
    assert response.headers["content-type"] == "image/png"
    assert "immutable" in response.headers["cache-control"]
    with Image.open(io.BytesIO(response.content)) as image:
        assert np.array_equal(np.asarray(image), picture(4))
    assert client.get(url, headers={"If-None-Match": response.headers["etag"]}).status_code == 304
    problem(client.get(f"{path}/{IMAGES}"), 404, "image_not_found")
    problem(client.get(f"/v1/datasets/{seeds.dataset(ready=False)}/images/0"), 409, "dataset_not_ready")


def test_an_image_comes_smaller_when_asked_for_and_never_larger(client: TestClient, seeds: Seeds) -> None:
    url = f"/v1/datasets/{seeds.pictured_dataset()}/images/4"
    whole = client.get(url)
    small = client.get(url, params={"max_side": 5})
    assert (small.headers["content-type"], small.headers["cache-control"]) == (
        "image/webp",
        whole.headers["cache-control"],
    )
    with Image.open(io.BytesIO(small.content)) as image:
        assert image.size == (5, 5)
    assert small.headers["etag"] != whole.headers["etag"]
    again = {"If-None-Match": small.headers["etag"]}
    assert client.get(url, params={"max_side": 5}, headers=again).status_code == 304
    assert client.get(url, headers=again).content == whole.content
    assert client.get(url, params={"max_side": 1000}).content == whole.content
    for size in ("0", "1025", "x"):
        problem(client.get(url, params={"max_side": size}), 422, "invalid_request")


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "²", "9" * 30])
def test_a_cursor_of_another_list(client: TestClient, seeds: Seeds, after: str) -> None:
    response = client.get(f"/v1/datasets/{seeds.dataset()}/images", params={"after": after})
    problem(response, 422, "invalid_request")
