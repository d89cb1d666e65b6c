"""Parts that go to S3 directly become an upload only once their size and hash are verified."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from api.main import create_app
from persistence.settings import Settings
from tests.api.test_errors import problem
from tests.persistence.store.conftest import s3_bucket, s3_endpoint

__all__ = ["s3_bucket", "s3_endpoint"]

PART = 16 * 2**20
CONTENT = os.urandom(1024) * (17 * 1024)  # 17 MiB: two parts
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def client(settings: Settings, key: str, s3_bucket: str) -> Iterator[TestClient]:
    in_s3 = settings.model_copy(update={"storage_url": f"s3://{s3_bucket}/prefix"})
    with TestClient(create_app(in_s3), headers={"Authorization": f"Bearer {key}"}) as made:
        yield made


def begin(client: TestClient, **changes: Any) -> dict[str, Any]:
    body = {"filename": "a.zip", "size": len(CONTENT), "multipart": True} | changes
    response = client.post("/v1/uploads", json=body)
    assert response.status_code == 201, response.text
    upload: dict[str, Any] = response.json()
    return upload


def send(client: TestClient, upload: dict[str, Any], content: bytes = CONTENT) -> list[dict[str, Any]]:
    """PUT every part to where the service says; the parts as `complete` takes them."""
    numbers = list(range(1, -(-len(content) // PART) + 1))
    urls = client.post(f"/v1/uploads/{upload['id']}/parts", json={"numbers": numbers}).json()["data"]
    parts = []
    for each in urls:
        piece = content[(each["number"] - 1) * PART : each["number"] * PART]
        answer = httpx.put(each["url"], content=piece)
        assert answer.status_code == 200, answer.text
        parts.append({"number": each["number"], "etag": answer.headers["etag"]})
    return parts


def test_parts_make_an_upload(client: TestClient) -> None:
    upload = begin(client, sha256=SHA256)
    assert upload["multipart"] == {"part_size": PART, "parts": 2}
    path = f"/v1/uploads/{upload['id']}"
    body = {"parts": send(client, upload)}
    problem(client.post("/v1/datasets", json={"name": "a", "upload_id": upload["id"]}), 409, "upload_not_complete")
    complete = client.post(f"{path}/complete", json=body)
    assert complete.status_code == 200, complete.text
    assert (complete.json()["status"], complete.json()["sha256"]) == ("complete", SHA256)
    assert client.post(f"{path}/complete", json=body).json() == client.get(path).json() == complete.json()
    assert client.post("/v1/datasets", json={"name": "a", "upload_id": upload["id"]}).status_code == 202


@pytest.mark.parametrize("changes", [{"sha256": "0" * 64}, {"size": len(CONTENT) + 1}])
def test_a_file_that_is_not_the_announced_one_is_deleted(client: TestClient, changes: dict[str, Any]) -> None:
    upload = begin(client, **changes)
    path = f"/v1/uploads/{upload['id']}"
    problem(client.post(f"{path}/complete", json={"parts": send(client, upload)}), 422, "checksum_mismatch")
    problem(client.get(path), 404, "upload_not_found")


def test_missing_parts_are_named_by_s3(client: TestClient) -> None:
    upload = begin(client)
    parts = send(client, upload)
    wrong = [parts[0], {"number": 2, "etag": '"0123"'}]
    path = f"/v1/uploads/{upload['id']}/complete"
    problem(client.post(path, json={"parts": wrong}), 409, "multipart_invalid")
    assert client.post(path, json={"parts": parts}).status_code == 200


def test_what_belongs_to_another_tenant_is_not_found(client: TestClient, stranger: dict[str, str]) -> None:
    path = f"/v1/uploads/{begin(client)['id']}"
    for call, body in (("parts", {"numbers": [1]}), ("complete", {"parts": [{"number": 1, "etag": "x"}]})):
        problem(client.post(f"{path}/{call}", json=body, headers=stranger), 404, "upload_not_found")


def test_the_two_ways_are_not_mixed(client: TestClient) -> None:
    path = f"/v1/uploads/{begin(client)['id']}"
    headers = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    problem(client.patch(path, content=b"x", headers=headers), 409, "upload_is_multipart")
    other = f"/v1/uploads/{begin(client, multipart=False)['id']}"
    problem(client.post(f"{other}/parts", json={"numbers": [1]}), 409, "upload_not_multipart")
    assert client.delete(path).status_code == 204
    problem(client.get(path), 404, "upload_not_found")


def test_tus_works_over_s3_too(client: TestClient) -> None:
    headers = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
    made = client.post("/v1/uploads", content=CONTENT[:5000], headers=headers | {"Upload-Length": str(len(CONTENT))})
    path = made.headers["location"]
    assert client.patch(path, content=CONTENT[5000:], headers=headers | {"Upload-Offset": "5000"}).status_code == 204
    assert client.get(path).json()["sha256"] == SHA256
