"""Bytes that a tenant has sent before are not sent again."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.api.test_errors import problem
from tests.api.tus import BYTES, CONTENT, SHA256, encoded, patch


class TestKnownBytes:
    def body(self, sha256: str = SHA256, size: int = len(CONTENT)) -> dict[str, Any]:
        return {"filename": "again.zip", "size": size, "sha256": sha256.upper()}

    def test_are_not_sent_twice(self, client: TestClient) -> None:
        first = client.put("/v1/uploads/a", content=CONTENT).json()
        again = client.post("/v1/uploads", json=self.body())
        assert again.status_code == 201
        assert again.headers["location"] == f"/v1/uploads/{again.json()['id']}"
        assert (again.json()["status"], again.json()["sha256"]) == ("complete", SHA256)
        assert again.json()["id"] != first["id"]

    def test_are_known_as_long_as_a_data_set_has_them(self, client: TestClient) -> None:
        first = client.put("/v1/uploads/a", content=CONTENT)
        client.post("/v1/datasets", json={"name": "a", "upload_id": first.json()["id"]})
        client.delete(first.headers["location"])
        assert client.post("/v1/uploads", json=self.body()).json()["status"] == "complete"

    def test_are_known_with_creation_with_upload(self, client: TestClient) -> None:
        client.put("/v1/uploads/a", content=CONTENT)
        headers = BYTES | {"Upload-Length": str(len(CONTENT)), "Upload-Metadata": f"sha256 {encoded(SHA256)}"}
        response = client.post("/v1/uploads", headers=headers)
        assert (response.status_code, response.headers["upload-offset"]) == (201, str(len(CONTENT)))

    def test_of_another_tenant_are_not_known(self, client: TestClient, stranger: dict[str, str]) -> None:
        client.put("/v1/uploads/a", content=CONTENT)
        made = client.post("/v1/uploads", json=self.body(), headers=stranger).json()
        assert (made["status"], made["received"]) == ("receiving", 0)

    def test_must_have_the_announced_size(self, client: TestClient) -> None:
        client.put("/v1/uploads/a", content=CONTENT)
        assert client.post("/v1/uploads", json=self.body(size=5)).json()["status"] == "receiving"

    def test_announced_bytes_are_held_against_their_hash(self, client: TestClient) -> None:
        made = client.post("/v1/uploads", json=self.body())
        assert made.json()["status"] == "receiving"
        assert patch(client, made.headers["location"], 0, CONTENT).status_code == 204

    @pytest.mark.parametrize(
        ("body", "status", "code"),
        [
            (b"{", 400, "malformed_json"),
            (b'{"size": 5}', 422, "invalid_request"),
            (b'{"filename": "a", "size": -1}', 422, "invalid_request"),
            (b'{"filename": "a", "size": 1, "more": 1}', 422, "invalid_request"),
            (b'{"filename": "a", "size": 1, "multipart": true}', 409, "multipart_unavailable"),
            (b"[" * 100_000, 413, "content_too_large"),
        ],
    )
    def test_bodies_that_cannot_be_read(self, client: TestClient, body: bytes, status: int, code: str) -> None:
        response = client.post("/v1/uploads", content=body, headers={"Content-Type": "application/json"})
        problem(response, status, code)

    def test_another_media_type_is_refused(self, client: TestClient) -> None:
        problem(client.post("/v1/uploads", content=b"x"), 415, "unsupported_media_type")
