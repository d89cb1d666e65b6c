"""Parts that go to S3 directly become an upload only once their size and hash are verified."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx
import pytest
from starlette.testclient import TestClient

from api.main import create_app
from persistence.errors import Conflict
from persistence.settings import Settings
from persistence.store.multipart import MultipartArea
from tests.api.test_errors import problem
from tests.fixtures.verifying import verifier
from tests.persistence.store.conftest import s3_bucket, s3_endpoint

__all__ = ["s3_bucket", "s3_endpoint"]

PART = 16 * 2**20
CONTENT = os.urandom(1024) * (17 * 1024)  # 17 MiB: two parts
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def in_s3(settings: Settings, s3_bucket: str) -> Settings:
    return settings.model_copy(update={"storage_url": f"s3://{s3_bucket}/prefix"})


@pytest.fixture
def client(in_s3: Settings, key: str) -> Iterator[TestClient]:
    with TestClient(create_app(in_s3), headers={"Authorization": f"Bearer {key}"}) as made:
        yield made


@pytest.fixture
def verify(in_s3: Settings) -> Iterator[Callable[[UUID], None]]:
    with verifier(in_s3) as run:
        yield run


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


def test_parts_make_an_upload(client: TestClient, verify: Callable[[UUID], None]) -> None:
    upload = begin(client, sha256=SHA256)
    assert upload["multipart"] == {"part_size": PART, "parts": 2}
    path, body = f"/v1/uploads/{upload['id']}", {"parts": send(client, upload)}
    of_it = {"name": "a", "upload_id": upload["id"]}
    problem(client.post("/v1/datasets", json=of_it), 409, "upload_not_complete")
    for _ in range(2):  # a client that lost the answer asks again
        together = client.post(f"{path}/complete", json=body)
        assert together.status_code == 202, together.text
        seen = together.json()
        assert (seen["status"], seen["received"], seen["sha256"]) == ("verifying", len(CONTENT), None)
    assert client.get("/v1/uploads?status=verifying").json()["data"] == [seen]
    problem(client.post("/v1/datasets", json=of_it), 409, "upload_verifying")
    problem(client.post(f"{path}/parts", json={"numbers": [1]}), 409, "upload_verifying")
    verify(UUID(upload["id"]))
    verify(UUID(upload["id"]))  # delivered twice
    complete = client.post(f"{path}/complete", json=body)
    assert (complete.status_code, complete.json()["status"], complete.json()["sha256"]) == (200, "complete", SHA256)
    assert client.get(path).json() == complete.json()
    assert client.post("/v1/datasets", json=of_it).status_code == 202


def test_a_file_of_another_size_than_announced_is_deleted_at_once(client: TestClient) -> None:
    upload = begin(client, size=len(CONTENT) + 1)
    path = f"/v1/uploads/{upload['id']}"
    refused = problem(client.post(f"{path}/complete", json={"parts": send(client, upload)}), 422, "checksum_mismatch")
    assert (refused["expected_size"], refused["actual_size"]) == (len(CONTENT) + 1, len(CONTENT))
    problem(client.get(path), 404, "upload_not_found")


def test_a_file_of_another_hash_than_announced_fails(client: TestClient, verify: Callable[[UUID], None]) -> None:
    upload = begin(client, sha256="0" * 64)
    path, body = f"/v1/uploads/{upload['id']}", {"parts": send(client, upload)}
    assert client.post(f"{path}/complete", json=body).status_code == 202
    verify(UUID(upload["id"]))
    failed = client.get(path).json()
    assert (failed["status"], failed["error"]["code"]) == ("failed", "checksum_mismatch")
    for call, sent in (("parts", {"numbers": [1]}), ("complete", body)):
        assert problem(client.post(f"{path}/{call}", json=sent), 410, "upload_failed")["reason"] == "checksum_mismatch"


def test_missing_parts_are_named(client: TestClient) -> None:
    upload = begin(client)
    parts = send(client, upload)
    path = f"/v1/uploads/{upload['id']}/complete"
    for wrong, named in (
        ([parts[0], {"number": 2, "etag": '"0123"'}], "InvalidPart"),
        (parts[:1], "missing: [2]"),
        ([*parts, {"number": 3, "etag": '"0123"'}], "not among them: [3]"),
    ):
        assert named in problem(client.post(path, json={"parts": wrong}), 409, "multipart_invalid")["detail"]
    assert client.post(path, json={"parts": parts}).status_code == 202


def test_only_parts_that_the_upload_has_are_signed_each_with_its_length(client: TestClient) -> None:
    upload = begin(client)
    path = f"/v1/uploads/{upload['id']}/parts"
    for each in client.post(path, json={"numbers": [1, 2]}).json()["data"]:
        signed = parse_qs(urlsplit(each["url"]).query)["X-Amz-SignedHeaders"]
        assert signed == ["content-length;host"]
    refused = problem(client.post(path, json={"numbers": [1, 3, 10_000]}), 422, "invalid_request")
    assert [(error["pointer"], error["code"]) for error in refused["errors"]] == [
        ("/numbers/1", "no_such_part"),
        ("/numbers/2", "no_such_part"),
    ]
    assert (MultipartArea.part_length(len(CONTENT), 1), MultipartArea.part_length(len(CONTENT), 2)) == (PART, 2**20)


def test_who_asks_while_the_same_is_done_is_told_what_came_of_it(
    client: TestClient, verify: Callable[[UUID], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at the upload and that at S3 the first request, and the worker, have done everything."""
    upload = begin(client)
    path, body = f"/v1/uploads/{upload['id']}/complete", {"parts": send(client, upload)}
    complete = MultipartArea.complete

    def overtaken(*_: object) -> None:
        monkeypatch.setattr(MultipartArea, "complete", complete)
        assert client.post(path, json=body).status_code == 202
        verify(UUID(upload["id"]))
        raise Conflict("multipart_invalid", "NoSuchUpload")  # S3 says so; the server of this test says 500

    monkeypatch.setattr(MultipartArea, "complete", overtaken)
    second = client.post(path, json=body)
    assert (second.status_code, second.json()["sha256"]) == (200, SHA256)


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
